#!/bin/bash
# tests/faults/test_ingest_faults.sh - what happens to ingest when Redis or Kafka misbehave.
#
# Rows of the table of faults by number: 6 8 10 11 (a real broker only), 43, 44, 46, 48, 50,
# 53, 58, 60. After each row every user must equal the replay through the memory store.
set -u
cd "$(dirname "$0")/../.." || exit 70
. tests/support/shell.sh
script_begin test_ingest_faults
data=tests/data/movietweetings/movietweetings100k_events.csv.gz

caught_up() { ready && metric freshet_ingest_lag_records | grep -qx 0; }

# Redis is killed in these rows: what it has said yes to is on disk.
start_lasting_redis() { start_redis --appendonly yes --appendfsync no; }

line=0
produce() { # EVENTS
    "$bin/freshet" replay "$data" --quiet --from $((line + 2)) --limit "$1" >/dev/null 2>>"$folder/tools.log"
    line=$((line + $1))
}

equal() { "$bin/freshet" verify --quiet --json >"$folder/verify" 2>>"$folder/tools.log"; }

# ---- what is needed ----

need_programs redis-server redis-cli curl
make -s -j2 integration-tools >"$folder/build.log" 2>&1
check 'freshet and the tool build'
start_broker events:4 examples:2 dead:1
cat >"$FRESHET_CONFIG" <<YAML
kafka: {brokers: "$address", group: faults, instance_id: one, session_timeout: 6s}
redis: {url: "unix://$folder/redis.sock", reply_timeout: 1s}
dataset: {shards: 8, examples_partitions: 2}
features: {sequence_max: 20}
ingest: {admin: "127.0.0.1:0"}
log: {format: json}
YAML

# ---- 43: Redis is down at the start, and then in the middle ----

produce 500
start_ingest
wait_for 10 reason redis
check '43: without Redis ingest starts, is not ready and says why'
start_lasting_redis
wait_for 30 caught_up
check '43: it goes on by itself when Redis comes'
kill -9 "$redis_pid"
wait "$redis_pid" 2>/dev/null
produce 500
wait_for 10 reason redis
check '43: Redis dies in the middle: not ready, and alive'
! gone "$ingest"
check '43: ... the process goes on'
start_lasting_redis
wait_for 40 caught_up
check '43: it catches up after Redis is back (append-only file)'
equal
check '43: every user is right'

# ---- 44: Redis hangs ----

kill -STOP "$redis_pid"
produce 300
wait_for 10 reason 'in time'
check '44: a Redis that hangs is noticed by the deadline'
kill -CONT "$redis_pid"
wait_for 30 caught_up && equal
check '44: it goes on, and every user is right'

# ---- 48: memory is full ----

redis CONFIG SET maxmemory 1mb >/dev/null
produce 300
refused() { [ "$(metric freshet_ingest_refused_total)" -gt 0 ]; }
wait_for 15 refused
check '48: out of memory: transactions are refused whole'
redis CONFIG SET maxmemory 0 >/dev/null
wait_for 30 caught_up && equal
check '48: it goes on when there is room, and every user is right'

# ---- 50, 58: keys are deleted by hand ----

claims=$(metric freshet_ingest_claims_total)
meta=$(redis --scan --pattern 'fr{*}mevents:0:0' | head -n 1)
redis DEL "$meta" >/dev/null
user=$(redis --scan --pattern 'fr{*}u*' | head -n 1)
produce 200
claimed_again() { [ "$(metric freshet_ingest_claims_total)" -gt "$claims" ] && caught_up; }
wait_for 40 claimed_again
check '50: a deleted m is read again from the recorded start'
# What was applied after the start is applied once more: the sequences are sets, so users stay right.
equal
sed -n 's/.*"users_different":\([0-9]*\),"users_missing":\([0-9]*\).*/\1 \2/p' "$folder/verify" | grep -qx '0 0'
check '50: every user is right'

# ---- 53: another program's key where a user should be ----

redis DEL "$user" >/dev/null
redis LPUSH "$user" 'not ours' >/dev/null
kill "$ingest" && wait "$ingest"
check '60: SIGTERM drains and ends with 0'
name=${user#*\}u}
printf '%s\t{"type":"click","user":"%s","item":"q","ts":1380000000000}\n' "$name" "$name" |
    "$bin/kafka_tool" produce "$address" events
start_ingest
wait_for 40 caught_up
check '53: a key of another type does not stop the partition'
"$bin/freshet" dlq list --json 2>/dev/null | grep -q '"quarantined":{"count":1'
check '53: ... its event is in the dead letters'
redis DEL "$user" >/dev/null

# ---- 46: a failover that lost writes: the data of a moment ago ----

redis BGREWRITEAOF >/dev/null
redis CONFIG SET appendonly no >/dev/null
redis SAVE >/dev/null
cp "$folder/dump.rdb" "$folder/earlier.rdb"
produce 1000
wait_for 40 caught_up
kill -9 "$redis_pid"
wait "$redis_pid" 2>/dev/null
rm -rf "$folder/appendonlydir"
cp "$folder/earlier.rdb" "$folder/dump.rdb"
start_redis
rewound() { [ "$(metric freshet_ingest_rewinds_total)" -gt 0 ]; }
wait_for 30 rewound
check '46: a rollback of Redis is noticed under a quiet topic'
sleep 1.5 # one report of /readyz later
wait_for 40 caught_up
check '46: what was lost is read again'
equal
sed -n 's/.*"users_different":\([0-9]*\),.*/\1/p' "$folder/verify" | grep -qx 0
check '46: no user differs'

# ---- what only a real broker does ----

if [ "$broker" = apache ]; then
    # 8: the same static name twice
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
    # 11: the topic is deleted and made anew, shorter than what is applied
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
else
    skip 'test_ingest_faults 8, 11' 'no Apache Kafka; the embedded broker has no fencing'
fi
end_with_counts
