//! Calls of libc that would take a goroutine for the thread it is not: from a goroutine, from a plain
//! thread, and before the start.

#![cfg(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(target_feature = "crt-static")
))]

mod common;

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

use common::*;
use gort_arch::tls::{self, Tid};

unsafe extern "C" {
    fn pthread_getcpuclockid(thread: libc::pthread_t, clock: *mut libc::clockid_t) -> c_int;
    fn pthread_sigqueue(thread: libc::pthread_t, number: c_int, value: libc::sigval) -> c_int;
    fn pthread_mutexattr_setprotocol(
        attr: *mut libc::pthread_mutexattr_t,
        protocol: c_int,
    ) -> c_int;
}

/// Runs `f` on a goroutine, with a park before, and hands its panic on.
fn on_a_goroutine(f: impl FnOnce() + Send + 'static) {
    let go = spawn(|| {
        park();
        f();
    });
    M::new().finish(&go);
    if let Some(payload) = go.take_panic() {
        std::panic::resume_unwind(payload);
    }
}

/// Lower and upper end of the stack that libc says this thread has.
fn stack_of(thread: libc::pthread_t) -> (usize, usize) {
    // SAFETY: plain use of the pthread API.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        assert_eq!(libc::pthread_getattr_np(thread, &mut attributes), 0);
        let (mut low, mut bytes) = (null_mut(), 0);
        assert_eq!(
            libc::pthread_attr_getstack(&attributes, &mut low, &mut bytes),
            0
        );
        libc::pthread_attr_destroy(&mut attributes);
        (low as usize, low as usize + bytes)
    }
}

#[test]
fn the_stack_of_a_goroutine_is_its_slots() {
    let _one = start();
    let check = || {
        let local = 0_u8;
        // SAFETY: no preconditions.
        let (low, high) = stack_of(unsafe { libc::pthread_self() });
        assert!((low..high).contains(&(&raw const local as usize)));
        (low, high)
    };
    check();
    on_a_goroutine(move || {
        let (low, high) = check();
        let (slot, _) = here();
        assert_eq!((low, high), (slot.limit() as usize, slot.end()));
        std::thread::spawn(move || {
            check();
            // That of a goroutine, asked for by a thread.
            assert_eq!(stack_of(slot.fs() as libc::pthread_t), (low, high));
        })
        .join()
        .unwrap();
    });
}

#[test]
fn a_goroutine_has_the_ids_and_settings_of_its_thread() {
    let _one = start();
    // SAFETY: plain use of the C library; all pointers are to locals.
    let look = || unsafe {
        let me = libc::pthread_self();
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(
            libc::pthread_getaffinity_np(me, size_of_val(&set), &mut set),
            0
        );
        assert_eq!(libc::pthread_setaffinity_np(me, size_of_val(&set), &set), 0);
        assert!(libc::CPU_COUNT(&set) > 0);
        let (mut policy, mut parameters) = (-1, std::mem::zeroed());
        assert_eq!(
            libc::pthread_getschedparam(me, &mut policy, &mut parameters),
            0
        );
        assert_eq!(libc::pthread_setschedparam(me, policy, &parameters), 0);
        let mut clock = 0;
        assert_eq!(pthread_getcpuclockid(me, &mut clock), 0);
        let mut time = std::mem::zeroed();
        assert_eq!(libc::clock_gettime(clock, &mut time), 0);
        let cpu = libc::sched_getcpu();
        assert!(cpu >= 0 && libc::CPU_ISSET(cpu as usize, &set));
        assert_eq!(libc::pthread_kill(me, 0), 0);
        (
            libc::gettid() as i64,
            libc::syscall(libc::SYS_gettid),
            policy,
        )
    };
    let thread = look();
    assert_eq!(thread.0, thread.1);
    on_a_goroutine(move || assert_eq!(look(), thread));
}

