#!/bin/bash
# tests/integration/test_ingest_commands.sh - replay, ingest, offsets, verify, dlq, erase and dry
# runs as a person types them, against the embedded broker and a private Redis.
set -u
cd "$(dirname "$0")/../.." || exit 70
. tests/support/shell.sh
script_begin test_ingest_commands
data=tests/data/movietweetings/movietweetings100k_events.csv.gz

need_programs redis-server redis-cli
build_tools
start_redis
start_mock events:4 examples:2 dead:1
cat >"$FRESHET_CONFIG" <<YAML
kafka: {brokers: "$address", group: commands, session_timeout: 4s}
redis: {url: "unix://$folder/redis.sock"}
dataset: {shards: 8}
ingest: {admin: "127.0.0.1:0"}
YAML

# ---- make install ----

make -s install DESTDIR="$folder/installed" PREFIX=/opt/freshet >"$folder/out" 2>"$folder/err"
check 'make install installs'
"$folder/installed/opt/freshet/bin/freshet" config check --config "$folder/installed/opt/freshet/share/freshet/freshet.yaml" >"$folder/out" 2>"$folder/err"
check 'the example configuration can be used'
grep -q '^ExecStart=/opt/freshet/bin/freshet %i ' "$folder/installed/opt/freshet/lib/systemd/system/freshet@.service"
check 'the units start what was installed'

DEMO_SECONDS=abc bash ops/deploy/demo.sh >"$folder/out" 2>"$folder/err"
[ "$?" = 2 ] && says 'DEMO_SECONDS="abc" is no whole number of seconds'
check 'a duration of the demo that is none is named as it was written'

# ---- what runbooks and documents name ----

unknown=
while read -r _ first second; do
    run "$first" ${second:+"$second"} --help || run "$first" --help || unknown="$unknown $first"
