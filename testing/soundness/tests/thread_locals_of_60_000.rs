//! Thread-locals of 60_000 bytes in every thread, see `large`.

mod large;

use std::cell::RefCell;

use gort::runtime::TlsMode;

const BYTES: usize = 60_000;

thread_local! {
    static LARGE: RefCell<[u8; BYTES]> = const { RefCell::new([large::INITIAL; BYTES]) };
}

#[test]
fn goroutines_have_large_thread_locals_and_a_stack() {
    let environment = [("GORT_TLS", "own")];
    if large::is_child(
        "goroutines_have_large_thread_locals_and_a_stack",
        &environment,
    ) {
        large::goroutines_have_their_own(&LARGE, TlsMode::Own);
        large::default_stacks_are_large(&LARGE);
    }
}

#[test]
fn goroutines_have_large_thread_locals_where_stacks_are_to_be_small() {
    let environment = [("GORT_TLS", "own"), ("GORT_STACK", "65536")];
    if large::is_child(
        "goroutines_have_large_thread_locals_where_stacks_are_to_be_small",
        &environment,
    ) {
        large::goroutines_have_their_own(&LARGE, TlsMode::Own);
    }
}

#[test]
fn goroutines_have_large_thread_locals_in_thread_mode() {
    let environment = [("GORT_TLS", "thread"), ("GORT_STACK", "65536")];
    if large::is_child(
        "goroutines_have_large_thread_locals_in_thread_mode",
        &environment,
    ) {
        large::goroutines_have_their_own(&LARGE, TlsMode::Thread);
    }
}
