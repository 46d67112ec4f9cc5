#!/bin/bash
# tests/cuemu/test_roles.sh - whole programs with a device: `freshet retrain` and `freshet serve` as
# processes, with Redis and a broker, on the emulator (build/cuemu/freshet) beside the same on the CPU.
#
# A device is found, or not, and each start says so; a bundle that the device learnt is the CPU's within
# the tolerance, and so are its scores; a call that is refused costs one answer at most; a device that is
# lost, or a kill -9 on it, ends the process, leaves nothing half done, and the next start goes on from
# the checkpoint. Whatever the emulator reports is a failure.
#
# The emulator is a thousand times slower than a device, so model, lists and steps are few. KEEP=1 keeps
# the folder.
set -u
cd "$(dirname "$0")/../.." || exit 70
. tests/support/shell.sh
script_begin roles

need_programs redis-server redis-cli curl python3
build_tools
emulated=$PWD/build/cuemu/freshet
compare="python3 tests/cuemu/roles.py"
export CUEMU_COUNTS=1
unset FRESHET_BACKEND CUEMU_MACHINE CUEMU_FAIL
start_redis
start_mock events:1 examples:1 items:1 none:1 dead:1
cat >"$FRESHET_CONFIG" <<YAML
clock: stream
kafka: {brokers: "$address", group: roles, session_timeout: 6s}
redis: {url: "unix://$folder/redis.sock"}
dataset: {shards: 4}
features: {late_max: 3650d, sequence_max: 16}
ingest: {admin: "127.0.0.1:0"}
model: {folder: "$folder/cpu"}
retrain:
  admin: "127.0.0.1:0"
  folder: "$folder/cpu.state"
  user_choices_max: 6
  steps_max: 2
  holdout_min: 20
  holdout_max: 20
  measure_bf16: off
serve:
  listen: "127.0.0.1:0"
  admin: "127.0.0.1:0"
  threads: 3
  holdout: 0
  budget: 60s
  redis_budget: 20s
log: {format: json}
YAML

# ---- what is run ----

# NAME PROGRAM [NAME=VALUE...] -- ARG...: says what it says to NAME.out and NAME.log. In the background
# it is the job itself, so that a signal reaches it.
on() {
    local name=$1 program=$2 set=()
    shift 2
    while [ "$1" != -- ]; do
        set+=("$1")
        shift
    done
    shift
    set -- "$program" "$@"
    [ "$BASH_SUBSHELL" = 0 ] || exec env "${set[@]}" "$@" >>"$folder/$name.out" 2>>"$folder/$name.log"
    env "${set[@]}" timeout 300 "$@" >>"$folder/$name.out" 2>>"$folder/$name.log"
}
# One round of retrain into NAME and NAME.state, from the events alone: how two topics are read beside
# each other depends on the clock, and with it what a round learns from.
learn() { # NAME PROGRAM [NAME=VALUE...]
    local name=$1
    shift
    on "$name" "$@" FRESHET_KAFKA_TOPICS_EXAMPLES=none -- retrain --once --json --set model.folder="$folder/$name" --set retrain.folder="$folder/$name.state"
}
logged() { grep -q -- "$2" "$folder/$1.log"; } # NAME TEXT
weights_of() { echo "$folder/$1/v000002/weights.safetensors"; }
# News of the items may lie there, too, where a round took long.
tables_alone() {
    [ "$(find "$folder/$1" -mindepth 1 -maxdepth 1 ! -name items.delta -printf '%f\n' | sort | paste -sd' ')" = 'current v000001' ] &&
        [ "$(cat "$folder/$1/current")" = v000001 ]
}
# The emulator's end: it ran kernels, and has all back that it gave.
gave_all_back() { grep -qE '^cuemu_counts: [1-9][0-9]* launches, [0-9]+ graphs, 0 held$' "$folder/$1.log"; }
ends_with() { # PID CODE
    wait_for 300 gone "$1" || kill -9 "$1"
    wait "$1"
    [ "$?" = "$2" ]
}

