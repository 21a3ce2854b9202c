//! Goroutines that are on a thread show their stacks when they are asked. Alone in its binary: the handler of
//! SIGURG is the process's.

use std::collections::HashMap;
use std::ffi::c_void;
use std::hint::black_box;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use gort_core::sched::{self, JoinHandle, SpawnOptions};
use gort_core::snapshot::{self, Goroutine};
use gort_core::{dump, runtime, symbol, trace};

fn start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        extern "C" fn on_urgent(_: i32, _: *mut libc::siginfo_t, context: *mut c_void) {
            // SAFETY: the handler's own argument.
            unsafe { trace::on_signal(context) };
        }
        runtime::ensure_started();
        // SAFETY: zero is a valid `sigaction`; the handler has the type that SA_SIGINFO wants.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_urgent as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            libc::sigaction(libc::SIGURG, &action, std::ptr::null_mut());
        }
        trace::set_answered();
    });
}

fn go(name: &str, own_thread: bool, f: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let options = SpawnOptions {
        name: Some(name.to_owned()),
        own_thread,
        ..SpawnOptions::new()
    };
    sched::spawn(f, options).expect("there is a stack")
}

/// Whether the goroutine's stack has the function on it; `None` without a stack.
fn is_in(goroutine: &Goroutine, function: &str) -> Option<bool> {
    let stack = goroutine.stack.as_ref()?;
    let mut symbols = stack
        .addresses
        .iter()
        .flat_map(|&ip| symbol::symbols(ip).to_vec());
    Some(symbols.any(|symbol| symbol.function.contains(function)))
}

/// Looks until the named goroutine's stack has the function on it.
#[track_caller]
fn assert_seen_in(name: &str, function: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let all = snapshot::goroutines_with_stacks();
        let named = all.iter().find(|g| g.name.as_deref() == Some(name));
        if named.and_then(|goroutine| is_in(goroutine, function)) == Some(true) {
            return;
        }
        assert!(Instant::now() < deadline, "{}", dump::text(&all));
        std::thread::yield_now();
    }
}

static STOP: AtomicBool = AtomicBool::new(false);

#[inline(never)]
fn burns_its_processor() {
    while !STOP.load(Relaxed) {
        std::hint::spin_loop();
    }
    black_box(());
}

#[inline(never)]
fn parks_on_its_thread() {
    while !STOP.load(Relaxed) {
        sched::sleep_until(gort_core::clock::now_ns() + 20_000_000);
    }
    black_box(());
}

#[inline(never)]
fn runs_left(steps: &AtomicUsize) {
    while !STOP.load(Relaxed) {
        steps.fetch_add(black_box(1), Relaxed);
        sched::yield_now();
    }
    black_box(());
}

#[inline(never)]
fn runs_right(steps: &AtomicUsize) {
    while !STOP.load(Relaxed) {
        steps.fetch_add(black_box(2), Relaxed);
        sched::yield_now();
    }
    black_box(());
}

/// One test: what burns processors would starve others.
#[test]
fn goroutines_on_threads_show_their_stacks() {
    start();
    let mut handles = vec![
        go("burns", false, burns_its_processor),
        go("burns-bound", true, burns_its_processor),
        go("parks-bound", true, parks_on_its_thread),
    ];
    // Room for those to run beside each other.
    runtime::set_gomaxprocs(4);
    assert_seen_in("burns", "burns_its_processor");
    assert_seen_in("burns-bound", "burns_its_processor");
    assert_seen_in("parks-bound", "parks_on_its_thread");

    // Goroutines that change threads all the time: a stack is the right one's, or none.
    static STEPS: AtomicUsize = AtomicUsize::new(0);
    for _ in 0..8 {
        handles.push(go("left", false, || runs_left(&STEPS)));
        handles.push(go("right", false, || runs_right(&STEPS)));
    }
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(2) || seen.len() < 2 {
        assert!(begin.elapsed() < Duration::from_secs(60), "{seen:?}");
        for goroutine in snapshot::goroutines_with_stacks() {
            let (own, other) = match goroutine.name.as_deref() {
                Some("left") => ("runs_left", "runs_right"),
                Some("right") => ("runs_right", "runs_left"),
                _ => continue,
            };
            let text = || dump::text(std::slice::from_ref(&goroutine));
            // Without its own function it is a walk from the midst of a switch.
            if is_in(&goroutine, own) == Some(true) {
                *seen.entry(own).or_default() += 1;
            }
            assert_ne!(is_in(&goroutine, other), Some(true), "{}", text());
        }
    }
    println!("{seen:?} in {} steps", STEPS.load(Relaxed));
    STOP.store(true, Relaxed);
    for handle in handles {
        handle.join();
    }
}
