# tests/support/redis_group.sh - several private redis-servers on loopback: a cluster, or a primary with
# replicas and sentinels. Sourced after tests/support/shell.sh.
# shellcheck shell=bash

declare -A port pid

# A port of the script's own thousand; that of a cluster's bus, 10000 above it, is no other's
# either. All are below those that the system gives out by itself.
node_port() { printf '%s' $((10000 + TESTS_SLOT * 1000 + RANDOM % 1000)); }

# A server on some free port; another one when that is taken.
start_node() { # NAME ARG...
    local name=$1 try
    shift
    mkdir -p "$folder/$name"
    for ((try = 0; try < 8; try++)); do
        port[$name]=$(node_port)
        redis-server "${config[@]}" "${listen[@]}" "${port[$name]}" --bind 127.0.0.1 --save '' \
            --appendonly no --dir "$folder/$name" --logfile redis.log --daemonize no \
            --enable-debug-command local "$@" >/dev/null 2>&1 &
        pid[$name]=$!
        wait_for 60 node_answers_or_ended "$name"
        node_answers "$name" && return 0
        wait "${pid[$name]}" 2>/dev/null
        rm -f "$folder/$name"/nodes.conf
    done
    return 1
}
config=() listen=(--port) client_options=()
node_answers() { [ "$(node "$1" INFO server | tr -d '\r' | sed -n 's/^process_id://p')" = "${pid[$1]}" ]; }
node_answers_or_ended() { node_answers "$1" || gone "${pid[$1]}"; }

node() { # NAME COMMAND...
    local name=$1
    shift
    redis-cli ${client_options[@]+"${client_options[@]}"} -p "${port[$name]}" "$@" 2>/dev/null
}
all_nodes() { # ARG...: of redis-cli, at every primary that answers
    local name
    for name in "${!port[@]}"; do
        node "$name" ROLE | head -n 1 | grep -q master && node "$name" "$@"
    done
}
cluster_says() { node "$1" CLUSTER INFO | tr -d '\r' | grep -qx "$2"; } # NAME LINE

# What redis-cli --cluster reshard does, in steps of a test's own.
move_keys() { # FROM TO SLOT MOST
    local keys
    mapfile -t keys < <(node "$1" CLUSTER GETKEYSINSLOT "$3" "$4")
    [ -n "${keys[0]:-}" ] &&
        node "$1" MIGRATE 127.0.0.1 "${port[$2]}" '' 0 5000 KEYS "${keys[@]}" >/dev/null
}
end_move() { # FROM TO SLOT
    local id name
    id=$(node "$2" CLUSTER MYID)
    for name in "$2" "$1" "${!port[@]}"; do
        node "$name" CLUSTER SETSLOT "$3" NODE "$id" >/dev/null
    done
}
# A user whose value lies in that slot at that node.
some_user() { # NAME SLOT
    node "$1" CLUSTER GETKEYSINSLOT "$2" 100000 | sed -n 's/^fr{[0-9a-f]*}u//p' | head -n 1
}

# ---- sentinels ----

start_sentinel() { # NAME OF_NODE CALLED QUORUM DOWN_AFTER_MS
    local name=$1 try
    mkdir -p "$folder/$name"
    for ((try = 0; try < 8; try++)); do
        port[$name]=$(node_port)
        cat >"$folder/$name/sentinel.conf" <<CONF
$(printf '%s ' "${listen[@]}" "${port[$name]}" "${config[@]}" | sed 's/ --/\n/g; s/^--//; s/ $//')
bind 127.0.0.1
dir $folder/$name
logfile $folder/$name/redis.log
sentinel monitor $3 127.0.0.1 ${port[$2]} $4
sentinel down-after-milliseconds $3 $5
sentinel failover-timeout $3 6000
CONF
        redis-server "$folder/$name/sentinel.conf" --sentinel >/dev/null 2>&1 &
        pid[$name]=$!
        wait_for 60 node_answers_or_ended "$name"
        node_answers "$name" && return 0
        wait "${pid[$name]}" 2>/dev/null
    done
    return 1
}
# The sentinels s1, s2 and s3 know each other and two replicas.
sentinels_agree() {
    local name
    for name in s1 s2 s3; do
        node "$name" INFO sentinel | grep -q 'status=ok.*slaves=2,sentinels=3' || return 1
    done
}

# ---- TLS ----

redis_speaks_tls() { ldd "$(command -v redis-server)" | grep -q libssl; }

# Certificates in the folder: NAME.pem and NAME.key.
authority() { # NAME
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$folder/$1.key" -out "$folder/$1.pem" \
        -days 2 -subj "/CN=$1"
}
certify() { # NAME CA [OPTION...]: of $san
    openssl req -newkey rsa:2048 -nodes -keyout "$folder/$1.key" -out "$folder/$1.req" -subj "/CN=$1" &&
        openssl x509 -req -in "$folder/$1.req" -CA "$folder/$2.pem" -CAkey "$folder/$2.key" \
            -CAcreateserial -out "$folder/$1.pem" -extfile <(echo "subjectAltName=$san") "${@:3}"
}

# From here on nodes and sentinels speak TLS alone, also with each other, and let in nobody without a
# certificate of ours: server.pem for them, client.pem for clients.
all_over_tls() {
    {
        san=IP:127.0.0.1
        authority ca && certify server ca -days 2 && certify client ca -days 2
    } >"$folder/openssl.log" 2>&1 || return 1
    listen=(--port 0 --tls-port)
    config=(--tls-cert-file "$folder/server.pem" --tls-key-file "$folder/server.key"
        --tls-ca-cert-file "$folder/ca.pem" --tls-auth-clients yes --tls-replication yes --tls-cluster yes)
    client_options=(--tls --cacert "$folder/ca.pem" --cert "$folder/client.pem" --key "$folder/client.key")
}
