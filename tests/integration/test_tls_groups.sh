#!/bin/bash
# tests/integration/test_tls_groups.sh - a cluster, and a primary with sentinels, that speak TLS alone.
#
# What the scripts of both show over plain connections is not shown again: here every node, every
# sentinel and the bus between them ask for certificates, and freshet must find its way by what they
# tell it. In the cluster a partition is reset, too: its keys lie on three nodes.
#
# KEEP=1 keeps the folder.
set -u
cd "$(dirname "$0")/../.." || exit 70
. tests/support/shell.sh
. tests/support/redis_group.sh
script_begin tls_groups

need_programs redis-server redis-cli curl openssl
build_tools
: >"$FRESHET_CONFIG"
if ! redis_speaks_tls; then
    skip redis_tls_groups 'redis-server knows no TLS'
    end_with_counts
fi
if ! "$bin/freshet" config check --set redis.url=rediss://h >/dev/null 2>"$folder/err"; then
    says 'OpenSSL was not there'
    check 'TLS: a build without OpenSSL says so'
    end_with_counts
fi
all_over_tls
check 'certificates are made'
start_mock events:2 examples:2 dead:1 others:2 more:2

configure() { # TOPICS GROUP URL
    cat >"$FRESHET_CONFIG" <<YAML
kafka: {brokers: "$address", group: $2, session_timeout: 6s, topics: {$1}}
redis:
  url: "$3"
  reply_timeout: 5s
  tls: {ca: "$folder/ca.pem", certificate: "$folder/client.pem", key: "$folder/client.key"}
dataset: {shards: 64}
features: {sequence_max: 20}
ingest: {admin: "127.0.0.1:0"}
log: {format: json}
YAML
}
past() { # SESSIONS SEED
    "$bin/freshet" simulate --quiet --past-only --warmup "$1" --users 300 --seed "$2" >/dev/null 2>>"$folder/tools.log"
}
is_caught_up() { all_applied && ready; }
is_right() { run verify --quiet --json && has '"equal":true'; }

# ---- a cluster ----

row_55() {
    local name again
    for name in a b c; do start_node "$name" --cluster-enabled yes --cluster-node-timeout 4000 || break; done
    redis-cli "${client_options[@]}" --cluster create "127.0.0.1:${port[a]}" "127.0.0.1:${port[b]}" "127.0.0.1:${port[c]}" \
        --cluster-yes >"$folder/cluster.log" 2>&1 && wait_for 60 cluster_says a cluster_state:ok &&
        wait_for 60 cluster_says b cluster_state:ok && wait_for 60 cluster_says c cluster_state:ok
    check '55: a cluster of three over TLS'
    configure 'events: events' cluster "rediss+cluster://127.0.0.1:${port[a]},127.0.0.1:${port[b]}"
    past 500 1
    check '55: events are produced'
    start_ingest
    wait_for 90 is_caught_up
    check '55: ingest applies them'
    for name in a b c; do
        [ "$(node "$name" DBSIZE)" -gt 0 ] || break
    done
    [ "$(node "$name" DBSIZE)" -gt 0 ]
    check '55: ... at all three nodes'
    redis-cli "${client_options[@]}" --cluster reshard "127.0.0.1:${port[a]}" --cluster-from "$(node a CLUSTER MYID)" \
        --cluster-to "$(node c CLUSTER MYID)" --cluster-slots 500 --cluster-yes >>"$folder/cluster.log" 2>&1
    check '55: slots move'
    past 300 2
    wait_for 90 is_caught_up
    check '55: ingest follows them over TLS'
    kill "$ingest"
    wait "$ingest"
    check '55: ... and ends'
    is_right
    check '55: every user is right'

    run offsets reset --partition 0 --to low --json && has '"applied":false'
    check 'reset: a dry run in a cluster'
    run offsets reset --partition 0 --to low --apply --json && has '"applied":true' && has '"log_number":1'
    check 'reset: a partition goes back to its beginning, on all nodes'
    again=$(sed -n 's/.*"again":\([0-9]*\).*/\1/p' "$folder/out")
    run offsets diff --json && has '"log_number":1' && has '"would":"start","from":0'
    check 'reset: diff foresees it'
    [ "${again:-0}" -gt 0 ] && run ingest --until-end --json && has '"stopped":""' && has "\"records\":$again,"
    check 'reset: all of it is read again'
    run offsets list --json && has '"lag":0}}$'
    check 'reset: ... to the end'
}

# ---- sentinels ----

agree() { node s1 INFO sentinel | grep -q 'status=ok.*slaves=1,sentinels=1'; }
primary_port() { node s1 SENTINEL GET-MASTER-ADDR-BY-NAME prime | tail -n 1; }
moved_from() { local now; now=$(primary_port) && [ -n "$now" ] && [ "$now" != "$1" ]; }
linked() { node y INFO replication | grep -q '^master_link_status:up'; }

row_47() {
    local old
    start_node x && start_node y --replicaof 127.0.0.1 "${port[x]}" && wait_for 60 linked
    check '47: a primary and a replica over TLS'
    start_sentinel s1 x prime 1 3000
    wait_for 60 agree
    check '47: a sentinel knows them, over TLS'
    old=$(primary_port)
    configure 'events: others, examples: more' sentinel "rediss+sentinel://127.0.0.1:${port[s1]}/prime"
    past 300 3
    check '47: events are produced'
    start_ingest
    wait_for 90 is_caught_up
    check '47: ingest finds the primary through the sentinel'
    node s1 SENTINEL FAILOVER prime >/dev/null
    wait_for 90 moved_from "$old"
    check '47: the sentinel fails over'
    past 300 4
    wait_for 90 is_caught_up
    check '47: ingest goes on at the new primary by itself'
    kill "$ingest"
    wait "$ingest"
    is_right
    check '47: every user is right'
}

run_rows 55 47
end_with_counts
