# tests/support/shell.sh - what the scripts of tests/ share. Sourced, from the root of the tree:
#
#     . tests/support/shell.sh; script_begin NAME
#
# A check is one passed or failed; a script ends by end_with_counts. Everything started through
# here is ended with the script. KEEP=1 keeps the folder.
# shellcheck shell=bash

passed=0 failed=0 skipped=0

script_begin() { # NAME
    script=$1
    folder=$(mktemp -d "${TMPDIR:-/tmp}/freshet-$script-XXXXXX") || exit 70
    bin=${bin:-$PWD/build/release}
    ports=$folder/ports
    export FRESHET_CONFIG=$folder/freshet.yaml
    # Scripts that run at the same time have a number each, and each number has ports of its own: a
    # server that is down for a moment finds its port free when it comes back.
    export TESTS_SLOT=${TESTS_SLOT:-$((RANDOM % 8))}
    trap script_finish EXIT
    trap 'exit 130' INT TERM
}

script_finish() {
    local pid pids
    pids=$(jobs -p) # not by remembered numbers: those may be another's by now
    for pid in $pids; do
        kill "$pid" 2>/dev/null
        kill -CONT "$pid" 2>/dev/null # a stopped process hears of nothing else
    done
    SECONDS=0
    for pid in $pids; do # one that waits for what has ended before it has five seconds for it
        wait_for $((SECONDS < 5 ? 5 - SECONDS : 0)) gone "$pid" || kill -9 "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    [ -f "$folder/kafka/address" ] && bash tests/kafka/kafka.sh stop "$folder/kafka" 2>/dev/null
    [ -n "${KEEP:-}" ] || rm -rf "$folder"
}

end_with_counts() {
    printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    [ "$failed" = 0 ]
    exit
}

# What the last command says. With a failure the end of what was said: by a command that `run` ran,
# or else by ingest. FIRST_FAILURE=1: that is the end.
check() { # NAME
    if [ "$?" = 0 ]; then
        passed=$((passed + 1))
        return
    fi
    failed=$((failed + 1))
    printf 'FAILED  %s\n' "$1"
    tail -n 4 "$folder/out" "$folder/err" "$folder/ingest.log" 2>/dev/null | cut -c 1-300
    if [ -n "${FIRST_FAILURE:-}" ]; then end_with_counts; fi
}

skip() { # NAME WHY
    skipped=$((skipped + 1))
    printf 'skipped %s: %s\n' "$1" "$2"
}

# Runs row_N for each N, or for those of them in ROWS="43 45" (tests/faults/rows.txt). A / says
# where tests/run_all.sh may cut the script in parts, which begin with servers of their own.
run_rows() { # N...
    local row
    for row in "$@"; do
        [ "$row" != / ] || continue
        [[ -z ${ROWS:-} || " $ROWS " == *" $row "* ]] && "row_$row"
    done
}

# Ends the script, skipped as a whole, when one is missing.
need_programs() { # PROGRAM...
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || { skip "$script" "no $program on PATH"; end_with_counts; }
    done
}

# freshet and the tools of tests/, from the sources as they are now. TESTS_BUILT=1 says that they
# are built: of scripts that run at the same time none must build.
build_tools() { # [VARIABLE=VALUE...]: make's
    { [ -n "${TESTS_BUILT:-}" ] || make -s -j2 "$@" integration-tools >"$folder/out" 2>"$folder/err"; } &&
        [ -x "$bin/freshet" ] && [ -x "$bin/kafka_tool" ] && [ -x "$bin/fault_proxy" ]
    check 'freshet and the tools build'
    [ "$failed" = 0 ] || end_with_counts
}

# For servers that cannot choose a port themselves; below those that the system gives out.
free_port() {
    local port
    while :; do
        port=$((28000 + TESTS_SLOT * 500 + RANDOM % 500))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    printf '%s' "$port"
}

run() { timeout "${RUN_SECONDS:-400}" "$bin/freshet" "$@" >"$folder/out" 2>"$folder/err"; }
has() { grep -q -- "$1" "$folder/out"; }
says() { grep -q -- "$1" "$folder/err"; }
gone() { ! kill -0 "$1" 2>/dev/null; }
redis() { redis-cli -s "$folder/redis.sock" "$@"; }
produce_lines() { "$bin/kafka_tool" produce "$address" "$1"; } # TOPIC

