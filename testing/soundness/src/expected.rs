//! The places, and what may be expected there.

use std::fmt;

/// Where a call is made. Each name is also the program's argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In a goroutine like any other.
    Goroutine,
    /// In a goroutine with a thread of its own.
    OwnThread,
    /// In a goroutine that is locked to its thread.
    Locked,
    /// In a goroutine, inside of `blocking`.
    Blocking,
    /// On a plain OS thread.
    Thread,
    /// As the first thing in the life of a process, on its main thread.
    First,
    /// In a goroutine, in a destructor while a panic unwinds.
    Unwinding,
    /// The same on a plain OS thread.
    UnwindingThread,
    /// In the destructor of a goroutine's thread-local.
    ThreadLocal,
    /// In the destructor of a plain OS thread's thread-local, of which gort knows nothing yet.
    ThreadLocalFirst,
    /// In the destructor of a plain OS thread's thread-local, which runs after gort's own.
    ThreadLocalLast,
    /// In the destructor of a thread-local of the main thread, when `main` has returned.
    ThreadLocalOfMain,
    /// In a goroutine, in the destructor of a `pthread_key`.
    Key,
    /// The same on a plain OS thread.
    KeyOfThread,
    /// In the child of a goroutine's `fork`.
    Forked,
    /// In the child of a plain OS thread's `fork`.
    ForkedThread,
    /// In a function registered with `atexit`, after `main` has returned.
    AtExit,
    /// The same, when a goroutine has called `exit`.
    AtExitOfGoroutine,
    /// In a scope whose body unwinds while goroutines of the scope run: in the body.
    ScopeBody,
    /// The same, but in a goroutine of the scope.
    ScopeChild,
    /// In a future that a goroutine polls.
    Future,
    /// In a future that a plain OS thread polls.
    FutureOnThread,
    /// In a future that is a goroutine without a stack.
    Task,
    /// In a waker that a channel's sender calls.
    Waker,
    /// In a waker that is called because a timer is due.
    WakerOfTimer,
    /// In a waker that is called because a goroutine has ended: at its very end.
    WakerOfEnd,
    /// In the drop of a value that nobody received from its channel.
    ValueDrop,
    /// In the drop of a goroutine's result that nobody asks for.
    ResultDrop,
    /// In the hook of a panic of a goroutine.
    PanicHook,
}

impl Place {
    /// All of them.
    pub const ALL: [Place; 29] = [
        Place::Goroutine,
        Place::OwnThread,
        Place::Locked,
        Place::Blocking,
        Place::Thread,
        Place::First,
        Place::Unwinding,
        Place::UnwindingThread,
        Place::ThreadLocal,
        Place::ThreadLocalFirst,
        Place::ThreadLocalLast,
        Place::ThreadLocalOfMain,
        Place::Key,
        Place::KeyOfThread,
        Place::Forked,
        Place::ForkedThread,
        Place::AtExit,
        Place::AtExitOfGoroutine,
        Place::ScopeBody,
        Place::ScopeChild,
        Place::Future,
        Place::FutureOnThread,
        Place::Task,
        Place::Waker,
        Place::WakerOfTimer,
        Place::WakerOfEnd,
        Place::ValueDrop,
        Place::ResultDrop,
        Place::PanicHook,
    ];

    /// The place of this name.
    pub fn named(name: &str) -> Option<Place> {
        let mut all = Place::ALL.into_iter();
        all.find(|place| place.to_string() == name)
    }

    /// Whether the call is not made by a goroutine.
    pub fn is_plain_thread(self) -> bool {
        matches!(
            self,
            Place::Thread
                | Place::First
                | Place::UnwindingThread
                | Place::ThreadLocalFirst
                | Place::ThreadLocalLast
                | Place::ThreadLocalOfMain
                | Place::KeyOfThread
                | Place::ForkedThread
                | Place::AtExit
                | Place::FutureOnThread
        )
    }

    /// Whether the call is made in the child of a `fork`.
    pub fn is_forked(self) -> bool {
        matches!(self, Place::Forked | Place::ForkedThread)
    }

    /// Whether the call is made in a destructor while a panic unwinds, or in the panic's hook.
    pub fn is_unwinding(self) -> bool {
        matches!(
            self,
            Place::Unwinding | Place::UnwindingThread | Place::ScopeBody | Place::PanicHook
        )
    }

    /// Whether the goroutine that makes the call destroys its thread-locals.
    pub fn is_ending(self) -> bool {
        matches!(self, Place::ThreadLocal | Place::Key)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a call must do in a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// Return, having done what it should.
    Works,
    /// Panic with a message that contains this.
    Panics(&'static str),
    /// Work or panic so, by chance: by the order in which libc destroys what is std's.
    WorksOrPanics(&'static str),
    /// Unwind as `goexit` does.
    Exits,
    /// End the process by this signal, or with this status, and say this on stderr.
    Ends(i32, &'static str),
}
