#!/bin/bash
# tests/bench/bench_ingest.sh BUILD - runs bench_ingest against an Apache Kafka of its own.
set -u
build=$1
folder=$(mktemp -d "${TMPDIR:-/tmp}/freshet-bench-XXXXXX") || exit 70
finish() {
    tests/kafka/kafka.sh stop "$folder/kafka" 2>/dev/null
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT TERM

tests/kafka/kafka.sh start "$folder/kafka" || { echo "bench_ingest needs Apache Kafka"; exit 1; }
"$build/bench/bench_ingest" "$build/freshet" "$(cat "$folder/kafka/address")" "${EVENTS:-2000000}"
