#!/bin/bash
# tests/kafka/test_cluster.sh [BUILD] - ingest on a Kafka of three brokers that fail, move and forget.
#
# Rows of the table of faults: 2-8, 10-13, 20. After each of them every user must equal the replay
# through the memory store. ROWS="5 6" runs some; SOAK=1 takes the long forms.
set -u
cd "$(dirname "$0")/../.." || exit 70
bin=${bin:-$PWD/${1:-build/release}}
. tests/support/shell.sh
. tests/support/ingest.sh
script_begin kafka_cluster
outage=${SOAK:+60} rounds=${SOAK:+30}

leads() { [ "$(kafka leader "$1" "$2")" = "$3" ]; } # TOPIC PARTITION BROKER
rebalanced() { at_least freshet_kafka_rebalances_total "$1"; }

# ---- brokers -------------------------------------------------------------------------------------

row_2() {
    running
    produce 300
    kafka kill 1 2 3
    wait_for 60 reason kafka
    check '2: all brokers die: not ready, and the reason is Kafka'
    sleep "${outage:-3}"
    ! gone "$ingest" && wait_for 30 admin /livez
    check '2: ... the process goes on'
    kafka restart 1 2 3
    caught_up
    check '2: it goes on by itself when they are back'
    wait_for 60 produce 300
    caught_up && right
    check '2: nothing lost, nothing twice'
}

row_3() {
    local broker producer
    running
    (for _ in 1 2 3 4 5 6; do produce 300; done) &
    producer=$!
    line=$((line + 1800))
    for broker in 2 3 1; do
        kafka lead events 4 "$broker"
        wait_for 60 leads events 0 "$broker"
        check "3: broker $broker leads partition 0"
    done
    wait "$producer"
    check '3: producers go on over leader changes'
    caught_up && right
    check '3: readers too: no gap, nothing twice'
    kafka kill 3
    produce 300 && caught_up && right
    check '3: one of three brokers dies: two replicas are in sync, and that is enough'
    kafka restart 3
}

# What the group has committed is the end of the log.
hints_arrive() {
    kafka tool org.apache.kafka.tools.consumer.group.ConsumerGroupCommand --describe \
        --group cluster | awk '$2 == "events" { rows++; lag += $6 } END { exit rows != 4 || lag != 0 }'
}

row_4() {
    local broker
    running
    for broker in 2 3; do
        kafka lead __consumer_offsets 4 "$broker"
        wait_for 60 leads __consumer_offsets 0 "$broker"
        check "4: the group's coordinator moves to another broker, $broker for one"
    done
    produce 300
    caught_up
    check '4: no assignment is lost'
    wait_for 60 hints_arrive
    check '4: what is applied is committed with the new coordinator'
    right
    check '4: every user is right'
}

# ---- the group -----------------------------------------------------------------------------------

row_5() {
    local round before
    running
    before=$(metric freshet_kafka_rebalances_total)
    for round in $(seq "${rounds:-4}"); do
        start_second
        produce 200
        wait_for 60 of_second at_least freshet_ingest_partitions 1
        check "5: round $round: a second one joins and is given partitions"
        # In turn: it leaves, or it dies and is missed when its session has ended.
        if [ $((round % 2)) = 0 ]; then kill "$second"; else kill -9 "$second"; fi
        wait "$second" 2>/dev/null
        produce 200
    done
    caught_up
    check '5: in the end one has all partitions'
    wait_for 30 rebalanced $((before + 4))
    check '5: ... after that many rebalances'
    right
    check '5: one owner at a time: every user is right'
}

# Each of two processes has some of the partitions, and all have an owner.
shared() {
    local first second
    first=$(metric freshet_ingest_partitions) && second=$(of_second metric freshet_ingest_partitions) &&
        [ "${first:-0}" -gt 0 ] && [ "${second:-0}" -gt 0 ] && [ $((first + second)) = 4 ]
}
was_told() {
    grep -q '"event":"partition_revoked".*"how":"lost"' "$folder/ingest.log" ||
        at_least freshet_ingest_fenced_total 1
}

