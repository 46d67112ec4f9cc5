#!/bin/bash
# tests/kafka/test_reset.sh [BUILD] - offsets reset where the embedded broker cannot show it: to a time,
# and while the group has members.
set -u
cd "$(dirname "$0")/../.." || exit 70
bin=${bin:-$PWD/${1:-build/release}}
. tests/support/shell.sh
. tests/support/ingest.sh
script_begin kafka_reset

clicks() { # FROM TO: into the only partition
    local n
    for n in $(seq "$1" "$2"); do click "u$((n % 7))" "i$n"; done | produce_lines events
}
second_passes() { [ "$(date +%s)" -gt "$1" ]; }
# Sets at: a time after all records so far and before those that come.
moment() {
    wait_for 60 second_passes "$(($(date +%s) + 1))"
    at=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    wait_for 60 second_passes "$(date +%s)"
}
reset() { run offsets reset --partition 0 --json "$@"; } # ARG...

# ---- what is needed ------------------------------------------------------------------------------

need_programs redis-server redis-cli curl
build_tools
kafka start 1
case $? in
0) ;;
77)
    skip kafka_reset 'no Apache Kafka on this machine'
    end_with_counts
    ;;
*)
    false
    check 'Kafka starts'
    tail -n 5 "$folder/kafka.log"
    end_with_counts
    ;;
esac
address=$(cat "$folder/kafka/address")
"$bin/kafka_tool" topic "$address" events:1 examples:1 dead:1
check 'topics are made'
start_redis
cat >"$FRESHET_CONFIG" <<YAML
kafka: {brokers: "$address", group: reset, session_timeout: 6s}
redis: {url: "unix://$folder/redis.sock"}
dataset: {shards: 4}
events: {key: any}
ingest: {admin: "127.0.0.1:0"}
log: {format: json}
YAML

# ---- topics that are not there -------------------------------------------------------------------

run dlq replay --set kafka.topics.dead=none
[ "$?" = 2 ] && says 'topic "none" (kafka.topics.dead) does not exist'
check 'a topic of dead letters that is not there is named'
run dlq list --set kafka.topics.dead=none
[ "$?" = 2 ] && says 'topic "none" (kafka.topics.dead) does not exist'
check '... by list, too'
run dlq replay --apply --set kafka.topics.events=none --set kafka.topics.dead=dead
[ "$?" = 2 ] && says 'topic "none" (kafka.topics.events) does not exist'
check '... and so is the topic of their records'

# ---- while the group has members -----------------------------------------------------------------

clicks 1 20
moment
clicks 21 30
running 1
check 'ingest applies thirty events'
reset --to low --apply
[ "$?" != 0 ] && says 'group "reset" has 1 members'
check 'a reset under a living member is refused, with their number'
run verify --json && has '"verdict":"equal"' && has '"members":1' && says 'group "reset" has 1 members'
check 'verify says that somebody is at work, and equal is equal'
run offsets diff --json && has '"log_number":0' && has '"would":"start","from":30'
check '... and nothing was written'
end_ingest
start_ingest --set kafka.instance_id=static --set kafka.session_timeout=12s
caught_up 1
end_ingest
reset --to low --apply
[ "$?" != 0 ] && says 'kafka.instance_id stays a member'
check 'one with a static name stays a member for its session, and the reset says so'
wait_for 90 reset --to "$at" --apply
check 'when that has passed, the partition is reset'

# ---- to a time -----------------------------------------------------------------------------------

has '"from":30,"to":20,"log_number":1,"lost":0,"left_out":0,"again":10'
check 'a time is the first record that was written then'
run ingest --until-end --json && has '"records":10,"applied":0,"duplicate":10'
check 'what came since is read again, and known'
reset --to 2099-01-01T00:00:00Z
has '"to":30'
check 'a time after all records is the end of the log'
reset --to yesterday
[ "$?" = 2 ] && says yesterday
check 'what is no time is misuse'
moment
clicks 31 35
reset --to "$at" && has '"from":30,"to":30,' && has '"exactly_once":true'
check 'a time between what is applied and what is not costs nothing'
run ingest --until-end --json && has '"records":5,"applied":5'
check 'ingest goes on'
end_with_counts
