#!/bin/bash
# tests/integration/test_kill_ingest.sh - kill -9 at every named crash point and at random moments.
#
# A replay of MovieTweetings, synthetic sessions with impressions, ugly records and erasures flow
# through Kafka (Apache where it can be had, else the embedded broker) into a private Redis while
# ingest is killed again and again. In the end every user must equal the replay through the memory
# store (freshet verify) and tests/oracle.py must agree, counts included (FAULTS 59).
#
# ROUNDS=n random kills (default 4), BROKER=mock for the embedded broker, KEEP=1 keeps the folder.
set -u
cd "$(dirname "$0")/../.." || exit 70
rounds=${ROUNDS:-4}
events=${EVENTS:-1500} # of MovieTweetings, a round
bin=$PWD/build/release-crash
. tests/support/shell.sh
script_begin test_kill_ingest

# ---- what is needed ----

need_programs redis-server redis-cli
build_tools CRASH_POINTS=1
start_broker events:8 examples:4 dead:1
start_redis
check 'redis and kafka are up'

cat >"$FRESHET_CONFIG" <<YAML
kafka:
  brokers: "$address"
  group: kill
  instance_id: kill-1
  session_timeout: 6s
redis:
  url: "unix://$folder/redis.sock"
dataset:
  shards: 16
  examples_partitions: 4
features:
  sequence_max: 20
ingest:
  admin: "127.0.0.1:0"
model: {folder: "$folder/models"}
retrain: {admin: "127.0.0.1:0", folder: "$folder/retrain"}
log:
  format: json
YAML

# ---- what is produced ----

line=0
produce() { # ROUND
    local past
    "$bin/freshet" replay tests/data/movietweetings/movietweetings100k_events.csv.gz --quiet \
        --from $((line + 2)) --limit "$events" >/dev/null 2>>"$folder/tools.log" || return 1
    line=$((line + events))
    # From the second half on there are lists and labels; their times make the old ratings late.
    past=$(($1 * 2 > total ? 1 : 0))
    if [ "$past" = 1 ]; then
        "$bin/freshet" simulate --quiet --past-only --warmup 60 --users 200 --seed "$1" \
            >/dev/null 2>>"$folder/tools.log" || return 1
        "$bin/freshet" erase "u00000$(($1 % 10))" >/dev/null 2>>"$folder/tools.log" || return 1
    fi
    printf '%s\t%s\n' 1 '{' 2 '[]' 3 '{"type":"click","user":"3"}' \
        4 '{"type":"click","user":"5","item":"i","ts":1700000000000}' \
        '' '{"type":"click","user":"6","item":"i","ts":1700000000000}' \
        7 '{"type":"click","user":"7","item":"i","ts":-1}' \
        8 '{"type":"dance","user":"8","item":"i","ts":1700000000000}' \
        9 '{"type":"click","user":"9","item":"i","ts":1e999}' |
        "$bin/kafka_tool" produce "$address" events 2>>"$folder/tools.log"
}


# ---- the sweep ----

points=$(sed -n 's/^ *X(\([a-z_]*\)).*/\1/p' ingest/crash_point.h)
total=$(($(wc -w <<<"$points") + rounds))
round=0
for point in $points; do
    round=$((round + 1))
    produce "$round"
    check "59: round $round: events are produced"
    case $point in # how often it is passed before the kill
    before_exec | after_exec_sent | after_reply) count=$((1 + RANDOM % 12)) ;;
    after_claim) count=$((1 + RANDOM % 100)) ;;
    *) count=1 ;;
    esac
    FRESHET_CRASH_POINT=$point:$count start_ingest --until-end
    if [ "$point" = in_rebalance ]; then
        first=$ingest
        sleep 2
        start_ingest --until-end --set kafka.instance_id=kill-2
        wait_for 120 gone "$first"
        check "59: killed at $point"
        wait "$first" 2>/dev/null
        kill -9 "$ingest" 2>/dev/null
        wait "$ingest" 2>/dev/null
        continue
    fi
    wait_for 120 gone "$ingest"
    wait "$ingest" 2>/dev/null
    [ "$?" = 137 ]
    check "59: killed at $point:$count"
    kill -9 "$ingest" 2>/dev/null
done
for ((i = 1; i <= rounds; i++)); do
    round=$((round + 1))
    produce "$round"
    check "59: round $round: events are produced"
    start_ingest --until-end
    sleep "$((RANDOM % 3)).$((RANDOM % 10))$((RANDOM % 10))"
    kill -9 "$ingest" 2>/dev/null
    wait "$ingest" 2>/dev/null
done

# ---- the judgement ----

started=$SECONDS
start_ingest
wait_for 120 ready
check "59: after the last kill it is ready again, within $((SECONDS - started)) s and without a hand"
kill "$ingest"
wait "$ingest"
start_ingest --until-end
wait_for 180 gone "$ingest"
wait "$ingest"
check '59: ingest catches up and ends by itself'
run retrain --once --json # what it counts is judged, too
[ "$?" -le 1 ]
check '59: the trainer reads it'
"$bin/freshet" verify --quiet --json --dump "$folder/dump" \
    --items "$folder/retrain/$(cat "$folder/retrain/checkpoint")" 2>"$folder/verify.log" | tail -n 1
[ "${PIPESTATUS[0]}" = 0 ]
check '59: users, counts, examples and item counts are those of the replay'
head -n 5 "$folder/verify.log"
if command -v python3 >/dev/null; then
    python3 tests/oracle.py "$folder/dump"
    check '59: the oracle agrees'
else
    skipped=$((skipped + 1))
    printf 'skipped oracle: no python3\n'
fi
left=$(redis --scan --pattern 'fr{*}o*' | while read -r key; do redis XLEN "$key"; done | awk '{ n += $1 } END { print n + 0 }')
[ "$left" = 0 ]
check "59: outboxes are empty ($left rows left)"
end_with_counts
