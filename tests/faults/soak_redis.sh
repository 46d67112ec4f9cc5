#!/bin/bash
# tests/faults/soak_redis.sh - random faults between two ingest processes and Redis, for minutes.
#
#     SECONDS_MAX=180 SEED=n tests/faults/soak_redis.sh
#
# Every connection goes through tests/faults/fault_proxy, which resets, loses answers, cuts and
# delays at random; beside that Redis is killed, cut short or failed over to a replica that missed
# its last writes, and an ingest is killed. Every round ends in peace: then every record must be
# counted once, and every user equal the replay through the memory store (freshet verify).
set -u
cd "$(dirname "$0")/../.." || exit 70
. tests/support/shell.sh
script_begin soak_redis
data=tests/data/movietweetings/movietweetings100k_events.csv.gz
limit=${SECONDS_MAX:-180}
SEED=${SEED:-$((RANDOM + 1))}
RANDOM=$SEED
printf 'SEED=%s\n' "$SEED"

need_programs redis-server redis-cli curl
build_tools
start_mock events:8 examples:4 dead:1

server() { # SOCKET FOLDER ARG...: sets server_pid
    local socket=$1 at=$2
    shift 2
    mkdir -p "$at"
    rm -f "$socket"
    redis-server --port 0 --unixsocket "$socket" --save '' --appendonly yes --appendfsync no \
        --repl-diskless-sync-delay 0 --dir "$at" --logfile redis.log --daemonize no "$@" &
    server_pid=$!
    wait_for 60 redis-cli -s "$socket" PING
}
at=0 # which of the two folders the primary lives in
socket() { printf '%s/redis%s.sock' "$folder" "$1"; }
primary() { redis-cli -s "$(socket $at)" "$@"; }
server "$(socket 0)" "$folder/redis0"
primary_pid=$server_pid
start_proxy way 127.0.0.1:0 "unix:$(socket 0)"
start_proxy link 127.0.0.1:0 "unix:$(socket 0)"

configure() { # NAME
    cat >"$folder/$1.yaml" <<YAML
kafka: {brokers: "$address", group: soak, session_timeout: 6s}
redis: {url: "redis://$(head -n 1 "$folder/way.log")", reply_timeout: 2s}
dataset: {shards: 16, examples_partitions: 4}
features: {sequence_max: 20}
ingest: {admin: "127.0.0.1:0", drain: 60s}
log: {format: json}
YAML
}
configure one
configure two
FRESHET_CONFIG=$folder/one.yaml
ingests=(0 0)
start_one() { # 0|1
    "$bin/freshet" ingest --config "$folder/$([ "$1" = 0 ] && echo one || echo two).yaml" \
        --ports-file "$folder/ports$1" >>"$folder/ingest.out" 2>>"$folder/ingest.log" &
    ingests[$1]=$!
}
metric_of() { # 0|1 METRIC
    local port
    port=$(sed -n 's/.*"admin":\([0-9]*\).*/\1/p' "$folder/ports$1")
    curl -s -m 5 "127.0.0.1:$port/metrics" | sed -n "s/^$2 //p"
}

line=0 produced=0
produce() { # EVENTS
    "$bin/freshet" replay "$data" --quiet --from $((line + 2)) --limit "$1" >/dev/null 2>>"$folder/tools.log"
    line=$(((line + $1) % 90000))
    produced=$((produced + $1))
}
applied() { all_applied && all_counted; }
equal() { run verify --quiet --json; }
unseen() { # what counted in the processes that live
    local name=$1 sum=0 value i
    for i in 0 1; do
        value=$(metric_of $i "$name")
        sum=$((sum + ${value:-0}))
    done
    echo "$sum"
}

end_redis() {
    kill -9 "$primary_pid" 2>/dev/null
    wait "$primary_pid" 2>/dev/null
}
restart() {
    end_redis
    server "$(socket $at)" "$folder/redis$at"
    primary_pid=$server_pid
}
cut_short() {
    local file
    end_redis
    file=$(find "$folder/redis$at/appendonlydir" -name '*.incr.aof' | sort -V | tail -n 1)
    # At most a half: where all is gone it has to stop, and that is row 51.
    truncate -s "-$((RANDOM % (1 + $(stat -c %s "$file") / 2) % 30000))" "$file"
    server "$(socket $at)" "$folder/redis$at"
    primary_pid=$server_pid
    # Redis 7.0 leaves the first half of a torn transaction in the file, and the next restart would
    # carry it out (freshet runbook state-lost): written anew, it is gone.
    primary BGREWRITEAOF >/dev/null
    wait_for 60 rewritten
}
rewritten() { primary INFO persistence | grep -q '^aof_rewrite_in_progress:0'; }
follows() { redis-cli -s "$(socket $((1 - at)))" INFO replication | grep -q '^master_link_status:up'; }
# The replica misses what comes last, and is promoted; for a while both say yes.
fail_over() {
    local old=$primary_pid
    fault link heal >/dev/null
    fault link upstream "unix:$(socket $at)" >/dev/null
    fault link reset >/dev/null
    rm -rf "$folder/redis$((1 - at))"
    server "$(socket $((1 - at)))" "$folder/redis$((1 - at))" --replicaof 127.0.0.1 "$(sed -n '1s/.*://p' "$folder/link.log")"
    wait_for 60 follows
    fault link cut down >/dev/null
    produce 200
    redis-cli -s "$(socket $((1 - at)))" REPLICAOF NO ONE >/dev/null
    fault way upstream "unix:$(socket $((1 - at)))" >/dev/null
    fault way reset some $((RANDOM % 101)) >/dev/null
    produce 200
    primary_pid=$old end_redis
    at=$((1 - at))
    primary_pid=$server_pid
}
kill_ingest() {
    local i=$((RANDOM % 2))
    kill -9 "${ingests[$i]}"
    wait "${ingests[$i]}" 2>/dev/null
    start_one $i
}

start_one 0
start_one 1
produce 500
declare -A done_of=([restart]=0 [cut_short]=0 [fail_over]=0 [kill_ingest]=0 [nothing]=0)
nothing() { :; }
choices=(restart cut_short fail_over kill_ingest kill_ingest nothing)
round=0
SECONDS=0
while [ "$SECONDS" -lt "$limit" ] && [ "$failed" = 0 ]; do
    round=$((round + 1))
    fault way random $((100 + RANDOM % 900)) >/dev/null
    for _ in 1 2 3; do
        produce $((100 + RANDOM % 400))
        what=${choices[RANDOM % ${#choices[@]}]}
        $what
        done_of[$what]=$((done_of[$what] + 1))
        produce $((100 + RANDOM % 400))
    done
    fault way heal >/dev/null
    wait_for 300 applied
    check "round $round: after the faults everything is applied, and counted once"
    equal
    check "round $round: every user is right"
done
stats=$(fault way stats)
printf 'rounds %s, events %s, faults of the way: %s\n' "$round" "$produced" "$(grep -c '^random:' "$folder/way.log")"
printf 'connections %s\n' "${stats#connections }"
printf 'redis: killed %s, file cut short %s, failed over with loss %s; ingest killed %s\n' "${done_of[restart]}" "${done_of[cut_short]}" "${done_of[fail_over]}" "${done_of[kill_ingest]}"
printf 'of the processes alive at the end: rewinds %s, lost answers %s, commits found carried out %s, fenced %s\n' \
    "$(unseen freshet_ingest_rewinds_total)" "$(unseen freshet_ingest_lost_answers_total)" \
    "$(unseen freshet_ingest_applied_unseen_total)" "$(unseen freshet_ingest_fenced_total)"
end_with_counts
