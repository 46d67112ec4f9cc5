#!/bin/sh
# tests/cuda/no_cuda.sh - why this build has no CUDA, for what needs a GPU; as a test that was skipped.
#
#     SAN=... tests/cuda/no_cuda.sh NAME
set -u
cd "$(dirname "$0")/../.." || exit 70
found=$(sh tests/cuemu/toolkit.sh)
if [ -n "${SAN:-}" ]; then
    why="a build with SAN=$SAN has no CUDA; leave SAN out"
elif [ -n "$found" ]; then
    why="builds do not take the tests' own nvcc ($found); make cuda-deps fetches one for builds"
else
    why="no nvcc here; make cuda-deps fetches one"
fi
printf 'skipped %s: %s\n0 passed, 0 failed, 1 skipped\n' "$1" "$why"
