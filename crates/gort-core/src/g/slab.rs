//! The memory of all Gs: chunks that are never given back, and therefore the registry of all
//! goroutines as well. A spawn touches no shared cache line while its P has free descriptors.
//!
//! `Cold` facts stay with their descriptor when its goroutine ends (on a system stack nothing may be
//! freed) and are cleaned by the next spawn that gets it. One lock keeps dumps from reading a name
//! that is just being replaced.
//!
//! In each chunk there is a wait room for each descriptor (G6), behind all of them.

use std::fmt;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use gort_queue::list::List;
use gort_queue::status::State;

use super::{Cold, G, GRef, WaitRoom, flags};
use crate::clock;
use crate::lock::Mutex;

/// Gs per chunk, and rooms. A chunk is 768 KiB: the Gs, then the rooms in the same order.
const CHUNK_LEN: usize = 4096;
const GS_BYTES: usize = CHUNK_LEN * size_of::<G>();
const CHUNK_BYTES: usize = GS_BYTES + CHUNK_LEN * size_of::<WaitRoom>();
/// So that a G's address says where its room is.
const CHUNK_ALIGN: usize = GS_BYTES.next_power_of_two();
/// Chunks there can be: 268 million goroutines, far past any machine's memory.
const CHUNKS_MAX: usize = 65_536;

/// The chunks, in order of their making; null past `MADE`.
static CHUNKS: [AtomicPtr<G>; CHUNKS_MAX] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS_MAX];
/// Descriptors handed out at least once. Writer: `grow`, under `FREE`'s lock, after the descriptors
/// below it have been written (release). Readers: `each`.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// No memory for more descriptors, or too many already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NoDescriptor {
    made: usize,
}

impl fmt::Display for NoDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoDescriptor { made } = self;
        if *made == CHUNKS_MAX * CHUNK_LEN {
            return write!(f, "there are {made} goroutines, as many as there can be");
        }
        write!(
            f,
            "no memory for the descriptors of more goroutines ({made} are there): the process is at \
             its limit (`ulimit -v`, RLIMIT_AS), or has too many mappings (`sysctl vm.max_map_count`)"
        )
    }
}

impl From<NoDescriptor> for io::Error {
    #[cold]
    fn from(error: NoDescriptor) -> io::Error {
        io::Error::new(io::ErrorKind::OutOfMemory, error.to_string())
    }
}

struct Free {
    list: List<G>,
}
// SAFETY: the list owns its Gs' links; `G` is Send.
unsafe impl Send for Free {}

static FREE: Mutex<Free> = Mutex::new(Free { list: List::new() });

/// A renewed descriptor, with status Idle (or Dead, if used before).
pub(crate) fn allocate() -> Result<GRef, NoDescriptor> {
    let gp = {
        let mut free = FREE.lock();
        match free.list.pop_front() {
            Some(gp) => gp,
            None => grow(&mut free.list, 1)?,
        }
    };
    renew(GRef(gp));
    Ok(GRef(gp))
}

/// Moves `count` free descriptors into `out`, making new ones as needed, or fewer, but at least one, if
/// more cannot be made. Their user calls [`renew`].
pub(crate) fn allocate_many(out: &mut List<G>, count: usize) -> Result<(), NoDescriptor> {
    let mut free = FREE.lock();
    for taken in 0..count {
        let gp = match free.list.pop_front() {
            Some(gp) => gp,
            None => match grow(&mut free.list, count) {
                Ok(gp) => gp,
                Err(_) if taken != 0 => break,
                Err(error) => return Err(error),
            },
        };
        // SAFETY: the descriptor is on no list (it was just popped or made).
        unsafe { out.push_back(gp) };
    }
    Ok(())
}

/// Gives back one descriptor that nobody uses any more (G5). Allocates and frees nothing.
pub(crate) fn free(gp: GRef) {
    retire(gp);
    // SAFETY: the caller gives it up; it is on no list (G1: it is Dead).
    unsafe { FREE.lock().list.push_back(gp.0) };
}

