//! The `gort` command as its users meet it: what it prints, where, and with which exit status.
//!
//! Every process here has a deadline, and is killed when its test ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const GORT: &str = env!("CARGO_BIN_EXE_gort");
const DEADLINE: Duration = Duration::from_secs(60);

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.0.try_wait().expect("it is our child") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "the process is still there after {DEADLINE:?}"
            );
            // waits: for the child to end, until the deadline; std cannot wait with one.
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// What a finished process left.
#[derive(Debug)]
struct Finished {
    status: ExitStatus,
    out: String,
    err: String,
}

fn finish(command: &mut Command) -> Finished {
    let mut child = Running(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("gort starts"),
    );
    let collect = |mut pipe: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut text = String::new();
            pipe.read_to_string(&mut text).expect("gort writes UTF-8");
            text
        })
    };
    let out = collect(Box::new(child.0.stdout.take().expect("piped")));
    let err = collect(Box::new(child.0.stderr.take().expect("piped")));
    let status = child.wait();
    Finished {
        status,
        out: out.join().expect("read"),
        err: err.join().expect("read"),
    }
}

fn gort(args: &[&str]) -> Finished {
    finish(Command::new(GORT).args(args))
}

/// Runs gort with a limit on open files, soft and hard.
fn gort_with_open_files(limit: u32, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            &format!("ulimit -n {limit} && exec \"$0\" \"$@\""),
            GORT,
        ])
        .args(args);
    command
}

/// An echo server on a free port.
struct Echo {
    process: Running,
    addr: String,
    _out: BufReader<ChildStdout>,
    err: BufReader<ChildStderr>,
}

