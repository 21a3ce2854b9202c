//! Files: the functions and types of `std::fs`, for goroutines.
//!
//! A call blocks its goroutine as it blocks a thread with std, and other goroutines run on: a
//! goroutine whose thread sleeps in the kernel loses its turn to them. Of a goroutine that waits for the
//! disk, its OS thread waits too; at most [`Config::blocking_threads`](crate::Config::blocking_threads)
//! do so at once, and the others park, in the order of their coming. `call` says how that is done, why so,
//! and what it costs: next to nothing beside the system call itself.
//!
//! std's own functions work in goroutines as well. They lose their turn in the same way, but the number of
//! threads that they block has no bound.
//!
//! What std has for Unix alone is implemented for these types by std's own traits (`FileExt`,
//! `OpenOptionsExt`, `DirBuilderExt`, `DirEntryExt`). Not there: `FromRawFd`, which is unsafe where
//! `From<OwnedFd>` is not, and `Read` and `Write` for `Arc<File>`, which only std can implement (write
//! `&*file`).
//!
//! # Examples
//!
//! ```
//! use gort::fs;
//!
//! let path = std::env::temp_dir().join(format!("gort-doc-fs-{}", std::process::id()));
//! let file = path.clone();
//! gort::go(move || fs::write(file, "from a goroutine")).join().unwrap()?;
//! assert_eq!(fs::read_to_string(&path)?, "from a goroutine");
//! fs::remove_file(path)?;
//! # std::io::Result::Ok(())
//! ```
#![forbid(unsafe_code)]

mod call;
mod dir;
mod file;
mod lock;
mod open_options;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use std::fs::{FileTimes, FileType, Metadata, Permissions};

pub use dir::{DirBuilder, DirEntry, ReadDir};
pub use file::File;
pub use lock::TryLockError;
pub use open_options::OpenOptions;

/// Reads a whole file.
///
/// # Errors
///
/// Those of the system, as [`std::fs::read`].
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("gort-doc-read-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// let path = folder.join("file");
/// gort::fs::write(&path, [1, 2, 3])?;
/// assert_eq!(gort::fs::read(&path)?, [1, 2, 3]);
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "os.ReadFile")]
#[track_caller]
pub fn read<P: AsRef<Path>>(path: P) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    call::opening(path, || fs::read(path))
}

/// Reads a whole file of text.
///
/// # Errors
///
/// Those of the system; `InvalidData` if it is not UTF-8.
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("gort-doc-read-to-string-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// let path = folder.join("file");
/// gort::fs::write(&path, "text")?;
/// assert_eq!(gort::fs::read_to_string(&path)?, "text");
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[track_caller]
pub fn read_to_string<P: AsRef<Path>>(path: P) -> io::Result<String> {
    let path = path.as_ref();
    call::opening(path, || fs::read_to_string(path))
}

/// Writes a whole file: a new one, or over one that is there.
///
/// # Errors
///
/// Those of the system, as [`std::fs::write`].
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("gort-doc-write-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// let path = folder.join("file");
/// gort::fs::write(&path, "text")?;
/// gort::fs::write(&path, "other")?;
/// assert_eq!(gort::fs::read(&path)?, b"other");
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "os.WriteFile")]
#[track_caller]
pub fn write<P: AsRef<Path>, C: AsRef<[u8]>>(path: P, contents: C) -> io::Result<()> {
    let path = path.as_ref();
    let contents = contents.as_ref();
    call::opening(path, || fs::write(path, contents))
}

/// Copies a file's data and permissions; returns how many bytes that were. Other goroutines run meanwhile.
///
/// # Errors
///
/// Those of the system, as [`std::fs::copy`].
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("gort-doc-copy-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// let (from, to) = (folder.join("from"), folder.join("to"));
/// gort::fs::write(&from, "text")?;
/// assert_eq!(gort::fs::copy(&from, &to)?, 4);
/// assert_eq!(gort::fs::read(&to)?, b"text");
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[track_caller]
pub fn copy<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<u64> {
    let from = from.as_ref();
    let to = to.as_ref();
    // Counts (unless it waits for a FIFO), and gives the P up: a copy is worth that.
    call::opening(from, || call::endless(|| fs::copy(from, to)))
}

/// Removes a file.
///
/// # Errors
///
/// Those of the system, as [`std::fs::remove_file`].
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("gort-doc-remove-file-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// let path = folder.join("file");
/// gort::fs::write(&path, "text")?;
/// gort::fs::remove_file(&path)?;
/// assert!(!gort::fs::exists(&path)?);
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "os.Remove")]
#[doc(alias = "unlink")]
#[track_caller]
pub fn remove_file<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    call::short(|| fs::remove_file(path))
}

