//! The store of spans of `gort::tracing` under loom: the very file, on one stripe, so that all threads meet on
//! its stacks, and with pages of two entries.
//!
//! Bodies are in loom's cells: a look at one that is being written shows as a racing access. Who sees to a renewal
//! is counted, and at the end nothing may be used up of which nobody knows.
//!
//! Two preemptions per execution, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
#![cfg(loom)]
#![allow(
    unreachable_pub,
    reason = "the files are modules of a library elsewhere"
)]
#![allow(dead_code, reason = "the slab has more functions than its models call")]

use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool as StdBool, AtomicU32 as StdU32, AtomicU64 as StdU64, Ordering as Std,
};

use loom::cell;

mod ground;
#[path = "../../../crates/gort/src/tracing/slab.rs"]
mod slab;
#[path = "../../../crates/gort/src/sync/striped.rs"]
mod striped;

use ground::{at_once, atomic, stripe};
use slab::{Released, Renewal, Renewer, Slab};

/// Counts what was promised. Not loom's: the count orders nothing.
struct Counts(Arc<StdU32>);

impl Renewal for Counts {
    fn renewer(&self) -> Renewer {
        Renewer::Goroutine
    }

    fn used_up(&self, _: Renewer, _: u32, is_first: bool) {
        self.0.fetch_add(u32::from(is_first), Std::Relaxed);
    }
}

/// Bodies are numbers.
struct Scene {
    slab: Slab<u64, Counts>,
    /// Spans that are open at the start.
    spans: [StdU64; 2],
    promises: Arc<StdU32>,
    closed: StdU32,
    renewed: StdU32,
    is_told: StdBool,
}

// SAFETY: everything is shared by the protocol that is tested; loom finds out if not.
unsafe impl Sync for Scene {}
// SAFETY: as above.
unsafe impl Send for Scene {}

const FIRST: u64 = 7;
const SECOND: u64 = 8;
const LATER: u64 = 9;

impl Scene {
    /// Two spans are open: on one page, with no entry free.
    fn new() -> Arc<Scene> {
        let promises = Arc::new(StdU32::new(0));
        let slab = Slab::new(Counts(Arc::clone(&promises)));
        let spans = [FIRST, SECOND].map(|body| StdU64::new(slab.open(body)));
        Arc::new(Scene {
            slab,
            spans,
            promises,
            closed: StdU32::new(0),
            renewed: StdU32::new(0),
            is_told: StdBool::new(false),
        })
    }

    fn span(&self, which: usize) -> u64 {
        self.spans[which].load(Std::Relaxed)
    }

    /// Gives up a handle, and closes the span with the last.
    fn give_up(&self, number: u64, body: u64) {
        match self.slab.release(number) {
            Released::Open => {}
            Released::Last => {
                assert_eq!(self.slab.close(number), body);
                self.closed.fetch_add(1, Std::Relaxed);
            }
            other => panic!("a handle was not one: {other:?}"),
        }
    }

    /// Looks at a span that has that body, if it is there.
    fn look(&self, number: u64, body: u64) {
        if let Some(pin) = self.slab.pin(number) {
            assert_eq!(pin.body(), body);
            assert_eq!(pin.number(), number);
        }
    }

    /// Opens one more, looks at it, and closes it.
    fn come_and_go(&self) {
        let number = self.slab.open(LATER);
        let pin = self.slab.pin(number).expect("it is open");
        assert_eq!(pin.body(), LATER);
        drop(pin);
        self.give_up(number, LATER);
    }

    /// Keeps something in a span.
    fn extend(&self, which: usize) {
        let pin = self.slab.pin(self.span(which)).expect("it is open");
        pin.entry()
            .is_extended
            .store(true, atomic::Ordering::Relaxed);
    }

    fn renew_due(&self) {
        self.slab.renew_due(Renewer::Goroutine, |entry| {
            assert!(entry.is_extended.load(atomic::Ordering::Relaxed));
            self.renewed.fetch_add(1, Std::Relaxed);
        });
    }

    /// At the end: all entries are free, and each once.
    fn assert_free(&self, entries: usize) {
        assert_eq!(self.slab.len(), 0);
        let mut numbers: Vec<_> = (0..entries).map(|_| self.slab.open(LATER)).collect();
        assert_eq!(self.slab.len(), entries, "an entry was given out twice");
        numbers.sort_unstable();
        // Numbers are index and generation, plus one: indexes are from 0 on, as no new entry was made.
        let mut indexes: Vec<_> = numbers.iter().map(|number| (number - 1) as u32).collect();
        indexes.sort_unstable();
        let all: Vec<_> = (0..entries as u32).collect();
        assert_eq!(indexes, all, "an entry was lost");
    }
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.check(f);
}

