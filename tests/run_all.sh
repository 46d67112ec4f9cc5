#!/bin/bash
# tests/run_all.sh - everything that `make test` promises, in stages with a time each.
#
#     tests/run_all.sh [STAGE...]      all of them when none is named; NAME:1 is a part of NAME
#
# A stage is a command that prints "N passed, N failed, N skipped"; the sum is the last line.
# A stage that ends badly without saying what failed counts as one failure. A skip must stand
# in tests/skips.txt, by its name and by the reason it gives, else it counts as failed. Whatever a stage leaves
# running is a failure too, and is ended: everything started here carries a mark in its
# environment.
#
# The scripts of tests/integration, tests/faults and tests/kafka mostly wait: they run several at a
# time (AT_ONCE=3), the longest first as tests/times.txt has it. What each has said is printed whole
# when it ends. One that calls `run_rows 43 / 44` is two stages, NAME:1 and NAME:2, each with some of
# the rows; ROWS="43" runs those alone.
set -u
cd "$(dirname "$0")/.." || exit 70

jobs=$(nproc)
at_once=${AT_ONCE:-$((jobs + 1))}
[ "$at_once" -le 8 ] || at_once=8 # as many slots have ports of their own (tests/support/shell.sh)
folder=build/test
run_mark="FRESHET_TEST_RUN=$$-$(date +%s)"
mkdir -p "$folder"
passed=0 failed=0 skipped=0
wanted=" $* "
summary=()
SECONDS=0
# Of what runs now, by its process.
declare -A name_of log_of began_at mark_of slot_of limit_of

# ---- stages ----

is_wanted() { [ "$wanted" = "  " ] || [[ $wanted == *" $1 "* || $wanted == *" ${1%:*} "* ]]; } # STAGE

