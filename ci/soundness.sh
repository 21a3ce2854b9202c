#!/bin/sh
# Every safe call from every place of testing/soundness, in debug and release builds, with one P and with
# more than there are processors.
#
#     ci/soundness.sh            all of it: about 2 minutes on 2 cores, building aside
#     ci/soundness.sh debug      one of the two builds
#     ci/soundness.sh release
#
# CI runs the package's tests with the rest of the workspace; ci/asan.sh runs them under the address
# sanitizer.
set -eu
cd "$(dirname "$0")/.."

suite() {
    flag=
    [ "$1" = release ] && flag=--release
    for procs in 1 2 8; do
        echo "soundness: $1 build, $procs Ps"
        GORT_PROCS=$procs cargo test --quiet --package gort-soundness $flag
    done
}

case "${1:-all}" in
debug | release) suite "$1" ;;
all)
    suite debug
    suite release
    ;;
*)
    sed -n '5,7p' "$0"
    exit 2
    ;;
esac
