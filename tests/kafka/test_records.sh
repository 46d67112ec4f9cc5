#!/bin/bash
# tests/kafka/test_records.sh [BUILD] - records that are large, damaged, bombs, or of transactions.
#
# Rows of the table of faults: 14 15 16 22, on one broker. ROWS="16" runs some.
set -u
cd "$(dirname "$0")/../.." || exit 70
bin=${bin:-$PWD/${1:-build/release}}
. tests/support/shell.sh
. tests/support/ingest.sh
script_begin kafka_records

dead() { "$bin/freshet" dlq list --json 2>/dev/null | tail -n 1 | grep -q "$1"; }
user_items() { "$bin/freshet" features show "$1" 2>/dev/null; }

# 8 MiB in a record: it is fetched, and refused with its head only.
row_14() {
    running
    { printf 'big\t{"type":"click","user":"big","item":"'; head -c 8388608 /dev/zero | tr '\0' x
        printf '","ts":1700000000000}\n'; } |
        "$bin/kafka_tool" produce "$address" events message.max.bytes=10000000
    check '14: a record of 8 MiB is produced'
    produce 100
    caught_up
    check '14: it is fetched, and reading goes on behind it'
    dead '"oversize":{"count":1'
    check '14: it is a dead letter, for its size'
    "$bin/kafka_tool" dump "$address" dead | awk '{ print length($4) }' | sort -n | tail -n 1 |
        { read -r digits && [ "$digits" -lt 4000 ]; }
    check '14: ... with no more than its head'
    right
    check '14: every user is right'
}

rss_kib() { awk '/^VmHWM/ { print $2 }' "/proc/$ingest/status"; }

bomb() { # CODEC BYTES
    { printf 'bomb\t'; head -c "$2" /dev/zero | tr '\0' 0; printf '\n'; } |
        "$bin/kafka_tool" produce "$address" events message.max.bytes=500000000 \
            queue.buffering.max.kbytes=1000000 "compression.type=$1"
}

# librdkafka 2.0.2 bounds what it unpacks for zstd alone. Of the others a batch takes what it says it
# is, and is a record like every other then: refused for its size, and let go.
unpacked() { # CODEC BYTES
    local before after
    end_ingest
    running
    produce 100
    caught_up
    before=$(rss_kib)
    bomb "$1" "$2"
    check "15: $1: a batch that unpacks to $2 bytes is produced"
    produce 100
    caught_up
    check "15: $1: it is read, and what is behind it"
    after=$(rss_kib)
    [ $(((after - before) * 1024)) -lt $((2 * $2 + 33554432)) ]
    check "15: $1: it takes $(((after - before) / 1024)) MiB while it is there"
    printf '15: %s: %d bytes unpacked, %d KiB more at most\n' "$1" "$2" $((after - before))
}

# Bombs of each codec; of zstd 400 MB of zeros in a batch of some KiB.
row_15() {
    unpacked gzip 100000000
    unpacked lz4 100000000
    unpacked snappy 15000000
    dead '"oversize":{"count":[34]'
    check '15: they are dead letters, for their size'
    right
    check '15: every user is right'
    produce 100
    caught_up
    bomb zstd 400000000
    check '15: a batch that unpacks to 400 MB is produced'
    wait_for 60 reason 'is damaged\|could not be unpacked'
    check '15: it is not unpacked, and not stepped over: not ready, with the reason'
    [ "$(rss_kib)" -lt 400000 ]
    check "15: memory is bounded ($(rss_kib) KiB at most)"
    produce 200
    ! gone "$ingest"
    check '15: the process goes on'
    end_ingest
    begin_anew
}

# A bit of a batch in the middle of the log flips on the disk, and is mended.
row_16() {
    local segment at
    running
    for _ in 1 2 3 4 5 6; do produce 50; done
    caught_up
    end_ingest
    click damaged needle | "$bin/kafka_tool" produce "$address" events compression.type=none
    for _ in 1 2 3; do produce 50; done
    segment=$(grep -l needle "$folder"/kafka/1/data/events-*/*.log | head -n 1)
    at=$(grep -abo needle "$segment" | head -n 1 | cut -d: -f1)
    printf 'N' | dd of="$segment" bs=1 seek="$at" conv=notrunc status=none
    start_ingest
    wait_for 60 reason 'is damaged'
    check '16: a record whose checksum is wrong: not ready, with the reason'
    wait_for 60 at_least 'freshet_kafka_errors_total{reason="corrupt"}' 2
    check '16: it is fetched again, and counted'
    printf 'n' | dd of="$segment" bs=1 seek="$at" conv=notrunc status=none
    caught_up
    check '16: when it is whole, reading goes on'
    right
    check '16: it was not stepped over: every user is right'
}

row_22() {
    local user
    running
    click lost gone | "$bin/kafka_tool" transact "$address" events 0 abort
    click kept 1 10 | "$bin/kafka_tool" transact "$address" events 0 commit
    click lost gone | "$bin/kafka_tool" transact "$address" events 0 abort
    caught_up
    check '22: a log that ends in an aborted transaction is read to its end'
    click kept 2 | "$bin/kafka_tool" transact "$address" events 0 commit
    produce 50
    caught_up
    check '22: markers are gaps, which are accepted'
    redis --scan --pattern 'fr{*}u*' >"$folder/users"
    grep -q '}ukept$' "$folder/users"
    check '22: committed records are applied'
    ! grep -q '}ulost$' "$folder/users"
    check '22: aborted ones are invisible'
    right
    check '22: every user is right'
    end_ingest
    run ingest --until-end
    check '22: an ingest until the end ends at markers, too'
    # Examples of aborted transactions: the trainer has nothing to wait for.
    click x y | "$bin/kafka_tool" transact "$address" examples 0 abort
    run retrain --once
    [ "$?" != 124 ]
    check '22: a follower settles at an end of the log made of aborted records'
}

# ---- what is needed ------------------------------------------------------------------------------

need_programs redis-server redis-cli curl
build_tools
kafka start 1
case $? in
0) ;;
77)
    skip kafka_records 'no Apache Kafka on this machine'
    end_with_counts
    ;;
*)
    false
    check 'Kafka starts'
    tail -n 5 "$folder/kafka.log"
    end_with_counts
    ;;
esac
address=$(cat "$folder/kafka/address")
"$bin/kafka_tool" topic "$address" events:4 examples:4 dead:1 items:1
check 'topics are made'
start_redis --save ''
cat >"$FRESHET_CONFIG" <<YAML
kafka: {brokers: "$address", group: records, session_timeout: 6s}
redis: {url: "unix://$folder/redis.sock"}
dataset: {shards: 8, examples_partitions: 4}
features: {sequence_max: 20}
ingest: {admin: "127.0.0.1:0"}
model: {folder: "$folder/models"}
retrain: {admin: "127.0.0.1:0", folder: "$folder/retrain"}
log: {format: json}
YAML
run_rows 14 16 22 / 15
end_with_counts