# In the background, so that a signal to this script is answered at once.
start_stage() { # NAME LIMIT_SECONDS SLOT COMMAND...
    local name=$1 limit=$2 slot=$3 log mark
    shift 3
    log=$folder/${name//[\/:]/-}.log
    mark=$run_mark-$slot
    env "$mark" TESTS_SLOT="$slot" timeout --kill-after=20 "$limit" "$@" >"$log" 2>&1 </dev/null &
    name_of[$!]=$name log_of[$!]=$log began_at[$!]=$SECONDS mark_of[$!]=$mark slot_of[$!]=$slot
    limit_of[$!]=$limit
}

# Prints what a stage came to, and adds it to the sum.
end_stage() { # PROCESS EXIT_CODE
    local code=$2 name=${name_of[$1]} log=${log_of[$1]} limit=${limit_of[$1]} mark=${mark_of[$1]}
    local seconds=$((SECONDS - began_at[$1])) counts p f s
    unset "name_of[$1]" "log_of[$1]" "began_at[$1]" "mark_of[$1]" "slot_of[$1]" "limit_of[$1]"
    counts=$(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' "$log" | tail -n 1)
    read -r p f s <<<"${counts:-0 0 0}"
    # Build steps print no counts: they pass or fail as one.
    if [ -z "$counts" ]; then
        [ "$code" = 0 ] && p=1 || f=1
    elif [ "$code" != 0 ] && [ "$f" = 0 ]; then
        f=1
    fi
    [ "$code" = 124 ] && printf 'stopped after %s s\n' "$limit" >>"$log"
    judge_skips "$name" "$log" "$s"
    ended_all "$mark" || f=$((f + 1))
    f=$((f + unlisted))
    s=$((s - unlisted))
    if [ "$f" != 0 ]; then
        # What failed, then the end, without the compiler's progress and the log lines of tests.
        grep -A 2 '^FAILED ' "$log"
        grep -vE '^  (CC|CXX|LINK|TIDY) |^\{"ts":|^(skipped|slow) ' "$log" | tail -n 40
    else
        grep -E '^slow |^.* took [0-9]+ s$' "$log"
        # One line a reason, not one a test.
        sed -nE 's/^skipped [^:]+: (.*)/\1/p' "$log" | sort | uniq -c | sed -E 's/^ *([0-9]+) (.*)/skipped \1: \2/'
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    summary+=("$(printf '%-28s %5d s   %5d passed %3d failed %3d skipped' "$name" "$seconds" "$p" "$f" "$s")")
    printf '%s\n' "${summary[-1]}"
}

# One stage alone: stage where it is wanted, run_stage in any case.
stage() { ! is_wanted "$1" || run_stage "$@"; } # NAME LIMIT_SECONDS COMMAND...
run_stage() {
    local process
    printf '== %s\n' "$1"
    start_stage "$1" "$2" 0 "${@:3}"
    process=$!
    wait "$process"
    end_stage "$process" "$?"
}

# ---- several at a time ----

queue=() # "SECONDS GROUP NAME SCRIPT ROWS"

# A script as one stage, or as one for each part of its rows. One without an entry in
# tests/times.txt begins before all others; of a group there is one at a time.
add_script() { # SCRIPT
    local name parts=() part i=0 seconds group
    name=$(basename "$(dirname "$1")")/$(basename "$1" .sh)
    [ -n "${ROWS:-}" ] || mapfile -t parts < <(sed -nE 's/^run_rows ([^#]* \/ [^#]*).*/\1/p' "$1" | sed 's| */ *|\n|g')
    [ "${#parts[@]}" != 0 ] || parts=("${ROWS:-}")
    for part in "${parts[@]}"; do
        i=$((i + 1))
        [ "${#parts[@]}" = 1 ] || name=${name%:*}:$i
        is_wanted "$name" || continue
        read -r seconds group < <(sed -n "s|^$name  *||p" tests/times.txt)
        queue+=("${seconds:-999} ${group:--} $name $1 $part")
    done
}

# The first of the queue whose group does not run now; sets next.
choose_next() {
    local i group name script rows process seconds
    next=
    for i in "${!queue[@]}"; do
        read -r seconds group name script rows <<<"${queue[$i]}"
        if [ "$group" != - ]; then
            for process in "${!name_of[@]}"; do
                [ "${groups[$process]:-}" != "$group" ] || continue 2
            done
        fi
        next=$i
        return
    done
}

# Sets process to one that has ended. (wait -n may miss one that ended before it.)
await_one() {
    while :; do
        for process in "${!name_of[@]}"; do
            kill -0 "$process" 2>/dev/null || return 0
        done
        sleep 0.2
    done
}

run_queue() {
    local next process seconds group name script rows slot busy
    local -A groups=()
    mapfile -t queue < <(printf '%s\n' "${queue[@]}" | sort -rn)
    while [ "${#queue[@]}" != 0 ] || [ "${#name_of[@]}" != 0 ]; do
        while [ "${#name_of[@]}" -lt "$at_once" ]; do
            choose_next
            [ -n "$next" ] || break
            read -r seconds group name script rows <<<"${queue[$next]}"
            unset "queue[$next]"
            for ((slot = 0; ; slot++)); do
                busy=" ${slot_of[*]} "
                [[ $busy == *" $slot "* ]] || break
            done
            ROWS=$rows start_stage "$name" 900 "$slot" bash "$script"
            groups[$!]=$group
        done
        await_one
        printf '== %s\n' "${name_of[$process]}"
        wait "$process"
        end_stage "$process" "$?"
    done
}

# Sets unlisted to how many skips of a log are not on the list.
judge_skips() {
    local name=$1 log=$2 count=$3 skip known=0
    while read -r skip; do
        if listed "${skip%%: *}" "${skip#*: }"; then
            known=$((known + 1))
        else
            printf 'skip of "%s" in %s is not in tests/skips.txt\n' "$skip" "$name"
        fi
    done < <(sed -nE 's/^skipped ([^:]+: .*)/\1/p' "$log")
    unlisted=$((count - known))
    [ "$unlisted" -ge 0 ] || unlisted=0
}

# Is this skip on the list? "NAME: REASON # why it may be", where * stands for anything.
listed() { # NAME REASON
    local line name reason
    while read -r line; do
        [[ -n $line && $line != \#* ]] || continue
        line=${line%% # *}
        name=${line%%: *} reason=${line#*: }
        # shellcheck disable=SC2053
        [[ $1 == $name && $2 == $reason ]] && return 0
    done <"${SKIPS:-tests/skips.txt}"
    return 1
}

# Processes with a mark that are neither this shell nor its helpers.
left_running() { # MARK
    local process pid
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        grep -qzxF -- "$1" "$process/environ" 2>/dev/null || continue
        printf '%s\n' "$pid"
    done
}

ended_all() { # MARK
    local pids pid
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        pids=$(left_running "$1")
        [ -z "$pids" ] && return 0
        sleep 0.2 # a process that is just ending
    done
    for pid in $pids; do
        printf 'left running: %s %s\n' "$pid" "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | cut -c 1-120)"
        kill -9 "$pid" 2>/dev/null
    done
    return 1
}

# Interrupted: timeout passes the signal to its stage, and whatever is left then is ended.
end_everything() {
    local process
    kill "${!name_of[@]}" 2>/dev/null
    for process in "${!name_of[@]}"; do
        wait "$process" 2>/dev/null
        ended_all "${mark_of[$process]}"
    done
}
trap 'exit 143' TERM INT HUP
trap '[ "${#name_of[@]}" = 0 ] || end_everything' EXIT

has_target() { make -n "$1" >/dev/null 2>&1; }

# ---- what is run ----

stage deps 900 bash ops/deploy/deps.sh build test lint fuzz
stage build 900 make -j"$jobs"
stage lint 900 make lint
stage unit 600 make -j"$jobs" unit
stage unit-address-undefined 1200 make -j"$jobs" unit SAN=address,undefined
stage unit-thread 1200 make -j"$jobs" unit SAN=thread
# The column of AVX-512, its instructions in software; the emulator's fibers are written for x86-64, too.
if [ "$(uname -m)" = x86_64 ]; then
    stage unit-wide 600 make -j"$jobs" unit-wide
    # Limits are for a machine three times slower than two cores that take 420 s for the first.
    stage cuemu 1800 make -j"$jobs" test-cuemu
    stage cuemu-clang 900 make -j"$jobs" test-cuemu-clang
    stage ptx 1200 make -j"$jobs" test-ptx QUICK=1 FETCH=90
fi
if has_target simulate; then stage simulate 600 make -j"$jobs" simulate SEEDS="${SEEDS:-100000}" JOBS="$jobs"; fi
if has_target fuzz-smoke; then stage fuzz-smoke 600 make -j"$jobs" fuzz-smoke; fi
for script in tests/integration/test_*.sh tests/faults/test_*.sh tests/kafka/test_*.sh; do
    [ -z "${ROWS:-}" ] || grep -q '^run_rows' "$script" || continue
    add_script "$script"
done
if [ "${#queue[@]}" != 0 ]; then
    # All that they would build and fetch, before they run at the same time.
    run_stage build-tools 900 make -j"$jobs" integration-tools build/release/tests/run
    run_stage build-crash-points 900 make -j"$jobs" CRASH_POINTS=1 integration-tools
    run_stage kafka-deps 900 bash -c 'bash ops/deploy/deps.sh kafka && { bash tests/kafka/kafka.sh fetch || [ "$?" = 77 ]; }'
    export TESTS_BUILT=1
    run_queue
fi

printf '\n'
printf '%s\n' "${summary[@]}"
printf '%-28s %5d s\n' all "$SECONDS"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
