//! [`OpenOptions`]: how a file is opened.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{File, call};

/// How a file is opened; as [`std::fs::OpenOptions`], whose Unix extension it has too.
///
/// # Examples
///
/// ```
/// use std::io::Write;
///
/// let path = std::env::temp_dir().join(format!("gort-doc-options-{}", std::process::id()));
/// let mut log = gort::fs::OpenOptions::new().append(true).create(true).open(&path)?;
/// log.write_all(b"one more line\n")?;
/// # gort::fs::remove_file(&path)?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "os.OpenFile")]
#[derive(Clone, Debug)]
pub struct OpenOptions(fs::OpenOptions);

impl OpenOptions {
    /// Nothing is wanted yet.
    #[expect(
        clippy::new_without_default,
        reason = "std's has none, and nothing wanted opens no file"
    )]
    pub fn new() -> OpenOptions {
        OpenOptions(fs::OpenOptions::new())
    }

    /// For reading.
    pub fn read(&mut self, read: bool) -> &mut OpenOptions {
        self.0.read(read);
        self
    }

    /// For writing, over what is there.
    pub fn write(&mut self, write: bool) -> &mut OpenOptions {
        self.0.write(write);
        self
    }

    /// For writing, each time to the end.
    pub fn append(&mut self, append: bool) -> &mut OpenOptions {
        self.0.append(append);
        self
    }

    /// Emptied, if it is there; needs `write`.
    pub fn truncate(&mut self, truncate: bool) -> &mut OpenOptions {
        self.0.truncate(truncate);
        self
    }

    /// Made, if it is not there; needs `write` or `append`.
    pub fn create(&mut self, create: bool) -> &mut OpenOptions {
        self.0.create(create);
        self
    }

    /// Made, and an error if it is there.
    pub fn create_new(&mut self, create_new: bool) -> &mut OpenOptions {
        self.0.create_new(create_new);
        self
    }

    /// Opens the file at `path`. Blocks as the system's `open` does: a FIFO that is opened for one direction
    /// waits for somebody who opens the other.
    ///
    /// # Errors
    ///
    /// Those of the system, as [`std::fs::OpenOptions::open`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::fs::OpenOptions;
    ///
    /// let error = OpenOptions::new().read(true).open("/no/such/file").unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    /// ```
    #[track_caller]
    pub fn open<P: AsRef<Path>>(&self, path: P) -> io::Result<File> {
        let path = path.as_ref();
        call::opening(path, || self.0.open(path)).map(File::from_std)
    }
}

impl OpenOptionsExt for OpenOptions {
    fn mode(&mut self, mode: u32) -> &mut OpenOptions {
        self.0.mode(mode);
        self
    }

    fn custom_flags(&mut self, flags: i32) -> &mut OpenOptions {
        self.0.custom_flags(flags);
        self
    }
}
