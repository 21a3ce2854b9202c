//! How to get to each place, and make a call there.

use std::cell::RefCell;
use std::future::Future;
use std::io::{PipeReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use crate::calls::{self, Act};
use crate::{Outcome, Place};

/// How long a child of `fork` may take, which has no watchdog.
const CHILD_SECONDS: u32 = 20;

/// Stands before a child's outcome, and behind what else it has written.
const TOLD: &str = "\noutcome: ";

/// The payload of panics that take a call to its place.
struct OnPurpose;

/// Makes a call in a place, and says how it ended.
///
/// # Panics
///
/// The place is one that a process reaches once, at its end: `at_exit` and the thread-locals of `main`.
pub fn make(place: Place, act: Act) -> Outcome {
    // A child of a process in which the runtime has not been started may start it.
    if place.is_forked() {
        in_goroutine(|| ());
    }
    match place {
        Place::Forked => return gort::go(|| in_child(act)).join().expect("it is caught"),
        Place::ForkedThread => {
            return thread::spawn(|| in_child(act))
                .join()
                .expect("it is caught");
        }
        _ => {}
    }
    let (late, told) = Late::new(act);
    match place {
        Place::Goroutine => in_goroutine(move || drop(late)),
        Place::OwnThread => {
            let started = gort::Builder::new().own_thread().go(move || drop(late));
            started.expect("a thread").join().expect("it is caught");
        }
        Place::Locked => in_goroutine(move || {
            let _guard = gort::lock_os_thread();
            drop(late);
        }),
        Place::Blocking => in_goroutine(move || gort::blocking(|| drop(late))),
        Place::Thread => on_thread(move || drop(late)),
        Place::First => drop(late),
        Place::Unwinding => in_goroutine(move || unwind(late)),
        Place::UnwindingThread => on_thread(move || unwind(late)),
        Place::ThreadLocal => in_goroutine(move || LATE.set(Some(late))),
        Place::ThreadLocalFirst => on_thread(move || LATE.set(Some(late))),
        Place::ThreadLocalLast => on_thread(move || {
            LATE.set(Some(late));
            // Now gort has one, which is destroyed before ours.
            gort::sync::Once::new().call_once(|| ());
            gort::block_on(async {});
        }),
        Place::Key => in_goroutine(move || leave_in_key(late)),
        Place::KeyOfThread => on_thread(move || leave_in_key(late)),
        Place::ScopeBody => in_goroutine(move || in_scope(late, None)),
        Place::ScopeChild => in_goroutine(move || {
            let (body, _) = Late::new(Box::new(|| ()));
            in_scope(body, Some(late));
        }),
        Place::Future => in_goroutine(move || gort::block_on(async move { drop(late) })),
        Place::FutureOnThread => {
            on_thread(move || gort::block_on(async move { drop(late) }));
        }
        Place::Task => {
            let task = gort::go_async(async move { drop(late) });
            task.join().expect("what panics is caught");
        }
        Place::Waker => in_goroutine(move || {
            let (s, r) = gort::chan::bounded(1);
            let mut future = pin!(r.recv_async());
            assert!(poll_with(late, future.as_mut()).is_pending());
            s.send(()).expect("there is a receiver");
        }),
        Place::WakerOfTimer => {
            let timer = gort::time::Timer::new(Duration::from_secs(3600));
            let mut future = pin!(timer.chan().recv_async());
            assert!(poll_with(late, future.as_mut()).is_pending());
            timer.reset(Duration::ZERO);
            return told.recv().expect("the waker is called");
        }
        Place::WakerOfEnd => {
            let (go_on, may_go_on) = gort::chan::bounded::<()>(0);
            let mut handle = pin!(gort::go(move || _ = may_go_on.recv()));
            assert!(poll_with(late, handle.as_mut()).is_pending());
            drop(go_on);
            return told.recv().expect("the waker is called");
        }
        Place::ValueDrop => in_goroutine(move || {
            let (s, r) = gort::chan::bounded(1);
            s.send(late).map_err(drop).expect("there is room");
            drop(r);
        }),
        Place::ResultDrop => {
            let (go_on, may_go_on) = gort::chan::bounded::<()>(0);
            drop(gort::go(move || {
                let _ = may_go_on.recv();
                late
            }));
            drop(go_on);
            return told.recv().expect("the result is dropped");
        }
        Place::PanicHook => {
            *IN_HOOK.lock().unwrap() = Some(late);
            let ended = gort::go(|| panic::panic_any(OnPurpose)).join();
            ended.expect_err("it panics");
        }
        Place::Forked
        | Place::ForkedThread
        | Place::AtExit
        | Place::AtExitOfGoroutine
        | Place::ThreadLocalOfMain => unreachable!("{place} is not reached by a drop"),
    }
    told.try_recv().expect("the call has been made")
}

/// A call that is made when this is dropped.
pub struct Late {
    act: Option<Act>,
    tell: Sender<Outcome>,
}

impl Late {
    /// The call, and where it is told how it ended.
    pub fn new(act: Act) -> (Late, Receiver<Outcome>) {
        let (tell, told) = channel();
        let act = Some(act);
        (Late { act, tell }, told)
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        if let Some(act) = self.act.take() {
            // Nobody listens any more if the place is one that the process does not leave.
            let _ = self.tell.send(Outcome::of(act));
        }
    }
}

impl std::fmt::Debug for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad("Late { .. }")
    }
}

fn in_goroutine(f: impl FnOnce() + Send + 'static) {
    gort::go(f).join().expect("what panics is caught");
}

