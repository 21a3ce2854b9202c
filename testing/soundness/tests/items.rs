//! Each public item of the crate `gort` is in a call of the table, or exempt for a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::needs_drop;
use std::path::Path;

use gort_soundness::{calls, items};

/// Traits whose implementations are data, promises to the compiler, or called by what is in the table.
const TRAITS: &[(&str, &str)] = &[
    ("Debug", "reads"),
    ("Display", "reads"),
    ("Error", "nothing of its own"),
    ("From", "moves data"),
    ("FromRawFd", "unsafe to call"),
    ("PartialEq", "reads"),
    ("Eq", "nothing of its own"),
    ("Send", "a promise to the compiler"),
    ("Sync", "a promise to the compiler"),
    ("UnwindSafe", "a promise to the compiler"),
    ("RefUnwindSafe", "a promise to the compiler"),
    ("FusedIterator", "a promise to callers"),
    ("RawMutex", "called by Mutex"),
    ("RawMutexFair", "called by Mutex"),
    ("RawMutexTimed", "called by Mutex"),
    ("RawRwLock", "called by RwLock"),
    ("RawRwLockFair", "called by RwLock"),
    ("RawRwLockDowngrade", "called by RwLock"),
    ("RawRwLockTimed", "called by RwLock"),
    ("RawRwLockRecursive", "called by RwLock"),
    ("RawRwLockUpgrade", "called by RwLock"),
    ("RawRwLockUpgradeDowngrade", "called by RwLock"),
    ("RawRwLockUpgradeFair", "called by RwLock"),
    ("RawRwLockUpgradeTimed", "called by RwLock"),
];

const EXEMPT: &[(&str, &str)] = &[
    ("forget(io::Stdin)", "std's handle of what is static"),
    (
        "forget(io::StdinLock)",
        "there is one; as with a MutexGuard",
    ),
    (
        "runtime::run_main",
        "what #[gort::main] calls; testing/crash has such programs",
    ),
    (
        "runtime::run_test",
        "what #[gort::test] calls, from the test harness",
    ),
    ("__gort_select!", "behind select!"),
    ("chan::recv", "of the module `internal`, behind select!"),
    ("chan::send", "of the module `internal`, behind select!"),
    ("chan::select", "of the module `internal`, behind select!"),
    (
        "chan::try_select",
        "of the module `internal`, behind select!",
    ),
    (
        "chan::select_timeout",
        "of the module `internal`, behind select!",
    ),
    (
        "chan::RecvArm::erase",
        "of the module `internal`, behind select!",
    ),
    (
        "chan::RecvArm::finish",
        "of the module `internal`, behind select!",
    ),
    (
        "chan::SendArm::erase",
        "of the module `internal`, behind select!",
    ),
    (
        "chan::SendArm::promise",
        "of the module `internal`, behind select!",
    ),
    (
        "chan::Promise::keep",
        "of the module `internal`, behind select!",
    ),
    (
        "chan::Promise:Drop",
        "of the module `internal`, behind select!",
    ),
    (
        "forget(chan::Promise)",
        "of the module `internal`, behind select!",
    ),
    (
        "forget(chan::Arm)",
        "of the module `internal`, behind select!",
    ),
    (
        "forget(chan::RecvArm)",
        "of the module `internal`, behind select!",
    ),
    (
        "forget(chan::SendArm)",
        "of the module `internal`, behind select!",
    ),
    ("use(main)", "expands to run_main"),
    ("use(test)", "expands to run_test"),
    ("use(runtime::ConfigError)", "data"),
    ("use(runtime::DeadlockPolicy)", "data"),
    ("use(runtime::PanicPolicy)", "data"),
    ("use(debug::WaitReason)", "data"),
    ("forget(Builder)", "owns memory and no more"),
    ("forget(context::Cause)", "std's Arc"),
    (
        "chan::Receiver::into_stream",
        "of the feature `futures`; see gort's tests/stream.rs",
    ),
    (
        "chan::Sender::into_sink",
        "of the feature `futures`; see gort's tests/stream.rs",
    ),
    (
        "chan::RecvStream:Drop",
        "of the feature `futures`; see gort's tests/stream.rs",
    ),
    (
        "chan::RecvStream:FusedStream",
        "of the feature `futures`; see gort's tests/stream.rs",
    ),
    (
        "chan::RecvStream:Stream",
        "of the feature `futures`; see gort's tests/stream.rs",
    ),
    (
        "chan::SendSink:Drop",
        "of the feature `futures`; see gort's tests/stream.rs",
    ),
    (
        "chan::SendSink:Sink",
        "of the feature `futures`; see gort's tests/stream.rs",
    ),
    (
        "forget(chan::RecvStream)",
        "of the feature `futures`; see gort's tests/stream.rs",
    ),
    (
        "forget(chan::SendSink)",
        "of the feature `futures`; see gort's tests/stream.rs",
    ),
    (
        "tracing::Registry:Default",
        "of the feature `tracing`; see gort's tests/tracing",
    ),
    (
        "tracing::Registry:Subscriber",
        "of the feature `tracing`; see gort's tests/tracing",
    ),
    (
        "tracing::Registry:LookupSpan",
        "of the feature `tracing`; see gort's tests/tracing",
    ),
    (
        "tracing::Data:SpanData",
        "of the feature `tracing`; see gort's tests/tracing",
    ),
    (
        "forget(tracing::Registry)",
        "of the feature `tracing`; a global one is never dropped",
    ),
    (
        "forget(tracing::Data)",
        "of the feature `tracing`; see gort's tests/tracing",
    ),
    (
        "runtime::shutdown_timeout",
        "for good; see gort's tests/shutdown.rs",
    ),
    ("forget(runtime::StillRunning)", "owns memory and no more"),
    ("forget(thread::Builder)", "owns memory and no more"),
    ("forget(runtime::Stall)", "owns memory and no more"),
    ("forget(runtime::Metrics)", "owns memory and no more"),
    ("forget(runtime::TestOptions)", "of #[gort::test]"),
    ("forget(debug::GoroutineInfo)", "owns memory and no more"),
    ("forget(debug::Frame)", "owns memory and no more"),
    (
        "forget(io::StdoutLock)",
        "keeps the stream to its goroutine for ever, as std's does to its thread",
    ),
    ("forget(io::StderrLock)", "as StdoutLock"),
    (
        "forget(process::)",
        "a macro's, for pipes, which are called by name",
    ),
    ("process::&:Read", "as above"),
    ("process::::from_std", "as above"),
    (
        "alloc::OnThread::new",
        "a global allocator; see testing/alloc",
    ),
    (
        "alloc::OnThread::inner",
        "a global allocator; see testing/alloc",
    ),
    ("alloc::OnThread:GlobalAlloc", "see testing/alloc"),
];

