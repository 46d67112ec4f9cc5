#!/bin/bash
# tests/simulate/mutants.sh - plants bugs in the protocol and shows that each is found.
#
#     mutants.sh BUILD SEEDS [NAME...]     BUILD: build/release, with simulate and tests/run in it
#
# The bugs are in tests/simulate/mutants.txt, the defences of machine/defences.h among them. Only
# what a bug changes is compiled anew. A bug is found when all of this holds:
#
#     random    one of the first SEEDS schedules goes wrong; only the bugs on the list
#               `directed-only` there may do without
#     shrunk    that schedule is made short: at most `readable` steps and faults are left of it
#     directed  the directed schedule that is named there passes, and fails with the bug
#
# Exit 1 when one does not.
set -u
cd "$(dirname "$0")/../.." || exit 70
build=$1
seeds=$2
shift 2
wanted=" $* "
out=$build/mutants
readable=60 # steps and faults of a history, at most: a page
found=0
failed=0
libraries=${LIBRARIES:?the libraries to link, as make protocol-mutants gives them}
flags="-std=c11 -O2 -I. -D_GNU_SOURCE -fPIE"
test_objects=${TEST_OBJECTS:?those of tests/run, as make protocol-mutants gives them}
directed_only=" $(sed -n 's/^directed-only |//p' tests/simulate/mutants.txt) "

trim() { sed -E 's/^ +//; s/ +$//' <<<"$1"; }

# The changed objects of a mutant, in its folder. They are linked before all others of that name.
make_objects() { # NAME FILE SED
    local name=$1 file=$2 sed=$3 source
    rm -rf "${out:?}/$name"
    mkdir -p "$out/$name"
    if [ "$file" != - ]; then
        sed "$sed" "$file" >"$out/$name/$(basename "$file")"
        if cmp -s "$file" "$out/$name/$(basename "$file")"; then
            echo "$name: $file is not changed by: $sed" >&2
            return 1
        fi
        # shellcheck disable=SC2086
        ${CC:-gcc} $flags -c "$out/$name/$(basename "$file")" -o "$out/$name/$(basename "$file" .c).o"
        return
    fi
    for source in $(grep -lw -e "DEFENCE_$name" -e "DEFENCE($name)" machine/*.c ingest/*.c tests/support/*.c); do
        # shellcheck disable=SC2086
        ${CC:-gcc} $flags "-DWITHOUT_$name" -c "$source" -o "$out/$name/$(basename "$source" .c).o" || return 1
    done
}

# Links a program of the mutant's objects and those of the given that it does not replace.
link_program() { # NAME PROGRAM OBJECT...
    local name=$1 program=$2 object kept=()
    shift 2
    for object in "$@"; do
        [ -e "$out/$name/$(basename "$object")" ] || kept+=("$object")
    done
    # shellcheck disable=SC2086
    ${CC:-gcc} -pie -o "$out/$name/$program" "$out/$name"/*.o "${kept[@]}" "$build/libfreshet.a" $libraries
}

# Sets random, shrunk and what. False: not found, or not made short.
by_chance() { # NAME
    local name=$1 result seed left
    random='not in '$seeds shrunk=''
    result=$("$out/$name/simulate" --seeds "$seeds" --until-found)
    [ $? = 1 ] || return 1
    random=$(sed -nE 's/^([0-9]+) schedules from.*/\1/p' <<<"$result")
    what=$(sed -nE 's/^first: seed [0-9]+: ([^(]*[^( ]).*; see.*/\1/p' <<<"$result")
    seed=$(sed -nE 's/^first: seed ([0-9]+): .*/\1/p' <<<"$result")
    shrunk=$("$out/$name/simulate" --shrink "$seed" | sed -nE 's/^shrunk to ([0-9]+) steps, ([0-9]+) faults, ([0-9]+) records.*/\1+\2, \3/p')
    left=${shrunk%%,*}
    [ -n "$left" ] && [ $((left)) -le "$readable" ] # steps+faults
}

# Sets directed, and what where chance said nothing. False: the test does not tell.
by_test() { # NAME TEST
    local name=$1 test=$2
    # shellcheck disable=SC2086
    link_program "$name" run $test_objects || exit 70
    if ! timeout 120 "$build/tests/run" "$test" >"$out/$name/run.log" 2>&1; then
        directed='no test'
        return 1
    fi
    if timeout 120 "$out/$name/run" "$test" >"$out/$name/run.log" 2>&1; then
        directed=PASSES
        return 1
    fi
    directed=fails
    [ -n "$what" ] || what=$(sed -nE 's/^FAILED +([a-z0-9_]+).*/\1/p' "$out/$name/run.log" | head -n 1)
}

printf '%-16s %9s  %-12s %-9s %-34s %s\n' bug schedules shrunk-to directed noticed 'what was planted'
while IFS='|' read -r name file test what_is sed; do
    name=$(trim "$name")
    [[ -n $name && $name != \#* && $name != directed-only ]] || continue
    [[ $wanted == "  " || $wanted == *" $name "* ]] || continue
    file=$(trim "$file") test=$(trim "$test") what='' directed=-
    if ! make_objects "$name" "$file" "$(trim "$sed")"; then
        failed=$((failed + 1))
        printf '%-16s NOT BUILT\n' "$name"
        continue
    fi
    ok=1
    # shellcheck disable=SC2086
    link_program "$name" simulate ${SIMULATE_OBJECTS:?those of simulate} || exit 70
    by_chance "$name" || [[ -z $shrunk && $directed_only == *" $name "* ]] || ok=0
    [ "$test" = - ] || by_test "$name" "$test" || ok=0
    if [ "$ok" = 1 ]; then found=$((found + 1)); else failed=$((failed + 1)); fi
    printf '%-16s %9s  %-12s %-9s %-34s %s\n' "$name" "$random" "$shrunk" "$directed" "$what" "$(trim "$what_is")"
    rm -rf "${out:?}/$name"
done <tests/simulate/mutants.txt
# Every defence must stand in the table.
for name in $(sed -n 's/^#define DEFENCE_[A-Z_]* *DEFENCE(\(.*\))/\1/p' machine/defences.h); do
    grep -q "^$name |" tests/simulate/mutants.txt || {
        echo "$name of machine/defences.h is not in tests/simulate/mutants.txt"
        failed=$((failed + 1))
    }
done
echo "$found passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
