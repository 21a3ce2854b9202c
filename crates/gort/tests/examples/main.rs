//! The examples that stand for the programs of articles about Go (docs/seeds.md), each run as a program of
//! its own: what it prints, and how it ends.

mod few;
mod many;
mod pitfalls;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long an example may take: they need less than a second, on a machine that does nothing else.
const LIMIT: Duration = Duration::from_secs(60);

/// How an example ended.
struct Ended {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Ended {
    /// The output of an example that ends well.
    #[track_caller]
    fn output(self) -> String {
        assert!(
            self.status.success(),
            "{}\n{}{}",
            self.status,
            self.stdout,
            self.stderr
        );
        self.stdout
    }
}

/// Cargo builds the examples beside the tests; only a run with `--test` leaves them out.
fn path_of(example: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let profile = test.ancestors().nth(2).map(Path::to_owned);
    let path = profile
        .expect("tests lie in <profile>/deps")
        .join("examples")
        .join(example);
    assert!(
        path.exists(),
        "build the examples: cargo build -p gort --examples"
    );
    path
}

#[track_caller]
fn run(example: &str, args: &[&str]) -> Ended {
    finish(Command::new(path_of(example)).args(args))
}

/// Runs it to its end, which must come before [`LIMIT`]; then it is asked for its goroutines.
#[track_caller]
fn finish(command: &mut Command) -> Ended {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a program that is there");
    let stdout = read_aside(child.stdout.take().expect("it is piped"));
    let stderr = read_aside(child.stderr.take().expect("it is piped"));
    let limit = Instant::now() + LIMIT;
    let mut late = false;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            break status;
        }
        if !late && Instant::now() > limit {
            late = true;
            let pid = child.id().to_string();
            // Best effort: the dump is for whoever reads the failure.
            let _ = Command::new("kill").args(["-QUIT", &pid]).status();
        } else if late && Instant::now() > limit + Duration::from_secs(5) {
            child.kill().expect("it is our child");
        }
        // waits: std has no wait with a deadline.
        thread::sleep(Duration::from_millis(2));
    };
    let ended = Ended {
        status,
        stdout: stdout.join().expect("the output can be read"),
        stderr: stderr.join().expect("the output can be read"),
    };
    assert!(
        !late,
        "{command:?} is too slow\n{}{}",
        ended.stdout, ended.stderr
    );
    ended
}

fn read_aside(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text)
            .expect("examples print UTF-8");
        text
    })
}
