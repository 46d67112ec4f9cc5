#!/bin/bash
# tests/cuemu/test_scripts.sh - what runs only where a GPU or nvcc is, with programs that stand in for
# both: gpu.sh counts and skips, each gate of ptx.sh and of widening.sh can fail, and no kernel
# fails the latter; and each kernel stands in the table of tests/cuda/README.md.
#
# Ends with "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")/../.." || exit 70
folder=$(mktemp -d) || exit 70
trap 'rm -rf "$folder"' EXIT
passed=0 failed=0

says() { # NAME WANT GOT: the text is in it
    if grep -qF -- "$2" <<<"$3"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n        want "%s" in:\n%s\n' "$1" "$2" "$3"
    fi
}

program() { # NAME BODY
    printf '#!/bin/bash\n%s\n' "$2" >"$folder/$1"
    chmod +x "$folder/$1"
}

# ---- gpu.sh ----

program none 'echo "skipped cuda_gpu: no GPU here (no CUDA-capable device)"; echo "0 passed, 0 failed, 1 skipped"'
program good 'echo "5 passed, 0 failed, 1 skipped"'
program bad 'echo "4 passed, 1 failed, 0 skipped"; exit 1'
program dies 'exit 139'
program clean 'shift 4; exec "$@"'
program finds '[ "$2" != racecheck ] || { echo "RACECHECK SUMMARY: 1 hazard"; shift 4; "$@"; exit 9; }; shift 4; exec "$@"'
says "no device" "0 passed, 0 failed, 1 skipped" "$(bash tests/cuda/gpu.sh "$folder/none" "$folder/clean")"
says "no device, said once" "skipped cuda_gpu: no GPU here" "$(bash tests/cuda/gpu.sh "$folder/none")"
says "all tools" "25 passed, 0 failed, 5 skipped" "$(bash tests/cuda/gpu.sh "$folder/good" "$folder/clean")"
says "no sanitizer" "5 passed, 0 failed, 2 skipped" "$(bash tests/cuda/gpu.sh "$folder/good" "$folder/nothing")"
says "a hazard" "25 passed, 1 failed" "$(bash tests/cuda/gpu.sh "$folder/good" "$folder/finds")"
says "a failing test" "4 passed, 1 failed" "$(bash tests/cuda/gpu.sh "$folder/bad" "$folder/nothing")"
says "a death" "0 passed, 1 failed" "$(bash tests/cuda/gpu.sh "$folder/dies" "$folder/nothing")"

# ---- a part of a name that no test has: nothing is run ----

if [ -x build/cuemu/run ]; then
    says "no such test" 'no test has "nosuch" in its name' "$(build/cuemu/run cuda_ nosuch 2>&1)"
    says "and its code" "code 2" "$(build/cuemu/run nosuch 2>&1; echo "code $?")"
    says "a test that is there" "code 0" "$(build/cuemu/run --list cuda_ >/dev/null; echo "code $?")"
fi

# ---- each kernel stands in the table of what it is compared with ----

compared=$(sed -n '/^| kernels | in | against |$/,/^$/p' tests/cuda/README.md | cut -d '|' -f 2)
missing=
while read -r kernel; do
    grep -qw -- "${kernel%_kernel(}" <<<"$compared" || missing+=" ${kernel%_kernel(}"
