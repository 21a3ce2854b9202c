//! PN08 to PN15, PN18: what a panic says, what becomes of it, and of the process.

use std::any::Any;
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gort::PanicPolicy;
use gort::chan::{self, RecvError, SendError, TryRecvError, TrySendError};
use gort_conformance::child;
use gort_conformance::support::panic_text;

use crate::program;

/// How the entry of goroutine 1, running, begins below a blank line; what follows differs with the mode.
const DUMP: &str = "\n\ngoroutine 1 [running";

/// What `f` panics with.
fn recovered(f: impl FnOnce()) -> Box<dyn Any + Send> {
    panic::catch_unwind(AssertUnwindSafe(f)).unwrap_err()
}

/// Runs main with Go's rule: a panic that leaves its goroutine ends the process.
fn run_with_gos_rule(main: impl FnOnce() + Send) {
    let config = gort::Config::new().panic(PanicPolicy::Abort);
    config.run(main).unwrap();
}

#[test]
fn pn08_a_panic_in_main_prints_its_text_and_goroutine_1() {
    let ended = program("panic").arg("abort").run();
    ended.assert_status(2);
    let (text, _) = ended.stderr.split_once(DUMP).expect("the dump");
    assert!(
        text.contains("panicked at ") && text.contains("\ntest\n"),
        "{ended}"
    );
}

/// By the other policy main's panic goes on in the thread that runs main.
#[test]
fn pn08_d07_a_panic_in_main_is_a_panic_of_the_program() {
    let ended = program("panic").run();
    ended.assert_status(101);
    ended.assert_says("\ntest\n");
    ended.assert_says("goroutine 1");
    assert_eq!(ended.stdout, "", "{ended}");
}

#[test]
fn pn09_a_dump_lists_no_helpers() {
    child::of(|| {
        gort::run(|| {
            let _timer = gort::time::after_func(Duration::from_secs(3600), || ());
            // More that has helpers: the poller, blocking calls, a stall's watch.
            let _listener = gort::net::TcpListener::bind("127.0.0.1:0").unwrap();
            gort::fs::read("/proc/self/status").unwrap();
            let text = gort::runtime::stacks();
            let heads: Vec<_> = text.lines().filter(|line| line.ends_with("]:")).collect();
            assert_eq!(heads.len(), 1, "{text}");
            assert!(heads[0].starts_with("goroutine 1 "), "{text}");
            assert_eq!(gort::debug::goroutines().len(), 1);
        });
    })
    .passes();
}

/// Panics thrice; the first is replaced by the second, the third ends the goroutine. The order goes to `log`.
fn panic_thrice(log: &Mutex<Vec<&'static str>>) {
    let push = |what| {
        log.lock().unwrap().push(what);
        // Others panic meanwhile.
        gort::yield_now();
    };
    gort::defer! { push("outermost") }
    let wrapped = recovered(|| {
        gort::defer! { push("outer") }
        let bad = recovered(|| {
            gort::defer! { push("inner") }
            panic!("bad");
        });
        panic!("wrap: {}", panic_text(&*bad));
    });
    assert_eq!(panic_text(&*wrapped), "wrap: bad");
    panic!("again");
}

#[gort::test]
fn pn10_panics_nested_and_recovered() {
    let goroutines = (0..20).map(|_| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&order);
        (gort::go(move || panic_thrice(&log)), order)
    });
    for (goroutine, order) in goroutines.collect::<Vec<_>>() {
        let payload = goroutine.join().unwrap_err().into_panic();
        assert_eq!(panic_text(&*payload), "again");
        assert_eq!(*order.lock().unwrap(), ["inner", "outer", "outermost"]);
    }
    // Three deep the innermost is seen first.
    let seen = Mutex::new(Vec::new());
    let see = |payload: Box<dyn Any + Send>| {
        seen.lock().unwrap().push(panic_text(&*payload).to_owned());
    };
    see(recovered(|| {
        see(recovered(|| {
            see(recovered(|| panic!("1")));
            gort::yield_now();
            panic!("2");
        }));
        panic!("3");
    }));
    assert_eq!(*seen.lock().unwrap(), ["1", "2", "3"]);
}

