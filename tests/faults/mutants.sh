#!/bin/bash
# tests/faults/mutants.sh - takes each defence of tests/faults/rows.txt away: its test must fail.
#
#     mutants.sh BUILD [ROW|NAME...]    BUILD: build/release, which is built
#
# A mutant shares all objects with BUILD but those whose source names the defence. Its test is run
# twice: with the defence it must pass, without it it must fail; a test that fails either way says
# nothing. Prints a line a row and the counts; exit 1 when a defence was not missed.
set -u
cd "$(dirname "$0")/../.." || exit 70
build=$1
shift
wanted=" $* "
found=0 failed=0 untested=0
log=build/mutants.log
mkdir -p build
: >"$log"

# Runs a row's test with the programs of a folder; true when it passes.
passes() { # TEST FOLDER
    local test=$1 folder=$2
    case $test in
    unit:*) timeout 300 "$folder/tests/run" "${test#unit:}" ;;
    *) FIRST_FAILURE=1 bin=$PWD/$folder ROWS=${test##*:} timeout 600 bash "${test%:*}" ;;
    esac >>"$log" 2>&1 </dev/null
}

make_mutant() { # NAME
    local name=$1 folder=build/release-without-$1 source
    rm -rf "$folder"
    mkdir -p "$folder"
    (cd "$build" && find . -name "*.o" -exec cp -l --parents -t "../../$folder" {} +) || return 1
    grep -lw -e "DEFENCE($name)" -e "DEFENCE_$name" -r --include='*.c' --include='*.cpp' \
        ops schemas features kernels machine ingest scorer eval retrain tests/support freshet.c |
        while read -r source; do rm -f "$folder/${source%.*}"*.o; done
    MUTANT=$name make -s -o Makefile integration-tools "$folder/tests/run" >>"$log" 2>&1
}

say() { printf '%-4s %-22s %-14s %s\n' "$@"; }

while read -r row name test what; do
    [[ -n $row && $row != \#* ]] || continue
    [[ $wanted == "  " || $wanted == *" $row "* || $wanted == *" $name "* ]] || continue
    if [ "$test" = none ]; then
        untested=$((untested + 1))
        say "$row" - 'not tested' "$what"
    elif [ "$test" = simulate ] || [ "$name" = - ]; then
        say "$row" "$name" "$([ "$name" = - ] && echo tested || echo simulate)" "$what"
    elif ! make_mutant "$name"; then
        failed=$((failed + 1))
        say "$row" "$name" 'NOT BUILT' "$what"
    elif ! passes "$test" "$build"; then
        failed=$((failed + 1))
        say "$row" "$name" 'FAILS ANYWAY' "$test"
    elif passes "$test" "build/release-without-$name"; then
        failed=$((failed + 1))
        say "$row" "$name" 'NOT MISSED' "$test: $what"
    else
        found=$((found + 1))
        say "$row" "$name" missed "$what"
    fi
    rm -rf "build/release-without-$name"
done <tests/faults/rows.txt
echo "$found defences missed, $untested rows not tested here"
echo "$found passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
