//! Timers: one heap per P, nanosecond deadlines, exact removal.
//!
//! A timer carries a function and an argument; when it is due, whoever runs the heap calls the
//! function with a [`ReadyList`] for the goroutines to wake. This module never schedules: which heap
//! a timer goes to, and who is told that an earlier one has come, are values set by `sched`
//! ([`install`]).
//!
//! A stopped timer leaves its heap at once (no garbage to sweep, and an abandoned hour-long timeout
//! costs nothing), at the price of an index kept in the node. Create and stop wake nobody.
//!
//! T1. A node is in the heap that `heap` names, or in none (null). `heap` changes only under that
//!     heap's lock.
//! T2. `firing` counts those that run the function: from the moment the node is found due (under its
//!     heap's lock) until the function has returned. There can be several, as a periodic node goes
//!     back at once, and `start` does not wait. `stop` waits for 0 after the removal, so after `stop`
//!     nothing runs. Therefore the caller of `stop` holds no lock that the function takes.
//! T3. The function runs without the heap's lock, on a system stack.
//!
//! Checked by the tests below, `gort_queue::timer_heap`'s model tests, and the stress suite.

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use gort_queue::list::List;
use gort_queue::status::Readied;
use gort_queue::timer_heap::{Indexed, Storage, TimerHeap};

use crate::clock::NEVER;
use crate::g::{G, GRef, Kind};
use crate::lock::{Mutex, MutexGuard};
use crate::os::{futex, thread};

/// What a timer does when it is due. See the contract at [`TimerNode::new`].
pub type Fire = unsafe fn(arg: *mut (), now_ns: u64, out: &mut ReadyList);

/// The heap of one P.
pub struct Timers {
    heap: Mutex<Heap>,
    /// When the first timer is due. Writer: whoever holds the heap's lock. Readers: schedulers, as a
    /// hint that is rechecked under the lock.
    first_ns: AtomicU64,
    /// How many there are, for `metrics`.
    len: AtomicU32,
}

struct Heap(TimerHeap<TimerNode>);
// SAFETY: the heap refers to nodes that are Sync and stay in place while they are in it (T1 and the
// contract of `start`).
unsafe impl Send for Heap {}

/// Room for at least `capacity` timers, in pages of its own.
fn storage(capacity: usize) -> Storage<TimerNode> {
    /// Bytes of a timer in the heap, as `gort_queue::timer_heap` says.
    const ENTRY_BYTES: usize = 24;
    const PAGE_BYTES: usize = 4096;

    unsafe fn unmap(memory: NonNull<u8>, bytes: usize) {
        // SAFETY: the mapping made below, with its size; the storage was its only user.
        unsafe { libc::munmap(memory.as_ptr().cast(), bytes) };
    }

    let bytes = (capacity * ENTRY_BYTES).next_multiple_of(PAGE_BYTES);
    // SAFETY: a new anonymous mapping, at an address that the kernel chooses.
    let memory = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if memory == libc::MAP_FAILED {
        fatal!("timer: no memory for {capacity} timers");
    }
    let memory = NonNull::new(memory.cast()).expect("the kernel maps nothing at 0");
    // SAFETY: fresh pages, ours alone until `unmap`, which any thread may call.
    unsafe { Storage::from_memory(memory, bytes, unmap) }
}

impl Timers {
    /// An empty heap.
    pub const fn new() -> Timers {
        Timers {
            heap: Mutex::new(Heap(TimerHeap::new())),
            first_ns: AtomicU64::new(NEVER),
            len: AtomicU32::new(0),
        }
    }

    /// When the first timer is due, or [`NEVER`]. A hint.
    #[inline]
    pub fn first_ns(&self) -> u64 {
        self.first_ns.load(Ordering::Relaxed)
    }

