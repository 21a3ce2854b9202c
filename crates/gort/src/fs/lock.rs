//! Locks on files, among processes.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::AsFd;

use gort_core::os::file::{self, FileLock};

use super::{File, call};

/// Locks are the system's advisory ones (`flock`): they bind only those who ask for them, and end when the last
/// descriptor of the open file is closed. All who share an open file ([`try_clone`](File::try_clone)) share its lock:
/// among the goroutines of one process use a [`Mutex`](crate::sync::Mutex).
impl File {
    /// Takes the lock of the file for itself alone; waits until nobody else has it.
    ///
    /// Whoever waits keeps an OS thread, as many as there are of them, and no turn. A context that ends does not end the
    /// wait: the kernel has no such call. The lock of a file that has one already is exchanged for this one; others may
    /// have it in between.
    ///
    /// # Errors
    ///
    /// Those of the system: among them `Interrupted`, if a handler of the program's own ran that was installed without
    /// `SA_RESTART`, and one for file systems that have no locks.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// use gort::fs::File;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-file-lock-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("tally");
    /// // Of all processes that do this, one at a time.
    /// let mut tally = File::options().append(true).create(true).open(&path)?;
    /// tally.lock()?;
    /// tally.write_all(b"|")?;
    /// tally.unlock()?;
    /// # assert_eq!(gort::fs::read(&path)?, b"|");
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "flock")]
    #[track_caller]
    pub fn lock(&self) -> io::Result<()> {
        self.wait_for_lock(FileLock::Exclusive)
    }

    /// Takes a lock of the file that others may share; waits until nobody has it alone.
    ///
    /// As for the rest: [`lock`](Self::lock).
    ///
    /// # Errors
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::fs::File;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-file-shared-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("file");
    /// let writer = File::create(&path)?;
    /// let readers = [File::open(&path)?, File::open(&path)?];
    /// for reader in &readers {
    ///     reader.lock_shared()?;
    /// }
    /// assert!(writer.try_lock().is_err());
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn lock_shared(&self) -> io::Result<()> {
        self.wait_for_lock(FileLock::Shared)
    }

    /// Takes the lock for itself alone, if nobody else has it.
    ///
    /// # Errors
    ///
    /// [`TryLockError::WouldBlock`] if somebody has; those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::fs::{File, TryLockError};
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-file-try-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("service.pid");
    /// // A second one of this service says so, and ends.
    /// let first = File::create(&path)?;
    /// first.try_lock()?;
    /// let second = File::open(&path)?;
    /// assert!(matches!(second.try_lock(), Err(TryLockError::WouldBlock)));
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        self.try_to_lock(FileLock::Exclusive)
    }

    /// Takes a lock that others may share, if nobody has it alone.
    ///
    /// # Errors
    ///
    /// [`TryLockError::WouldBlock`] if somebody has; those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::fs::File;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-file-try-shared-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("file");
    /// let (one, other) = (File::create(&path)?, File::open(&path)?);
    /// one.try_lock_shared()?;
    /// other.try_lock_shared()?;
    /// one.unlock()?;
    /// // The last who shares it may have it alone.
    /// other.try_lock()?;
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn try_lock_shared(&self) -> Result<(), TryLockError> {
        self.try_to_lock(FileLock::Shared)
    }

    /// Gives up the lock of this open file, if it has one.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::fs::File;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-file-unlock-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("file");
    /// let (one, other) = (File::create(&path)?, File::open(&path)?);
    /// one.lock()?;
    /// one.unlock()?;
    /// other.lock()?;
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn unlock(&self) -> io::Result<()> {
        file::unlock(self.as_fd())
    }

    #[track_caller]
    fn wait_for_lock(&self, lock: FileLock) -> io::Result<()> {
        // Mostly it is free, and nobody has to be handed the P.
        if file::try_lock(self.as_fd(), lock)? {
            return Ok(());
        }
        call::endless(|| file::lock(self.as_fd(), lock))
    }

    fn try_to_lock(&self, lock: FileLock) -> Result<(), TryLockError> {
        match file::try_lock(self.as_fd(), lock) {
            Ok(true) => Ok(()),
            Ok(false) => Err(TryLockError::WouldBlock),
            Err(error) => Err(TryLockError::Error(error)),
        }
    }
}

/// Why a file could not be locked at once; as [`std::fs::TryLockError`], which came with Rust 1.89.
///
/// # Examples
///
/// ```
/// use std::io::ErrorKind;
///
/// use gort::fs::TryLockError;
///
/// let error = std::io::Error::from(TryLockError::WouldBlock);
/// assert_eq!(error.kind(), ErrorKind::WouldBlock);
/// ```
pub enum TryLockError {
    /// The system has refused it.
    Error(io::Error),
    /// Somebody else has the lock.
    WouldBlock,
}

impl fmt::Debug for TryLockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryLockError::Error(error) => error.fmt(f),
            TryLockError::WouldBlock => f.write_str("WouldBlock"),
        }
    }
}

impl fmt::Display for TryLockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryLockError::Error(error) => write!(f, "the file cannot be locked: {error}"),
            TryLockError::WouldBlock => f.write_str("the file is locked by somebody else"),
        }
    }
}

impl Error for TryLockError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            TryLockError::Error(error) => Some(error),
            TryLockError::WouldBlock => None,
        }
    }
}

impl From<TryLockError> for io::Error {
    fn from(error: TryLockError) -> io::Error {
        match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
        }
    }
}
