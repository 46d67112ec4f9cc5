#!/bin/bash
# tests/cuemu/run.sh - the tests on the emulator; then the bugs of bugs.txt are planted, one at a
# time, and a test must see each. `make test-cuemu` gives the commands in the environment.
#
# BUGS=REGEX in the environment: only the lines of bugs.txt that match.
# A bug counts as seen when its test fails and says what the table expects. Ends with
# "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")/../.." || exit 70
: "${COMPILE_C:?run by make test-cuemu}" "$COMPILE_KERNEL" "$LINK" "$OBJECTS" "$REST"
folder=build/cuemu/bugs
rm -rf "$folder"
mkdir -p "$folder"

plant() { # NUMBER FILE FROM TO TEST SAYS; FILE "a.h in b.cu": as b.cu sees that header
    local number=$1 file=${2#* in } planted=${2% in *} test=$5 says=$6 at=$folder/$1 compile objects
    mkdir -p "$at/kernels/cuda"
    [ "$planted" = "$file" ] || { cp "kernels/cuda/$file" "$at/$file" && planted=kernels/cuda/$planted; }
    python3 - "kernels/cuda/${planted##*/}" "$at/$planted" "$3" "$4" <<'PLANT' || return 1
import sys
source, to, old, new = sys.argv[1:]
text = open(source).read()
old, new = (part.replace('\\n', '\n').replace('\\|', '|') for part in (old, new))
if text.count(old) != 1:
    sys.exit(f'"{old}" stands {text.count(old)} times in {source}')
open(to, 'w').write(text.replace(old, new))
PLANT
    case $file in # blas.c opens our cuBLAS, as rules.mk has it
        *.cu) compile=$COMPILE_KERNEL ;;
        blas.c) compile="$COMPILE_C -Ddlopen=cuemu_dlopen -Ddlsym=cuemu_dlsym -Ddlclose=cuemu_dlclose" ;;
        *) compile=$COMPILE_C ;;
    esac
    $compile "$at/$file" -o "$at/planted.o" >"$at/log" 2>&1 || { echo "does not compile:"; cat "$at/log"; return 1; }
    objects=" $OBJECTS "
    # shellcheck disable=SC2086
    $LINK -o "$at/run" ${objects/ build\/cuemu\/kernels\/cuda\/${file%.*}.o / $at/planted.o } $REST >"$at/log" 2>&1 ||
        { cat "$at/log"; return 1; }
    if timeout 300 "$at/run" "cuda_$test" >"$at/log" 2>&1; then
        echo "no test saw it"
        return 1
    fi
    grep -q -- "$says" "$at/log" && { rm -f "$at/run"; return 0; }
    echo "seen, but nothing says \"$says\":"
    tail -n 5 "$at/log"
    return 1
}

one() { # NUMBER LINE
    local file from to test says out
    IFS='|' read -r file from to test says <<<"${2//\\|/$'\x01'}"
    trim() { local t=${1//$'\x01'/|}; t=${t#"${t%%[! ]*}"}; printf '%s' "${t%"${t##*[! ]}"}"; }
    file=$(trim "$file") from=$(trim "$from") to=$(trim "$to") test=$(trim "$test") says=$(trim "$says")
    if out=$(plant "$1" "$file" "$from" "$to" "$test" "$says"); then
        echo passed >"$folder/$1.verdict"
    else
        echo failed >"$folder/$1.verdict"
        printf 'FAILED  bug %s (%s: %s)\n        %s\n' "$1" "$file" "$from" "$out"
    fi
}

SECONDS=0
took() { # WHAT: since the last that was said
    printf '%s took %d s\n' "$1" "$SECONDS"
    SECONDS=0
}
build/cuemu/run --jobs="$(nproc)" | tee "$folder/tests.log"
read -r tests_passed tests_failed tests_skipped < <(
    sed -nE 's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' "$folder/tests.log" | tail -n 1)
: "${tests_passed:=0}" "${tests_failed:=1}" "${tests_skipped:=0}"
took 'the tests'

# The program of bench-gpu, to its end; and scripts for where a GPU or nvcc is.
bench_is_good() {
    timeout 300 build/cuemu/bench --tiny --json="$folder/bench.json" >"$folder/bench.log" 2>&1 &&
        grep -q '^emulated: no times$' "$folder/bench.log" && ! grep -q '^cuemu: ' "$folder/bench.log" &&
        grep -q '^training step ' "$folder/bench.log" && ! grep -q '_us.*least_us' "$folder/bench.json" &&
        python3 -c 'import json, sys; assert json.load(open(sys.argv[1]))["emulated"]' "$folder/bench.json"
}
if bench_is_good; then
    tests_passed=$((tests_passed + 1))
else
    tests_failed=$((tests_failed + 1))
    echo "FAILED  bench"
    cat "$folder/bench.log"
fi
bash tests/cuemu/test_scripts.sh | tee "$folder/scripts.log"
read -r p f < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed, 0 skipped$/\1 \2/p' "$folder/scripts.log")
tests_passed=$((tests_passed + ${p:-0})) tests_failed=$((tests_failed + ${f:-1}))
took 'the bench and the scripts'

TESTS_BUILT=1 bash tests/cuemu/test_roles.sh | tee "$folder/roles.log"
read -r p f s < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' "$folder/roles.log")
tests_passed=$((tests_passed + ${p:-0})) tests_failed=$((tests_failed + ${f:-1})) tests_skipped=$((tests_skipped + ${s:-0}))
took 'the roles'

number=0
while IFS= read -r line; do
    [[ -n $line && $line != \#* && $line =~ ${BUGS:-.} ]] || continue
    number=$((number + 1))
    one "$number" "$line" &
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
done <tests/cuemu/bugs.txt
wait
passed=$(grep -lx passed "$folder"/*.verdict 2>/dev/null | wc -l)
printf '%d of %d planted bugs were seen\n' "$passed" "$number"
took 'the planted bugs'
failed=$((tests_failed + number - passed))
printf '%d passed, %d failed, %d skipped\n' $((tests_passed + passed)) "$failed" "$tests_skipped"
[ "$failed" = 0 ]
