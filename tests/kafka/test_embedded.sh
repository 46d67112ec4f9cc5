#!/bin/bash
# tests/kafka/test_embedded.sh [BUILD] - faults that the embedded broker injects on command.
#
# Rows of the table of faults: 1 4 9 17 21. No Java is needed. ROWS="9" runs some.
set -u
cd "$(dirname "$0")/../.." || exit 70
bin=${bin:-$PWD/${1:-build/release}}
. tests/support/shell.sh
. tests/support/ingest.sh
script_begin kafka_embedded

not_coordinator=16 illegal_generation=22 rebalance_in_progress=27 cluster_denied=31
failures() { metric freshet_kafka_commit_failures_total; }

# Nobody listens at first.
row_1() {
    local lines
    start_ingest --set "kafka.brokers=127.0.0.1:1"
    wait_for 30 reason 'no broker could be reached'
    check '1: without brokers ingest starts, is not ready and says why'
    wait_for 30 admin /livez
    check '1: ... and lives'
    sleep 2 # some attempts later
    lines=$(grep -c 'no broker could be reached' "$folder/ingest.log")
    [ "$lines" -le 3 ]
    check "1: ... with few words ($lines lines)"
    end_ingest
    check '1: ... until it is told to end'
    running
    tell_mock down
    wait_for 60 reason kafka
    check '1: the brokers go away: not ready'
    tell_mock up
    wait_for 60 ready
    check '1: ... and come back: ready'
}

row_4() {
    running
    tell_mock refuse offset_commit "$not_coordinator" 20
    produce 200
    caught_up
    check '4: NOT_COORDINATOR, twenty times: no assignment is lost'
    right
    check '4: every user is right'
}

# Redis is the truth: what Kafka says about offsets changes nothing.
row_9() {
    local before rebalances
    running
    before=$(failures)
    rebalances=$(metric freshet_kafka_rebalances_total)
    tell_mock refuse offset_commit "$illegal_generation" 3
    produce 100
    wait_for 60 at_least freshet_kafka_commit_failures_total $((before + 1))
    check '9: a commit fails with ILLEGAL_GENERATION: counted'
    tell_mock refuse offset_commit "$rebalance_in_progress" 3
    produce 100
    wait_for 60 at_least freshet_kafka_commit_failures_total $((before + 4))
    check '9: ... and with REBALANCE_IN_PROGRESS'
    caught_up
    check '9: ... and nothing else happens'
    right
    check '9: every user is right'
}

row_17() {
    local timeouts
    running
    timeouts=$(metric 'freshet_kafka_errors_total{reason="timeout"}')
    tell_mock delay "${SOAK:+3000}${slow_ms:-}"
    produce 300
    wait_for 60 at_least freshet_ingest_lag_records 0
    caught_up
    check '17: a round trip of seconds: it catches up all the same'
    wait_for 30 few_timeouts "$timeouts"
    check '17: ... without a storm of timeouts'
    tell_mock delay 0
    right
    check '17: every user is right'
}

few_timeouts() { # BEFORE: a busy machine may see one or the other
    local now
    now=$(metric 'freshet_kafka_errors_total{reason="timeout"}') && [ "${now:-0}" -le $((${1:-0} + 5)) ]
}

# A producer that may not be idempotent is dead for good: of the two of ingest, one's for letters.
row_21() {
    end_ingest
    tell_mock refuse init_producer_id "$cluster_denied" 2
    start_ingest
    caught_up
    "$bin/freshet" simulate --quiet --past-only --warmup 50 --users 20 >/dev/null 2>>"$folder/tools.log"
    printf 'x\t{\n' | produce_lines events
    wait_for 60 grep -q 'lacks the ACL WRITE' "$folder/ingest.log"
    check '21: a producer has died, and it is said why'
    caught_up && wait_for 90 dead_letter
    check '21: new ones take over: nothing waits'
    right
    check '21: every user is right'
}
dead_letter() { "$bin/freshet" dlq list --json | grep -q '"not_json":{"count":1'; }

# ---- what is needed ------------------------------------------------------------------------------

need_programs redis-server redis-cli curl
build_tools
start_mock events:4 examples:4 dead:1
start_redis --save ''
slow_ms=1500
[ -z "${SOAK:-}" ] || slow_ms=
cat >"$FRESHET_CONFIG" <<YAML
kafka: {brokers: "$address", group: embedded, session_timeout: 6s, delivery_timeout: 5s}
redis: {url: "unix://$folder/redis.sock"}
dataset: {shards: 8, examples_partitions: 4}
features: {sequence_max: 20}
ingest: {admin: "127.0.0.1:0"}
log: {format: json}
YAML
run_rows 1 4 9 17 21
end_with_counts
