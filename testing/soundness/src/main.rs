//! `soundness PLACE [CALL...]`: makes the calls (all of the table, if none is named) in the place, and says
//! how each ended, a line before and a line after it. `soundness --list` shows places and calls;
//! `soundness --bites` reads freed memory in a goroutine, which a sanitizer must notice.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use gort_soundness::calls::{self, Act, Call};
use gort_soundness::{Outcome, Place, places};

/// How long a call may take.
const CALL_SECONDS: u32 = 20;

fn main() -> ExitCode {
    let mut names = std::env::args().skip(1);
    let place = names.next().unwrap_or_default();
    if place == "--list" {
        Place::ALL.iter().for_each(|place| println!("{place}"));
        calls::all()
            .iter()
            .for_each(|call| println!("  {}", call.name));
        return ExitCode::SUCCESS;
    }
    if place == "--bites" {
        gort::go(read_freed_memory)
            .join()
            .expect("it does not panic");
        return ExitCode::SUCCESS;
    }
    let Some(place) = Place::named(&place) else {
        eprintln!("soundness: no place {place:?}; --list shows all");
        return ExitCode::from(2);
    };
    let names: Vec<String> = names.collect();
    let is_named = |call: &Call| names.is_empty() || names.iter().any(|name| name == call.name);
    let calls: Vec<Call> = calls::all().into_iter().filter(is_named).collect();
    if calls.len() < names.len() {
        eprintln!("soundness: no such call among {names:?}; --list shows all");
        return ExitCode::from(2);
    }
    places::set_panic_hook();
    watch();
    match place {
        Place::AtExit | Place::AtExitOfGoroutine | Place::ThreadLocalOfMain => {
            at_the_end(place, calls);
        }
        _ => {
            for call in &calls {
                let act = call.prepare();
                tell(call, || places::make(place, act));
            }
        }
    }
    ExitCode::SUCCESS
}

fn read_freed_memory() {
    let freed = Box::into_raw(Box::new(7));
    // SAFETY: from a box, once.
    drop(unsafe { Box::from_raw(freed) });
    // SAFETY: there is none: the read is the mistake that a sanitizer is shown. Without one it reads
    // memory that malloc still has.
    println!("read {} from freed memory", unsafe {
        freed.read_volatile()
    });
}

/// Prepares all calls, and has them made when the process ends, which it is about to.
fn at_the_end(place: Place, calls: Vec<Call>) {
    let prepare = |call: Call| (call.prepare(), call);
    let prepared: Vec<(Act, Call)> = calls.into_iter().map(prepare).collect();
    let make_all = || {
        for (act, call) in prepared {
            tell(&call, || Outcome::of(act));
        }
    };
    match place {
        Place::ThreadLocalOfMain => places::at_end_of_thread(make_all),
        _ => places::at_exit(make_all),
    }
    if place == Place::AtExitOfGoroutine {
        gort::run(|| std::process::exit(0));
    }
}

/// Makes a call, and says so before and after.
fn tell(call: &Call, make: impl FnOnce() -> Outcome) {
    BEGUN.fetch_add(1, Relaxed);
    say(&format!("begin {}\n", call.name));
    say(&format!("end {}: {}\n", call.name, make()));
}

/// With no buffer and no lock, which may be gone when the process ends.
fn say(line: &str) {
    // SAFETY: the bytes are there. If nobody reads them there is nobody to tell.
    unsafe { libc::write(1, line.as_ptr().cast(), line.len()) };
}

/// How many calls have begun. Writer: who makes calls. Reader: the watchdog.
static BEGUN: AtomicU32 = AtomicU32::new(0);

/// Ends the process with a dump of the goroutines if a call takes too long.
fn watch() {
    thread::spawn(|| {
        let mut before = 0;
        loop {
            // waits: for the time a call may take; looks then whether another has begun
            thread::sleep(Duration::from_secs(CALL_SECONDS.into()));
            let begun = BEGUN.load(Relaxed);
            if begun == before {
                // If the dump hangs too, the kernel ends us.
                // SAFETY: no preconditions; SIGALRM is not handled.
                unsafe { libc::alarm(5) };
                eprintln!(
                    "a call takes more than {CALL_SECONDS} s\n{}",
                    gort::debug::stacks()
                );
                // SAFETY: takes any status; nothing else is to run.
                unsafe { libc::_exit(3) };
            }
            before = begun;
        }
    });
}
