#!/bin/bash
# tests/kafka/run.sh [BUILD] - all scripts against Apache Kafka, one after the other, and their sum.
#
# With ROWS="5 6" only those that know rows of the table of faults.
set -u
cd "$(dirname "$0")/../.." || exit 70
passed=0 failed=0 skipped=0

for script in tests/kafka/test_*.sh; do
    [ -z "${ROWS:-}" ] || grep -q run_rows "$script" || continue
    printf '== %s\n' "$script"
    output=$(bash "$script" ${1:+"$1"} 2>&1 </dev/null)
    counts=$(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' \
        <<<"$output" | tail -n 1)
    read -r p f s <<<"${counts:-0 1 0}"
    [ "$f" = 0 ] || printf '%s\n' "$output"
    printf '%s passed, %s failed, %s skipped: %s\n' "$p" "$f" "$s" "$script"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
