#!/bin/sh
# std's doc examples of thread, sync::mpsc and net, with `gort::` in place of `std::`. Without std's
# documentation (rustup's component rust-docs) it says so and does nothing.
set -eu
cd "$(dirname "$0")/.."
exec cargo xtask std-examples