#[test]
fn a_goroutine_queues_a_signal_with_a_value_for_its_thread() {
    static VALUE: AtomicUsize = AtomicUsize::new(0);
    static TID: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" fn on_signal(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
        // SAFETY: the kernel passes a description of a signal that has a value.
        VALUE.store(unsafe { (*info).si_value() }.sival_ptr as usize, SeqCst);
        // SAFETY: no preconditions.
        TID.store(unsafe { libc::syscall(libc::SYS_gettid) } as usize, SeqCst);
    }
    fn queue(value: usize) {
        let value_of = |address| libc::sigval {
            sival_ptr: address as *mut c_void,
        };
        // SAFETY: to this thread, which has a handler.
        let (error, tid) = unsafe {
            let me = libc::pthread_self();
            (
                pthread_sigqueue(me, libc::SIGUSR2, value_of(value)),
                libc::syscall(libc::SYS_gettid) as usize,
            )
        };
        // Sent to the calling thread, it is there before the call returns.
        assert_eq!((error, VALUE.load(SeqCst)), (0, value));
        assert_eq!(TID.load(SeqCst), tid);
    }
    let _one = start();
    // SAFETY: a handler of the type that SA_SIGINFO wants, which is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGUSR2, &action, null_mut()), 0);
    }
    queue(1);
    on_a_goroutine(|| queue(2));
    std::thread::spawn(|| queue(3)).join().unwrap();
}

/// Runs as root only: to another user the calls are refused, which is also an answer.
#[test]
fn ids_can_be_set_from_a_goroutine_and_beside_running_ones() {
    let _one = start();
    // SAFETY: no preconditions.
    let own = unsafe {
        (
            libc::getuid(),
            libc::geteuid(),
            libc::getgid(),
            libc::getegid(),
        )
    };
    let set_all = move || {
        // SAFETY: to the ids we have.
        unsafe {
            assert_eq!(libc::setegid(own.3), 0);
            assert_eq!(libc::seteuid(own.1), 0);
            assert_eq!(libc::setresgid(own.2, own.3, own.3), 0);
            assert_eq!(libc::setresuid(own.0, own.1, own.1), 0);
            assert_eq!(libc::setregid(own.2, own.3), 0);
            assert_eq!(libc::setreuid(own.0, own.1), 0);
            assert_eq!(libc::setgid(own.2), 0);
            assert_eq!(libc::setuid(own.0), 0);
            // An error comes back with its number.
            *libc::__errno_location() = 0;
            assert_eq!(libc::setgroups(usize::MAX, std::ptr::null()), -1);
            assert!(matches!(errno(), libc::EINVAL | libc::EPERM), "{}", errno());
        }
    };
    set_all();
    on_a_goroutine(set_all);
    // A plain thread sets ids while goroutines run on two others: libc interrupts them.
    let stop = Arc::new(AtomicBool::new(false));
    let setter = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            for _ in 0..20 {
                set_all();
            }
            stop.store(true, Relaxed);
        }
    });
    // They do not park, so that all signals meet them on their own FS.
    let deadline = Instant::now() + Duration::from_secs(20);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let stop = Arc::clone(&stop);
            scope.spawn(move || {
                on_a_goroutine(move || {
                    while !stop.load(Relaxed) {
                        assert!(Instant::now() < deadline, "a setter waits for ever");
                        std::hint::spin_loop();
                    }
                });
            });
        }
    });
    setter.join().unwrap();
}

#[test]
fn priority_inheritance_is_refused_where_the_kernel_cannot_know_the_owner() {
    let _one = start();
    // SAFETY: plain use of the pthread API.
    unsafe {
        let mut attributes: libc::pthread_mutexattr_t = std::mem::zeroed();
        libc::pthread_mutexattr_init(&mut attributes);
        let unique = tls::support().unwrap().tid == Tid::Unique;
        let expected = if unique { libc::ENOTSUP } else { 0 };
        assert_eq!(
            pthread_mutexattr_setprotocol(&mut attributes, libc::PTHREAD_PRIO_INHERIT),
            expected
        );
        assert_eq!(
            pthread_mutexattr_setprotocol(&mut attributes, libc::PTHREAD_PRIO_NONE),
            0
        );
        libc::pthread_mutexattr_destroy(&mut attributes);
    }
}

