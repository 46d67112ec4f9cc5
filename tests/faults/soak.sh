#!/bin/bash
# tests/faults/soak.sh SECONDS - the long forms of the faults of Redis; the log goes to soak.log.
#
# What is run: rows 43 and 45 of test_redis_faults.sh with an outage of a minute and hundreds of lost
# answers, then random faults for so many seconds (soak_redis.sh). SEED=n for both. No time and no
# path stands in the log, so that two runs can be compared.
set -u
cd "$(dirname "$0")/../.." || exit 70
log=tests/faults/soak.log
export SEED=${SEED:-$((RANDOM + 1))}
bad=0

part() { # NAME COMMAND...
    printf '== %s\n' "$1"
    shift
    "$@" || bad=1
}

{
    printf 'make soak SOAK_SECONDS=%s SEED=%s\n' "$1" "$SEED"
    part "rows 43 and 45, long" env SOAK=1 ROWS="43 45" bash tests/faults/test_redis_faults.sh
    part "random faults for $1 s" env SECONDS_MAX="$1" bash tests/faults/soak_redis.sh
    exit "$bad"
} 2>&1 | tee "$log"
exit "${PIPESTATUS[0]}"
