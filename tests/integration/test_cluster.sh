#!/bin/bash
# tests/integration/test_cluster.sh - FAULTS 55: a cluster of three primaries and a replica whose slots
# move while ingest works.
#
# Simulated users are written into Kafka all the while. A slot is moved by hand, key by key, and left
# half moved for some seconds: everything of its shard that is asked for meanwhile is MOVED, ASK or
# TRYAGAIN, and nothing may be applied twice or lost. Then redis-cli moves some hundred slots, and a
# primary is killed. In the end every user equals the replay through the memory store (freshet
# verify) and tests/oracle.py agrees; the relay has sent every outbox; serve reads users of all nodes.
#
# KEEP=1 keeps the folder.
set -u
cd "$(dirname "$0")/../.." || exit 70
. tests/support/shell.sh
. tests/support/redis_group.sh
script_begin cluster

need_programs redis-server redis-cli curl
build_tools
start_mock events:4 examples:2 dead:1 items:1
for name in a b c d; do start_node "$name" --cluster-enabled yes --cluster-node-timeout 4000 || break; done
check 'four nodes are up'
redis-cli --cluster create "127.0.0.1:${port[a]}" "127.0.0.1:${port[b]}" "127.0.0.1:${port[c]}" \
    --cluster-yes >"$folder/cluster.log" 2>&1 && wait_for 60 cluster_says a cluster_state:ok &&
    wait_for 60 cluster_says b cluster_state:ok && wait_for 60 cluster_says c cluster_state:ok &&
    redis-cli --cluster add-node "127.0.0.1:${port[d]}" "127.0.0.1:${port[a]}" --cluster-slave \
        --cluster-master-id "$(node c CLUSTER MYID)" >>"$folder/cluster.log" 2>&1
check 'a cluster of three primaries, one with a replica'

cat >"$FRESHET_CONFIG" <<YAML
kafka: {brokers: "$address", group: cluster, session_timeout: 6s}
redis: {url: "redis+cluster://127.0.0.1:${port[a]},127.0.0.1:${port[b]}", reply_timeout: 3s}
dataset: {shards: 256}
features: {sequence_max: 20}
ingest: {admin: "127.0.0.1:0"}
model: {folder: "$folder/models"}
serve: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", holdout: 0}
retrain: {admin: "127.0.0.1:0", folder: "$folder/retrain"}
log: {format: json}
YAML

# ---- the load ----

start_load() { # SESSIONS/S
    "$bin/freshet" simulate --quiet --users 2000 --warmup 1500 --rate "$1" --seed "$RANDOM" \
        >/dev/null 2>>"$folder/load.log" &
    load=$!
}
stop_load() {
    kill "$load" 2>/dev/null
    wait "$load" 2>/dev/null
}
errors() { metric "freshet_redis_errors_total{code=\"$1\"}"; }
counted() { local n; n=$(errors "$1") && [ "${n:-0}" -gt "${2:-0}" ]; }
applied() { metric 'freshet_ingest_records_total{outcome="applied"}'; }
goes_on() { local n; n=$(applied) && [ "${n:-0}" -gt "$1" ]; }
is_equal() { # MOMENT: ingest catches up and ends; state, counts and outboxes are as they must be
    kill "$ingest" 2>/dev/null
    wait "$ingest" 2>/dev/null
    run ingest --until-end --json && has '"stopped":""'
    check "$1: ingest catches up and ends by itself"
    run verify --quiet --json --dump "$folder/dump" && has '"equal":true'
    check "$1: every user equals the replay through the memory store"
    if command -v python3 >/dev/null; then
        python3 tests/oracle.py "$folder/dump" >"$folder/out" 2>"$folder/err"
        check "$1: the oracle agrees"
    fi
    left=$(all_nodes --scan --pattern 'fr{*}o*' | while read -r key; do
        redis-cli -c -p "${port[a]}" XLEN "$key"
    done | awk '{ n += $1 } END { print n + 0 }')
    [ "$left" = 0 ]
    check "$1: outboxes are empty ($left rows left)"
}

# A list for a user at that node, by what Redis says of him now.
served_at() { # NODE
    local user at
    user=$(node "$1" --scan --pattern 'fr{*}u*' | sed -n 's/^fr{[0-9a-f]*}u//p' | head -n 1)
    at=$(sed -n 's/.*"listen":\([0-9]*\).*/\1/p' "$folder/serve.ports")
    curl -s -m 5 -d "{\"user\":\"$user\",\"count\":5}" "127.0.0.1:$at/v1/recommend" | grep -q '"degraded":"none"'
}