/// Removes an empty directory.
///
/// # Errors
///
/// Those of the system, as [`std::fs::remove_dir`].
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("gort-doc-remove-dir-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// gort::fs::create_dir(folder.join("inner"))?;
/// gort::fs::remove_dir(folder.join("inner"))?;
/// assert_eq!(gort::fs::read_dir(&folder)?.count(), 0);
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "rmdir")]
#[track_caller]
pub fn remove_dir<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    call::short(|| fs::remove_dir(path))
}

/// Removes a directory with all that is in it; follows no symbolic links. Other goroutines run meanwhile.
///
/// # Errors
///
/// Those of the system, as [`std::fs::remove_dir_all`].
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("gort-doc-remove-dir-all-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// gort::fs::create_dir_all(folder.join("a/b/c"))?;
/// gort::fs::remove_dir_all(folder.join("a"))?;
/// assert_eq!(gort::fs::read_dir(&folder)?.count(), 0);
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "os.RemoveAll")]
#[track_caller]
pub fn remove_dir_all<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    call::long(|| fs::remove_dir_all(path))
}

/// Makes a directory.
///
/// # Errors
///
/// Those of the system, as [`std::fs::create_dir`].
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("gort-doc-create-dir-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// gort::fs::create_dir(folder.join("inner"))?;
/// assert!(gort::fs::metadata(folder.join("inner"))?.is_dir());
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "os.Mkdir")]
#[track_caller]
pub fn create_dir<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    call::short(|| fs::create_dir(path))
}

/// Makes a directory and those above it that are not there.
///
/// # Errors
///
/// Those of the system, as [`std::fs::create_dir_all`].
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("gort-doc-create-dir-all-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// gort::fs::create_dir_all(folder.join("a/b/c"))?;
/// assert!(gort::fs::metadata(folder.join("a/b/c"))?.is_dir());
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "os.MkdirAll")]
#[track_caller]
pub fn create_dir_all<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    call::short(|| fs::create_dir_all(path))
}

/// The entries of a directory, in no order, without `.` and `..`.
///
/// # Errors
///
/// Those of the system, as [`std::fs::read_dir`].
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("gort-doc-read-dir-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// gort::fs::write(folder.join("file"), "text")?;
/// let entries: Vec<_> = gort::fs::read_dir(&folder)?.collect::<Result<_, _>>()?;
/// assert_eq!(entries[0].file_name(), "file");
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "os.ReadDir")]
#[track_caller]
pub fn read_dir<P: AsRef<Path>>(path: P) -> io::Result<ReadDir> {
    let path = path.as_ref();
    call::short(|| fs::read_dir(path)).map(ReadDir)
}

/// Gives a file another name, in place of what has that name.
///
/// # Errors
///
/// Those of the system, as [`std::fs::rename`].
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("gort-doc-rename-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// gort::fs::write(folder.join("old"), "text")?;
/// gort::fs::rename(folder.join("old"), folder.join("new"))?;
/// assert_eq!(gort::fs::read(folder.join("new"))?, b"text");
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "os.Rename")]
#[track_caller]
pub fn rename<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<()> {
    let from = from.as_ref();
    let to = to.as_ref();
    call::short(|| fs::rename(from, to))
}

/// Gives a file a second name.
///
/// # Errors
///
/// Those of the system, as [`std::fs::hard_link`].
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("gort-doc-hard-link-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// gort::fs::write(folder.join("one"), "text")?;
/// gort::fs::hard_link(folder.join("one"), folder.join("two"))?;
/// gort::fs::remove_file(folder.join("one"))?;
/// assert_eq!(gort::fs::read(folder.join("two"))?, b"text");
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "os.Link")]
#[track_caller]
pub fn hard_link<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let original = original.as_ref();
    let link = link.as_ref();
    call::short(|| fs::hard_link(original, link))
}

/// Makes a symbolic link; the same as [`symlink`], by std's old name.
///
/// # Errors
///
/// Those of the system, as [`std::fs::soft_link`].
///
/// # Examples
///
/// ```
/// # #![allow(deprecated)]
/// # let folder = std::env::temp_dir().join(format!("gort-doc-soft-link-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// gort::fs::soft_link("file", folder.join("link"))?;
/// assert_eq!(gort::fs::read_link(folder.join("link"))?, std::path::Path::new("file"));
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[deprecated = "std's is: use `symlink`"]
#[track_caller]
pub fn soft_link<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let original = original.as_ref();
    let link = link.as_ref();
    call::short(|| std::os::unix::fs::symlink(original, link))
}

