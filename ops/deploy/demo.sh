#!/bin/bash
# ops/deploy/demo.sh - what `make demo` does: install what is missing, build, run, clean up.
#
#   DEMO_SECONDS=150   how long it runs
#   KAFKA=apache       a real Apache Kafka of one process in place of the embedded broker
#   DEMO_ARGS="..."    further options of `freshet demo`
set -eu
cd "$(dirname "$0")/../.."

if [[ ! ${DEMO_SECONDS:-150} =~ ^[0-9]+$ ]]; then
    echo "DEMO_SECONDS=\"$DEMO_SECONDS\" is no whole number of seconds, such as 150" >&2
    exit 2
fi
groups="build demo"
[ "${KAFKA:-embedded}" != apache ] || groups="$groups kafka"
# shellcheck disable=SC2086
bash ops/deploy/deps.sh $groups
make --no-print-directory -j"$(nproc)" all

arguments=(--duration "${DEMO_SECONDS:-150}s")
if [ "${KAFKA:-embedded}" != apache ]; then
    # shellcheck disable=SC2086
    exec build/release/freshet demo "${arguments[@]}" ${DEMO_ARGS:-}
fi

# This shell outlives the demo, to end Kafka. Ctrl-C reaches the demo by itself, being for all of the
# terminal's foreground; other signals are passed on.
child=
folder=$(mktemp -d "${TMPDIR:-/tmp}/freshet-kafka-XXXXXX")
clean_up() {
    trap '' INT TERM HUP # ignored by what is started here, too: nothing may be left behind
    bash tests/kafka/kafka.sh stop "$folder" || true
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'stopped=1' INT
trap 'stopped=1; [ -z "$child" ] || kill "$child"' TERM HUP
stopped=
echo "starting Apache Kafka (the first time its files are fetched, about a minute)"
# In a session of its own, so that Ctrl-C does not take it from under the demo.
setsid --wait bash tests/kafka/kafka.sh start "$folder"
[ -z "$stopped" ] || exit 130
# shellcheck disable=SC2086
build/release/freshet demo "${arguments[@]}" --brokers "$(cat "$folder/address")" ${DEMO_ARGS:-} &
child=$!
code=0
wait "$child" || code=$?
while kill -0 "$child" 2>/dev/null; do # a signal ends a wait early
    code=0
    wait "$child" || code=$?
done
exit "$code"
