#!/bin/bash
# tests/faults/test_event_faults.sh - what events can be like: rows 23 to 42 of the table of faults
# (docs/faults.md) that are a matter of the whole path, from the topic to Redis, the examples and
# the trainer's item tables.
#
# Two judges look at the end, and in between where a row asks: the replay through the memory store
# (freshet verify) and tests/oracle.py. Each row has users of its own, named after it, so that what
# they say is told apart. ROWS="24 31" runs some, SEED=n the shuffle of a run, SOAK=1 more traffic.
set -u
cd "$(dirname "$0")/../.." || exit 70
. tests/support/shell.sh
script_begin test_event_faults
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}

need_programs redis-server redis-cli curl python3
build_tools
start_redis
start_mock events:4 examples:2 dead:1 others:4
cat >"$FRESHET_CONFIG" <<YAML
kafka: {brokers: "$address", group: events, instance_id: one, session_timeout: 6s}
redis: {url: "unix://$folder/redis.sock"}
dataset: {shards: 8, examples_partitions: 2}
features: {sequence_max: 20, late_max: 3h}
events: {max_future_skew: 5m}
ingest: {admin: "127.0.0.1:0", linger: 1ms}
model: {folder: "$folder/models"}
retrain: {admin: "127.0.0.1:0", folder: "$folder/retrain", user_choices_max: 15, user_day_max: 18}
log: {format: json}
YAML
now=$(($(date +%s) * 1000 - 60000)) # events may be a minute younger than this

# ---- events ----

act() { printf '%s\t{"type":"%s","user":"%s","item":"%s","ts":%s%s}\n' "$1" "$2" "$1" "$3" "$4" "${5:+,\"request_id\":\"$5\"}"; }  # USER TYPE ITEM TIME [REQUEST]
show() { printf '%s\t{"type":"impression","user":"%s","ts":%s,"items":[%s]%s}\n' "$1" "$1" "$2" "$3" "${4:+,\"request_id\":\"$4\"}"; } # USER TIME ITEMS [REQUEST]
raw() { printf '%s\t%s\n' "$1" "$2"; } # KEY VALUE

# ---- judges ----

outcomes() { admin /metrics | sed -nE 's/^freshet_ingest_records_total\{outcome="([a-z]+)"\} /\1 /p'; }
total() { awk '{ n += $2 } END { print n + 0 }' "$1"; } # FILE

# Events of standard input, keys and values: what became of them is then asked by `did`.
feed() {
    cat >"$folder/fed"
    outcomes >"$folder/before"
    produce_lines events <"$folder/fed"
    settle "$(wc -l <"$folder/fed")"
}
settle() { # RECORDS
    local goal=$(($(total "$folder/before") + $1))
    counted() { outcomes >"$folder/after" && [ "$(total "$folder/after")" = "$goal" ]; }
    wait_for 120 counted
}
did() { # OUTCOME COUNT
    [ $(($(sed -n "s/^$1 //p" "$folder/after") - $(sed -n "s/^$1 //p" "$folder/before"))) = "$2" ]
}
begin() {
    start_ingest
    wait_for 90 ready
}
end() { kill "$ingest" && wait "$ingest"; }

# The value of a member in the last verify.
found() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" "$folder/verify"; }

judge() { # ROW [ITEMS]
    "$bin/freshet" verify --quiet --json --dump "$folder/dump" ${2:+--items "$2"} \
        >"$folder/verify" 2>"$folder/err"
    [ "$?" = 0 ] && grep -q '"equal":true,"examples_compared":true' "$folder/verify"
    check "$1: users, counts and examples are what a replay makes of the log"
    python3 tests/oracle.py "$folder/dump" >"$folder/out"
    check "$1: the other oracle agrees"
}

# Rows of the examples topic, as the last judge found them.
labels_of() { grep -c "\"kind\":\"label\",\"user\":\"$1\"" "$folder/dump/examples.jsonl"; } # USER
letters() { "$bin/freshet" dlq list --json 2>/dev/null | sed -n "s/.*\"$1\":{\"count\":\([0-9]*\).*/\1/p"; }
entries() { "$bin/freshet" features show "$1" --json 2>/dev/null | sed -n 's/.*"entries":\(\[.*\]\),"open.*/\1/p'; } # USER

# ---- 23: the same record comes again ----

