//! [`File`]: an open file.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs::{self, FileTimes, Metadata, Permissions};
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::time::SystemTime;

use super::{OpenOptions, call};

/// An open file; as [`std::fs::File`], but other goroutines run on while it waits.
///
/// Reading, writing and seeking work on `&File` too. A file has one position for all who use it, and calls
/// of several goroutines are mixed as those of threads are; [`read_at`](FileExt::read_at) and
/// [`write_at`](FileExt::write_at) take a position of their own. There are no deadlines: what the disk has to
/// say it says.
///
/// A FIFO, a terminal or another character device may be opened too, and an event descriptor or its like
/// [taken over](File::from_std). A goroutine that waits for one keeps an OS thread for so long, and no turn; where
/// many wait, use the pipes of this crate. An
/// [`O_NONBLOCK`](std::os::unix::fs::OpenOptionsExt::custom_flags) file answers `WouldBlock`, as with
/// std.
///
/// The file is closed when it is dropped; errors of that are lost, see [`sync_all`](File::sync_all).
///
/// # Examples
///
/// ```
/// use std::io::{Read, Seek, Write};
///
/// let path = std::env::temp_dir().join(format!("gort-doc-file-{}", std::process::id()));
/// let mut file = gort::fs::File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
/// file.write_all(b"ten lines")?;
/// file.rewind()?;
/// let mut text = String::new();
/// file.read_to_string(&mut text)?;
/// assert_eq!(text, "ten lines");
/// gort::fs::remove_file(&path)?;
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "os.File")]
pub struct File {
    inner: fs::File,
    /// Whether its calls may wait for somebody else.
    is_endless: bool,
}

impl File {
    /// Opens a file for reading. Blocks as the system's `open` does: for a FIFO, until it has a writer.
    ///
    /// # Errors
    ///
    /// Those of the system, as [`std::fs::File::open`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::fs::File;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-file-open-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("file");
    /// use std::io::Read;
    ///
    /// gort::fs::write(&path, "text")?;
    /// let mut text = String::new();
    /// File::open(&path)?.read_to_string(&mut text)?;
    /// assert_eq!(text, "text");
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "os.Open")]
    #[track_caller]
    pub fn open<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new().read(true).open(path)
    }

    /// Opens a file for writing: a new one, or one that is there and is now empty.
    ///
    /// # Errors
    ///
    /// Those of the system, as [`std::fs::File::create`].
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::fs::File;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-file-create-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("file");
    /// use std::io::Write;
    ///
    /// File::create(&path)?.write_all(b"text")?;
    /// assert_eq!(gort::fs::read(&path)?, b"text");
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "os.Create")]
    #[track_caller]
    pub fn create<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
    }

    /// Makes a new file, for reading and writing.
    ///
    /// # Errors
    ///
    /// `AlreadyExists`; those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::fs::File;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-file-create-new-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("file");
    /// File::create_new(&path)?;
    /// let error = File::create_new(&path).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn create_new<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
    }

    /// The same as [`OpenOptions::new`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// use gort::fs::File;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-file-options-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("log");
    /// File::options().append(true).create(true).open(&path)?.write_all(b"one\n")?;
    /// assert_eq!(gort::fs::read(&path)?, b"one\n");
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Takes over a file of std's.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Read;
    ///
    /// // From a library that knows std alone.
    /// let file = std::fs::File::open("/proc/self/comm")?;
    /// let mut name = String::new();
    /// gort::fs::File::from_std(file).read_to_string(&mut name)?;
    /// assert!(name.ends_with('\n'));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn from_std(file: fs::File) -> File {
        // A file that cannot be asked is taken for an ordinary one.
        let metadata = file.metadata();
        File {
            is_endless: metadata.is_ok_and(|metadata| call::is_endless(metadata.file_type())),
            inner: file,
        }
    }

    /// Gives the file as std's.
    ///
    /// # Examples
    ///
    /// ```
    /// let file: std::fs::File = gort::fs::File::open("/proc/self/comm")?.into_std();
    /// assert!(std::io::read_to_string(file)?.ends_with('\n'));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn into_std(self) -> fs::File {
        self.inner
    }

    /// Writes everything that the system has of the file to the disk, and waits for that; its data and
    /// what is known of it. Other goroutines run meanwhile.
    ///
    /// # Errors
    ///
    /// Those of the system, among them those of writes that it had put off.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::fs::File;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-file-sync-all-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("file");
    /// use std::io::Write;
    ///
    /// let mut file = File::create(&path)?;
    /// file.write_all(b"for good")?;
    /// file.sync_all()?;
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "Sync")]
    #[doc(alias = "fsync")]
    #[track_caller]
    pub fn sync_all(&self) -> io::Result<()> {
        call::long(|| self.inner.sync_all())
    }

    /// As [`sync_all`](File::sync_all), but without what is not needed to read the data again, such as times.
    ///
    /// # Errors
    ///
    /// As [`sync_all`](File::sync_all).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::Write;
    ///
    /// use gort::fs::File;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-file-sync-data-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("file");
    /// let mut file = File::create(&path)?;
    /// file.write_all(b"for good")?;
    /// file.sync_data()?;
    /// assert_eq!(file.metadata()?.len(), 8);
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "fdatasync")]
    #[track_caller]
    pub fn sync_data(&self) -> io::Result<()> {
        call::long(|| self.inner.sync_data())
    }

    /// Cuts the file to `size` bytes, or fills it up with zeros.
    ///
    /// # Errors
    ///
    /// The file is not open for writing; those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::fs::File;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-file-set-len-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("file");
    /// let file = File::create(&path)?;
    /// file.set_len(100)?;
    /// assert_eq!(file.metadata()?.len(), 100);
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "Truncate")]
    #[track_caller]
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        call::short(|| self.inner.set_len(size))
    }

    /// What is known of the file: size, kind, times, permissions.
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
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-file-metadata-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("file");
    /// assert!(File::create(&path)?.metadata()?.is_file());
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "Stat")]
    #[track_caller]
    pub fn metadata(&self) -> io::Result<Metadata> {
        call::short(|| self.inner.metadata())
    }

    /// Another handle to the same open file: both share its position.
    ///
    /// # Errors
    ///
    /// No descriptor can be had.
    ///
    /// # Examples
    ///
    /// ```
    /// use gort::fs::File;
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-file-try-clone-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("file");
    /// use std::io::{Read, Seek, Write};
    ///
    /// let mut file = File::create_new(&path)?;
    /// let mut other = file.try_clone()?;
    /// file.write_all(b"text")?;
    /// assert_eq!(other.stream_position()?, 4);
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn try_clone(&self) -> io::Result<File> {
        Ok(File {
            inner: self.inner.try_clone()?,
            is_endless: self.is_endless,
        })
    }

    /// Changes the permissions.
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
    /// let path = std::env::temp_dir().join(format!("gort-doc-permissions-{}", std::process::id()));
    /// let file = File::create(&path)?;
    /// let mut permissions = file.metadata()?.permissions();
    /// permissions.set_readonly(true);
    /// file.set_permissions(permissions)?;
    /// assert!(file.metadata()?.permissions().readonly());
    /// # gort::fs::remove_file(&path)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "Chmod")]
    #[track_caller]
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        call::short(|| self.inner.set_permissions(permissions))
    }

    /// Changes the times of the last access and the last change.
    ///
    /// # Errors
    ///
    /// Those of the system.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::SystemTime;
    ///
    /// use gort::fs::{File, FileTimes};
    ///
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-file-set-times-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let file = File::create(folder.join("file"))?;
    /// let epoch = SystemTime::UNIX_EPOCH;
    /// file.set_times(FileTimes::new().set_accessed(epoch).set_modified(epoch))?;
    /// assert_eq!(file.metadata()?.modified()?, epoch);
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[doc(alias = "Chtimes")]
    #[track_caller]
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        call::short(|| self.inner.set_times(times))
    }

    /// Changes the time of the last change.
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
    /// # let folder = std::env::temp_dir().join(format!("gort-doc-file-set-modified-{}", std::process::id()));
    /// # gort::fs::create_dir(&folder)?;
    /// let path = folder.join("file");
    /// use std::time::SystemTime;
    ///
    /// let file = File::create(&path)?;
    /// file.set_modified(SystemTime::UNIX_EPOCH)?;
    /// assert_eq!(file.metadata()?.modified()?, SystemTime::UNIX_EPOCH);
    /// # gort::fs::remove_dir_all(&folder)?;
    /// # std::io::Result::Ok(())
    /// ```
    #[track_caller]
    pub fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.set_times(FileTimes::new().set_modified(time))
    }

    /// Makes a call that moves data, in the way that befits the file.
    #[track_caller]
    fn transfer<R>(&self, transfer: impl FnOnce(&fs::File) -> R) -> R {
        let file = &self.inner;
        if self.is_endless {
            call::endless(|| transfer(file))
        } else {
            call::short(|| transfer(file))
        }
    }
}

