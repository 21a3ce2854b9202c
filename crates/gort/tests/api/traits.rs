//! What the public types are besides what their methods do: traits whose absence stops callers.

use std::error::Error;
use std::panic::{RefUnwindSafe, UnwindSafe};

use gort::{chan, context, io, net, process, signal, sync, thread, time};

/// A reference may go into `catch_unwind`, and the value as well.
const fn assert_may_be_caught<T: UnwindSafe + RefUnwindSafe>() {}

const fn assert_shared<T: Send + Sync>() {}

// std's types that these stand for are both, and where std has none, a panic leaves them whole too.
const _: () = {
    assert_may_be_caught::<gort::Goroutine>();
    assert_may_be_caught::<gort::JoinHandle<&mut u8>>();
    assert_may_be_caught::<gort::ScopedJoinHandle<'static, &mut u8>>();
    assert_may_be_caught::<thread::Thread>();
    assert_may_be_caught::<thread::JoinHandle<u8>>();
    assert_may_be_caught::<chan::Sender<&mut u8>>();
    assert_may_be_caught::<chan::Receiver<&mut u8>>();
    assert_may_be_caught::<context::Context>();
    assert_may_be_caught::<context::Cancel>();
    assert_may_be_caught::<context::CancelCause>();
    assert_may_be_caught::<context::StopFunc>();
    assert_may_be_caught::<io::Stdin>();
    assert_may_be_caught::<net::Pipe>();
    assert_may_be_caught::<net::TcpStream>();
    assert_may_be_caught::<process::Child>();
    assert_may_be_caught::<signal::Stop>();
    assert_may_be_caught::<sync::Barrier>();
    assert_may_be_caught::<sync::Condvar>();
    assert_may_be_caught::<sync::ErrGroup<&mut u8>>();
    assert_may_be_caught::<sync::LazyLock<u8>>();
    assert_may_be_caught::<sync::Map<u8, u8>>();
    assert_may_be_caught::<sync::Once>();
    assert_may_be_caught::<sync::OnceLock<u8>>();
    assert_may_be_caught::<sync::Pool<u8>>();
    assert_may_be_caught::<sync::Semaphore>();
    assert_may_be_caught::<sync::SingleFlight<u8, u8>>();
    assert_may_be_caught::<sync::WaitGroup>();
    assert_may_be_caught::<sync::mpsc::Sender<u8>>();
    assert_may_be_caught::<time::Ticker>();
    assert_may_be_caught::<time::Timer>();
};

/// As std's, of which there are only references.
const fn assert_reference_may_be_caught<T: RefUnwindSafe>() {}

const _: () = {
    assert_reference_may_be_caught::<gort::Scope<'static, 'static>>();
    assert_reference_may_be_caught::<thread::Scope<'static, 'static>>();
};

const _: () = {
    assert_shared::<gort::JoinError>();
    assert_shared::<gort::ScopedJoinHandle<'static, u8>>();
    assert_shared::<gort::JoinHandle<std::cell::Cell<u8>>>();
};

#[test]
fn a_join_error_becomes_one_of_io() {
    fn run(f: fn() -> io::Result<u8>) -> io::Result<u8> {
        gort::go(f).join()?
    }
    assert_eq!(run(|| Ok(1)).unwrap(), 1);
    let missing = run(|| Err(io::ErrorKind::NotFound.into())).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    let exited = run(|| gort::goexit()).unwrap_err();
    assert_eq!(exited.kind(), io::ErrorKind::Other);
    assert!(exited.downcast::<gort::JoinError>().unwrap().is_goexit());
}

#[test]
fn a_join_error_becomes_any_error_that_is_shared() {
    fn run(f: fn()) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(gort::go(f).join()?)
    }
    let panicked = run(|| panic!("on purpose")).unwrap_err();
    let exited = run(|| gort::goexit()).unwrap_err();
    assert!(run(|| ()).is_ok());
    assert_eq!(panicked.to_string(), "the goroutine panicked: on purpose");
    assert_eq!(exited.to_string(), "the goroutine called goexit");
    let panicked = panicked.downcast::<gort::JoinError>().unwrap();
    assert_eq!(
        panicked.into_panic().downcast_ref::<&str>(),
        Some(&"on purpose")
    );
}