row_6() {
    local fenced
    running
    start_second
    wait_for 60 of_second at_least freshet_ingest_partitions 2
    produce 1000
    kill -STOP "$ingest"
    produce 1000
    of_second caught_up
    check '6: of a process that hangs longer than its session the other takes all over'
    kill -CONT "$ingest"
    wait_for 60 was_told # before: what its metrics say is of the time before it slept
    check '6: the zombie is told, by Kafka or by Redis, that others have its partitions'
    wait_for 90 shared
    check '6: ... and joins again'
    kill "$second" && wait "$second"
    caught_up && right
    check '6: every user is right'
    # Kafka may tell first. A process of another group cannot be told: only the fence holds it.
    fenced=$(metric freshet_ingest_fenced_total)
    start_second --set kafka.group=another
    wait_for 60 at_least freshet_ingest_fenced_total $((${fenced:-0} + 1))
    check '6: what an owner writes whose partitions were claimed elsewhere is fenced'
    produce 500
    kill "$second" && wait "$second"
    caught_up && right
    check '6: ... and when the other is gone, it claims them again: every user is right'
}

# The queue is full, the store hangs: the group must see us poll all the same.
row_7() {
    local before
    end_ingest
    # A session as long as kafka.max_poll may be: a busy machine loses no member by a late heartbeat.
    start_ingest --set ingest.backlog=64 --set redis.reply_timeout=30s --set kafka.session_timeout=10s
    caught_up
    before=$(metric freshet_kafka_rebalances_total)
    kill -STOP "$redis_pid"
    produce 2000
    sleep 14 # longer than kafka.max_poll
    kill -CONT "$redis_pid"
    caught_up
    check '7: a store that hangs longer than kafka.max_poll is waited for'
    is_number "$before" && wait_for 30 same_rebalances "$before"
    check '7: ... without losing the partitions'
    right
    check '7: every user is right'
    end_ingest
}

same_rebalances() { [ "$(metric freshet_kafka_rebalances_total)" = "$1" ]; }

row_8() {
    local first
    running
    first=$ingest
    start_ingest
    wait_for 60 gone "$first"
    wait "$first"
    [ "$?" = 75 ]
    check '8: the older process of one static name ends with 75'
    grep -q '"event":"[a-z_]*".*instance' "$folder/ingest.log"
    check '8: ... and says why'
    caught_up && right
    check '8: the newer one works'
}

# ---- the log -------------------------------------------------------------------------------------

row_10() {
    local applied='freshet_ingest_records_total{outcome="applied"}' before
    running
    end_ingest
    produce 200
    kafka delete-records events 0 -1
    start_ingest
    wait_for 60 reason 'partitions stopped: 0: data_lost'
    check '10: records were deleted before they were read: the partition stops and says so'
    wait_for 60 at_least freshet_ingest_partitions_stopped 1
    check '10: ... by a metric, too'
    before=$(metric "$applied")
    produce 200
    more() { [ "$(metric "$applied")" -gt "${before:-0}" ]; }
    wait_for 60 more
    check '10: the other partitions go on'
    end_ingest
    [ "$?" = 1 ]
    check '10: ... and the exit code says that something is wrong'
    begin_anew
}

row_11() {
    running
    produce 100
    caught_up
    end_ingest
    kafka delete-topic events
    wait_for 90 "$bin/kafka_tool" topic "$address" events:4
    start_ingest
    wait_for 60 reason offset_ahead_of_log
    check '11: a topic made anew and shorter than what is applied is refused'
    end_ingest
    [ "$?" = 1 ]
    check '11: ... with an exit code'
    produce 5000
    start_ingest
    wait_for 60 reason 'stopped: .*log_changed'
    check '11: one that is longer already is refused by its records'
    end_ingest
    begin_anew
    produce 100
    caught_up && right
    check '11: a rebuild brings the state of the new log'
}

