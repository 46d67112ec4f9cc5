#!/bin/bash
# tests/kafka/test_secure.sh [BUILD] - TLS, logins and ACLs, and what is said when they are refused.
#
# Rows of the table of faults: 18 19, on one broker with the listeners of SECURE=1.
set -u
cd "$(dirname "$0")/../.." || exit 70
bin=${bin:-$PWD/${1:-build/release}}
. tests/support/shell.sh
. tests/support/ingest.sh
script_begin kafka_secure

# A configuration for a listener.
with() { # LISTENER SECURITY_ROWS
    cat >"$FRESHET_CONFIG" <<YAML
kafka:
  brokers: "$(cat "$folder/kafka/address.$1")"
  group: secure
  session_timeout: 4s
  delivery_timeout: 2s
  properties: [broker.address.family=v4]
  security: {$2}
redis: {url: "unix://$folder/redis.sock"}
dataset: {shards: 8, examples_partitions: 2}
ingest: {admin: "127.0.0.1:0", drain: 3s}
log: {format: json}
YAML
}
# Its patience with a broker is three seconds, which a busy machine may need: it is asked again.
doctor() { wait_for 60 doctor_says "$1"; }
doctor_says() { run doctor --only kafka; grep -m 1 'kafka ' "$folder/out" | grep -q -- "$1"; }

# ---- TLS -----------------------------------------------------------------------------------------

refused() { # WHAT LISTENER SECURITY_ROWS REASON [FILE]
    with "$2" "$3"
    doctor "$4" && { [ -z "${5:-}" ] || has "$5"; }
    check "18: $1 is refused, for that reason"
    start_ingest
    wait_for 120 reason "$4"
    check "18: $1: ingest waits and says so"
    end_ingest
}

row_18() {
    local plain
    with ssl "protocol: ssl, ca: $tls/ca.pem, certificate: $tls/client.pem, key: $tls/client.key"
    run config check
    check '18: good certificates pass config check'
    grant client
    kafka allow client WRITE topic events  # replay writes them
    kafka allow client READ topic examples # verify reads them
    running 2
    produce 200
    caught_up 2 && right
    check '18: ingest works over TLS with a certificate for its login'
    end_ingest
    refused 'an expired certificate' expired "protocol: ssl, ca: $tls/ca.pem" 'has expired' ca.pem
    refused 'a certificate of another host' stranger "protocol: ssl, ca: $tls/ca.pem" \
        'another host' ca.pem
    refused 'an unknown CA' ssl "protocol: ssl, ca: $tls/other-ca.pem" 'issuer is unknown' other-ca.pem
    refused 'a client without certificate' ssl "protocol: ssl, ca: $tls/ca.pem" \
        'refuse our certificate'
    # TLS 1.0 is all that this server speaks, until its input ends.
    mkfifo "$folder/hold"
    openssl s_server -accept 127.0.0.1:0 -cert "$tls/broker.crt" -key "$tls/broker.key" -tls1 \
        -cipher 'ALL:@SECLEVEL=0' -naccept 100000 <>"$folder/hold" >"$folder/tls1" 2>&1 &
    wait_for 60 grep -q 'ACCEPT 127' "$folder/tls1"
    sed -n 's/^ACCEPT 127.0.0.1:\([0-9]*\).*/localhost:\1/p' "$folder/tls1" | head -n 1 \
        >"$folder/kafka/address.tls1"
    refused 'a server of TLS 1.0 only' tls1 "protocol: ssl, ca: $tls/ca.pem" \
        'TLS with the brokers failed'

    # What config check finds before anything is started.
    printf 'no certificate\n' >"$folder/junk.pem"
    with ssl "protocol: ssl, ca: $tls/nowhere.pem"
    run config check
    [ "$?" = 2 ] && says 'kafka.security.ca' && says nowhere.pem
    check '18: config check names a file that is not there'
    with ssl "protocol: ssl, ca: $folder/junk.pem"
    run config check
    [ "$?" = 2 ] && says 'kafka.security.ca' && says junk.pem
    check '18: config check names a file without a certificate'
    with ssl "protocol: ssl, ca: $tls/ca.pem, certificate: $tls/client.crt, key: $tls/broker.key"
    run config check
    [ "$?" = 2 ] && says 'kafka.security.key'
    check '18: config check finds a key that is of another certificate'
    with ssl "protocol: ssl, ca: $tls/ca.pem, certificate: $tls/expired.crt, key: $tls/expired.key"
    run config check
    [ "$?" = 2 ] && says expired.crt && says 'expired'
    check '18: config check finds a certificate that has expired'
}

