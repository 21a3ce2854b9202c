//! Looking up names with a resolver that does not answer. The one of libc is stood before in this program: it
//! answers for a name of ours when it is told to, and never before.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};
use std::vec;

use gort::context::{ContextError, background};
use gort::net::{TcpStream, lookup_host};
use gort_test_support::{eventually, eventually_parked, go_named};

/// Longer than any test waits for what is to happen.
const SOON: Duration = Duration::from_secs(20);

/// How many lookups block a thread at once.
const PLACES: usize = 500;

/// What the resolver does about `slow.test`.
struct Resolver {
    is_answering: bool,
    asked: usize,
    answered: usize,
}

static RESOLVER: Mutex<Resolver> = Mutex::new(Resolver {
    is_answering: false,
    asked: 0,
    answered: 0,
});
/// For those who ask: it is answering. Tests look again and again.
static ANSWERING: Condvar = Condvar::new();

/// In place of libc's: knows no names, and says so of `slow.test` only when it is to answer.
///
/// # Safety
///
/// As libc's.
#[unsafe(no_mangle)]
unsafe extern "C" fn getaddrinfo(
    host: *const c_char,
    _service: *const c_char,
    _hints: *const c_void,
    _result: *mut *mut c_void,
) -> c_int {
    // SAFETY: std passes a name that ends with a 0.
    if unsafe { CStr::from_ptr(host) } == c"slow.test" {
        let mut resolver = RESOLVER.lock().unwrap();
        resolver.asked += 1;
        while !resolver.is_answering {
            resolver = ANSWERING.wait(resolver).unwrap();
        }
        resolver.answered += 1;
    }
    libc::EAI_NONAME
}

/// One test at a time has the resolver to itself, silent at first.
fn silent() -> impl Drop {
    static ONE: gort::sync::Mutex<()> = gort::sync::Mutex::new(());
    let one = ONE.lock();
    let mut resolver = RESOLVER.lock().unwrap();
    (resolver.asked, resolver.answered, resolver.is_answering) = (0, 0, false);
    drop(resolver);
    one
}

fn answer() {
    RESOLVER.lock().unwrap().is_answering = true;
    ANSWERING.notify_all();
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn(&Resolver) -> bool) {
    let is_so = || condition(&RESOLVER.lock().unwrap());
    let deadline = Instant::now() + SOON;
    while !is_so() {
        let is_in_time = Instant::now() < deadline;
        assert!(is_in_time, "{what}:\n{}", gort::debug::stacks());
        gort::yield_now();
    }
}

fn asked() -> usize {
    RESOLVER.lock().unwrap().asked
}

/// Waits until of the goroutines "asking" `count` have asked or wait for their turn.
#[track_caller]
fn eventually_asked_or_parked(count: usize) {
    eventually("all have asked, or wait for their turn", || {
        let asked = asked();
        let goroutines = gort_core::snapshot::goroutines();
        let waiting = goroutines.iter().filter(|goroutine| {
            let reason = goroutine.wait_reason.map(|reason| reason.as_str());
            goroutine.name.as_deref() == Some("asking") && reason == Some("semacquire")
        });
        asked + waiting.count() == count
    });
}

#[track_caller]
fn assert_ended<T: std::fmt::Debug>(result: io::Result<T>, error: ContextError) {
    let failure = result.unwrap_err();
    let inner = failure.get_ref().and_then(|inner| inner.downcast_ref());
    assert_eq!(inner, Some(&error), "{failure:?}");
}