# The last one: the topic keeps its partitions. The same users' events come in two of them, which
# two processes read.
row_12() {
    local round
    running
    produce 300
    caught_up
    kafka tool org.apache.kafka.tools.TopicCommand --alter --topic events --partitions 8 >/dev/null
    caught_up 8
    check '12: new partitions are found and read from their beginning'
    produce 300
    caught_up 8 && right
    check '12: keys that moved to another partition: every user is right'
    start_second
    wait_for 60 of_second at_least freshet_ingest_partitions 4
    for round in 1 2 3; do
        click twice "a$round" 30 | "$bin/kafka_tool" transact "$address" events 0 commit
        both settled 4
        click twice "b$round" 20 | "$bin/kafka_tool" transact "$address" events 7 commit
        both settled 4
    done
    check '12: a user whose events come by two processes in turn'
    kill "$second" && wait "$second"
    caught_up 8 && right
    check '12: ... is right, too'
}
both() { wait_for 60 "$@" && wait_for 60 of_second "$@"; }

# Redis is restored to what it was; the group's offset is further than that.
row_13() {
    running
    redis SAVE >/dev/null
    cp "$folder/dump.rdb" "$folder/earlier.rdb"
    produce 500
    caught_up
    end_ingest
    check '13: a clean end commits what is applied'
    kill -9 "$redis_pid"
    wait "$redis_pid" 2>/dev/null
    cp "$folder/earlier.rdb" "$folder/dump.rdb"
    start_redis
    start_ingest
    caught_up
    right
    check "13: reading starts where Redis is, not at the group's offset: every user is right"
}

# ---- producing -----------------------------------------------------------------------------------

outbox_rows() {
    redis --scan --pattern 'fr{*}o*' | while read -r key; do redis XLEN "$key"; done |
        awk '{ rows += $1 } END { print rows + 0 }'
}
sessions() { # NUMBER: impressions, labels, clicks of simulated users
    "$bin/freshet" simulate --quiet --past-only --warmup "$1" --seed "$1" --users 50 >/dev/null \
        2>>"$folder/tools.log"
}
outboxes_hold() { [ "$(outbox_rows)" -ge "$1" ]; }
outboxes_empty() { [ "$(outbox_rows)" = 0 ]; }
behind() { at_least freshet_ingest_lag_records 500; }

row_20() {
    local held
    end_ingest
    # Broker 3 may be the group's coordinator: the session outlives its move.
    start_ingest --set ingest.outbox=20 --set kafka.delivery_timeout=2s \
        --set kafka.topics.examples=strict --set kafka.session_timeout=45s --set kafka.max_poll=60s
    caught_up
    kafka kill 3
    sessions 300
    wait_for 60 outboxes_hold 100
    check '20: NOT_ENOUGH_REPLICAS: examples stay in the outbox'
    wait_for 60 reason 'kafka did not take an example'
    check '20: ... ingest is not ready and says why'
    sessions 3000
    wait_for 90 behind
    held=$(outbox_rows)
    [ "$held" -le 4000 ]
    check "20: ... partitions pause at the limit ($held rows)"
    kafka restart 3
    wait_for 90 outboxes_empty
    check '20: they are sent when the replica is back'
    caught_up && right --set kafka.topics.examples=strict
    check '20: every user and example is right'
    begin_anew
}

# ---- what is needed ------------------------------------------------------------------------------

need_programs redis-server redis-cli curl
build_tools
kafka start 3
case $? in
0) ;;
77)
    skip kafka_cluster 'no Apache Kafka on this machine'
    end_with_counts
    ;;
*)
    false
    check 'a Kafka of three starts'
    tail -n 5 "$folder/kafka.log"
    end_with_counts
    ;;
esac
address=$(cat "$folder/kafka/address")
"$bin/kafka_tool" topic "$address" events:4 examples:4 dead:1
check 'topics are made'
kafka topic strict 4 min.insync.replicas=3
start_redis --save ''
cat >"$FRESHET_CONFIG" <<YAML
kafka: {brokers: "$address", group: cluster, instance_id: one, session_timeout: 4s, max_poll: 10s}
redis: {url: "unix://$folder/redis.sock", reply_timeout: 2s}
dataset: {shards: 8, examples_partitions: 4}
features: {sequence_max: 20}
ingest: {admin: "127.0.0.1:0"}
log: {format: json}
YAML
run_rows 2 3 4 13 / 5 6 7 8 / 20 10 11 12
end_with_counts
