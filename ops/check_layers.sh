#!/bin/sh
# ops/check_layers.sh - who may include whom, and which vendor header has which door.
# Prints each forbidden include with file and line; exit 1 when there is one.
set -u
cd "$(dirname "$0")/.." || exit 70
bad=0

refuse() { printf '%s\n' "$1" >&2; bad=1; }

# folder: folders it may include (itself is implied)
layers='
ops:
schemas: ops
features: schemas ops
kernels: schemas ops
kernels/cuda: kernels schemas ops
machine: features/store.h schemas ops/arena.h ops/defence.h ops/status.h ops/text.h
ingest: machine features schemas ops
scorer: features kernels schemas ops
eval: features kernels schemas ops
retrain: eval features kernels schemas ops scorer/rank.h
'
ours='ops schemas features kernels machine ingest scorer eval retrain'

check_folder() {
    folder=$1; shift
    for file in "$folder"/*.c "$folder"/*.h "$folder"/*.cpp "$folder"/*.cu; do
        [ -f "$file" ] || continue
        for included in $(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p' "$file"); do
            top=${included%%/*}
            case " $ours " in *" $top "*) ;; *) continue ;; esac
            case "$included" in
            "$folder"/*) ;;
            *_inside.h) refuse "$file includes \"$included\": what is inside $top/ stays there" ;;
            esac
            case " $folder $* " in *" $top "* | *" $included "*) continue ;; esac
            refuse "$file includes \"$included\": $folder/ may include only: ${*:-nothing of ours}"
        done
    done
}

IFS_lines=$(printf '%s' "$layers" | sed '/^$/d; s/: */:/')
for line in $(printf '%s' "$IFS_lines" | tr ' ' ','); do
    folder=${line%%:*}
    allowed=$(printf '%s' "${line#*:}" | tr ',' ' ')
    # shellcheck disable=SC2086
    check_folder "$folder" $allowed
done

# The machine decides and does nothing else: of the system it takes types, memory and assert.
for hit in $(grep -hoE '^[[:space:]]*#[[:space:]]*include[[:space:]]*<[^>]*>' machine/*.[ch] |
    sed 's/.*<//; s/>//' | sort -u); do
    case "$hit" in
    assert.h | inttypes.h | limits.h | stdbool.h | stddef.h | stdint.h | stdlib.h | string.h) ;;
    *) refuse "machine/ includes <$hit>: it does no I/O and reads no clock" ;;
    esac
done

# header pattern | files that may include it
doors='
librdkafka/|ops/kafka_
simdjson|ops/json
microhttpd|ops/http_server
curl/|ops/http_client
yaml\.h|ops/config
hiredis|features/redis_
openssl/|features/redis_tls
cuda|kernels/cuda/
cublas|kernels/cuda/blas
xxhash|ops/hash
sodium|ops/
zlib|ops/file
avro\.h|schemas/avro_
'
for row in $doors; do
    pattern=${row%%|*}; door=${row#*|}
    for hit in $(grep -lE "^[[:space:]]*#[[:space:]]*include[[:space:]]*<[^>]*$pattern" -r \
        ops schemas features kernels machine ingest scorer eval retrain freshet.c 2>/dev/null); do
        case "$hit" in "$door"*) ;; *) refuse "$hit includes <$pattern>: its one door is $door*" ;; esac
    done
done

# The GPU's folder has one door too: without nvcc it is not built.
for hit in $(grep -lE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"kernels/cuda/' -r \
    ops schemas features kernels machine ingest scorer eval retrain freshet.c 2>/dev/null); do
    case "$hit" in
    kernels/cuda/* | kernels/backend.c) ;;
    *) refuse "$hit includes kernels/cuda/: its one door is kernels/backend.c" ;;
    esac
done

[ "$bad" = 0 ] && echo "layers: ok"
exit "$bad"
