//! The standard streams, in processes of their own whose streams are what the case says.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::{self, Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use gort::io::{self, BufRead, BufReader, IoSliceMut, Read, Write};
use gort::runtime::{TlsMode, metrics};
use gort_core::snapshot;
use gort_core::wait_reason::WaitReason;

const CHILD: &str = "GORT_TEST_STDIO_CHILD";
/// What the test harness writes goes before this line, and after the next.
const BEGIN: &str = "-- begin --\n";
const END: &str = "-- end --\n";

/// In the child: runs `case` as a goroutine, on one P, and leaves.
fn child(name: &str, case: fn()) {
    child_that_begins(name, move || {
        write!(io::stdout(), "\n{BEGIN}").unwrap();
        case();
    });
}

/// As `child`, for a case that writes the mark of the beginning itself.
fn child_that_begins(name: &str, case: impl FnOnce() + Send + 'static) {
    if !env::var(CHILD).is_ok_and(|child| child == name) {
        return;
    }
    gort::run(|| {
        case();
        write!(io::stdout(), "{END}").unwrap();
        io::stdout().flush().unwrap();
    });
    process::exit(0);
}

/// In the parent: starts the child of the case `name`.
fn start(name: &str, stdin: impl Into<Stdio>) -> Child {
    command(name, stdin).spawn().unwrap()
}

fn command(name: &str, stdin: impl Into<Stdio>) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([
            "--exact",
            &format!("stdio::{name}"),
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, name)
        .env("GORT_PROCS", "1")
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What the child has written between the marks.
fn finish(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{text}\n{error}",
        output.status
    );
    between_the_marks(&text).to_owned()
}

fn between_the_marks(text: &str) -> &str {
    let (_, rest) = text.split_once(BEGIN).expect("the child began");
    rest.split_once(END).expect("the child ended").0
}

/// Waits until the child writes `wanted` to its standard error.
#[track_caller]
fn wait_for_line(child: &mut Child, wanted: &str) {
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let (mut seen, mut line) = (String::new(), String::new());
    while line != wanted {
        seen += &line;
        line.clear();
        let len = stderr.read_line(&mut line).unwrap();
        assert_ne!(len, 0, "it has ended:\n{seen}");
    }
}

#[track_caller]
fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        let all = snapshot::goroutines();
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "never {what}: {all:#?}"
        );
        gort::yield_now();
        thread::yield_now();
    }
}

fn waiting_for(reason: WaitReason) -> usize {
    let all = snapshot::goroutines();
    all.iter()
        .filter(|gp| gp.wait_reason == Some(reason))
        .count()
}

fn is_nonblocking(number: i32) -> bool {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    u32::from_str_radix(flags.unwrap().trim(), 8).unwrap() & 0o4000 != 0
}

fn echo_lines() {
    for line in io::stdin().lines() {
        writeln!(io::stdout(), "<{}>", line.unwrap()).unwrap();
    }
    assert!(!is_nonblocking(0) && !is_nonblocking(1));
}

#[test]
fn input_is_read_from_files_and_devices() {
    let name = "input_is_read_from_files_and_devices";
    child(name, echo_lines);
    let path = env::temp_dir().join(format!("gort-stdin-{}", process::id()));
    fs::write(&path, "one\ntwo").unwrap();
    let file = File::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(finish(start(name, file)), "<one>\n<two>\n");
    assert_eq!(finish(start(name, Stdio::null())), "");
}

/// Says on the standard error when the main goroutine waits for input, and does not hold the only P.
/// Output says what has ended, so it goes on; input obeys.
fn use_under_an_ended_context() {
    let (context, cancel) = gort::context::background().with_cancel();
    cancel.cancel();
    context.enter(|| {
        let error = io::stdin().read(&mut [0]).unwrap_err();
        writeln!(io::stdout(), "{error}").unwrap();
        writeln!(io::stderr(), "{error}").unwrap();
    });
    let mut rest = String::new();
    io::stdin().read_to_string(&mut rest).unwrap();
    write!(io::stdout(), "{rest}").unwrap();
}

#[test]
fn an_ended_context_ends_input_and_no_output() {
    let name = "an_ended_context_ends_input_and_no_output";
    child(name, use_under_an_ended_context);
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"rest").unwrap();
    drop(writer);
    let path = env::temp_dir().join(format!("gort-ended-{}", process::id()));
    fs::write(&path, "rest").unwrap();
    let file = File::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    for stdin in [Stdio::from(reader), Stdio::from(file)] {
        assert_eq!(finish(start(name, stdin)), "context canceled\nrest");
    }
}

fn echo_lines_and_tell() {
    gort::go(|| {
        until("a reader parks", || waiting_for(WaitReason::IoWait) == 1);
        writeln!(io::stderr(), "the reader is parked").unwrap();
    });
    echo_lines();
}

