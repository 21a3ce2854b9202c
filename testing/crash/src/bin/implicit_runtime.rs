//! A program that never called `run`: it uses a library that uses goroutines, and they wait for each other
//! for ever. Its alarm clock ends it, not the runtime. By its argument it is ended before that:
//!
//! * `quit`: by a SIGQUIT, whose default action the runtime has left alone;
//! * `fault`, `fault goroutine`: by its own handler of SIGSEGV, which was there before the runtime, with status 42;
//! * `urgent`: by its own handler of SIGURG, with status 43.

use std::ffi::c_int;

extern "C" fn exits(signo: c_int) {
    // SAFETY: `_exit` is async-signal-safe.
    unsafe { libc::_exit(if signo == libc::SIGSEGV { 42 } else { 43 }) }
}

fn read_from_nowhere() {
    // SAFETY: none: that is the point. The handler sees it.
    unsafe { std::hint::black_box(std::ptr::null::<u64>().wrapping_byte_add(16)).read_volatile() };
}

fn main() {
    let way = std::env::args().nth(1).unwrap_or_default();
    if !matches!(&*way, "" | "quit") {
        for signo in [libc::SIGSEGV, libc::SIGURG] {
            // SAFETY: the handler is async-signal-safe, and of the form that takes the number alone.
            unsafe { libc::signal(signo, exits as *const () as libc::sighandler_t) };
        }
    }
    let hung = gort::go(|| {
        let (_sender, receiver) = gort::chan::bounded::<()>(0);
        let _ = receiver.recv();
    });
    match &*way {
        // SAFETY: the signal ends the process.
        "quit" => drop(unsafe { libc::raise(libc::SIGQUIT) }),
        // SAFETY: as above. The runtime's own come with another code.
        "urgent" => drop(unsafe { libc::kill(libc::getpid(), libc::SIGURG) }),
        "fault" => read_from_nowhere(),
        "fault goroutine" => drop(gort::go(read_from_nowhere).join()),
        _ => {}
    }
    // Another thread may have the signal sent by `kill`, and a moment for it.
    if !matches!(&*way, "" | "urgent") {
        println!("survived");
    }
    // What must not happen has a second; what must has long.
    let seconds = if way == "urgent" { 30 } else { 1 };
    // SAFETY: sets a timer whose signal ends the process.
    unsafe { libc::alarm(seconds) };
    let _ = hung.join();
    println!("joined");
}