    /// How many timers are waiting. A hint.
    pub fn len(&self) -> u32 {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether no timer is waiting. A hint.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Locks the heap, with room for one more timer: a larger storage is made, and the old one given
    /// back, without the lock.
    ///
    /// Not from the allocator: callers hold locks of the runtime, and no holder of one may wait for a
    /// goroutine that was stopped in malloc.
    fn lock_with_room(&self) -> MutexGuard<'_, Heap> {
        loop {
            let heap = self.heap.lock();
            if !heap.0.is_full() {
                return heap;
            }
            let capacity = heap.0.len() * 2 + 16;
            drop(heap);
            let larger = storage(capacity);
            let old = self.heap.lock().0.replace_storage(larger);
            drop(old);
        }
    }

    fn publish(&self, heap: &Heap) {
        self.first_ns
            .store(heap.0.first().unwrap_or(NEVER), Ordering::Relaxed);
        self.len.store(heap.0.len() as u32, Ordering::Relaxed);
    }

    /// Fires what is due at `now_ns`. Any M may do this for any P, on a system stack.
    pub fn run_due(&self, now_ns: u64, out: &mut ReadyList) {
        while self.first_ns() <= now_ns {
            let node = {
                let mut heap = self.heap.lock();
                let Some((when, node)) = heap.0.pop_due(now_ns) else {
                    self.publish(&heap);
                    return;
                };
                // SAFETY: a node in the heap is alive (contract of `start`).
                let timer = unsafe { node.as_ref() };
                timer.firing.fetch_add(1, Ordering::Relaxed);
                let period = timer.period_ns.get();
                if period == 0 {
                    timer.heap.store(ptr::null_mut(), Ordering::Release);
                } else {
                    // A late ticker skips what it missed, as Go's does.
                    let missed = (now_ns - when).checked_div(period).unwrap_or(0);
                    let next = when.saturating_add(period.saturating_mul(missed + 1));
                    // SAFETY: the node was just popped, so it is in no heap; it stays alive as before.
                    unsafe { heap.0.insert(next, node) };
                }
                self.publish(&heap);
                node
            };
            // SAFETY: we are counted in `firing`, so `stop` waits for us and the node stays alive (T2).
            let timer = unsafe { node.as_ref() };
            // SAFETY: the maker of the node answers for function and argument; no lock is held (T3).
            unsafe { (timer.fire)(timer.arg.load(Ordering::Relaxed), now_ns, out) };
            timer.firing.fetch_sub(1, Ordering::Release);
        }
    }

    /// Whether `f` holds for all timers, which do not fire meanwhile. `f` takes no lock and does not allocate.
    pub(crate) fn all(&self, mut f: impl FnMut(&TimerNode) -> bool) -> bool {
        let heap = self.heap.lock();
        // SAFETY: a node in a heap is alive, and leaves it under the lock only (contract of `start`).
        heap.0.iter().all(|(_, node)| f(unsafe { node.as_ref() }))
    }

    /// Moves all timers to `to`: this P goes away. Maps memory, without a lock, if `to` has too little
    /// room.
    pub(crate) fn move_to(&self, to: &'static Timers) {
        loop {
            let mut ours = self.heap.lock();
            let Some(mut theirs) = to.heap.try_lock() else {
                // Two Ps that go away at once could each wait for the other.
                drop(ours);
                thread::pause(16);
                continue;
            };
            if ours.0.len() > theirs.0.room() {
                let capacity = ours.0.len() + theirs.0.len() * 2 + 16;
                drop((ours, theirs));
                let larger = storage(capacity);
                let old = to.heap.lock().0.replace_storage(larger);
                drop(old);
                continue;
            }
            for (when, node) in ours.0.drain() {
                // SAFETY: drained, so in no heap; alive as long as it was in ours.
                unsafe { theirs.0.insert(when, node) };
                // SAFETY: a node in a heap is alive.
                unsafe { node.as_ref() }
                    .heap
                    .store((&raw const *to).cast_mut(), Ordering::Release);
            }
            self.publish(&ours);
            to.publish(&theirs);
            return;
        }
    }
}

