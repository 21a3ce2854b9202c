#!/bin/sh
# std's doc examples of thread, sync::mpsc, net, io, fs and process, with `gort::` in place of `std::`; those that
# would use files, other commands or the network are compiled and not run. Without std's
# documentation (rustup's component rust-docs) it says so and does nothing.
set -eu
cd "$(dirname "$0")/.."
exec cargo xtask std-examples
