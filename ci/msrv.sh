#!/bin/sh
# gort and its command build with the oldest Rust that they are meant for (`rust-version` in Cargo.toml), where
# rustup has that toolchain; where it has not, a line says so.
#
#     ci/msrv.sh             with that one
#     ci/msrv.sh 1.95.0      with another that is installed
#
# Nothing is installed: `rustup toolchain install` is the user's to run.
set -eu
cd "$(dirname "$0")/.."

oldest=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
[ -n "$oldest" ] || { echo "Cargo.toml has no rust-version."; exit 1; }
wanted=${1:-$oldest}
# 1.88 may be installed as 1.88, or as one of 1.88.0, 1.88.1, ...
pattern=$(printf '%s' "$wanted" | sed 's/\./\\./g')
toolchain=$(rustup toolchain list 2>/dev/null | cut -d ' ' -f 1 | grep -E "^$pattern(\.[0-9]+)?(-|$)" | head -n 1 || true)
if [ -z "$toolchain" ]; then
    [ -z "${1:-}" ] || { echo "Rust $wanted is not installed: rustup toolchain install $wanted"; exit 1; }
    echo "Not built with Rust $wanted, which is not installed: rustup toolchain install $wanted"
    exit 0
fi
rustup run "$toolchain" cargo check --package gort --package gort-cli --all-features \
    --target-dir "${CARGO_TARGET_DIR:-target}/msrv"
echo "gort and gort-cli build with $toolchain."
