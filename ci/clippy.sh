#!/bin/sh
# No warning, neither the compiler's nor clippy's, in any target of the workspace.
set -eu
cd "$(dirname "$0")/.."
cargo clippy --workspace --all-targets -- -D warnings
exec cargo clippy --package gort --features futures,tracing --all-targets -- -D warnings
