#!/bin/bash
# tests/integration/test_offsets.sh - offsets list, diff and reset over a real Redis and the embedded
# broker: what diff foresees is what ingest then does, and what reset says it means is what happens.
set -u
cd "$(dirname "$0")/../.." || exit 70
. tests/support/shell.sh
script_begin offsets

need_programs redis-server redis-cli
build_tools
start_redis

configure() {
    cat >"$FRESHET_CONFIG" <<YAML
kafka: {brokers: "$address", group: offsets, session_timeout: 4s}
redis: {url: "unix://$folder/redis.sock"}
dataset: {shards: 4}
events: {key: any}
ingest: {admin: "127.0.0.1:0", drain: 1s}
YAML
}
clicks() { # FROM TO: one user each, all in partition 0 of the only topic
    for n in $(seq "$1" "$2"); do
        printf 'u%d\t{"type":"click","user":"u%d","item":"i%d","ts":%d}\n' \
            $((n % 7)) $((n % 7)) "$n" $((1700000000000 + n * 1000))
    done
}
digest() { redis --scan --pattern 'fr{*}*' | sort | while read -r key; do
    printf '%s %s\n' "$key" "$(redis DUMP "$key" | cksum)"
done; }
stops_for() { # REASON
    start_ingest
    wait_for 60 reason "0: $1"
    local seen=$?
    kill "$ingest"
    wait "$ingest"
    return "$seen"
}
entries() { # USER
    run features show "$1" --json && grep -o '"item"' "$folder/out" | wc -l
}

start_mock events:1 examples:1 dead:1
configure
run offsets diff
[ "$?" = 2 ] && says 'start `freshet ingest`'
check 'diff without a data set says so'
clicks 1 40 | produce_lines events
run ingest --until-end --json && has '"applied":40'
check 'ingest applies the events'

# ---- diff ----

run offsets diff --json && has '"next":40,"next_max":40' && has '"would":"start","from":40,"lag":0,"again":0' && has '"stops":0'
check 'diff foresees that ingest goes on'
clicks 41 50 | produce_lines events
run offsets diff && has 'would start at 40, 10 records behind'
check '... and how far it is behind'
run offsets list --json && has '"next":40,"next_max":40,"high":50,"lag":10'
check 'list shows both nexts'

# ---- reset: what is refused, and that nothing is written then ----

digest >"$folder/before"
run offsets reset
[ "$?" = 2 ] && says '--partition and --to'
check 'reset without a place is misuse'
run offsets reset --partition 5 --to low
[ "$?" = 2 ] && says 'no partition 5'
check 'a partition that is not there is named'
run offsets reset --partition 0 --to 51
[ "$?" = 2 ] && says 'holds 0 to 50: 51 is outside'
check 'an offset outside the log is refused'
run offsets reset --partition 0 --to yesterday
[ "$?" = 2 ] && says 'a time with a zone'
check 'what is no place is refused'
run offsets reset --partition 0 --to low --dry-run --apply
[ "$?" = 2 ] && says 'either'
check 'dry run and apply exclude each other'
run offsets reset --partition 0 --to high && has 'left out: up to 10 records' && has 'not exactly-once' && has '--apply and --accept-loss'
check 'a dry run says what is left out, and what would do it'
run offsets reset --partition 0 --to 40 && has 'nothing is lost and nothing applied twice'
check 'a reset to where Redis is costs nothing'
run offsets reset --partition 0 --to high --apply
[ "$?" = 1 ] && says 'accept-loss'
check 'a loss that was not accepted is refused'
digest | cmp -s - "$folder/before"
check 'nothing was written so far'
run offsets reset --partition 0 --to 40 --apply --watch 1s
[ "$?" = 2 ] && says 'watch is at least 2s'
check 'who cannot be asked is watched for at least two ticks'
digest | cmp -s - "$folder/before"
check '... and nothing was written'
start_ingest
wait_for 60 ready
run offsets reset --partition 0 --to low --apply
[ "$?" = 73 ] && says 'stop it first' && { says 'has 1 members' || says 'only a token was stored'; }
check 'a living ingest is seen, and the reset refused'
clicks 51 52 | produce_lines events
caught_up() { run offsets list --json && has '"next":52'; }
wait_for 60 caught_up
check '... and ingest is not disturbed'
kill "$ingest"
wait "$ingest"

# ---- back to the beginning: everything again, sequences unchanged ----

before=$(entries u3)
run offsets reset --partition 0 --to low --apply --json && has '"applied":true' && has '"from":52,"to":0,"log_number":1,"lost":0,"left_out":0,"again":52' && has '"exactly_once":false'
check 'back to the beginning'
run offsets diff --json && has '"log_number":1' && has '"next":0,"next_max":-1,"begun":false' &&
    has '"would":"start","from":0,"lag":52'
check 'diff foresees it'
run offsets diff && has 'reset (1 times in all) and not read since' &&
    has 'at 52 in Kafka, from before the reset' && ! has lost && ! has ' -1 '
