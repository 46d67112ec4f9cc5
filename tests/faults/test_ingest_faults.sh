#!/bin/bash
# tests/faults/test_ingest_faults.sh - a second instance of one name, and a topic made anew.
#
# Rows 8 and 11 of the table of faults, each alone by ROWS="8"; only a real broker does them. Those
# of Redis are in test_redis_faults.sh, those of a process in test_process_faults.sh.
set -u
cd "$(dirname "$0")/../.." || exit 70
. tests/support/shell.sh
script_begin test_ingest_faults
data=tests/data/movietweetings/movietweetings100k_events.csv.gz

# By what Redis holds, not by a metric that is a second old.
caught_up() { ready && "$bin/freshet" offsets list --json 2>>"$folder/tools.log" | grep -q '"lag":0}}$'; }

line=0
produce() { # EVENTS
    "$bin/freshet" replay "$data" --quiet --from $((line + 2)) --limit "$1" >/dev/null 2>>"$folder/tools.log"
    line=$((line + $1))
}

# ---- what is needed ----

need_programs redis-server redis-cli curl
make -s -j2 integration-tools >"$folder/build.log" 2>&1
check 'freshet and the tool build'
start_broker events:4 examples:2 dead:1
start_redis
cat >"$FRESHET_CONFIG" <<YAML
kafka: {brokers: "$address", group: faults, instance_id: one, session_timeout: 6s}
redis: {url: "unix://$folder/redis.sock", reply_timeout: 1s}
dataset: {shards: 8, examples_partitions: 2}
features: {sequence_max: 20}
ingest: {admin: "127.0.0.1:0"}
log: {format: json}
YAML

# Ingest runs, and all is applied.
begin() {
    [ -n "${ingest:-}" ] && ! gone "$ingest" || start_ingest
    produce 300
    wait_for 60 caught_up
}

# ---- what only a real broker does ----

# The same static name twice.
row_8() {
    local fenced second
    if [ "$broker" != apache ]; then
        skip 'test_ingest_faults 8, 11' 'no Apache Kafka; the embedded broker has no fencing'
        return
    fi
    begin
    fenced=$ingest
    start_ingest
    second=$ingest
    wait_for 60 gone "$fenced" || kill -9 "$fenced"
    wait "$fenced"
    [ "$?" = 75 ]
    check '8: the older instance of one name ends with 75'
    ingest=$second
    wait_for 60 caught_up
    check '8: the newer one works'
}

# The topic is deleted and made anew, shorter than what is applied.
row_11() {
    [ "$broker" = apache ] || return
    begin
    kill "$ingest" && wait "$ingest"
    bash tests/kafka/kafka.sh delete-topic "$folder/kafka" events >>"$folder/kafka.log" 2>&1
    bash tests/kafka/kafka.sh topic "$folder/kafka" events 4 >>"$folder/kafka.log" 2>&1
    start_ingest
    wait_for 60 reason 'offset_ahead_of_log\|log_changed'
    check '11: a topic made anew is refused, with the reason on /readyz'
    kill "$ingest"
    wait "$ingest"
    [ "$?" = 1 ]
    check '11: ... and in the exit code'
}

run_rows 8 11
end_with_counts
