#!/bin/bash
# tests/kafka/kafka.sh - a real Apache Kafka on loopback, for tests and benchmarks.
#
#   kafka.sh fetch                                   get the broker (done by start where missing)
#   kafka.sh start DIR [BROKERS]                     DIR must be absent or empty; 1 broker unless said
#   kafka.sh stop DIR                                ends what start began, by pid; leaves the files
#   kafka.sh kill DIR BROKER...                      kill -9 (brokers are 1, 2, ...)
#   kafka.sh restart DIR BROKER...                   starts them again, same ports and data
#   kafka.sh pause DIR BROKER...                     SIGSTOP: still connected, and silent
#   kafka.sh resume DIR BROKER...
#   kafka.sh topic DIR NAME PARTITIONS [KEY=VALUE...]
#   kafka.sh delete-topic DIR NAME
#   kafka.sh delete-records DIR TOPIC PARTITION OFFSET   records below OFFSET are gone
#   kafka.sh leader DIR TOPIC PARTITION              prints who leads it
#   kafka.sh lead DIR TOPIC PARTITIONS BROKER        BROKER leads partition 0, the next one 1, ...
#   kafka.sh allow DIR USER OPERATION RESOURCE NAME  ACL, as in: app READ topic events
#   kafka.sh tool DIR CLASS [ARG...]                 any tool class of Kafka, with its address first
#
# start writes the bootstrap address into DIR/address. KRaft: broker 1 is the controller too. With
# three brokers topics have three replicas, of which two must be in sync, and leadership returns to
# the preferred replica within a second or two.
#
# SECURE=1 start adds listeners, each with its own file beside DIR/address, and ACLs that are asked
# on every listener but the plain one, whose users may do everything:
#
#   address.ssl       TLS, clients must show DIR/tls/client.pem (user "client")
#   address.sasl      SCRAM or PLAIN without TLS: users app and other, password USER-secret
#   address.sasl_ssl  the same, over TLS
#   address.expired   TLS with a certificate that ran out yesterday
#   address.stranger  TLS with a certificate of another host
#
# DIR/tls/ca.pem has signed them all; DIR/tls/other-ca.pem has signed none.
# Exit 77 with the reason on standard error when Java or the artefacts cannot be had, so that
# callers count a skip; 1 when something failed.
#
# The artefacts (tests/kafka/pom.xml) are kept in ${FRESHET_CACHE:-$HOME/.cache/freshet}.
set -u -o pipefail

version=4.1.0
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${FRESHET_CACHE:-${HOME:-/var/tmp}/.cache/freshet}/kafka-$version
secure=${SECURE:-}
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

# Below the kernel's own ephemeral range, so that no client is given it between look and bind. Of
# scripts that run at the same time each has five hundred of its own: a broker that is killed and
# started again finds its port free.
free_port() { # DIR
    local port first=28000 count=4000
    [ -z "${TESTS_SLOT:-}" ] || first=$((28000 + TESTS_SLOT * 500)) count=500
    while :; do
        port=$((first + RANDOM % count))
        grep -qx "$port" "$1/ports" 2>/dev/null && continue
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    printf '%s\n' "$port" | tee -a "$1/ports"
}

write_properties() { # FOLDER NODE BROKERS PORT CONTROLLER_PORT
    local folder=$1 node=$2 brokers=$3 port=$4 controller=$5
    local replicas=$((brokers < 3 ? brokers : 3)) insync=$((brokers < 3 ? 1 : 2))
    local roles=broker listeners="PLAINTEXT://127.0.0.1:$port" advertised
    advertised=$listeners
    [ -z "$secure" ] || add_secure_listeners "$folder"
    if [ "$node" = 1 ]; then
        roles=broker,controller
        listeners="$listeners,CONTROLLER://127.0.0.1:$controller"
    fi
    cat >>"$folder/properties" <<END
process.roles=$roles
node.id=$node
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=$listeners
advertised.listeners=$advertised
log.dirs=$folder/data
auto.create.topics.enable=false
default.replication.factor=$replicas
min.insync.replicas=$insync
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$insync
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=$insync
message.max.bytes=16777216
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
    [ "$brokers" = 1 ] && return
    cat >>"$folder/properties" <<END
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
replica.lag.time.max.ms=3000
leader.imbalance.check.interval.seconds=1
leader.imbalance.per.broker.percentage=0
controlled.shutdown.enable=false
END
}

# ---- TLS, users, ACLs ----------------------------------------------------------------------------

# A key and a certificate of ca.pem's, in one file as Kafka's PEM key stores want them.
certificate() { # TLS_FOLDER NAME SUBJECT_ALT_NAME DAYS
    local tls=$1 name=$2
    printf 'subjectAltName=%s\n' "$3" >"$tls/$name.ext"
    openssl req -newkey rsa:2048 -nodes -keyout "$tls/$name.key" -subj "/CN=$name" \
        -out "$tls/$name.csr" &&
        openssl x509 -req -in "$tls/$name.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" \
            -CAcreateserial -days "$4" -extfile "$tls/$name.ext" -out "$tls/$name.crt" &&
        cat "$tls/$name.key" "$tls/$name.crt" >"$tls/$name.pem"
}

