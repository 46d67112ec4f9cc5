#!/bin/bash
# tests/run_all.sh - everything that `make test` promises, in stages with a time each.
#
#     tests/run_all.sh [STAGE...]      all of them when none is named
#
# A stage is a command that prints "N passed, N failed, N skipped"; the sum is the last line.
# A stage that ends badly without saying what failed counts as one failure. A skip must stand
# in tests/skips.txt, by its name and by the reason it gives, else it counts as failed. Whatever a stage leaves
# running is a failure too, and is ended: everything started here carries a mark in its
# environment.
set -u
cd "$(dirname "$0")/.." || exit 70

jobs=$(nproc)
folder=build/test
mark="FRESHET_TEST_RUN=$$-$(date +%s)"
export "${mark?}"
mkdir -p "$folder"
passed=0 failed=0 skipped=0
wanted=" $* "
summary=()
SECONDS=0

# ---- stages ----

# name, limit in seconds, command
stage() {
    local name=$1 limit=$2 log started code counts p f s
    shift 2
    [ "$wanted" = "  " ] || [[ $wanted == *" $name "* ]] || return 0
    log=$folder/${name//\//-}.log
    started=$SECONDS
    printf '== %s\n' "$name"
    # In the background, so that a signal to this script is answered at once.
    timeout --kill-after=10 "$limit" "$@" >"$log" 2>&1 </dev/null &
    running=$!
    wait "$running"
    code=$?
    running=
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
    ended_all || f=$((f + 1))
    f=$((f + unlisted))
    s=$((s - unlisted))
    if [ "$f" != 0 ]; then
        # What failed, then the end, without the compiler's progress and the log lines of tests.
        grep -A 2 '^FAILED ' "$log"
        grep -vE '^  (CC|CXX|LINK|TIDY) |^\{"ts":|^(skipped|slow) ' "$log" | tail -n 40
    else
        grep -E '^slow ' "$log"
        # One line a reason, not one a test.
        sed -nE 's/^skipped [^:]+: (.*)/\1/p' "$log" | sort | uniq -c | sed -E 's/^ *([0-9]+) (.*)/skipped \1: \2/'
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    summary+=("$(printf '%-28s %5d s   %5d passed %3d failed %3d skipped' "$name" $((SECONDS - started)) "$p" "$f" "$s")")
    printf '%s\n' "${summary[-1]}"
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

# Processes with our mark that are neither this shell nor its parents.
left_running() {
    local process pid
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        [ "$pid" != $$ ] && [ "$pid" != "$BASHPID" ] || continue
        grep -qzxF -- "$mark" "$process/environ" 2>/dev/null || continue
        [ "$(awk '{print $4}' "$process/stat" 2>/dev/null)" != $$ ] || continue # our own helpers
        printf '%s\n' "$pid"
    done
}

ended_all() {
    local pids pid
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        pids=$(left_running)
        [ -z "$pids" ] && return 0
        sleep 0.2 # a process that is just ending
    done
    for pid in $pids; do
        printf 'left running: %s %s\n' "$pid" "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | cut -c 1-120)"
        kill -9 "$pid" 2>/dev/null
    done
    return 1
}

# Interrupted: timeout passes the signal to the stage, and whatever is left then is ended.
running=
trap 'exit 143' TERM INT HUP
trap '[ -z "$running" ] || { kill "$running" 2>/dev/null; wait "$running" 2>/dev/null; ended_all; }' EXIT

has_target() { make -n "$1" >/dev/null 2>&1; }

# ---- what is run ----

stage deps 900 bash ops/deploy/deps.sh build test lint fuzz
stage build 900 make -j"$jobs"
stage lint 900 make lint
stage unit 600 make -j"$jobs" unit
stage unit-address-undefined 1200 make -j"$jobs" unit SAN=address,undefined
stage unit-thread 1200 make -j"$jobs" unit SAN=thread
if has_target simulate; then stage simulate 600 make -j"$jobs" simulate SEEDS="${SEEDS:-100000}" JOBS="$jobs"; fi
if has_target fuzz-smoke; then stage fuzz-smoke 600 make -j"$jobs" fuzz-smoke; fi
for script in tests/integration/test_*.sh tests/faults/test_*.sh; do
    [ -f "$script" ] && stage "$(basename "$(dirname "$script")")/$(basename "$script" .sh)" 600 bash "$script"
done
if compgen -G 'tests/kafka/test_*.sh' >/dev/null; then
    stage kafka-deps 900 bash ops/deploy/deps.sh kafka
    for script in tests/kafka/test_*.sh; do
        stage "kafka/$(basename "$script" .sh)" 900 bash "$script"
    done
fi

printf '\n'
printf '%s\n' "${summary[@]}"
printf '%-28s %5d s\n' all "$SECONDS"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