#[test]
fn pn11_a_panic_resumed_with_the_same_payload_is_reported_once() {
    #[derive(PartialEq, Debug)]
    struct Payload(u32);
    let output = child::of(|| {
        run_with_gos_rule(|| {
            let again = recovered(|| panic::panic_any(Payload(7)));
            assert_eq!(again.downcast_ref(), Some(&Payload(7)));
            let address = again
                .downcast_ref::<Payload>()
                .map(|payload| payload as *const _);
            let same = recovered(|| panic::resume_unwind(again));
            let address_now = same
                .downcast_ref::<Payload>()
                .map(|payload| payload as *const _);
            assert_eq!(address_now, address);
            println!("resumed twice");
            panic::resume_unwind(same);
        });
    })
    .output();
    assert_eq!(output.status.code(), Some(2), "{output}");
    assert!(output.stdout.contains("resumed twice"), "{output}");
    assert_eq!(output.stderr.matches("panicked at ").count(), 1, "{output}");
    assert!(output.stderr.contains(DUMP), "{output}");
}

#[gort::test]
fn pn11_d07_join_gives_the_payload_that_was_resumed() {
    let ended = gort::go(|| {
        let payload = recovered(|| panic::panic_any(7_u32));
        gort::yield_now();
        panic::resume_unwind(payload);
    });
    let payload = ended.join().unwrap_err().into_panic();
    assert_eq!(payload.downcast_ref(), Some(&7_u32));
}

/// As text it lets others run.
struct Yields;

impl fmt::Display for Yields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for _ in 0..10 {
            gort::yield_now();
        }
        f.write_str("error that yields")
    }
}

/// As text it prints, and waits for the network.
struct Prints;

#[expect(clippy::print_in_format_impl, reason = "it is the case")]
impl fmt::Display for Prints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        println!("1");
        let (mut reader, mut writer) = gort::io::pipe().unwrap();
        let writer = gort::go(move || writer.write_all(b"2"));
        let mut buf = [0];
        reader.read_exact(&mut buf).unwrap();
        writer.join().unwrap().unwrap();
        println!("{}", char::from(buf[0]));
        f.write_str("3")
    }
}

#[test]
fn pn12_a_panic_value_whose_formatting_yields() {
    let output = child::of(|| {
        run_with_gos_rule(|| {
            let _busy = gort::go(|| {
                loop {
                    gort::yield_now();
                }
            });
            panic!("{Yields}");
        });
    })
    .output();
    assert_eq!(output.status.code(), Some(2), "{output}");
    assert!(output.stderr.contains("\nerror that yields\n"), "{output}");
    assert!(output.stderr.contains(DUMP), "{output}");
}

#[test]
fn pn12_a_panic_value_whose_formatting_does_io() {
    let output = child::of(|| run_with_gos_rule(|| panic!("{Prints}"))).output();
    assert_eq!(output.status.code(), Some(2), "{output}");
    assert!(output.stdout.contains("1\n2\n"), "{output}");
    assert!(output.stderr.contains("\n3\n"), "{output}");
}

/// Many at once, and none keeps another from its own.
#[gort::test]
fn pn12_d07_panics_whose_formatting_waits_are_contained() {
    let goroutines = (0..50).map(|i| {
        gort::go(move || match i % 2 {
            0 => panic!("{Yields}"),
            _ => panic!("{Prints}"),
        })
    });
    for (i, goroutine) in goroutines.collect::<Vec<_>>().into_iter().enumerate() {
        let goroutine: gort::JoinHandle<()> = goroutine;
        let payload = goroutine.join().unwrap_err().into_panic();
        assert_eq!(panic_text(&*payload), ["error that yields", "3"][i % 2]);
    }
}

/// As text it panics.
struct Panics;

impl fmt::Display for Panics {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("panicked while printing");
    }
}

#[test]
fn pn13_a_panic_value_whose_formatting_panics_is_reported_not_looped() {
    let output = child::of(|| {
        gort::run(|| {
            let ended: gort::JoinHandle<()> = gort::go(|| panic!("{Panics}"));
            println!("joined: {:?}", ended.join());
        });
    })
    .output();
    // std ends the process at a panic in a panic.
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output}");
    assert_eq!(
        output.stderr.matches("panicked while printing").count(),
        1,
        "{output}"
    );
    assert!(!output.stdout.contains("joined"), "{output}");
}