impl Default for Timers {
    fn default() -> Self {
        Timers::new()
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// What `sched` gives to this module.
#[derive(Clone, Copy, Debug)]
pub struct Hooks {
    /// The heap a timer started here goes to.
    pub local: fn() -> &'static Timers,
    /// A timer earlier than all others of its heap has come.
    pub earlier: fn(when_ns: u64),
}

static HOOKS: Mutex<Option<Hooks>> = Mutex::new(None);
static LOCAL: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
static EARLIER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Sets the hooks; once, at start.
pub fn install(hooks: Hooks) {
    LOCAL.store(hooks.local as *mut (), Ordering::Release);
    EARLIER.store(hooks.earlier as *mut (), Ordering::Release);
    *HOOKS.lock() = Some(hooks);
}

fn local() -> &'static Timers {
    let local = LOCAL.load(Ordering::Acquire);
    if local.is_null() {
        fatal!("a timer was started before the runtime");
    }
    // SAFETY: only `install` stores here, a `fn() -> &'static Timers`.
    let local: fn() -> &'static Timers = unsafe { std::mem::transmute(local) };
    local()
}

fn earlier(when_ns: u64) {
    let earlier = EARLIER.load(Ordering::Acquire);
    if !earlier.is_null() {
        // SAFETY: only `install` stores here, a `fn(u64)`.
        let earlier: fn(u64) = unsafe { std::mem::transmute(earlier) };
        earlier(when_ns);
    }
}

/// One timer, in place from `start` until `stop` has returned (or it has fired and is not periodic).
pub struct TimerNode {
    /// T1.
    heap: AtomicPtr<Timers>,
    index: Cell<usize>,
    period_ns: Cell<u64>,
    fire: Fire,
    arg: AtomicPtr<()>,
    /// T2.
    firing: AtomicU32,
    /// Serializes `start`, `stop` and `reset` of this timer.
    control: Mutex<()>,
}

// SAFETY: `index` and `period_ns` are touched under the heap's lock, or under `control` while the
// node is in no heap; the rest is atomic.
unsafe impl Sync for TimerNode {}
// SAFETY: no field is tied to a thread.
unsafe impl Send for TimerNode {}

// SAFETY: the index is touched by the heap that holds the node only, under its lock.
unsafe impl Indexed for TimerNode {
    unsafe fn set_index(this: NonNull<Self>, index: usize) {
        // SAFETY: a node in a heap is alive.
        unsafe { this.as_ref() }.index.set(index);
    }
    unsafe fn index(this: NonNull<Self>) -> usize {
        // SAFETY: as above.
        unsafe { this.as_ref() }.index.get()
    }
}

impl TimerNode {
    /// A timer that is not armed.
    ///
    /// `fire` runs on a system stack: it may not allocate, free, run or drop anything of the user's,
    /// park, or panic. It wakes only through the list it is given. Of gort's locks it may take those
    /// that nobody holds while calling `stop` or `reset` of this timer.
    pub const fn new(fire: Fire) -> TimerNode {
        TimerNode {
            heap: AtomicPtr::new(ptr::null_mut()),
            index: Cell::new(usize::MAX),
            period_ns: Cell::new(0),
            fire,
            arg: AtomicPtr::new(ptr::null_mut()),
            firing: AtomicU32::new(0),
            control: Mutex::new(()),
        }
    }

    /// Sets the argument of `fire`.
    ///
    /// # Safety
    ///
    /// The argument is what `fire` demands, for as long as the timer may fire; the timer is not armed.
    pub unsafe fn set_arg(&self, arg: *mut ()) {
        self.arg.store(arg, Ordering::Release);
    }

