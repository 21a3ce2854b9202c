//! Walks of parked, interrupted and own stacks, and names for what they find.

#![cfg(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(target_feature = "crt-static")
))]

mod common;

use std::collections::HashMap;
use std::ffi::c_void;
use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::*};

use common::*;
use gort_arch::trace;

/// The text of what std knows of the address, behind the shim.
fn names(address: usize) -> String {
    let text = format!("{:?}", trace::capture_at(address).expect("there is room"));
    let (_, behind) = text.split_once(trace::SHIM_NAME).expect("the shim's name");
    behind.to_owned()
}

/// Of each pattern the first address that has it, in this order.
#[track_caller]
fn assert_in_order(addresses: &[usize], patterns: &[&str]) {
    let texts: Vec<String> = addresses.iter().map(|&address| names(address)).collect();
    let mut rest = texts.iter();
    for pattern in patterns {
        assert!(
            rest.any(|text| text.contains(pattern)),
            "{pattern} is not where it belongs in {texts:#?}"
        );
    }
}

#[inline(never)]
fn inner_of_the_parked() {
    park();
    black_box(());
}

#[inline(never)]
fn outer_of_the_parked() {
    let room = black_box([0_u8; 5000]);
    inner_of_the_parked();
    black_box(&room);
}

#[test]
fn a_parked_stack_is_walked_from_another_thread() {
    let _one = start();
    let m = M::new();
    let go = spawn(outer_of_the_parked);
    m.resume(&go);
    let sp = go.sp();
    let addresses = std::thread::spawn(move || {
        let mut addresses = [0; 64];
        // SAFETY: the goroutine is parked, and is resumed below, after the join.
        let walk = unsafe { trace::parked(sp, &mut addresses) };
        assert!(!walk.is_cut);
        addresses[..walk.len].to_vec()
    })
    .join()
    .unwrap();
    assert_in_order(
        &addresses,
        &["inner_of_the_parked", "outer_of_the_parked", "first_entry"],
    );
    assert!(names(*addresses.last().unwrap()).contains("first_entry"));
    let mut few = [0; 2];
    // SAFETY: still parked.
    let walk = unsafe { trace::parked(sp, &mut few) };
    assert!(walk.is_cut && walk.len == 2 && few == addresses[..2]);
    if cfg!(target_env = "gnu") {
        let words = copy_of_stack(sp);
        let mut copied = [0; 64];
        let walk = trace::parked_copy(sp, &words, &mut copied);
        assert!(!walk.is_cut);
        assert_eq!(copied[..walk.len], addresses);
        let walk = trace::parked_copy(sp, &words[..3], &mut copied);
        assert!(walk.is_cut && walk.len == 0);
        // Whatever it is: at worst there is no such place.
        for torn in 0..words.len() {
            let words = [&words[torn..], &words[..torn]].concat();
            trace::parked_copy(sp, &words, &mut copied);
        }
    }
    m.finish(&go);
    assert!(go.take_panic().is_none());
}

#[test]
fn a_context_that_has_not_begun_is_its_first_frame() {
    let _one = start();
    let m = M::new();
    let go = spawn(|| ());
    let mut addresses = [0; 8];
    // SAFETY: made by `prepare`, and not resumed yet.
    let walk = unsafe { trace::parked(go.sp(), &mut addresses) };
    assert_eq!(walk.len, 1);
    assert!(names(addresses[0]).contains("first_entry"));
    if cfg!(target_env = "gnu") {
        let mut copied = [0; 8];
        let walk = trace::parked_copy(go.sp(), &copy_of_stack(go.sp()), &mut copied);
        assert_eq!((walk.len, walk.is_cut), (1, false));
        assert_eq!(copied[0], addresses[0]);
    }
    m.finish(&go);
}

static INTERRUPTED: [AtomicUsize; 64] = [const { AtomicUsize::new(0) }; 64];
static INTERRUPTED_LEN: AtomicUsize = AtomicUsize::new(0);
/// Not zero: who is to be interrupted is where it is to be.
static HAS_BEGUN: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_signal(_: i32, _: *mut libc::siginfo_t, context: *mut c_void) {
    let mut addresses = [0; 64];
    // SAFETY: a handler's own argument.
    let walk = unsafe { trace::interrupted(context, &mut addresses) };
    for (to, from) in INTERRUPTED.iter().zip(addresses) {
        to.store(from, Relaxed);
    }
    INTERRUPTED_LEN.store(walk.len, Relaxed);
}