start_serve() { # NAME PROGRAM [NAME=VALUE...] -- ARG...; sets pid
    local name=$1
    rm -f "$folder/$name.ports"
    on "$@" serve --ports-file "$folder/$name.ports" --set model.folder="$folder/gpu" &
    wait_for 60 test -s "$folder/$name.ports"
    pid=$!
    ports=$folder/$name.ports wait_for 60 ready
}
port_of() { sed -nE 's/.*"listen":([0-9]+).*/\1/p' "$folder/$1.ports"; }
post() { # NAME FILE BODY [PATH]
    curl -s -m 60 -o "$2" -d "$3" "127.0.0.1:$(port_of "$1")/v1/${4:-rerank}"
}
body_of() { printf '{"user":"%s","k":%d,"candidates":[%s]%s}' "$1" "$candidates" "$items" "${2:-}"; } # USER [MEMBERS]
# All users at once, into a file each.
ask_all() { # NAME SUFFIX
    local user pids=()
    for user in $users; do
        post "$1" "$folder/$1.$user$2" "$(body_of "$user")" &
        pids+=($!)
    done
    wait "${pids[@]}"
}
same_answers() { # NAME SUFFIX: as the CPU's
    local user
    for user in $users; do
        $compare scores "$folder/of_cpu.$user" "$folder/$1.$user$2" >>"$folder/out" || return 1
    done
}

# ---- what there is to learn ----

run simulate --users 30 --items 120 --warmup 200 --past-only --now 1767225600000 --seed 3 --quiet --out "$folder/events"
items=$(grep -oE '"i[0-9]+"' "$folder/events" | sort -u | paste -sd,)
candidates=$(tr ',' '\n' <<<"$items" | wc -l)
# One user with no history: a list was shown, and nothing chosen. The last record is none: retrain
# begins its round when all but one are read.
{
    printf '{"type":"impression","user":"looker","ts":1767222888000,"request_id":"l","items":["i000001","i000002"]}\n'
    cat "$folder/events"
    printf '{"type":"nothing","user":"looker"}\n'
} | sed -E 's/.*"user":"([^"]*)".*/\1\t&/' | produce_lines events
run ingest --until-end --json && has '"applied":552,.*"dead":1'
check 'events are applied'

# ---- learning: CPU, device, a device that is lost in the middle, a kill -9 on it ----

printf '290 lost\n' >"$folder/lost.fail"
printf '290 killed\n' >"$folder/killed.fail"
learn gpu "$emulated" &
gpu=$!
learn lost "$emulated" FRESHET_BACKEND=cuda CUEMU_FAIL="$folder/lost.fail" &
lost=$!
learn killed "$emulated" FRESHET_BACKEND=cuda CUEMU_FAIL="$folder/killed.fail" &
killed=$!
learn cpu "$bin/freshet" FRESHET_BACKEND=cpu
[ "$?" = 0 ] && grep -q '"published":true' "$folder/cpu.out"
check 'the CPU learns a model that is published'
logged cpu '"event":"backend".*"device":"cpu","why":"FRESHET_BACKEND=cpu"'
check '... and says that it was told to'
! grep -q 'no such key' "$folder/cpu.log"
check '... and knows the variable that told it'

# ---- choosing ----

refuses() { # CODE TEXT PROGRAM NAME=VALUE...: retrain and serve
    local code=$1 text=$2 role
    shift 2
    for role in retrain serve; do
        rm -f "$folder/refusal.log"
        on refusal "$@" -- $role --set model.folder="$folder/none" --set retrain.folder="$folder/none.state"
        [ "$?" = "$code" ] && logged refusal "$text" || return 1
    done
}
refuses 3 'FRESHET_BACKEND=cuda, but no device: CUDA driver version is insufficient' \
    "$emulated" FRESHET_BACKEND=cuda CUEMU_MACHINE='-1 9 0 1 0'
check 'told to use a GPU where there is no driver, neither role starts: exit code 3'
refuses 3 'compute capability 7.0, 7.5 is needed' "$emulated" FRESHET_BACKEND=cuda CUEMU_MACHINE='1 7 0 1 0'
check '... nor on one that is too old'
refuses 3 'its self-test gave' "$emulated" FRESHET_BACKEND=cuda CUEMU_MACHINE='1 9 0 1 1'
check '... nor on one that this build has no code for'
refuses 3 'FRESHET_BACKEND is "gpu", must be cpu or cuda' "$emulated" FRESHET_BACKEND=gpu
check '... nor told something else'
[ ! -e "$folder/none" ] && [ ! -e "$folder/none.state" ]
check '... and nothing is left of it'
choice() { # NAME PROGRAM [NAME=VALUE...]: how retrain starts, with nothing to learn
    learn "$@" FRESHET_KAFKA_TOPICS_EVENTS=none
    [ "$?" = 1 ] && grep -q 'there is no choice' "$folder/$1.out"
}
choice fallback "$emulated" CUEMU_MACHINE='0 9 0 1 0' &&
    logged fallback '"device":"cpu","why":"no GPU: no device: the driver counts 0"'