    /// Arms the timer for `when_ns` and then every `period_ns` (0: once). An armed one is moved.
    ///
    /// # Safety
    ///
    /// The node stays at its address and alive until `stop` has returned, or until it has fired and
    /// is not periodic. `fire` and its argument are sound to call until then.
    pub unsafe fn start(&self, when_ns: u64, period_ns: u64) {
        let _control = self.control.lock();
        self.remove();
        self.insert(when_ns, period_ns);
    }

    /// Disarms the timer. True if it was armed: then it does not fire (any more). After the return
    /// the function is not running, and will not run until the next `start`.
    ///
    /// # Safety
    ///
    /// The caller holds no lock that the timer's function takes, and is not that function.
    pub unsafe fn stop(&self) -> bool {
        let _control = self.control.lock();
        let was_armed = self.remove();
        self.wait_fired();
        was_armed
    }

    /// `stop`, then `start`; the answer is `stop`'s.
    ///
    /// # Safety
    ///
    /// Those of both.
    pub unsafe fn reset(&self, when_ns: u64, period_ns: u64) -> bool {
        let _control = self.control.lock();
        let was_armed = self.remove();
        self.wait_fired();
        self.insert(when_ns, period_ns);
        was_armed
    }

    /// Whether the timer is waiting. A hint.
    pub fn is_armed(&self) -> bool {
        !self.heap.load(Ordering::Relaxed).is_null()
    }

    /// The argument, if the function is `fire`.
    pub(crate) fn arg_for(&self, fire: Fire) -> Option<*mut ()> {
        // Where the compiler has made two of one function the answer may be a no too many.
        (self.fire as *const () == fire as *const ()).then(|| self.arg.load(Ordering::Acquire))
    }

    fn insert(&self, when_ns: u64, period_ns: u64) {
        if when_ns == NEVER {
            return;
        }
        // SAFETY: in no heap (`remove` came before, under `control`), and alive as `start` demands.
        if unsafe { self.insert_into(local(), when_ns, period_ns) } {
            earlier(when_ns);
        }
    }

    /// True if the timer is the first of its heap now.
    ///
    /// # Safety
    ///
    /// The node is in no heap, and alive as `start` demands.
    unsafe fn insert_into(&self, timers: &'static Timers, when_ns: u64, period_ns: u64) -> bool {
        let mut heap = timers.lock_with_room();
        self.period_ns.set(period_ns);
        // SAFETY: as the caller promises.
        unsafe { heap.0.insert(when_ns, NonNull::from(self)) };
        self.heap
            .store((&raw const *timers).cast_mut(), Ordering::Release);
        let is_first = when_ns < timers.first_ns();
        timers.publish(&heap);
        is_first
    }

    fn remove(&self) -> bool {
        loop {
            let timers = self.heap.load(Ordering::Acquire);
            // SAFETY: heaps belong to Ps, which are never freed.
            let Some(timers) = (unsafe { timers.as_ref() }) else {
                return false;
            };
            let mut heap = timers.heap.lock();
            if !ptr::eq(self.heap.load(Ordering::Relaxed), timers) {
                continue;
            }
            // SAFETY: the node is in this heap, whose lock we hold (T1).
            let removed = unsafe { heap.0.remove(NonNull::from(self)) };
            debug_assert!(removed, "T1: the node is in the heap it names");
            self.heap.store(ptr::null_mut(), Ordering::Release);
            timers.publish(&heap);
            return true;
        }
    }

    fn wait_fired(&self) {
        let mut rounds = 0u32;
        while self.firing.load(Ordering::Acquire) != 0 {
            // The function is a few instructions long, but its M may have lost the processor.
            rounds += 1;
            if rounds < 100 {
                thread::pause(8)
            } else {
                std::thread::yield_now()
            }
        }
    }
}

impl Drop for TimerNode {
    fn drop(&mut self) {
        if !self.heap.get_mut().is_null() {
            fatal!("a timer was dropped while armed");
        }
    }
}

impl fmt::Debug for TimerNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerNode")
            .field("armed", &self.is_armed())
            .finish_non_exhaustive()
    }
}

