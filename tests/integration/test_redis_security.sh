#!/bin/bash
# tests/integration/test_redis_security.sh - a Redis that lets in one user alone, with exactly the access
# list that `freshet doctor` prints (FAULTS 56): every role and tool works. Then the same over TLS, with
# a certificate of ours, and all that can be wrong with certificates.
#
# KEEP=1 keeps the folder.
set -u
cd "$(dirname "$0")/../.." || exit 70
. tests/support/shell.sh
. tests/support/redis_group.sh
script_begin redis_security

need_programs redis-server redis-cli curl openssl
build_tools
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
tail -n 1 "$folder/out" | grep -oE '"check":"redis[^}]*"result":"(fail|skip|unknown)"' >"$folder/err"
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
recommends() {
    curl -s -m 5 -d "{\"user\":\"$user\",\"count\":5}" "127.0.0.1:$(port_of listen)/v1/recommend" >"$folder/out" &&
        has '"degraded":"none"'
}
wait_for 60 recommends
check '56: serve reads users'
kill "$serve"

# ---- one command less ----

redis --user freshet --pass 'well kept' PING >/dev/null 2>&1
redis ACL SETUSER freshet -setrange >/dev/null
run doctor
has 'may not setrange' || says 'may not setrange'
check '56: doctor names what is forbidden'

# ---- TLS ----

if ! redis_speaks_tls; then
    skip redis_tls 'redis-server knows no TLS'
    end_with_counts
fi
if ! "$bin/freshet" config check --set redis.url=rediss://h >/dev/null 2>"$folder/err"; then
    says 'OpenSSL was not there'
    check 'TLS: a build without OpenSSL says so'
    end_with_counts
fi
{
    san=IP:127.0.0.1
    authority ca && authority stranger && certify server ca -days 2 && certify client ca -days 2 &&
        certify late ca -days -1 && san=DNS:redis.example && certify elsewhere ca -days 2
} >"$folder/openssl.log" 2>&1
check 'certificates are made'

# A server that shows a certificate and lets in nobody without one.
tls_server() { # NAME CERTIFICATE
    tls_port=$(free_port)
    start_node "$1" --tls-port "$tls_port" --tls-cert-file "$folder/$2.pem" \
        --tls-key-file "$folder/$2.key" --tls-ca-cert-file "$folder/ca.pem" --tls-auth-clients yes
}
use() { # NAME SETTING...: the configuration for that server, over TLS
    local at
    at=$(node "$1" CONFIG GET tls-port | tail -n 1)
    shift
    sed "s|^redis: {.*|redis: {url: \"rediss://127.0.0.1:$at\", reply_timeout: 5s, tls: {$*}}|" \
        "$FRESHET_CONFIG" >"$folder/tls.yaml"
}
tls() { run "$@" --config "$folder/tls.yaml"; }
tls_server t server && tls_server e elsewhere
check 'redis-server speaks TLS'
ca="ca: \"$folder/ca.pem\""
ours="$ca, certificate: \"$folder/client.pem\", key: \"$folder/client.key\""

use t "$ours"
tls ingest --until-end --json --rebuild && has '"stopped":""' && ! has '"applied":0,'
check 'TLS: ingest works'
tls verify --quiet --json && has '"equal":true'
check 'TLS: verify works'
tls features size --json && ! has '"bytes":0}'
check 'TLS: the tools work'
use t "$ca"
! tls offsets list && says 'redis at'
check 'TLS: without a certificate of ours the server says no'
use t "ca: \"$folder/stranger.pem\""
! tls offsets list && says 'certificate is not good'
check 'TLS: a server with a certificate of a stranger is refused'
use e "$ours"
! tls offsets list && says 'certificate is not good: .*address'
check 'TLS: a certificate of another host is refused'
use e "$ours, server_name: redis.example"
! tls offsets list && says 'no data set'
check 'TLS: unless its name is the one that is expected'
for wrong in "certificate: \"$folder/late.pem\", key: \"$folder/late.key\"" \
    "certificate: \"$folder/client.pem\", key: \"$folder/server.key\"" \
    "certificate: \"$folder/client.pem\"" "ca: \"$folder/password\"" "ca: \"$folder/nothing\""; do
    use t "$wrong"
    ! tls config check && grep -q 'redis.tls' "$folder/out" "$folder/err"
    check "TLS: config check refuses ${wrong//"$folder/"/}"
done
use t "$ours"
tls config check
check 'TLS: config check takes the good ones'
sed -i 's|rediss://|redis://|' "$folder/tls.yaml"
! tls offsets list
check 'TLS: plain talk to a port of TLS is an error'
end_with_counts
