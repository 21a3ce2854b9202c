#!/bin/sh
# All tests, as the README tells everybody to run them. How programs die differs between debug and
# release builds, and what calls from odd places do might, so those tests run in both.
set -eu
cd "$(dirname "$0")/.."
cargo test --workspace
# What features add.
cargo test --package gort --features futures --test stream
cargo test --package gort --features futures --doc chan
cargo test --package gort --features tracing --test tracing
cargo test --package gort --features tracing --doc tracing
cargo build --package gort --features tracing --example traced
exec cargo test --release --package gort-crash --package gort-soundness