#[test]
fn input_from_pipes_and_sockets_parks() {
    let name = "input_from_pipes_and_sockets_parks";
    child(name, echo_lines_and_tell);
    let mut piped = start(name, Stdio::piped());
    wait_for_line(&mut piped, "the reader is parked\n");
    let mut input = piped.stdin.take().unwrap();
    input.write_all(b"one\ntwo\nthr").unwrap();
    input.write_all(b"ee\n").unwrap();
    drop(input);
    assert_eq!(finish(piped), "<one>\n<two>\n<three>\n");

    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut connected = start(name, OwnedFd::from(theirs));
    wait_for_line(&mut connected, "the reader is parked\n");
    ours.write_all(b"one\n").unwrap();
    drop(ours);
    assert_eq!(finish(connected), "<one>\n");
}

/// More than a pipe holds, from more goroutines than threads are wanted.
const WRITERS: usize = 300;

fn write_much() {
    let line = |i: usize| format!("{i}:{}\n", "x".repeat(5_000));
    let writers: Vec<_> = (0..WRITERS)
        .map(|i| gort::go(move || io::stdout().write_all(line(i).as_bytes()).unwrap()))
        .collect();
    // One at the stream, the others at the gate; nobody reads until we say so.
    until("the writers park", || {
        waiting_for(WaitReason::IoWait) == 1 && waiting_for(WaitReason::SemAcquire) > WRITERS / 2
    });
    let threads = fs::read_dir("/proc/self/task").unwrap().count();
    // In thread mode each goroutine is a thread.
    if metrics().tls_mode == TlsMode::Own && threads >= 30 {
        // Not a panic: its message would go to the stream that nobody reads.
        eprintln!("{threads} threads");
        process::abort();
    }
    eprintln!("all are parked");
    for writer in writers {
        writer.join().unwrap();
    }
}

#[test]
fn output_that_nobody_reads_parks_goroutines_and_no_threads() {
    let name = "output_that_nobody_reads_parks_goroutines_and_no_threads";
    child(name, write_much);
    let mut child = start(name, Stdio::null());
    wait_for_line(&mut child, "all are parked\n");
    let text = finish(child);
    let mut seen = [false; WRITERS];
    for line in text.lines() {
        let (number, rest) = line.split_once(':').expect("a whole line");
        assert!(rest.len() == 5_000 && rest.bytes().all(|byte| byte == b'x'));
        seen[number.parse::<usize>().unwrap()] = true;
    }
    assert!(seen.iter().all(|seen| *seen));
}

fn mix() {
    print!("a");
    write!(io::stdout(), "b").unwrap();
    let mut outer = io::stdout().lock();
    let inner = io::stdout().lock();
    drop(inner);
    outer.write_all(b"c").unwrap();
    print!("d");
    writeln!(io::stdout(), "e").unwrap();
    drop(outer);
    println!("f");
    io::stdout().write_all(&[b'g'; 10_000]).unwrap();
    println!();
}

#[test]
fn std_and_ours_can_be_mixed_and_locks_nest() {
    let name = "std_and_ours_can_be_mixed_and_locks_nest";
    child(name, mix);
    let expected = format!("abcde\nf\n{}\n", "g".repeat(10_000));
    assert_eq!(finish(start(name, Stdio::null())), expected);

    // A file takes all of it without being asked.
    let path = env::temp_dir().join(format!("gort-stdout-{}", process::id()));
    let file = File::create(&path).unwrap();
    let status = command(name, Stdio::null()).stdout(file).status().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(status.success(), "{status}\n{text}");
    assert_eq!(between_the_marks(&text), expected);
}

fn read_by_all_ways() {
    let stdin = io::stdin();
    assert!(!stdin.is_terminal());
    let mut line = String::new();
    assert_eq!(stdin.read_line(&mut line).unwrap(), 4);
    assert_eq!(line, "one\n");
    let mut lock = stdin.lock();
    assert_eq!(lock.fill_buf().unwrap(), b"two\nthree");
    lock.consume(2);
    drop(lock);
    let mut two = [0; 2];
    (&stdin).read_exact(&mut two).unwrap();
    assert_eq!(&two, b"o\n");
    assert_eq!(io::read_to_string(stdin).unwrap(), "three");
}

#[test]
fn input_can_be_read_in_all_of_stds_ways() {
    let name = "input_can_be_read_in_all_of_stds_ways";
    child(name, read_by_all_ways);
    let mut child = start(name, Stdio::piped());
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"one\ntwo\nthree")
        .unwrap();
    assert_eq!(finish(child), "");
}

fn close_and_use() {
    // SAFETY: nobody in this process needs the numbers 0 and 2, which stay closed until it ends.
    unsafe {
        libc::close(0);
        libc::close(2);
    }
    assert_eq!(io::read_to_string(io::stdin()).unwrap(), "");
    io::stderr().write_all(b"lost").unwrap();
    io::stderr().flush().unwrap();
}

#[test]
fn closed_streams_are_empty_and_swallow() {
    let name = "closed_streams_are_empty_and_swallow";
    child(name, close_and_use);
    assert_eq!(finish(start(name, Stdio::piped())), "");
}

