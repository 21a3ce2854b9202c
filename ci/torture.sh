#!/bin/sh
# The torture of thread-local storage at full size: 10,000 goroutines, in debug and in release builds,
# in every configuration of testing/torture/tests.
#
#     ci/torture.sh            all of it: about 20 minutes on 2 cores
#     ci/torture.sh debug      one of the two builds
#     ci/torture.sh release
#     ci/torture.sh bites      shows that the suite notices: with one thread-local block per OS thread,
#                              as stackful coroutines have it elsewhere, it must fail
#
# TORTURE_N sets another size.
set -eu
cd "$(dirname "$0")/.."
export TORTURE_N="${TORTURE_N:-10000}" TORTURE_SECONDS="${TORTURE_SECONDS:-300}"

suite() {
    echo "torture: $TORTURE_N goroutines, $1 build"
    flag=
    [ "$1" = release ] && flag=--release
    cargo test --quiet --package gort-torture $flag
}

# Safe code, C, destructors, unwinding, signals, crates: each of these must fail.
must_fail="
a_dependency_keeps_its_count
a_borrow_is_held_across_parks
a_scoped_thread_local_is_the_goroutines
destructors_run_once_and_may_park
a_drop_parks_while_it_unwinds
a_thread_id_is_stable_and_unique
errno_is_the_goroutines
thread_variables_are_the_goroutines
strerror_keeps_its_text
keys_are_the_goroutines_and_destroyed
a_recursive_mutex_has_one_owner
late_thread_locals_are_the_goroutines
a_handler_sees_its_goroutine
tracing_spans_are_held_across_parks
epochs_are_pinned"

bites() {
    export GORT_SHAKE_MIGRATE=1 GORT_PROCS=4 TORTURE_N=1000 TORTURE_SECONDS=10
    echo "torture: building with shared thread-local storage"
    RUSTFLAGS="${RUSTFLAGS:-} --cfg gort_fault=\"shared_tls\"" \
        cargo build --quiet --package gort-torture --target-dir target/shared-tls
    program=target/shared-tls/debug/torture
    passed=0
    for case in $must_fail; do
        # The fault is the mode's, not the build's.
        GORT_TLS=own timeout --kill-after=5 60 $program "$case" >/dev/null
        # A hang or a crash is a failure as well.
        if GORT_TLS=shared-for-tests timeout --kill-after=5 60 $program "$case" >/dev/null 2>&1; then
            echo "torture: $case passes with shared thread-local storage: it notices nothing"
            passed=1
        else
            echo "torture: $case fails, as it must"
        fi
    done
    return $passed
}

case "${1:-all}" in
debug | release) suite "$1" ;;
bites) bites ;;
all)
    suite debug
    suite release
    bites
    ;;
*)
    sed -n '5,9p' "$0"
    exit 2
    ;;
esac
