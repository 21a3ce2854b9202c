//! What the cases share: a goroutine with a deadline, waiting for conditions, connected pairs.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};
use std::{fs, panic};

use gort::net::{TcpListener, TcpStream};
use gort_conformance::look::patience;
pub(crate) use gort_conformance::look::{scaled, until};
use gort_core::snapshot;
use gort_core::wait_reason::WaitReason;

/// How long a case may take before it counts as hung.
const HUNG: Duration = Duration::from_secs(60);

/// Runs a case as a goroutine.
#[track_caller]
pub(crate) fn run(case: impl FnOnce() + Send + 'static) {
    match gort::go(case).join_timeout(patience(HUNG)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => panic::resume_unwind(error.into_panic()),
        Err(_hung) => panic!("hung; the goroutines:\n{:#?}", snapshot::goroutines()),
    }
}

/// Runs the case `name` (with its path) in a process of its own, where nothing else happens.
#[track_caller]
pub(crate) fn alone(name: &str, case: impl FnOnce() + Send + 'static) {
    print!("{}", gort_test_support::alone(name, case));
}

/// Waits until the goroutine is parked for the network.
#[track_caller]
pub(crate) fn until_parked<T>(handle: &gort::JoinHandle<T>) {
    let id = handle.goroutine().id().as_u64();
    until("a goroutine in IO wait", || {
        let all = snapshot::goroutines();
        all.iter()
            .any(|gp| gp.id == id && gp.wait_reason == Some(WaitReason::IoWait))
    });
}

/// Parks this goroutine for `duration`.
pub(crate) fn sleep(duration: Duration) {
    gort_core::sched::sleep_until(gort_core::clock::deadline_after(duration));
}

/// A listener on a port of its own.
pub(crate) fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// A connection: the side that connected, and the side that accepted.
pub(crate) fn pair() -> (TcpStream, TcpStream) {
    let listener = listen();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, peer) = listener.accept().unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    (client, server)
}

/// The point `ms` milliseconds from now.
pub(crate) fn after_ms(ms: u64) -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(ms))
}

/// A point in the past.
pub(crate) fn past() -> Option<Instant> {
    Some(
        Instant::now()
            .checked_sub(Duration::from_secs(5))
            .expect("the machine is up 5 s"),
    )
}

#[track_caller]
pub(crate) fn assert_timeout<T: std::fmt::Debug>(result: io::Result<T>) {
    let error = result.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::TimedOut, "i/o timeout")
    );
}

#[track_caller]
pub(crate) fn assert_closed<T: std::fmt::Debug>(result: io::Result<T>) {
    let error = result.unwrap_err();
    let text = "use of closed network connection";
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::NotConnected, text)
    );
}

/// What the descriptors of this process refer to.
pub(crate) fn descriptors() -> Vec<(i32, String)> {
    let names = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names
        .filter_map(|name| {
            let number = name.to_str()?.parse().ok()?;
            // The directory itself is among them, and closed by now.
            let target = fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
            Some((number, target.to_string_lossy().into_owned()))
        })
        .collect()
}

/// How many descriptors refer to `target`.
pub(crate) fn count_descriptors(target: &str) -> usize {
    descriptors()
        .iter()
        .filter(|(_, text)| text.contains(target))
        .count()
}

/// The descriptors that the epoll instance watches, with their event masks.
pub(crate) fn watched() -> Vec<(i32, u32)> {
    let all = descriptors();
    let epolls = all
        .iter()
        .filter(|(_, text)| text.contains("[eventpoll]"))
        .map(|(epoll, _)| fs::read_to_string(format!("/proc/self/fdinfo/{epoll}")).unwrap());
    // Ours is closed on exec, unlike one that was inherited.
    let is_ours = |info: &String| {
        let mut lines = info.lines();
        let flags = lines.find_map(|line| line.strip_prefix("flags:")).unwrap();
        i32::from_str_radix(flags.trim(), 8).unwrap() & libc::O_CLOEXEC != 0
    };
    let info = { epolls }.find(is_ours).unwrap();
    info.lines()
        .filter_map(|line| {
            let mut words = line.strip_prefix("tfd:")?.split_whitespace();
            let fd = words.next()?.parse().ok()?;
            let events = words.nth(1)?;
            Some((fd, u32::from_str_radix(events, 16).ok()?))
        })
        .collect()
}

/// Raises this process's limit of descriptors to what it may have, and says whether `count` fit, and a few more.
/// If not, that is written: the case cannot be shown then.
pub(crate) fn has_room_for(count: usize) -> bool {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes one rlimit, which lives through the call.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(result, 0);
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: reads one rlimit, which lives through the call.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(result, 0);
    let has_room = limit.rlim_max >= count as u64 + 100;
    if !has_room {
        println!(
            "not shown: {count} descriptors, and {} are allowed",
            limit.rlim_max
        );
    }
    has_room
}

/// A line of /proc/self/status as a number.
pub(crate) fn status(name: &str) -> usize {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
