#!/bin/bash
# tests/cuemu/ptx.sh - what nvcc makes of the kernels, without a GPU: PTX and, for every target, ptxas.
#
#     tests/cuemu/ptx.sh CUDA_HOME FLAGS...      "" for CUDA_HOME: no nvcc, one skip
#
# For each kernel file: compiled for all targets it is free of spills and local memory (ptxas says so,
# as an error); in the PTX of the oldest and the newest target there is no double arithmetic, no
# local memory and no call, and every kernel states its launch bounds.
# Ends with "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")/../.." || exit 70
home=$1
shift
if [ -z "$home" ]; then
    echo "skipped cuda_ptx: no nvcc here; make cuda-deps fetches one"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
folder=build/cuemu/ptx
rm -rf "$folder"
mkdir -p "$folder"
passed=0 failed=0

judge() { # FILE TARGET; says what is wrong
    local ptx=$folder/$(basename "$1" .cu).$2.ptx entries bounds
    "$home/bin/nvcc" -O3 -std=c++17 -ptx -arch="$2" -I. -D_GNU_SOURCE -o "$ptx" "$1" || { echo "nvcc failed"; return; }
    entries=$(grep -c '^\.visible \.entry\|^\.entry' "$ptx")
    bounds=$(grep -c '^\.maxntid' "$ptx")
    [ "$entries" -gt 0 ] || echo "no kernel in it"
    [ "$entries" = "$bounds" ] || echo "$entries kernels, $bounds launch bounds"
    ! grep -nE '\.f64' "$ptx" || echo "double arithmetic"
    ! grep -nE '\.local|%SPL?\b' "$ptx" || echo "local memory"
    ! grep -nE '^[[:space:]]*call' "$ptx" || echo "a call: something was not inlined"
}

for file in kernels/cuda/*.cu; do
    wrong=$(judge "$file" compute_75; judge "$file" compute_120)
    "$home/bin/nvcc" "$@" -I. -D_GNU_SOURCE -c -o "$folder/object.o" "$file" >"$folder/log" 2>&1 ||
        wrong="$wrong
$(cat "$folder/log")"
    if [ -z "$wrong" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n%s\n' "$file" "$wrong"
    fi
done
printf '%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" = 0 ]