done < <(grep -ohE '`freshet [a-z]+( [a-z]+)?' ops/runbooks/*.md docs/*.md README.md | sort -u)
[ -z "$unknown" ]
check "every command that a page names is there:$unknown"
unknown=
for name in $(grep -ohE 'freshet_[a-z0-9_]+' ops/runbooks/*.md docs/*.md README.md | sort -u); do
    grep -qrE "\"$name\"" --include='*.c' ops schemas machine ingest features scorer eval retrain || unknown="$unknown $name"
done
[ -z "$unknown" ]
check "every metric that a page names is there:$unknown"
unknown=
for row in $(sed -nE 's/^([0-9]+) .*/\1/p' tests/faults/rows.txt | sort -un); do
    sed -nE 's/^\| ([0-9, ]+) \|.*/\1/p' docs/faults.md | grep -qwF "$row" || unknown="$unknown $row"
done
[ -z "$unknown" ]
check "every row of the table of faults is in docs/faults.md:$unknown"

# ---- before anything is there ----

printf 'redis: {url: "redis1:6379"}\nserve:\n  listen: x\nevents: {mapping: {user: actor/id}}\n' >"$folder/bad.yaml"
run config check --config "$folder/bad.yaml"
[ "$?" = 2 ] && says 'bad.yaml:1:14: redis.url' && says 'bad.yaml:3:11: serve.listen' && says 'bad.yaml:4:26: events.mapping.user: .*actor/id'
check 'config check finds what the roles would refuse'

run offsets list
[ "$?" != 0 ]
check 'offsets list without a data set says so'
says 'freshet ingest'
check '... and names the remedy'
run ingest --dry-run ./nowhere-at-all
[ "$?" != 0 ] && says nowhere-at-all
check 'a dry run of a missing file names it'
run ingest --dry-run "$data" --json && has '"applied":{"count":100000'
check 'a dry run of MovieTweetings applies every event'
redis DBSIZE | grep -qx 0
check 'a dry run writes nothing'
printf '%s\n' '{"type":"click","user":"u","item":"i","ts":1700000000000}' '{' '{"type":"dance","user":"u","item":"i","ts":1}' '' \
    '{"type":"click","user":"u","item":"i","ts":1700000000000}' >"$folder/mixed.jsonl"
run ingest --dry-run "$folder/mixed.jsonl" --json && has '"not_json":{"count":1,"line":2' && has '"duplicate":{"count":1'
check 'a dry run says what is rejected, why and where'

printf '{"type":"click","user":"u","item":"i","ts":1700000000}\n' >"$folder/seconds.jsonl"
run ingest --dry-run "$folder/seconds.jsonl"
[ "$?" = 1 ] && has 'seconds read as milliseconds' && has 'nothing of it can be used'
check 'a dry run that can use nothing says no, and what is probably meant'
run backtest "$folder/seconds.jsonl"
[ "$?" = 4 ] && says '--dry-run'
check 'a backtest of nothing usable is bad data'
printf '{"type":"click","user":"u","item":"i","ts":1700000000000}\n' >"$folder/click.jsonl"
run ingest --dry-run "$folder/click.jsonl" && has 'no examples: none of these events is an impression'
check 'a dry run says why there are no examples'
for copy in one two; do
    run simulate --seed 3 --warmup 50 --past-only --now 1767225600000 --out "$folder/$copy.jsonl"
done
[ -s "$folder/one.jsonl" ] && cmp -s "$folder/one.jsonl" "$folder/two.jsonl"
check 'a simulated past is the same bytes for the same seed and moment'
run simulate --unlisted 7 --out "$folder/none.jsonl"
[ "$?" = 2 ] && says 'unlisted is a share' && [ ! -e "$folder/none.jsonl" ]
check 'simulate names the option that cannot be'
run replay "$folder/seconds.jsonl"
[ "$?" = 4 ] && says 'no line of'
check 'replay of a file without events is bad data'
run replay "$folder/click.jsonl" --set kafka.brokers=127.0.0.1:1
[ "$?" = 3 ] && says 'kafka.brokers 127.0.0.1:1' && says 'is its address right'
check 'replay without Kafka says so, before it reads'
run erase u1 --set kafka.brokers=127.0.0.1:1
[ "$?" = 3 ] && says 'asking Kafka at 127.0.0.1:1' && says 'nothing was erased'
check 'erase without Kafka says what it waited for'

# ---- the way through ----

run replay "$data" --limit 3000 --json --quiet && has '"delivered":3000'
check 'replay produces what it was told to'
printf '9\t{\n' | produce_lines events
run ingest --dry-run events --json && has '"records":3001' && has '"applied":{"count":3000'
check 'a dry run of the topic reads all of it'
run ingest --until-end --json && has '"applied":3000' && has '"dead":1'
check 'ingest applies it and ends'
run offsets list --json && has '"lag":0}}$' && has '"totals":{"applied":3000'
check 'offsets add up'
run verify --json && has '"equal":true'
check 'verify finds every user equal'
run dlq list --json && has '"letters":1' && has '"not_json":{"count":1'
check 'the dead letter is listed'
run dlq show && has 'not_json  1 bytes'
check '... and shown'
run dlq list && has ' last  20[0-9-]*T[0-9:.]*Z  events-[0-3]/[0-9]*: {' && ! has ' first '
check 'list says when it came, and where it stands'
run dlq show && has '^events-[0-3]/[0-9]*  20[0-9-]*T[0-9:.]*Z  not_json'
check '... and show says so'
printf '9\t[\n9\t[[\n' | produce_lines dead
run dlq list && has '1 dead letter$' && has '2 records of the topic: no dead letter of ours'
check 'what is no letter is counted apart'
user=$(redis --scan --pattern 'fr{*}u*' | head -n 1)
user=${user#*\}u}
run erase "$user" --dry-run --json && has '"written":false,"found":true' && has '"partition":[0-9]*,"events":[1-9]' &&
    has '"erased_at_ms":0'
check 'a dry run of erase says what is kept of a user'
run erase "$user" --dry-run && has 'in the sequence' && has 'nothing was written'
check '... for people, too'
run erase nobody --dry-run
[ "$?" = 1 ] && says 'nothing is kept of this user'
check '... and a no when nothing is'
run ingest --until-end --json && has '"records":0'
check '... and writes nothing'
run erase nobody --set kafka.brokers=127.0.0.1:1
[ "$?" = 3 ] && says 'warning: nothing is kept of this user'
check '... of which an erasure warns'
run erase "$user" --json && has '"erased_at_ms"' && ! says 'warning'
check 'erase is written'
run erase 1 --at 1795351507
[ "$?" = 2 ] && says 'nothing was written: ingest would refuse the record'
check 'a time in seconds erases nobody, and is told'
run replay "$data" --from 3002 --limit 10 --json --quiet && has '"skipped":3000' && has '"delivered":10'
check 'replay goes on at a line'
run ingest --until-end --json
check 'ingest goes on where it ended'
run verify --json && has '"equal":true'
check 'verify agrees after an erasure'

# ---- verify beside an ingest that works ----

# What differs in a shard that goes on meanwhile may be what ingest writes. Verify waits for the slow
# broker, its look at Redis behind it.
calls() { redis INFO commandstats | sed -n 's/^cmdstat_hmget:calls=\([0-9]*\).*/\1/p'; }
form=--json
verify_while() { # COMMAND...
    local before seen
    before=$(calls)
    tell_mock delay 2000
    # shellcheck disable=SC2086
    run verify $form &
    seen=$!
    wait_for 60 eval '[ "$(calls)" -ge $((before + 32)) ]'
    "$@"
    tell_mock delay 0
    wait "$seen"
}
goes_on() { # SHARD: partition 0 of it
    redis HSET "fr{$1}mevents:0:0" state "$(redis HGET "fr{$1}mevents:0:0" state | sed 's/^[0-9]*/1/; s/^1 \([^ ]*\) [^ ]* [^ ]*/1 \1 - -/')" >/dev/null
}
user=$(redis --scan --pattern 'fr{*}u*' | head -n 1)
shard=${user#*\{} shard=${shard%%\}*}
state=$(redis HGET "fr{$shard}mevents:0:0" state)
redis COPY "$user" 'fr{'"$shard"'}kept' >/dev/null
redis DEL "$user" >/dev/null
verify_while goes_on "$shard"
[ "$?" = 73 ] && has '"equal":false' && has '"verdict":"not_judged"' && has '"users_missing":1' && has '"shards_moved":1' && has '"not_judged":1'
check 'verify does not judge what may have been written meanwhile'
redis HSET "fr{$shard}mevents:0:0" state "$state" >/dev/null
form=
verify_while goes_on "$shard"
[ "$?" = 73 ] && head -n 1 "$folder/out" | grep -q '^NO VERDICT is possible while events are flowing: 1 of 8 shards went on.*; 1 difference in these: in flight' &&
    has 'users: .* equal, 1 in flight$' && has '^for a verdict stop every ingest of the group' && ! has ' missing'
check '... says first that there is no verdict, tells what differs as in flight, and what to do'
form=--json
redis HSET "fr{$shard}mevents:0:0" state "$state" >/dev/null
other=$(redis --scan --pattern 'fr{*}mevents:0:0' | grep -v "{$shard}" | head -n 1)
other=${other#*\{} other=${other%%\}*}
other_state=$(redis HGET "fr{$other}mevents:0:0" state)
# Beside the user an erasure nobody asked for, of one whose hash is the shard's number in every byte.
# shellcheck disable=SC2059
printf "\\001\\003$(printf '\\00%d' "$shard"{,,,,,,,})\\001\\002\\003\\004\\005\\000" | redis -x XADD 'fr{00}oevents:0:0' 1-1 e >/dev/null
verify_while goes_on "$other"
[ "$?" = 1 ] && has '"verdict":"different"' && has '"shards_moved":1' && has '"examples_unknown":1' && has '"not_judged":0'
check '... and judges what lies in shards that stood still, examples, too'
redis DEL 'fr{00}oevents:0:0' >/dev/null
redis HSET "fr{$other}mevents:0:0" state "$other_state" >/dev/null
redis RENAME 'fr{'"$shard"'}kept' "$user" >/dev/null
verify_while goes_on "$other"
[ "$?" = 0 ] && has '"verdict":"equal"' && has '"shards_moved":1'
check '... and beside a working ingest equal is equal'
redis HSET "fr{$other}mevents:0:0" state "$other_state" >/dev/null

# ---- dead letters once more ----

run dlq replay --json && has '"applied":false,"letters":1,"events_now":0,"still_refused":1,"gone":0,"replayed":0'
check 'dlq replay says what is refused still'
printf '8\t{"type":"click","user":"9","item":"i1","ts":1400000000000}\n' |
    produce_lines events
run ingest --until-end --json && has '"dead":1'
check 'an event under a key that is not its user is refused'
run dlq replay --dry-run --apply
[ "$?" = 2 ] && says 'either'
check 'dry run and apply exclude each other'
run dlq replay --reason key_mismatch --apply --json && has '"still_refused":1,"gone":0,"replayed":0' &&
    has '"why":"key_mismatch"'
check 'what is refused still is not written'
run dlq replay --offset 999999 --json && has '"letters":0'
check 'one is chosen by its offset'
run dlq replay --offset 999999 --apply && has 'nothing was written to "events": no letter has a record'
check '... and of none nothing is written, and that is said'
echo 'events: {key: any}' >>"$folder/freshet.yaml"
run dlq replay --reason key_mismatch && has '1 records would be written' && has 'add --apply'
check 'with another configuration a dry run says what would be written'
run ingest --until-end --json && has '"records":0'
check '... and writes nothing'
tell_mock delay 1000
run dlq replay --reason key_mismatch --apply --json &
first=$!
wait_for 60 eval 'redis EXISTS "fr{00}dlq" | grep -qx 1'
"$bin/freshet" dlq replay --reason key_mismatch --apply >"$folder/second.out" 2>&1
[ "$?" = 73 ] && grep -q 'another `dlq replay --apply` of this data set is at work, since 20' "$folder/second.out"
check 'a second replay at the same time is refused'
"$bin/freshet" dlq replay --reason key_mismatch >"$folder/second.out" 2>&1
check '... a dry run is not'
tell_mock delay 0
wait "$first" && has '"applied":true' && has '"replayed":1'
check '--apply writes it'
redis EXISTS 'fr{00}dlq' | grep -qx 0
check '... and leaves its place'
run dlq replay --reason key_mismatch --apply --json && has '"letters":1,"events_now":0' &&
    has '"replayed":0,"replayed_before":1'
check '... and once more leaves it out'
run dlq replay --apply --limit 1 --json && has '"still_refused":1,"gone":0,"replayed":0,"replayed_before":1'
check '... and a limit is of what was not replayed before'
run ingest --until-end --json && has '"records":1,"applied":1'
check '... and ingest takes it, once'
run features show 9 --json && has '"replayed":true'
check '... as one that was replayed'

# ---- what verify must see ----

# An erasure of somebody, in an outbox, that no record of the log asked for.
printf '\001\003abcdefgh\001\002\003\004\005\000' | redis -x XADD 'fr{00}oevents:0:0' 1-1 e >/dev/null
run verify --json
[ "$?" = 1 ] && has '"examples_unknown":1' && has '"examples_waiting":1' && says 'by no replay'
check 'verify sees an example that nobody emits'
run verify --no-examples --json
has '"examples_compared":false' && has '"examples_unknown":0'
check '... unless examples are left out, which it says'
redis DEL 'fr{00}oevents:0:0' >/dev/null
run verify --items "$folder" --json
[ "$?" != 0 ] && says 'items'
check 'verify names item tables that are not there'
mkdir "$folder/bundles" && printf 'v000007\n' >"$folder/bundles/current"
for given in bundles bundles/current; do
    run verify --items "$folder/$given" --json
    [ "$?" = 2 ] && says "--items $folder/bundles/v000007"
    check "verify --items $given names the bundle to give"
done
user=$(redis --scan --pattern 'fr{*}u*' | head -n 1)
redis SETRANGE "$user" 40 x >/dev/null
run verify --json
[ "$?" = 1 ] && has '"equal":false'
check 'verify sees one flipped byte'
says "^user ${user#*\}u}: " && says '^    [0-9]/[0-9]*  time [0-9]*  '
check '... and tells whose, and the records that led to it'
run verify --passes 3 --memory 1 --json
[ "$?" = 1 ] && has '"users_different":1,"users_missing":0\|"users_unreadable":1' && says "^user ${user#*\}u}: "
check '... in several passes, too'
redis DEL "$user" >/dev/null
run verify --json
[ "$?" = 1 ] && has '"users_missing":1'
check 'verify sees a missing user'

# ---- state that is lost ----

redis FLUSHALL >/dev/null
run ingest --until-end
[ "$?" != 0 ] && says '--rebuild'
check 'an empty Redis that was full is refused, with the remedy'
redis DBSIZE | grep -qx 0
check '... and nothing is written'
run offsets diff
[ "$?" = 2 ] && says 'the state is lost' && says '--rebuild'
check '... offsets diff says that it was lost'
run doctor --only dataset
[ "$?" = 1 ] && has '^FAIL .*the state is lost' && has '--rebuild'
check '... and so does doctor'
run ingest --until-end --rebuild --json && run verify --json && has '"equal":true' && has '"records":3014'
check '--rebuild makes it anew from the log'

# ---- what must not start ----

run ingest --set dataset.shards=16
[ "$?" != 0 ] && says 'shards'
check 'another number of shards refuses to start'
run ingest --set redis.url=rediss://localhost --set "redis.tls.ca=$folder/no.pem"
[ "$?" = 2 ] && says 'TLS\|no.pem'
check 'TLS that cannot be is a clear error'
redis CONFIG SET maxmemory-policy allkeys-lru >/dev/null
run ingest
[ "$?" = 2 ] && says noeviction
check 'a Redis that evicts is refused'
end_with_counts