wait_for() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.05
    done
}

start_redis() { # ARG...
    rm -f "$folder/redis.sock" # of one that was killed
    redis-server --port 0 --unixsocket "$folder/redis.sock" --save '' --appendonly no \
        --dir "$folder" --logfile redis.log --daemonize no "$@" &
    redis_pid=$!
    wait_for 60 test -S "$folder/redis.sock"
}

# The embedded broker. Sets address.
start_mock() { # TOPIC:PARTITIONS...
    broker=mock
    rm -f "$folder/address" "$folder/control" # of an earlier one
    mkfifo "$folder/control"
    "$bin/kafka_tool" broker "$@" <>"$folder/control" >"$folder/address" &
    wait_for 60 test -s "$folder/address"
    address=$(cat "$folder/address")
}

# Tells the embedded broker what to do: "down", "up", ... (tests/integration/kafka_tool.c)
tell_mock() { printf '%s\n' "$*" >"$folder/control"; }

# One of kafka.sh's commands.
kafka() { # COMMAND [ARG...]
    local command=$1
    shift
    bash tests/kafka/kafka.sh "$command" "$folder/kafka" "$@" 2>>"$folder/kafka.log"
}

# Apache Kafka where it can be had and BROKER does not say mock, else the embedded one. Sets
# address and broker.
start_broker() { # TOPIC:PARTITIONS...
    if [ "${BROKER:-apache}" = apache ] && kafka start "${BROKERS:-1}"; then
        broker=apache
        address=$(cat "$folder/kafka/address")
        "$bin/kafka_tool" topic "$address" "$@" >>"$folder/kafka.log" 2>&1
    else
        start_mock "$@"
    fi
    printf 'broker: %s\n' "$broker"
}

# A proxy that misbehaves on command (tests/faults/fault_proxy.c has the list): NAME.log is what it
# says, its first line the address it listens on. `fault NAME COMMAND...` tells it.
start_proxy() { # NAME LISTEN UPSTREAM
    "$bin/fault_proxy" proxy "$2" "$3" "$folder/$1.control" "${SEED:-1}" >"$folder/$1.log" 2>&1 &
    wait_for 60 test -s "$folder/$1.log"
}
fault() { # NAME COMMAND...
    local name=$1
    shift
    "$bin/fault_proxy" tell "$folder/$name.control" "$@"
}

# With several at once each has its own ports: ports=FILE start_ingest, ports=FILE metric NAME.
# Everything in the log is applied; and every record is counted once, whatever became of it. By what
# Redis and Kafka hold, not by a metric that is a second old.
all_applied() { "$bin/freshet" offsets list --json 2>>"$folder/tools.log" | grep -q '"lag":0}}$'; }
all_counted() {
    "$bin/freshet" offsets list --json 2>>"$folder/tools.log" >"$folder/offsets"
    local logged counted
    logged=$(grep -oE '"high":[0-9]+' "$folder/offsets" | awk -F: '{ sum += $2 } END { print sum + 0 }')
    counted=$(sed 's/.*"totals"://' "$folder/offsets" |
        grep -oE '"(applied|duplicate|late|dropped|erased|dead)":[0-9]+' | awk -F: '{ sum += $2 } END { print sum + 0 }')
    [ "$logged" -gt 0 ] && [ "$counted" = "$logged" ]
}

start_ingest() { # ARG...
    rm -f "$ports"
    "$bin/freshet" ingest --ports-file "$ports" "$@" \
        >>"$folder/ingest.out" 2>>"$folder/ingest.log" &
    ingest=$!
}

admin() { # PATH
    local port
    port=$(sed -n 's/.*"admin":\([0-9]*\).*/\1/p' "$ports" 2>/dev/null)
    [ -n "$port" ] && curl -s -m 10 "127.0.0.1:$port$1"
}

ready() { admin /readyz | grep -q '"ready":true'; }
reason() { admin /readyz | grep -q "$1"; }
metric() { admin /metrics | sed -n "s/^$1 //p"; }
