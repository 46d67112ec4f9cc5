#!/bin/bash
# tests/bench/bench_scale.sh BUILD [EVENTS] - what a second process and a second Redis node bring.
#
# One ingest and a cluster of one node read a topic of 8 partitions; then two and a cluster of two
# read it again. Where fewer than four cores are there the rate cannot double: what can be seen is
# whether an event costs the same processor time. scale_two is 2 * (cost by one) / (cost by two): what
# four cores would bring.
set -u
bin=$PWD/$1
events=${2:-2000000}
. tests/support/shell.sh
. tests/support/redis_group.sh
script_begin bench_scale
TIMEFORMAT='%U %S'

give_up() { echo "bench_scale: $1"; exit 1; }
figure() { # NAME VALUE UNIT
    printf '%-28s %12s %s\n' "$1" "$2" "$3"
    printf '{"name":"%s","value":%s,"unit":"%s"}\n' "$1" "$2" "$3" >>build/bench.jsonl
}

# Clicks of 200 bytes of 100,000 users by Zipf(1.0).
clicks() {
    awk -v n="$events" 'BEGIN { srand(1); for (i = 0; i < n; i++)
        printf "{\"event_id\":\"e-%012d\",\"type\":\"click\",\"user\":\"user-%07d\",\"item\":\"item-%06d\",\"ts\":%.0f,\"session\":\"s-%08x\",\"surface\":\"home\",\"device\":\"ios\",\"country\":\"PT\",\"app\":\"4.17.2\"}\n",
            i, int(exp(rand() * log(100000))), int(rand() * 10000), 1700000000000 + i, i }'
}

redis_cpu_s() { # NODE...
    local name
    for name in "$@"; do node "$name" INFO cpu; done | tr -d '\r' |
        awk -F: '/^used_cpu_(user|sys):/ { s += $2 } END { print s }'
}

start_cluster() { # NODE...
    local addresses=() name
    config=(--cluster-enabled yes --maxmemory-policy noeviction)
    for name in "$@"; do
        start_node "$name" || give_up "no redis-server"
        addresses+=("127.0.0.1:${port[$name]}")
    done
    local first=$1 share=$((16384 / $#)) i=0
    for name in "$@"; do
        node "$name" CLUSTER ADDSLOTSRANGE $((i * share)) $((i * share + share - 1)) >/dev/null
        [ "$name" = "$first" ] || node "$first" CLUSTER MEET 127.0.0.1 "${port[$name]}" >/dev/null
        i=$((i + 1))
    done
    for name in "$@"; do
        wait_for 30 cluster_says "$name" cluster_state:ok || give_up "the cluster does not come up"
    done
    url="redis+cluster://$(IFS=,; echo "${addresses[*]}")"
}

# Processes read the topic to its end. Sets ingest_us and redis_us, of an event.
read_topic() { # GROUP PROCESSES NODE...
    local group=$1 count=$2 before i
    shift 2
    before=$(redis_cpu_s "$@")
    for ((i = 1; i <= count; i++)); do
        { time "$bin/freshet" ingest --until-end --json --set redis.url="$url" \
            --set kafka.group="$group" --set kafka.instance_id="$i" --set ingest.admin=127.0.0.1:0 \
            >"$folder/$group.$i.out" 2>"$folder/$group.$i.log"; } 2>"$folder/$group.$i.time" &
    done
    wait $(jobs -p | tail -n "$count")
    [ "$(cat "$folder/$group".*.out | grep -o '"applied":[0-9]*' | awk -F: '{ s += $2 } END { print s }')" = "$events" ] ||
        give_up "not every event was applied: $(cat "$folder/$group".*.out)"
    ingest_us=$(awk -v n="$events" '{ s += $1 + $2 } END { printf "%.3f", s * 1e6 / n }' "$folder/$group".*.time)
    redis_us=$(awk -v a="$before" -v b="$(redis_cpu_s "$@")" -v n="$events" 'BEGIN { printf "%.3f", (b - a) * 1e6 / n }')
}

tests/kafka/kafka.sh start "$folder/kafka" || give_up "no Apache Kafka on this machine"
for topic in events:8 examples:4 dead:1; do
    tests/kafka/kafka.sh topic "$folder/kafka" "${topic%:*}" "${topic#*:}" >/dev/null || give_up "topic $topic"
done
cat >"$FRESHET_CONFIG" <<YAML
kafka: {brokers: "$(cat "$folder/kafka/address")"}
features: {late_max: 3650d}
log: {format: json}
YAML
clicks >"$folder/clicks.jsonl"
"$bin/freshet" replay "$folder/clicks.jsonl" --quiet >/dev/null 2>"$folder/replay.log" ||
    give_up "replay: $(tail -n 1 "$folder/replay.log")"

start_cluster alone
read_topic one 1 alone
one_ingest=$ingest_us one_redis=$redis_us
start_cluster left right
read_topic two 2 left right
figure ingest_one_cpu_us "$one_ingest" us
figure ingest_two_cpu_us "$ingest_us" us
figure redis_one_cpu_us "$one_redis" us
figure redis_two_cpu_us "$redis_us" us
figure scale_two "$(awk -v a="$one_ingest" -v b="$one_redis" -v c="$ingest_us" -v d="$redis_us" \
    'BEGIN { printf "%.2f", 2 * (a + b) / (c + d) }')" times
