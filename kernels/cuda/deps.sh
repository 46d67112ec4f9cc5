#!/bin/sh
# kernels/cuda/deps.sh - nvcc and the headers of CUDA 13 as Python packages, by exact version, into a
# cache outside the repository (840 MB). Does nothing when a toolkit is there.
set -u
cd "$(dirname "$0")/../.." || exit 70
found=$(sh kernels/cuda/find.sh)
if [ -n "$found" ]; then
    printf 'cuda: %s\n' "$found"
    exit 0
fi
cache=${FRESHET_CACHE:-${HOME:-/var/tmp}/.cache/freshet}
mkdir -p "$cache" || exit 2
# Beside, then renamed: a fetch that was cut short is never taken for a toolkit.
fresh=$(mktemp -d "$cache/cuda-XXXXXX") || exit 2
trap 'rm -rf "$fresh"' EXIT
trap 'exit 143' INT TERM HUP
python3 -m pip install --quiet --no-input --disable-pip-version-check --target "$fresh" \
    nvidia-cuda-nvcc==13.0.88 nvidia-cuda-runtime==13.0.96 nvidia-cuda-crt==13.0.88 \
    nvidia-cuda-cccl==13.0.85 nvidia-nvvm==13.0.88 nvidia-cublas==13.0.2.14 || {
    echo "could not fetch the CUDA compiler; freshet builds and runs without it" >&2
    exit 2
}
rm -rf "$cache/cuda" && mv "$fresh" "$cache/cuda" && printf 'cuda: %s\n' "$(sh kernels/cuda/find.sh)"
