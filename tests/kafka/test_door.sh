#!/bin/bash
# tests/kafka/test_door.sh [BUILD] - the Kafka door's tests against an Apache Kafka of their own.
#
# Ends with the runner's line `N passed, N failed, N skipped`. Where Java or the broker cannot be
# had every test is skipped, with the reason.
set -u
cd "$(dirname "$0")/../.." || exit 70

runner=${1:-build/release}/tests/run
folder=$(mktemp -d "${TMPDIR:-/tmp}/freshet-kafka-XXXXXX") || exit 70
finish() {
    tests/kafka/kafka.sh stop "$folder/kafka" 2>/dev/null
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT TERM

tests/kafka/kafka.sh start "$folder/kafka"
case $? in
0) ;;
77)
    unset FRESHET_KAFKA # each test then says that it was skipped
    "$runner" kafka_apache
    exit
    ;;
*)
    echo '0 passed, 1 failed, 0 skipped'
    exit 1
    ;;
esac
FRESHET_KAFKA=$(cat "$folder/kafka/address") FRESHET_KAFKA_DIR="$folder/kafka" \
    "$runner" kafka_apache
