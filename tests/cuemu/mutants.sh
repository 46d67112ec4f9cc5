#!/bin/bash
# tests/cuemu/mutants.sh - random small mistakes in the kernels, one at a time: does a test see each?
#
#     tests/cuemu/mutants.sh [COUNT [SEED]]       `make mutants-cuda` gives the rest in the environment
#
# A mutant changes one operator, constant, index, choice or barrier of device code. It is killed when a
# test fails: by a wrong value, by a report of the emulator, by its death or by not ending. First run
# the tests nearest to its file, then all. One that does not compile is none, and another is drawn.
# RESUME=1 goes on with a run that was ended.
# A line for each, then the survivors, whom somebody has to look at: equal in all that can be seen, or
# a test is missing. tests/cuemu/mutants.log is the last such run that was kept.
set -u
cd "$(dirname "$0")/../.." || exit 70
: "${COMPILE_KERNEL:?run by make mutants-cuda}" "$LINK" "$OBJECTS" "$REST"
count=${1:-80} seed=${2:-1}
folder=build/cuemu/mutants
[ -n "${RESUME:-}" ] || rm -rf "$folder"
mkdir -p "$folder"

# Writes $folder/N/FILE.cu and N/what ("FILE:LINE<tab>text<tab>mutated text") for twice as many.
[ -n "${RESUME:-}" ] || python3 - "$folder" "$((2 * count))" "$seed" <<'DRAW' || exit 1
import glob, os, random, re, sys
folder, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
RULES = [
    (r'<=', '<'), (r'(?<![<])<(?![<=])', '<='), (r'>=', '>'), (r'(?<![->])>(?![>=])', '>='),
    (r'==', '!='), (r'!=', '=='), (r' \+ ', ' - '), (r' - ', ' + '), (r' \* ', ' + '),
    (r' / ', ' * '), (r' % ', ' / '), (r'&&', '||'), (r'\|\|', '&&'), (r' \+= ', ' = '),
    (r' \^ ', ' | '), (r'\b0\.0f\b', '1.0f'), (r'\b1\.0f\b', '2.0f'), (r'\b0\b(?!\.)', '1'),
    (r'\b1\b(?!\.)', '2'), (r'\b2\b(?!\.)', '1'), (r'__syncthreads\(\);', ';'), (r'__syncwarp\(\);', ';'),
    (r'fmaxf', 'fminf'), (r'threadIdx\.x', '0u'), (r'blockIdx\.x', '0u'), (r'\bi\]', 'i + 1]'),
    (r'\bC\b(?= \+)', '(C - 1)'), (r'\?([^:?]*):', r'? !(\1) :'), (r'-INFINITY', '0.0f'),
    (r'\bcontinue;', ';'), (r'\bbreak;', ';'), (r'return 0\.0f;', 'return 1.0f;'),
]
drawn = []
for path in sorted(glob.glob('kernels/cuda/*.cu')):
    lines = open(path).read().split('\n')
    inside = device = comment = False
    for number, line in enumerate(lines):
        # A function of the device: from its head to the } in the first column.
        if '__device__' in line or '__global__' in line:
            device = True
        if line.startswith('}'):
            device = inside = False
        if device and line.startswith('{'):
            inside = True
            continue
        code = line.split('/*')[0]
        comment = comment or '/*' in line and '*/' not in line
        if comment:
            comment = '*/' not in line
            continue
        if not inside or '__launch_bounds__' in line or code.strip().startswith(('struct', '__shared__')):
            continue
        for old, new in RULES:
            for found in re.finditer(old, code):
                mutated = code[:found.start()] + found.expand(new) + code[found.end():] + line[len(code):]
                if mutated != line:
                    drawn.append((path, number, line, mutated))
random.Random(seed).shuffle(drawn)
print(f'{len(drawn)} possible mutants in {len(set(d[0] for d in drawn))} files', flush=True)
for n, (path, number, line, mutated) in enumerate(drawn[:count]):
    os.makedirs(f'{folder}/{n}')
    lines = open(path).read().split('\n')
    lines[number] = mutated
    open(f'{folder}/{n}/{os.path.basename(path)}', 'w').write('\n'.join(lines))
    squeeze = lambda text: ' '.join(text.split('/*')[0].split())
    open(f'{folder}/{n}/what', 'w').write(f'{path}:{number + 1}\t{squeeze(line)}\t{squeeze(mutated)}')