check 'told nothing, it takes the CPU where there is no GPU, and says why'
choice bf16 "$emulated" FRESHET_RETRAIN_BF16=on && logged bf16 '"event":"learns_in_bf16"'
check 'retrain.bf16 on a GPU that multiplies bf16: learns_in_bf16'
choice old "$emulated" FRESHET_RETRAIN_BF16=on CUEMU_MACHINE='1 7 5 1 0' && logged old '"device":"cuda"' &&
    logged old '"event":"learns_in_f32"'
check '... on one that does not: learns_in_f32'
choice without "$emulated" FRESHET_RETRAIN_BF16=on FRESHET_BACKEND=cpu && logged without '"event":"learns_in_f32"'
check '... and on the CPU'

# ---- what the device has learnt ----

ends_with "$gpu" 0
check 'the device learns a model that is published'
logged gpu '"event":"backend".*"device":"cuda","why":"an emulated GPU, compute capability 9.0"'
check '... and says that it was found'
gave_all_back gpu
check '... and nothing on it is held at the end'
[ "$(cat "$folder/gpu.out")" = "$(cat "$folder/cpu.out")" ]
check '... with the figures of the CPU'
cmp "$folder/cpu/v000002/items" "$folder/gpu/v000002/items"
check '... the same item tables'
$compare weights "$(weights_of cpu)" "$(weights_of gpu)" >>"$folder/out" 2>&1
check '... and the same weights within the tolerance'
# Nothing below can be asked of a model that is not there.
if [ ! -s "$(weights_of cpu)" ] || [ ! -s "$(weights_of gpu)" ]; then
    echo 'ends here: the CPU or the device has published no weights'
    end_with_counts
fi

# ---- what was in the middle of it ----

ends_with "$lost" 3 && logged lost '^cuemu_fail: ' && grep -q '"status":"ERR_DEVICE"' "$folder/lost.out"
check 'a device that is lost while it learns ends retrain with exit code 3, and why'
gave_all_back lost
check '... and nothing on it is held'
tables_alone lost
check '... and no bundle is half published'
ends_with "$killed" 137 2>/dev/null && tables_alone killed
check 'nor is one after a kill -9'
learn lost "$bin/freshet" FRESHET_BACKEND=cpu && cmp "$(weights_of cpu)" "$(weights_of lost)"
check 'the CPU goes on from the checkpoint, to the weights of a CPU that was never disturbed'
learn killed "$emulated" FRESHET_BACKEND=cuda &
killed=$!

# ---- scores ----

