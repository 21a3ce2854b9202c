//! Directories: [`ReadDir`], [`DirEntry`], [`DirBuilder`].
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, DirEntryExt};
use std::path::{Path, PathBuf};

use super::call;

/// The entries of a directory, in no order; made by [`read_dir`](super::read_dir).
///
/// # Examples
///
/// ```
/// let folder = gort::fs::read_dir("/proc/self")?;
/// let names: Vec<_> = folder.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<_>>()?;
/// assert!(names.contains(&"status".into()));
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct ReadDir(pub(super) fs::ReadDir);

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    #[track_caller]
    fn next(&mut self) -> Option<io::Result<DirEntry>> {
        let entry = call::short(|| self.0.next())?;
        Some(entry.map(DirEntry))
    }
}

/// An entry of a directory; as [`std::fs::DirEntry`].
///
/// # Examples
///
/// ```
/// for entry in gort::fs::read_dir("/proc/self")? {
///     let entry = entry?;
///     if entry.file_type()?.is_dir() {
///         println!("{}: {:?}", entry.path().display(), entry.metadata()?.permissions());
///     }
/// }
/// # std::io::Result::Ok(())
/// ```
pub struct DirEntry(fs::DirEntry);

impl DirEntry {
    /// The path: that of the directory as it was given, and the entry's name.
    ///
    /// # Examples
    ///
    /// ```
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-entry-path-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// gort::fs::write(folder.join("file"), "text")?;
    /// let entry = gort::fs::read_dir(&folder)?.next().unwrap()?;
    /// assert_eq!(entry.path(), folder.join("file"));
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn path(&self) -> PathBuf {
        self.0.path()
    }

    /// What is known of what the entry names; of a symbolic link, the link's.
    ///
    /// # Errors
    ///
    /// Those of the system; it may be gone.
    ///
    /// # Examples
    ///
    /// ```
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-entry-metadata-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// gort::fs::write(folder.join("file"), "text")?;
    /// let entry = gort::fs::read_dir(&folder)?.next().unwrap()?;
    /// assert_eq!(entry.metadata()?.len(), 4);
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn metadata(&self) -> io::Result<Metadata> {
        call::short(|| self.0.metadata())
    }

    /// The kind of what the entry names; of a symbolic link, that it is one. Mostly known already.
    ///
    /// # Errors
    ///
    /// Those of the system, if it must be asked.
    ///
    /// # Examples
    ///
    /// ```
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-entry-file-type-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// gort::fs::write(folder.join("file"), "text")?;
    /// let entry = gort::fs::read_dir(&folder)?.next().unwrap()?;
    /// assert!(entry.file_type()?.is_file());
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn file_type(&self) -> io::Result<FileType> {
        call::short(|| self.0.file_type())
    }

    /// The name.
    ///
    /// # Examples
    ///
    /// ```
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-entry-file-name-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// gort::fs::write(folder.join("file"), "text")?;
    /// let entry = gort::fs::read_dir(&folder)?.next().unwrap()?;
    /// assert_eq!(entry.file_name(), "file");
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn file_name(&self) -> OsString {
        self.0.file_name()
    }
}

impl DirEntryExt for DirEntry {
    fn ino(&self) -> u64 {
        self.0.ino()
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a directory is made; as [`std::fs::DirBuilder`], whose Unix extension it has too.
///
/// # Examples
///
/// ```
/// use gort::fs::DirBuilder;
///
/// let folder = std::env::temp_dir().join(format!("gort-doc-dir-builder-{}", std::process::id()));
/// DirBuilder::new().recursive(true).create(folder.join("some/depth"))?;
/// assert!(gort::fs::exists(folder.join("some"))?);
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct DirBuilder {
    inner: fs::DirBuilder,
}

impl DirBuilder {
    /// One directory, with the permissions that the process's mask leaves.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::fs::DirBuilder;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-dir-builder-new-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// // The folder above must be there.
    /// let error = DirBuilder::new().create(folder.join("some/depth")).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[expect(clippy::new_without_default, reason = "std's has none")]
    pub fn new() -> DirBuilder {
        DirBuilder {
            inner: fs::DirBuilder::new(),
        }
    }

    /// Whether directories above it are made too; then it is no error if it is there.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::fs::DirBuilder;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-dir-builder-recursive-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// DirBuilder::new().recursive(true).create(folder.join("some/depth"))?;
    /// DirBuilder::new().recursive(true).create(folder.join("some/depth"))?; // it is there: no error
    /// assert!(gort::fs::metadata(folder.join("some/depth"))?.is_dir());
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn recursive(&mut self, recursive: bool) -> &mut DirBuilder {
        self.inner.recursive(recursive);
        self
    }

    /// Makes the directory.
    ///
    /// # Errors
    ///
    /// Those of the system, as [`std::fs::DirBuilder::create`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    ///
    /// use gort::fs::DirBuilder;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-dir-builder-create-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// DirBuilder::new().mode(0o700).create(folder.join("mine"))?;
    /// let permissions = gort::fs::metadata(folder.join("mine"))?.permissions();
    /// assert_eq!(permissions.mode() & 0o777, 0o700);
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        let path = path.as_ref();
        call::short(|| self.inner.create(path))
    }
}

impl DirBuilderExt for DirBuilder {
    fn mode(&mut self, mode: u32) -> &mut DirBuilder {
        self.inner.mode(mode);
        self
    }
}