# ---- logins and ACLs -----------------------------------------------------------------------------

login() { # USER PASSWORD [MECHANISM]
    printf '%s' "$2" >"$folder/password"
    with sasl_ssl "protocol: sasl_ssl, ca: $tls/ca.pem, mechanism: ${3:-PLAIN}, username: $1, password: \"file:$folder/password\""
}

# What the documentation and doctor say that ingest needs.
grant() { # USER
    kafka allow "$1" READ topic events
    kafka allow "$1" READ group secure
    kafka allow "$1" WRITE topic examples
    kafka allow "$1" WRITE topic dead
}

row_19() {
    login app wrong
    doctor 'refuse the login of app'
    check '19: a wrong password: doctor says whose'
    start_ingest
    wait_for 120 reason 'refuse the login of app'
    check '19: a wrong password: ingest is not ready, and says whose'
    ! gone "$ingest" && wait_for 60 at_least 'freshet_kafka_errors_total{reason="authentication"}' 2
    check '19: ... it goes on trying'
    end_ingest

    login app app-secret SCRAM-SHA-512
    doctor 'lacks the ACL READ\|cannot log in there by SCRAM'
    check '19: SCRAM logs in, or the library that cannot is named'

    login app app-secret
    doctor 'lacks the ACL READ (and DESCRIBE) on topic events'
    check '19: no ACL on the topic: doctor names it'
    start_ingest
    wait_for 120 reason 'app lacks the ACL READ (and DESCRIBE) on topic events'
    check '19: no ACL on the topic: ingest waits and names it'
    kafka allow app READ topic events
    wait_for 120 reason 'app lacks the ACL READ on group secure'
    check '19: no ACL on the group: ingest waits and names it'
    kafka allow app READ group secure
    wait_for 120 reason 'app lacks the ACL WRITE'
    check '19: no ACL on the examples: ingest waits and names it'
    kafka allow app WRITE topic examples
    wait_for 120 settled 2
    check '19: granted while it waits: it works'
    click app item | "$bin/kafka_tool" produce "$(cat "$folder/kafka/address")" events
    printf 'x\t{\n' | "$bin/kafka_tool" produce "$(cat "$folder/kafka/address")" events
    wait_for 120 reason 'app lacks the ACL WRITE'
    check '19: no ACL on the dead letters: ingest waits and names it'
    kafka allow app WRITE topic dead
    kafka allow app READ topic examples # verify reads them
    wait_for 120 settled 2
    check '19: granted while it waits: the letter is written'
    right
    check '19: every user is right'
    end_ingest
    run doctor --only kafka
    has 'READ.*events' && has 'WRITE.*dead'
    check '19: doctor lists the ACLs that are needed'
}

# ---- what is needed ------------------------------------------------------------------------------

need_programs redis-server redis-cli curl openssl
build_tools
SECURE=1 kafka start 1
case $? in
0) ;;
77)
    skip kafka_secure 'no Apache Kafka on this machine'
    end_with_counts
    ;;
*)
    false
    check 'Kafka starts'
    tail -n 5 "$folder/kafka.log"
    end_with_counts
    ;;
esac
tls=$folder/kafka/tls
"$bin/kafka_tool" topic "$(cat "$folder/kafka/address")" events:2 examples:2 dead:1
check 'topics are made'
start_redis --save ''
run_rows 19 18
end_with_counts