#[test]
fn a_recursive_mutex_of_c_belongs_to_one_goroutine() {
    let _one = start();
    if tls::support().unwrap().tid != Tid::Unique {
        return; // there two goroutines on one M are one owner, as documented
    }
    struct Mutex(std::cell::UnsafeCell<libc::pthread_mutex_t>);
    // SAFETY: a pthread mutex is made for threads.
    unsafe impl Send for Mutex {}
    // SAFETY: as above.
    unsafe impl Sync for Mutex {}
    // SAFETY: plain use of the pthread API; the mutex does not move once it is in its `Arc`.
    let mutex = unsafe {
        let mut attributes: libc::pthread_mutexattr_t = std::mem::zeroed();
        libc::pthread_mutexattr_init(&mut attributes);
        libc::pthread_mutexattr_settype(&mut attributes, libc::PTHREAD_MUTEX_RECURSIVE);
        let mutex = Arc::new(Mutex(std::mem::zeroed::<libc::pthread_mutex_t>().into()));
        libc::pthread_mutex_init(mutex.0.get(), &attributes);
        mutex
    };
    let holder = spawn({
        let mutex = Arc::clone(&mutex);
        move || {
            // SAFETY: an initialized mutex; unlocked as often as locked.
            unsafe {
                assert_eq!(libc::pthread_mutex_lock(mutex.0.get()), 0);
                park();
                assert_eq!(libc::pthread_mutex_trylock(mutex.0.get()), 0, "still ours");
                assert_eq!(libc::pthread_mutex_unlock(mutex.0.get()), 0);
                park();
                assert_eq!(libc::pthread_mutex_unlock(mutex.0.get()), 0);
            }
        }
    });
    let other = spawn({
        let mutex = Arc::clone(&mutex);
        move || {
            // SAFETY: as above.
            unsafe {
                assert_eq!(libc::pthread_mutex_trylock(mutex.0.get()), libc::EBUSY);
                park();
                assert_eq!(libc::pthread_mutex_lock(mutex.0.get()), 0, "free by now");
                assert_eq!(libc::pthread_mutex_unlock(mutex.0.get()), 0);
            }
        }
    });
    let m = M::new();
    m.resume(&holder); // locks
    m.resume(&other); // on the same M: busy
    std::thread::scope(|scope| {
        // SAFETY: the goroutine moves to another M as a whole.
        struct Moved<'a>(&'a Go);
        // SAFETY: resumed by one M at a time; the spawner waits.
        unsafe impl Send for Moved<'_> {}
        let holder = Moved(&holder);
        scope.spawn(move || {
            let holder = holder;
            M::new().finish(holder.0);
        });
    });
    m.finish(&other);
    for go in [holder, other] {
        if let Some(payload) = go.take_panic() {
            std::panic::resume_unwind(payload);
        }
    }
}

#[test]
fn the_child_of_a_fork_can_go_on() {
    let _one = start();
    on_a_goroutine(|| {
        for uid in [false, true] {
            // SAFETY: the child calls only what a child may: it is one thread, and ends with `_exit`.
            unsafe {
                let pid = libc::fork();
                if pid == 0 {
                    let mut sound = libc::gettid() == libc::getpid();
                    sound &= stack_of(libc::pthread_self()).0 == here().0.limit() as usize;
                    if uid {
                        // In a child with a thread of its own libc must signal that one, not us.
                        let thread = std::thread::spawn(std::thread::park);
                        sound &= libc::setegid(libc::getegid()) == 0;
                        thread.thread().unpark();
                        sound &= thread.join().is_ok();
                        sound &= libc::setgid(libc::getgid()) == 0;
                    }
                    libc::_exit(if sound { 0 } else { 1 });
                }
                let mut status = -1;
                // The child may hang if we are wrong: it has ten seconds.
                let deadline = Instant::now() + Duration::from_secs(10);
                while libc::waitpid(pid, &mut status, libc::WNOHANG) == 0 {
                    if Instant::now() > deadline {
                        libc::kill(pid, libc::SIGKILL);
                        panic!("the child hangs (uid: {uid})");
                    }
                    std::thread::yield_now();
                }
                assert_eq!(status, 0, "uid: {uid}");
            }
        }
        use std::os::unix::process::CommandExt;
        // SAFETY: no preconditions.
        let uid = unsafe { libc::getuid() };
        let mut command = Command::new("true");
        assert!(command.uid(uid).status().unwrap().success());
    });
}