/// Work that a timer or poller hands to an ordinary goroutine of the runtime: wakers, new goroutines.
#[derive(Debug)]
pub struct Deferred {
    run: unsafe fn(NonNull<Deferred>),
    next: Cell<*mut Deferred>,
}

impl Deferred {
    /// Work that has not been deferred yet. `run` may allocate, call wakers and start goroutines; it
    /// answers for the memory of the `Deferred`.
    pub const fn new(run: unsafe fn(NonNull<Deferred>)) -> Deferred {
        Deferred {
            run,
            next: Cell::new(ptr::null_mut()),
        }
    }
}

/// Goroutines that a source of work has made runnable, and work it has deferred. Handing them to the
/// scheduler is the job of whoever called the source.
pub struct ReadyList {
    goroutines: List<G>,
    deferred: UnsafeCell<DeferredList>,
}

#[derive(Clone, Copy)]
struct DeferredList {
    head: *mut Deferred,
    tail: *mut Deferred,
}

impl ReadyList {
    /// Nothing.
    pub const fn new() -> ReadyList {
        ReadyList {
            goroutines: List::new(),
            deferred: UnsafeCell::new(DeferredList {
                head: ptr::null_mut(),
                tail: ptr::null_mut(),
            }),
        }
    }

    /// Makes a parked G runnable, exactly once per park. A plain thread is woken here and now.
    pub fn push(&mut self, g: GRef) {
        if let Some(g) = make_runnable(g) {
            // SAFETY: `make_runnable` made us the owner of a Runnable G that is on no queue (G1).
            unsafe { self.goroutines.push_back(g.0) };
        }
    }

    /// Lets `task.run` be called soon, on an ordinary goroutine.
    ///
    /// A task must not be deferred again before it runs.
    pub fn defer(&mut self, task: NonNull<Deferred>) {
        let list = self.deferred.get_mut();
        // SAFETY: the caller's task is alive until it runs, and on no other list.
        unsafe { task.as_ref() }.next.set(ptr::null_mut());
        if list.tail.is_null() {
            list.head = task.as_ptr();
        } else {
            // SAFETY: the tail has not run yet: it is on this list.
            unsafe { (*list.tail).next.set(task.as_ptr()) };
        }
        list.tail = task.as_ptr();
    }

    /// How many goroutines are on it.
    pub fn len(&self) -> usize {
        self.goroutines.len()
    }

    /// Whether there is nothing on it.
    pub fn is_empty(&self) -> bool {
        self.goroutines.is_empty() && self.first_deferred().is_none()
    }

    /// Whether work was deferred.
    pub(crate) fn has_deferred(&self) -> bool {
        self.first_deferred().is_some()
    }

    pub(crate) fn pop(&mut self) -> Option<GRef> {
        self.goroutines.pop_front().map(GRef)
    }

    pub(crate) fn take_goroutines(&mut self) -> List<G> {
        std::mem::take(&mut self.goroutines)
    }

    fn first_deferred(&self) -> Option<NonNull<Deferred>> {
        // SAFETY: `&mut self` methods are the only writers, and we hold `&self`.
        NonNull::new(unsafe { (*self.deferred.get()).head })
    }

    /// Takes the deferred tasks off, to be given to [`append_deferred`](Self::append_deferred) of
    /// another list or run one by one.
    pub(crate) fn pop_deferred(&mut self) -> Option<NonNull<Deferred>> {
        let task = self.first_deferred()?;
        let list = self.deferred.get_mut();
        // SAFETY: the task is on this list and has not run.
        list.head = unsafe { task.as_ref() }.next.get();
        if list.head.is_null() {
            list.tail = ptr::null_mut();
        }
        Some(task)
    }

    pub(crate) fn append_deferred(&mut self, other: &mut ReadyList) {
        while let Some(task) = other.pop_deferred() {
            self.defer(task);
        }
    }
}

