//! Files, processes and signals.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, DirEntryExt, FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::SystemTime;

use gort::fs::{self, DirBuilder, File, FileTimes, OpenOptions};
use gort::process::{Child, Command, CommandExt};
use gort::signal::{self, Signal};

use super::Needs::{Nothing, Start, Wait};
use super::{Call, act, call, partner, prepared};

pub(super) fn calls() -> Vec<Call> {
    let mut all = files();
    all.extend(processes());
    all.extend(signals());
    all
}

fn files() -> Vec<Call> {
    vec![
        prepared(
            "fs, folders and links",
            "fs::create_dir fs::create_dir_all fs::remove_dir fs::remove_dir_all fs::read_dir \
             fs::rename fs::hard_link fs::soft_link fs::symlink fs::read_link fs::canonicalize \
             fs::metadata fs::symlink_metadata fs::exists fs::set_permissions fs::copy \
             fs::remove_file fs::read fs::read_to_string fs::write fs::ReadDir:Iterator \
             fs::DirEntry::path fs::DirEntry::metadata fs::DirEntry::file_type \
             fs::DirEntry::file_name fs::DirEntry:DirEntryExt fs::DirBuilder::new \
             fs::DirBuilder::recursive fs::DirBuilder::create fs::DirBuilder:DirBuilderExt",
            Nothing,
            || {
                use_places();
                act(|| {
                    let folder = new_path();
                    fs::create_dir(&folder).unwrap();
                    DirBuilder::new()
                        .mode(0o700)
                        .create(folder.join("a"))
                        .unwrap();
                    let deep = folder.join("b/c");
                    DirBuilder::new().recursive(true).create(&deep).unwrap();
                    fs::create_dir_all(&deep).unwrap();
                    fs::remove_dir(&deep).unwrap();
                    let path = |name: &str| folder.join(name);
                    fs::write(path("1"), "one").unwrap();
                    assert_eq!(fs::copy(path("1"), path("2")).unwrap(), 3);
                    fs::rename(path("2"), path("3")).unwrap();
                    fs::hard_link(path("1"), path("4")).unwrap();
                    fs::symlink(path("1"), path("5")).unwrap();
                    #[expect(deprecated, reason = "std's name for it")]
                    fs::soft_link(path("1"), path("6")).unwrap();
                    assert_eq!(fs::read_link(path("5")).unwrap(), path("1"));
                    let real = fs::canonicalize(path("5")).unwrap();
                    assert_eq!(real.file_name(), path("1").file_name());
                    assert!(fs::symlink_metadata(path("5")).unwrap().is_symlink());
                    let permissions = fs::metadata(path("1")).unwrap().permissions();
                    fs::set_permissions(path("1"), permissions).unwrap();
                    fs::remove_file(path("3")).unwrap();
                    assert!(!fs::exists(path("3")).unwrap());
                    assert_eq!(fs::read(path("5")).unwrap(), b"one");
                    assert_eq!(fs::read_to_string(path("4")).unwrap(), "one");
                    let entries = fs::read_dir(&folder).unwrap().inspect(|entry| {
                        let entry = entry.as_ref().unwrap();
                        assert!(entry.path().ends_with(entry.file_name()));
                        assert!(entry.ino() != 0);
                        entry.metadata().unwrap();
                        entry.file_type().unwrap();
                    });
                    assert_eq!(entries.count(), 6);
                    fs::remove_dir_all(&folder).unwrap();
                })
            },
        ),
        prepared(
            "File",
            "fs::File::open fs::File::create fs::File::create_new fs::File::options \
             fs::File::from_std fs::File::into_std fs::File::sync_all fs::File::sync_data \
             fs::File::set_len fs::File::metadata fs::File::try_clone \
             fs::File::lock fs::File::lock_shared fs::File::try_lock \
             fs::File::try_lock_shared fs::File::unlock \
             fs::File::set_permissions fs::File::set_times fs::File::set_modified fs::File:Read \
             fs::&File:Read fs::File:Write fs::&File:Write fs::File:Seek fs::&File:Seek \
             fs::File:FileExt fs::File:AsFd fs::File:AsRawFd fs::File:IntoRawFd \
             fs::OpenOptions::new fs::OpenOptions::read fs::OpenOptions::write \
             fs::OpenOptions::append fs::OpenOptions::truncate fs::OpenOptions::create \
             fs::OpenOptions::create_new fs::OpenOptions::open fs::OpenOptions:OpenOptionsExt",
            Nothing,
            || {
                use_places();
                act(|| {
                    let path = new_path();
                    let mut file = File::create_new(&path).unwrap();
                    file.write_all(b"abc").unwrap();
                    (&file).write_all(b"def").unwrap();
                    file.write_at(b"x", 1).unwrap();
                    file.flush().unwrap();
                    file.sync_data().unwrap();
                    file.sync_all().unwrap();
                    file.set_len(5).unwrap();
                    let now = SystemTime::now();
                    file.set_modified(now).unwrap();
                    file.set_times(FileTimes::new().set_modified(now)).unwrap();
                    let permissions = file.metadata().unwrap().permissions();
                    file.set_permissions(permissions).unwrap();
                    drop(file.try_clone().unwrap());
                    file.lock().unwrap();
                    file.lock_shared().unwrap();
                    file.unlock().unwrap();
                    file.try_lock_shared().unwrap();
                    file.try_lock().unwrap();
                    assert!(file.as_raw_fd() == file.as_fd().as_raw_fd());

                    let mut file = File::from_std(File::open(&path).unwrap().into_std());
                    let (mut text, mut again) = (String::new(), String::new());
                    file.read_to_string(&mut text).unwrap();
                    file.seek(SeekFrom::Start(0)).unwrap();
                    (&file).seek(SeekFrom::Start(0)).unwrap();
                    (&file).read_to_string(&mut again).unwrap();
                    assert_eq!((text.as_str(), again.as_str()), ("axcde", "axcde"));
                    let fd = file.into_raw_fd();
                    // SAFETY: it was just given to us.
                    drop(unsafe { OwnedFd::from_raw_fd(fd) });

                    let mut options = OpenOptions::new();
                    options
                        .read(true)
                        .write(true)
                        .create(true)
                        .create_new(false);
                    drop(options.truncate(true).mode(0o600).open(&path).unwrap());
                    drop(File::options().append(true).open(&path).unwrap());
                    drop(File::create(&path).unwrap());
                    fs::remove_file(path).unwrap();
                })
            },
        ),
    ]
}

