#!/bin/bash
# tests/cuemu/widening.sh - products of ints that become 64-bit indices, where the product itself may
# not fit: clang-tidy looks, through the emulator's headers.
#
#     tests/cuemu/widening.sh FILE.cu...
#
# Products of constants are none: it says so of THREADS, which is one. Ends with
# "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")/../.." || exit 70
# i counts what a thread has of one head, so the product is below the head's width.
allowed='part \+ i \* PARTS\]'

found() { # FILE
    local said
    said=$(clang-tidy --quiet --checks='-*,bugprone-implicit-widening-of-multiplication-result' "$1" -- \
        -x c++ -std=c++17 -Itests/cuemu/include -I. -D_GNU_SOURCE 2>&1) # not 0 where it warns, too
    if grep -A 2 clang-diagnostic-error <<<"$said"; then
        echo "clang-tidy could not read it"
        return
    fi
    grep -A 1 -E 'performing an implicit widening|is used as a pointer offset' <<<"$said" | grep -v '^--$' | paste - - |
        while IFS=$'\t' read -r where line; do
            column=$(cut -d : -f 3 <<<"$where")
            [[ ${line:column-1} == THREADS* ]] || grep -qE "$allowed" <<<"$line" || printf '%s\n    %s\n' "$where" "$line"
        done
}

passed=0 failed=0
for file in "$@"; do
    said=$(found "$file")
    if [ -z "$said" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n%s\n' "$file" "$said"
    fi
done
printf '%d passed, %d failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" = 0 ]