make_certificates() { # DIR
    local tls=$1/tls name
    command -v openssl >/dev/null || skip 'no openssl: apt-get install openssl'
    mkdir -p "$tls"
    for name in ca other-ca; do
        openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=freshet test $name" \
            -keyout "$tls/$name.key" -out "$tls/$name.pem" || return 1
    done
    certificate "$tls" broker DNS:localhost,IP:127.0.0.1 30 &&
        certificate "$tls" client DNS:client 30 &&
        certificate "$tls" stranger DNS:elsewhere.example 30 &&
        certificate "$tls" expired DNS:localhost,IP:127.0.0.1 -1
}

# Adds to the caller's listeners and advertised, and writes what those need. Clients know a TLS
# listener as localhost: librdkafka compares names, not addresses.
add_secure_listeners() { # FOLDER
    local folder=$1 tls name lower port user mechanism users=
    local login=org.apache.kafka.common.security
    tls=$(dirname "$1")/tls
    for user in app other; do
        users="$users user_$user=\"$user-secret\""
    done
    {
        printf 'listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,'
        printf 'SASL:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,EXPIRED:SSL,STRANGER:SSL\n'
        for name in SSL SASL SASL_SSL EXPIRED STRANGER; do
            lower=${name,,}
            port=$(free_port "$1/..")
            listeners="$listeners,$name://127.0.0.1:$port"
            advertised="$advertised,$name://localhost:$port"
            printf 'localhost:%s\n' "$port" >>"$folder/../address.$lower"
            case $name in
            EXPIRED | STRANGER) key_store "$lower" "$tls/$lower.pem" ;;
            SSL | SASL_SSL) key_store "$lower" "$tls/broker.pem" ;;
            esac
            case $name in SSL | EXPIRED | STRANGER) continue ;; esac
            printf 'listener.name.%s.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n' \
                "$lower"
            printf 'listener.name.%s.plain.sasl.jaas.config=%s required%s;\n' \
                "$lower" "$login.plain.PlainLoginModule" "$users"
            for mechanism in 256 512; do
                printf 'listener.name.%s.scram-sha-%s.sasl.jaas.config=%s required;\n' \
                    "$lower" "$mechanism" "$login.scram.ScramLoginModule"
            done
        done
        cat <<END
listener.name.ssl.ssl.truststore.type=PEM
listener.name.ssl.ssl.truststore.location=$tls/ca.pem
listener.name.ssl.ssl.client.auth=required
listener.name.ssl.ssl.principal.mapping.rules=RULE:^CN=([^,]+).*\$/\$1/,DEFAULT
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
END
    } >"$folder/properties"
}

key_store() { # LISTENER FILE
    printf 'listener.name.%s.ssl.keystore.type=PEM\n' "$1"
    printf 'listener.name.%s.ssl.keystore.location=%s\n' "$1" "$2"
}

# SCRAM's users lie in the metadata: they are written when it is formatted.
scram_users() {
    local user mechanism
    [ -n "$secure" ] || return 0
    for user in app other; do
        for mechanism in 256 512; do
            printf -- '--add-scram\nSCRAM-SHA-%s=[name=%s,password=%s-secret]\n' \
                "$mechanism" "$user" "$user"
        done
    done
}

# ---- processes -----------------------------------------------------------------------------------

