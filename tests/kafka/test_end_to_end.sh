#!/bin/bash
# tests/kafka/test_end_to_end.sh [BUILD] - the whole loop, once, on real input and a real Apache Kafka.
#
# Replays MovieTweetings into Kafka, ingests it into a private Redis, proves every event counted once
# and every user equal to a replay in memory, trains and publishes, and asks for lists over HTTP.
# Each step is one passed or failed; ends with `N passed, N failed, N skipped`.
set -u
cd "$(dirname "$0")/../.." || exit 70

bin=$PWD/${1:-build/release}
. tests/support/shell.sh
script_begin kafka_end_to_end
freshet=$bin/freshet
data=tests/data/movietweetings/movietweetings100k_events.csv.gz

pass() { passed=$((passed + 1)); }
fail() {
    failed=$((failed + 1))
    printf 'FAILED  %s\n' "$1"
    [ -n "${2:-}" ] && [ -e "$2" ] && tail -n 15 "$2"
}
# How many records `offsets list --json` accounts for: the sum of its totals, whatever became of them.
settled() {
    tail -n 1 "$1" | sed 's/.*"totals"://' |
        grep -oE '"(applied|duplicate|late|dropped|erased|dead)":[0-9]+' | cut -d: -f2 | awk '{ sum += $1 } END { print sum + 0 }'
}

tests/kafka/kafka.sh start "$folder/kafka"
case $? in
0) ;;
77)
    skip kafka_end_to_end 'no Apache Kafka on this machine'
    end_with_counts
    ;;
*)
    printf '0 passed, 1 failed, 0 skipped\n'
    exit 1
    ;;
esac
for topic in events:8 examples:4 dead:1 items:1; do
    tests/kafka/kafka.sh topic "$folder/kafka" "${topic%:*}" "${topic#*:}" || fail "topic $topic"
done
# The oldest event is of 2013: retention must not take it before it was read.
tests/kafka/kafka.sh tool "$folder/kafka" kafka.admin.ConfigCommand --alter --topic events \
    --add-config retention.ms=-1 >/dev/null 2>&1

start_redis --maxmemory-policy noeviction || fail "redis-server did not start" "$folder/redis.log"

cat >"$FRESHET_CONFIG" <<YAML
clock: stream
kafka: {brokers: "$(cat "$folder/kafka/address")", group: e2e}
redis: {url: "unix://$folder/redis.sock"}
features: {late_max: 3650d}
ingest: {admin: "127.0.0.1:0"}
model: {folder: "$folder/models"}
serve: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", holdout: 0}
retrain: {admin: "127.0.0.1:0", folder: "$folder/retrain"}
log: {format: json}
YAML

# ---- events into Kafka, Kafka into Redis ----

if "$freshet" config check >"$folder/check.log" 2>&1; then
    pass
else
    fail "the configuration" "$folder/check.log"
    end_with_counts
fi
"$freshet" replay "$data" --action rate --json --quiet >"$folder/replay.log" 2>&1 && pass ||
    fail "replay" "$folder/replay.log"
lines=$(($(zcat "$data" | wc -l) - 1))

"$freshet" ingest --ports-file "$folder/ingest.ports" >"$folder/ingest.log" 2>&1 &
ingest=$!
caught_up() {
    "$freshet" offsets list --json >"$folder/offsets.json" 2>"$folder/offsets.log" &&
        [ "$(settled "$folder/offsets.json")" = "$lines" ]
}
wait_for 300 caught_up && pass || fail "ingest did not apply all $lines events" "$folder/ingest.log"
kill -TERM "$ingest"
wait "$ingest" && pass || fail "ingest's exit code" "$folder/ingest.log"

"$freshet" verify --json >"$folder/verify.json" 2>"$folder/verify.log" && pass ||
    fail "Redis equals a replay in memory" "$folder/verify.log"

# ---- learn, publish ----

timeout 600 "$freshet" retrain --once >"$folder/retrain.log" 2>&1
code=$?
[ "$code" -le 1 ] && pass || fail "retrain --once ended with $code" "$folder/retrain.log"
[ -e "$folder/models/current" ] && pass || fail "no bundle was published" "$folder/retrain.log"
"$freshet" model list >"$folder/models.log" 2>&1 && pass || fail "model list" "$folder/models.log"

# ---- lists ----

"$freshet" serve --ports-file "$folder/serve.ports" >"$folder/serve.log" 2>&1 &
wait_for 60 test -s "$folder/serve.ports" || fail "serve did not start" "$folder/serve.log"
port=$(sed -nE 's/.*"listen":([0-9]+).*/\1/p' "$folder/serve.ports")
admin=$(sed -nE 's/.*"admin":([0-9]+).*/\1/p' "$folder/serve.ports")
wait_for 60 curl -fsS "http://127.0.0.1:$admin/readyz" && pass || fail "serve is not ready" "$folder/serve.log"

user=$(zcat "$data" | tail -n 1 | cut -d, -f2)
curl -fsS "http://127.0.0.1:$port/v1/recommend" -d "{\"user\":\"$user\",\"k\":10}" >"$folder/list.json" &&
    [ "$(grep -o '"item":' "$folder/list.json" | wc -l)" = 10 ] && pass || fail "recommend" "$folder/serve.log"
grep -q '"degraded":"\(none\|popularity\)"' "$folder/list.json" && pass || fail "recommend is degraded" "$folder/list.json"
items=$(zcat "$data" | tail -n 50 | cut -d, -f3 | sort -u | head -n 20 | sed 's/.*/"&"/' | paste -sd,)
curl -fsS "http://127.0.0.1:$port/v1/rerank" -d "{\"user\":\"$user\",\"candidates\":[$items],\"k\":5}" >"$folder/rerank.json" &&
    [ "$(grep -o '"item":' "$folder/rerank.json" | wc -l)" = 5 ] && pass || fail "rerank" "$folder/serve.log"
grep -q '"trace":"..*"' "$folder/rerank.json" && pass || fail "the answer has no trace" "$folder/rerank.json"

printf 'events %s, model %s\n' "$lines" "$(cat "$folder/models/current" 2>/dev/null)"
end_with_counts