/// Compiles a shared library from C.
fn library(name: &str, source: &str, options: &[&str]) -> PathBuf {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (from, to) = (
        folder.join(format!("{name}.c")),
        folder.join(format!("lib{name}.so")),
    );
    std::fs::write(&from, source).unwrap();
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&to, &from])
        .args(options)
        .status()
        .expect("a C compiler, which Rust links with");
    assert!(status.success());
    to
}

fn open(path: &Path) -> *mut c_void {
    let name = CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: a terminated name of a library made here.
    unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) }
}

fn function<F: Copy>(handle: *mut c_void, name: &str) -> F {
    let name = CString::new(name).unwrap();
    // SAFETY: a terminated name; the caller says which type the function has.
    unsafe {
        let address = libc::dlsym(handle, name.as_ptr());
        assert!(!address.is_null());
        std::mem::transmute_copy(&address)
    }
}

type Get = extern "C" fn() -> c_int;
type Bump = extern "C" fn() -> c_int;

const INITIAL_EXEC: &str = r#"
    __thread int value __attribute__((tls_model("initial-exec"))) = 4242;
    __thread char pad[40] __attribute__((tls_model("initial-exec")));
    static int seen;
    __attribute__((constructor)) static void begin(void) { seen = value; value = 1; }
    int seen_by_constructor(void) { return seen; }
    int get(void) { return value; }
    int bump(void) { pad[3]++; return ++value; }
"#;
const GENERAL: &str = r#"
    static __thread int value = 7; static __thread char big[3000];
    int get(void) { return value; }
    int bump(void) { big[value % 3000]++; return ++value; }
"#;

/// Each goroutine counts for itself with the library's thread-local, which begins with `first`.
fn count_on_many(handle: *mut c_void, first: c_int) {
    let (get, bump): (Get, Bump) = (function(handle, "get"), function(handle, "bump"));
    let goes = (0..200)
        .map(|_| {
            spawn(move || {
                assert_eq!(get(), first, "pristine");
                for round in 1..5 {
                    assert_eq!(bump(), first + round);
                    park();
                    assert_eq!(get(), first + round);
                }
            })
        })
        .collect();
    for go in run_migrating(goes) {
        if let Some(payload) = go.take_panic() {
            std::panic::resume_unwind(payload);
        }
    }
}

#[test]
fn initial_exec_thread_locals_of_a_late_library_reach_every_block() {
    let _one = start();
    static GET: AtomicUsize = AtomicUsize::new(0);
    let path = library("ie", INITIAL_EXEC, &[]);
    // Two that exist before the library, one of which loads it.
    let m = M::new();
    let early = spawn(|| {
        park();
        // SAFETY: the address of `get`, stored below.
        let get = unsafe { std::mem::transmute::<usize, Get>(GET.load(Acquire)) };
        assert_eq!(get(), 4242);
    });
    m.resume(&early);
    let loader = spawn(move || {
        park();
        let handle = open(&path);
        assert!(!handle.is_null());
        let (get, seen): (Get, Get) = (
            function(handle, "get"),
            function(handle, "seen_by_constructor"),
        );
        assert_eq!(
            seen(),
            4242,
            "the constructor saw initialized thread-locals"
        );
        assert_eq!(
            get(),
            4242,
            "ours; the constructor's change is the thread's"
        );
        GET.store(handle as usize, Release);
    });
    m.finish(&loader);
    let handle = GET.load(Acquire) as *mut c_void;
    GET.store(function::<usize>(handle, "get"), Release);
    m.finish(&early);
    for go in [loader, early] {
        if let Some(payload) = go.take_panic() {
            std::panic::resume_unwind(payload);
        }
    }
    // New slots, then used ones, which must be pristine again.
    count_on_many(handle, 4242);
    count_on_many(handle, 4242);
}

