#!/bin/sh
# Preemption at full size: each site hit 10,000 times, each call made 100,000 times beside goroutines
# that compute, on 1, 2 and 4 Ps, shaken, and where goroutines are threads. In release, and the sites in
# a debug build too, where malloc is checked not to be called inside the runtime.
#
#     ci/preempt.sh                  all of it: about an hour on 2 cores
#     ci/preempt.sh sites            goroutines stopped inside malloc, stdio, locks, C; retakes that race
#     ci/preempt.sh eintr            the calls that a signal interrupts
#     ci/preempt.sh audit            gort's own tests with an allocator that checks its callers
#     ci/preempt.sh bench            the ticker beside loops and blocking calls: gort alone
#     COUNT=1000 TIMES=1000 ci/preempt.sh sites eintr
#
# Not part of CI, which runs the short form in testing/preempt/tests.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
count=${COUNT:-10000} times=${TIMES:-100000} seed=${SEED:-$(date +%s)}

# run BUILD WHAT NUMBER VARIABLE=VALUE...
run() {
    build=$1 what=$2 number=$3
    shift 3
    echo "== $what, $build build: $* (seed $seed)"
    # A hang is the watchdog's to report; this limit is for a watchdog that hangs.
    env "$@" timeout --kill-after=10 4000 "$target/$build/preempt" "$what" \
        --count "$number" --seed "$seed" --seconds 3600
    seed=$((seed + 1))
}

sites() {
    cargo build --quiet --package gort-preempt
    cargo build --quiet --package gort-preempt --release
    for build in release debug; do
        for procs in 1 2 4; do
            run $build sites "$count" GORT_PROCS=$procs
        done
        run $build sites "$count" GORT_PROCS=4 GORT_SHAKE="$seed"
        run $build sites "$count" GORT_PROCS=2 GORT_TLS=thread
    done
}

eintr() {
    cargo build --quiet --package gort-preempt --release
    run release eintr "$times" GORT_PROCS=2
    run release eintr "$((times / 10))" GORT_PROCS=1
    run release eintr "$((times / 10))" GORT_PROCS=4
    run release eintr "$((times / 10))" GORT_PROCS=2 GORT_TLS=thread
}

# All tests whose programs have no allocator of their own. Debug builds, as only these check.
audit() {
    export RUSTFLAGS="${RUSTFLAGS:-} --cfg gort_audit"
    cargo test --workspace --target-dir "$target/audit" --no-fail-fast \
        --exclude gort-bench --exclude gort-bench-run --exclude xtask
    cargo build --quiet --package gort-stress --target-dir "$target/audit"
    for procs in 1 2 4; do
        env GORT_PROCS=$procs "$target/audit/debug/gort-stress" --secs 20
    done
}

bench() {
    cargo run --quiet --release --package gort-bench-run -- hog hog_rest block \
        --without go,tokio,may,crossbeam,std --no-file
}

for part in ${@:-sites eintr audit bench}; do
    case $part in
    sites | eintr | audit | bench) $part ;;
    *)
        sed -n '6,11p' "$0"
        exit 2
        ;;
    esac
done