/// With one P: who waits for the resolver does not keep it.
#[gort::test(procs = 1)]
fn a_cancel_ends_the_wait_and_the_resolver_goes_on_alone() {
    let _alone = silent();
    let (ctx, cancel) = background().with_cancel();
    let texts = ["slow.test:80", "slow.test:81"];
    let mut waiting: Vec<_> = texts
        .map(|text| {
            gort::Builder::new()
                .context(&ctx)
                .go(move || lookup_host(text))
        })
        .into();
    // Connecting looks up as well.
    let connecting = gort::Builder::new().context(&ctx);
    let connecting =
        connecting.go(|| TcpStream::connect(("slow.test", 80)).map(|_| vec![].into_iter()));
    waiting.push(connecting);
    wait_until("all have asked", |resolver| resolver.asked == 3);
    cancel.cancel();
    for handle in waiting {
        assert_ended(handle.unwrap().join().unwrap(), ContextError::Canceled);
    }
    assert_eq!(RESOLVER.lock().unwrap().answered, 0);
    answer();
    wait_until("all are answered", |resolver| resolver.answered == 3);
}

#[gort::test]
fn a_deadline_ends_the_wait_for_a_name_of_any_type() {
    let _alone = silent();
    let text = String::from("slow.test:80");
    let pair = (String::from("slow.test"), 80);
    let under = |look_up: &dyn Fn() -> io::Result<vec::IntoIter<SocketAddr>>| {
        let start = Instant::now();
        let (ctx, _cancel) = background().with_timeout(Duration::from_millis(5));
        assert_ended(ctx.enter(look_up), ContextError::DeadlineExceeded);
        assert!(start.elapsed() >= Duration::from_millis(5));
    };
    under(&|| lookup_host(&text));
    under(&|| lookup_host(text.clone()));
    under(&|| lookup_host(&pair));
    under(&|| lookup_host((pair.0.as_str(), pair.1)));
    answer();
    wait_until("all are answered", |resolver| resolver.answered == 4);
}

#[gort::test]
fn an_answer_in_time_is_given_and_names_that_are_none_are_an_error() {
    let _alone = silent();
    answer();
    let (ctx, _cancel) = background().with_cancel();
    ctx.enter(|| {
        let error = lookup_host("slow.test:80").unwrap_err();
        assert!(
            error
                .get_ref()
                .is_none_or(|inner| !inner.is::<ContextError>())
        );
        let mut addrs = lookup_host("127.0.0.1:7").unwrap();
        assert_eq!(addrs.next(), Some(([127, 0, 0, 1], 7).into()));
        let error = lookup_host("no port").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_plain_thread_stops_waiting_too() {
    let _alone = silent();
    let (ctx, cancel) = background().with_cancel();
    let thread = std::thread::spawn(move || ctx.enter(|| lookup_host("slow.test:80")));
    wait_until("it has asked", |resolver| resolver.asked == 1);
    cancel.cancel();
    assert_ended(thread.join().unwrap(), ContextError::Canceled);
    answer();
    wait_until("it is answered", |resolver| resolver.answered == 1);
}

/// Of a type that is not known nothing can be kept: the context is obeyed after the answer.
#[gort::test]
fn a_type_of_the_callers_own_is_waited_for() {
    struct Own<'a>(&'a str);
    impl ToSocketAddrs for Own<'_> {
        type Iter = vec::IntoIter<SocketAddr>;
        fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
            self.0.to_socket_addrs()
        }
    }

    let _alone = silent();
    let (ctx, cancel) = background().with_cancel();
    let asking = gort::Builder::new().context(&ctx);
    let asking = asking.go(|| lookup_host(Own("slow.test:80"))).unwrap();
    wait_until("it has asked", |resolver| resolver.asked == 1);
    cancel.cancel();
    assert!(!asking.is_finished());
    answer();
    assert_ended(asking.join().unwrap(), ContextError::Canceled);
}

/// A name of any type that may wait, without a context: the call is made in place.
#[gort::test]
fn lookups_beyond_the_bound_park() {
    let _alone = silent();
    let look_up = || lookup_host("slow.test:80").map(|_| ());
    let asking: Vec<_> = (0..PLACES + 20)
        .map(|_| go_named("asking", look_up))
        .collect();
    eventually_asked_or_parked(asking.len());
    assert_eq!(asked(), PLACES);
    answer();
    let count = asking.len();
    for asking in asking {
        asking.join().unwrap().unwrap_err();
    }
    assert_eq!(asked(), count);
}

