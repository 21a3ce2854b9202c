#!/usr/bin/env bash
# The stress suite in release, under every configuration: 1, 2 and 4 Ps, shaken order, thread mode.
#
#   ci/stress.sh [SECONDS]     for each configuration; 30 by default
#   SEED=7 ci/stress.sh        repeat a seed
#
# Not part of CI, which has no minutes to spare; run it after every change to scheduler, channels,
# switch or thread-local blocks.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-30}
seed=${SEED:-$(date +%s)}
cargo build --release --quiet --package gort-stress
stress=${CARGO_TARGET_DIR:-target}/release/gort-stress

run() {
    echo "== $* (seed $seed, $seconds s)"
    # A hang is the watchdog's to report; this limit is for a watchdog that hangs.
    env "$@" timeout --kill-after=10 $((seconds * 4 + 120)) "$stress" --seed "$seed" --secs "$seconds"
    seed=$((seed + 1))
}

for procs in 1 2 4; do
    run GOMAXPROCS=$procs
    run GOMAXPROCS=$procs GORT_SHAKE="$seed"
done
run GOMAXPROCS=2 GORT_TLS=thread
run GOMAXPROCS=4 GORT_TLS=thread GORT_SHAKE="$seed"
# The park and ready pairs alone: a hundred million of them are a few minutes.
echo "== pairs alone"
GOMAXPROCS=2 "$stress" --seed "$seed" --secs "$((seconds * 2))" --only pairs
