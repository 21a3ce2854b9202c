//! How many calls into the file system block threads at once. Alone in its binary: the number is settled when
//! the runtime starts.
//!
//! What blocks a call for as long as the test wants is a lease: whoever opens a file on which another has one waits
//! until that one gives it up.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gort_test_support::{eventually, is_parked};

/// Whether the goroutine of that name waits for its turn to block a thread.
fn waits_for_place(name: &str) -> bool {
    is_parked(name, "semacquire")
}

/// A lease on a new file. `None` if there are none here: not every file system has them.
fn lease(path: &Path) -> Option<File> {
    let file = File::create_new(path).unwrap();
    // SAFETY: the descriptor is open; the call takes a number.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
    (answer == 0).then_some(file)
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn calls_beyond_the_limit_park_until_a_place_is_free() {
    // The kernel tells a lease's holder by this signal, which would end the process.
    // SAFETY: no handler is set.
    unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
    let path = std::env::temp_dir().join(format!("gort-leases-{}", std::process::id()));
    fs::create_dir(&path).unwrap();
    let folder = Folder(path);
    let paths = ["a", "b"].map(|name| folder.0.join(name));
    let leases = paths.each_ref().map(|path| lease(path));
    let [Some(first), Some(second)] = leases else {
        return println!("skipped: the folder for temporary files has no leases");
    };

    gort::Config::new()
        .procs(2)
        .blocking_threads(2)
        .run(|| {
            let blocked = paths.clone().map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                let call = gort::Builder::new().name(name);
                call.go(move || drop(gort::fs::read(path).unwrap()))
                    .unwrap()
            });
            eventually("both hold a place", || {
                // Until they have one, a call of ours ends before it is found waiting.
                let probe = gort::Builder::new().name("probe");
                let probe = probe.go(|| gort::fs::exists("/").unwrap()).unwrap();
                let mut is_parked = false;
                let deadline = Instant::now() + Duration::from_millis(50);
                while !probe.is_finished() && Instant::now() < deadline {
                    is_parked = waits_for_place("probe");
                    gort::yield_now();
                }
                is_parked && !probe.is_finished()
            });
            let waiting: Vec<_> = (0..5)
                .map(|i| {
                    let name = format!("waiting {i}");
                    let call = gort::Builder::new().name(&name);
                    let call = call.go(|| gort::fs::metadata("/").unwrap()).unwrap();
                    eventually("it stands in line", || waits_for_place(&name));
                    call
                })
                .collect();
            // A thread has its thread.
            let path = folder.0.clone();
            std::thread::spawn(move || gort::fs::metadata(path).unwrap())
                .join()
                .unwrap();
            assert!(waiting.iter().all(|call| !call.is_finished()));
            assert!(blocked.iter().all(|call| !call.is_finished()));
            drop(first);
            for call in waiting {
                assert!(call.join().unwrap().is_dir());
            }
            drop(second);
            for call in blocked {
                call.join().unwrap();
            }
        })
        .unwrap();

    let error = gort::Config::new().blocking_threads(3).start().unwrap_err();
    assert!(
        matches!(error, gort::ConfigError::AlreadyStarted),
        "{error}"
    );
    gort::Config::new().blocking_threads(2).start().unwrap();
}
