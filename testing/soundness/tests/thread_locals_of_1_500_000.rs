//! Thread-locals of 1,500,000 bytes in every thread, more than a goroutine's block may have; see `large`.

mod large;

use std::cell::RefCell;

use gort::runtime::{TlsMode, metrics};

const BYTES: usize = 1_500_000;

thread_local! {
    static LARGE: RefCell<[u8; BYTES]> = const { RefCell::new([large::INITIAL; BYTES]) };
}

#[test]
fn thread_locals_beyond_a_block_s_are_a_reason_for_thread_mode() {
    let environment = [("GORT_TLS", "own"), ("GORT_STACK", "65536")];
    if large::is_child(
        "thread_locals_beyond_a_block_s_are_a_reason_for_thread_mode",
        &environment,
    ) {
        large::goroutines_have_their_own(&LARGE, TlsMode::Thread);
        let reason = metrics().tls_reason;
        assert!(reason.contains("static thread-locals of 15"), "{reason}");
    }
}
