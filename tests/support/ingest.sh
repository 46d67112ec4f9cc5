# tests/support/ingest.sh - scripts that drive `freshet ingest` against a Kafka and a Redis. Sourced
# after tests/support/shell.sh.
#
# Events are those of MovieTweetings, in order, or clicks of now. After each row of the table of
# faults `right` says whether every user and count is what a replay in memory makes of the log.
# shellcheck shell=bash

data=tests/data/movietweetings/movietweetings100k_events.csv.gz
line=0
ingest=

# The next events of the file, by their keys.
produce() { # EVENTS
    local from=$((line + 2)) try
    line=$((line + $1))
    for try in 1 2 3; do # what a busy machine did not take in time is sent again: no matter, if it had
        "$bin/freshet" replay "$data" --quiet --from "$from" --limit "$1" >/dev/null \
            2>>"$folder/tools.log" && return
    done
    return 1
}

# A click as KEY<tab>VALUE.
click() { # USER ITEM [SECONDS_AGO]
    printf '%s\t{"type":"click","user":"%s","item":"%s","ts":%s}\n' "$1" "$1" "$2" \
        $((($(date +%s) - ${3:-0}) * 1000))
}

is_number() { [[ ${1:-} =~ ^[0-9]+$ ]]; }
at_least() { is_number "$(metric "$1")" && [ "$(metric "$1")" -ge "$2" ]; } # METRIC NUMBER

# Everything in the log is applied, and all partitions are ours (4 unless said).
settled() { # [PARTITIONS]
    [ "$(metric freshet_ingest_partitions)" = "${1:-4}" ] && ready &&
        metric freshet_ingest_lag_records | grep -qx 0
}
# Numbers are told once a second: with the ticks' a lag is of now.
told_since() { at_least freshet_ingest_ticks_total $(($1 + 1)) && settled "${@:2}"; }
caught_up() { # [PARTITIONS]
    local before
    before=$(metric freshet_ingest_ticks_total)
    wait_for 120 told_since "${before:-0}" "$@"
}

right() { # ARG... A broker that is not there just now is no answer: it is asked again.
    local try code=3
    for try in 1 2 3 4 5; do
        "$bin/freshet" verify --quiet --json "$@" >"$folder/out" 2>"$folder/err"
        code=$?
        [ "$code" = 3 ] || break
        sleep 2
    done
    return "$code"
}

running() { # [PARTITIONS]
    { [ -n "$ingest" ] && ! gone "$ingest"; } || start_ingest
    caught_up "$@"
}

end_ingest() {
    [ -z "$ingest" ] && return
    kill "$ingest" 2>/dev/null
    wait "$ingest"
    local code=$?
    ingest=
    return "$code"
}

# A second process of the group, without a static name; sets second.
start_second() { # ARG...
    local own=$ingest
    ports=$folder/second.ports start_ingest --set kafka.instance_id= "$@"
    second=$ingest ingest=$own
}
of_second() { ports=$folder/second.ports "$@"; } # COMMAND...

# Another topic of the same name, and a state that knows nothing of the old one.
begin_anew() {
    end_ingest
    kafka delete-topic events
    wait_for 90 "$bin/kafka_tool" topic "$address" events:4
    redis FLUSHALL >/dev/null
    start_ingest --rebuild
    caught_up
}
