#!/bin/bash
# tests/kafka/kafka.sh - a real Apache Kafka on loopback, for tests and benchmarks.
#
#   kafka.sh fetch                                   get the broker (done by start where missing)
#   kafka.sh start DIR [BROKERS]                     DIR must be absent or empty; 1 broker unless said
#   kafka.sh stop DIR                                ends what start began, by pid; leaves the files
#   kafka.sh kill DIR BROKER                         kill -9 of one broker (1, 2, ...)
#   kafka.sh restart DIR BROKER                      starts it again, same port and data
#   kafka.sh topic DIR NAME PARTITIONS [KEY=VALUE...]
#   kafka.sh delete-topic DIR NAME
#   kafka.sh delete-records DIR TOPIC PARTITION OFFSET   records below OFFSET are gone
#   kafka.sh tool DIR CLASS [ARG...]                 any tool class of Kafka, with its address first
#
# start writes the bootstrap address into DIR/address. KRaft: broker 1 is the controller too.
# Exit 77 with the reason on standard error when Java or the artefacts cannot be had, so that
# callers count a skip; 1 when something failed.
#
# The artefacts (tests/kafka/pom.xml) are kept in ${FRESHET_CACHE:-$HOME/.cache/freshet}.
set -u -o pipefail

version=4.1.0
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${FRESHET_CACHE:-${HOME:-/var/tmp}/.cache/freshet}/kafka-$version
heap=${FRESHET_KAFKA_HEAP:-512m}
tries=5

fail() { printf 'kafka.sh: %s\n' "$1" >&2; exit 1; }
skip() { printf 'kafka.sh: %s\n' "$1" >&2; exit 77; }
usage() { sed -n '2,/^set /p' "${BASH_SOURCE[0]}" | sed '/^set /d; s/^# \{0,1\}//' >&2; exit 2; }

# ---- artefacts ---------------------------------------------------------------------------------

fetch() {
    command -v java >/dev/null || skip 'no java: apt-get install openjdk-17-jre-headless'
    [ -d "$cache/lib" ] && return
    command -v mvn >/dev/null || skip 'no mvn to fetch Kafka with: apt-get install maven'
    mkdir -p "$cache" || fail "could not make $cache"
    exec 9>"$cache/lock"
    flock -w 900 9 || fail "another fetch holds $cache/lock"
    [ -d "$cache/lib" ] && return
    rm -rf "$cache/part"
    printf 'fetching Apache Kafka %s (54 MB, about a minute)\n' "$version" >&2
    timeout 900 mvn -q -B --strict-checksums -f "$here/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$cache/part" >"$cache/fetch.log" 2>&1 ||
        skip "Kafka $version could not be fetched: $(grep -m1 ERROR "$cache/fetch.log")"
    mv "$cache/part" "$cache/lib"
    exec 9>&-
}

run_java() { # OPTIONS... CLASS ARG...
    java -cp "$cache/lib/*" "$@"
}

tool() { # CLASS ARG...: quiet unless it fails
    local output
    if ! output=$(run_java -Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=error "$@" 2>&1); then
        printf '%s\n' "$output" >&2
        fail "$1 failed"
    fi
    printf '%s\n' "$output"
}

address_of() { # DIR
    [ -s "$1/address" ] || fail "no Kafka was started in $1"
    cat "$1/address"
}

# ---- brokers -------------------------------------------------------------------------------------

# Below the kernel's own ephemeral range, so that no client is given it between look and bind.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    printf '%s' "$port"
}

write_properties() { # FOLDER NODE BROKERS PORT CONTROLLER_PORT
    local folder=$1 node=$2 brokers=$3 port=$4 controller=$5
    local replicas=$((brokers < 3 ? brokers : 3))
    local roles=broker listeners="PLAINTEXT://127.0.0.1:$port"
    if [ "$node" = 1 ]; then
        roles=broker,controller
        listeners="$listeners,CONTROLLER://127.0.0.1:$controller"
    fi
    cat >"$folder/properties" <<END
process.roles=$roles
node.id=$node
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=$listeners
advertised.listeners=PLAINTEXT://127.0.0.1:$port
log.dirs=$folder/data
auto.create.topics.enable=false
default.replication.factor=$replicas
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.dedupe.buffer.size=16777216
log.retention.check.interval.ms=1000
log.initial.task.delay.ms=500
log.segment.delete.delay.ms=100
num.network.threads=2
num.io.threads=4
background.threads=2
END
}

launch() { # FOLDER
    local folder=$1
    (
        cd "$folder" || exit 1
        exec 9>&-
        exec java -Xmx"$heap" -Xms128m -XX:+UseSerialGC -cp "$cache/lib/*" \
            -Dorg.slf4j.simpleLogger.defaultLogLevel=info \
            kafka.Kafka "$folder/properties" </dev/null >>"$folder/log" 2>&1
    ) &
    echo $! >"$folder/pid"
    disown
}