check '... and says that it was a reset, not a loss'
run offsets list --json && has '"start":0,"next":0,"next_max":-1,"high":52,"lag":52,"begun":false'
check 'list says where ingest begins'
run offsets list && has 'reset: ingest begins at 0' && ! has ' -1 '
check '... for people, too'
run ingest --until-end --json && has '"records":52,"applied":0,"duplicate":52'
check 'all of it is read again and known as duplicates'
[ "$(entries u3)" = "$before" ] && [ "$before" -gt 0 ]
check 'sequences are what they were'

run verify
says 'partition 0 was reset and begins at 0'
check 'verify says that it cannot judge the partition'

# ---- forward: what is left out is counted and never applied ----

clicks 53 60 | produce_lines events
run offsets reset --partition 0 --to 57 --apply --accept-loss --json && has '"from":52,"to":57,"log_number":2,"lost":0,"left_out":5'
check 'forward over five records'
run ingest --until-end --json && has '"records":3,"applied":3'
check 'they are never applied, the next ones are'
run offsets list --json && has '"start":57,"next":60' && has '"skipped":5'
check 'and they stay counted'
run offsets list && has '5 skipped by resets' && has 'reset to 57'
check '... for people, too'

run offsets diff && ! has lost && ! has reset
check 'diff has nothing to say of a reset once ingest has read on'

# ---- broken off in the middle ----

redis HSET 'fr{02}mevents:0:2' closed "$(redis HGET 'fr{02}mevents:0:2' state)" state closed >/dev/null
run offsets diff
[ "$?" = 1 ] && has 'broken off'
check 'a reset that was broken off is seen'
run offsets list && has 'a reset was broken off'
check '... by list, too'
stops_for state_damaged
check '... and ingest stops the partition'
run offsets reset --partition 0 --to 60 --apply --json && has '"left_out":0,"again":0' && has '"exactly_once":true'
check 'the same command finishes it'
clicks 61 62 | produce_lines events
run ingest --until-end --json && has '"records":2,"applied":2'
check '... and ingest goes on'

# ---- another log ----

start_mock events:1 examples:1 dead:1
configure
clicks 101 110 | produce_lines events
run offsets diff
[ "$?" = 1 ] && has 'would stop: offset_ahead_of_log (Redis 62, the log 10)' && has 'freshet offsets reset --partition 0 --to low'
check 'a shorter log is seen, with the remedy'
stops_for offset_ahead_of_log
check 'ingest does what diff foresaw'
run offsets reset --partition 0 --to high && has 'not the log that was applied' && has 'left out: up to 10 records' && has '--accept-loss'
check 'a reset does not take what was applied of the old log for applied of this one'
clicks 111 170 | produce_lines events
run offsets diff --json
[ "$?" = 1 ] && has '"would":"stop","reason":"log_changed"'
check 'a longer one, too, by its records'
stops_for log_changed
check 'ingest does what diff foresaw'
run ingest --until-end --json
[ "$?" = 1 ] && has '"stopped":"0: log_changed'
check '... and comes to its end, which is a no'
run offsets reset --partition 0 --to 62 --apply
[ "$?" = 1 ] && says '62 records' && says 'accept-loss'
check 'going on in it at the same offset leaves out what it holds below, and is refused'
redis HSET 'fr{02}mevents:0:3' closed "$(redis HGET 'fr{02}mevents:0:3' state)" state closed >/dev/null
run offsets reset --partition 0 --to 62 --json && has '"other_log":true' && has '"left_out":62'
check '... also when a reset was broken off'
run offsets reset --partition 0 --to low --apply --json && has '"to":0,"log_number":4'
check 'the new log is accepted'
run ingest --until-end --json && has '"records":70,"applied":70'
check 'and applied from its beginning'

# ---- a shard's keys are gone ----

redis DEL 'fr{01}mevents:0:4' >/dev/null
run offsets diff --json && has '"shards_absent":1' && has '"would":"start","from":0,"lag":70,"again":70'
check 'a shard that lost its keys is read again from the recorded start'
run ingest --until-end --json
check '... which ingest does'
# ---- diff while ingest is at work ----

# Everything moves while it is read: rows are appended behind the `next` that was seen, the group's
# offset and the end of the log go on.
diff_is_right() {
    local ran=0 wrong=0
    "$bin/freshet" simulate --warmup 30000 --past-only --quiet >/dev/null 2>>"$folder/tools.log" &
    local crowd=$!
    while { kill -0 "$crowd" 2>/dev/null || [ "$ran" -lt 3 ]; } && [ "$ran" -lt 60 ]; do
        run offsets diff
        grep -qE 'damaged|has lost|would stop' "$folder/out" "$folder/err" && wrong=$((wrong + 1))
        ran=$((ran + 1))
    done
    kill "$crowd" 2>/dev/null
    wait "$crowd"
    [ "$wrong" = 0 ] || echo "wrong in $wrong of $ran"
    [ "$wrong" = 0 ]
}
redis FLUSHALL >/dev/null
start_mock events:4 examples:2 dead:1
configure
start_ingest
wait_for 60 ready
diff_is_right
check 'diff calls nothing damaged or lost while ingest is at work'
kill "$ingest"
wait "$ingest"
end_with_counts