/// Takes a descriptor out of the registry; the caller puts it on a free list.
pub(crate) fn retire(gp: GRef) {
    let g = gp.get();
    g.set_flag(flags::IN_USE | flags::SYSTEM | flags::LOCKED, false);
    g.id.store(0, Ordering::Relaxed);
}

/// Gives back descriptors that [`retire`] has seen.
pub(crate) fn free_many(list: List<G>) {
    FREE.lock().list.append(list);
}

/// Readies a descriptor from a free list for its next user: not in the registry yet.
pub(crate) fn renew(gp: GRef) {
    clean_cold(gp);
    let g = gp.get();
    if g.status.load() == State::Dead {
        g.status.transition(State::Dead, State::Idle);
    }
    g.reason.store(0, Ordering::Relaxed);
    g.parked_at.store(ptr::null_mut(), Ordering::Relaxed);
    // Its stack is about to be written.
    g.parked_coarse
        .store(clock::coarse_now(), Ordering::Relaxed);
    g.m.store(ptr::null_mut(), Ordering::Relaxed);
    g.join.store(0, Ordering::Relaxed);
}

/// Memory for a chunk, untouched.
#[cold]
#[inline(never)]
fn map_chunk() -> Option<NonNull<G>> {
    let len = CHUNK_BYTES + CHUNK_ALIGN;
    // SAFETY: an anonymous private mapping at an address of the kernel's choice touches nothing.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return None;
    }
    let start: *mut u8 = start.cast();
    let before = start.align_offset(CHUNK_ALIGN);
    // What does not begin or end on the boundary goes back. If the kernel refuses that (a mapping too many), it
    // stays, untouched.
    let give_back = |from: usize, to: usize| {
        if from < to {
            // SAFETY: within the mapping above, outside the chunk, and used by nobody.
            unsafe { libc::munmap(start.add(from).cast(), to - from) };
        }
    };
    give_back(0, before);
    give_back(before + CHUNK_BYTES, len);
    NonNull::new(start.wrapping_add(before).cast())
}

/// The room of a descriptor.
#[inline]
pub(super) fn room_of(gp: NonNull<G>) -> NonNull<WaitRoom> {
    let in_chunk = gp.addr().get() % CHUNK_ALIGN;
    let index = in_chunk / size_of::<G>();
    // SAFETY: all descriptors are in chunks (`grow`), each with its room.
    unsafe {
        gp.byte_sub(in_chunk)
            .byte_add(GS_BYTES)
            .cast::<WaitRoom>()
            .add(index)
    }
}

/// Makes up to `count` descriptors, puts all but one on `list` and returns that one.
#[cold]
#[inline(never)]
fn grow(list: &mut List<G>, count: usize) -> Result<NonNull<G>, NoDescriptor> {
    let made = MADE.load(Ordering::Relaxed);
    let (chunk_index, first) = (made / CHUNK_LEN, made % CHUNK_LEN);
    if chunk_index >= CHUNKS_MAX {
        return Err(NoDescriptor { made });
    }
    if first == 0 {
        let chunk = map_chunk().ok_or(NoDescriptor { made })?;
        CHUNKS[chunk_index].store(chunk.as_ptr(), Ordering::Release);
    }
    let chunk = CHUNKS[chunk_index].load(Ordering::Relaxed);
    let count = count.min(CHUNK_LEN - first).max(1);
    let mut one = None;
    for index in first..first + count {
        // SAFETY: `index < CHUNK_LEN`, the mapping has room for that many, page alignment exceeds
        // G's 128, and nobody has seen this descriptor yet (`MADE`).
        let gp = unsafe {
            let gp = chunk.add(index);
            gp.write(G::unused());
            NonNull::new_unchecked(gp)
        };
        match one {
            None => one = Some(gp),
            // SAFETY: a new descriptor is on no list.
            Some(_) => unsafe { list.push_back(gp) },
        }
    }
    MADE.store(made + count, Ordering::Release);
    Ok(one.expect("count is at least 1"))
}

