#!/bin/bash
# tests/cuemu/ptx.sh - what nvcc makes of the kernels, without a GPU: gates on it, then all tests on it.
#
#     QUICK= FETCH= tests/cuemu/ptx.sh [compile TARGET...]
#
# For each kernel file and target: ptxas finds no spill and no local memory, and in the PTX there is
# no double arithmetic, no local memory and no call, and every kernel states its launch bounds. The
# programs of `make test-gpu` and `bench-gpu` and freshet itself link with NVIDIA's runtime. Then
# the emulator runs its tests on the PTX of each target (CUEMU_PTX, tests/cuemu/ptx.h); where two
# targets have the same text it runs one.
#
# QUICK=1: the oldest and the newest target, one of each compiler front end. FETCH=SECONDS: fetches
# nvcc where there is none, if it takes no longer. compile: gates alone, of these targets. Ends with "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")/../.." || exit 70
home=$(sh tests/cuemu/toolkit.sh "${FETCH:-}")
folder=${PTX_FOLDER:-build/cuemu/ptx}
rm -rf "$folder"
if [ -z "$home" ]; then
    echo "skipped cuda_ptx: no nvcc here; make cuda-deps fetches one"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
targets="75 80 90 100 120" run=yes
[ -z "${QUICK:-}" ] || targets="75 120"
[ "${1:-}" != compile ] || { targets="${*:2}" run=; }
passed=0 failed=0 skipped=0
files=${FILES:-$(echo kernels/cuda/*.cu)} # some, for a test of the gates
# Those that are meant to load 16 bytes at a time, and how many loads of 4 bytes their text may have
# beside: numbers of rows, tails. A load that went back to 4 bytes is one more.
wide="attention:78 multiply_half:0 embed:5 norm:0 half:0 keep:1 dropout:2 head_inputs:12 head_cross:0 head_scores:1 head_dot:61 after:0
    embed_backward:0 segments:17 norm_backward:1 gate_backward:1 multiply:6 add:6 column_sums:4
    head_dot_backward:1 head_outer:1 head_cross_backward:0 head_inputs_backward:0
    adamw:12 adamw_rows:1 adagrad:2 squares:15 next_norms:0 next_states:2 next_scale:7 next_listed:4
    next_loss:14 next_negatives:18 attention_delta:0 attention_rows:17 attention_keys:32"

# What nvcc and ptxas made of the same sources before, good results only: both take most of a run.
cache=${FRESHET_CACHE:-${HOME:-/var/tmp}/.cache/freshet}/for-tests/ptx
mkdir -p "$cache" && find "$cache" -type f -mtime +30 -delete
common=$({ "$home/bin/nvcc" --version && cat kernels/*.h kernels/cuda/*.h ops/*.h schemas/*.h; } | md5sum)

# Makes FOLDER/TARGET/FILE.ptx and .ptxas; says what is wrong.
translate() { # FILE TARGET
    local made=$folder/$2/$(basename "$1" .cu) key
    key=$cache/$({ echo "$common" "$2" && cat "$1" "$0"; } | md5sum | cut -c 1-32)
    if [ -e "$key.ptx" ] && [ -e "$key.ptxas" ]; then
        cp "$key.ptx" "$made.ptx" && cp "$key.ptxas" "$made.ptxas"
        return
    fi
    "$home/bin/nvcc" -O3 -std=c++17 -ptx -arch="compute_$2" -I. -D_GNU_SOURCE -o "$made.ptx" "$1" >"$made.said" 2>&1 ||
        { cat "$made.said"; echo "nvcc failed"; return; }
    cat "$made.said"
    "$home/bin/ptxas" -v -warn-spills -warn-lmem-usage -Werror -arch="sm_$2" -o /dev/null "$made.ptx" \
        >"$made.ptxas" 2>&1 || { echo "ptxas:"; cat "$made.ptxas"; return; }
    [ ! -s "$made.said" ] || return # a warning, which the next run is to see, too
    # Others may look at the same time: each file is whole when it has its name.
    cp "$made.ptx" "$key.ptx.$BASHPID" && mv "$key.ptx.$BASHPID" "$key.ptx"
    cp "$made.ptxas" "$key.ptxas.$BASHPID" && mv "$key.ptxas.$BASHPID" "$key.ptxas"
}

judge() { # FILE TARGET; says what is wrong
    local name ptx entries bounds text scalar
    name=$(basename "$1" .cu)
    ptx=$folder/$2/$name.ptx
    translate "$1" "$2"
    [ -e "$ptx" ] || return
    entries=$(grep -c '^\.visible \.entry\|^\.entry' "$ptx")
    bounds=$(grep -c '^\.maxntid' "$ptx")
    [ "$entries" -gt 0 ] || echo "no kernel in it"
    [ "$entries" = "$bounds" ] || echo "$entries kernels, $bounds launch bounds"
    ! grep -nE '\.f64' "$ptx" || echo "double arithmetic"
    ! grep -nE '\.local|%SPL?\b' "$ptx" || echo "local memory"
    for kernel in $wide; do
        grep -q "entry ${kernel%:*}_kernel(" "$ptx" || continue
        text=$(awk "/entry ${kernel%:*}_kernel\\(/,/^}/" "$ptx")
        grep -qE 'ld\.global[.a-z]*\.v4' <<<"$text" || echo "${kernel%:*}_kernel loads no 16 bytes at a time"
        scalar=$(grep -cE 'ld\.global[.a-z]*\.[fbus]32' <<<"$text")
        [ "$scalar" -le "${kernel#*:}" ] ||
            echo "${kernel%:*}_kernel loads 4 bytes at a time in $scalar places, not ${kernel#*:}"
    done
    ! grep -nE '^[[:space:]]*call' "$ptx" || echo "a call: something was not inlined"
}

for target in $targets; do
    mkdir -p "$folder/$target"
    for file in $files; do
        judge "$file" "$target" >"$folder/$target/$(basename "$file" .cu).wrong" &
        while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
    done
done
wait
for file in $files; do
    wrong=
    for target in $targets; do
        said=$(cat "$folder/$target/$(basename "$file" .cu).wrong")
        [ -z "$said" ] || wrong+="sm_$target: $said"$'\n'
    done
    if [ -z "$wrong" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n%s\n' "$file" "$wrong"
    fi
done

# What a device would run, with NVIDIA's headers and runtime: it says that there is no GPU, or runs.
linked_says() { # WHAT COMMAND...
    grep -qE "$1" <<<"$("${@:2}" 2>&1)" || { echo "${*:2} says nothing of \"$1\":"; "${@:2}" 2>&1 | tail -n 5; }
}
programs() {
    local at=build/cuemu/linked none='no GPU here|^[1-9][0-9]* passed, 0 failed'
    env -u MAKEFLAGS -u MFLAGS make --no-print-directory -j"$(nproc)" TOOLKIT="$home" linked 2>&1 || { echo "does not build"; return; }
    linked_says "$none" "$at/run" cuda_embed
    linked_says 'no GPU here|us' "$at/bench" --tiny
    linked_says 'but no device|NDCG' env FRESHET_BACKEND=cuda "$at/freshet" eval --epochs 1 --format csv \
        tests/data/movietweetings/movietweetings100k_events.csv.gz
}
if [ -n "$run" ]; then
    wrong=$(programs | grep -vE '^  (CC|CXX|NVCC|LINK|AR) ')
    if [ -z "$wrong" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED  the programs for a device\n%s\n' "$wrong"
    fi
fi

declare -A same
for target in ${run:+$targets}; do
    text=$(grep -hvE '^\.target|^//' "$folder/$target"/*.ptx | md5sum)
    if [ -n "${same[$text]:-}" ]; then
        echo "sm_$target: the text of sm_${same[$text]}"
        passed=$((passed + 1))
        continue
    fi
    same[$text]=$target
    began=$SECONDS
    CUEMU_PTX=$folder/$target build/cuemu/run --jobs="$(nproc)" >"$folder/$target/log" 2>&1
    code=$?
    read -r p f s < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' "$folder/$target/log" | tail -n 1)
    [ "$code" = 0 ] || { cat "$folder/$target/log"; [ "${f:-0}" != 0 ] || f=1; }
    grep '^skipped ' "$folder/$target/log"
    passed=$((passed + ${p:-0})) failed=$((failed + ${f:-0})) skipped=$((skipped + ${s:-0}))
    echo "sm_$target: ${p:-0} tests passed, ${f:-0} failed, $((SECONDS - began)) s"
done
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