impl Echo {
    fn start(command: &mut Command) -> Echo {
        let mut process = Running(
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("gort starts"),
        );
        let mut out = BufReader::new(process.0.stdout.take().expect("piped"));
        let err = BufReader::new(process.0.stderr.take().expect("piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("the first line");
        let addr = line
            .trim()
            .strip_prefix("listening on ")
            .expect("the bound address")
            .to_owned();
        Echo {
            process,
            addr,
            _out: out,
            err,
        }
    }

    fn on_a_free_port() -> Echo {
        Echo::start(Command::new(GORT).args(["echo", "--addr", "127.0.0.1:0", "--stats"]))
    }

    /// Reads standard error until a line that satisfies `is_it`.
    fn wait_for_line(&mut self, mut is_it: impl FnMut(&str) -> bool) -> String {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = String::new();
        while Instant::now() < deadline {
            let mut line = String::new();
            let len = self.err.read_line(&mut line).expect("gort writes UTF-8");
            assert!(len > 0, "standard error has ended; seen:\n{seen}");
            if is_it(&line) {
                return line;
            }
            seen.push_str(&line);
        }
        panic!("the line did not come in {DEADLINE:?}; seen:\n{seen}");
    }
}

/// The number before `word` in a line of the statistics.
fn number_before(line: &str, word: &str) -> Option<u64> {
    let before = line.split(word).next()?.trim_end();
    let digits: String = before
        .rsplit(' ')
        .next()?
        .chars()
        .filter(|c| *c != ',')
        .collect();
    digits.parse().ok()
}

fn assert_echoes(stream: &mut TcpStream, message: &[u8]) {
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.write_all(message).expect("sent");
    let mut answer = vec![0; message.len()];
    stream.read_exact(&mut answer).expect("echoed");
    assert_eq!(answer, message);
}

#[test]
fn a_senseless_command_line_has_status_2_and_names_the_word() {
    let cases: [(&[&str], &str); 18] = [
        (&[], "no command"),
        (&["frobnicate"], "frobnicate"),
        (&["echo", "--frob"], "--frob"),
        (&["echo", "--addr"], "--addr"),
        (&["echo", "--addr", "localhost"], "port"),
        (&["load", "--conns", "0"], "--conns 0"),
        (&["load", "--conns", "many"], "--conns many"),
        (&["load", "--secs", "-1"], "--secs"),
        (&["load", "--size", "0"], "--size 0"),
        (&["load", "--size", "65537"], "--size 65537"),
        (&["load", "stray"], "stray"),
        (&["load", "--http", "https://x/"], "https"),
        (&["load", "--http", "http://h:99999/"], "port"),
        (&["load", "--http", "http://h:/"], "port"),
        (&["load", "--http", "x/", "--size", "5"], "--size"),
        (&["tour", "--goroutines", "0"], "--goroutines 0"),
        (&["tour", "--secs", ""], "--secs"),
        (&["doctor", "--xml"], "--xml"),
    ];
    for (args, word) in cases {
        let finished = gort(args);
        assert_eq!(finished.status.code(), Some(2), "{args:?}: {finished:?}");
        assert!(finished.err.starts_with("gort: "), "{args:?}: {finished:?}");
        assert!(finished.err.contains(word), "{args:?}: {finished:?}");
        assert_eq!(finished.out, "", "{args:?}");
    }
}

#[test]
fn a_complaint_that_nobody_can_read_leaves_the_status_as_it_is() {
    for (line, status) in [
        ("exec \"$0\" frobnicate 2>/dev/full", 2),
        ("exec \"$0\" echo --addr nowhere.invalid:80 2>/dev/full", 1),
        ("exec \"$0\" help >/dev/full 2>/dev/full", 1),
    ] {
        let finished = finish(Command::new("sh").args(["-c", line, GORT]));
        assert_eq!(finished.status.code(), Some(status), "{line}: {finished:?}");
    }
}

#[test]
fn help_goes_to_standard_output() {
    for args in [
        &["help"][..],
        &["--help"],
        &["tour", "--help"],
        &["echo", "-h"],
        &["load", "-h"],
        &["doctor", "-h"],
    ] {
        let finished = gort(args);
        assert!(finished.status.success(), "{args:?}: {finished:?}");
        assert!(
            finished.out.contains("usage: gort"),
            "{args:?}: {finished:?}"
        );
        assert_eq!(finished.err, "", "{args:?}");
    }
}

#[test]
fn a_port_in_use_is_named_as_such() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = other.local_addr().expect("bound").to_string();
    let finished = gort(&["echo", "--addr", &addr]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(
        finished.err.contains(&addr) && finished.err.contains("in use"),
        "{finished:?}"
    );
}

#[test]
fn an_unknown_host_is_named_as_such() {
    for command in ["echo", "load"] {
        let finished = gort(&[command, "--addr", "nowhere.invalid:80"]);
        assert_eq!(finished.status.code(), Some(1), "{finished:?}");
        assert!(
            finished
                .err
                .contains("gort: unknown host in nowhere.invalid:80"),
            "{finished:?}"
        );
    }
}

#[test]
fn a_refused_connection_says_what_to_start() {
    // A port that was free a moment ago; nobody is told of it.
    let addr = TcpListener::bind("127.0.0.1:0")
        .expect("a free port")
        .local_addr()
        .expect("bound")
        .to_string();
    let finished = gort(&["load", "--addr", &addr, "--secs", "1"]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(finished.err.contains("connection refused"), "{finished:?}");
    assert!(
        finished.err.contains(&format!("gort echo --addr {addr}")),
        "{finished:?}"
    );
}

#[test]
fn fifty_connections_lose_no_byte() {
    for (tls, size) in [("auto", "64"), ("auto", "10000"), ("thread", "64")] {
        let mut server = Command::new(GORT);
        server
            .args(["echo", "--addr", "127.0.0.1:0"])
            .env("GORT_TLS", tls);
        let server = Echo::start(&mut server);
        let mut load = Command::new(GORT);
        load.args([
            "load",
            "--addr",
            &server.addr,
            "--conns",
            "50",
            "--secs",
            "1",
            "--size",
            size,
            "--json",
        ]);
        let finished = finish(load.env("GORT_TLS", tls));
        assert!(finished.status.success(), "GORT_TLS={tls}: {finished:?}");
        let result: Value = serde_json::from_str(&finished.out).expect("one JSON object");
        assert_eq!(result["errors"], 0, "{result}");
        assert_eq!(result["conns"], 50, "{result}");
        let requests = result["requests"].as_u64().expect("a number");
        assert!(requests >= 50, "{result}");
        let latency = |name: &str| result["latency_ns"][name].as_u64().expect("a number");
        assert!(
            0 < latency("p50") && latency("p50") <= latency("p99"),
            "{result}"
        );
        assert!(
            latency("p99") <= latency("p99.9") && latency("p99.9") <= latency("max"),
            "{result}"
        );
    }
}

#[test]
fn the_table_has_every_figure() {
    let server = Echo::on_a_free_port();
    let finished = gort(&[
        "load",
        "--addr",
        &server.addr,
        "--conns",
        "3",
        "--secs",
        "1",
    ]);
    assert!(finished.status.success(), "{finished:?}");
    for row in [
        "requests", "req/s", "p50", "p90", "p99", "p99.9", "max", "errors",
    ] {
        assert!(
            finished
                .out
                .lines()
                .any(|line| line.trim_start().starts_with(row)),
            "{row}: {finished:?}"
        );
    }
}

/// An HTTP server that answers all requests of any number of connections with `answer`.
fn http_server(answer: &'static str) -> String {
    let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = server.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let stream = stream.expect("a connection");
            std::thread::spawn(move || {
                for line in BufReader::new(&stream).lines() {
                    if line.is_ok_and(|line| line.is_empty()) {
                        let _ = (&stream).write_all(answer.as_bytes());
                    }
                }
            });
        }
    });
    addr
}

