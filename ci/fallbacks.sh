#!/bin/bash
# Runs the torture suite where something is missing or different, besides what its own tests refuse it:
#
#     ci/fallbacks.sh            all of it
#     ci/fallbacks.sh NAME...    some: tests, jemalloc, static, glibc
#
#   tests     thread mode, no FSGSBASE, system calls refused (testing/torture/tests/fallbacks.rs)
#   jemalloc  all cases with a preloaded jemalloc (Debian: libjemalloc2)
#   static    all cases in a program with glibc linked in: thread mode, and a line that says why
#   glibc     all cases on the glibc of newer Debian releases, by their own loaders
#
# What this machine cannot have is skipped, with a line that says so. Nothing is installed: packages are
# unpacked into target/.
set -euo pipefail
cd "$(dirname "$0")/.."
export GORT_SHAKE_MIGRATE=1 GORT_PROCS=4 TORTURE_SECONDS="${TORTURE_SECONDS:-60}"
failed=0

# suite WHAT MODE COMMAND...: each case by the command given, in a process of its own; it must run in the
# mode given.
suite() {
    local what=$1 mode=$2 case text
    shift 2
    text=$("$@" a_hash_map_keeps_its_keys 2>target/fallbacks.stderr) || true
    local notices
    notices=$(grep --count '^gort: each goroutine has an OS thread of its own: ' target/fallbacks.stderr) || true
    # Nobody asked for thread mode here: it comes with one line that says why.
    if [[ $text != "$mode: "* || $notices != "$([ "$mode" = thread ] && echo 1 || echo 0)" ]]; then
        echo "fallbacks: $what: not in mode $mode, or not with the line that belongs to it:"
        echo "$text"
        cat target/fallbacks.stderr
        failed=1
        return
    fi
    echo "fallbacks: $what: ${text%%$'\n'*}"
    local count=0
    for case in $("$@" --list); do
        count=$((count + 1))
        if ! text=$(timeout --kill-after=5 120 "$@" "$case" 2>&1); then
            echo "fallbacks: $what: $case failed:"
            echo "$text" | tail -n 40
            failed=1
        elif [[ $text == *$'\nskipped: '* ]]; then
            echo "fallbacks: $what: $case: $(grep --max-count=1 '^skipped: ' <<<"$text")"
        fi
    done
    echo "fallbacks: $what: $count cases"
}

run_tests() {
    cargo test --quiet --package gort-torture --test fallbacks || failed=1
}

run_jemalloc() {
    local library
    library=$(ldconfig -p | awk '/libjemalloc\.so\.2 .*x86-64/ { print $NF; exit }')
    if [ -z "$library" ]; then
        echo "fallbacks: jemalloc: skipped, there is no libjemalloc.so.2 here (Debian: libjemalloc2)"
        return
    fi
    suite jemalloc own env LD_PRELOAD="$library" target/debug/torture
}

run_static() {
    if ! echo 'int main(void) { return 0; }' |
        cc -static -x c -o /dev/null - 2>/dev/null; then
        echo "fallbacks: static: skipped, there is no static glibc here"
        return
    fi
    # A target is named so that build scripts and macros stay dynamic.
    RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" cargo build --quiet \
        --package gort-torture --target x86_64-unknown-linux-gnu --target-dir target/crt-static
    TORTURE_N=200 suite static thread target/crt-static/x86_64-unknown-linux-gnu/debug/torture
}

# Prints the repository of Debian's main archive that this machine uses.
repository() {
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 2>/dev/null |
        awk '$1 ~ /\/debian\/$/ { print $1; exit }'
}

# Unpacks the libc6 of the Debian release $1 into the folder $2.
unpack_glibc() {
    local release=$1 folder=$2 from
    from=$(repository)
    [ -n "$from" ] || return 1
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$folder/unpacked"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from $release main" \
        >"$folder/sources.list"
    local options=(
        -o "Dir::Etc::SourceList=$folder/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$folder/lists" -o "Dir::Cache=$folder/cache"
        -o APT::Sandbox::User=root -o Acquire::Languages=none
    )
    timeout 120 apt-get "${options[@]}" --quiet=2 update >/dev/null 2>&1 || return 1
    (cd "$folder" && timeout 120 apt-get "${options[@]}" --quiet=2 download libc6) >/dev/null 2>&1 ||
        return 1
    dpkg-deb --extract "$folder"/libc6_*.deb "$folder/unpacked"
    rm -rf "$folder/lists" "$folder/cache"
}

run_glibc() {
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        echo "fallbacks: glibc: skipped, this is no Debian"
        return
    fi
    local own release folder loader libraries
    own=$(ldconfig -p | awk '/libgcc_s\.so\.1 .*x86-64/ { print $NF; exit }')
    for release in trixie sid; do
        folder=$PWD/target/glibc/$release
        if ! ls "$folder"/unpacked/usr/lib/x86_64-linux-gnu/libc.so.6 >/dev/null 2>&1; then
            rm -rf "$folder"
            if ! unpack_glibc "$release" "$folder"; then
                echo "fallbacks: glibc of $release: skipped, its package cannot be had here"
                continue
            fi
        fi
        libraries=$folder/unpacked/usr/lib/x86_64-linux-gnu
        loader=$libraries/ld-linux-x86-64.so.2
        # The compiler's library is this machine's.
        ln -sf "$own" "$libraries/"
        suite "glibc of $release" own "$loader" --library-path "$libraries" target/debug/torture
    done
}

cargo build --quiet --package gort-torture
[ $# -gt 0 ] || set -- tests jemalloc static glibc
for part in "$@"; do
    case $part in
    tests | jemalloc | static | glibc) "run_$part" ;;
    *)
        sed -n '4,5p' "$0"
        exit 2
        ;;
    esac
done
exit $failed
