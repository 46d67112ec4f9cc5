#!/bin/bash
# tests/integration/test_avro.sh - Avro beside JSON, by producers of two versions, with a registry that
# is down at first: partitions wait, nothing is lost, and what is in Redis is what the same events give
# as JSON.
set -u
cd "$(dirname "$0")/../.." || exit 70
. tests/support/shell.sh
script_begin avro
events="python3 tests/integration/avro_events.py"

need_programs redis-server redis-cli python3 curl
build_tools
start_redis
start_mock events:3 examples:1 dead:1 events_json:3 examples_json:1
touch "$folder/down"
$events registry "$folder/port" "$folder/down" "$folder/more" &
wait_for 60 test -s "$folder/port"
check 'a registry listens'

configure() { # FILE NAMESPACE SUFFIX MORE...
    local file=$1 namespace=$2 suffix=$3
    cat >"$file" <<YAML
kafka: {brokers: "$address", group: "avro$namespace", session_timeout: 4s, topics: {events: "events$suffix", examples: "examples$suffix"}}
redis: {url: "unix://$folder/redis.sock"}
dataset: {shards: 4, namespace: $namespace}
ingest: {admin: "127.0.0.1:0"}
log: {format: json}
model: {folder: "$folder/models$3"}
retrain: {admin: "127.0.0.1:0", folder: "$folder/retrain$3", every: 1s}
YAML
    shift 3
    printf '%s\n' "$@" >>"$file"
}
configure "$FRESHET_CONFIG" av "" "events: {format: auto, registry: \"http://127.0.0.1:$(cat "$folder/port")\"}"
configure "$folder/json.yaml" js _json

# ---- the registry is down ----

$events avro | "$bin/kafka_tool" produce-hex "$address" events
check 'the events are produced as Avro and JSON'
start_ingest
waits() { reason 'partitions wait for a schema: Avro schema [12]: the registry' && [ "$(metric freshet_ingest_partitions_waiting)" -ge 1 ]; }
wait_for 60 waits
check 'partitions wait for their schemas, and say so'
none_dead() { admin /metrics >"$folder/metrics" && ! grep -E '^freshet_ingest_dead_total\{.*\} [1-9]' "$folder/metrics"; }
none_dead
check 'nothing becomes a dead letter meanwhile'
rm "$folder/down"
applied() { [ "$(metric freshet_ingest_lag_records)" = 0 ] && ready; }
wait_for 60 applied
check 'they go on once it answers'
none_dead
check 'and every record was an event'

# ---- ugly ones ----

$events ugly | "$bin/kafka_tool" produce-hex "$address" events
dead() { [ "$(admin /metrics | sed -n "s/^freshet_ingest_dead_total{reason=\"$1\"} //p")" = "$2" ]; }
wait_for 60 dead not_avro 3
check 'records that are cut short, too long or without an id'
wait_for 60 dead bad_schema 1
check 'a schema without a user'
wait_for 60 dead no_schema 1
check 'an id that nobody knows'
wait_for 60 dead bad_user 1 && wait_for 60 dead unknown_action 1
check 'the rules of JSON hold for Avro'
grep -q 'it has no field /user for the user' "$folder/ingest.log"
check 'the log says what the schema lacks'
kill "$ingest" && wait "$ingest"
check 'ingest drains'

# ---- the same events as JSON (items are hashed by each data set's own seed: dumps have names) ----

$events json | FRESHET_CONFIG=$folder/json.yaml produce_lines events_json
FRESHET_CONFIG=$folder/json.yaml run ingest --until-end --json && has '"dead":0'
check 'the same events are applied as JSON'
run verify --dump "$folder/dump" --json && has '"equal":true'
check 'verify reads Avro'
FRESHET_CONFIG=$folder/json.yaml run verify --dump "$folder/dump_json" --json && has '"equal":true'
check '... and JSON'
[ "$(wc -l <"$folder/dump/users.jsonl")" = 20 ] &&
    cmp -s <(sort "$folder/dump/users.jsonl") <(sort "$folder/dump_json/users.jsonl")
check 'every user has the same state'

# ---- other readers ----

touch "$folder/down"
timeout 400 "$bin/freshet" retrain --once --json >"$folder/verdict" 2>"$folder/retrain.log" &
retrain=$!
wait_for 60 grep -q waiting_for_schema "$folder/retrain.log"
check 'the trainer waits for a schema'
rm "$folder/down"
wait "$retrain"
grep -qE '[1-9][0-9]+ held-out choices' "$folder/verdict" # how many varies with what came first
check '... and then learns of all partitions'
run ingest --dry-run events --json && has '"records":607' && has '"bad_schema":{"count":1'
check 'a dry run reads Avro'
run dlq replay --reason no_schema && has no_schema
check 'dlq replay asks for the schema anew'
touch "$folder/more"
run dlq replay --reason no_schema --apply
check '... and replays once it is there'
run ingest --until-end --json && has '"records":1,' && has '"dead":0'
check 'the replayed record is read by its schema'
mkdir "$folder/schemas"
touch "$folder/down"
python3 - "$folder/schemas" "$folder" <<'PY'
import json, sys
sys.argv[1:], folder = ["none"], sys.argv[1]
exec(open("tests/integration/avro_events.py").read().split("if sys.argv[1]")[0])
for writer in (1, 2, 3):
    open("%s/%d.avsc" % (folder, writer), "w").write(json.dumps(schema(writer)))
PY
configure "$FRESHET_CONFIG" av "" "events: {format: auto, schemas: \"$folder/schemas\"}"
run verify --json
says 'avro_schema_refused' && has '"users_equal":20,"users_different":0,'
check 'schemas come from files, too'
run erase 'user1é' && run ingest --until-end --json && has '"erased\|"applied":1'
check 'erase writes JSON, which auto reads'
sed -i 's/format: auto/format: avro/' "$FRESHET_CONFIG"
run erase 'user1é'
[ "$?" != 0 ] && says 'set auto'
check 'where JSON would be refused, erase says so'
end_with_counts
