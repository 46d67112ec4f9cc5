#!/bin/sh
# tests/fuzz/run.sh FOLDER SECONDS - runs every fuzzer of FOLDER for SECONDS from fresh seeds.
#
# One line a fuzzer, then "N passed, N failed, N skipped". An input that a fuzzer fails on is kept
# in FOLDER/crashes; `FOLDER/fuzz_x INPUT` repeats it.
set -u
folder=$1
seconds=$2
passed=0
failed=0

mkdir -p "$folder/crashes"
for fuzzer in "$folder"/fuzz_*; do
    case $fuzzer in *.o | *.d) continue ;; esac
    [ -x "$fuzzer" ] || continue
    name=$(basename "$fuzzer")
    work=$(mktemp -d) || exit 70
    mkdir "$work/seeds" "$work/corpus"
    if FUZZ_SEEDS=$work/seeds "$fuzzer" >"$work/log" 2>&1 &&
        "$fuzzer" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
            -artifact_prefix="$folder/crashes/$name-" "$work/corpus" "$work/seeds" \
            >"$work/log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")
        printf 'passed  %s: %s runs in %s s\n' "$name" "$runs" "$seconds"
        passed=$((passed + 1))
    else
        printf 'FAILED  %s\n' "$name"
        tail -n 40 "$work/log"
        failed=$((failed + 1))
    fi
    rm -rf "$work"
done
printf '%s passed, %s failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