/// One looks while the span closes and its entry becomes another's.
#[test]
fn a_look_finds_that_span_or_none() {
    model(|| {
        let scene = Scene::new();
        at_once(
            &scene,
            &[
                |it| it.look(it.span(0), FIRST),
                |it| {
                    it.give_up(it.span(0), FIRST);
                    it.come_and_go();
                },
            ],
        );
        assert!(scene.slab.pin(scene.span(0)).is_none());
        assert!(!scene.slab.retain(scene.span(0)));
        assert_eq!(scene.slab.release(scene.span(0)), Released::Gone);
        scene.give_up(scene.span(1), SECOND);
        // The look may have lasted until there was a second page.
        scene.assert_free(4);
    });
}

/// What was done under a pin comes before the entry is another's, also if the one who looked was last.
#[test]
fn two_looks_and_a_close_leave_the_entry_to_the_last() {
    model(|| {
        let scene = Scene::new();
        at_once(
            &scene,
            &[
                |it| it.look(it.span(0), FIRST),
                |it| it.look(it.span(0), FIRST),
                |it| it.give_up(it.span(0), FIRST),
            ],
        );
        scene.come_and_go();
        scene.give_up(scene.span(1), SECOND);
        scene.assert_free(2);
    });
}

#[test]
fn of_two_closers_one_is_the_last() {
    model(|| {
        let scene = Scene::new();
        assert!(scene.slab.retain(scene.span(0)));
        at_once(
            &scene,
            &[
                |it| it.give_up(it.span(0), FIRST),
                |it| it.give_up(it.span(0), FIRST),
                |it| it.look(it.span(0), FIRST),
            ],
        );
        assert_eq!(scene.closed.load(Std::Relaxed), 1);
        scene.give_up(scene.span(1), SECOND);
        scene.assert_free(2);
    });
}

/// The call that closes and those that it has tell the layers: one of them is answered so.
#[test]
fn the_layers_are_told_once() {
    model(|| {
        let scene = Scene::new();
        assert_eq!(scene.slab.release(scene.span(0)), Released::Last);
        let tell: fn(&Scene) = |it| match it.slab.release(it.span(0)) {
            Released::Announce => assert!(!it.is_told.swap(true, Std::Relaxed)),
            other => assert_eq!(other, Released::Gone),
        };
        at_once(&scene, &[tell, tell]);
        assert!(scene.is_told.load(Std::Relaxed));
        assert!(scene.slab.is_announced(scene.span(0)));
    });
}

/// Two open and close on the same stack. One of them may sleep in the midst of taking an entry, while the
/// other takes that one and the next, and puts back the first.
#[test]
fn an_entry_has_one_owner() {
    model(|| {
        let scene = Scene::new();
        scene.give_up(scene.span(0), FIRST);
        scene.give_up(scene.span(1), SECOND);
        at_once(
            &scene,
            &[
                |it| it.come_and_go(),
                |it| {
                    let (first, second) = (it.slab.open(FIRST), it.slab.open(SECOND));
                    it.give_up(first, FIRST);
                    it.look(second, SECOND);
                    it.spans[1].store(second, Std::Relaxed);
                },
            ],
        );
        scene.look(scene.span(1), SECOND);
        scene.give_up(scene.span(1), SECOND);
        // The two may have needed a second page.
        scene.assert_free(4);
    });
}

/// One closes the second span while the renewal that the first one was promised looks.
#[test]
fn what_is_used_up_is_renewed_or_promised() {
    model(|| {
        let scene = Scene::new();
        scene.extend(0);
        scene.extend(1);
        scene.give_up(scene.span(0), FIRST);
        assert_eq!(scene.promises.load(Std::Relaxed), 1);
        at_once(
            &scene,
            &[|it| it.renew_due(), |it| it.give_up(it.span(1), SECOND)],
        );
        if scene.slab.is_due(Renewer::Goroutine) {
            assert_eq!(scene.promises.load(Std::Relaxed), 2);
            scene.renew_due();
        }
        assert_eq!(scene.renewed.load(Std::Relaxed), 2, "one was forgotten");
        scene.assert_free(2);
    });
}

/// Two renewals, as of a timer and after many closed spans, and a look that uses up an entry when it ends.
#[test]
fn an_entry_is_renewed_once() {
    model(|| {
        let scene = Scene::new();
        scene.extend(0);
        scene.extend(1);
        scene.give_up(scene.span(0), FIRST);
        scene.give_up(scene.span(1), SECOND);
        at_once(&scene, &[|it| it.renew_due(), |it| it.renew_due()]);
        assert_eq!(scene.renewed.load(Std::Relaxed), 2);
        scene.assert_free(2);
    });
}
