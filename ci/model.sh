#!/bin/sh
# Every interleaving, up to a bound, of the state machines of `gort::sync`, of channels and `select`, and of the
# channels' lock, under loom; and that loom finds what is broken on purpose.
#
#     LOOM_MAX_PREEMPTIONS=3 ci/model.sh     deeper, and slower
set -eu
cd "$(dirname "$0")/.."
export LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-2}"
export RUSTFLAGS="${RUSTFLAGS:-} --cfg loom"
# Apart from the ordinary build, which these flags would throw out.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/loom"
cargo test --quiet --package gort-model --release --no-run
timeout 900 cargo test --quiet --package gort-model --release

log="$CARGO_TARGET_DIR/fault.txt"
if GORT_FAULT=light_fence LOOM_MAX_PREEMPTIONS=3 \
    timeout 900 cargo test --quiet --package gort-model --release --test light_lock two_threads \
    >"$log" 2>&1 || ! grep -q deadlock "$log"; then
    echo "model: the fault light_fence was not found" >&2
    exit 1
fi
