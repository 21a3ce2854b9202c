#!/bin/sh
# The README's program runs in a new project and prints what the README says.
#
# The first ```rust block after the marker `<!-- ci:readme -->` becomes the main.rs of a project
# outside the workspace, with a path dependency on gort; the ```text block that follows is compared
# with its output.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
readme=${1:-README.md}

# Prints the first block of kind $1 after the marker.
block() {
    awk -v kind="$1" '
        /<!-- ci:readme -->/ { is_marked = 1; next }
        is_marked && is_inside && /^```/ { exit }
        is_inside { print }
        is_marked && $0 == "```" kind { is_inside = 1 }
    ' "$readme"
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
block text >"$folder/expected"
[ -s "$folder/expected" ] || { echo "$readme has no marked \`\`\`text block"; exit 1; }

cd "$folder"
cargo new --quiet --vcs none hello
cd hello
echo "gort = { path = \"$root/crates/gort\" }" >>Cargo.toml
cp "$root/Cargo.lock" .
(cd "$root" && block rust) >src/main.rs
[ -s src/main.rs ] || { echo "$readme has no marked \`\`\`rust block"; exit 1; }

CARGO_TARGET_DIR=$root/target/readme cargo build --quiet
if ! timeout 60 "$root/target/readme/debug/hello" >"$folder/found"; then
    cat "$folder/found"
    echo "The README's program failed or did not end within a minute."
    exit 1
fi
if ! diff -u "$folder/expected" "$folder/found"; then
    echo "The README's program prints something else than the README says (+ is what it printed)."
    exit 1
fi
echo "The README's program prints what the README says."
