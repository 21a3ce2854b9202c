#!/bin/sh
# The default build of gort brings in these crates and no others; a first clean build stays small.
set -eu
cd "$(dirname "$0")/.."

expected="\
gort
gort-arch
gort-core
gort-macros
gort-queue
libc
lock_api
proc-macro2
quote
scopeguard
syn
unicode-ident"
count_max=15 # exclusive

found=$(cargo tree --package gort --edges normal,build --prefix none --format '{p}' |
    cut -d ' ' -f 1 | LC_ALL=C sort -u)
if [ "$found" != "$expected" ]; then
    echo "The crates that gort is built from have changed. Now they are:"
    echo "$found"
    echo "If each new one is worth it, say why in Cargo.toml and change the list in ci/deps.sh."
    exit 1
fi
count=$(echo "$found" | wc -l)
if [ "$count" -ge "$count_max" ]; then
    echo "gort is built from $count crates; fewer than $count_max are promised."
    exit 1
fi
echo "gort is built from $count crates."
