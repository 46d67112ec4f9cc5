#!/bin/sh
# tests/simulate/mutants.sh - takes each defence of the protocol away and shows that it is missed.
#
#     mutants.sh BUILD SEEDS [NAME...]     BUILD: build/release, with libfreshet.a in it
#
# For every WITHOUT_<NAME> of ingest/defences.h: the machine and the simulator are compiled with it,
# and schedules are run until one goes wrong. Defences that random schedules do not reach have a
# directed schedule among the unit tests (tests/ingest/test_machine_*.c); they are listed below
# and run from there. Exit 1 when a defence was not missed.
set -u
cd "$(dirname "$0")/../.." || exit 70
build=$1
seeds=$2
shift 2
out=$build/mutants
mkdir -p "$out"
machine='apply backlog claims commit forget letters machine reading tick turns user_cache verdict'
sources=$(for unit in $machine; do printf 'ingest/%s.c ' "$unit"; done)
sources="$sources tests/support/store_model.c $(echo tests/simulate/*.c)"
libraries="$(pkg-config --libs hiredis rdkafka yaml-0.1 libmicrohttpd libcurl libxxhash libsodium zlib) -lsimdjson -lstdc++ -lm -lpthread"
names=${*:-$(sed -n 's/^#define DEFENCE_[A-Z_]* *DEFENCE(\(.*\))/\1/p' ingest/defences.h)}

missed=0
found=0
for name in $names; do
    program=$out/$name
    # The mutated objects come first, so the library's own are not taken in.
    # shellcheck disable=SC2086
    ${CC:-gcc} -std=c11 -O1 -I. -D_GNU_SOURCE "-DWITHOUT_$name" $sources "$build/libfreshet.a" \
        -o "$program" $libraries || exit 70
    result=$("$program" --seeds "$seeds" --until-found)
    if [ $? = 1 ]; then
        found=$((found + 1))
        printf '%-16s found after %s\n' "$name" "$(printf '%s\n' "$result" |
            sed -nE 's/^([0-9]+) schedules.*/\1 schedules/p; s/^first: seed [0-9]+: (.*); see.*/    \1/p' | tr '\n' ' ')"
    else
        missed=$((missed + 1))
        printf '%-16s NOT FOUND in %s schedules\n' "$name" "$seeds"
    fi
done
echo "$found passed, $missed failed, 0 skipped"
[ "$missed" = 0 ]
