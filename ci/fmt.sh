#!/bin/sh
# The code is formatted as rustfmt does it.
set -eu
cd "$(dirname "$0")/.."
exec cargo fmt --all --check