/// Calls `f` with every descriptor in use. Goroutines come and go meanwhile.
pub(crate) fn each(mut f: impl FnMut(GRef)) {
    let made = MADE.load(Ordering::Acquire);
    for index in 0..made {
        let chunk = CHUNKS[index / CHUNK_LEN].load(Ordering::Acquire);
        // SAFETY: descriptors below `MADE` have been written (release/acquire) and stay for good.
        let gp = unsafe { NonNull::new_unchecked(chunk.add(index % CHUNK_LEN)) };
        // SAFETY: as above.
        if unsafe { gp.as_ref() }.has_flag(flags::IN_USE) {
            f(GRef(gp));
        }
    }
}

/// Held while cold facts are read by others, or changed.
static COLD_LOCK: Mutex<()> = Mutex::new(());

/// Reads a goroutine's cold facts, if it has any.
pub(crate) fn with_cold<R>(gp: GRef, f: impl FnOnce(&Cold) -> R) -> Option<R> {
    if gp.get().cold.load(Ordering::Acquire).is_null() {
        return None;
    }
    let _guard = COLD_LOCK.lock();
    let cold = gp.get().cold.load(Ordering::Acquire);
    // SAFETY: a published `Cold` is never freed, and changed only under the lock.
    unsafe { cold.as_ref() }.map(f)
}

/// A goroutine's cold facts for itself, without the lock.
///
/// # Safety
///
/// The caller is the owner (G4), which alone changes them, and does not while it has the reference.
pub(crate) unsafe fn own_cold(gp: GRef) -> Option<&'static Cold> {
    // SAFETY: a published `Cold` is never freed; as the caller promises, nobody changes it meanwhile.
    unsafe { gp.get().cold.load(Ordering::Relaxed).as_ref() }
}

/// Writes a goroutine's cold facts, making them as needed. Owner only (G4).
pub(crate) fn with_cold_mut<R>(gp: GRef, f: impl FnOnce(&mut Cold) -> R) -> R {
    let cell = &gp.get().cold;
    if cell.load(Ordering::Relaxed).is_null() {
        // Nobody else makes it: we are the owner.
        cell.store(Box::into_raw(Box::default()), Ordering::Release);
    }
    let _guard = COLD_LOCK.lock();
    // SAFETY: not null (above), never freed, and the lock keeps readers out.
    f(unsafe { &mut *cell.load(Ordering::Relaxed) })
}

/// Readies a descriptor for a new goroutine: what its last one left in the cold facts goes, on the
/// spawner's stack, where drops may call the allocator.
fn clean_cold(gp: GRef) {
    if gp.get().cold.load(Ordering::Relaxed).is_null() {
        return;
    }
    let stale = with_cold_mut(gp, |cold| {
        let timer = cold.timer.take();
        std::mem::replace(
            cold,
            Cold {
                timer,
                ..Cold::default()
            },
        )
    });
    drop(stale);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_descriptor_has_a_room_of_its_own() {
        // More than a chunk.
        const COUNT: usize = CHUNK_LEN + 100;
        let mut list = List::new();
        while list.len() < COUNT {
            let missing = COUNT - list.len();
            allocate_many(&mut list, missing).expect("there is memory for some thousands");
        }
        let gs: Vec<_> = list.iter().collect();
        let mut lines: Vec<usize> = Vec::new();
        for gp in &gs {
            lines.extend([gp.addr().get(), gp.addr().get() + 64]);
            lines.push(room_of(*gp).addr().get());
        }
        assert!(lines.iter().all(|line| line.is_multiple_of(64)));
        lines.sort_unstable();
        assert!(lines.is_sorted_by(|a, b| a < b), "two share a cache line");
        for (index, gp) in gs.iter().enumerate() {
            // SAFETY: the room is that of a descriptor that this test has taken, in mapped memory.
            unsafe { room_of(*gp).cast::<usize>().write(index) };
        }
        for (index, gp) in gs.iter().enumerate() {
            // SAFETY: as above; written above.
            assert_eq!(unsafe { room_of(*gp).cast::<usize>().read() }, index);
        }
        free_many(list);
    }
}
