#!/bin/bash
# tests/integration/test_erase.sh - FAULTS 42: after an erasure, and after a replay from the start,
# nothing of the user is left in any place that keeps state: the value and the outbox in Redis, what
# goes out to the trainer, the trainer's checkpoint. With events in a company's own form.
#
# Two users are erased. One has rows that still wait in the outbox (the relay cannot send its list:
# the producer refuses records of that size); the other's have reached the trainer.
set -u
cd "$(dirname "$0")/../.." || exit 70
. tests/support/shell.sh
script_begin erase

need_programs redis-server redis-cli od
build_tools
start_redis
start_mock events:2 examples:1 dead:1
cat >"$FRESHET_CONFIG" <<YAML
kafka:
  brokers: "$address"
  group: erase
  session_timeout: 4s
  properties: ["message.max.bytes=1000"]
redis: {url: "unix://$folder/redis.sock"}
dataset: {shards: 1}
events:
  tombstone: erase
  mapping:
    user: /actor/id
    item: /object/sku
    rows: /object/list
    request_id: /answer
    time: {path: /at, unit: iso}
    action: {path: /verb, map: {SHOWN: impression, CLICK: click}}
ingest: {admin: "127.0.0.1:0", drain: 1s}
model: {folder: "$folder/models"}
retrain: {admin: "127.0.0.1:0", folder: "$folder/retrain", every: 1s}
log: {format: json}
YAML

# ---- what is searched, and for what ----

# Everything in Redis, as one line of hexadecimal digits.
redis_hex() {
    redis --scan --pattern 'fr{*}*' | while read -r key; do
        case $(redis TYPE "$key") in
        string) redis GET "$key" ;;
        stream) redis XRANGE "$key" - + ;;
        esac
    done | od -An -v -tx1 | tr -d ' \n'
}
checkpoint_hex() { find "$folder/retrain" -type f -exec cat {} + | od -An -v -tx1 | tr -d ' \n'; }
topic_hex() { "$bin/kafka_tool" dump "$address" examples; }
# The id of the list of so many rows (one digit), as its record has it: format 1, kind 1, the id, and
# the rows' number at byte 34.
list_of() { topic_hex | sed -nE "s/.* 0101([0-9a-f]{16})[0-9a-f]{48}0$1""00.*/\1/p" | head -n 1; }
rows_waiting() { redis --scan --pattern 'fr{*}o*' | while read -r key; do redis XLEN "$key"; done | awk '{ n += $1 } END { print n + 0 }'; }
shown() { # USER REQUEST ITEMS
    printf '%s\t{"actor":{"id":"%s"},"verb":"SHOWN","at":"2024-05-01T12:00:00Z","answer":"%s","object":{"list":[%s]}}\n' \
        "$1" "$1" "$2" "$(seq -s, -f '"i%g"' "$3")"
}
clicked() { # USER REQUEST
    printf '%s\t{"actor":{"id":"%s"},"verb":"CLICK","at":"2024-05-01T12:00:09.5Z","answer":"%s","object":{"sku":"i1"}}\n' \
        "$1" "$1" "$2"
}

# ---- cat's list reaches the trainer ----

{ shown cat r1 6; clicked cat r1; shown bob r2 5; clicked bob r2; } | produce_lines events
run ingest --until-end --json && has '"applied":4'
check 'events of another form are applied'
cat_id=$(list_of 6) bob_id=$(list_of 5)
[ ${#cat_id} = 16 ] && [ ${#bob_id} = 16 ]
check 'both lists went to the trainer'
run retrain --once --json
[ "$?" -le 1 ]
check 'the trainer ends'
checkpoint_hex | grep -q "$bob_id" && checkpoint_hex | grep -q "$cat_id"
check 'its checkpoint holds both lists'

# ---- ann's wait in the outbox ----

{ shown ann r3 300; clicked ann r3; } | produce_lines events
start_ingest
both_wait() { [ "$(rows_waiting)" = 2 ]; }
wait_for 60 both_wait
check 'the list that cannot be sent and its label wait in the outbox'
ann_id=$(redis_hex | grep -oE '0a0101[0-9a-f]{16}' | head -n 1 | cut -c 7-)
[ ${#ann_id} = 16 ] && redis_hex | grep -q "$ann_id"
check 'they are found by a search'
kill "$ingest"
wait "$ingest"

# ---- the erasures: one by the command, one by a tombstone ----

run erase ann --json && has '"erased_at_ms"'
check 'the erasure is written in the form of the mapping'
printf 'cat\t-\n' | produce_lines events
run ingest --until-end --json && has '"dead":0'
check 'both are taken for what they are'
[ "$(rows_waiting)" = 0 ]
check 'nothing waits in the outbox'
! redis_hex | grep -qE "$ann_id|$cat_id"
check 'no key of Redis holds anything of their lists'
for user in ann cat; do
    run features show "$user" --json && has '"entries":\[\]' && ! has '"erased_at":0[,}]'
    check "$user has no history, and the time of the erasure"
done
run features show bob --json && has '"item"'
check 'another user is untouched'
! topic_hex | grep -q "$ann_id"
check 'what waited never went to the trainer'
topic_hex | awk '{ print substr($4, 1, 4) }' | grep -c 0103 | grep -qx 2
check 'the trainer is told of both'
run retrain --once --json
[ "$?" -le 1 ]
check 'the trainer goes on'
! checkpoint_hex | grep -q "$cat_id"
check 'its checkpoint holds nothing of the erased list'
checkpoint_hex | grep -q "$bob_id"
check '... and the other'

# ---- a replay from the start ----

run verify --json && has '"equal":true'
check 'Redis equals the replay'
redis FLUSHALL >/dev/null
run ingest --until-end --rebuild --json
run features show ann --json && has '"entries":\[\]' && ! has '"erased_at":0[,}]'
check 'after a rebuild the user stays erased'
! redis_hex | grep -qE "$ann_id"
check '... and nothing of the list waits'
end_with_counts
