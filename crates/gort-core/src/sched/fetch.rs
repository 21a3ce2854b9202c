//! What will run here soon is fetched into the caches first.
//!
//! Of a crowd that was woken at once, each would otherwise begin with one miss after the other: its
//! descriptor, then its stack, which is a page of its own, far from the others'. So while many wait in the
//! ring, each pick fetches for some of them:
//!
//! | how far ahead | what | why so far |
//! |---|---|---|
//! | [`DESCRIPTOR`] | the descriptor, which says where the stack is | it must have come when the stack is fetched |
//! | [`PAGES`] at once, at each such many picks | a line of each one's page | the miss in the TLB; see below |
//! | [`LINES`] | the frames, the wait room | not before the caches would lose them again |
//! | the same, at the beginning of the next pick | its thread-local block | a processor has some 16 lines under way at once |
//!
//! A fetch of a line is in nobody's way, while there are few: the block's with the others, all at once, was 4 to 7 %
//! slower. But one whose page is not in the TLB does not retire before the page table has been walked, and neither does
//! what comes after it; the walk is a miss for itself, and the next atomic operation waits for both. With one such page
//! at each pick half of all the time was spent on that instruction. Several next to each other are walked side by side.
//!
//! What is left is the number of lines, some 10 ns each on the machine of DESIGN.md, however early they are fetched: 10 of
//! frames for who waits in a channel, 5 of the thread-local block, the descriptor's 2, the wait room's. (Goroutines woken by
//! the close of a channel until they have ended, 1 P, medians of 13 interleaved rounds, on days that differ by a tenth:
//! 100,000 of them 790 ns each with page and lines fetched together, and wait rooms on the stack, and 453 ns now; of
//! 20,000, 840 and 460; of 1,000, which a clock of 10 ms took for warm, 504 and 361.)
//!
//! Who has been at work a short while ago, counted in switches, is in the caches anyway, and left alone.
//!
//! Elsewhere: fetching on the way to the ring (`Linked::walks` of `G`), and along a channel's queue
//! (`chan::core::Ahead`).

use std::sync::atomic::Ordering;

use gort_arch::{context, tls};

use super::m::M;
use super::p::{self, P};
use crate::g::{G, GRef};
use crate::thread_state;
use crate::wait_reason::WaitReason;

/// See the table above.
const DESCRIPTOR: u32 = 16;
const PAGES: u32 = 8;
const LINES: u32 = 2;

/// Who has been at work within this many eras of the P is taken to be in its caches. Another P's era is as good as any,
/// and mostly leads to what is true: that it is in another's caches.
const WARM_ERAS: u8 = 1;

/// Who waits for these has a node in its wait room.
const IN_ROOM: [u8; 2] = [WaitReason::ChanReceive as u8, WaitReason::ChanSend as u8];

/// Called at a pick from the ring, the `tick`th of `pp`.
///
/// # Safety
///
/// The caller's M holds `pp`.
#[inline]
pub(super) unsafe fn at_pick(mp: &M, pp: &P, tick: u32) {
    // SAFETY: the holder owns the queue.
    if let Some(later) = unsafe { pp.run_queue.peek_ring(DESCRIPTOR) } {
        G::prefetch(later.addr().get());
        // SAFETY: as the caller promises.
        unsafe { fetch_stacks(mp, pp, tick) };
    }
}

/// # Safety
///
/// As [`at_pick`].
#[inline(never)]
unsafe fn fetch_stacks(mp: &M, pp: &P, tick: u32) {
    if tick.is_multiple_of(PAGES) {
        // SAFETY: as the caller promises.
        unsafe { fetch_pages(pp) };
    }
    // SAFETY: as above.
    if let Some(soon) = unsafe { cold(pp, LINES) } {
        let g = soon.get();
        let fs = g.fs.load(Ordering::Relaxed);
        context::prefetch(g.sp.load(Ordering::Relaxed));
        mp.block_soon.set(fs);
        if IN_ROOM.contains(&g.reason.load(Ordering::Relaxed)) {
            context::prefetch_line(soon.wait_room().as_ptr() as usize);
        }
    }
}

/// Called at the beginning of the next pick.
#[inline]
pub(super) fn before_pick(mp: &M) {
    let fs = mp.block_soon.get();
    if fs != 0 {
        mp.block_soon.set(0);
        tls::prefetch(fs);
        context::prefetch_line(thread_state::running_m_place(fs));
    }
}

/// The pages of those whose lines are fetched next.
///
/// # Safety
///
/// As [`at_pick`].
unsafe fn fetch_pages(pp: &P) {
    for index in LINES..LINES + PAGES {
        // SAFETY: as the caller promises.
        if let Some(soon) = unsafe { cold(pp, index) } {
            context::prefetch_line(soon.get().sp.load(Ordering::Relaxed));
        }
    }
}

/// The goroutine in the ring with `index` others before it, if its stack is likely to be out of the caches. A thief may
/// have it by now, or even have run it to its end: then what is fetched is fetched in vain.
///
/// # Safety
///
/// As [`at_pick`].
#[inline(always)]
unsafe fn cold(pp: &P, index: u32) -> Option<GRef> {
    // SAFETY: the holder owns the queue.
    let gp = p::from_queue(unsafe { pp.run_queue.peek_ring(index) }?);
    let g = gp.get();
    let age = pp.era().wrapping_sub(g.ran_in.load(Ordering::Relaxed));
    let is_cold = age > WARM_ERAS;
    // Those without a stack of ours have no block.
    (is_cold && g.fs.load(Ordering::Relaxed) != 0).then_some(gp)
}
