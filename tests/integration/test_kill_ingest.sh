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
passed=0 failed=0 skipped=0
folder=$(mktemp -d "${TMPDIR:-/tmp}/freshet-kill-XXXXXX")
bin=$PWD/build/release-crash
pids=()

check() { # NAME: what the last command says
    if [ "$?" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n' "$1"
        [ -f "$folder/ingest.log" ] && tail -n 5 "$folder/ingest.log"
    fi
}

finish() {
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    done
    [ -f "$folder/kafka/address" ] && bash tests/kafka/kafka.sh stop "$folder/kafka" 2>/dev/null
    [ -n "${KEEP:-}" ] || rm -rf "$folder"
}
trap finish EXIT

end_with_counts() {
    printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    [ "$failed" = 0 ]
    exit
}

skip_all() {
    printf 'skipped test_kill_ingest: %s\n' "$1"
    skipped=1
    end_with_counts
}

wait_for() { # SECONDS COMMAND...
    local left=$(($1 * 20))
    shift
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 0.05
    done
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# ---- what is needed ----

command -v redis-server >/dev/null || skip_all 'no redis-server on PATH'
make -s -j2 CRASH_POINTS=1 integration-tools >"$folder/build.log" 2>&1 ||
    { tail -n 20 "$folder/build.log"; false; }
check 'the variant with crash points builds'
[ -x "$bin/freshet" ] || end_with_counts

redis-server --port 0 --unixsocket "$folder/redis.sock" --save '' --appendonly no \
    --dir "$folder" --logfile redis.log --daemonize no &
pids+=("$!")
broker=mock
if [ "${BROKER:-apache}" = apache ] && [ -f tests/kafka/kafka.sh ] &&
    bash tests/kafka/kafka.sh start "$folder/kafka" 2>"$folder/kafka.log"; then
    broker=apache
    address=$(cat "$folder/kafka/address")
    for topic in events:8 examples:4 dead:1; do
        bash tests/kafka/kafka.sh topic "$folder/kafka" "${topic%:*}" "${topic#*:}" >>"$folder/kafka.log" 2>&1
    done
else
    "$bin/kafka_tool" broker events:8 examples:4 dead:1 >"$folder/address" &
    pids+=("$!")
    wait_for 10 test -s "$folder/address"
    address=$(cat "$folder/address")
fi
wait_for 10 test -S "$folder/redis.sock"
check 'redis and kafka are up'
printf 'broker: %s\n' "$broker"

cat >"$folder/freshet.yaml" <<YAML
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
log:
  format: json
YAML
export FRESHET_CONFIG=$folder/freshet.yaml

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

start_ingest() { # ARG...
    "$bin/freshet" ingest --until-end "$@" >>"$folder/out.log" 2>>"$folder/ingest.log" &
    ingest=$!
}

# ---- the sweep ----

points=$(sed -n 's/^ *X(\([a-z_]*\)).*/\1/p' ingest/crash_point.h)
total=$(($(wc -w <<<"$points") + rounds))
round=0
for point in $points; do
    round=$((round + 1))
    produce "$round"
    check "round $round: events are produced"
    case $point in # how often it is passed before the kill
    before_exec | after_exec_sent | after_reply) count=$((1 + RANDOM % 12)) ;;
    after_claim) count=$((1 + RANDOM % 100)) ;;
    *) count=1 ;;
    esac
    FRESHET_CRASH_POINT=$point:$count start_ingest
    if [ "$point" = in_rebalance ]; then
        first=$ingest
        sleep 2
        start_ingest --set kafka.instance_id=kill-2
        wait_for 40 gone "$first"
        check "killed at $point"
        wait "$first" 2>/dev/null
        kill -9 "$ingest" 2>/dev/null
        wait "$ingest" 2>/dev/null
        continue
    fi
    wait_for 40 gone "$ingest"
    wait "$ingest" 2>/dev/null
    [ "$?" = 137 ]
    check "killed at $point:$count"
    kill -9 "$ingest" 2>/dev/null
done
for ((i = 1; i <= rounds; i++)); do
    round=$((round + 1))
    produce "$round"
    check "round $round: events are produced"
    start_ingest
    sleep "$((RANDOM % 3)).$((RANDOM % 10))$((RANDOM % 10))"
    kill -9 "$ingest" 2>/dev/null
    wait "$ingest" 2>/dev/null
done

# ---- the judgement ----

start_ingest
wait_for 60 gone "$ingest"
wait "$ingest"
check 'ingest catches up and ends by itself'
"$bin/freshet" verify --quiet --json --dump "$folder/dump" 2>"$folder/verify.log" | tail -n 1
[ "${PIPESTATUS[0]}" = 0 ]
check 'every user equals the replay through the memory store'
head -n 5 "$folder/verify.log"
if command -v python3 >/dev/null; then
    python3 tests/oracle.py "$folder/dump"
    check 'the oracle agrees'
else
    skipped=$((skipped + 1))
    printf 'skipped oracle: no python3\n'
fi
left=$(redis-cli -s "$folder/redis.sock" --scan --pattern 'fr{*}o*' |
    while read -r key; do redis-cli -s "$folder/redis.sock" XLEN "$key"; done | awk '{ n += $1 } END { print n + 0 }')
[ "$left" = 0 ]
check "outboxes are empty ($left rows left)"
end_with_counts