/// A goroutine that has used a library finds a reloaded one as new.
#[test]
fn initial_exec_thread_locals_begin_anew_with_each_life_of_a_library() {
    let _one = start();
    static HANDLE: AtomicUsize = AtomicUsize::new(0);
    // Nothing changes for it, though libc notices loads and unloads meanwhile.
    let stays = library("stays", INITIAL_EXEC, &[]);
    let path = library("again", INITIAL_EXEC, &[]);
    let stays = open(&stays) as usize;
    let bump = |handle: usize| function::<Bump>(handle as *mut c_void, "bump")();
    let m = M::new();
    let user = spawn(move || {
        for life in 1..4 {
            let handle = HANDLE.load(Acquire);
            assert_eq!(bump(handle), 4243, "life {life}");
            assert_eq!(bump(handle), 4244);
            assert_eq!(bump(stays), 4242 + life);
            park();
        }
    });
    for _ in 1..4 {
        let handle = open(&path);
        HANDLE.store(handle as usize, Release);
        m.resume(&user);
        // SAFETY: from `dlopen`; the goroutine looks its functions up anew.
        unsafe {
            libc::dlclose(handle);
            let name = CString::new(path.to_str().unwrap()).unwrap();
            let left = libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD);
            assert!(left.is_null(), "it is unloaded");
        }
    }
    if let Some(payload) = user.take_panic() {
        std::panic::resume_unwind(payload);
    }
    m.finish(&user);
}

/// Whoever looks while libc relocates the library does not see its place yet.
#[test]
fn a_look_in_the_midst_of_a_load_does_not_count() {
    let _one = start();
    // Relocated first, and slowly.
    let slow = r#"
        #include <time.h>
        static int one(void) { return 1; }
        static void *choose(void) {
            struct timespec time = {0, 100000000};
            long result;
            __asm__ volatile("syscall" : "=a"(result) : "a"(35L), "D"(&time), "S"(0L)
                             : "rcx", "r11", "memory");
            return one;
        }
        int slow(void) __attribute__((ifunc("choose")));
        int (*chosen)(void) = slow;
    "#;
    let slow = library("slow", slow, &[]);
    let folder = slow.parent().unwrap().to_str().unwrap();
    let needs = format!("{INITIAL_EXEC} int slow(void); int use(void) {{ return slow(); }}");
    let rpath = format!("-Wl,-rpath,{folder}");
    let needs = library("needs", &needs, &[&format!("-L{folder}"), "-lslow", &rpath]);
    // It takes over a number that another had.
    let had = open(&library("had", GENERAL, &[]));
    open(&library("next", GENERAL, &[]));
    // SAFETY: from `dlopen`.
    unsafe { libc::dlclose(had) };
    static GET: AtomicUsize = AtomicUsize::new(0);
    let m = M::new();
    let user = spawn(|| {
        park();
        // SAFETY: the address of `get`, stored below.
        let get = unsafe { std::mem::transmute::<usize, Get>(GET.load(Acquire)) };
        assert_eq!(get(), 4242);
    });
    m.resume(&user);
    let loader = std::thread::spawn(move || open(&needs) as usize);
    while !loader.is_finished() {
        tls::check_loaded();
        std::thread::yield_now();
    }
    let handle = loader.join().unwrap() as *mut c_void;
    assert!(!handle.is_null());
    GET.store(function::<usize>(handle, "get"), Release);
    m.finish(&user);
    if let Some(payload) = user.take_panic() {
        std::panic::resume_unwind(payload);
    }
}