/// Types of which nothing is left to forget: they have no destructor.
macro_rules! without_destructor {
    ($($path:literal: $type:ty,)+) => {
        const WITHOUT_DESTRUCTOR: &[(&str, bool)] = &[$(($path, needs_drop::<$type>())),+];
    };
}
without_destructor! {
    "Goroutine": gort::Goroutine,
    "GoroutineId": gort::GoroutineId,
    "Scope": gort::Scope<'static, 'static>,
    "chan::Iter": gort::chan::Iter<'static, u32>,
    "chan::ReadyTimeoutError": gort::chan::ReadyTimeoutError,
    "chan::RecvError": gort::chan::RecvError,
    "chan::RecvTimeoutError": gort::chan::RecvTimeoutError,
    "chan::SelectTimeoutError": gort::chan::SelectTimeoutError,
    "chan::SendError": gort::chan::SendError<u32>,
    "chan::SendTimeoutError": gort::chan::SendTimeoutError<u32>,
    "chan::TryIter": gort::chan::TryIter<'static, u32>,
    "chan::TryReadyError": gort::chan::TryReadyError,
    "chan::TryRecvError": gort::chan::TryRecvError,
    "chan::TrySelectError": gort::chan::TrySelectError,
    "chan::TrySendError": gort::chan::TrySendError<u32>,
    "context::ContextError": gort::context::ContextError,
    "context::RecvCtxError": gort::context::RecvCtxError,
    "context::SendCtxError": gort::context::SendCtxError<u32>,
    "debug::State": gort::debug::State,
    "fs::DirBuilder": gort::fs::DirBuilder,
    "fs::OpenOptions": gort::fs::OpenOptions,
    "alloc::OnThread": gort::alloc::OnThread<std::alloc::System>,
    "io::Stderr": gort::io::Stderr,
    "io::Stdout": gort::io::Stdout,
    "signal::Received": gort::signal::Received,
    "signal::Signal": gort::signal::Signal,
    "thread::Scope": gort::thread::Scope<'static, 'static>,
    "thread::ThreadId": gort::thread::ThreadId,
    "net::unix::Incoming": gort::net::unix::Incoming<'static>,
    "net::Incoming": gort::net::Incoming<'static>,
    "net::TcpListenerBuilder": gort::net::TcpListenerBuilder<std::net::SocketAddr>,
    "runtime::Config": gort::Config,
    "runtime::StallKind": gort::runtime::StallKind,
    "runtime::TlsMode": gort::runtime::TlsMode,
    "sync::Barrier": gort::sync::Barrier,
    "sync::BarrierWaitResult": gort::sync::BarrierWaitResult,
    "sync::Condvar": gort::sync::Condvar,
    "sync::Mutex": gort::sync::Mutex<u32>,
    "sync::Once": gort::sync::Once,
    "sync::RawMutex": gort::sync::RawMutex,
    "sync::RawRwLock": gort::sync::RawRwLock,
    "sync::RwLock": gort::sync::RwLock<u32>,
    "sync::Semaphore": gort::sync::Semaphore,
    "sync::WaitTimeoutResult": gort::sync::WaitTimeoutResult,
    "sync::mpsc::Iter": gort::sync::mpsc::Iter<'static, u32>,
    "sync::mpsc::TryIter": gort::sync::mpsc::TryIter<'static, u32>,
    "time::Elapsed": gort::time::Elapsed,
}

