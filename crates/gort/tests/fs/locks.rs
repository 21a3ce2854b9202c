//! Locks on files: who waits for whom, and who does not.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use gort::fs::{self, File, TryLockError};
use gort_test_support::{alone, eventually};

use super::support::{Folder, raise_descriptor_limit};

fn two(folder: &Folder) -> (File, File) {
    let path = folder.at("file");
    (File::create(&path).unwrap(), File::open(&path).unwrap())
}

#[track_caller]
fn assert_would_block(result: Result<(), TryLockError>) {
    match result {
        Err(TryLockError::WouldBlock) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_has_it_alone_or_many_share_it() {
    // Where others start children, those have the open file and its lock too, until they run their programs.
    alone("locks::one_has_it_alone_or_many_share_it", || {
        gort::run(|| {
            let folder = Folder::new();
            let (one, other) = two(&folder);
            one.lock().unwrap();
            assert_would_block(other.try_lock());
            assert_would_block(other.try_lock_shared());
            // What shares the open file shares the lock.
            one.try_clone().unwrap().try_lock().unwrap();
            one.lock_shared().unwrap();
            other.lock_shared().unwrap();
            assert_would_block(one.try_lock());
            other.unlock().unwrap();
            one.try_lock().unwrap();
            drop(one);
            other.try_lock_shared().unwrap();
            other.unlock().unwrap();
            other.unlock().unwrap();
        })
    });
}

/// One P: whoever held it while it waits would keep the other from ever coming.
#[gort::test(procs = 1)]
fn a_goroutine_that_waits_for_a_lock_holds_up_nobody() {
    let folder = Folder::new();
    let (one, other) = two(&folder);
    one.lock().unwrap();
    let (asks, asked) = gort::chan::bounded(0);
    let waiter = gort::go(move || {
        asks.send(()).unwrap();
        other.lock()
    });
    asked.recv().unwrap();
    let path = folder.at("file");
    eventually("the kernel has somebody wait", || has_waiter(&path));
    assert!(!waiter.is_finished());
    one.unlock().unwrap();
    waiter.join().unwrap().unwrap();
}

/// Whether somebody of this process waits for the lock of the file.
fn has_waiter(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let inode = format!(":{} ", fs::metadata(path).unwrap().ino());
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks
        .lines()
        .any(|line| line.contains(" -> FLOCK ") && line.contains(&inode))
}

/// If they counted among the calls, the holder could not write any more, and would not come to unlock. In a process
/// of its own, for the descriptors.
#[test]
fn any_number_may_wait_for_a_lock() {
    alone("locks::any_number_may_wait_for_a_lock", || {
        raise_descriptor_limit();
        gort::run(many_wait_for_a_lock);
    });
}

fn many_wait_for_a_lock() {
    const WAITERS: usize = 520;
    let folder = Folder::new();
    let path = folder.at("file");
    let holder = File::create(&path).unwrap();
    holder.lock().unwrap();
    let (here, arrived) = gort::chan::bounded(0);
    let waiters: Vec<_> = (0..WAITERS)
        .map(|_| {
            let (path, here) = (path.clone(), here.clone());
            gort::go(move || {
                let file = File::open(path).unwrap();
                here.send(()).unwrap();
                file.lock()
            })
        })
        .collect();
    for _ in 0..WAITERS {
        arrived.recv().unwrap();
    }
    fs::write(folder.at("other"), "text").unwrap();
    holder.unlock().unwrap();
    for waiter in waiters {
        waiter.join().unwrap().unwrap();
    }
}

#[gort::test]
fn another_process_has_the_lock_until_it_ends() {
    let folder = Folder::new();
    let path = folder.at("file");
    let file = File::create(&path).unwrap();
    // It says that it has the lock, and keeps it until its input ends.
    let mut child = Command::new("flock")
        .arg(&path)
        .args(["sh", "-c", "echo locked; cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut said).unwrap();
    assert_eq!(said, "locked\n");
    assert_would_block(file.try_lock());
    drop(child.stdin.take());
    file.lock().unwrap();
    assert!(child.wait().unwrap().success());
}

#[gort::test]
fn errors_say_what_is_wrong() {
    let folder = Folder::new();
    let (one, other) = two(&folder);
    one.lock().unwrap();
    let error = other.try_lock().unwrap_err();
    assert_eq!(format!("{error:?}"), "WouldBlock");
    assert_eq!(error.to_string(), "the file is locked by somebody else");
    let error = std::io::Error::from(error);
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    // Opened for its name only: the kernel locks no such.
    let path = {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = fs::OpenOptions::new();
        options.read(true).custom_flags(libc::O_PATH);
        options.open(folder.at("file")).unwrap()
    };
    assert_eq!(path.lock().unwrap_err().raw_os_error(), Some(libc::EBADF));
    let error = path.try_lock_shared().unwrap_err();
    assert!(error.to_string().contains("Bad file descriptor"), "{error}");
    assert_eq!(path.unlock().unwrap_err().raw_os_error(), Some(libc::EBADF));
}
