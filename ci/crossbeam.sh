#!/usr/bin/env bash
# crossbeam-channel's own tests, as its crate on crates.io has them, against gort::chan: called from
# plain threads, and once more with every thread a goroutine. In release, as they count to 100,000.
#
#     ci/crossbeam.sh                        both: 3 minutes on 2 cores, and one to build
#     ci/crossbeam.sh threads                one of the two
#     ci/crossbeam.sh goroutines
#     ci/crossbeam.sh docs                   the examples in its docs: a minute
#     ci/crossbeam.sh matrix                 goroutines with 1 and 4 Ps, shaken, and where each has a
#                                            thread of its own: 7 minutes
#     ci/crossbeam.sh goroutines zero list   these files of tests only
#
# Not a line of the tests is changed, and none is kept here: cargo fetches the crate, whose version and
# checksum stand in testing/crossbeam/Cargo.lock, and its folder `tests` is copied to target/crossbeam.
# There they find gort under the name crossbeam_channel, and goroutines under the name std.
# testing/crossbeam/exceptions.txt lists what does not pass, and why.
#
# Tests that compare with the wall clock need a machine with time: `select` has `default_only`, which allows 50 ms,
# and `unblocks` and `timeout`, which allow 500. With 20 to 40 runnable threads on 2 processors they fail
# now and then, in thread mode too; no other test of that file did in 348 runs, seeds included.
set -euo pipefail
cd "$(dirname "$0")/.."

workspace=testing/crossbeam
out=$PWD/target/crossbeam
failures=0
# For one file of tests, in seconds; they take up to 25.
limit=${CROSSBEAM_TIMEOUT:-240}

fetch_tests() {
    local manifest
    manifest=$(cargo metadata --quiet --locked --format-version 1 --manifest-path "$workspace/Cargo.toml" |
        grep -o '"manifest_path":"[^"]*/crossbeam-channel-[0-9.]*/Cargo.toml"' | cut -d '"' -f 4)
    source=$(dirname "$manifest")
    rm -rf "$out/tests"
    mkdir -p "$out/tests"
    # With their times, so that nothing is built anew.
    cp -p "$source"/tests/*.rs "$out/tests"
    files=$(cd "$out/tests" && ls -- *.rs | sed 's/\.rs$//')
    for package in threads goroutines; do
        if [ "$(sed -n '/^\[\[test\]\]/{n;s/name = "\(.*\)"/\1/p}' "$workspace/$package/Cargo.toml" | sort)" != "$files" ]; then
            echo "crossbeam: the manifest of $package does not list exactly these files:" $files
            exit 1
        fi
    done
}

# The exceptions of package $1 and file $2, as "test|always or sometimes|text" lines.
exceptions() {
    awk -F ' : ' -v OFS='|' -v package="$1" -v file="$2" \
        '$1 == package && $2 == file { print $3, $4, $5 }' "$workspace/exceptions.txt"
}

# tests PACKAGE FILE ARGUMENT...
tests() {
    local package=$1 file=$2
    shift 2
    timeout --kill-after=10 "$limit" cargo test --quiet --release --locked \
        --manifest-path "$workspace/Cargo.toml" --target-dir "$out/build" \
        --package "gort-crossbeam-$package" --test "$file" -- "$@"
}

# run PACKAGE FILE: its exceptions must fail as they are said to, and its other tests pass.
run() {
    local package=$1 file=$2 log="$out/$package-$file.txt" skip=() test often text status
    while IFS='|' read -r test often text; do
        skip+=(--skip "$test")
        status=0
        tests "$package" "$file" --exact "$test" >"$log" 2>&1 || status=$?
        if [ "$status" -eq 0 ] && [ "$often" = sometimes ] && grep -q -F '1 passed' "$log"; then
            echo "crossbeam: $package, $file: $test passes, this time"
        elif [ "$status" -eq 101 ] && grep -q -F "$text" "$log"; then
            echo "crossbeam: $package, $file: $test fails, as expected: $text"
        else
            cat "$log"
            echo "crossbeam: $package, $file: $test does not fail with: $text"
            failures=$((failures + 1))
        fi
    done < <(exceptions "$package" "$file")
    if ! tests "$package" "$file" --exact "${skip[@]}" >"$log" 2>&1; then
        cat "$log"
        echo "crossbeam: $package, $file: FAILED"
        failures=$((failures + 1))
        return
    fi
    echo "crossbeam: $package, $file:" "$(grep -o '[0-9]* passed' "$log") in" \
        "$(grep -o '[0-9.]*s$' "$log" | tail -1)"
}

# run_all PACKAGE FILE...
run_all() {
    local package=$1 file
    shift
    for file in ${@:-$files}; do
        run "$package" "$file"
    done
}

# The path of the library $1 as the tests of threads use it.
library() {
    cargo test --quiet --release --locked --manifest-path "$workspace/Cargo.toml" --target-dir "$out/build" \
        --package gort-crossbeam-threads --test iter --no-run --message-format json |
        grep -o "[^\"]*/lib$1-[^\"/]*\.rlib" | head -1
}

# The examples in the documentation of crossbeam-channel. rustdoc takes them from its source, which is
# parsed and not compiled, and links them with gort under its name.
docs() {
    echo "crossbeam: docs"
    if ! timeout --kill-after=10 "$limit" rustdoc --test --edition 2021 --crate-name crossbeam_channel \
        "$source/src/lib.rs" --cfg 'feature="std"' -L dependency="$out/build/release/deps" \
        --extern crossbeam_channel="$(library crossbeam_channel)" \
        --extern crossbeam_utils="$(library crossbeam_utils)" >"$out/docs.txt" 2>&1; then
        cat "$out/docs.txt"
        failures=$((failures + 1))
    fi
    grep '^test result' "$out/docs.txt" || true
}

what=${1:-both}
[ $# -eq 0 ] || shift
fetch_tests
echo "crossbeam: building"
# Before the tests are timed. For `docs` no test has to be built but one, which needs all libraries.
case $what in
both) packages=(--workspace) ;;
matrix) packages=(--package gort-crossbeam-goroutines) ;;
docs) packages=(--package gort-crossbeam-threads --test iter) ;;
threads | goroutines) packages=(--package "gort-crossbeam-$what" "${@/#/--test=}") ;;
*)
    sed -n '5,12p' "$0"
    exit 2
    ;;
esac
cargo test --quiet --release --locked --manifest-path "$workspace/Cargo.toml" --target-dir "$out/build" \
    --no-run "${packages[@]}"
case $what in
both)
    run_all threads
    run_all goroutines
    ;;
docs) docs ;;
threads | goroutines) run_all "$what" "$@" ;;
matrix)
    for setting in GORT_PROCS=1 GORT_PROCS=4 GORT_SHAKE=1 GORT_TLS=thread; do
        echo "== $setting"
        (
            export "$setting"
            run_all goroutines "$@"
            exit $((failures > 0))
        ) || failures=$((failures + 1))
    done
    ;;
esac
if [ "$failures" -gt 0 ]; then
    echo "crossbeam: $failures failures"
    exit 1
fi
echo "crossbeam: done"