#[test]
fn each_public_item_is_called_or_exempt() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/gort/src");
    let items = items::read(&folder).expect("the source of gort");
    // The reader reads: a few that must be among them.
    for known in [
        "go",
        "chan::Sender::send",
        "forget(sync::Permit)",
        "chan::Sender:Drop",
    ] {
        assert!(
            items.iter().any(|item| item.path == known),
            "no {known} among {items:?}"
        );
    }

    let table = calls::all();
    let called: BTreeSet<&str> = table.iter().flat_map(|call| call.covers()).collect();
    let exempt: BTreeMap<&str, &str> = EXEMPT.iter().copied().collect();
    let traits: BTreeMap<&str, &str> = TRAITS.iter().copied().collect();
    let plain: BTreeSet<String> = WITHOUT_DESTRUCTOR
        .iter()
        .inspect(|(path, needs)| assert!(!needs, "{path} has a destructor: forget it in a call"))
        .map(|(path, _)| format!("forget({path})"))
        .collect();

    let is_trait = |path: &str| {
        let last = path.rsplit(':').next().unwrap_or_default();
        traits.contains_key(last)
    };
    let mut problems = Vec::new();
    for item in &items {
        let path = item.path.as_str();
        let is_exempt = exempt.contains_key(path) || plain.contains(path) || is_trait(path);
        match (called.contains(path), is_exempt) {
            (false, false) => problems.push(format!("{path} ({}) is never called", item.at)),
            (true, true) => problems.push(format!("{path} is exempt, but called")),
            _ => {}
        }
    }
    let known: BTreeSet<&str> = items.iter().map(|item| item.path.as_str()).collect();
    let named = called.iter().copied().chain(exempt.keys().copied());
    for path in named.chain(plain.iter().map(String::as_str)) {
        // Methods and implementations may be written by macros, where the reader does not see them.
        let of = path
            .rsplit_once(':')
            .map_or("", |(of, _)| of.trim_end_matches(':'));
        let is_of_a_type = known.contains(format!("forget({})", of.replace('&', "")).as_str());
        if !known.contains(path) && !is_of_a_type {
            problems.push(format!("{path} is named here, but is no public item"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn each_call_has_a_name_of_its_own() {
    let table = calls::all();
    let names: BTreeSet<&str> = table.iter().map(|call| call.name).collect();
    assert_eq!(names.len(), table.len());
    // The protocol between processes: a name, a colon, an outcome; a line each.
    assert!(
        names
            .iter()
            .all(|name| !name.contains(": ") && !name.contains('\n'))
    );
}
