#!/usr/bin/env bash
# Runs the loom models of gort-queue and of gort's sync, chan, thread and tracing, and shows that they find what they
# are there to find: each of the faults below breaks one step of a protocol, and the named model has to fail then.
#
#   ci/loom.sh              models and faults, three preemptions (two for the channels)
#   ci/loom.sh models       the models alone
#   ci/loom.sh faults       the faults alone
#   LOOM_MAX_PREEMPTIONS=5 ci/loom.sh models     deeper, and slower
#
# loom is built once: a fault is a cfg that a rustc wrapper adds to this workspace's crates alone.
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-all}
asked=${LOOM_MAX_PREEMPTIONS:-}
export RUSTFLAGS="${RUSTFLAGS:-} --cfg loom"
# Apart from the ordinary build, which these flags would throw out.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/loom
# For one test binary, in seconds. A model that takes longer is a failure.
limit=${LOOM_TIMEOUT:-720}

models=(loom_claim loom_gate loom_idle loom_local loom_poll_slot loom_sleep_word loom_status loom_wait_list loom_wake_word chan hazard map slab sync token)

# The package of a test binary.
package_of() {
    case $1 in
    loom_*) echo gort-queue ;;
    *) echo gort-model ;;
    esac
}

# How many preemptions a test binary's executions have: in `chan` a third takes minutes.
preemptions_of() {
    case $1 in
    chan) echo "${asked:-2}" ;;
    *) echo "${asked:-3}" ;;
    esac
}

# fault, test binary, model that must fail
faults=(
    "idle_fence_submit loom_idle work_is_seen_by_the_last_spinner_or_wakes_one"
    "idle_fence_submit loom_idle an_item_in_a_run_queue_is_seen_or_wakes_one"
    "idle_fence_stop loom_idle work_is_seen_by_the_last_spinner_or_wakes_one"
    "idle_fence_stop loom_idle an_m_that_gives_up_its_p_without_spinning_looks_again"
    "idle_abandon loom_idle work_that_counted_on_an_abandoned_spinner_wakes_another"
    "status_stop loom_status a_wake_up_is_not_lost_and_finds_the_stack_left"
    "gate_fence loom_gate a_p_has_one_user"
    "gate_held loom_gate a_p_that_was_exchanged_is_not_taken"
    "status_end_trace loom_status a_traced_stack_is_not_run_on_and_no_wake_up_is_lost"
    "local_head loom_local owner_and_thief_take_each_item_once"
    "local_head loom_local two_thieves_and_the_owner_take_each_item_once"
    "poll_fence loom_poll_slot a_deadline_is_seen_before_the_park_or_sees_who_parks"
    "sleep_word_end loom_sleep_word what_was_put_away_comes_back_whole_and_once"
    "wake_word_begin loom_wake_word no_call_is_lost_and_each_park_has_one_ready"
    "chan_refill chan a_receive_lets_a_sender_in"
    "chan_retry chan a_broken_promise_is_for_others"
    "chan_win chan a_select_receives_what_comes_in_either"
    "mutex_recheck sync the_mutex_excludes_and_wakes"
    "rw_hand_over sync the_rw_lock_excludes_and_wakes"
    "wait_group_recheck sync a_wait_group_wakes_its_waiters_and_shows_them_the_work"
    "semaphore_give_up sync a_large_request_that_gives_up_lets_a_small_one_go_on"
    "token_round token a_late_waker_readies_nobody_who_has_the_token"
    "slab_changes slab an_entry_has_one_owner"
    "slab_fence slab a_look_finds_that_span_or_none"
    "slab_renew slab what_is_used_up_is_renewed_or_promised"
    "hazard_recheck hazard what_is_read_is_not_freed"
    "hazard_settle hazard what_is_read_is_not_freed"
    "hazard_settle map a_deleted_value_is_whole_for_who_reads_it"
    "hazard_settle hazard a_loan_is_not_lost_when_a_link_comes_back"
)

run_models() {
    echo "loom: building the models"
    cargo test --quiet --package gort-queue --package gort-model --release --no-run
    for model in "${models[@]}"; do
        local start=$SECONDS
        export LOOM_MAX_PREEMPTIONS
        LOOM_MAX_PREEMPTIONS=$(preemptions_of "$model")
        echo "loom: $model, at most $LOOM_MAX_PREEMPTIONS preemptions"
        timeout "$limit" cargo test --quiet --package "$(package_of "$model")" --release \
            --test "$model"
        echo "loom: $model took $((SECONDS - start)) s"
    done
}

# Prints a wrapper that adds the cfg of fault $1. Cargo keeps the results of each wrapper apart.
wrapper_for() {
    local wrapper="$CARGO_TARGET_DIR/faults/$1"
    mkdir -p "$(dirname "$wrapper")"
    if [[ ! -x $wrapper ]]; then
        printf '#!/bin/sh\nexec "$@" --cfg '"'"'gort_fault="%s"'"'"'\n' "$1" >"$wrapper"
        chmod +x "$wrapper"
    fi
    echo "$wrapper"
}

run_faults() {
    local log="$CARGO_TARGET_DIR/faults/log" line fault model test status
    for line in "${faults[@]}"; do
        read -r fault model test <<<"$line"
        export LOOM_MAX_PREEMPTIONS
        LOOM_MAX_PREEMPTIONS=$(preemptions_of "$model")
        echo "loom: with fault $fault, $model::$test has to fail"
        local wrapper
        wrapper=$(wrapper_for "$fault")
        local run=(cargo test --quiet --package "$(package_of "$model")" --release --test "$model")
        RUSTC_WORKSPACE_WRAPPER=$wrapper "${run[@]}" --no-run
        status=0
        RUSTC_WORKSPACE_WRAPPER=$wrapper timeout "$limit" "${run[@]}" -- --exact "$test" \
            >"$log" 2>&1 || status=$?
        # 101 is a failed test; anything else (a model that does not end, no such test) is not
        # what was asked for. A fault may have memory written to that is somebody else's by then, and
        # the model crash before it comes to an assertion.
        local crash="running 1 test.*SIGSEGV: invalid memory reference"
        if [[ $status == 101 ]] && grep -q "test result: FAILED. 0 passed; 1 failed" "$log"; then
            grep -m1 -A1 "panicked at" "$log" | tail -1 | sed 's/^/    found: /'
        elif [[ $status == 101 ]] && tr '\n' ' ' <"$log" | grep -q "$crash"; then
            echo "    found: it crashes"
        else
            cat "$log"
            echo "loom: fault $fault was not found by $model::$test (status $status)" >&2
            exit 1
        fi
    done
}

case $what in
# Not `run_models && run_faults`: there `set -e` would not hold inside the first.
all)
    run_models
    run_faults
    ;;
models) run_models ;;
faults) run_faults ;;
*)
    echo "usage: ci/loom.sh [all|models|faults]" >&2
    exit 2
    ;;
esac
echo "loom: done"