fn on_thread(f: impl FnOnce() + Send + 'static) {
    thread::spawn(f).join().expect("what panics is caught");
}

/// Drops it while a panic unwinds.
fn unwind(late: Late) {
    let unwinds = AssertUnwindSafe(|| {
        let _late = late;
        panic::panic_any(OnPurpose);
    });
    assert!(panic::catch_unwind(unwinds).is_err());
}

/// Drops it while the body of a scope unwinds and goroutines of the scope run; and `child` in one of these.
fn in_scope(body: Late, child: Option<Late>) {
    let (unwound, is_unwound) = gort::chan::bounded::<()>(0);
    let unwinds = AssertUnwindSafe(|| {
        gort::scope(|s| {
            // Dropped last.
            let _unwound = unwound;
            for _ in 0..3 {
                s.go(|| is_unwound.recv());
            }
            s.go(|| {
                let _ = is_unwound.recv();
                drop(child);
            });
            let _body = body;
            panic::panic_any(OnPurpose);
        });
    });
    assert!(panic::catch_unwind(unwinds).is_err());
}

thread_local! {
    static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
}

/// Does `f` when the thread-locals of the current goroutine or thread are destroyed.
pub fn at_end_of_thread(f: impl FnOnce() + Send + 'static) {
    LATE.set(Some(Late::new(Box::new(f)).0));
}

/// Drops it in the destructor of a key.
fn leave_in_key(late: Late) {
    unsafe extern "C" fn destroy(late: *mut libc::c_void) {
        // SAFETY: a value of the key is a leaked box, which libc gives us once.
        drop(unsafe { Box::from_raw(late.cast::<Late>()) });
    }
    static KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();
    let key = *KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: the key is written; the destructor takes what is set below.
        let error = unsafe { libc::pthread_key_create(&mut key, Some(destroy)) };
        assert_eq!(error, 0);
        key
    });
    let late = Box::into_raw(Box::new(late));
    // SAFETY: the key is there.
    assert_eq!(unsafe { libc::pthread_setspecific(key, late.cast()) }, 0);
}

/// What a child says that was forked while another thread had a lock. It may not go on then, whatever it calls.
const AT_A_BAD_MOMENT: &str = "gort: fatal: a lock that another thread held was taken after fork";

/// Makes a call in a child, and says how the child ended. It is another child's turn if it was born at a bad
/// moment: that is said as it should be, but says nothing of the call.
fn in_child(act: Act) -> Outcome {
    let mut act = Some(act);
    loop {
        let outcome = in_one_child(&mut act);
        match &outcome {
            Outcome::Ended(libc::SIGABRT, text) if text.contains(AT_A_BAD_MOMENT) => {}
            _ => return outcome,
        }
    }
}

/// Makes a call in a child, of which the parent keeps its own.
fn in_one_child(act: &mut Option<Act>) -> Outcome {
    let (output, mut input) = std::io::pipe().expect("a pipe");
    // SAFETY: the child does what the place is about: whatever safe code may do. libc lets it allocate.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "no fork");
    if pid == 0 {
        // SAFETY: a descriptor that is ours; what stderr was is not needed here. SIGALRM is not handled.
        unsafe {
            libc::dup2(input.as_raw_fd(), 2);
            libc::alarm(CHILD_SECONDS);
        }
        calls::set_child();
        let outcome = act.take().map(Outcome::of);
        let told = outcome.map(|outcome| format!("{TOLD}{outcome}"));
        let _ = input.write_all(told.unwrap_or_default().as_bytes());
        // SAFETY: takes any status.
        unsafe { libc::_exit(0) };
    }
    drop(input);
    gort::blocking(|| outcome_of_child(pid, output))
}

fn outcome_of_child(pid: libc::pid_t, mut output: PipeReader) -> Outcome {
    let mut text = String::new();
    output.read_to_string(&mut text).expect("the child's text");
    let mut status = 0;
    // SAFETY: our child; the status is written.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    let status = ExitStatus::from_raw(status);
    let told = text.rsplit_once(TOLD).map(|(_, told)| told);
    if let (true, Some(outcome)) = (status.success(), told.and_then(Outcome::parse)) {
        return outcome;
    }
    let ended = status.signal().or(status.code());
    Outcome::Ended(ended.unwrap_or(0), text)
}

/// A waker that drops what it has at its first call.
struct Wakes(Mutex<Option<Late>>);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        let late = self.0.lock().unwrap().take();
        drop(late);
    }
}

/// Polls for a waker that drops `late`.
fn poll_with<F: Future>(late: Late, future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::new(Wakes(Mutex::new(Some(late)))));
    future.poll(&mut Context::from_waker(&waker))
}

/// What the hook of the next panic on purpose drops.
static IN_HOOK: Mutex<Option<Late>> = Mutex::new(None);

/// Panics are told as outcomes; the hook is a place.
pub fn set_panic_hook() {
    panic::set_hook(Box::new(|info| {
        if info.payload().is::<OnPurpose>() {
            let late = IN_HOOK.lock().unwrap().take();
            drop(late);
        }
    }));
}

/// Does `f` in a function called at `exit`.
pub fn at_exit(f: impl FnOnce() + Send + 'static) {
    static AT_EXIT: Mutex<Option<Act>> = Mutex::new(None);
    extern "C" fn handler() {
        let f = AT_EXIT.lock().unwrap().take();
        if let Some(f) = f {
            f();
        }
    }
    *AT_EXIT.lock().unwrap() = Some(Box::new(f));
    // SAFETY: the handler may be called at any time.
    assert_eq!(unsafe { libc::atexit(handler) }, 0);
}
