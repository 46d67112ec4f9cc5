#!/bin/bash
# tests/cuda/gpu.sh - the kernels' tests on a real GPU, then under each tool of compute-sanitizer.
#
#     tests/cuda/gpu.sh RUN [SANITIZER]      what `make test-gpu` calls
#
# RUN is the tests, built with NVIDIA's runtime; without a device it says so itself, and nothing
# else is run. SANITIZER may be missing: that is a skip. A tool fails when a test does or when it has
# found anything. Ends with "N passed, N failed, N skipped".
set -u
run=$1 sanitizer=${2:-}
passed=0 failed=0 skipped=0
log=$(mktemp) || exit 70
trap 'rm -f "$log"' EXIT

counted() { # WHAT COMMAND...
    local what=$1 code p f s
    shift
    "$@" >"$log" 2>&1
    code=$?
    read -r p f s < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' "$log" | tail -n 1)
    [ "$code" = 0 ] || [ "${f:-0}" != 0 ] || f=1
    [ -n "${p:-}" ] || f=1 # it ended before it had counted
    [ "${f:-0}" = 0 ] || cat "$log"
    grep '^skipped ' "$log"
    passed=$((passed + ${p:-0})) failed=$((failed + ${f:-0})) skipped=$((skipped + ${s:-0}))
    printf '%s: %d passed, %d failed\n' "$what" "${p:-0}" "${f:-0}"
}

counted "on the device" "$run" --jobs=1
no_device=$(grep -c '^skipped cuda_gpu: no GPU here' "$log")
if [ "$no_device" = 0 ] && [ -x "$sanitizer" ]; then
    for tool in memcheck racecheck initcheck synccheck; do
        # Without an exit code of its own it ends as the tests do, whatever it has found.
        counted "$tool" "$sanitizer" --tool "$tool" --error-exitcode 9 "$run" --jobs=1
    done
elif [ "$no_device" = 0 ]; then
    echo "skipped cuda_gpu_sanitizer: no compute-sanitizer beside nvcc"
    skipped=$((skipped + 1))
fi
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
