#!/bin/sh
# ops/deploy/libraries.sh PACKAGE... - the libraries this build uses, as "name number,name number":
# what `freshet version` prints. One of them says its version in a header alone.
set -u

from_header() { # header, tokens
    printf '#include <%s>\n%s\n' "$1" "$2" | ${CC:-cc} -E -P -x c++ - 2>/dev/null | tail -n 1 | tr -d ' "'
}

for package in "$@"; do
    printf '%s %s,' "$package" "$(pkg-config --modversion "$package" 2>/dev/null || echo unknown)"
done
printf 'simdjson %s' "$(from_header simdjson.h SIMDJSON_VERSION)"