# What features/redis_topology.h argues from: one connection queues writes to two keys, one of them
# leaves for another node, then EXEC. Nothing of it may be done, and a key that has gone must not come
# into being again. The slot is none of freshet's.
queued() { node a CLIENT LIST | grep -q 'multi=2'; }
transaction_is_cut() {
    local tag slot
    for tag in $(seq -f 'probe%g' 1 200); do # one at a
        slot=$(node a CLUSTER KEYSLOT "$tag")
        node a SET "{$tag}1" old | grep -q OK && break
    done
    node a SET "{$tag}2" old >/dev/null
    node b CLUSTER SETSLOT "$slot" IMPORTING "$(node a CLUSTER MYID)" >/dev/null
    node a CLUSTER SETSLOT "$slot" MIGRATING "$(node b CLUSTER MYID)" >/dev/null
    rm -f "$folder/left"
    {
        printf 'MULTI\nSET {%s}1 new\nSET {%s}2 new\n' "$tag" "$tag"
        wait_for 60 test -e "$folder/left"
        # And one whose key is missing when it is queued.
        printf 'EXEC\nMULTI\nSET {%s}1 new\nSET {%s}2 new\nEXEC\n' "$tag" "$tag"
    } | redis-cli -p "${port[a]}" >"$folder/out" 2>&1 &
    local cli=$!
    wait_for 60 queued
    node a MIGRATE 127.0.0.1 "${port[b]}" "{$tag}1" 0 5000 >/dev/null
    touch "$folder/left"
    wait "$cli"
    { [ "$(grep -c QUEUED "$folder/out")" = 3 ] && grep -qE '^(ASK|TRYAGAIN)' "$folder/out" &&
        grep -q '^EXECABORT' "$folder/out" &&
        [ "$(node a GET "{$tag}2")" = old ] && [ "$(node a CLUSTER COUNTKEYSINSLOT "$slot")" = 1 ] &&
        node b SET "{$tag}1" new | grep -q '^MOVED'; }
    local good=$?
    move_keys a b "$slot" 10
    end_move a b "$slot"
    return "$good"
}

# Of a node that has not the data set's record.
policy_is_told() {
    local name
    for name in a b c; do
        [ "$(node "$name" CLUSTER COUNTKEYSINSLOT "$(node a CLUSTER KEYSLOT '{00}')")" != 0 ] || break
    done
    node "$name" CONFIG SET maxmemory-policy allkeys-lru >/dev/null
    wait_for 60 reason "127.0.0.1:${port[$name]} may evict.*allkeys-lru" &&
        node "$name" CONFIG SET maxmemory-policy noeviction >/dev/null && wait_for 60 keeps_all
}
keeps_all() { ready && ! reason 'may evict'; }

row_55() {
    transaction_is_cut
    check '55: a transaction whose key leaves before EXEC is not carried out, nor one whose key has left'
    start_load 60
    start_ingest
    wait_for 60 goes_on 1000
    check '55: ingest applies events in a cluster'
    run doctor
    has 'a cluster of 3 primaries' && has 'noeviction'
    check '55: doctor looks at all of it'
    policy_is_told
    check '49: a node that may evict is told by its address, and when it may no longer'

    # The slot of a shard at a, by hand: some of its keys, a pause, the rest.
    local shard slot from=a to=b before
    for shard in $(seq -f %02g 1 99); do
        slot=$(node a CLUSTER KEYSLOT "{$shard}")
        [ "$(node a CLUSTER GETKEYSINSLOT "$slot" 100000 | grep -c '^fr{[0-9a-f]*}u')" -ge 3 ] && break
    done
    node "$to" CLUSTER SETSLOT "$slot" IMPORTING "$(node "$from" CLUSTER MYID)" >/dev/null
    node "$from" CLUSTER SETSLOT "$slot" MIGRATING "$(node "$to" CLUSTER MYID)" >/dev/null
    until [ -n "$(some_user "$to" "$slot")" ] || ! move_keys "$from" "$to" "$slot" 1; do :; done
    wait_for 60 counted ask
    check '55: while a slot is half moved some of its commands are answered ASK'
    before=$(applied)
    wait_for 60 goes_on "$before"
    check '55: the other shards go on meanwhile'
    run features show "$(some_user "$from" "$slot")" --json
    check '55: a user who is still there is shown'
    run features show "$(some_user "$to" "$slot")" --json
    check '55: and one who has moved already'
    move_keys "$from" "$to" "$slot" 100000
    end_move "$from" "$to" "$slot"
    wait_for 60 counted moved
    check '55: and MOVED when it is over'

    run retrain --once --json
    [ -e "$folder/models/current" ]
    check '55: retrain makes a bundle'
    "$bin/freshet" serve --ports-file "$folder/serve.ports" >/dev/null 2>"$folder/serve.log" &
    local serve=$! name
    for name in a b c; do
        wait_for 60 served_at "$name"
        check "55: serve reads a user at node $name"
    done

    before=$(errors moved)
    redis-cli --cluster reshard "127.0.0.1:${port[a]}" --cluster-from "$(node a CLUSTER MYID)" \
        --cluster-to "$(node c CLUSTER MYID)" --cluster-slots "${SLOTS:-400}" --cluster-yes \
        >>"$folder/cluster.log" 2>&1
    check '55: redis-cli moves slots while ingest works'
    wait_for 60 counted moved "$before" && [ "$(metric freshet_redis_redirects_total)" -gt 0 ]
    check '55: ingest follows them'
    for name in b c; do
        wait_for 60 served_at "$name"
        check "55: so does serve, at node $name"
    done
    kill "$serve"
    stop_load
    is_equal '55: after both'
}

row_46() { # the failover of a cluster
    start_load 60
    start_ingest
    wait_for 60 ready
    check '46: ingest is ready'
    wait_for 60 replica_is_there
    kill -9 "${pid[c]}"
    wait_for 60 cluster_says d cluster_slots_fail:0 && wait_for 60 is_primary d
    check '46: the replica of a killed primary takes over'
    sleep_until_applied
    check '46: ingest goes on by itself'
    stop_load
    is_equal '46: after a failover'
}
replica_is_there() { node d INFO replication | grep -q master_link_status:up; }
is_primary() { node "$1" ROLE | head -n 1 | grep -q master; }
sleep_until_applied() {
    local before
    before=$(applied)
    wait_for 60 goes_on $((before + 200))
}

run_rows 55 46
end_with_counts