#[inline(never)]
fn spins_until_interrupted() {
    HAS_BEGUN.store(1, Relaxed);
    while INTERRUPTED_LEN.load(Relaxed) == 0 {
        std::hint::spin_loop();
    }
}

/// Calls `run` on this thread, and once it has begun sends a signal to it, whose handler walks on a stack of its own.
/// What it has found.
fn interrupted_while(run: impl FnOnce()) -> Vec<usize> {
    /// As `gort-core` gives to its threads.
    const STACK: usize = 64 << 10;
    trace::prepare();
    INTERRUPTED_LEN.store(0, Relaxed);
    HAS_BEGUN.store(0, Relaxed);
    let mut stack = vec![0_u8; STACK];
    // SAFETY: plain use of the signal API; the handler has the type that SA_SIGINFO wants, its stack is there until
    // it is taken back, and its thread is this one, which outlives the other.
    unsafe {
        let mut before = std::mem::zeroed();
        let ours = libc::stack_t {
            ss_sp: stack.as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: STACK,
        };
        assert_eq!(libc::sigaltstack(&raw const ours, &raw mut before), 0);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        libc::sigaction(libc::SIGPROF, &raw const action, std::ptr::null_mut());
        let target = libc::pthread_self();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while HAS_BEGUN.load(Relaxed) == 0 {
                    std::thread::yield_now();
                }
                libc::pthread_kill(target, libc::SIGPROF)
            });
            run();
        });
        assert_eq!(
            libc::sigaltstack(&raw const before, std::ptr::null_mut()),
            0
        );
    }
    INTERRUPTED[..INTERRUPTED_LEN.load(Relaxed)]
        .iter()
        .map(|address| address.load(Relaxed))
        .collect()
}

#[test]
fn what_a_signal_interrupts_is_walked_without_the_handler() {
    let _one = start();
    let m = M::new();
    let go = spawn(spins_until_interrupted);
    let addresses = interrupted_while(|| m.finish(&go));
    assert!(!names(addresses[0]).contains("on_signal"));
    for address in &addresses {
        assert!(!names(*address).contains("on_signal"), "{addresses:x?}");
    }
    assert_in_order(&addresses, &["spins_until_interrupted"]);
    // On a thread's stack, and all the way to a caller of many.
    let addresses = interrupted_while(spins_until_interrupted);
    let callers = ["spins_until_interrupted", "interrupted_while"];
    assert_in_order(&addresses, &callers);
}

extern "C" fn spins_in_a_handler(_signo: i32) {
    spins_until_interrupted();
}

#[inline(never)]
fn raises_a_signal() {
    // SAFETY: a handler of the right type, which is called here and now, on this stack.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = spins_in_a_handler as *const () as usize;
        libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut());
        libc::raise(libc::SIGUSR2);
    }
}

/// Of a handler those that called what it has interrupted are found, and that itself.
#[test]
fn a_handlers_frame_is_stepped_over() {
    let _one = start();
    let m = M::new();
    let functions = ["spins_in_a_handler", "raises_a_signal"];
    let go = spawn(raises_a_signal);
    assert_in_order(&interrupted_while(|| m.finish(&go)), &functions);
    assert_in_order(&interrupted_while(raises_a_signal), &functions);
}

// Spins until its argument's word is not zero, with a word more on its stack than its rules know of, and says so in its
// other argument's. Compilers have such places too, between two calls.
std::arch::global_asm!(
    ".globl gort_test_with_a_word_more",
    ".type gort_test_with_a_word_more, @function",
    "gort_test_with_a_word_more:",
    ".cfi_startproc",
    "push {word}",
    "mov qword ptr [rsi], 1",
    "2:",
    "pause",
    "cmp qword ptr [rdi], 0",
    "je 2b",
    "add rsp, 8",
    "ret",
    ".cfi_endproc",
    ".size gort_test_with_a_word_more, . - gort_test_with_a_word_more",
    word = const WORD_MORE,
);

/// What it pushes, where a walk looks for a return address: no code, and no memory, is there.
const WORD_MORE: i32 = 0x1234;