# What every further broker costs counts more than how fast it becomes: the first compiler only.
launch() { # FOLDER
    local folder=$1 heap=${FRESHET_KAFKA_HEAP:-512m} quick=()
    if [ -e "$folder/../several" ]; then
        heap=${FRESHET_KAFKA_HEAP:-256m}
        quick=(-XX:TieredStopAtLevel=1 -Xss512k)
    fi
    (
        cd "$folder" || exit 1
        exec 9>&-
        exec java -Xmx"$heap" -Xms64m -XX:+UseSerialGC ${quick[@]+"${quick[@]}"} \
            -cp "$cache/lib/*" -Dorg.slf4j.simpleLogger.defaultLogLevel=info \
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
    for ((waited = 0; waited < 1800; waited++)); do
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

# The controller's metadata is formatted; the others take it from there and need only their names.
format() { # DIR NODE CLUSTER
    local folder=$1/$2 users=()
    if [ "$2" = 1 ]; then
        mapfile -t users < <(scram_users)
        tool kafka.tools.StorageTool format -t "$3" -c "$folder/properties" \
            ${users[@]+"${users[@]}"} >"$folder/log"
        return
    fi
    mkdir -p "$folder/data"
    printf 'version=1\ncluster.id=%s\nnode.id=%s\ndirectory.id=%s\n' "$3" "$2" "$(random_id)" \
        >"$folder/data/meta.properties"
}

random_id() { head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | tr -d '='; }

try_start() { # DIR BROKERS
    local dir=$1 brokers=$2 node controller port cluster address=
    cluster=$(random_id)
    controller=$(free_port "$dir")
    rm -f "$dir"/address*
    [ "$brokers" = 1 ] && [ -z "$secure" ] || : >"$dir/several"
    if [ -n "$secure" ] && ! make_certificates "$dir" >"$dir/openssl.log" 2>&1; then
        fail "certificates could not be made: $dir/openssl.log"
    fi
    for ((node = 1; node <= brokers; node++)); do
        rm -rf "${dir:?}/$node"
        mkdir -p "$dir/$node" || fail "could not make $dir/$node"
        port=$(free_port "$dir")
        address=$address${address:+,}127.0.0.1:$port
        write_properties "$dir/$node" "$node" "$brokers" "$port" "$controller"
        format "$dir" "$node" "$cluster"
        launch "$dir/$node"
    done
    for ((node = 1; node <= brokers; node++)); do
        await_ready "$dir/$node" || return 1
    done
    for listener in "$dir"/address.*; do # one line a broker
        [ -e "$listener" ] || continue
        paste -sd, "$listener" >"$listener.all" && mv "$listener.all" "$listener"
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
    for folder in "$1"/[0-9]*/; do
        [ -s "$folder/pid" ] || continue
        kill -CONT "$(cat "$folder/pid")" 2>/dev/null # a stopped process hears of nothing else
        kill "$(cat "$folder/pid")" 2>/dev/null
    done
    for folder in "$1"/[0-9]*/; do
        end_broker "${folder%/}"
    done
    rm -f "$1"/address*
}

kill_brokers() { # DIR BROKER...
    local dir=$1 broker
    shift
    for broker in "$@"; do
        alive "$dir/$broker" || fail "broker $broker does not run"
        kill -9 "$(cat "$dir/$broker/pid")"
        rm -f "$dir/$broker/pid"
    done
}

# All at once: none is ready before the controller is.
restart_brokers() { # DIR BROKER...
    local dir folder broker
    dir=$(cd "$1" && pwd) || fail "no Kafka in $1"
    shift
    for broker in "$@"; do
        folder=$dir/$broker
        [ -d "$folder" ] || fail "no broker $broker in $dir"
        alive "$folder" && fail "broker $broker runs"
        mv "$folder/log" "$folder/log.before"
        launch "$folder"
    done
    for broker in "$@"; do
        await_ready "$dir/$broker" ||
            fail "broker $broker did not start again; its log is $dir/$broker/log"
    done
}

signal_brokers() { # SIGNAL DIR BROKER...
    local signal=$1 dir=$2 broker
    shift 2
    for broker in "$@"; do
        alive "$dir/$broker" || fail "broker $broker does not run"
        kill "-$signal" "$(cat "$dir/$broker/pid")"
    done
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

leader() { # DIR TOPIC PARTITION
    any_tool "$1" org.apache.kafka.tools.TopicCommand --describe --topic "$2" |
        sed -n "s/.*Partition: $3\t.*Leader: \([0-9]*\)\t.*/\1/p"
}

# New preferred leaders; the controller, which looks every second, moves the leadership to them.
lead() { # DIR TOPIC PARTITIONS BROKER
    local dir=$1 topic=$2 partitions=$3 first=$4 brokers address partition replica rows='' replicas
    address=$(address_of "$dir") || exit 1
    brokers=$(tr ',' '\n' <"$dir/address" | wc -l)
    for ((partition = 0; partition < partitions; partition++)); do
        replicas=
        for ((replica = 0; replica < brokers && replica < 3; replica++)); do
            replicas=$replicas${replicas:+,}$(((first - 1 + partition + replica) % brokers + 1))
        done
        rows="$rows${rows:+,}$(printf '{"topic":"%s","partition":%s,"replicas":[%s]}' \
            "$topic" "$partition" "$replicas")"
    done
    printf '{"version":1,"partitions":[%s]}\n' "$rows" >"$dir/lead.json"
    tool org.apache.kafka.tools.reassign.ReassignPartitionsCommand --bootstrap-server "$address" \
        --reassignment-json-file "$dir/lead.json" --execute >/dev/null
}

allow() { # DIR USER OPERATION RESOURCE NAME
    any_tool "$1" org.apache.kafka.tools.AclCommand --add --allow-principal "User:$2" \
        --operation "$3" "--$4" "$5" >/dev/null
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
kill:[01] | restart:[01] | pause:[01] | resume:[01]) usage ;;
kill:*) kill_brokers "$@" ;;
restart:*) restart_brokers "$@" ;;
pause:*) signal_brokers STOP "$@" ;;
resume:*) signal_brokers CONT "$@" ;;
leader:3) leader "$@" ;;
lead:4) lead "$@" ;;
allow:5) allow "$@" ;;
topic:[0-2]) usage ;;
topic:*) topic "$@" ;;
delete-topic:2) delete_topic "$@" ;;
delete-records:4) delete_records "$@" ;;
tool:[01]) usage ;;
tool:*) any_tool "$@" ;;
*) usage ;;
esac
