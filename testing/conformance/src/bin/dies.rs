//! Programs that die, each by its name: `dies NAME [abort]`. With `abort` under [`PanicPolicy::Abort`].
//!
//! They show what a test's own process cannot: there main is the harness, and its threads could wake
//! somebody. `tests/panics` looks at how they end.

use std::env;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use gort::PanicPolicy;
use gort::chan;
use gort::sync::{LazyLock, Mutex, WaitGroup};

fn main() {
    let mut args = env::args().skip(1);
    let name = args.next().expect("the name of a program");
    let main: fn() = match &*name {
        "empty_select" => wait_for_ever,
        "initialiser" => initialiser,
        "locked_main" => locked_main,
        "locked_other" => locked_other,
        "leaks" => leaks,
        "panic" => || panic!("test"),
        _ => panic!("no program is called {name}"),
    };
    let policy = match args.next().as_deref() {
        None => PanicPolicy::Contain,
        Some("abort") => PanicPolicy::Abort,
        Some(other) => panic!("no policy is called {other}"),
    };
    let ended = gort::Config::new().panic(policy).run(main);
    println!("run came back: {ended:?}");
}

/// Go's `select {}`. Without arms the macro does not compile; with an endless timeout it waits.
fn wait_for_ever() {
    gort::select! {
        default(Duration::MAX) => println!("the end of time"),
    }
}

/// Main needs a value whose initialiser does not end, and so does somebody else.
fn initialiser() {
    static NEVER: LazyLock<()> = LazyLock::new(wait_for_ever);
    gort::go(|| LazyLock::force(&NEVER));
    LazyLock::force(&NEVER);
}

fn locked_main() {
    let _locked = gort::lock_os_thread();
    wait_for_ever();
}

fn locked_other() {
    let other = gort::go(|| {
        let _locked = gort::lock_os_thread();
        wait_for_ever();
    });
    println!("joined: {:?}", other.join());
}

/// One goroutine left behind in each of many ways, and main waits too.
fn leaks() {
    let (from_nil, to_nil) = (chan::nil::<()>().1, chan::nil::<()>().0);
    gort::go(move || from_nil.recv());
    gort::go(move || to_nil.send(()));
    let (tx, _kept) = chan::bounded(0);
    gort::go(move || tx.send(()));
    let (_kept, rx) = chan::bounded::<()>(0);
    gort::go(move || rx.recv());
    let lock = Arc::new(Mutex::new(()));
    mem::forget(lock.lock());
    gort::go(move || drop(lock.lock()));
    let group = WaitGroup::new();
    group.add(1);
    gort::go({
        let group = group.clone();
        move || group.wait()
    });
    wait_for_ever();
    drop(group);
}