fn echo_from_terminal() {
    assert!(io::stdin().is_terminal() && !io::stdout().is_terminal());
    gort::go(|| {
        until("a reader parks", || waiting_for(WaitReason::IoWait) == 1);
        eprintln!("the reader is parked");
    });
    echo_lines();
}

#[test]
fn input_from_a_terminal_parks_and_leaves_its_mode() {
    let name = "input_from_a_terminal_parks_and_leaves_its_mode";
    child(name, echo_from_terminal);
    let mut master = File::options()
        .read(true)
        .write(true)
        .open("/dev/ptmx")
        .unwrap();
    let mut path = [0; 100];
    // SAFETY: the descriptor is that of a new terminal, and `path` is writable for its length.
    let result = unsafe {
        libc::unlockpt(master.as_raw_fd())
            | libc::ptsname_r(master.as_raw_fd(), path.as_mut_ptr(), path.len())
    };
    assert_eq!(result, 0);
    // SAFETY: ptsname_r has written a string with its zero.
    let path = unsafe { std::ffi::CStr::from_ptr(path.as_ptr()) };
    let slave = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(path.to_str().unwrap())
        .unwrap();
    let mut child = start(name, slave);
    wait_for_line(&mut child, "the reader is parked\n");
    // The last byte is the terminal's sign for the end, at the beginning of a line.
    master.write_all(b"one\ntwo\n\x04").unwrap();
    assert_eq!(finish(child), "<one>\n<two>\n");
}

/// Takes all descriptors but `free`.
fn take_all_but(free: usize) -> Vec<File> {
    let mut files = Vec::new();
    let error = loop {
        match File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    files.truncate(files.len() - free);
    files
}

/// None is left for a duplicate, or none for the poller, or none for what the poller is woken by.
fn use_in_a_shortage() {
    // By std's, as ours are to come to the shortage first.
    print!("\n{BEGIN}");
    let (reader, mut writer) = std::io::pipe().unwrap();
    let limit = libc::rlimit {
        rlim_cur: 100,
        rlim_max: 100,
    };
    // SAFETY: nobody in this process needs what is behind the number 0; the limit is read once.
    let results = unsafe {
        [
            libc::dup2(reader.as_raw_fd(), 0),
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit),
        ]
    };
    assert_eq!(results, [0, 0]);
    drop(reader);
    for free in 0..=2 {
        let files = take_all_but(free);
        writeln!(writer, "{free}").unwrap();
        let mut line = String::new();
        let results = [
            io::stdin().read_line(&mut line).map(drop),
            writeln!(io::stderr(), "{free} free"),
            writeln!(io::stdout(), "{free} free"),
        ];
        drop(files);
        for result in results {
            result.unwrap();
        }
        assert_eq!(line, format!("{free}\n"));
    }
    // They park again.
    let reader = gort::go(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    until("the reader parks", || waiting_for(WaitReason::IoWait) == 1);
    writeln!(writer, "enough").unwrap();
    write!(io::stdout(), "{}", reader.join().unwrap().unwrap()).unwrap();
}

#[test]
fn a_shortage_of_descriptors_ends_no_stream() {
    let name = "a_shortage_of_descriptors_ends_no_stream";
    child_that_begins(name, use_in_a_shortage);
    let text = finish(start(name, Stdio::null()));
    assert_eq!(text, "0 free\n1 free\n2 free\nenough\n");
}

fn give_up_the_turn() {
    let first = gort::go(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    until("the reader parks", || waiting_for(WaitReason::IoWait) == 1);
    let ways: [fn() -> io::Result<()>; 6] = [
        || io::stdin().read_line(&mut String::new()).map(drop),
        || io::stdin().read(&mut [0]).map(drop),
        || {
            let mut byte = [0];
            let bufs = &mut [IoSliceMut::new(&mut byte)];
            io::stdin().read_vectored(bufs).map(drop)
        },
        || io::stdin().read_to_end(&mut Vec::new()).map(drop),
        || io::stdin().read_to_string(&mut String::new()).map(drop),
        || io::stdin().read_exact(&mut [0]),
    ];
    for way in ways {
        let other = gort::go(move || {
            let time = Duration::from_millis(100);
            let (context, _cancel) = gort::context::background().with_timeout(time);
            context.enter(way)
        });
        until("it gives up", || other.is_finished());
        let error = other.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
    writeln!(io::stderr(), "they have given up").unwrap();
    write!(io::stdout(), "{}", first.join().unwrap().unwrap()).unwrap();
    // Nobody has kept the turn.
    let rest = io::read_to_string(io::stdin()).unwrap();
    write!(io::stdout(), "{rest}").unwrap();
}

#[test]
fn a_context_ends_the_wait_for_another_reader() {
    let name = "a_context_ends_the_wait_for_another_reader";
    child(name, give_up_the_turn);
    let mut child = start(name, Stdio::piped());
    let mut input = child.stdin.take().unwrap();
    wait_for_line(&mut child, "they have given up\n");
    input.write_all(b"one\ntwo").unwrap();
    drop(input);
    assert_eq!(finish(child), "one\ntwo");
}
