//! Each function and method does what std's does.

use std::collections::BTreeSet;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{
    DirBuilderExt, DirEntryExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt,
};
use std::time::{Duration, SystemTime};

use gort::fs::{self, DirBuilder, File, FileTimes, OpenOptions, Permissions};

use super::support::Folder;

#[gort::test]
fn a_whole_file_is_written_read_copied_and_removed() {
    let folder = Folder::new();
    let (one, two) = (folder.at("one"), folder.at("two"));
    fs::write(&one, "first, and longer").unwrap();
    fs::write(&one, "text").unwrap();
    assert_eq!(fs::read(&one).unwrap(), b"text");
    assert_eq!(fs::read_to_string(&one).unwrap(), "text");
    assert_eq!(fs::copy(&one, &two).unwrap(), 4);
    assert_eq!(fs::read_to_string(&two).unwrap(), "text");
    fs::remove_file(&one).unwrap();
    assert!(!fs::exists(&one).unwrap());
    assert_eq!(fs::read(&one).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(
        fs::copy(&one, &two).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    fs::write(&two, b"\xff").unwrap();
    let error = fs::read_to_string(&two).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
}

#[gort::test]
fn options_say_how_a_file_is_opened() {
    let folder = Folder::new();
    let path = folder.at("file");
    let error = OpenOptions::new().write(true).open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .open(&path)
        .unwrap();
    file.write_all(b"abc").unwrap();
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o640);
    let mut file = File::options().append(true).open(&path).unwrap();
    file.write_all(b"def").unwrap();
    let error = (&file).read(&mut [0]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EBADF), "for writing only");
    assert_eq!(fs::read(&path).unwrap(), b"abcdef");
    let error = File::create_new(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let error = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(&path)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotADirectory);
    drop(File::create(&path).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"");
    assert!(OpenOptions::new().open(&path).is_err(), "nothing wanted");
}

#[gort::test]
fn a_file_has_a_position_and_others_do_without() {
    let folder = Folder::new();
    let mut file = File::create_new(folder.at("file")).unwrap();
    let parts = [IoSlice::new(b"0123"), IoSlice::new(b"456789")];
    assert_eq!(file.write_vectored(&parts).unwrap(), 10);
    file.flush().unwrap();
    assert_eq!(file.stream_position().unwrap(), 10);
    file.rewind().unwrap();
    let (mut a, mut b) = ([0; 2], [0; 3]);
    let mut parts = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
    assert_eq!(file.read_vectored(&mut parts).unwrap(), 5);
    assert_eq!((&a, &b), (b"01", b"234"));
    file.write_all_at(b"xy", 1).unwrap();
    file.read_exact_at(&mut b, 0).unwrap();
    assert_eq!(&b, b"0xy");
    assert_eq!(file.read_at(&mut b, 10).unwrap(), 0);
    let mut twin = file.try_clone().unwrap();
    assert_eq!(twin.seek(SeekFrom::Current(1)).unwrap(), 6);
    let mut rest = String::new();
    assert_eq!((&file).read_to_string(&mut rest).unwrap(), 4);
    assert_eq!(rest, "6789");
    file.seek(SeekFrom::End(-1)).unwrap();
    let mut rest = Vec::new();
    assert_eq!((&twin).read_to_end(&mut rest).unwrap(), 1);
    assert_eq!(rest, b"9");
}

#[gort::test]
fn a_file_is_cut_synced_and_described() {
    let folder = Folder::new();
    let path = folder.at("file");
    let file = File::create_new(&path).unwrap();
    file.set_len(1000).unwrap();
    file.sync_all().unwrap();
    file.sync_data().unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!((metadata.len(), metadata.is_file()), (1000, true));
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    file.set_modified(then).unwrap();
    assert_eq!(file.metadata().unwrap().modified().unwrap(), then);
    let later = then + Duration::from_secs(1);
    file.set_times(FileTimes::new().set_accessed(later))
        .unwrap();
    assert_eq!(fs::metadata(&path).unwrap().accessed().unwrap(), later);
    file.set_permissions(Permissions::from_mode(0o400)).unwrap();
    assert!(fs::metadata(&path).unwrap().permissions().readonly());
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[gort::test]
fn names_are_changed_linked_and_followed() {
    let folder = Folder::new();
    let (file, link, other) = (folder.at("file"), folder.at("link"), folder.at("other"));
    fs::write(&file, "text").unwrap();
    fs::symlink("file", &link).unwrap();
    assert_eq!(fs::read_link(&link).unwrap().to_str(), Some("file"));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::metadata(&link).unwrap().is_file());
    let canonical = fs::canonicalize(&link).unwrap();
    assert_eq!(canonical, std::fs::canonicalize(&file).unwrap());
    fs::hard_link(&file, &other).unwrap();
    assert_eq!(fs::metadata(&other).unwrap().nlink(), 2);
    fs::rename(&other, &link).unwrap();
    assert_eq!(fs::read_to_string(&link).unwrap(), "text", "no link now");
    assert!(!fs::exists(&other).unwrap());
    #[expect(deprecated, reason = "what is tested")]
    fs::soft_link("nowhere", folder.at("soft")).unwrap();
    assert!(!fs::exists(folder.at("soft")).unwrap());
    assert!(fs::symlink_metadata(folder.at("soft")).is_ok());
}

#[gort::test]
fn directories_are_made_listed_and_removed() {
    let folder = Folder::new();
    fs::create_dir_all(folder.at("a/b/c")).unwrap();
    let error = fs::create_dir(folder.at("a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(folder.at("a/d/e")).unwrap();
    assert_eq!(
        fs::metadata(folder.at("a/d")).unwrap().mode() & 0o777,
        0o700
    );
    fs::write(folder.at("a/file"), "text").unwrap();
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder.at("a")).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        assert_eq!(entry.path(), folder.at("a").join(entry.file_name()));
        assert_eq!(entry.file_type().unwrap().is_dir(), metadata.is_dir());
        assert_eq!(entry.ino(), metadata.ino());
        names.insert(entry.file_name().into_string().unwrap());
    }
    assert_eq!(names, ["b", "d", "file"].map(String::from).into());
    let error = fs::remove_dir(folder.at("a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DirectoryNotEmpty);
    fs::remove_dir(folder.at("a/b/c")).unwrap();
    fs::remove_dir_all(folder.at("a")).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(fs::read_dir(folder.at("a")).is_err());
}

#[gort::test]
fn a_file_becomes_stds_and_back() {
    let folder = Folder::new();
    let file = File::create_new(folder.at("file")).unwrap();
    let number = file.as_raw_fd();
    let mut file: std::fs::File = file.into_std();
    file.write_all(b"text").unwrap();
    let file = File::from(OwnedFd::from(File::from(file)));
    assert_eq!(file.as_raw_fd(), number);
    assert_eq!(file.metadata().unwrap().len(), 4);
}

/// Without a goroutine anywhere.
#[test]
fn a_plain_thread_may_call_all_of_it() {
    let folder = Folder::new();
    let path = folder.at("file");
    fs::write(&path, "text").unwrap();
    let mut file = File::open(&path).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "text");
    File::create(&path).unwrap().sync_all().unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
