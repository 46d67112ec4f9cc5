#!/bin/bash
# tests/integration/test_sentinel.sh - FAULTS 46 and 47 with sentinels: a primary, two replicas and three
# sentinels, while ingest works.
#
# 47: the sentinels are told to fail over, with everybody alive: the old primary answers READONLY, and
# ingest finds the new one. 46: the replicas stop replicating for a moment, so that they lack what the
# primary has acknowledged, and the primary is killed: ingest notices that the state has gone back and
# reads the log again. Each time every user must equal the replay through the memory store.
#
# KEEP=1 keeps the folder.
set -u
cd "$(dirname "$0")/../.." || exit 70
. tests/support/shell.sh
. tests/support/redis_group.sh
script_begin sentinel

need_programs redis-server redis-cli
build_tools
start_mock events:4 examples:2 dead:1
start_node a && start_node b --replicaof 127.0.0.1 "${port[a]}" &&
    start_node c --replicaof 127.0.0.1 "${port[a]}"
check 'a primary and two replicas are up'
for name in s1 s2 s3; do start_sentinel "$name" a prime 2 3000; done
wait_for 60 sentinels_agree
check 'three sentinels know them all'

cat >"$FRESHET_CONFIG" <<YAML
kafka: {brokers: "$address", group: sentinel, session_timeout: 6s}
redis:
  url: "redis+sentinel://127.0.0.1:1,127.0.0.1:${port[s1]},127.0.0.1:${port[s2]},127.0.0.1:${port[s3]}/prime"
  reply_timeout: 3s
dataset: {shards: 64}
features: {sequence_max: 20}
ingest: {admin: "127.0.0.1:0"}
log: {format: json}
YAML

primary_port() { node s3 SENTINEL GET-MASTER-ADDR-BY-NAME prime | tail -n 1; }
primary_is_not() { local now; now=$(primary_port) && [ -n "$now" ] && [ "$now" != "$1" ]; }
applied() { metric 'freshet_ingest_records_total{outcome="applied"}'; }
goes_on() { local n; n=$(applied) && [ "${n:-0}" -gt "$1" ]; }
start_load() {
    "$bin/freshet" simulate --quiet --users 500 --warmup 500 --rate 60 --seed "$RANDOM" \
        >/dev/null 2>>"$folder/load.log" &
    load=$!
}
is_equal() { # MOMENT
    kill "$load" "$ingest" 2>/dev/null
    wait "$load" "$ingest" 2>/dev/null
    run ingest --until-end --json && has '"stopped":""'
    check "$1: ingest catches up and ends by itself"
    run verify --quiet --json && has '"equal":true'
    check "$1: every user equals the replay through the memory store"
}

row_47() {
    local old before
    old=$(primary_port)
    start_load
    start_ingest
    wait_for 60 goes_on 500
    check '47: ingest finds the primary through the sentinels, the first of which is not there'
    node s1 SENTINEL FAILOVER prime >/dev/null
    wait_for 60 primary_is_not "$old"
    check '47: the sentinels fail over'
    wait_for 60 ready
    before=$(applied)
    wait_for 60 goes_on $((before + 300))
    check '47: ingest goes on at the new primary by itself'
    is_equal 47
}

sentinels() { # ARG...: of each one's SENTINEL
    local name
    for name in s1 s2 s3; do node "$name" SENTINEL "$@" >/dev/null; done
}

row_46() {
    local old before name
    start_load
    start_ingest
    wait_for 60 goes_on 500
    check '46: ingest works'
    old=$(primary_port)
    sentinels SET prime failover-timeout 600000 # or they would mend what follows after six seconds
    for name in a b c; do
        [ "${port[$name]}" = "$old" ] || node "$name" REPLICAOF 127.0.0.1 1 >/dev/null
    done
    before=$(applied)
    wait_for 60 goes_on $((before + 100))
    check '46: the primary acknowledges what no replica has'
    sentinels SET prime failover-timeout 6000
    for name in a b c; do
        [ "${port[$name]}" = "$old" ] && kill -9 "${pid[$name]}"
    done
    wait_for 60 primary_is_not "$old"
    check '46: the sentinels fail over'
    rewound() { [ "$(metric freshet_ingest_rewinds_total)" -gt 0 ]; }
    wait_for 60 rewound
    check '46: ingest notices that the state went back'
    before=$(applied)
    wait_for 60 goes_on $((before + 300))
    check '46: and goes on by itself'
    is_equal 46
}

run_rows 47 46
end_with_counts