alive() { # FOLDER
    [ -s "$1/pid" ] && kill -0 "$(cat "$1/pid")" 2>/dev/null
}

await_ready() { # FOLDER: 0 when it serves, 1 when it ended or took too long
    local folder=$1 waited
    for ((waited = 0; waited < 600; waited++)); do
        grep -q 'Kafka Server started' "$folder/log" 2>/dev/null && return 0
        alive "$folder" || return 1
        sleep 0.1
    done
    return 1
}

end_broker() { # FOLDER
    local folder=$1 pid waited
    [ -s "$folder/pid" ] || return 0
    pid=$(cat "$folder/pid")
    kill "$pid" 2>/dev/null
    for ((waited = 0; waited < 80; waited++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null
    rm -f "$folder/pid"
}

try_start() { # DIR BROKERS
    local dir=$1 brokers=$2 node controller port cluster address=
    cluster=$(head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | tr -d '=')
    controller=$(free_port)
    for ((node = 1; node <= brokers; node++)); do
        rm -rf "${dir:?}/$node"
        mkdir -p "$dir/$node" || fail "could not make $dir/$node"
        port=$(free_port)
        address=$address${address:+,}127.0.0.1:$port
        write_properties "$dir/$node" "$node" "$brokers" "$port" "$controller"
        tool kafka.tools.StorageTool format -t "$cluster" -c "$dir/$node/properties" \
            >"$dir/$node/log"
        launch "$dir/$node"
    done
    for ((node = 1; node <= brokers; node++)); do
        await_ready "$dir/$node" || return 1
    done
    printf '%s\n' "$address" >"$dir/address"
}

start() { # DIR BROKERS
    local dir=$1 brokers=$2 try
    [ -z "$(ls -A "$dir" 2>/dev/null)" ] || fail "$dir is not empty"
    mkdir -p "$dir" || fail "could not make $dir"
    dir=$(cd "$dir" && pwd)
    fetch
    for ((try = 1; try <= tries; try++)); do
        try_start "$dir" "$brokers" && return
        tail -n 3 "$dir"/*/log >&2
        stop "$dir"
        grep -q 'Address already in use' "$dir"/*/log || break
    done
    fail "Kafka did not start; its log is $dir/1/log"
}

stop() { # DIR
    local folder
    for folder in "$1"/*/; do
        end_broker "${folder%/}"
    done
    rm -f "$1/address"
}

kill_broker() { # DIR BROKER
    local folder=$1/$2
    alive "$folder" || fail "broker $2 does not run"
    kill -9 "$(cat "$folder/pid")"
    rm -f "$folder/pid"
}

restart_broker() { # DIR BROKER
    local folder
    folder=$(cd "$1/$2" && pwd) || fail "no broker $2 in $1"
    alive "$folder" && fail "broker $2 runs"
    mv "$folder/log" "$folder/log.before"
    launch "$folder"
    await_ready "$folder" || fail "broker $2 did not start again; its log is $folder/log"
}

# ---- topics --------------------------------------------------------------------------------------

topic() { # DIR NAME PARTITIONS [KEY=VALUE...]
    local dir=$1 name=$2 partitions=$3 address setting settings=()
    shift 3
    address=$(address_of "$dir") || exit 1
    for setting in "$@"; do
        settings+=(--config "$setting")
    done
    tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$address" --create --topic "$name" \
        --partitions "$partitions" ${settings[@]+"${settings[@]}"} >/dev/null
}

delete_topic() { # DIR NAME
    local address
    address=$(address_of "$1") || exit 1
    tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$address" --delete --topic "$2" \
        >/dev/null
}

delete_records() { # DIR TOPIC PARTITION OFFSET
    local address
    address=$(address_of "$1") || exit 1
    printf '{"version":1,"partitions":[{"topic":"%s","partition":%s,"offset":%s}]}\n' \
        "$2" "$3" "$4" >"$1/delete.json"
    tool org.apache.kafka.tools.DeleteRecordsCommand --bootstrap-server "$address" \
        --offset-json-file "$1/delete.json" >/dev/null
}

any_tool() { # DIR CLASS ARG...
    local dir=$1 class=$2 address
    shift 2
    address=$(address_of "$dir") || exit 1
    tool "$class" --bootstrap-server "$address" "$@"
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command:$# in
fetch:0) fetch ;;
start:1) start "$1" 1 ;;
start:2) start "$1" "$2" ;;
stop:1) stop "$1" ;;
kill:2) kill_broker "$1" "$2" ;;
restart:2) restart_broker "$1" "$2" ;;
topic:[0-2]) usage ;;
topic:*) topic "$@" ;;
delete-topic:2) delete_topic "$@" ;;
delete-records:4) delete_records "$@" ;;
tool:[01]) usage ;;
tool:*) any_tool "$@" ;;
*) usage ;;
esac
