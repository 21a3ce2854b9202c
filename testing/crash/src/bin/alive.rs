//! No deadlock: all goroutines are parked, and what the argument names is going to wake one.
//!
//! `timer`, `after_func`, `thread`, `thread_after_locked`, `blocking`, `sleeping`, `socket`, `signal`, `child`, `run`.

use std::process::Command;
use std::thread;
use std::time::Duration;

use gort::chan;
use gort::net::{TcpListener, TcpStream};
use gort::signal::{self, Signal};

/// Far longer than the runtime waits before it looks.
const PAUSE: Duration = Duration::from_millis(150);

fn main() {
    let mut args = std::env::args().skip(1);
    let waker = args.next().expect("an argument");
    if waker == "connect" {
        thread::sleep(PAUSE); // waits: so that all goroutines of the parent are parked
        let address = args.next().expect("an address");
        std::net::TcpStream::connect(address).unwrap();
        return;
    }
    if waker == "kill" {
        thread::sleep(PAUSE); // waits: so that all goroutines of the parent are parked
        let parent = args.next().expect("a process").parse().expect("a number");
        // SAFETY: `kill` takes any numbers.
        assert_eq!(unsafe { libc::kill(parent, libc::SIGTERM) }, 0);
        return;
    }
    gort::run(|| wait_for(&waker));
    println!("woken");
}

fn wait_for(waker: &str) {
    let (sender, receiver) = chan::bounded(0);
    match waker {
        "timer" => {
            gort::time::sleep(PAUSE); // waits: the sleep is what wakes
            return;
        }
        "after_func" => {
            gort::time::after_func(PAUSE, move || sender.send(()).unwrap()).detach();
        }
        "thread" | "thread_after_locked" => {
            if waker == "thread_after_locked" {
                // It takes its thread along, which was one of the runtime's: what is left is the one below.
                gort::go(|| std::mem::forget(gort::lock_os_thread()))
                    .join()
                    .unwrap();
            }
            thread::spawn(move || {
                thread::sleep(PAUSE); // waits: so that all goroutines are parked
                sender.send(()).unwrap();
            });
        }
        "blocking" => {
            gort::go(move || {
                gort::blocking(|| thread::sleep(PAUSE)); // waits: so that all others are parked
                sender.send(()).unwrap();
            });
        }
        "sleeping" => {
            gort::go(move || {
                thread::sleep(PAUSE); // waits: so that all others are parked
                sender.send(()).unwrap();
            });
        }
        "run" => {
            // A thread that waits in `run` wakes nobody; its goroutine does.
            thread::spawn(move || {
                gort::run(move || {
                    gort::time::sleep(PAUSE); // waits: the sleep is what wakes
                    sender.send(()).unwrap();
                });
            });
        }
        "socket" => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let program = std::env::current_exe().unwrap();
            let mut child = Command::new(program)
                .args(["connect", &address])
                .spawn()
                .unwrap();
            let (_stream, _): (TcpStream, _) = listener.accept().unwrap();
            assert!(child.wait().unwrap().success());
            return;
        }
        "signal" => {
            let signals = signal::notify(&[Signal::SIGTERM]);
            let program = std::env::current_exe().unwrap();
            let own_id = std::process::id().to_string();
            let mut child = Command::new(program)
                .args(["kill", &own_id])
                .spawn()
                .unwrap();
            assert_eq!(signals.recv(), Ok(Signal::SIGTERM));
            assert!(child.wait().unwrap().success());
            return;
        }
        "child" => {
            let script = format!("sleep {}", PAUSE.as_secs_f64());
            let mut child = gort::process::Command::new("/bin/sh");
            assert!(child.args(["-c", &script]).status().unwrap().success());
            return;
        }
        other => panic!("{other} wakes nobody"),
    }
    receiver.recv().unwrap();
}
