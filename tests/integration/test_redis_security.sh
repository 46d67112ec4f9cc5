#!/bin/bash
# tests/integration/test_redis_security.sh - a Redis that lets in one user alone, with exactly the access
# list that `freshet doctor` prints (FAULTS 56): every role and tool works.
#
# KEEP=1 keeps the folder.
set -u
cd "$(dirname "$0")/../.." || exit 70
. tests/support/shell.sh
script_begin redis_security

need_programs redis-server redis-cli curl
make -s -j2 integration-tools >"$folder/out" 2>&1
check 'freshet and the tool build'
start_redis
start_mock events:2 examples:2 dead:1 items:1
cat >"$FRESHET_CONFIG" <<YAML
kafka: {brokers: "$address", group: security, session_timeout: 6s}
redis: {url: "unix://$folder/redis.sock", reply_timeout: 5s}
ingest: {admin: "127.0.0.1:0"}
model: {folder: "$folder/models"}
serve: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", holdout: 0}
retrain: {admin: "127.0.0.1:0", folder: "$folder/retrain"}
log: {format: json}
YAML

# ---- the user ----

run doctor
line=$(grep -ho 'ACL SETUSER .*' "$folder/out" "$folder/err" | head -n 1)
[[ $line == 'ACL SETUSER freshet on >PASSWORD '*'~fr{*'* ]]
check '56: doctor prints the access list that is needed'
printf '%s' 'well kept' >"$folder/password"
line=${line/>PASSWORD/'"'>well kept'"'}
redis >"$folder/out" 2>&1 <<<"$line" && has OK
check '56: Redis takes it'
redis ACL SETUSER default resetkeys -@all +acl +auth >/dev/null # of all that is left: taking it back
cat >>"$FRESHET_CONFIG" <<YAML
YAML
sed -i "s|^redis: {|redis: {username: freshet, password: \"file:$folder/password\", |" "$FRESHET_CONFIG"

# ---- everybody ----

run doctor --json
tail -n 1 "$folder/out" | grep -oE '"check":"redis[^}]*"result":"(fail|skip)"' >"$folder/err"
[ ! -s "$folder/err" ]
check '56: doctor finds nothing wrong with it'
run simulate --quiet --past-only --warmup 2000 --users 300
run ingest --until-end --json && has '"stopped":""' && ! has '"applied":0,'
check '56: ingest works'
! grep -q NOPERM "$folder/out" "$folder/err"
check '56: and was refused nothing'
run verify --quiet --json && has '"equal":true'
check '56: verify works'
run offsets list --json && has '"lag":0'
check '56: offsets list works'
run features dump
user=$(sed -nE 's/.*"user":"([^"]*)".*/\1/p' "$folder/out" | head -n 1)
run features show "$user" --json && has '"entries":\[{'
check '56: features show and dump work'
run features size --json && ! has '"bytes":0}'
check '56: features size works'
run retrain --once --json
[ "$?" -le 1 ] && [ -e "$folder/models/current" ]
check '56: retrain works'
"$bin/freshet" serve --ports-file "$folder/serve.ports" 2>"$folder/serve.log" >/dev/null &
serve=$!
port_of() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" "$folder/serve.ports"; }
answers() {
    curl -s -m 5 -d "{\"user\":\"$user\",\"count\":5}" "127.0.0.1:$(port_of listen)/v1/recommend" >"$folder/out" &&
        has '"degraded":"none"'
}
wait_for 30 answers
check '56: serve reads users'
kill "$serve"

# ---- one command less ----

redis --user freshet --pass 'well kept' PING >/dev/null 2>&1
redis ACL SETUSER freshet -setrange >/dev/null
run doctor
has 'may not setrange' || says 'may not setrange'
check '56: doctor names what is forbidden'
end_with_counts
