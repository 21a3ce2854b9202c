//! The loans of `gort::sync::Map` under loom: the very file, over two links that writers put in turn into
//! one source.
//!
//! What a link leads to is not freed but written to, so that loom sees a reader that has not finished.
//!
//! Two preemptions per execution, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
#![cfg(loom)]
#![allow(
    unreachable_pub,
    reason = "the file is a module of a library elsewhere"
)]

use std::ptr;
use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

mod ground;
#[path = "../../../crates/gort/src/sync/hazard.rs"]
mod hazard;
#[path = "../../../crates/gort/src/sync/striped.rs"]
mod striped;

use ground::{at_once, atomic, sched, stripe};
use hazard::{Loans, Shared};

/// What is shared: alive while somebody has a share.
struct Value {
    shares: AtomicUsize,
    is_alive: UnsafeCell<bool>,
}

impl Value {
    fn new(shares: usize) -> Value {
        Value {
            shares: AtomicUsize::new(shares),
            is_alive: UnsafeCell::new(true),
        }
    }

    /// loom reports it if somebody may be freeing it.
    fn is_alive(&self) -> bool {
        // SAFETY: nobody writes without being the last owner; loom checks that.
        self.is_alive.with(|alive| unsafe { *alive })
    }

    fn as_raw(&self) -> *mut () {
        ptr::from_ref(self).cast_mut().cast()
    }
}

#[derive(Clone, Copy)]
struct Link(*mut ());

impl Link {
    fn value<'a>(self) -> &'a Value {
        // SAFETY: the values of a model live as long as it runs.
        unsafe { &*self.0.cast::<Value>() }
    }
}

// SAFETY: counts change by atomic additions, and only the last owner ends it.
unsafe impl Shared for Link {
    fn to_raw(self) -> *mut () {
        self.0
    }
    fn from_raw(raw: *mut ()) -> Self {
        Link(raw)
    }
    fn is_counted(self) -> bool {
        !self.0.is_null()
    }
    unsafe fn retain(self) {
        let before = self.value().shares.fetch_add(1, Ordering::Relaxed);
        assert_ne!(before, 0, "it has no owner");
    }
    unsafe fn release(self) {
        let before = self.value().shares.fetch_sub(1, Ordering::AcqRel);
        assert_ne!(before, 0, "it has no owner");
        if before == 1 {
            // SAFETY: the last owner; loom checks that nobody reads.
            self.value().is_alive.with_mut(|alive| unsafe {
                assert!(*alive, "freed twice");
                *alive = false;
            });
        }
    }
}

/// A source, and two values to put there.
struct Scene {
    loans: Loans<Link>,
    source: AtomicPtr<()>,
    values: [Value; 2],
}

// SAFETY: everything is shared by the protocol that is tested; loom finds out if not.
unsafe impl Sync for Scene {}
// SAFETY: as above.
unsafe impl Send for Scene {}

impl Scene {
    /// The first value is in the source; the others' shares are for those who put them there.
    fn new(shares: [usize; 2]) -> Arc<Scene> {
        let scene = Arc::new(Scene {
            loans: Loans::new(),
            source: AtomicPtr::new(ptr::null_mut()),
            values: shares.map(Value::new),
        });
        scene
            .source
            .store(scene.values[0].as_raw(), Ordering::Relaxed);
        scene
    }

    fn read(&self) {
        let held = self.loans.protect(&self.source);
        assert!(held.shared().value().is_alive());
    }

    fn read_as_owner(&self) {
        let mut held = self.loans.protect(&self.source);
        held.own();
        assert!(held.shared().value().is_alive());
    }

    /// Puts a value into the source, with one of its shares, and gives up that of what was there.
    fn put(&self, next: usize) {
        let raw = self
            .source
            .swap(self.values[next].as_raw(), Ordering::SeqCst);
        // SAFETY: we took it out.
        unsafe {
            self.loans.settle(Link(raw));
            Link(raw).release();
        }
    }

    /// At the end: the value that is in the source has one owner, the other none.
    fn assert_settled(&self, last: usize) {
        assert_eq!(self.values[last].shares.load(Ordering::Relaxed), 1);
        assert_eq!(self.values[1 - last].shares.load(Ordering::Relaxed), 0);
        assert!(self.values[last].is_alive() && !self.values[1 - last].is_alive());
    }
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.check(f);
}

#[test]
fn what_is_read_is_not_freed() {
    model(|| {
        let scene = Scene::new([1, 1]);
        at_once(&scene, &[|it| it.read(), |it| it.put(1)]);
        scene.assert_settled(1);
    });
}

#[test]
fn an_owner_keeps_what_it_reads() {
    model(|| {
        let scene = Scene::new([1, 1]);
        at_once(&scene, &[|it| it.read_as_owner(), |it| it.put(1)]);
        scene.assert_settled(1);
    });
}

/// One slot may be kept, the other is passed on: with three readers one has to wait for it.
#[test]
fn readers_beyond_the_slots_become_owners() {
    model(|| {
        let scene = Scene::new([1, 1]);
        at_once(&scene, &[|it| it.read(), |it| it.read(), |it| it.put(1)]);
        scene.assert_settled(1);
    });
}

/// The same link is taken out and put back while readers have it: loans and shares may change hands.
#[test]
fn a_loan_is_not_lost_when_a_link_comes_back() {
    model(|| {
        // The first is there, and comes back once; then the second stays.
        let scene = Scene::new([2, 2]);
        at_once(
            &scene,
            &[
                |it| {
                    it.read();
                    it.read();
                },
                |it| {
                    it.put(1);
                    it.put(0);
                    it.put(1);
                },
            ],
        );
        scene.assert_settled(1);
    });
}

#[test]
fn two_writers_settle_each_their_own() {
    model(|| {
        let scene = Scene::new([2, 1]);
        at_once(&scene, &[|it| it.put(1), |it| it.put(0), |it| it.read()]);
        let last = usize::from(scene.source.load(Ordering::Relaxed) == scene.values[1].as_raw());
        assert_eq!(scene.values[last].shares.load(Ordering::Relaxed), 1);
        assert_eq!(scene.values[1 - last].shares.load(Ordering::Relaxed), 0);
    });
}
