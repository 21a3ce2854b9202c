#!/bin/sh
# Allocators with a cache per thread under goroutines, wrapped in gort::alloc::OnThread and not: mimalloc and
# jemalloc. Prints what each costs.
set -eu
cd "$(dirname "$0")/.."
exec cargo test --release --package gort-alloc-test --features jemalloc -- --nocapture --test-threads 1
