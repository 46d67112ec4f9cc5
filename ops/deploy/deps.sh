#!/bin/bash
# ops/deploy/deps.sh - the Debian packages freshet needs, installed where that is allowed.
#
#     ops/deploy/deps.sh [build] [demo] [test] [kafka] [lint] [fuzz]     (default: build test)
#
# Does nothing, quickly, when all are there. As root, or with sudo that asks for no
# password, installs what is missing. Otherwise prints the command and ends with 2.
set -u

# package            what for
packages_build='
gcc                  C compiler
g++                  C++ compiler: simdjson and std::to_chars behind C headers
make                 the build
pkg-config           finds the libraries
libc6-dev            headers of the C library
librdkafka-dev       Kafka: consumer, producer, embedded broker
libhiredis-dev       Redis: the protocol
libyaml-dev          configuration
libmicrohttpd-dev    HTTP server
libcurl4-openssl-dev HTTP client
libsimdjson-dev      JSON
libxxhash-dev        fast hashes
libssl-dev           TLS to Redis; without it rediss:// is refused
libsodium-dev        SHA-256, signatures, random tokens
zlib1g-dev           gzip input
libavro-dev          schemas of Avro events
'
packages_demo='
redis-server         a private one is started for the demo
'
packages_test='
redis-server         a private one is started for tests and for the demo
python3              the independent oracle of the state tests
curl                 asks the scorer as a frontend would
procps               processes by name in the fault tests
git                  the version that is printed
'
packages_kafka='
openjdk-17-jre-headless  runs Apache Kafka
maven                    fetches Apache Kafka by its exact version
openssl                  certificates for its TLS listeners
'
packages_lint='
clang-format         one layout of the code
clang-tidy           static checks
'
packages_fuzz='
clang                libFuzzer
libclang-rt-14-dev   its run time
'

fail() { printf '%s\n' "$*" >&2; exit 2; }

names() { printf '%s\n' "$1" | sed -n 's/^\([a-z0-9+.-]\{1,\}\).*/\1/p'; }

groups=${*:-build test}
wanted=
for group in $groups; do
    table="packages_$group"
    [ -n "${!table:-}" ] || fail "no group \"$group\": there are build, demo, test, kafka, lint, fuzz"
    wanted="$wanted $(names "${!table}" | tr '\n' ' ')"
done

if ! command -v dpkg-query >/dev/null; then
    # Not Debian: what can be asked is whether the libraries are found.
    pkg-config --exists rdkafka hiredis yaml-0.1 libmicrohttpd libcurl libxxhash libsodium zlib avro-c ||
        fail "this is not Debian; install what corresponds to:$wanted"
    exit 0
fi

missing=
for package in $wanted; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        fail "missing packages; install them with:
  sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing"
    fi
fi

printf 'installing:%s\n' "$missing" >&2
export DEBIAN_FRONTEND=noninteractive
install() { $as_root apt-get install -y --no-install-recommends $missing >&2; }
# The lists may be missing or old: then once more after an update.
install >/dev/null 2>&1 || { $as_root apt-get update >&2 && install; } ||
    fail "could not install them; try:
  apt-get update && apt-get install -y --no-install-recommends$missing"
