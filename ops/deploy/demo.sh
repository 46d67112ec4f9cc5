#!/bin/bash
# ops/deploy/demo.sh - what `make demo` does: install what is missing, build, run, clean up.
#
#   DEMO_SECONDS=150   how long it runs
#   KAFKA=apache       a real Apache Kafka of one process in place of the embedded broker
#   DEMO_ARGS="..."    further options of `freshet demo`
set -eu
cd "$(dirname "$0")/../.."

bash ops/deploy/deps.sh build
make --no-print-directory -j"$(nproc)" all

arguments=(--duration "${DEMO_SECONDS:-150}s")
if [ "${KAFKA:-embedded}" = apache ]; then
    folder=$(mktemp -d "${TMPDIR:-/tmp}/freshet-kafka-XXXXXX")
    trap 'bash tests/kafka/kafka.sh stop "$folder"; rm -rf "$folder"' EXIT
    echo "starting Apache Kafka (the first time its files are fetched, about a minute)"
    bash tests/kafka/kafka.sh start "$folder"
    arguments+=(--brokers "$(cat "$folder/address")")
fi
# shellcheck disable=SC2086
build/release/freshet demo "${arguments[@]}" ${DEMO_ARGS:-}