# A shard that lost its last moments makes ingest read again: the other shards have had all of it,
# but for some new records that come in the same batches.
row_23() {
    local i key
    clicks() { for i in $(seq 60); do act "r23-$i" click "$1$((i % 7))" $((now + i + $2)); done; }
    clicks a 0 | feed
    for key in $(redis --scan --pattern 'fr{03}*'); do redis COPY "$key" "$key" DB 1 >/dev/null; done
    clicks b 100 | feed
    did applied 60
    check '23: every record is applied'
    end
    for key in $(redis --scan --pattern 'fr{03}*'); do redis DEL "$key" >/dev/null; done
    for key in $(redis -n 1 --scan --pattern '*'); do redis -n 1 COPY "$key" "$key" DB 0 REPLACE >/dev/null; done
    redis -n 1 FLUSHDB >/dev/null
    clicks c 200 | produce_lines events
    begin
    all_is_there() { [ "$(entries r23-60 | grep -o '"time' | wc -l)" = 3 ] && ready && metric freshet_ingest_lag_records | grep -qx 0; }
    wait_for 60 all_is_there
    check '23: what a shard lost is read again'
    [ "$(metric freshet_ingest_skipped_total)" -gt 0 ]
    check '23: ... and passed over by its offset where it was applied'
    judge 23
}

# ---- 24: a producer sends the same event again ----

row_24() {
    local i
    { act r24 click a "$now"; act r24 click a "$now"; show r24 "$now" '"x","y"' r24; show r24 "$now" '"x","y"' r24
      show r24 $((now + 1)) '"x"'; show r24 $((now + 1)) '"x"'; } | feed
    did applied 3 && did duplicate 3
    check '24: what comes again changes nothing'
    { for i in $(seq 25); do act r24 click "b$i" $((now + 10 + i)); done; act r24 click a "$now"; } | feed
    did applied 25 && did late 1
    check '24: beyond the sequence it cannot be known again: late'
}

# ---- 25: another order ----

row_25() {
    local i
    printf 'seed %s\n' "$seed"
    for i in $(seq 40); do act USER "$([ $((i % 3)) = 0 ] && echo click || echo view)" "a$((i % 11))" $((now + i * 37 % 41 * 1000)); done >"$folder/sorted"
    sort -t: -k5 "$folder/sorted" | sed 's/USER/r25-sorted/g' | feed
    shuf --random-source=<(yes "$seed") "$folder/sorted" | sed 's/USER/r25-mixed/g' | feed
    [ "$(entries r25-sorted)" = "$(entries r25-mixed)" ] && [ -n "$(entries r25-mixed)" ]
    check "25: the sequence is that of the sorted events (seed $seed)"
}

# ---- 26: too late ----

row_26() {
    { show r26 "$now" '"x"' r26; act r26 click x $((now - 4 * 3600000)); act r26 click y $((now - 3600000)); } | feed
    did dropped 1 && did applied 2
    check '26: what is older than the watermark by more than late_max is dropped'
}

# ---- 27: the label comes first ----

row_27() {
    { act r27 click x $((now + 5)) named; act r27 click y $((now + 6)); act r27 click z $((now + 7)) other
      show r27 "$now" '"x","z"' named; show r27 $((now + 1)) '"y"'; } | feed
    did applied 5
    check '27: labels and their lists are applied'
    judge 27
    [ "$(labels_of r27)" = 2 ]
    check '27: both labels are joined'
}

# ---- 29: the label comes after the list was learnt as a negative ----

row_29() {
    { show r29 $((now - 7200000)) '"x","y"' r29; act r29 click a "$now"; } | feed
    run retrain --once --json
    act r29 click y $((now - 7190000)) r29 | feed
    did applied 1
    check '29: a late label is applied'
    run retrain --once --json
    [ "$?" -le 1 ]
    check '29: the correction reaches the trainer'
}

# ---- 30: a list twice, its labels twice ----

row_30() {
    { for i in 1 2; do show r30 "$now" '"x","y"' r30; done
      act r30 click x $((now + 1)) r30; act r30 click x $((now + 2)) r30; act r30 like x $((now + 3)); } | feed
    judge 30
    [ "$(grep -c '"user":"r30","shown_at"' "$folder/dump/examples.jsonl")" = 1 ] && [ "$(labels_of r30)" = 2 ]
    check '30: one example, and one label of each kind'
}

# ---- 31: what is no event ----

row_31() {
    local before
    before=$(letters not_json)
    { raw 1 '{'; raw 2 ''; raw 3 'nonsense'; raw 4 '[]'; raw 5 $'\377\376\001'; raw 6 '{"type":"click"'
      raw 7 "$(head -c 2000 /dev/zero | tr '\0' x)"; act r31 click a "$now"; } | feed
    did dead 7 && did applied 1
    check '31: what is no event goes to the dead letters, and the partition goes on'
    [ "$(letters not_json)" = $((${before:-0} + 7)) ]
    check '31: ... each with its reason'
    ! "$bin/kafka_tool" dump "$address" dead | awk '{print $4}' | xxd -r -p | grep -qE '"head":"[0-9a-f]{513}'
    check '31: ... and 256 bytes of it at most'
}

# ---- 32: a bad deployment upstream ----

row_32() {
    local i
    for i in $(seq 1500); do raw "$i" '{"type":"click"'; done | feed
    degraded() { admin /readyz | grep -q '"ready":true,"degraded":".* of the records are refused.*dlq list'; }
    wait_for 60 degraded
    check '32: a share of refused records above the limit is told, and ingest stays ready'
    breaker_open() { metric freshet_ingest_poison_breaker | grep -qx 1; }
    wait_for 30 breaker_open
    check '32: ... by a metric, too'
    [ "$(grep -c '"event":"poison_breaker"' "$folder/ingest.log")" = 1 ]
    check '32: ... and once in the log'
    act r32 click a "$now" | feed
    did applied 1
    check '32: what is good is applied meanwhile'
}

# ---- 33 to 37, 39: members that cannot be; the units test each, the judges must agree on all ----

click_with() { printf '%s\t{"type":"click","user":"%s","item":"i","ts":%s%s}\n' "$1" "$1" "$now" "${2:+,$2}"; } # USER MEMBERS

row_33() {
    { click_with r33 "\"deep\":$(printf '[%.0s' $(seq 40))$(printf ']%.0s' $(seq 40))"
      click_with r33 "\"user\":\"other\",\"user\":\"r33\",\"item\":\"first\",\"item\":\"last\""
      click_with r33-wide "\"o\":{$(seq 20000 | sed 's/.*/"m&":0/' | paste -sd,)}"; } | feed
    did applied 2 && did dead 1
    check '33: depth is bounded, a wide object is not'
    act r33-last click last "$now" | feed
    [ "$(entries r33)" = "$(entries r33-last)" ] && [ -n "$(entries r33)" ]
    check '33: the last of two members counts'
}

row_34() {
    local long
    long=$(head -c 65536 /dev/zero | tr '\0' i)
    { act r34 click $'bad\377' "$now"; act r34 click $'long\300\257' "$now"; act r34 click '\ud800' "$now"
      act r34 click 'zero\u0000' "$now"; act r34 click "$long" "$now"; act "${long:0:129}" click a "$now"
      act "${long:0:128}" click "${long:0:256}" "$now"; act r34 click $'\e[2Jescape' "$now"; act r34 click 'ok\u001b[2J' "$now"; } | feed
    did applied 2 && did dead 7
    check '34: ids that are no text of their length are refused, and none is cut'
    run dlq show && ! LC_ALL=C grep -qP '\x1b' "$folder/err" "$folder/out"
    check '34: nothing that a terminal acts on is printed'
}

row_35() {
    { click_with r35 '"x":NaN'; click_with r35 '"x":Infinity'; click_with r35 '"x":1e999'; act r35 click a '"5"'
      act r35 click a -0; act r35 click a 9007199254740993; raw 5 '{"type":"click","user":5,"item":9007199254740993,"ts":'"$now"'}'
      raw 5 '{"type":"click","user":"5","item":"9007199254740993","ts":'"$now"'}'; } | feed
    did applied 1 && did duplicate 1 && did dead 6
    check '35: numbers that are none are refused, and 5 is "5"'
}

row_36() {
    { act r36 click a -1; act r36 click a 0; act r36 click a $((now / 1000)); act r36 click a $((now * 1000))
      act r36 click a 946684799999; act r36 click a "$now.5"; act r36 click a "$now"; } | feed
    did applied 1 && did dead 6
    check '36: a time in another unit is refused, never guessed'
}

row_37() {
    { act r37 click a $((now + 3600000)); act r37 click b $((now + 315360000000)); act r37 click c $((now - 3600000)); } | feed
    did dead 2 && did applied 1 && did dropped 0
    check '37: a future beyond the skew is refused, and does not move the watermark'
}

row_38() {
    { raw '' '{"type":"click","user":"r38","item":"a","ts":'"$now"'}'; raw r38 -; raw other '{"type":"click","user":"r38","item":"a","ts":'"$now"'}'
      act r38 click a "$now"; } | feed
    did dead 3 && did applied 1
    check '38: a record without its key, and one without a value, go to the dead letters'
    [ "$(letters key_mismatch)" -ge 2 ] && [ "$(letters tombstone)" -ge 1 ]
    check '38: ... with the reason'
}

row_39() {
    { click_with r39 '"schema":9,"new":{"a":[1,2]}'; raw r39 '{"type":"teleport","user":"r39","item":"i","ts":'"$now"'}'
      raw r39 '{"type":"click","user":"r39","ts":'"$now"'}'; raw r39 '{"type":"click","user":{"id":"r39"},"item":"i","ts":'"$now"'}'; } | feed
    did applied 1 && did dead 3
    check '39: new members are ignored; what is needed and missing, or of another type, is refused'
}

# ---- 40: half of the traffic is one user ----

row_40() {
    local events=${SOAK:+1000000}
    awk -v n="${events:-8000}" -v now="$now" 'BEGIN { for (i = 0; i < n; i++) { u = i % 2 ? "r40-hot" : "r40-" i % 500
        printf "%s\t{\"type\":\"click\",\"user\":\"%s\",\"item\":\"i%d\",\"ts\":%.0f}\n", u, u, i % 1000, now + int(i / 40) } }' | feed
    check '40: a hot user is applied'
    [ "$(entries r40-hot | grep -o '"time' | wc -l)" = 20 ]
    check '40: ... and keeps no more than the others'
    [ "$(redis STRLEN "$(redis --scan --pattern 'fr{*}ur40-hot')")" -lt 400 ]
    check '40: ... in as many bytes'
}

# ---- 41: the clocks of producers are off ----

row_41() {
    { show r41 "$now" '"x","y"' r41; act r41 click x $((now + 250000)) r41; act r41 click y $((now - 600000)) r41
      act r41 click y $((now + 3600000)) r41; act r41-slow click x $((now - 600000)); show r41-slow "$now" '"x"'; } | feed
    did dead 1 && did applied 5
    check '41: a clock too far ahead is refused, one that is behind is not'
    judge 41
    [ "$(labels_of r41)" = 1 ]
    check '41: a click that seems to lie before its list is no label of it'
    grep '"user":"r41-slow","shown_at"' "$folder/dump/examples.jsonl" | grep -q '"history":\[\["x"'
    check '41: ... but history'
}

# ---- 42: an erasure, and everything once more from the start ----

row_42() {
    { show r42 "$now" '"x"' r42; act r42 click x $((now + 1)) r42; } | feed
    outcomes >"$folder/before"
    run erase r42 --json && settle 1
    check '42: the erasure is written and applied'
    act r42 click y $((now + 2)) | feed
    did erased 1
    check '42: what is of before the erasure is dropped from then on'
    end
    redis FLUSHALL >/dev/null
    run ingest --until-end --rebuild --json
    check '42: the log is read again from the start'
    [ "$(entries r42)" = '[]' ]
    check '42: the user stays erased'
    judge 42
}

# ---- users whose events lie in several partitions: a range of states is right ----

two_partitions() {
    local i others=(--set kafka.topics.events=others --set dataset.namespace=two --set events.key=any --set kafka.group=two)
    for i in $(seq 120); do
        printf 'key%d\t{"type":"click","user":"two%d","item":"a%d","ts":%d,"request_id":"r%d"}\n' \
            $((i % 7)) $((i % 5)) $((i % 13)) $((now - i * 7919 % 9000000)) $((i % 11))
        [ $((i % 10)) != 0 ] || printf 'key%d\t{"type":"impression","user":"two%d","items":["a1","a2"],"ts":%d,"request_id":"r%d"}\n' \
            $((i % 3)) $((i % 5)) $((now - i * 7919 % 9000000)) $((i % 11))
        [ "$i" != 90 ] || printf 'key1\t{"type":"erase","user":"two3","ts":%d}\n' $((now - 4000000))
    done | produce_lines others
    run ingest --until-end --json "${others[@]}"
    check 'two partitions: all is applied'
    run verify --json "${others[@]}" && has '"equal":true' && has '"users_of_several_partitions":5'
    check 'two partitions: the state is one of those that are right, and such users are told'
    run verify --passes 4 --json "${others[@]}" && has '"equal":true' && has '"users":5' && has '"users_of_several_partitions":5'
    check 'two partitions: ... in several passes, too'
}

# ---- all of it, and what the trainer has counted ----

# One faster than a hand, one that pushes an item, one that pushes many.
robots() {
    local i
    for i in $(seq 40); do
        act robot-fast click "fast$((i % 10))" $((now + 200 * i))
        act robot-one click pushed $((now - 2400000 + 60000 * i))
        act robot-many click "many$i" $((now - 2400000 + 60000 * i))
    done | feed
}

at_the_end() {
    robots
    check 'robots: their choices are applied'
    run retrain --once --json
    [ "$?" -le 1 ]
    check 'the trainer reads all of it'
    judge 'at the end' "$folder/retrain/$(cat "$folder/retrain/checkpoint")"
    grep -q '"items_compared":true' "$folder/verify" && [ "$(found items_equal)" -gt 0 ]
    check 'at the end: item counts were compared, too'
    [ "$(found items_choices_masked)" -ge 40 ] # of two days, should midnight have passed meanwhile
    check 'at the end: ... without what robots chose'
}

begin
check 'ingest is ready'
run_rows 23 24 25 26 27 29 30 31 32 33 34 35 36 37 38 39 40 41
[ "${ROWS:-}" = 42 ] || at_the_end
[ -n "${ROWS:-}" ] || two_partitions
run_rows 42 # begins with another data set
end_with_counts