#[test]
fn dynamic_thread_locals_of_late_libraries_are_the_goroutines_own() {
    let _one = start();
    for i in 0..20 {
        let path = library(&format!("gd{i}"), GENERAL, &[]);
        count_on_many(open(&path), 7);
    }
}

#[test]
fn what_libc_keeps_for_a_goroutine_is_freed() {
    let _one = start();
    let path = library("kept", GENERAL, &[]);
    let bump: Bump = function(open(&path), "bump");
    let keys: Arc<Vec<_>> = Arc::new(
        (0..40)
            .map(|_| {
                let mut key = 0;
                // SAFETY: `key` is valid for a write.
                assert_eq!(unsafe { libc::pthread_key_create(&mut key, None) }, 0);
                key
            })
            .collect(),
    );
    let round = || {
        let goes = (0..500).map(|_| {
            let keys = Arc::clone(&keys);
            spawn(move || {
                assert_eq!(bump(), 8); // 3,000 bytes of dynamic thread-locals
                // SAFETY: a terminated name, and keys that exist.
                unsafe {
                    libc::dlsym(libc::RTLD_DEFAULT, c"no such symbol".as_ptr()); // a message
                    for key in keys.iter() {
                        libc::pthread_setspecific(*key, std::ptr::dangling()); // more than one block
                    }
                }
                assert!(format!("{:?}", std::thread::current()).contains("Thread"));
            })
        });
        run_migrating(goes.collect());
        // SAFETY: no preconditions.
        unsafe { libc::mallinfo2() }.uordblks
    };
    round();
    let before = round();
    let after = (0..3).map(|_| round()).max().unwrap();
    assert!(
        after < before + (64 << 10),
        "{} bytes lost by 1,500 goroutines",
        after - before
    );
    for key in keys.iter() {
        // SAFETY: no goroutine uses it any more.
        unsafe { libc::pthread_key_delete(*key) };
    }
}

