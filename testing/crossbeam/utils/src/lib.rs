//! `crossbeam_utils::thread::scope` over `gort::scope`: its shape, as far as the tests use it.

/// Scopes of goroutines.
pub mod thread {
    use std::panic::{self, AssertUnwindSafe};
    use std::thread::Result;

    /// A scope whose goroutines may borrow from outside it.
    #[derive(Debug)]
    pub struct Scope<'scope, 'env>(&'scope gort::Scope<'scope, 'env>);

    /// Runs `f` with a scope, and waits for its goroutines.
    ///
    /// # Errors
    ///
    /// The payload of a panic, if `f` or a goroutine panicked.
    #[track_caller]
    pub fn scope<'env, F, T>(f: F) -> Result<T>
    where
        F: for<'scope> FnOnce(&Scope<'scope, 'env>) -> T,
    {
        panic::catch_unwind(AssertUnwindSafe(|| gort::scope(|scope| f(&Scope(scope)))))
    }

    impl<'scope, 'env> Scope<'scope, 'env> {
        /// Starts a goroutine, which gets the scope, to start others in it.
        #[track_caller]
        pub fn spawn<F, T>(&self, f: F) -> gort::ScopedJoinHandle<'scope, T>
        where
            F: FnOnce(&Scope<'scope, 'env>) -> T + Send + 'scope,
            T: Send + 'scope,
        {
            let scope = self.0;
            scope.go(move || f(&Scope(scope)))
        }
    }
}
