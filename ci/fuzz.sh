#!/bin/sh
# Random programs of channel and timer operations against plain models, in release, under every
# configuration.
#
#     ci/fuzz.sh [SECONDS]     for each configuration; 30 by default
#     SEED=7 ci/fuzz.sh        begin with this seed
#
# Not part of CI, which runs the first few hundred programs in testing/fuzz/tests.
set -eu
cd "$(dirname "$0")/.."

seconds=${1:-30} seed=${SEED:-$(date +%s)}
cargo build --release --quiet --package gort-fuzz

for setting in GORT_PROCS=2 GORT_PROCS=1 GORT_SHAKE="$seed" GORT_TLS=thread; do
    echo "== $setting"
    # A hang is a step's to report; this limit is for one that does not.
    env "$setting" timeout --kill-after=10 $((seconds + 120)) \
        "${CARGO_TARGET_DIR:-target}/release/gort-fuzz" --seed "$seed" --secs "$seconds"
done