#[test]
fn an_http_server_is_loaded_and_its_answers_are_checked() {
    let addr = http_server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let url = format!("http://{addr}/path");
    let load = [
        "load", "--http", &url, "--conns", "4", "--secs", "1", "--json",
    ];
    let finished = gort(&load);
    assert!(finished.status.success(), "{finished:?}");
    let result: Value = serde_json::from_str(&finished.out).expect("one JSON object");
    assert_eq!(result["errors"], 0, "{result}");
    assert!(result["requests"].as_u64() >= Some(4), "{result}");
    assert!(result["latency_ns"]["p50"].as_u64() > Some(0), "{result}");

    let addr = http_server("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let finished = gort(&["load", "--http", &addr, "--secs", "1"]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(finished.err.contains("status 404"), "{finished:?}");
}

#[test]
fn a_server_that_changes_bytes_is_found_out() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = server.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for mut stream in server.incoming().flatten() {
            std::thread::spawn(move || {
                let mut message = [0; 64];
                while stream.read_exact(&mut message).is_ok() {
                    message[63] ^= 1;
                    if stream.write_all(&message).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let finished = gort(&[
        "load", "--addr", &addr, "--conns", "2", "--secs", "1", "--json",
    ]);
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    let result: Value = serde_json::from_str(&finished.out).expect("one JSON object");
    assert_eq!(
        result["error_kinds"]["wrong bytes in an echo"], 2,
        "{result}"
    );
    assert!(
        finished.err.contains("2 of 2 connections failed"),
        "{finished:?}"
    );
}

#[test]
fn more_connections_than_descriptors_names_the_number_that_fits() {
    let server = Echo::on_a_free_port();
    let addr = server.addr.as_str();
    let finished = finish(&mut gort_with_open_files(
        100,
        &["load", "--addr", addr, "--conns", "200", "--secs", "1"],
    ));
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    let (_, advice) = finished
        .err
        .split_once("use --conns ")
        .expect("a number that fits");
    let fit: u64 = advice
        .split(',')
        .next()
        .and_then(|number| number.parse().ok())
        .expect("a number");
    assert!((50..100).contains(&fit), "{finished:?}");

    let fit = fit.to_string();
    let finished = finish(&mut gort_with_open_files(
        100,
        &["load", "--addr", addr, "--conns", &fit, "--secs", "1"],
    ));
    assert!(finished.status.success(), "{finished:?}");
}

#[test]
fn a_server_out_of_descriptors_goes_on_when_some_are_free() {
    let mut server = Echo::start(&mut gort_with_open_files(
        40,
        &["echo", "--addr", "127.0.0.1:0"],
    ));
    let crowd: Vec<TcpStream> = (0..60)
        .map(|_| TcpStream::connect(&server.addr).expect("queued at least"))
        .collect();
    server.wait_for_line(|line| line.starts_with("gort: no free descriptor"));
    drop(crowd);
    let mut late = TcpStream::connect(&server.addr).expect("connected");
    assert_echoes(&mut late, b"still there?");
}

#[test]
fn a_server_that_cannot_complain_goes_on() {
    const OPEN_FILES: usize = 40;
    let line = format!("ulimit -n {OPEN_FILES} && exec \"$0\" \"$@\" 2>/dev/full");
    let mut command = Command::new("sh");
    command.args(["-c", &line, GORT, "echo", "--addr", "127.0.0.1:0"]);
    let mut server = Echo::start(&mut command);
    let crowd: Vec<TcpStream> = (0..60)
        .map(|_| TcpStream::connect(&server.addr).expect("queued at least"))
        .collect();
    let fds = format!("/proc/{}/fd", server.process.0.id());
    let deadline = Instant::now() + DEADLINE;
    while std::fs::read_dir(&fds).map_or(0, Iterator::count) < OPEN_FILES {
        let ended = server.process.0.try_wait().expect("it is our child");
        assert_eq!(ended, None, "the server has ended");
        assert!(Instant::now() < deadline, "no shortage in {DEADLINE:?}");
        // waits: for the server to take all the descriptors it may, until the deadline.
        std::thread::sleep(Duration::from_millis(2));
    }
    // The next accept fails, and each that comes before the next close.
    for mut stream in crowd {
        assert_echoes(&mut stream, b"still there?");
    }
}

#[test]
fn clients_that_are_killed_leave_no_goroutine_behind() {
    let mut server = Echo::on_a_free_port();
    let idle = server.wait_for_line(|line| line.contains("goroutines"));
    let idle = number_before(&idle, " goroutines").expect("a count");
    let load = Running(
        Command::new(GORT)
            .args([
                "load",
                "--addr",
                &server.addr,
                "--conns",
                "200",
                "--secs",
                "60",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("gort starts"),
    );
    server.wait_for_line(|line| number_before(line, " open") == Some(200));
    drop(load);
    let after = server.wait_for_line(|line| number_before(line, " open") == Some(0));
    assert_eq!(number_before(&after, " goroutines"), Some(idle), "{after}");
}

#[test]
fn an_interrupt_ends_the_server() {
    // A shell starts what is to run in the background with SIGINT ignored, and so this test.
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", GORT]);
    let mut server = Echo::start(command.args(["echo", "--addr", "127.0.0.1:0"]));
    let mut client = TcpStream::connect(&server.addr).expect("connected");
    assert_echoes(&mut client, b"hello");
    let pid = server.process.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .expect("kill runs")
            .success()
    );
    let sigint = 2;
    assert_eq!(server.process.wait().signal(), Some(sigint));
}

#[test]
fn doctor_says_the_same_in_lines_and_in_json() {
    let mut json = Command::new(GORT);
    let finished = finish(
        json.args(["doctor", "--json"])
            .env("GOMAXPROCS", "3")
            .env_remove("GORT_PROCS"),
    );
    assert!(finished.status.success(), "{finished:?}");
    let facts: Value = serde_json::from_str(&finished.out).expect("one JSON array");
    let facts = facts.as_array().expect("an array");
    let lines = gort(&["doctor"]).out;
    for fact in facts {
        let name = fact["name"].as_str().expect("a name");
        let state = fact["state"].as_str().expect("a state");
        assert!(["ok", "degraded", "off"].contains(&state), "{fact}");
        assert_eq!(fact["fix"].is_null(), state == "ok", "{fact}");
        assert!(lines.contains(name), "{name} is not in\n{lines}");
    }
    let procs = facts
        .iter()
        .find(|fact| fact["name"] == "GOMAXPROCS")
        .expect("GOMAXPROCS is a fact");
    assert!(
        procs["value"]
            .as_str()
            .expect("a text")
            .starts_with("3 (from GOMAXPROCS"),
        "{procs}"
    );
}

#[test]
fn doctor_tells_thread_mode() {
    let mut doctor = Command::new(GORT);
    let finished = finish(doctor.args(["doctor", "--json"]).env("GORT_TLS", "thread"));
    let facts: Value = serde_json::from_str(&finished.out).expect("one JSON array");
    let facts = facts.as_array().expect("an array");
    let mode = facts
        .iter()
        .find(|fact| fact["name"] == "thread-locals")
        .expect("a fact");
    assert_eq!(mode["state"], "degraded", "{mode}");
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let mut doctor = Command::new("sh");
    let finished = finish(doctor.args(["-c", "\"$0\" doctor | true"]).arg(GORT));
    assert_eq!(finished.err, "");
}

#[test]
fn a_small_tour_passes_its_checks_in_both_modes() {
    for tls in ["auto", "thread"] {
        let mut tour = Command::new(GORT);
        tour.args([
            "tour",
            "--goroutines",
            "1500",
            "--conns",
            "20",
            "--secs",
            "1",
        ]);
        let finished = finish(tour.env("GORT_TLS", tls));
        assert!(finished.status.success(), "GORT_TLS={tls}: {finished:?}");
        assert!(
            finished
                .out
                .contains("1,500 goroutines parked on one channel at once\n"),
            "{finished:?}"
        );
        assert!(
            finished
                .out
                .contains("1,500 of 1,500 found their 64-byte local unchanged"),
            "{finished:?}"
        );
        assert!(!finished.out.contains("FAILED"), "{finished:?}");
        // Not a terminal: plain lines.
        assert!(
            !finished.err.contains('\x1b') && finished.err.contains("100 %"),
            "{finished:?}"
        );
    }
}

#[test]
fn a_tour_without_room_scales_down_and_says_why() {
    let args = [
        "tour",
        "--goroutines",
        "100",
        "--conns",
        "1000",
        "--secs",
        "1",
    ];
    let finished = finish(&mut gort_with_open_files(200, &args));
    assert!(finished.status.success(), "{finished:?}");
    assert!(
        finished
            .out
            .contains("(not 1,000: the limit on open files)"),
        "{finished:?}"
    );
}