fn processes() -> Vec<Call> {
    vec![
        call(
            "Command, described",
            "process::Command::new process::Command::arg process::Command::args \
             process::Command::env process::Command::envs process::Command::env_remove \
             process::Command::env_clear process::Command::current_dir process::Command::stdin \
             process::Command::stdout process::Command::stderr process::Command::get_program \
             process::Command::get_args process::Command::get_envs \
             process::Command::get_current_dir process::Command:CommandExt",
            Nothing,
            || {
                let mut command = Command::new("true");
                command.arg("a").args(["b", "c"]).current_dir("/");
                command
                    .env_clear()
                    .env("d", "e")
                    .envs([("f", "g")])
                    .env_remove("d");
                command
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                command.arg0("other");
                assert_eq!(command.get_program(), "true");
                assert_eq!(command.get_args().count(), 3);
                assert!(command.get_envs().count() > 0);
                assert!(command.get_current_dir().is_some());
            },
        ),
        call(
            "Command, run",
            "process::Command::status process::Command::output process::Command::spawn \
             process::Child::wait process::Child::try_wait process::Child::wait_with_output \
             process::Child::kill process::Child::id process::Child::from_std",
            Start,
            || {
                assert!(Command::new("true").status().unwrap().success());
                let output = Command::new("echo").arg("a").output().unwrap();
                assert_eq!(output.stdout, b"a\n");
                let mut sleeper = Command::new("sleep").arg("3600").spawn().unwrap();
                assert!(sleeper.id() != 0 && sleeper.try_wait().unwrap().is_none());
                sleeper.kill().unwrap();
                assert!(!sleeper.wait().unwrap().success());
                let mut cat = Command::new("cat");
                let mut cat = cat
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap();
                cat.stdin.take().unwrap().write_all(b"abc").unwrap();
                assert_eq!(cat.wait_with_output().unwrap().stdout, b"abc");
                let child = std::process::Command::new("true").spawn().unwrap();
                assert!(Child::from_std(child).unwrap().wait().unwrap().success());
            },
        ),
        call(
            "Command, of a program that is not there",
            "process::Command::spawn",
            Nothing,
            || {
                Command::new("/no/such/program").spawn().unwrap_err();
            },
        ),
    ]
}

fn signals() -> Vec<Call> {
    vec![
        call(
            "signal::ignore",
            "signal::ignore signal::ignored signal::reset signal::Signal::as_raw \
             signal::Signal::from_raw",
            Nothing,
            || {
                let signal = Signal::from_raw(Signal::SIGHUP.as_raw()).unwrap();
                signal::ignore(&[signal]);
                assert!(signal::ignored(signal));
                signal::reset(&[signal]);
                assert!(!signal::ignored(signal));
            },
        ),
        call(
            "signal::notify",
            "signal::notify signal::stop",
            Start,
            || {
                let signals = signal::notify(&[Signal::SIGUSR1]);
                // SAFETY: raises a signal for which there is a handler.
                unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) };
                assert_eq!(signals.recv(), Ok(Signal::SIGUSR1));
                signal::stop(&signals);
                signals.recv().unwrap_err();
            },
        ),
        prepared("signal::notify, waiting", "signal::notify", Wait, || {
            let signals = signal::notify(&[Signal::SIGUSR2]);
            let partner = partner(|| {
                // SAFETY: as above; the subscription lives until it is received.
                unsafe { libc::kill(libc::getpid(), libc::SIGUSR2) };
            });
            act(move || {
                partner.begin();
                assert_eq!(signals.recv(), Ok(Signal::SIGUSR2));
            })
        }),
    ]
}

/// A goroutine's first use of files asks how many may do so at once, which the child of a `fork` is not told.
pub(super) fn use_places() {
    let used = gort::go(|| fs::exists("/")).join();
    assert!(used.expect("it does not panic").expect("there is a root"));
}

/// A path at which nothing is. Its number does not make it so: a child that was ended leaves its files behind,
/// and numbers of processes come again.
pub(super) fn new_path() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(format!("gort-soundness-{pid}-{count}"));
        if path.symlink_metadata().is_err() {
            return path;
        }
    }
}
