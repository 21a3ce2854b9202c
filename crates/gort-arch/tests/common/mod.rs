//! A scheduler of fifty lines, to run goroutines on real slots: each M is a thread that resumes what
//! it is told to.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::vec_box, reason = "a goroutine's address must not change")]

pub(crate) mod child;

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null;
use std::sync::{Mutex, MutexGuard};

use gort_arch::context;
use gort_arch::stack::{self, Class, Slot};
use gort_arch::tls::{self, Mode, Request, ThreadTls};

/// One goroutine. Pinned in a box: its thread-local names it. Cells, because both sides of a switch
/// use it.
pub(crate) struct Go {
    pub(crate) slot: Slot,
    sp: Cell<usize>,
    m: Cell<*const M>,
    f: Cell<Option<Box<dyn FnOnce() + Send>>>,
    done: Cell<bool>,
    panic: Cell<Option<Box<dyn Any + Send>>>,
}

// SAFETY: a goroutine is resumed by one M at a time; between, it goes through a channel.
unsafe impl Send for Go {}

/// One thread that runs goroutines.
pub(crate) struct M {
    tls: UnsafeCell<ThreadTls>,
    sp: Cell<usize>,
    /// Whether it cleans the blocks of those that end on it.
    pub(crate) cleans: Cell<bool>,
}

thread_local! {
    static CURRENT: Cell<*const Go> = const { Cell::new(null()) };
}

/// Starts the runtime, and keeps the tests of a program apart.
pub(crate) fn start() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    let guard = LOCK.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let support = tls::init(Request::Auto);
    assert_eq!(support.mode, Mode::Own, "{}", support.reason);
    tls::set_current_hook(current);
    guard
}

#[inline(never)]
fn current_go() -> Option<&'static Go> {
    // SAFETY: null, or the goroutine that runs this code, which lives as long as it runs.
    unsafe { CURRENT.get().as_ref() }
}

fn current() -> Option<(Slot, *mut ThreadTls)> {
    // SAFETY: a goroutine runs on the M that it names.
    current_go().map(|go| (go.slot, unsafe { &*go.m.get() }.tls.get()))
}

/// Whether this code runs on a goroutine.
pub(crate) fn on_goroutine() -> bool {
    current_go().is_some()
}

/// The slot of the running goroutine and the M under it.
pub(crate) fn here() -> (Slot, *mut ThreadTls) {
    current().expect("on a goroutine")
}

impl Go {
    pub(crate) fn is_done(&self) -> bool {
        self.done.get()
    }

    /// Where a suspended one was saved.
    pub(crate) fn sp(&self) -> usize {
        self.sp.get()
    }

    /// What the goroutine panicked with.
    pub(crate) fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        self.panic.take()
    }
}

impl M {
    /// The calling thread.
    pub(crate) fn new() -> M {
        // SAFETY: used on this thread only, by construction of the tests.
        let tls = unsafe { ThreadTls::capture() };
        M {
            tls: UnsafeCell::new(tls),
            sp: Cell::new(0),
            cleans: Cell::new(false),
        }
    }

    /// Runs `go` until it yields or ends.
    pub(crate) fn resume(&self, go: &Go) {
        assert!(!go.done.get());
        let fs = go.slot.fs();
        go.m.set(self);
        // SAFETY: `go` is suspended and nobody else resumes it; its slot is handed out. We are on our
        // own FS.
        unsafe {
            tls::enter(&mut *self.tls.get(), fs);
            context::switch(self.sp.as_ptr(), go.sp.get(), fs, 0);
            tls::leave(&mut *self.tls.get(), fs);
            if go.done.get() {
                if self.cleans.get() {
                    tls::clean(go.slot);
                }
                stack::release_batch(&[go.slot]);
            }
        }
    }

    /// Runs `go` to its end.
    pub(crate) fn finish(&self, go: &Go) {
        while !go.done.get() {
            self.resume(go);
        }
    }

    fn fs(&self) -> usize {
        // SAFETY: nobody holds a reference to it over this call.
        unsafe { &*self.tls.get() }.fs()
    }
}

/// A goroutine that is ready to run `f`.
pub(crate) fn go(class: Class, f: impl FnOnce() + Send + 'static) -> Box<Go> {
    let slot = stack::allocate(class).expect("a slot");
    let f: Box<dyn FnOnce() + Send> = Box::new(f);
    let go = Box::new(Go {
        slot,
        sp: Cell::new(0),
        m: Cell::new(null()),
        f: Cell::new(Some(f)),
        done: Cell::new(false),
        panic: Cell::new(None),
    });
    let data = &raw const *go;
    // SAFETY: the slot is idle and ours; the thread-local lies at that offset in its block.
    unsafe {
        ((slot.fs() as isize + own_offset()) as *mut *const Go).write(data);
        go.sp
            .set(context::prepare(slot.top(), entry, data as usize));
    }
    go
}

/// Where in a block the thread-local of this module lies.
pub(crate) fn own_offset() -> isize {
    let address = CURRENT.with(|c| std::ptr::from_ref(c) as usize);
    tls::thread_local_offset(address).expect("static")
}

/// As [`go`], on a stack of 256 KiB.
pub(crate) fn spawn(f: impl FnOnce() + Send + 'static) -> Box<Go> {
    go(Class::for_size(256 << 10).unwrap(), f)
}

/// Gives the M back; returns when somebody resumes us, maybe another M.
pub(crate) fn park() {
    let go = current_go().expect("on a goroutine");
    // SAFETY: `go` is us, and its M waits in `resume`.
    unsafe {
        let m = &*go.m.get();
        context::switch(go.sp.as_ptr(), m.sp.get(), m.fs(), 0);
    }
}

unsafe extern "C" fn entry(data: usize, _arg: usize) -> ! {
    // SAFETY: the `Go` outlives the goroutine.
    let go = unsafe { &*(data as *const Go) };
    let f = go.f.take().expect("starts once");
    go.panic.set(catch_unwind(AssertUnwindSafe(f)).err());
    // SAFETY: the last user code; then away for good, to the M that waits in `resume`.
    unsafe {
        tls::run_destructors();
        go.done.set(true);
        let m = &*go.m.get();
        context::switch_final(m.sp.get(), m.fs(), 0)
    }
}

/// Runs all goroutines, one resume each in turn, on two Ms that swap them at every round.
pub(crate) fn run_migrating(mut goes: Vec<Box<Go>>) -> Vec<Box<Go>> {
    std::thread::scope(|scope| {
        let (to_other, from_main) = std::sync::mpsc::channel::<Vec<Box<Go>>>();
        let (to_main, from_other) = std::sync::mpsc::channel::<Vec<Box<Go>>>();
        scope.spawn(move || {
            let m = M::new();
            for goes in from_main {
                goes.iter()
                    .filter(|go| !go.is_done())
                    .for_each(|go| m.resume(go));
                if to_main.send(goes).is_err() {
                    break;
                }
            }
        });
        let m = M::new();
        while goes.iter().any(|go| !go.done.get()) {
            goes.iter()
                .filter(|go| !go.is_done())
                .for_each(|go| m.resume(go));
            to_other.send(goes).unwrap();
            goes = from_other.recv().unwrap();
        }
        drop(to_other);
        goes
    })
}

/// The C library's error number of this thread.
pub(crate) fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap()
}
