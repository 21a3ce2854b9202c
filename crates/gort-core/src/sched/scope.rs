//! What a scope knows of its goroutines; the API is `gort::scope`'s, in the shape of std's.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use super::entry::{SpawnOptions, spawn_unchecked};
use super::join::{JoinHandle, Outcome};
use super::park;
use crate::g::{self, GRef};
use crate::lock::Mutex;
use crate::wait_reason::WaitReason;

/// Shared by a scope and its goroutines.
#[derive(Debug)]
pub struct ScopeData {
    state: Mutex<State>,
    panicked: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// Goroutines that have not ended.
    running: usize,
    /// The scope's owner, once it waits.
    waiter: Option<GRef>,
}

impl ScopeData {
    fn new() -> ScopeData {
        ScopeData {
            state: Mutex::new(State {
                running: 0,
                waiter: None,
            }),
            panicked: AtomicBool::new(false),
        }
    }

    /// A goroutine of the scope panicked and nobody took the panic.
    pub(super) fn note_panic(&self) {
        self.panicked.store(true, Ordering::Relaxed);
    }

    fn begin(&self) {
        self.state.lock().running += 1;
    }

    /// One goroutine has ended: nothing of it uses what the scope's owner lent any more.
    ///
    /// # Safety
    ///
    /// `this` is the scope of a goroutine that was counted with `begin` and calls this once.
    pub(super) unsafe fn ended(this: NonNull<ScopeData>) {
        let waiter = {
            // SAFETY: the owner waits until `running` is 0, which it sees under this lock only after
            // we have let go of it; releasing touches no more than the word's address.
            let mut state = unsafe { this.as_ref() }.state.lock();
            state.running -= 1;
            if state.running == 0 {
                state.waiter.take()
            } else {
                None
            }
        };
        if let Some(waiter) = waiter {
            park::ready(waiter);
        }
    }

    #[track_caller]
    fn wait(&self) {
        // Not under the lock: it allocates on a plain thread.
        let waiter = g::current();
        {
            let mut state = self.state.lock();
            if state.running == 0 {
                return;
            }
            state.waiter = Some(waiter);
        }
        park::park(WaitReason::Join);
    }
}

/// A scope in which goroutines may borrow what outlives it.
pub struct Scope<'scope, 'env: 'scope> {
    data: ScopeData,
    /// Invariance, as std's `Scope` has it: `'scope` may neither shrink nor grow.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

/// Runs `f` with a scope and waits for all its goroutines on every path.
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope {
        data: ScopeData::new(),
        scope: PhantomData,
        env: PhantomData,
    };
    let _lends = g::lend();
    let result = panic::catch_unwind(AssertUnwindSafe(|| f(&scope)));
    scope.data.wait();
    match result {
        Err(payload) => panic::resume_unwind(payload),
        Ok(_) if scope.data.panicked.load(Ordering::Relaxed) => {
            panic!("a scoped goroutine panicked")
        }
        Ok(value) => value,
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a goroutine in the scope.
    ///
    /// # Errors
    ///
    /// As `spawn`.
    pub fn spawn<F, T>(
        &'scope self,
        f: F,
        options: SpawnOptions,
    ) -> std::io::Result<ScopedHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        /// Counts the goroutine out that there never was, also when its closure's drop unwinds.
        struct Begun(NonNull<ScopeData>);
        impl Drop for Begun {
            fn drop(&mut self) {
                // SAFETY: counted by `begin`; there is no goroutine that would.
                unsafe { ScopeData::ended(self.0) };
            }
        }
        self.data.begin();
        let data = NonNull::from(&self.data);
        let begun = Begun(data);
        // SAFETY: the scope's owner waits, on every path, until the goroutine has called `ended`;
        // closure and result borrow what outlives 'scope, so at least until then.
        let handle = unsafe { spawn_unchecked(f, options, Some(data)) }?;
        // The goroutine does it.
        std::mem::forget(begun);
        Ok(ScopedHandle {
            handle: Some(handle),
            data: &self.data,
        })
    }
}

/// A join handle inside a scope.
pub struct ScopedHandle<'scope, T> {
    handle: Option<JoinHandle<T>>,
    data: &'scope ScopeData,
}

impl<T> ScopedHandle<'_, T> {
    fn handle(&self) -> &JoinHandle<T> {
        self.handle
            .as_ref()
            .expect("taken only by the methods that consume the handle")
    }

    /// The goroutine.
    pub fn goroutine(&self) -> GRef {
        self.handle().goroutine()
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.handle().is_finished()
    }

    /// Parks until it has ended.
    #[track_caller]
    pub fn join(mut self) -> Outcome<T> {
        self.handle.take().expect("consumed once").join()
    }
}

impl<T> Drop for ScopedHandle<'_, T> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take()
            && let Some(Outcome::Panicked(_)) = handle.detach()
        {
            // Nobody looked at it: the scope says so. (If it has not ended yet, the goroutine will.)
            self.data.note_panic();
        }
    }
}

impl<T> fmt::Debug for ScopedHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedHandle")
            .field("goroutine", &self.goroutine().id())
            .finish_non_exhaustive()
    }
}