users="nobody looker $(grep -oE '"user":"[^"]*"' "$folder/events" | cut -d'"' -f4 | sort -u | head -n 6 | paste -sd' ')"
start_serve of_cpu "$bin/freshet" FRESHET_BACKEND=cpu --
cpu=$pid
start_serve of_gpu "$emulated" FRESHET_BACKEND=cuda CUEMU_FAIL="$folder/fail" --
gpu=$pid
logged of_gpu '"event":"backend".*"device":"cuda","why":"an emulated GPU'
check 'serve says that it scores on the device'
of() { ports=$folder/$1.ports "${@:2}"; } # NAME COMMAND...
of of_gpu admin /readyz | grep -qxF '{"ready":true,"device":"cuda"}' &&
    of of_cpu admin /readyz | grep -qxF '{"ready":true,"device":"cpu"}'
check '... on /readyz'
[ "$(of of_gpu metric 'freshet_device{device="cuda"}')" = 1 ] && [ "$(of of_cpu metric 'freshet_device{device="cuda"}')" = 0 ]
check '... and on /metrics'
ask_all of_cpu ''
ask_all of_gpu .1
same_answers of_gpu .1
check 'all candidates of eight users at once have the scores of the CPU'
ask_all of_gpu .2
same_answers of_gpu .2
check '... and again, of histories that were kept'
of of_gpu metric 'freshet_serve_history_rows_total{from="cache"}' | grep -qx '[1-9][0-9]*'
check '... which they were'
post of_cpu "$folder/of_cpu.explained" "$(body_of u000001 ',"explain":true')"
post of_gpu "$folder/of_gpu.explained" "$(body_of u000001 ',"explain":true')"
$compare scores "$folder/of_cpu.explained" "$folder/of_gpu.explained" >>"$folder/out" 2>&1
check '... and of an explanation'

# ---- calls that are refused ----

refusals() { grep -c '^cuemu_fail: ' "$folder/of_gpu.log"; }
told() { grep -c "\"event\":\"$1\"" "$folder/of_gpu.log"; }
at_rest() { [ "$(told device_failed)" = "$(told device_works)" ]; } # the last question it had was answered
fail_next() { # CALL KIND
    wait_for 20 at_rest
    printf '%s\n' "$1" >"$folder/fail.new" && mv "$folder/fail.new" "$folder/fail"
}
is_degraded() { grep -q '"arm":"popularity","degraded":"popularity"' "$1"; }
# Each of the first calls of a request in turn: all it costs is that answer, if it does.
degraded_count=0 wrong=0 unseen=
for call in 1 2 3 4; do
    before=$(refusals)
    fail_next "$call refused"
    for ((posts = 0; posts < 50; posts++)); do
        [ "$(refusals)" = "$before" ] || break
        post of_gpu "$folder/of_gpu.u000001.3" "$(body_of u000001)"
        if is_degraded "$folder/of_gpu.u000001.3"; then
            degraded_count=$((degraded_count + 1))
        else
            $compare scores "$folder/of_cpu.u000001" "$folder/of_gpu.u000001.3" >>"$folder/out" 2>&1 || wrong=$((wrong + 1))
        fi
    done
    [ "$(refusals)" != "$before" ] || unseen="$unseen $call"
done
[ -z "$unseen" ] && [ "$wrong" = 0 ] && [ "$degraded_count" -ge 1 ] && [ "$(told device_failed)" = "$degraded_count" ]
check 'a refused call costs one answer the model, at most'
fail_next '1 refused'
post of_gpu "$folder/of_gpu.large" "$(items=$items,$(seq -s, -f '"x%g"' 3000) body_of u000001)"
is_degraded "$folder/of_gpu.large" && logged of_gpu 'cuemu_fail: cuda.*Malloc' && logged of_gpu 'no.* memory for .* the GPU: out of memory'
check '... so does memory that the GPU has not'
ask_all of_gpu .4
same_answers of_gpu .4
check 'the next answers are right'

# ---- a device that is lost ----

fail_next '7 lost'
ask_all of_gpu .5
wrong=0
for user in $users; do
    is_degraded "$folder/of_gpu.$user.5" || $compare scores "$folder/of_cpu.$user" "$folder/of_gpu.$user.5" || wrong=$((wrong + 1))
done >>"$folder/out" 2>&1
[ "$wrong" = 0 ]
check 'while a device is lost each answer is right, or without the model'
ends_with "$gpu" 3
check '... and serve ends with exit code 3'
gave_all_back of_gpu && logged of_gpu '^freshet serve: .*unspecified launch failure'
check '... says why, and holds nothing'
kill "$cpu"
ends_with "$cpu" 0
check 'serve on the CPU ends with 0'

# ---- and again, with recall by the model's next items ----

start_serve of_cpu "$bin/freshet" FRESHET_BACKEND=cpu FRESHET_SERVE_RECALL_NEXT=30 --
cpu=$pid
start_serve again "$emulated" FRESHET_SERVE_RECALL_NEXT=30 --
again=$pid
wrong=0
for user in $users; do
    post of_cpu "$folder/of_cpu.$user.list" "{\"user\":\"$user\",\"k\":20}" recommend
    post again "$folder/again.$user.list" "{\"user\":\"$user\",\"k\":20}" recommend
    $compare scores "$folder/of_cpu.$user.list" "$folder/again.$user.list" || wrong=$((wrong + 1))
done >>"$folder/out" 2>&1
[ "$wrong" = 0 ]
check 'started anew it finds the device, and recommends what the CPU does (serve.recall_next)'
kill "$cpu" "$again"
ends_with "$again" 0 && gave_all_back again
check '... ends with 0, and holds nothing'
ends_with "$killed" 0 && cmp "$(weights_of gpu)" "$(weights_of killed)"
check 'after kill -9 the device has gone on from the checkpoint, to the same bits'

grep -H '^cuemu: ' "$folder"/*.log >"$folder/reports"
[ "$?" = 1 ]
check "nothing was reported by the emulator: $(head -n 3 "$folder/reports")"
end_with_counts
