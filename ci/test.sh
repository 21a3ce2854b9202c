#!/bin/sh
# All tests, as the README tells everybody to run them. How programs die differs between debug and
# release builds, so those tests run in both.
set -eu
cd "$(dirname "$0")/.."
cargo test --workspace
exec cargo test --release --package gort-crash