unsafe extern "C" {
    fn gort_test_with_a_word_more(until: &AtomicUsize, has_begun: &AtomicUsize);
}

fn spins_with_a_word_more() {
    // SAFETY: it keeps what callers rely on, reads one argument and writes the other, whole words.
    unsafe { gort_test_with_a_word_more(&INTERRUPTED_LEN, &HAS_BEGUN) };
}

/// Not with a fault at what is taken for a return address.
#[test]
fn where_the_rules_are_wrong_a_walk_ends() {
    let _one = start();
    let m = M::new();
    let go = spawn(spins_with_a_word_more);
    let on_goroutine = interrupted_while(|| m.finish(&go));
    for addresses in [on_goroutine, interrupted_while(spins_with_a_word_more)] {
        assert!(names(addresses[0]).contains("gort_test_with_a_word_more"));
        assert_eq!(addresses[1..], [WORD_MORE as usize]);
    }
}

/// Every address of our own code, and some that are none, can be asked for.
/// Lets the processor stop after each instruction of this thread, or no longer.
fn set_stepping(on: bool) {
    const TRAP_FLAG: u64 = 0x100;
    // SAFETY: changes that flag alone, which no other code looks at.
    unsafe {
        if on {
            std::arch::asm!("pushfq", "or qword ptr [rsp], {flag}", "popfq", flag = const TRAP_FLAG);
        } else {
            std::arch::asm!("pushfq", "and qword ptr [rsp], {mask}", "popfq", mask = const !TRAP_FLAG as i32);
        }
    }
}

// Calls its argument with nothing that could be an address in `rbp`, as a frame may that catches. std's own
// frames are found by that register.
std::arch::global_asm!(
    ".globl gort_test_without_rbp",
    ".type gort_test_without_rbp, @function",
    "gort_test_without_rbp:",
    ".cfi_startproc",
    "push rbp",
    ".cfi_def_cfa_offset 16",
    ".cfi_offset rbp, -16",
    "mov ebp, 8",
    "call rdi",
    "pop rbp",
    ".cfi_def_cfa_offset 8",
    ".cfi_restore rbp",
    "ret",
    ".cfi_endproc",
    ".size gort_test_without_rbp, . - gort_test_without_rbp",
);

unsafe extern "C" {
    fn gort_test_without_rbp(call: extern "C" fn());
}

#[inline(never)]
fn panics_step_by_step() {
    set_stepping(true);
    // SAFETY: it calls by C's rules, and keeps what callers rely on.
    unsafe { gort_test_without_rbp(catches) };
    set_stepping(false);
}

extern "C" fn catches() {
    let result = std::panic::catch_unwind(calls_who_panics);
    assert_eq!(*result.unwrap_err().downcast::<u8>().unwrap(), 7);
}

#[inline(never)]
fn calls_who_panics() {
    black_box(who_panics as fn())();
}

#[inline(never)]
fn who_panics() {
    std::panic::resume_unwind(Box::new(7_u8));
}

/// Calls `run` and `on_step` after each of its instructions, on this thread.
fn step_through(run: fn(), on_step: extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void)) {
    static ONE_HANDLER: Mutex<()> = Mutex::new(());
    let _one = ONE_HANDLER
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    trace::prepare();
    // SAFETY: a handler of the right type, and a set of flags.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_step as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        let before = std::ptr::null_mut();
        assert_eq!(libc::sigaction(libc::SIGTRAP, &raw const action, before), 0);
    }
    run();
}

