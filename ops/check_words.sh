#!/bin/sh
# ops/check_words.sh - what must not stand in the sources: notes to be done without an issue's
# number, paths of somebody's machine. Prints file:line; exit 1 when there is one.
set -u
cd "$(dirname "$0")/.." || exit 70
bad=0

refuse() { # why, pattern
    hits=$(git ls-files -z -- '*.c' '*.h' '*.cpp' '*.cu' '*.sh' '*.py' '*.md' Makefile '*.mk' .ci |
        xargs -0 grep -nE -- "$2" 2>/dev/null | grep -v '^ops/check_words.sh:')
    [ -z "$hits" ] && return
    printf '%s\n' "$hits" | sed "s|\$|   <- $1|" >&2
    bad=1
}

refuse "say which issue: TODO(#12)" '\bTODO\b([^(]|\([^#]|$)'
refuse "an issue number, not a note" '\bFIXME\b|\bXXX\b'
refuse "a path of one machine" '(^|[^[:alnum:]_.$}/-])/(work|root|home)/'

[ "$bad" = 0 ] && echo "words: ok"
exit "$bad"
