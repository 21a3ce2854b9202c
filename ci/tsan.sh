#!/usr/bin/env bash
# The tests of the crate gort, random programs and the stress suite under ThreadSanitizer, whose runtime
# Rust's toolchain for x86-64 Linux carries.
#
#     ci/tsan.sh               all of it
#     ci/tsan.sh chan sync     these suites: chan, sync, context, time, net, io, fs, process (of gort), stream,
#                              fuzz, stress
#
# What it covers, and what it cannot:
#
# * Thread mode alone. Each goroutine is an OS thread, so ThreadSanitizer needs no word about switches. The
#   same channels, locks, timers, Ps and Ms are at work; the switch and own thread-local blocks are not.
#   Its fibers do not help: a fiber is entered by a word in thread-local storage (the first of
#   `__tsan::cur_thread_placeholder`, 1,856 bytes, a hidden symbol), which instrumented code reads relative to
#   FS at each function's entry. Measured with Rust 1.95: after `__tsan_switch_to_fiber` and a change of the FS base
#   `__tsan_get_current_fiber` gives null, which the next entry would follow; and to call the switch in
#   the new block is to begin with that null. `--cfg gort_tsan` leaves own blocks out. (Goroutines that
#   share the thread's block could have fibers, but no build but one that is broken on purpose has those.)
# * It does not know fences. gort has them where a store must come before a load (who goes to sleep, who wakes);
#   values are handed over by release and acquire, which it knows. A missing fence is for loom to find.
# * std comes without instrumentation: ci/tsan.supp lists what it takes for races there. The release with which
#   a OnceLock's closure ends is inside std, for one: what threads that run hand each other is better
#   published by an atomic of ours.
# * It keeps a signal back until the thread that got it calls a function that it intercepts. gort's threads wait
#   in system calls that it does not see: the tests of `gort::signal` would wait for ever.
#
# Not part of CI: it builds everything anew, and is slow.
set -euo pipefail
cd "$(dirname "$0")/.."

target=x86_64-unknown-linux-gnu
folder=${CARGO_TARGET_DIR:-$PWD/target}/tsan
# A stable toolchain has the flag too, if it is asked as a nightly one. The flag about the ABI is for std, which
# cannot be built anew without its source.
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg gort_tsan"
# Not a backtrace for each panic of a test either: it takes seconds in such a binary.
export GORT_TLS=thread RUST_BACKTRACE=0
# The first report ends a suite with its exit code.
export TSAN_OPTIONS="suppressions=$PWD/ci/tsan.supp halt_on_error=1 ${TSAN_OPTIONS:-}"
build=(--quiet --release --target "$target" --target-dir "$folder")
# For one suite, in seconds.
limit=${TSAN_TIMEOUT:-900}

# A race that is one has to be found: else all that follows says nothing.
check_itself() {
    mkdir -p "$folder"
    cat >"$folder/race.rs" <<'EOF'
static mut COUNT: u64 = 0;
fn add() {
    for _ in 0..1000 {
        unsafe { COUNT += 1 };
    }
}
fn main() {
    let thread = std::thread::spawn(add);
    add();
    thread.join().unwrap();
}
EOF
    # shellcheck disable=SC2086 # the flags are words
    rustc $RUSTFLAGS --target "$target" -o "$folder/race" "$folder/race.rs"
    if "$folder/race" >"$folder/race.txt" 2>&1 || ! grep -q "data race" "$folder/race.txt"; then
        cat "$folder/race.txt"
        echo "tsan: a data race was not noticed"
        exit 1
    fi
}

# tests PACKAGE TEST ARGUMENT...: one test at a time, so that a report comes after its name. Nothing is captured: a
# test's threads would share the buffer, under a lock inside std.
tests() {
    local package=$1 test=$2
    shift 2
    timeout --kill-after=10 "$limit" cargo test "${build[@]}" --package "$package" --test "$test" "$@" \
        -- --test-threads=1 --nocapture
}

suite() {
    echo "tsan: $1"
    case $1 in
    chan | sync | context | time | net | io | fs | process) tests gort "$1" ;;
    stream) tests gort stream --features futures ;;
    fuzz) tests gort-fuzz fixed ;;
    stress)
        cargo build "${build[@]}" --package gort-stress
        timeout --kill-after=10 "$limit" "$folder/$target/release/gort-stress" --secs 60
        ;;
    *)
        sed -n '5,7p' "$0"
        exit 2
        ;;
    esac
}

check_itself
[ $# -gt 0 ] || set -- chan sync context time net io fs process stream fuzz stress
for name in "$@"; do
    suite "$name"
done
echo "tsan: done"