done < <(grep -hoE '\b[a-z_]+_kernel\(' kernels/cuda/*.cu | sort -u)
says "kernels that no test compares" "missing: none" "missing:${missing:- none}"

# ---- where a build has no CUDA ----

no_cuda() { # TARGET [NAME=VALUE]: of make, where no toolkit is but in this cache
    env -u CUDA_HOME -u MAKEFLAGS -u SAN "PATH=/usr/bin:/bin" HOME="$folder" FRESHET_CACHE="$folder/no" "${2:-A=1}" make -s --no-print-directory "$1" 2>&1
}
if [ -z "$(env -u CUDA_HOME PATH=/usr/bin:/bin FRESHET_CACHE="$folder/no" sh kernels/cuda/find.sh)" ]; then
    says "no nvcc" "skipped cuda_gpu: no nvcc for builds here; make cuda-deps fetches one; " "$(no_cuda test-gpu)"
    says "no nvcc, counted" "0 passed, 0 failed, 1 skipped" "$(no_cuda bench-gpu)"
    says "a sanitizer" "skipped bench_gpu: a build with SAN=thread has no CUDA" "$(no_cuda bench-gpu SAN=thread)"
    mkdir -p "$folder/no/for-tests/cuda/nvidia/cu13/bin" "$folder/no/for-tests/cuda/nvidia/cu13/include"
    touch "$folder/no/for-tests/cuda/nvidia/cu13/include/cublas_v2.h"
    program no/for-tests/cuda/nvidia/cu13/bin/nvcc exit
    says "the tests' nvcc" "no nvcc for builds here; make cuda-deps fetches one (the one in $folder/no/for-tests/cuda/nvidia/cu13 is for tests alone); " "$(no_cuda test-gpu)"
fi

# ---- the gates of ptx.sh: a toolkit whose nvcc gives this text for every file ----

mkdir -p "$folder/bin" "$folder/include"
touch "$folder/include/cublas_v2.h"
program bin/nvcc '[ "$1" = --version ] && exit
[ -z "${NVCC_FAILS:-}" ] || { echo "error: nonsense"; exit 1; }
while [ $# -gt 1 ]; do [ "$1" != -o ] || cp "$PTX_TEXT" "$2"; shift; done'
program bin/ptxas '[ -z "${PTXAS_SAYS:-}" ] || { echo "$PTXAS_SAYS"; exit 1; }'
files=2
export FILES="kernels/cuda/norm.cu kernels/cuda/top.cu"
gate() { # NAME WANT TEXT [NAME=VALUE]: what the gates say of a text
    printf '%s\n' "$3" >"$folder/text"
    says "$1" "$2" "$(env ${4:+"$4"} PTX_TEXT="$folder/text" CUDA_HOME="$folder" FRESHET_CACHE="$folder/cache" \
        PTX_FOLDER="$folder/ptx" bash tests/cuemu/ptx.sh compile 75 2>&1)"
    rm -rf "$folder/cache"
}
good='.visible .entry some_kernel(
.maxntid 256, 1, 1
{
    ld.global.f32 %f1, [%rd1];
}'
gate "a good text" "$files passed, 0 failed" "$good"
gate "nvcc fails" "error: nonsense" "$good" NVCC_FAILS=1
gate "no kernel" "no kernel in it" ".version 9.0"
gate "no launch bounds" "1 kernels, 0 launch bounds" "${good/.maxntid 256, 1, 1/}"
gate "double" "double arithmetic" "${good/ld.global.f32 %f1/ld.global.f64 %fd1}"
gate "local memory" "local memory" "${good/ld.global/.local .b8 __local_depot0[16]; ld.global}"
gate "a call" "a call: something was not inlined" "${good/ld.global/call (retval0), expf; ld.global}"
gate "narrow loads" "norm_kernel loads no 16 bytes at a time" "${good/some_/norm_}"
gate "wide loads" "$files passed, 0 failed" "$(sed 's/some_/norm_/; s/ld.global.f32 %f1/ld.global.v4.f32 {%f1, %f2, %f3, %f4}/' <<<"$good")"
gate "one narrow load" "norm_kernel loads 4 bytes at a time in 1 places, not 0" \
    "$(sed 's/some_/norm_/; s/ld.global.f32 %f1.*/&\n    ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1];/' <<<"$good")"
gate "spills" "registers are spilled" "$good" "PTXAS_SAYS=warning: registers are spilled to local memory"

# What was made is taken from the cache, and only by who has the same sources and toolkit.
printf '%s\n' "$good" >"$folder/text"
cached() { # NAME=VALUE
    env "$1" PTX_TEXT="$folder/text" CUDA_HOME="$folder" FRESHET_CACHE="$folder/cache" PTX_FOLDER="$folder/ptx" \
        bash tests/cuemu/ptx.sh compile 75 2>&1
}
cached A=1 >/dev/null
says "the cache" "$files passed, 0 failed" "$(cached NVCC_FAILS=1)"
program bin/nvcc '[ "$1" = --version ] && echo another; exit 1'
says "another toolkit" "0 passed, $files failed" "$(cached A=1)"

# ---- widening.sh ----

if command -v clang-tidy >/dev/null; then
    cat >"$folder/wide.cu" <<'END'
#include "kernels/cuda/cuda.h"
extern "C" __global__ void __launch_bounds__(256) wide_kernel(float *x, int R, int C)
{
    x[R * C] = 0;
}
END
    says "an index product of 32 bits" "0 passed, 1 failed" "$(bash tests/cuemu/widening.sh "$folder/wide.cu")"
    sed -i 's/R \* C/(int64_t)R * C/' "$folder/wide.cu"
    says "and one of 64" "1 passed, 0 failed" "$(bash tests/cuemu/widening.sh "$folder/wide.cu")"
    # shellcheck disable=SC2046
    says "all kernels" " 0 failed" "$(bash tests/cuemu/widening.sh $(ls kernels/cuda/*.cu))"
fi

printf '%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" = 0 ]
