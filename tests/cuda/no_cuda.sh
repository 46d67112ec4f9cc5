#!/bin/sh
# tests/cuda/no_cuda.sh - why this build has no CUDA, for what needs a GPU; as a test that was skipped.
#
#     SAN=... tests/cuda/no_cuda.sh NAME
set -u
cd "$(dirname "$0")/../.." || exit 70
found=$(sh tests/cuemu/toolkit.sh)
gpu='no GPU is seen'
for device in /dev/nvidia[0-9]*; do
    [ ! -e "$device" ] || gpu='a GPU is seen'
done
if [ -n "${SAN:-}" ]; then
    why="a build with SAN=$SAN has no CUDA; leave SAN out"
elif [ -n "$found" ]; then
    why="no nvcc for builds here; make cuda-deps fetches one (the one in $found is for tests alone); $gpu"
else
    why="no nvcc for builds here; make cuda-deps fetches one; $gpu"
fi
printf 'skipped %s: %s\n0 passed, 0 failed, 1 skipped\n' "$1" "$why"
