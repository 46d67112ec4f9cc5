#!/bin/bash
# tests/bench/with_kafka.sh BUILD NAME [ARG...] - runs the benchmark NAME with an Apache Kafka of its
# own: BUILD/bench/NAME BUILD/freshet ADDRESS ARG...
set -u
build=$1 name=$2
shift 2
folder=$(mktemp -d "${TMPDIR:-/tmp}/freshet-bench-XXXXXX") || exit 70
finish() {
    tests/kafka/kafka.sh stop "$folder/kafka" 2>/dev/null
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT TERM

tests/kafka/kafka.sh start "$folder/kafka" || { echo "$name needs Apache Kafka"; exit 1; }
"$build/bench/$name" "$build/freshet" "$(cat "$folder/kafka/address")" "$@"