/// The calls that go on alone still block their threads.
#[gort::test]
fn lookups_that_nobody_waits_for_count() {
    let _alone = silent();
    abandon_all_places();
    let asking = go_named("asking", || lookup_host("slow.test:80"));
    eventually_asked_or_parked(PLACES + 1);
    assert_eq!(asked(), PLACES);
    answer();
    asking.join().unwrap().unwrap_err();
    wait_until("all are answered", |resolver| {
        resolver.answered == PLACES + 1
    });
}

#[gort::test]
fn a_context_ends_the_wait_for_a_turn() {
    let _alone = silent();
    abandon_all_places();
    let (ctx, cancel) = background().with_cancel();
    let thread = std::thread::spawn({
        let ctx = ctx.clone();
        move || ctx.enter(|| lookup_host("slow.test:80"))
    });
    let waiting = gort::Builder::new().context(&ctx).name("waiting");
    let waiting = waiting.go(|| TcpStream::connect(("slow.test", 80)));
    eventually_parked("waiting", "semacquire");
    cancel.cancel();
    assert_ended(waiting.unwrap().join().unwrap(), ContextError::Canceled);
    assert_ended(thread.join().unwrap(), ContextError::Canceled);
    assert_eq!(asked(), PLACES);
    answer();
    wait_until("all are answered", |resolver| resolver.answered == PLACES);
}

#[gort::test]
fn addresses_in_text_need_no_turn() {
    let _alone = silent();
    abandon_all_places();
    let look_up = || {
        let v4 = lookup_host("127.0.0.1:7").unwrap();
        let v6 = lookup_host(String::from("[::1]:7")).unwrap();
        let v4_pair = lookup_host(("127.0.0.1", 7)).unwrap();
        let v6_pair = lookup_host(&(String::from("::1"), 7)).unwrap();
        let all = v4.chain(v6).chain(v4_pair).chain(v6_pair);
        Vec::from_iter(all)
    };
    let (ctx, _cancel) = background().with_cancel();
    let inside = gort::Builder::new().context(&ctx).go(look_up).unwrap();
    let outside = gort::go(look_up);
    let v4 = SocketAddr::from(([127, 0, 0, 1], 7));
    let v6 = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 7));
    for addrs in [inside, outside] {
        eventually("they are told", || addrs.is_finished());
        assert_eq!(addrs.join().unwrap(), [v4, v6, v4, v6]);
    }
    answer();
    wait_until("all are answered", |resolver| resolver.answered == PLACES);
}

/// A type of the caller's own has a place while it looks up names in turn: for that it needs no other.
#[gort::test]
fn a_lookup_inside_another_needs_no_turn_of_its_own() {
    struct Nested;
    impl ToSocketAddrs for Nested {
        type Iter = vec::IntoIter<SocketAddr>;
        fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
            lookup_host("slow.test:80")
        }
    }

    let _alone = silent();
    let mut asking: Vec<_> = (1..PLACES)
        .map(|_| go_named("asking", || lookup_host("slow.test:80")))
        .collect();
    wait_until("one place is left", |resolver| resolver.asked == PLACES - 1);
    asking.push(gort::go(|| lookup_host(Nested)));
    wait_until("the last has asked", |resolver| resolver.asked == PLACES);
    answer();
    for asking in asking {
        asking.join().unwrap().unwrap_err();
    }
}

/// Leaves the resolver with as many calls as it may have, whose callers have gone.
fn abandon_all_places() {
    let (ctx, cancel) = background().with_cancel();
    let gone: Vec<_> = (0..PLACES)
        .map(|_| {
            let gone = gort::Builder::new().context(&ctx);
            gone.go(|| lookup_host("slow.test:80")).unwrap()
        })
        .collect();
    wait_until("all places are taken", |resolver| resolver.asked == PLACES);
    cancel.cancel();
    for gone in gone {
        assert_ended(gone.join().unwrap(), ContextError::Canceled);
    }
}
