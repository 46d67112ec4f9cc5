#!/bin/bash
# tests/bench/bench_retrain.sh BUILD - one round of the role on MovieTweetings: its memory, its time.
set -u
bin=$PWD/$1
. tests/support/shell.sh
script_begin bench_retrain
data=tests/data/movietweetings/movietweetings100k_events.csv.gz

give_up() { echo "bench_retrain: $1"; exit 1; }
figure() { # NAME VALUE UNIT
    printf '%-28s %12s %s\n' "$1" "$2" "$3"
    printf '{"name":"%s","value":%s,"unit":"%s"}\n' "$1" "$2" "$3" >>build/bench.jsonl
}

tests/kafka/kafka.sh start "$folder/kafka" || give_up "no Apache Kafka on this machine"
for topic in events:8 examples:4 dead:1; do
    tests/kafka/kafka.sh topic "$folder/kafka" "${topic%:*}" "${topic#*:}" || give_up "topic $topic"
done
tests/kafka/kafka.sh tool "$folder/kafka" kafka.admin.ConfigCommand --alter --topic events \
    --add-config retention.ms=-1 >/dev/null 2>&1 # the oldest event is of 2013
start_redis --maxmemory-policy noeviction || give_up "no redis-server"
cat >"$FRESHET_CONFIG" <<YAML
clock: stream
kafka: {brokers: "$(cat "$folder/kafka/address")", group: bench}
redis: {url: "unix://$folder/redis.sock"}
features: {late_max: 3650d}
ingest: {admin: "127.0.0.1:0"}
model: {folder: "$folder/models"}
retrain: {admin: "127.0.0.1:0", folder: "$folder/retrain"}
log: {format: json}
YAML
run replay "$data" --action rate --quiet || give_up "replay: $(tail -n 2 "$folder/err")"
run ingest --until-end || give_up "ingest: $(tail -n 2 "$folder/err")"

begun=$(date +%s.%N)
"$bin/freshet" retrain --once >"$folder/out" 2>"$folder/err" &
role=$!
peak=0
while ! gone "$role"; do
    now=$(awk '/VmHWM/ { print $2 }' "/proc/$role/status" 2>/dev/null)
    [ -n "$now" ] && peak=$now
    sleep 0.1
done
wait "$role" || give_up "retrain: $(tail -n 2 "$folder/err")"
figure retrain_rss_mb "$(awk "BEGIN { printf \"%.1f\", $peak / 1024 }")" MB
figure retrain_once_s "$(awk "BEGIN { printf \"%.1f\", $(date +%s.%N) - $begun }")" s
run model list && cat "$folder/out"
