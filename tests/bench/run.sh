#!/bin/bash
# tests/bench/run.sh BUILD - runs the benchmarks one after the other, never two at once.
# A benchmark that needs more than its program is a script beside it: bench_x.sh BUILD.
set -u
build=$1
failed=0
for program in "$build"/bench/bench_*; do
    [ -x "$program" ] || continue
    name=$(basename "$program")
    [ -e "tests/bench/$name.sh" ] && continue
    echo "== $name"
    case $name in
    bench_serve) "$program" "$build/freshet" ;;
    bench_ingest | bench_freshness) bash tests/bench/with_kafka.sh "$build" "$name" ;;
    *) "$program" ;;
    esac || failed=$((failed + 1))
done
for script in tests/bench/bench_*.sh; do
    [ -e "$script" ] || continue
    echo "== $(basename "$script" .sh)"
    bash "$script" "$build" || failed=$((failed + 1))
done
echo "figures are in build/bench.jsonl; $failed benchmarks failed"
[ "$failed" = 0 ]