DRAW

nearest() { # FILE
    case $1 in
    attention) echo cuda_attention cuda_kept ;;
    attention_back) echo cuda_back_attention cuda_training_lists ;;
    embed) echo cuda_embed cuda_training_with ;;
    norm) echo cuda_norm cuda_half_norm cuda_rows_of ;;
    after) echo cuda_products cuda_rows_of_silu ;;
    head) echo cuda_cross_head cuda_dot_head ;;
    keep) echo cuda_pages_are cuda_kept ;;
    next) echo cuda_next ;;
    half) echo cuda_updates_add cuda_half ;;
    loss) echo cuda_lists cuda_positions ;;
    next_loss) echo cuda_next_loss ;;
    top) echo cuda_top cuda_next_top ;;
    rows_back) echo cuda_rows_go cuda_updates ;;
    head_back) echo cuda_rows_go cuda_rows_of_scalars ;;
    segments) echo cuda_rows_of ;;
    update) echo cuda_updates ;;
    dropout) echo cuda_dropout cuda_training_with ;;
    *) echo cuda_training_mixed cuda_training_hinge cuda_training_lists ;;
    esac
}

# A name that was changed would kill every mutant of its file.
# shellcheck disable=SC2046
build/cuemu/run --list $(for file in kernels/cuda/*.cu; do nearest "$(basename "$file" .cu)"; done) cuda_ >/dev/null || exit 70

judge() { # NUMBER; writes N/verdict: killed, survived or none
    local at=$folder/$1 file objects tests code
    file=$(basename "$at"/*.cu .cu)
    $COMPILE_KERNEL "$at/$file.cu" -o "$at/mutant.o" >"$at/log" 2>&1 || { echo none >"$at/verdict"; return; }
    objects=" $OBJECTS "
    # shellcheck disable=SC2086
    $LINK -o "$at/run" ${objects/ build\/cuemu\/kernels\/cuda\/$file.o / $at/mutant.o } $REST >>"$at/log" 2>&1
    for tests in $(nearest "$file") cuda_; do
        # Of its own time: others may be busy here.
        (ulimit -t 120 && exec "$at/run" "$tests") >"$at/log" 2>&1
        code=$?
        [ "$code" = 0 ] || break
    done
    rm -f "$at/run" "$at/mutant.o"
    if [ "$code" = 0 ]; then
        echo "survived" >"$at/verdict"
    elif [ "$code" = 152 ] || [ "$code" = 137 ]; then
        echo "killed, does not end ($tests)" >"$at/verdict"
    elif grep -q '^cuemu: ' "$at/log"; then
        echo "killed, $(sed -nE 's/^cuemu: ((race: )?[^:]+).*/\1/p' "$at/log" | head -n 1) ($tests)" >"$at/verdict"
    elif grep -q 'want ' "$at/log"; then
        echo "killed, value ($tests)" >"$at/verdict"
    else
        echo "killed, $(grep -A 1 '^FAILED' "$at/log" | sed -n '2s/^ *//p' | cut -c 1-60) ($tests)" >"$at/verdict"
    fi
}

for ((n = 0; n < 2 * count; n++)); do
    [ -d "$folder/$n" ] || break
    [ ! -e "$folder/$n/verdict" ] || continue
    judge "$n" &
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
    judged=$(cat "$folder"/*/verdict 2>/dev/null | grep -cv '^none')
    [ "$((judged + $(jobs -rp | wc -l)))" -lt "$count" ] || break
done
wait
killed=0 survived=0
for ((n = 0; n < 2 * count; n++)); do
    verdict=$(cat "$folder/$n/verdict" 2>/dev/null) || continue
    [ "$verdict" != none ] || continue
    IFS=$'\t' read -r where old new <"$folder/$n/what"
    printf '%s: %s\n    - %s\n    + %s\n' "$where" "$verdict" "$old" "$new"
    case $verdict in killed*) killed=$((killed + 1)) ;; *) survived=$((survived + 1)) ;; esac
done
printf '%d of %d mutants killed, %d survived (seed %s)\n' "$killed" "$((killed + survived))" "$survived" "$seed"
