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
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::fs::OpenOptions;
    ///
    /// let error = OpenOptions::new().open("/proc/self/comm").unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    /// assert!(OpenOptions::new().read(true).open("/proc/self/comm").is_ok());
    /// ```
    #[expect(
        clippy::new_without_default,
        reason = "std's has none, and nothing wanted opens no file"
    )]
    pub fn new() -> OpenOptions {
        OpenOptions(fs::OpenOptions::new())
    }

    /// For reading.
    ///
    /// # Examples
    ///
    /// ```
    /// let file = gort::fs::OpenOptions::new().read(true).open("/proc/self/comm")?;
    /// assert!(std::io::read_to_string(file)?.ends_with('\n'));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn read(&mut self, read: bool) -> &mut OpenOptions {
        self.0.read(read);
        self
    }

    /// For writing, over what is there.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// use gort::fs::OpenOptions;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-options-write-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("file");
    /// gort::fs::write(&path, "text")?;
    /// OpenOptions::new().write(true).open(&path)?.write_all(b"n")?;
    /// assert_eq!(gort::fs::read(&path)?, b"next");
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn write(&mut self, write: bool) -> &mut OpenOptions {
        self.0.write(write);
        self
    }

    /// For writing, each time to the end.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// use gort::fs::OpenOptions;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-options-append-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("file");
    /// gort::fs::write(&path, "one, ")?;
    /// OpenOptions::new().append(true).open(&path)?.write_all(b"two")?;
    /// assert_eq!(gort::fs::read(&path)?, b"one, two");
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn append(&mut self, append: bool) -> &mut OpenOptions {
        self.0.append(append);
        self
    }

    /// Emptied, if it is there; needs `write`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::fs::OpenOptions;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-options-truncate-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("file");
    /// gort::fs::write(&path, "text")?;
    /// let file = OpenOptions::new().write(true).truncate(true).open(&path)?;
    /// assert_eq!(file.metadata()?.len(), 0);
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn truncate(&mut self, truncate: bool) -> &mut OpenOptions {
        self.0.truncate(truncate);
        self
    }

    /// Made, if it is not there; needs `write` or `append`.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::fs::OpenOptions;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-options-create-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("file");
    /// assert!(OpenOptions::new().append(true).open(&path).is_err());
    /// assert!(OpenOptions::new().append(true).create(true).open(&path).is_ok());
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn create(&mut self, create: bool) -> &mut OpenOptions {
        self.0.create(create);
        self
    }

    /// Made, and an error if it is there.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::fs::OpenOptions;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-options-create-new-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("file");
    /// let lock = OpenOptions::new().write(true).create_new(true).open(&path);
    /// assert!(lock.is_ok());
    /// let error = OpenOptions::new().write(true).create_new(true).open(&path).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
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
