//! S13 to S16, S21 to S23, S115: the first of several answers, and an account that one goroutine owns.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gort::chan::{self, Receiver, RecvError, Sender, select};
use gort::debug::WaitReason;
use gort::runtime::PanicPolicy;
use gort_conformance::child;
use gort_conformance::support::{
    assert_not_for_a_while, eventually, eventually_parked, go_named, panic_text, reason_of,
};

use super::Counted;

const REPLICAS: usize = 5;

/// The searches of all replicas. The first one's is quick, the others' last until its answer is there.
struct Searches {
    done: AtomicUsize,
    is_answered: Receiver<()>,
}

impl Searches {
    fn search(&self, replica: usize) -> usize {
        if replica != 0 {
            assert_eq!(self.is_answered.recv(), Err(RecvError));
        }
        self.done.fetch_add(1, Ordering::SeqCst);
        replica
    }

    fn count(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }
}

/// Starts `replica_of(i, searches)` for each replica, in goroutines called `<name> <i>`. What comes back
/// is closed when there is an answer.
fn start_replicas<F: FnOnce() + Send + 'static>(
    name: &str,
    replica_of: impl Fn(usize, Arc<Searches>) -> F,
) -> (Arc<Searches>, Sender<()>) {
    let (answered, is_answered) = chan::bounded(0);
    let searches = Arc::new(Searches {
        done: AtomicUsize::new(0),
        is_answered,
    });
    for i in 0..REPLICAS {
        go_named(&format!("{name} {i}"), replica_of(i, Arc::clone(&searches)));
    }
    (searches, answered)
}

/// Whether all replicas of that name have ended.
fn have_ended(name: &str) -> bool {
    (0..REPLICAS).all(|i| reason_of(&format!("{name} {i}")).is_none())
}

#[gort::test]
fn s013_an_unbuffered_answer_channel_leaks_the_losers() {
    let mut kept = Vec::new();
    for call in 1..=3 {
        let (s, r) = chan::bounded(0);
        let (_, answered) = start_replicas(&format!("s013 call {call}"), |i, searches| {
            let s = s.clone();
            move || {
                let _ = s.send(searches.search(i));
            }
        });
        assert_eq!(r.recv(), Ok(0));
        answered.close();
        for i in 1..REPLICAS {
            eventually_parked(&format!("s013 call {call} {i}"), "chan send");
        }
        let first = format!("s013 call {call} 0");
        eventually("the first has ended", || reason_of(&first).is_none());
        // Each call leaves four more, which name what they wait for, and who made them and where.
        let mut left = gort::debug::goroutines();
        let is_ours = |name: &str| name.starts_with("s013 call ");
        left.retain(|one| one.name.as_deref().is_some_and(is_ours));
        assert_eq!(left.len(), call * (REPLICAS - 1), "{left:#?}");
        for one in &left {
            assert_eq!(one.wait_reason, Some(WaitReason::ChanSend), "{one:#?}");
            assert_eq!(one.parked_at.file(), file!(), "{one:#?}");
            assert_eq!(one.created_at.file(), file!(), "{one:#?}");
            assert_eq!(one.created_by, Some(gort::current().id()), "{one:#?}");
        }
        kept.push(r);
    }
    // For as long as the receivers are kept. Here their drop frees the losers (D4).
    drop(kept);
    eventually("the losers end", || {
        (1..=3).all(|call| have_ended(&format!("s013 call {call}")))
    });
}

#[gort::test]
fn s014_a_buffer_for_every_answer_leaks_none() {
    let (s, r) = chan::bounded(REPLICAS);
    let (searches, answered) = start_replicas("s014", |i, searches| {
        let s = s.clone();
        move || s.send(searches.search(i)).unwrap()
    });
    assert_eq!(r.recv(), Ok(0));
    answered.close();
    eventually("all end", || have_ended("s014"));
    assert_eq!(searches.count(), REPLICAS);
    assert_eq!(r.len(), REPLICAS - 1);
}

