#!/bin/sh
# The rules of STYLE.md that the compiler does not know: layers, headers, dead files, links.
set -eu
cd "$(dirname "$0")/.."
exec cargo xtask tidy