impl Read for &File {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.transfer(|mut file| file.read(buf))
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.transfer(|mut file| file.read_vectored(bufs))
    }

    #[track_caller]
    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        self.transfer(|mut file| file.read_to_end(buf))
    }

    #[track_caller]
    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        self.transfer(|mut file| file.read_to_string(buf))
    }
}

read_by_reference!(File, read_to_end(Vec<u8>) -> usize, read_to_string(String) -> usize);

impl Write for &File {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.transfer(|mut file| file.write(buf))
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.transfer(|mut file| file.write_vectored(bufs))
    }

    /// Does nothing: a file has no buffer of ours. See [`File::sync_all`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

write_by_reference!(File);

impl Seek for &File {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        // Asks nobody but the kernel's own table of open files.
        (&self.inner).seek(position)
    }
}

impl Seek for File {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        (&*self).seek(position)
    }
}

impl FileExt for File {
    #[track_caller]
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.transfer(|file| file.read_at(buf, offset))
    }

    #[track_caller]
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.transfer(|file| file.write_at(buf, offset))
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

impl IntoRawFd for File {
    fn into_raw_fd(self) -> RawFd {
        self.inner.into_raw_fd()
    }
}

impl From<fs::File> for File {
    fn from(file: fs::File) -> File {
        File::from_std(file)
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> File {
        File::from_std(fs::File::from(fd))
    }
}

impl From<File> for fs::File {
    fn from(file: File) -> fs::File {
        file.inner
    }
}

impl From<File> for OwnedFd {
    fn from(file: File) -> OwnedFd {
        file.inner.into()
    }
}

/// The file becomes a child's standard input, output or error.
impl From<File> for Stdio {
    fn from(file: File) -> Stdio {
        file.inner.into()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