/// Runs a task that was deferred.
///
/// # Safety
///
/// The task was popped from a list and is run once.
pub(crate) unsafe fn run_deferred(task: NonNull<Deferred>) {
    // SAFETY: alive until it runs.
    let run = unsafe { task.as_ref() }.run;
    // SAFETY: the maker of the task answers for `run`; the caller runs it once.
    unsafe { run(task) };
}

impl Default for ReadyList {
    fn default() -> Self {
        ReadyList::new()
    }
}

impl fmt::Debug for ReadyList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyList")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// The status half of `ready`: a goroutine that the caller must now queue, or `None` where the rest
/// is done (a plain thread has been woken, or the G has not stopped yet and will see the mark).
#[inline]
pub(crate) fn make_runnable(g: GRef) -> Option<GRef> {
    let status = &g.get().status;
    if g.get().kind.get() == Kind::Thread {
        if status.ready_thread() == Readied::Enqueue {
            futex::wake(status.as_futex(), 1);
        }
        return None;
    }
    (status.ready() == Readied::Enqueue).then_some(g)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for another thread.
    fn wait_until(word: &AtomicU32, value: u32) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while word.load(Ordering::Acquire) != value {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
    }

    #[test]
    fn all_timers_move_to_a_heap_that_has_no_room_for_them() {
        static FROM: Timers = Timers::new();
        static TO: Timers = Timers::new();
        static FIRED: AtomicU32 = AtomicU32::new(0);

        unsafe fn fire(_arg: *mut (), _now_ns: u64, _out: &mut ReadyList) {
            FIRED.fetch_add(1, Ordering::Relaxed);
        }

        let nodes: Vec<&TimerNode> = (0..100)
            .map(|_| &*Box::leak(Box::new(TimerNode::new(fire))))
            .collect();
        for (i, node) in nodes.iter().enumerate() {
            let timers = if i < 90 { &FROM } else { &TO };
            // SAFETY: new nodes that are never freed; their function takes no argument.
            assert!(unsafe { node.insert_into(timers, 1_000 - i as u64, 0) });
        }
        FROM.move_to(&TO);
        assert!(FROM.is_empty() && FROM.first_ns() == NEVER);
        assert_eq!((TO.len(), TO.first_ns()), (100, 901));
        // SAFETY: no lock is held.
        assert!(unsafe { nodes[0].stop() }, "it is found in its new heap");
        TO.run_due(1_000, &mut ReadyList::new());
        assert_eq!(FIRED.load(Ordering::Relaxed), 99);
    }

    #[test]
    fn a_timer_fires_until_the_last_of_its_functions_has_returned() {
        static TIMERS: Timers = Timers::new();
        static NODE: TimerNode = TimerNode::new(fire);
        static CALLS: AtomicU32 = AtomicU32::new(0);
        static LET_GO: AtomicU32 = AtomicU32::new(0);

        /// The first call takes its time.
        unsafe fn fire(_arg: *mut (), _now_ns: u64, _out: &mut ReadyList) {
            if CALLS.fetch_add(1, Ordering::AcqRel) == 0 {
                wait_until(&LET_GO, 1);
            }
        }

        // SAFETY: the node is new, static, and stopped below; its function takes no argument.
        assert!(unsafe { NODE.insert_into(&TIMERS, 1, 1) });
        std::thread::scope(|s| {
            s.spawn(|| TIMERS.run_due(1, &mut ReadyList::new()));
            wait_until(&CALLS, 1);
            TIMERS.run_due(2, &mut ReadyList::new());
            assert_eq!(CALLS.load(Ordering::Acquire), 2);
            assert_eq!(NODE.firing.load(Ordering::Acquire), 1);
            LET_GO.store(1, Ordering::Release);
            // SAFETY: no lock is held.
            assert!(unsafe { NODE.stop() });
            assert_eq!(NODE.firing.load(Ordering::Acquire), 0);
        });
        assert!(TIMERS.is_empty());
    }
}