/// A signal may come at any of them. The unwinder itself has some at which its own callers cannot be found:
/// while it puts the registers of the frame that catches in the place of those that it has saved.
#[test]
fn each_instruction_of_a_panic_can_be_walked_from() {
    static STEPS: AtomicUsize = AtomicUsize::new(0);
    static WHOLE: AtomicUsize = AtomicUsize::new(0);
    static WRONG: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" {
        fn _Unwind_RaiseException();
    }
    extern "C" fn on_step(_signo: i32, _info: *mut libc::siginfo_t, context: *mut c_void) {
        let mut addresses = [0; 64];
        // SAFETY: a handler's own argument.
        let walk = unsafe { trace::interrupted(context, &mut addresses) };
        let mut functions = addresses[..walk.len]
            .iter()
            .map(|at| trace::function_of(at - 1));
        let mut comes = |function: usize| functions.any(|found| found == function);
        let callers = [who_panics, calls_who_panics, panics_step_by_step];
        let is_right = !comes(_Unwind_RaiseException as *const () as usize)
            || callers.into_iter().all(|caller| comes(caller as usize));
        STEPS.fetch_add(1, Relaxed);
        WHOLE.fetch_add(usize::from(!walk.is_cut), Relaxed);
        WRONG.fetch_add(usize::from(!is_right && !walk.is_cut), Relaxed);
    }
    step_through(panics_step_by_step, on_step);
    let [steps, whole, wrong] = [&STEPS, &WHOLE, &WRONG].map(|count| count.load(Relaxed));
    assert!(steps > 1_000, "{steps} instructions");
    assert_eq!(wrong, 0, "of {steps} walks, {whole} of them whole");
    assert!(whole > steps / 100, "{whole} of {steps} walks were whole");
}

#[inline(never)]
fn works_step_by_step() {
    set_stepping(true);
    let mut words: Vec<String> = (0..12_u32).map(|n| format!("{:x}", n * 7919)).collect();
    words.sort();
    let counts: HashMap<&str, usize> = words.iter().map(|word| (&**word, word.len())).collect();
    black_box(counts.values().sum::<usize>());
    set_stepping(false);
}

/// Ordinary code: std's, the allocator's, ours. Most walks come to the caller of all; none ends in a fault.
#[test]
fn each_instruction_of_ordinary_work_can_be_walked_from() {
    static STEPS: AtomicUsize = AtomicUsize::new(0);
    static RIGHT: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn on_step(_signo: i32, _info: *mut libc::siginfo_t, context: *mut c_void) {
        let mut addresses = [0; 64];
        // SAFETY: a handler's own argument.
        let walk = unsafe { trace::interrupted(context, &mut addresses) };
        let caller = works_step_by_step as fn() as usize;
        let mut found = addresses[..walk.len].iter();
        let is_right = found.any(|at| trace::function_of(at.wrapping_sub(1)) == caller);
        STEPS.fetch_add(1, Relaxed);
        RIGHT.fetch_add(usize::from(is_right), Relaxed);
    }
    step_through(works_step_by_step, on_step);
    let [steps, right] = [&STEPS, &RIGHT].map(|count| count.load(Relaxed));
    assert!(steps > 5_000, "{steps} instructions");
    assert!(
        right >= steps - steps / 50,
        "{right} of {steps} walks were right"
    );
}

#[test]
fn any_address_can_be_looked_up() {
    let _one = start();
    let begin = a_parked_stack_is_walked_from_another_thread as *const () as usize;
    // Functions of all kinds: our own, assembly with rules of its own, C.
    let nearby = (begin - 4096..begin + 4096).step_by(7);
    let special = [
        gort_arch::context::switch as *const () as usize + 20,
        libc::abort as *const () as usize + 1,
        libc::pthread_cond_wait as *const () as usize + 100,
        libc::printf as *const () as usize + 10,
    ];
    for address in nearby.chain(special) {
        let _ = names(address);
    }
    let local = 0_u8;
    for address in [0, 1, usize::MAX, &raw const local as usize] {
        assert!(trace::capture_at(address).is_none(), "{address:#x}");
    }
    let mut addresses = [0; 32];
    let walk = trace::own(&mut addresses);
    assert_in_order(&addresses[..walk.len], &["any_address_can_be_looked_up"]);
}

/// What the kernel says of a thread that sleeps in system call `nr`: its stack pointer and program counter.
fn asleep(tid: i64, nr: i64) -> Option<(usize, usize)> {
    let text = std::fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).ok()?;
    let fields: Vec<&str> = text.split_whitespace().collect();
    let number = |text: &str| usize::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    match fields[..] {
        [call, .., sp, pc] if call == nr.to_string() => Some((number(sp)?, number(pc)?)),
        _ => None,
    }
}

