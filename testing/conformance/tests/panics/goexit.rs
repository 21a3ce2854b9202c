//! PN03 to PN06: goexit of main, and goexit and panics that meet in destructors.

use std::panic;
use std::sync::{Arc, Mutex};

use gort_conformance::child;
use gort_conformance::support::panic_text;

#[test]
fn pn03_a_deadlock_after_goexit_in_main() {
    let output = child::of(|| {
        gort::run(|| {
            for _ in 0..2 {
                gort::go(|| {
                    gort::yield_now();
                    println!("one ends");
                });
            }
            gort::goexit();
        });
        println!("run came back");
    })
    .output();
    assert_eq!(output.status.code(), Some(2), "{output}");
    let text = "fatal error: no goroutines (main called runtime.Goexit) - deadlock!";
    assert!(output.stderr.contains(text), "{output}");
    assert_eq!(output.stdout.matches("one ends").count(), 2, "{output}");
    assert!(!output.stdout.contains("run came back"), "{output}");
}

/// A second unwind cannot begin in a destructor: the process ends, with a text that says why.
#[test]
fn pn04_d11_goexit_in_a_destructor_while_panicking_says_that_it_cannot() {
    let output = child::of(|| {
        gort::run(|| {
            let ended = gort::go(|| {
                gort::defer! { gort::goexit(); }
                panic!("first");
            });
            println!("joined: {:?}", ended.join());
        });
    })
    .output();
    assert_eq!(output.status.code(), Some(2), "{output}");
    let text = "fatal error: goexit in a destructor that runs because of a panic: it cannot replace the panic\n";
    assert!(output.stderr.contains("first"), "{output}");
    assert!(output.stderr.ends_with(text), "{output}");
    assert!(!output.stdout.contains("joined"), "{output}");
}

/// Go's outcome in a destructor that stays within it: the goexit is caught there, and the panic goes on.
#[gort::test]
fn pn04_d11_a_panic_goes_on_where_another_goroutine_exits_for_its_destructor() {
    let ended = gort::go(|| {
        gort::defer! {
            let helper = gort::go(|| gort::goexit());
            assert!(helper.join().unwrap_err().is_goexit());
        }
        panic!("first");
    });
    let payload = ended.join().unwrap_err().into_panic();
    assert_eq!(panic_text(&*payload), "first");
}

#[test]
fn pn05_a_panic_in_a_destructor_during_goexit_ends_the_process() {
    let output = child::of(|| {
        gort::run(|| {
            let ended = gort::go(|| {
                gort::defer! { panic!("hello"); }
                gort::goexit();
            });
            println!("joined: {:?}", ended.join());
        });
    })
    .output();
    assert!(!output.status.success(), "{output}");
    assert!(output.stderr.contains("hello"), "{output}");
    assert!(!output.stdout.contains("joined"), "{output}");
}

#[gort::test]
fn pn06_a_panic_recovered_during_goexit_lets_it_go_on() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&order);
    let ended = gort::go(move || {
        let push = |what: String| log.lock().unwrap().push(what);
        gort::defer! { push("outer".into()) }
        gort::defer! {
            let recovered = panic::catch_unwind(|| panic!("bad")).unwrap_err();
            push(format!("recovered {}", panic_text(&*recovered)));
            gort::yield_now();
        }
        gort::goexit();
    });
    assert!(ended.join().unwrap_err().is_goexit());
    assert_eq!(*order.lock().unwrap(), ["recovered bad", "outer"]);
}
