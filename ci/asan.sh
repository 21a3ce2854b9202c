#!/bin/sh
# The address sanitizer over all safe calls from all places (testing/soundness), and over the tests of the
# crate gort. The compiler is the usual one; its option for sanitizers has to be asked for by
# RUSTC_BOOTSTRAP.
#
#     ci/asan.sh                 all of it: some 10 minutes on 2 cores, and 1 GB in target/asan
#     ci/asan.sh soundness       one of the two
#     ci/asan.sh gort
#
# In thread mode, where each goroutine is an OS thread as the sanitizer knows them. Goroutines with blocks of
# their own it does not understand: it keeps what it knows of a thread behind a pthread key, so that in
# another block it knows nothing; where own blocks are asked for the runtime sees that and says so.
set -eu
cd "$(dirname "$0")/.."

export RUSTC_BOOTSTRAP=1 GORT_TLS=thread RUST_BACKTRACE=0
export RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=address"
# No leaks: forgetting is what is tested, and descriptors, which are never freed, lie in mappings that
# it does not search. No alternate stack of its own: at a thread's end it would unmap the one it finds, ours.
export ASAN_OPTIONS=detect_leaks=0:use_sigaltstack=0
target=x86_64-unknown-linux-gnu folder=target/asan
sanitized="--target $target --target-dir $folder"

soundness() {
    cargo build --quiet $sanitized --package gort-soundness
    if "$folder/$target/debug/soundness" --bites 2>/dev/null; then
        echo "asan: freed memory was read, and nobody noticed"
        return 1
    fi
    cargo test --quiet $sanitized --package gort-soundness --test places thread::
}

gort() {
    cargo test --quiet $sanitized --package gort --lib \
        --test api --test chan --test std --test sync --test context --test time --test net \
        --test io --test fs --test process --test signal
}

for part in ${@:-soundness gort}; do
    case $part in
    soundness | gort) $part ;;
    *)
        sed -n '6,8p' "$0"
        exit 2
        ;;
    esac
done