/// Makes a symbolic link; [`std::os::unix::fs::symlink`].
///
/// # Errors
///
/// Those of the system.
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("gort-doc-symlink-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// gort::fs::write(folder.join("file"), "text")?;
/// gort::fs::symlink("file", folder.join("link"))?;
/// assert_eq!(gort::fs::read(folder.join("link"))?, b"text");
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "os.Symlink")]
#[track_caller]
pub fn symlink<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let original = original.as_ref();
    let link = link.as_ref();
    call::short(|| std::os::unix::fs::symlink(original, link))
}

/// What a symbolic link says.
///
/// # Errors
///
/// Those of the system, as [`std::fs::read_link`].
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("gort-doc-read-link-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// gort::fs::symlink("somewhere", folder.join("link"))?;
/// assert_eq!(gort::fs::read_link(folder.join("link"))?.to_str(), Some("somewhere"));
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "os.Readlink")]
#[track_caller]
pub fn read_link<P: AsRef<Path>>(path: P) -> io::Result<PathBuf> {
    let path = path.as_ref();
    call::short(|| fs::read_link(path))
}

/// The absolute path, without symbolic links, `.` and `..`.
///
/// # Errors
///
/// Those of the system, as [`std::fs::canonicalize`].
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("gort-doc-canonicalize-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// let path = gort::fs::canonicalize(folder.join("."))?;
/// assert!(path.is_absolute() && path.file_name() == folder.file_name());
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "EvalSymlinks")]
#[track_caller]
pub fn canonicalize<P: AsRef<Path>>(path: P) -> io::Result<PathBuf> {
    let path = path.as_ref();
    call::short(|| fs::canonicalize(path))
}

/// What is known of a file: size, kind, times, permissions; of a symbolic link, of what it leads to.
///
/// # Errors
///
/// Those of the system, as [`std::fs::metadata`].
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("gort-doc-metadata-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// gort::fs::write(folder.join("file"), "text")?;
/// assert_eq!(gort::fs::metadata(folder.join("file"))?.len(), 4);
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "os.Stat")]
#[track_caller]
pub fn metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    let path = path.as_ref();
    call::short(|| fs::metadata(path))
}

/// As [`metadata`], but of a symbolic link itself.
///
/// # Errors
///
/// Those of the system, as [`std::fs::symlink_metadata`].
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("gort-doc-symlink-metadata-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// gort::fs::symlink("nowhere", folder.join("link"))?;
/// assert!(gort::fs::symlink_metadata(folder.join("link"))?.is_symlink());
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "os.Lstat")]
#[track_caller]
pub fn symlink_metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    let path = path.as_ref();
    call::short(|| fs::symlink_metadata(path))
}

/// Whether there is something by that name.
///
/// # Errors
///
/// It cannot be said, as a directory on the way may not be searched.
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("gort-doc-exists-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// assert!(gort::fs::exists(&folder)?);
/// assert!(!gort::fs::exists(folder.join("file"))?);
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[track_caller]
pub fn exists<P: AsRef<Path>>(path: P) -> io::Result<bool> {
    let path = path.as_ref();
    call::short(|| fs::exists(path))
}

/// Changes a file's permissions.
///
/// # Errors
///
/// Those of the system, as [`std::fs::set_permissions`].
///
/// # Examples
///
/// ```
/// # let folder = std::env::temp_dir().join(format!("gort-doc-set-permissions-{}", std::process::id()));
/// # gort::fs::create_dir(&folder)?;
/// let path = folder.join("file");
/// gort::fs::write(&path, "text")?;
/// let mut permissions = gort::fs::metadata(&path)?.permissions();
/// permissions.set_readonly(true);
/// gort::fs::set_permissions(&path, permissions)?;
/// assert!(gort::fs::metadata(&path)?.permissions().readonly());
/// # gort::fs::remove_dir_all(&folder)?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "os.Chmod")]
#[track_caller]
pub fn set_permissions<P: AsRef<Path>>(path: P, permissions: Permissions) -> io::Result<()> {
    let path = path.as_ref();
    call::short(|| fs::set_permissions(path, permissions))
}
