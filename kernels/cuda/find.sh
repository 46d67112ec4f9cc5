#!/bin/sh
# kernels/cuda/find.sh - prints the folder of a CUDA toolkit with nvcc, or nothing.
# Order: CUDA_HOME, PATH, /usr/local/cuda, what `make cuda-deps` fetched.
set -u
on_path=$(command -v nvcc 2>/dev/null)
cache=${FRESHET_CACHE:-${HOME:-/var/tmp}/.cache/freshet}/cuda
for home in "${CUDA_HOME:-}" "${on_path%/bin/nvcc}" /usr/local/cuda "$cache"/nvidia/cu13; do
    [ -n "$home" ] && [ -x "$home/bin/nvcc" ] && [ -f "$home/include/cublas_v2.h" ] || continue
    printf '%s\n' "$home"
    exit 0
done
