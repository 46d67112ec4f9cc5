#!/bin/bash
# tests/integration/test_eval.sh - `freshet eval` as a person runs it: ended by a signal and gone
# on with from its checkpoint, to the very figures of a run that was left alone.
set -u
cd "$(dirname "$0")/../.." || exit 70
. tests/support/shell.sh
script_begin eval

need_programs python3
data=$folder/data.txt
python3 tests/support/make_interactions.py 250 300 9000 3 >"$data"
eval_it=("$bin/freshet" eval "$data" --epochs 16 --patience 16 --seed 4 --threads 2 --json)
rows_of() { # NAME: what does not depend on how long it took
    sed 's/,"epochs":[0-9].*,"curve"/,"curve"/' "$folder/$1.json"
}
interrupted=0

"${eval_it[@]}" >"$folder/whole.json" 2>"$folder/whole.err"
check "a run that is left alone ends well"

"${eval_it[@]}" --checkpoint "$folder/state" >"$folder/broken.json" 2>"$folder/broken.err" &
pid=$!
if wait_for 60 test -f "$folder/state"; then
    kill -TERM "$pid" 2>/dev/null && interrupted=1
fi
wait "$pid"
code=$?
if [ "$interrupted" = 1 ] && [ "$code" != 0 ]; then
    grep -q 'the same command goes on from' "$folder/broken.err"
    check "an interrupted run says how to go on"
    grep -q '"error"' "$folder/broken.json"
    check "and its only line of output says that it failed"
    "${eval_it[@]}" --checkpoint "$folder/state" >"$folder/again.json" 2>"$folder/again.err"
    check "the same command goes on"
    grep -q '"resumed":true' "$folder/again.json"
    check "from where it was"
    [ "$(rows_of whole)" = "$(rows_of again)" ]
    check "to the same figures, bit for bit"
    [ ! -e "$folder/state" ]
    check "and its checkpoint is gone when it is done"
else
    skip "an interrupted run" "it was done before the signal came"
fi
end_with_counts
