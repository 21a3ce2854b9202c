#!/bin/sh
# Every interleaving, up to a bound, of the state machines of `gort::sync`, under loom.
#
#     LOOM_MAX_PREEMPTIONS=3 ci/model.sh     deeper, and slower
set -eu
cd "$(dirname "$0")/.."
export LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-2}"
export RUSTFLAGS="${RUSTFLAGS:-} --cfg loom"
# Apart from the ordinary build, which these flags would throw out.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/loom"
cargo test --quiet --package gort-model --release --no-run
exec timeout 300 cargo test --quiet --package gort-model --release