#[gort::test]
fn s015_a_sender_with_a_default_arm_drops_its_late_answer() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let (s, r) = chan::bounded(1);
    let (searches, answered) = start_replicas("s015", |i, searches| {
        let (s, dropped) = (s.clone(), Arc::clone(&dropped));
        move || {
            // Before the select, so that every replica does its whole search.
            let answer = (searches.search(i), Counted(dropped));
            select! {
                send(s, answer) -> sent => sent.unwrap(),
                default => {}
            }
        }
    });
    let (first, _counted) = r.recv().unwrap();
    assert_eq!(first, 0);
    answered.close();
    eventually("all end", || have_ended("s015"));
    assert_eq!(searches.count(), REPLICAS);
    // One more found the place of the first; the others' values are gone.
    assert_eq!(dropped.load(Ordering::SeqCst), REPLICAS - 2);
    assert_eq!(r.len(), 1);
}

#[gort::test]
fn s016_a_done_channel_frees_the_losers() {
    let (s, r) = chan::bounded(0);
    let (done, is_done) = chan::bounded::<()>(0);
    let (searches, answered) = start_replicas("s016", |i, searches| {
        let (s, is_done) = (s.clone(), is_done.clone());
        move || {
            let answer = searches.search(i);
            select! {
                send(s, answer) -> _ => {}
                recv(is_done) -> _ => {}
            }
        }
    });
    let first = {
        gort::defer! { done.close(); }
        r.recv()
    };
    assert_eq!(first, Ok(0));
    answered.close();
    eventually("the losers end", || have_ended("s016"));
    assert_eq!(searches.count(), REPLICAS);
}

/// What is asked of the goroutine that owns the balance.
#[derive(Clone)]
struct Account {
    deposits: Sender<i64>,
    withdrawals: Sender<i64>,
    /// A channel of channels for the answers.
    balances: Sender<Sender<i64>>,
}

impl Account {
    /// Starts the owner; it ends when `done` closes.
    fn open(name: &str, mut balance: i64, done: Receiver<()>) -> (Account, gort::JoinHandle<()>) {
        let (deposits, deposited) = chan::bounded(0);
        let (withdrawals, withdrawn) = chan::bounded(0);
        let (balances, asked) = chan::bounded::<Sender<i64>>(0);
        let owner = go_named(name, move || {
            loop {
                select! {
                    recv(deposited) -> amount => balance += amount.unwrap_or(0),
                    recv(withdrawn) -> amount => {
                        let amount = amount.unwrap_or(0);
                        assert!(amount <= balance, "杰克穷死");
                        balance -= amount;
                    }
                    recv(asked) -> reply => if let Ok(reply) = reply {
                        reply.send(balance).unwrap();
                    },
                    recv(done) -> _ => return,
                }
            }
        });
        let account = Account {
            deposits,
            withdrawals,
            balances,
        };
        (account, owner)
    }

    /// The balance; none if nobody owns it any more.
    fn balance(&self) -> Result<i64, RecvError> {
        let (reply, answer) = chan::bounded(1);
        let _ = self.balances.send(reply);
        answer.recv()
    }
}

#[gort::test]
fn s021_s115_an_account_owned_by_one_goroutine_keeps_its_balance() {
    let (done, is_done) = chan::bounded(0);
    let (account, owner) = Account::open("s021", 10, is_done);
    gort::scope(|s| {
        for _ in 0..1000 {
            let account = &account;
            s.go(move || {
                account.deposits.send(3).unwrap();
                account.withdrawals.send(1).unwrap();
            });
        }
    });
    assert_eq!(account.balance(), Ok(2010));
    done.close();
    owner.join().unwrap();
}

#[gort::test]
fn s022_d07_the_owners_panic_carries_its_text() {
    let (_done, is_done) = chan::bounded(0);
    let (account, owner) = Account::open("s022", 10, is_done);
    account.withdrawals.send(11).unwrap();
    let payload = owner.join().unwrap_err().into_panic();
    assert_eq!(panic_text(&*payload), "杰克穷死");
    // Unwinding dropped the owner's ends: later callers hear of it instead of waiting for ever (D4).
    assert_eq!(account.balance(), Err(RecvError));
    assert!(account.deposits.send(1).is_err());
}