#[test]
fn a_library_that_needs_too_much_ends_the_process_with_a_text() {
    const NAME: &str = "a_library_that_needs_too_much_ends_the_process_with_a_text";
    if child::role().as_deref() == Some("too much") {
        let _one = start();
        let big = INITIAL_EXEC.replace("pad[40]", "pad[900]");
        let path = library("big", &big, &[]);
        on_a_goroutine(move || {
            open(&path);
        });
        return;
    }
    let output = child::run(NAME, "too much", &[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        text.contains("gort: fatal:") && text.contains("GORT_TLS_SURPLUS="),
        "{text}"
    );
    // What the text says helps.
    let output = child::run(NAME, "too much", &[("GORT_TLS_SURPLUS", "1024")]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_library_with_restartable_sequences_finds_none_on_a_goroutine() {
    const NAME: &str = "a_library_with_restartable_sequences_finds_none_on_a_goroutine";
    if child::role().as_deref() == Some("rseq") {
        let _one = start();
        let look: extern "C" fn() -> c_int = function(libc::RTLD_DEFAULT, "cpu_of_rseq");
        let thread = look();
        let on_goroutine = Arc::new(AtomicUsize::new(0));
        on_a_goroutine({
            let on_goroutine = Arc::clone(&on_goroutine);
            move || on_goroutine.store(look() as usize, Relaxed)
        });
        assert!(thread >= 0, "libc registered the thread");
        assert_eq!(on_goroutine.load(Relaxed) as c_int, -1, "not registered");
        return;
    }
    // Looked up: a reference would make this program one that uses it.
    // SAFETY: a constant of libc, if it has it; the area lies in every thread's block.
    let cpu_id = unsafe {
        let offset = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()).cast::<isize>();
        if offset.is_null() {
            return;
        }
        ((gort_arch::context::fs_base() as isize + *offset + 4) as *const c_int).read()
    };
    // Where the kernel has no restartable sequences there is nothing to see.
    if cpu_id < 0 {
        return;
    }
    let source = r#"
        #include <stddef.h>
        extern const ptrdiff_t __rseq_offset;
        int cpu_of_rseq(void) {
            return *(volatile int *)((char *)__builtin_thread_pointer() + __rseq_offset + 4);
        }
    "#;
    let path = library("rseq", source, &[]);
    let output = child::run(NAME, "rseq", &[("LD_PRELOAD", path.to_str().unwrap())]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_failed_dlopen_tells_why() {
    let _one = start();
    let check = || {
        assert!(open(Path::new("/no/such/library.so")).is_null());
        // SAFETY: not null after a failure, and terminated.
        let text = unsafe { std::ffi::CStr::from_ptr(libc::dlerror()) }.to_string_lossy();
        assert!(text.contains("/no/such/library.so"), "{text}");
    };
    check();
    on_a_goroutine(check);
}

#[test]
fn a_library_finds_its_own_neighbours() {
    let _one = start();
    // A library that loads another by its bare name, with a run path of its own: libc looks at who
    // called `dlopen`.
    let name = "-Wl,-soname,libneighbour.so";
    let neighbour = library("neighbour", GENERAL, &[name]);
    let folder = neighbour.parent().unwrap().to_str().unwrap();
    let source = r#"
        #include <dlfcn.h>
        void *load(const char *name) { return dlopen(name, RTLD_NOW); }
    "#;
    let path = library("finder", source, &[&format!("-Wl,-rpath,{folder}"), "-ldl"]);
    let load: extern "C" fn(*const c_char) -> *mut c_void = function(open(&path), "load");
    let call = move || {
        assert!(load(c"libno_such_neighbour.so".as_ptr()).is_null());
        let bare = c"libneighbour.so".as_ptr();
        let (handle, again) = (load(bare), load(bare));
        assert!(!handle.is_null());
        assert_eq!(handle, again);
        // SAFETY: from `dlopen`; a terminated name.
        unsafe {
            libc::dlclose(handle);
            libc::dlclose(again);
            let left = libc::dlopen(bare, libc::RTLD_NOW | libc::RTLD_NOLOAD);
            assert!(left.is_null(), "as often closed as opened");
        }
    };
    call();
    on_a_goroutine(call);
}

#[test]
fn before_the_start_everything_is_libcs() {
    const NAME: &str = "before_the_start_everything_is_libcs";
    if child::role().as_deref() != Some("before") {
        let output = child::run(NAME, "before", &[]);
        return assert!(output.status.success(), "{output:?}");
    }
    assert!(tls::support().is_none());
    // SAFETY: plain use of the C library, with locals.
    unsafe {
        let local = 0_u8;
        let (low, high) = stack_of(libc::pthread_self());
        assert!((low..high).contains(&(&raw const local as usize)));
        assert_eq!(i64::from(libc::gettid()), libc::syscall(libc::SYS_gettid));
        assert!(libc::sched_getcpu() >= 0);
        assert_eq!(libc::setegid(libc::getegid()), 0);
        let mut attributes: libc::pthread_mutexattr_t = std::mem::zeroed();
        libc::pthread_mutexattr_init(&mut attributes);
        assert_eq!(
            pthread_mutexattr_setprotocol(&mut attributes, libc::PTHREAD_PRIO_INHERIT),
            0
        );
    }
    let path = library("before", GENERAL, &[]);
    let get: Get = function(open(&path), "get");
    assert_eq!(get(), 7);
    std::thread::spawn(move || assert_eq!(get(), 7))
        .join()
        .unwrap();
}

#[test]
fn all_of_this_holds_without_fsgsbase() {
    child::suite_with(&[("GORT_FSGSBASE", "0")]);
}

#[test]
fn all_of_this_holds_with_the_threads_tid() {
    child::suite_with(&[("GORT_TLS_TID", "thread")]);
}
