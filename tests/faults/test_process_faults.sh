#!/bin/bash
# tests/faults/test_process_faults.sh - processes are asked to end: row 60 of the table of faults.
# Row 59, kill -9 at every crash point, is tests/integration/test_kill_ingest.sh.
#
# ROWS="60" runs it (there is no other). On the embedded broker.
set -u
cd "$(dirname "$0")/../.." || exit 70
. tests/support/shell.sh
script_begin test_process_faults
data=tests/data/movietweetings/movietweetings100k_events.csv.gz

need_programs redis-server redis-cli curl
build_tools
start_redis
start_mock events:4 examples:2 items:1 dead:1
cat >"$FRESHET_CONFIG" <<YAML
kafka: {brokers: "$address", group: process, session_timeout: 6s}
redis: {url: "unix://$folder/redis.sock"}
dataset: {shards: 8, examples_partitions: 2}
ingest: {admin: "127.0.0.1:0", drain: 30s, batch: 16, batch_max: 16}
model: {folder: "$folder/models"}
retrain: {admin: "127.0.0.1:0", folder: "$folder/retrain"}
serve: {listen: "127.0.0.1:0", admin: "127.0.0.1:0"}
log: {format: json}
YAML

line=0
produce() { # EVENTS
    "$bin/freshet" replay "$data" --quiet --from $((line + 2)) --limit "$1" >/dev/null 2>>"$folder/tools.log"
    line=$((line + $1))
}
equal() { run verify --quiet --json && has '"equal":true'; }
ends_with() { # PID CODE
    wait_for 40 gone "$1" || kill -9 "$1"
    wait "$1"
    [ "$?" = "$2" ]
}
began() { [ "$(metric freshet_ingest_commits_total)" -gt 0 ]; }

# ---- 60: SIGTERM under load ----

ingest_ends() {
    produce 6000
    start_ingest
    wait_for 40 began
    kill "$ingest"
    ends_with "$ingest" 0
    check '60: ingest drains in the middle of a backlog, and ends with 0'
    grep -q '"event":"draining"' "$folder/ingest.log"
    check '60: ... and says so'
    equal
    check '60: what it read is applied, and nothing twice'
    start_ingest
    wait_for 40 ready
    kill -STOP "$redis_pid" # what is read now cannot be committed
    produce 500
    read_some() { [ "$(metric freshet_ingest_backlog_records)" -gt 0 ]; }
    wait_for 40 read_some
    kill "$ingest"
    draining() { admin /readyz | grep -q '"ready":false.*draining'; }
    wait_for 20 draining
    check '60: while it drains it is not ready, and says why'
    [ "$(curl -s -o /dev/null -w '%{http_code}' "127.0.0.1:$(sed -n 's/.*"admin":\([0-9]*\).*/\1/p' "$folder/ports")/livez")" = 200 ]
    check '60: ... and alive'
    kill "$ingest"
    ends_with "$ingest" 143
    check '60: a second SIGTERM ends it at once'
    kill -CONT "$redis_pid"
    start_ingest --until-end
    ends_with "$ingest" 0 && equal
    check '60: the next one catches up, and every user is right'
}

# One client of four: requests until it cannot connect any more. A line a request: HTTP's code, and
# curl's own, which is 0 for an answer and 7 where nobody listens.
client() { # PORT FILE
    local code
    while :; do
        code=$(curl -s -m 20 -o /dev/null -w '%{http_code}' -d '{"user":"1","k":10}' "127.0.0.1:$1/v1/recommend")
        code="$code $?"
        printf '%s\n' "$code" >>"$2"
        [ "${code##* }" = 0 ] || break
    done
}

serve_ends() {
    local port admin_port clients=() i
    run retrain --once --json
    "$bin/freshet" serve --ports-file "$folder/serve.ports" >"$folder/serve.out" 2>"$folder/serve.log" &
    serve=$!
    wait_for 40 test -s "$folder/serve.ports"
    port=$(sed -nE 's/.*"listen":([0-9]+).*/\1/p' "$folder/serve.ports")
    admin_port=$(sed -nE 's/.*"admin":([0-9]+).*/\1/p' "$folder/serve.ports")
    wait_for 40 curl -fsS "127.0.0.1:$admin_port/readyz"
    check '60: serve is ready'
    for i in 1 2 3 4; do
        client "$port" "$folder/codes.$i" &
        clients+=($!)
    done
    busy() { [ "$(cat "$folder"/codes.* 2>/dev/null | grep -c '^200 0')" -ge 20 ]; }
    wait_for 60 busy
    check '60: it answers under load'
    kill "$serve"
    ends_with "$serve" 0
    check '60: it ends with 0'
    for i in "${clients[@]}"; do wait "$i"; done
    ! cat "$folder"/codes.* | grep -vE '^(200|503) 0$|^000 7$'
    check '60: no request was cut: each was answered, or found nobody listening'
}

row_60() {
    ingest_ends
    serve_ends
}

run_rows 60
end_with_counts
