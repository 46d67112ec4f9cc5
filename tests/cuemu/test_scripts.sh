#!/bin/bash
# tests/cuemu/test_scripts.sh - what runs only where a GPU or nvcc is, with programs that stand in for
# both: gpu.sh counts and skips, and each gate of ptx.sh can fail.
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
says "no device" "0 passed, 0 failed, 1 skipped" "$(bash tests/cuemu/gpu.sh "$folder/none" "$folder/clean")"
says "no device, said once" "skipped cuda_gpu: no GPU here" "$(bash tests/cuemu/gpu.sh "$folder/none")"
says "all tools" "25 passed, 0 failed, 5 skipped" "$(bash tests/cuemu/gpu.sh "$folder/good" "$folder/clean")"
says "no sanitizer" "5 passed, 0 failed, 2 skipped" "$(bash tests/cuemu/gpu.sh "$folder/good" "$folder/nothing")"
says "a hazard" "25 passed, 1 failed" "$(bash tests/cuemu/gpu.sh "$folder/good" "$folder/finds")"
says "a failing test" "4 passed, 1 failed" "$(bash tests/cuemu/gpu.sh "$folder/bad" "$folder/nothing")"
says "a death" "0 passed, 1 failed" "$(bash tests/cuemu/gpu.sh "$folder/dies" "$folder/nothing")"

printf '%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" = 0 ]
