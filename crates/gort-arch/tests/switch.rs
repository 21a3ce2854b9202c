//! What a switch keeps, and what unwinders see across it.

#![cfg(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(target_feature = "crt-static")
))]

mod common;

use std::arch::naked_asm;
use std::backtrace::Backtrace;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};

use common::*;
use gort_arch::context;

/// Fills every callee-saved register from `seed`, calls `f`, and returns 0 if they are unchanged.
#[unsafe(naked)]
unsafe extern "C" fn registers_changed(f: extern "C" fn(), seed: usize) -> usize {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rsi",
        "lea rbp, [rsi + 1]",
        "lea rbx, [rsi + 2]",
        "lea r12, [rsi + 3]",
        "lea r13, [rsi + 4]",
        "lea r14, [rsi + 5]",
        "lea r15, [rsi + 6]",
        "call rdi",
        "pop rsi",
        "sub rbp, 1",
        "sub rbx, 2",
        "sub r12, 3",
        "sub r13, 4",
        "sub r14, 5",
        "sub r15, 6",
        "xor eax, eax",
        "xor rbp, rsi",
        "or rax, rbp",
        "xor rbx, rsi",
        "or rax, rbx",
        "xor r12, rsi",
        "or rax, r12",
        "xor r13, rsi",
        "or rax, r13",
        "xor r14, rsi",
        "or rax, r14",
        "xor r15, rsi",
        "or rax, r15",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

extern "C" fn park_from_assembly() {
    park();
}

#[test]
fn callee_saved_registers_and_floats_survive_a_switch() {
    let _one = start();
    let goes = (0..100_usize)
        .map(|i| {
            spawn(move || {
                let mut float = i as f64 + 0.25;
                for round in 0..50 {
                    // SAFETY: the function keeps the C calling convention.
                    let changed = unsafe { registers_changed(park_from_assembly, i << 32 | round) };
                    assert_eq!(changed, 0);
                    float = std::hint::black_box(float) + 1.0;
                    park();
                }
                assert_eq!(float, i as f64 + 50.25);
            })
        })
        .collect();
    for go in run_migrating(goes) {
        assert!(go.take_panic().is_none());
    }
}

#[test]
fn a_word_goes_over_with_each_switch() {
    let _one = start();
    // Two contexts on one FS (0: leave it alone), as plain coroutines.
    static mut SIDES: [usize; 2] = [0; 2];
    let mut stack = vec![0u128; 16 << 10];
    unsafe extern "C" fn entry(data: usize, mut arg: usize) -> ! {
        // SAFETY: one thread, and the other side waits.
        unsafe {
            let sides = &raw mut SIDES;
            assert_eq!((data, arg), (77, 0));
            loop {
                arg = context::switch(&raw mut (*sides)[1], (*sides)[0], 0, arg * 2);
                if arg == 99 {
                    context::switch_final((*sides)[0], 0, 1234);
                }
            }
        }
    }
    // SAFETY: the stack is ours and idle; `entry` switches back to us.
    unsafe {
        let sides = &raw mut SIDES;
        let top = stack.as_mut_ptr_range().end.cast::<u8>();
        (*sides)[1] = context::prepare(top, entry, 77);
        for arg in 0..10 {
            let back = context::switch(&raw mut (*sides)[0], (*sides)[1], 0, arg);
            assert_eq!(back, arg * 2);
        }
        let back = context::switch(&raw mut (*sides)[0], (*sides)[1], 0, 99);
        assert_eq!(back, 1234);
    }
}

#[test]
fn a_backtrace_on_a_goroutine_ends_at_its_base() {
    let _one = start();
    #[inline(never)]
    fn the_inner_function() {
        park();
        let trace = Backtrace::force_capture().to_string();
        assert!(trace.contains("the_inner_function"), "{trace}");
        let outermost = trace
            .lines()
            .rev()
            .find(|line| !line.trim().starts_with("at "));
        assert!(
            outermost.is_some_and(|line| line.ends_with("first_entry")),
            "{trace}"
        );
        assert!(
            !trace.contains("resume"),
            "goes on below the base:\n{trace}"
        );
        assert!(trace.lines().count() < 200, "{trace}");
    }
    let m = M::new();
    let go = spawn(the_inner_function);
    m.finish(&go);
    if let Some(payload) = go.take_panic() {
        std::panic::resume_unwind(payload);
    }
}

/// A signal handler that interrupts at any instruction of the switch takes a backtrace. The program
/// does little but switch, so many signals hit inside.
#[test]
fn the_unwinder_walks_out_of_the_switch_itself() {
    let _one = start();
    const SIGNALS: usize = 2000;
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    /// The pc of the outermost frame of each backtrace, and how many frames there were.
    static OUTERMOST: [AtomicUsize; SIGNALS] = [const { AtomicUsize::new(0) }; SIGNALS];

    unsafe extern "C" {
        fn _Unwind_Backtrace(
            visit: extern "C" fn(*mut c_void, *mut c_void) -> i32,
            data: *mut c_void,
        ) -> i32;
        fn _Unwind_GetIP(frame: *mut c_void) -> usize;
    }
    struct Walk {
        depth: usize,
        outermost: usize,
    }
    extern "C" fn visit(frame: *mut c_void, walk: *mut c_void) -> i32 {
        // SAFETY: the unwinder passes its frame and what `handler` gave it.
        unsafe {
            let walk = &mut *walk.cast::<Walk>();
            walk.depth += 1;
            match _Unwind_GetIP(frame) {
                0 => (),
                pc => walk.outermost = pc,
            }
            if walk.depth > 200 { 5 } else { 0 } // 5: stop
        }
    }
    extern "C" fn handler(_: i32, _: *mut libc::siginfo_t, _: *mut c_void) {
        let mut walk = Walk {
            depth: 0,
            outermost: 0,
        };
        // SAFETY: `visit` gets the address of `walk`. libgcc's unwinder does not allocate here.
        unsafe { _Unwind_Backtrace(visit, (&raw mut walk).cast()) };
        let i = TAKEN.fetch_add(1, Relaxed);
        if let Some(outermost) = OUTERMOST.get(i) {
            outermost.store(if walk.depth > 200 { 1 } else { walk.outermost }, Relaxed);
        }
    }

    let m = M::new();
    let go = spawn(|| {
        while TAKEN.load(Relaxed) < SIGNALS {
            park();
        }
    });
    let stop = AtomicBool::new(false);
    // SAFETY: plain use of the signal API; the handler has the type that SA_SIGINFO wants. The thread
    // that gets the signals outlives the one that sends them.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        libc::sigaction(libc::SIGPROF, &action, std::ptr::null_mut());
        let target = libc::pthread_self();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    libc::pthread_kill(target, libc::SIGPROF);
                    (0..200).for_each(|_| std::hint::spin_loop());
                }
            });
            m.finish(&go);
            stop.store(true, Relaxed);
        });
    }
    assert!(go.take_panic().is_none());
    let ends: std::collections::BTreeSet<_> = OUTERMOST
        .iter()
        .map(|outermost| outermost.load(Relaxed))
        .collect();
    assert!(!ends.contains(&1), "a backtrace did not end");
    // The thread's first frame, the goroutine's base, and what libc runs before them: a backtrace
    // that breaks off inside the switch would end at each of its instructions.
    assert!(ends.len() <= 3, "backtraces end at {ends:x?}");
}

#[test]
fn all_of_this_holds_without_fsgsbase() {
    child::suite_with(&[("GORT_FSGSBASE", "0")]);
}
