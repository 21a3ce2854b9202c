#!/bin/sh
# Runs the conformance tests once per configuration and checks the table of what they show.
#
#     ci/conformance.sh            run, then fail if the table is out of date or something is lost
#     ci/conformance.sh --write    run, then write testing/conformance/README.md
#     ci/conformance.sh --long     run with the sizes of the cases instead, one test after the other, with optimization
#                                  and under one configuration; the table is left alone. Some GB of memory
#
# A test that fails here fails `ci/test.sh` too, or is a cell that says "not yet"; so a failure does
# not end the runs, and the table decides. Outputs stay in target/conformance.
set -eu
cd "$(dirname "$0")/.."

out=target/conformance
mkdir -p "$out"

# The packages whose tests have a long size.
if [ "${1:-}" = --long ]; then
    packages='--package=gort-conformance --package=gort-core'
    cargo test --quiet --release $packages --tests --no-run
    echo "conformance: long"
    result=0
    env GORT_TEST_LONG=1 GORT_TLS=own GORT_PROCS=4 timeout --kill-after=10 7200 \
        cargo test --release $packages --tests --no-fail-fast -- --show-output --test-threads=1 \
        $(cargo xtask conformance --filters) \
        >"$out/long.txt" 2>"$out/long.stderr" || result=1
    grep '^test .* FAILED$' "$out/long.txt" || true
    if [ $result = 0 ]; then
        echo "conformance: long: all passed"
    else
        echo "conformance: long: not all passed: see $out/long.txt"
    fi
    exit $result
fi
rm -f "$out"/*.txt

# Brings the table and the results together.
finish() {
    if [ "${1:-}" = --write ]; then
        exec cargo xtask conformance
    fi
    exec cargo xtask conformance --check
}

filters=$(cargo xtask conformance --filters)
if [ -z "$filters" ]; then
    echo "No test is named for a case yet."
    finish "$@"
fi
packages=$(cargo xtask conformance --packages | sed 's/^/--package=/')

# run CONFIGURATION VARIABLE=VALUE...
#
# What goroutines write to stderr, as when they panic, is not captured: it would stand in the midst of a result.
#
# A hang of one test must not take the others' results with it: `timeout` ends the run, and what was
# printed so far counts.
run() {
    configuration=$1
    shift
    echo "conformance: $configuration ($*)"
    env "$@" timeout --kill-after=10 1800 \
        cargo test $packages --tests --no-fail-fast -- --show-output $filters \
        >"$out/$configuration.txt" 2>"$out/$configuration.stderr" ||
        echo "conformance: $configuration: not all passed"
}

cargo test --quiet $packages --tests --no-run
run own-1 GORT_TLS=own GORT_PROCS=1
run own-4 GORT_TLS=own GORT_PROCS=4
run shaken GORT_TLS=own GORT_PROCS=4 GORT_SHAKE=1
run thread GORT_TLS=thread GORT_PROCS=4

# What must not compile depends on no configuration.
echo "conformance: compile"
{
    cargo test $packages --doc --no-fail-fast -- $filters || true
    for runner in */*/tests/ui.rs; do
        [ -e "$runner" ] || continue
        manifest=${runner%/tests/ui.rs}/Cargo.toml
        cargo test --manifest-path "$manifest" --test ui || true
    done
} >"$out/compile.txt" 2>&1

finish "$@"