/// As much of the stack of another thread, which sleeps, as there is.
fn copy_of_stack(sp: usize) -> Vec<usize> {
    let mut words = vec![0usize; 2048];
    let iovec = |start: usize| libc::iovec {
        iov_base: start as *mut c_void,
        iov_len: 2048 * size_of::<usize>(),
    };
    let (to, from) = (iovec(words.as_mut_ptr() as usize), iovec(sp));
    // SAFETY: writes to `words`, which has as much room; what cannot be read there ends the copy.
    let copied =
        unsafe { libc::process_vm_readv(libc::getpid(), &raw const to, 1, &raw const from, 1, 0) };
    words.truncate(usize::try_from(copied).unwrap_or(0) / size_of::<usize>());
    words
}

#[inline(never)]
fn sleeps_inside(call: fn(i32), fd: i32) {
    call(fd);
    black_box(());
}

#[inline(never)]
fn sleeps_outside(call: fn(i32), fd: i32) {
    let room = black_box([0_u8; 3000]);
    sleeps_inside(call, fd);
    black_box(&room);
}

/// Through std, whose functions keep a frame pointer, of which the kernel tells nothing.
fn reads_by_std(fd: i32) {
    use std::io::Read;
    use std::mem::ManuallyDrop;
    use std::os::fd::FromRawFd;
    // SAFETY: the pipe's, which stays open, as it is not dropped here.
    let mut file = ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(fd) });
    assert_eq!(file.read(&mut [0; 8]).unwrap(), 1);
}

fn reads_by_libc(fd: i32) {
    let mut byte = 0_u8;
    // SAFETY: one byte, for which there is room.
    assert_eq!(unsafe { libc::read(fd, (&raw mut byte).cast(), 1) }, 1);
}

fn waits_for_a_lock(fd: i32) {
    let flag = std::sync::Mutex::new(false);
    let woken = std::sync::Condvar::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            reads_by_libc(fd);
            *flag.lock().unwrap() = true;
            woken.notify_all();
        });
        let mut is_set = flag.lock().unwrap();
        while !*is_set {
            is_set = woken.wait(is_set).unwrap();
        }
    });
}

#[test]
fn the_copy_of_a_sleeping_threads_stack_is_walked() {
    let _one = start();
    for (call, nr) in [
        (reads_by_std as fn(i32), libc::SYS_read),
        (reads_by_libc, libc::SYS_read),
        (waits_for_a_lock, libc::SYS_futex),
    ] {
        let mut ends = [0; 2];
        // SAFETY: writes the two descriptors, which are closed below.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        let (tell, told) = std::sync::mpsc::channel();
        let sleeper = std::thread::spawn(move || {
            // SAFETY: `gettid` takes nothing.
            tell.send(unsafe { libc::syscall(libc::SYS_gettid) })
                .unwrap();
            sleeps_outside(call, ends[0]);
        });
        let tid = told.recv().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let mut addresses = [0; 64];
        let walk = loop {
            // It may still be on its way, in a short sleep.
            if let Some((sp, pc)) = asleep(tid, nr) {
                let words = copy_of_stack(sp);
                let walk = trace::copied(pc, sp, &words, &mut addresses);
                let mut found = addresses[..walk.len].iter();
                if asleep(tid, nr) == Some((sp, pc))
                    && found.any(|&address| names(address).contains("sleeps_inside"))
                {
                    break walk;
                }
                assert!(
                    std::time::Instant::now() < deadline,
                    "{:#?}",
                    addresses[..walk.len]
                        .iter()
                        .map(|&address| names(address))
                        .collect::<Vec<_>>()
                );
            }
            std::thread::yield_now();
        };
        assert_in_order(
            &addresses[..walk.len],
            &["sleeps_inside", "sleeps_outside", "std::sys::thread"],
        );
        assert!(!walk.is_cut, "up to the thread's start");
        // SAFETY: the write end of the pipe above; one byte.
        let written = unsafe { libc::write(ends[1], [1_u8].as_ptr().cast(), 1) };
        assert_eq!(written, 1);
        sleeper.join().unwrap();
        for fd in ends {
            // SAFETY: opened above, and nobody else's.
            unsafe { libc::close(fd) };
        }
    }
}

#[test]
fn an_address_is_known_by_its_function() {
    let start = sleeps_inside as *const () as usize;
    assert_eq!(trace::function_of(start + 3), start);
    assert_eq!(trace::function_of(3), 3);
}
