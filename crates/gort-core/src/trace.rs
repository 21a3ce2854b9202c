//! The stacks of goroutines, as addresses.
//!
//! A parked goroutine is made Traced, which keeps it where it is (`gort_queue::status`), is walked, and
//! let go; one that was readied meanwhile is queued then, by us. That takes some microseconds, in which
//! nobody waits but the goroutine itself. Between those two steps nothing is allocated and no lock taken
//! that somebody could hold who waits for the goroutine.
//!
//! A Runnable goroutine cannot be kept so: who takes it from its queue owns it at once, in the midst of a switch. Its
//! stack is copied, and the copy walked (`gort_arch::trace::parked_copy`), which follows no pointer of it. Two copies
//! that are the same, of a goroutine that is Runnable before and after, are taken for its stack. So is it done with a
//! parked one that somebody else has made Traced and does not let go of: its tracer may have lost its P, or its
//! processor, in the midst of the walk.
//!
//! The caller's own stack is walked as it is; a goroutine that is on another thread is asked for its own
//! ([`ask`]).
//!
//! Elsewhere: what the addresses are called (`symbol`), which goroutines there are (`snapshot`).

mod ask;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use gort_arch::stack;
use gort_arch::trace::{self as arch, Walk};
use gort_queue::status::State;

use crate::clock;
use crate::g::{self, GRef, Kind, flags};
use crate::hibernate;
use crate::os::thread;
use crate::sched;

pub use ask::{on_signal, set_answered};

/// Frames kept of a stack, from the innermost on; Go keeps 100 as well.
const FRAMES_MAX: usize = 100;
/// A look waits for so many threads that do not answer; then it asks no more. A second in all.
const SILENCES_MAX: u32 = 10;
/// How long to wait for another tracer, which needs some microseconds if it is not kept from its processor.
const OTHER_TRACER_NS: u64 = 1_000_000;

/// Words copied of a Runnable goroutine's stack: 28 KiB, which `thread::copy_words` takes wherever they begin, or what
/// there is.
const WORDS_MAX: usize = 3584;
/// Attempts to copy it; after so many it is too busy.
const COPIES_MAX: u32 = 3;

/// Return addresses on a stack, innermost first.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Stack {
    /// The addresses. Stacks of one snapshot that are equal share them.
    pub addresses: Arc<[usize]>,
    /// Whether there are more frames than were kept.
    pub is_cut: bool,
}

/// Walks stacks, and keeps one copy of equal ones.
#[derive(Debug)]
pub(crate) struct Tracer {
    buffer: [usize; FRAMES_MAX],
    seen: HashSet<Arc<[usize]>>,
    /// Copies of a stack.
    first: Vec<AtomicUsize>,
    second: Vec<AtomicUsize>,
    /// A copy of the stack of one that hibernates.
    words: Vec<usize>,
    /// How many threads may still be waited for in vain.
    silences_left: u32,
}

impl Tracer {
    pub(crate) fn new() -> Tracer {
        Tracer {
            buffer: [0; FRAMES_MAX],
            seen: HashSet::new(),
            first: Vec::new(),
            second: Vec::new(),
            words: Vec::new(),
            silences_left: SILENCES_MAX,
        }
    }

