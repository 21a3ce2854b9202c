#!/bin/sh
# All tests, as the README tells everybody to run them.
set -eu
cd "$(dirname "$0")/.."
exec cargo test --workspace