#[test]
fn s022_with_gos_rule_the_owners_panic_ends_the_process() {
    let output = child::of(|| {
        let config = gort::Config::new().panic(PanicPolicy::Abort);
        let run = config.run(|| {
            let (_done, is_done) = chan::bounded(0);
            let (account, owner) = Account::open("s022", 10, is_done);
            account.withdrawals.send(11).unwrap();
            drop(owner.join());
        });
        run.unwrap();
    })
    .output();
    assert_eq!(output.status.code(), Some(2), "{output}");
    assert!(output.stderr.contains("杰克穷死"), "{output}");
}

#[gort::test]
fn s023_d04_the_owner_ends_only_if_it_has_a_done_arm() {
    // Without one: closed channels are arms that are always ready, so the owner has to go on for ever, or
    // keep ends of its own, as here.
    let (deposits, deposited) = chan::bounded::<i64>(0);
    let (stop, is_stopped) = chan::bounded::<()>(0);
    let kept = deposits.clone();
    let leaked = go_named("s023 without", move || {
        let _kept = kept;
        select! {
            recv(deposited) -> _ => {}
            recv(is_stopped) -> _ => {}
        }
    });
    drop(deposits);
    eventually_parked("s023 without", "select");
    assert_not_for_a_while("the owner ends", || leaked.is_finished());
    // The test ends it; the account's drop has not.
    stop.close();
    leaked.join().unwrap();

    let (done, is_done) = chan::bounded(0);
    let (account, owner) = Account::open("s023 with", 10, is_done);
    eventually_parked("s023 with", "select");
    done.close();
    owner.join().unwrap();
    assert_eq!(reason_of("s023 with"), None);
    // The account is there still, and nobody owns its balance.
    assert_eq!(account.balance(), Err(RecvError));
}

/// In each of the four variants, S13 to S16.
#[gort::test]
fn s017_one_replica_leaks_none() {
    type Replica = fn(Sender<usize>, Receiver<()>);
    let variants: [(&str, usize, Replica); 4] = [
        ("s017 unbuffered", 0, |s, _| s.send(1).unwrap()),
        ("s017 buffered", 1, |s, _| s.send(1).unwrap()),
        ("s017 default arm", 1, |s, _| {
            select! {
                send(s, 1) -> sent => sent.unwrap(),
                default => unreachable!("there is room"),
            }
        }),
        ("s017 done", 0, |s, is_done| {
            select! {
                send(s, 1) -> sent => sent.unwrap(),
                recv(is_done) -> _ => unreachable!("it closes after the answer"),
            }
        }),
    ];
    for (name, capacity, replica) in variants {
        let (s, r) = chan::bounded(capacity);
        let (done, is_done) = chan::bounded::<()>(0);
        let replica = go_named(name, move || replica(s, is_done));
        let first = {
            gort::defer! { done.close(); }
            r.recv()
        };
        assert_eq!(first, Ok(1), "{name}");
        replica.join().expect("no panic");
        assert_eq!(reason_of(name), None);
    }
}

/// A test's group of goroutines takes the place of the program: the test fails, and says who waits for what. In a
/// process of its own, as goroutines of other tests could wake this one.
#[test]
fn s017_no_replica_is_a_deadlock() {
    let output = std::process::Command::new(std::env::current_exe().expect("it has a path"))
        .args(["--ignored", "--exact", "first::nobody_answers"])
        .output()
        .expect("this program can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("hangs"), "{text}");
    assert!(text.contains("[chan receive"), "{text}");
}

#[gort::test]
#[ignore = "hangs: for the test above"]
fn nobody_answers() {
    let (_s, r) = chan::bounded::<usize>(0);
    let received = r.recv();
    unreachable!("{received:?}");
}