    /// Keeps `gp` parked, if it is, until the result is dropped. `None` as well if another tracer has it for long.
    pub(crate) fn hold(&mut self, gp: GRef) -> Option<Held<'_>> {
        // Not while it is held.
        if hibernate::is_started() {
            self.first.resize_with(WORDS_MAX, Default::default);
            self.words.resize(WORDS_MAX, 0);
        }
        let status = &gp.get().status;
        let mut give_up_ns = None;
        while !status.try_trace() {
            if status.load() != State::Traced {
                return None;
            }
            let now = clock::now_ns();
            if now >= *give_up_ns.get_or_insert(now + OTHER_TRACER_NS) {
                return None;
            }
            std::thread::yield_now();
        }
        Some(Held { gp, tracer: self })
    }

    /// The stack of goroutine `id`, which is on another thread; see `ask`.
    pub(crate) fn ask(&mut self, gp: GRef, id: u64, may_interrupt: bool) -> Option<Stack> {
        if self.silences_left == 0 {
            return None;
        }
        let begin_ns = clock::now_ns();
        let walk = ask::ask(gp, id, may_interrupt, &mut self.buffer);
        if walk.is_none() && clock::now_ns() - begin_ns >= ask::ANSWER_NS {
            self.silences_left -= 1;
        }
        Some(self.keep(walk?))
    }

    /// The stack of `gp`, if it is Runnable or parked for long enough, and on a stack of ours. It has no frames if it
    /// has not begun.
    pub(crate) fn copy(&mut self, gp: GRef) -> Option<Stack> {
        for _ in 0..COPIES_MAX {
            let sp = sp_of_switched_out(gp)?;
            let slot = stack::find(sp).filter(|slot| sp < slot.top() as usize)?;
            let len = ((slot.top() as usize - sp) / size_of::<usize>()).min(WORDS_MAX);
            self.first.resize_with(len, Default::default);
            self.second.resize_with(len, Default::default);
            for words in [&self.first, &self.second] {
                let is_away = hibernate::peek(sp, words) == len;
                if !is_away && thread::copy_words(sp, words) != len {
                    return None;
                }
            }
            fence(Ordering::Acquire);
            let words: Vec<usize> = self.first.iter().map(value).collect();
            let is_same = self.second.iter().map(value).eq(words.iter().copied());
            if !is_same || sp_of_switched_out(gp) != Some(sp) {
                continue;
            }
            let mut walk = arch::parked_copy(sp, &words, &mut self.buffer);
            if walk.len == 1 && !walk.is_cut {
                walk.len = 0;
            }
            return Some(self.keep(walk));
        }
        None
    }

    /// Walks the stack of one that hibernates, which goes on so. It is held; `None` if it does not.
    fn walk_away(&mut self, sp: usize) -> Option<Walk> {
        let slot = stack::find(sp).filter(|slot| sp < slot.top() as usize)?;
        let len = ((slot.top() as usize - sp) / size_of::<usize>()).min(self.first.len());
        if len == 0 || hibernate::peek(sp, &self.first[..len]) != len {
            return None;
        }
        for (word, found) in self.words.iter_mut().zip(&self.first[..len]) {
            *word = value(found);
        }
        Some(arch::parked_copy(sp, &self.words[..len], &mut self.buffer))
    }

    /// The caller's stack.
    pub(crate) fn own(&mut self) -> Stack {
        let walk = arch::own(&mut self.buffer);
        self.keep(walk)
    }

    /// What a walk has left in the buffer.
    pub(crate) fn keep(&mut self, walk: Walk) -> Stack {
        let found = &self.buffer[..walk.len];
        let addresses = match self.seen.get(found) {
            Some(known) => known.clone(),
            None => {
                let new: Arc<[usize]> = found.into();
                self.seen.insert(new.clone());
                new
            }
        };
        Stack {
            addresses,
            is_cut: walk.is_cut,
        }
    }
}

fn value(word: &AtomicUsize) -> usize {
    word.load(Ordering::Relaxed)
}

/// Where `gp` has saved its registers, if it is Runnable or parked and has left its stack.
fn sp_of_switched_out(gp: GRef) -> Option<usize> {
    let g = gp.get();
    // Acquires what the switch saved. In a handler it has not left.
    let has_left = matches!(
        g.status.load(),
        State::Runnable | State::Waiting | State::Traced
    ) && g.kind.get() == Kind::Stackful
        && !g.has_flag(flags::PREEMPTED);
    has_left.then(|| g.sp.load(Ordering::Relaxed))
}

/// A goroutine that stays parked as long as this is there: not long.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    gp: GRef,
    tracer: &'a mut Tracer,
}

impl Held<'_> {
    /// Walks its stack into the tracer's buffer. `None` if it is not on a stack of ours.
    pub(crate) fn walk(&mut self) -> Option<Walk> {
        let g = self.gp.get();
        if g.kind.get() != Kind::Stackful {
            return None;
        }
        let sp = g.sp.load(Ordering::Relaxed);
        if let Some(walk) = self.tracer.walk_away(sp) {
            return Some(walk);
        }
        // SAFETY: Traced, so it has left its stack for good until we let go of it, and the change to
        // Traced has acquired what the switch saved (G2).
        Some(unsafe { arch::parked(sp, &mut self.tracer.buffer) })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        sched::end_trace(self.gp);
    }
}

/// Whether `gp` is the goroutine that calls.
pub(crate) fn is_caller(gp: GRef) -> bool {
    g::running_here() == Some(gp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime;
    use crate::sched::SpawnOptions;
    use crate::snapshot::{self, Goroutine};

    fn find(name: &str) -> Option<Goroutine> {
        let mut all = snapshot::goroutines_with_stacks().into_iter();
        all.find(|goroutine| goroutine.name.as_deref() == Some(name))
    }

    #[test]
    fn a_stack_is_shown_while_another_tracer_keeps_the_goroutine() {
        runtime::ensure_started();
        let options = SpawnOptions {
            name: Some("kept".to_owned()),
            ..SpawnOptions::new()
        };
        let handle = sched::spawn(|| sched::sleep_until(clock::NEVER - 1), options);
        let deadline_ns = clock::now_ns() + 60_000_000_000;
        let alone = loop {
            match find("kept") {
                Some(found) if found.state == State::Waiting => break found,
                _ => assert!(clock::now_ns() < deadline_ns, "{}", crate::dump::all()),
            }
            std::thread::yield_now();
        };
        let mut gp = None;
        g::slab::each(|each| {
            if each.id() == alone.id {
                gp = Some(each);
            }
        });
        let mut other = Tracer::new();
        let held = other.hold(gp.unwrap());
        let beside = find("kept").unwrap();
        drop(held);
        assert_eq!(beside.state, State::Waiting);
        assert_eq!(beside.stack, alone.stack);
        drop(handle);
    }
}
