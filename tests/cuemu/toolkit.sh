#!/bin/sh
# tests/cuemu/toolkit.sh - prints the folder of a CUDA toolkit that tests may use, or nothing.
#
#     tests/cuemu/toolkit.sh [SECONDS]     where there is none: fetches one if that takes no longer
#
# What is fetched here goes to a cache of the tests: `make` does not look there, so a build stays
# what it was (with nvcc it takes minutes more).
set -u
cd "$(dirname "$0")/../.." || exit 70
found=$(sh kernels/cuda/find.sh)
if [ -z "$found" ]; then
    FRESHET_CACHE=${FRESHET_CACHE:-${HOME:-/var/tmp}/.cache/freshet}/for-tests
    export FRESHET_CACHE
    [ -z "${1:-}" ] || timeout "$1" sh kernels/cuda/deps.sh >/dev/null 2>&1
    found=$(sh kernels/cuda/find.sh)
fi
[ -z "$found" ] || printf '%s\n' "$found"