/// What Go panics with is a value here, or a panic with Go's text.
#[gort::test]
fn pn14_errors_of_channels_can_be_told_apart() {
    let (tx, rx) = chan::bounded(1);
    assert!(tx.close());
    // "close of closed channel"
    assert!(!tx.close());
    assert!(!rx.close());
    // "send on closed channel"
    assert_eq!(tx.send(1), Err(SendError(1)));
    assert_eq!(tx.try_send(1), Err(TrySendError::Disconnected(1)));
    assert_eq!(rx.recv(), Err(RecvError));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
    // "close of nil channel": there is nothing to close, and nobody made it by forgetting to.
    let (tx, rx) = chan::nil();
    assert!(!tx.close() && !rx.close());
    assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    // A negative size does not compile; one that cannot be is Go's panic.
    let payload = recovered(|| drop(chan::bounded::<[u8; 1024]>(usize::MAX)));
    assert_eq!(panic_text(&*payload), "makechan: size out of range");

    // By type in an error of any kind, and by text.
    let errors: [Box<dyn std::error::Error>; 4] = [
        SendError(1).into(),
        RecvError.into(),
        TryRecvError::Empty.into(),
        TrySendError::Full(1).into(),
    ];
    let is = [
        errors.each_ref().map(|error| error.is::<SendError<i32>>()),
        errors.each_ref().map(|error| error.is::<RecvError>()),
        errors.each_ref().map(|error| error.is::<TryRecvError>()),
        errors
            .each_ref()
            .map(|error| error.is::<TrySendError<i32>>()),
    ];
    for (i, row) in is.iter().enumerate() {
        for (j, is_of_type) in row.iter().enumerate() {
            assert_eq!(*is_of_type, i == j, "{}", errors[j]);
        }
    }
    let texts = errors.each_ref().map(ToString::to_string);
    assert!(
        (1..texts.len()).all(|i| !texts[..i].contains(&texts[i])),
        "{texts:?}"
    );
}

/// A panic that leaves a destructor while another one unwinds ends the process in Rust, with both texts. One that
/// stays within the destructor is gone when it ends, and the older one goes on.
#[gort::test]
fn pn15_a_panic_overtaken_by_a_newer_one_within_a_destructor() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let ended = gort::go(move || {
        gort::defer! {
            let newer = recovered(|| panic!("panic2"));
            gort::yield_now();
            log.lock().unwrap().push(panic_text(&*newer).to_owned());
            // There is no other one to recover here.
            assert!(panic::catch_unwind(gort::yield_now).is_ok());
        }
        panic!("panic1");
    });
    let payload = ended.join().unwrap_err().into_panic();
    assert_eq!(*seen.lock().unwrap(), ["panic2"]);
    assert_eq!(panic_text(&*payload), "panic1");
}

#[test]
fn pn15_a_panic_that_leaves_a_destructor_during_another_ends_the_process() {
    let output = child::of(|| {
        gort::run(|| {
            let ended: gort::JoinHandle<()> = gort::go(|| {
                gort::defer! { panic!("panic2"); }
                panic!("panic1");
            });
            println!("joined: {:?}", ended.join());
        });
    })
    .output();
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output}");
    let (_, after_the_first) = output.stderr.split_once("panic1").expect("the first text");
    assert!(after_the_first.contains("panic2"), "{output}");
    assert!(!output.stdout.contains("joined"), "{output}");
}

#[test]
fn pn18_a_panic_while_many_run_ends_the_process_soon() {
    // One that does not end soon is ended, with another status.
    let output = child::of(|| {
        run_with_gos_rule(|| {
            for _ in 0..100 {
                gort::go(|| {
                    loop {
                        // SAFETY: writes one byte of a string. Not by std, whose lock would order the writes.
                        unsafe { libc::write(2, c"~".as_ptr().cast(), 1) };
                        gort::yield_now();
                    }
                });
            }
            let dying = gort::go(|| panic!("the message"));
            let ended: Result<(), _> = dying.join();
            println!("joined: {ended:?}");
        });
    })
    .output();
    assert_eq!(output.status.code(), Some(2), "{output}");
    assert!(!output.stdout.contains("joined"), "{output}");
    // What the others write may stand between the letters of what the panic hook writes, but not in the dump, which is
    // the last.
    let (before, dump) = output.stderr.split_once(" [running").expect("the dump");
    assert!(!dump.contains('~'), "{dump}");
    let before: String = before.chars().filter(|c| *c != '~').collect();
    assert!(before.contains("\nthe message\n"), "{before}");
}
