//! Giving the memory of a parked stack to the kernel, and getting it back at the first touch.
//!
//! A goroutine that is parked keeps a page or two for a few hundred live bytes. Its owner copies them elsewhere,
//! and the page goes; in its place the page table has a *poison mark* (`UFFDIO_POISON`, Linux 6.6), which costs
//! nothing and needs no mapping of its own. Whoever touches the address gets SIGBUS, and the handler puts the
//! bytes back: `UFFDIO_COPY` replaces a mark by a filled page in one step, which others see whole or not at all.
//!
//! Taking a page away is not one step, and others may be using it: a waker writes to the parked receiver, a
//! scoped goroutine to what it has borrowed. So it is kept from them meanwhile:
//!
//! | step | memory is    | by                   | others                                     |
//! |------|--------------|----------------------|--------------------------------------------|
//! | 1    | read-only    | [`Frozen::new`]      | may read; who writes gets SIGSEGV          |
//! | 2    |              | the caller's copy    | the same: what is copied does not change   |
//! | 3    | inaccessible | [`Frozen::empty`]    | get SIGSEGV                                |
//! | 4    | gone         | the same             | the same                                   |
//! | 5    | marked       | [`Emptied::mark`]    | the same                                   |
//! | 6    | accessible   | drop of [`Emptied`]  | get SIGBUS where there is a mark           |
//!
//! Who gets SIGSEGV waits in the handler until step 6 is done, and tries again. What waits for whom is a word
//! for each slot (`gort_queue::sleep_word`), which lies beside the slots; all that is above this crate.
//!
//! Rejected, each after a trial:
//! * *Only 4 and 5.* Between them a reader finds zeros, and a writer's bytes are lost. So it is with
//!   `MADV_GUARD_INSTALL` over a page in use, which is these two steps.
//! * *Step 3 alone, for as long as the goroutine sleeps.* Two mappings for each, of 65,530 that the kernel allows.
//! * *userfaultfd's mode MISSING*, whose marks are the missing pages themselves: system calls that write to a page
//!   of a *running* stack that it has not touched yet fail with EFAULT. Here the stacks are registered for write
//!   protection, of which no use is made, as that lets untouched pages be.
//!
//! System calls that are handed an address with a mark fail with EFAULT: see "Hibernation" in the docs of `gort`.
//!
//! Elsewhere: which goroutines, when, and what is kept of them (`gort_core::hibernate`).
//! Checked by `tests/hibernate.rs`.

use core::fmt;
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};

use crate::pool;
use crate::stack::{PAGE, Slot};
use crate::sys;

/// Bytes of a page.
pub const PAGE_BYTES: usize = PAGE;

/// The contents of a page.
pub type Page = [u8; PAGE_BYTES];

/// The userfaultfd; -1 until [`start`] has one. Never closed.
static UFFD: AtomicI32 = AtomicI32::new(-1);

/// Why memory cannot be put away here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The kernel gives no userfaultfd: the error number.
    NoUserfaultfd(i32),
    /// It has no poison marks (before Linux 6.6): the error number.
    NoPoison(i32),
    /// A trial failed at some step: the error number.
    Trial(i32),
    /// Goroutines have no stacks of ours.
    NoSlots,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = |errno: &i32| std::io::Error::from_raw_os_error(*errno);
        match self {
            Refused::NoUserfaultfd(errno) => write!(
                f,
                "the kernel gives no userfaultfd ({}): Linux 5.11 or newer, and a seccomp profile that allows it",
                error(errno)
            ),
            Refused::NoPoison(errno) => write!(
                f,
                "the kernel cannot mark pages (UFFDIO_POISON: {}): Linux 6.6 or newer",
                error(errno)
            ),
            Refused::Trial(errno) => write!(f, "a trial failed ({})", error(errno)),
            Refused::NoSlots => f.write_str("goroutines have threads, whose stacks are not ours"),
        }
    }
}

impl std::error::Error for Refused {}

/// From here on the memory of slots can be put away. Again: nothing happens. One caller at a time, after
/// `tls::init`.
///
/// # Errors
///
/// The system does not have what it takes. Nothing has changed then.
pub fn start() -> Result<(), Refused> {
    if !crate::stack::has_block_layout() {
        return Err(Refused::NoSlots);
    }
    if UFFD.load(Relaxed) >= 0 {
        return Ok(());
    }
    let uffd = uffd::open()?;
    if let Err(errno) = uffd::trial(uffd) {
        uffd::close(uffd);
        return Err(Refused::Trial(errno));
    }
    UFFD.store(uffd, Relaxed);
    pool::make_ready_for_sleep();
    Ok(())
}

/// Whether [`start`] would succeed. Changes nothing.
///
/// # Errors
///
/// As of `start`.
pub fn probe() -> Result<(), Refused> {
    if !crate::stack::has_block_layout() {
        return Err(Refused::NoSlots);
    }
    let uffd = uffd::open()?;
    let result = uffd::trial(uffd);
    uffd::close(uffd);
    result.map_err(Refused::Trial)
}

/// Lets the pages of a new chunk be marked. False if the kernel does not want to.
pub(crate) fn register(addr: usize, bytes: usize) -> bool {
    let uffd = UFFD.load(Relaxed);
    uffd >= 0 && uffd::register(uffd, addr, bytes).is_ok()
}

/// The word that says whether a slot's memory is put away, 0 at first; `None` where it cannot be.
/// Async-signal-safe.
pub fn word(slot: Slot) -> Option<&'static AtomicUsize> {
    let (word, is_ready) = pool::word(slot);
    is_ready.then_some(word)
}

/// Memory that is read-only, until this is dropped.
#[derive(Debug)]
pub struct Frozen {
    addr: usize,
    bytes: usize,
}

impl Frozen {
    /// Makes `bytes` from `addr` on read-only. `None` if the kernel refuses; nothing has changed then.
    ///
    /// # Safety
    ///
    /// Whole pages of slots of one chunk whose users run nowhere until this is dropped, and who else writes
    /// there can wait for that in a handler of SIGSEGV. Guards that lie in between are of the kind
    /// [`GuardKind::Install`](crate::guard::GuardKind::Install).
    pub unsafe fn new(addr: usize, bytes: usize) -> Option<Frozen> {
        debug_assert!(addr.is_multiple_of(PAGE) && bytes.is_multiple_of(PAGE));
        // SAFETY: our own mapping; what that does to others is the caller's word.
        unsafe { protect(addr, bytes, libc::PROT_READ) }.then_some(Frozen { addr, bytes })
    }

    /// Takes all pages away: they are empty. `None` if the kernel refuses; then they are as they were.
    pub fn empty(self) -> Option<Emptied> {
        let emptied = Emptied(self);
        let Frozen { addr, bytes } = emptied.0;
        let advice = libc::MADV_DONTNEED as usize;
        // SAFETY: our own mapping, of which the maker of `self` has said that it can be kept from everybody.
        // The kernel refuses the advice as a whole (locked memory) or follows it as a whole.
        let is_done = unsafe {
            protect(addr, bytes, libc::PROT_NONE)
                && sys::raw(libc::SYS_madvise, [addr, bytes, advice, 0]) == 0
        };
        is_done.then_some(emptied)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // SAFETY: what the mapping was before.
        let is_done = unsafe { protect(self.addr, self.bytes, libc::PROT_READ | libc::PROT_WRITE) };
        if !is_done {
            sys::fatal("the kernel does not give a stack back that it has protected");
        }
    }
}

/// Memory that is empty and inaccessible, until this is dropped.
#[derive(Debug)]
pub struct Emptied(Frozen);

impl Emptied {
    /// Marks the page at `addr`. False if the kernel has no memory for that: then it is empty still.
    #[must_use]
    pub fn mark(&self, addr: usize) -> bool {
        debug_assert!(addr.wrapping_sub(self.0.addr) < self.0.bytes);
        uffd::poison(UFFD.load(Relaxed), addr).is_ok()
    }
}

/// Replaces the mark at `addr` by a page with these contents. Async-signal-safe.
///
/// # Errors
///
/// The error number, if the kernel has no memory: the mark is still there.
///
/// # Safety
///
/// There is a mark at `addr`, nobody else puts contents there meanwhile, and they are right. In the child of a fork:
/// it has no other thread.
pub unsafe fn put_back(addr: usize, contents: &Page, is_forked: bool) -> Result<(), i32> {
    if is_forked {
        // The descriptor is of the parent's memory.
        // SAFETY: the caller's word: nobody else is there to see the page empty.
        return unsafe { replace(addr, contents) };
    }
    uffd::copy(UFFD.load(Relaxed), addr, contents)
}

/// A fresh page in place of another one.
///
/// # Safety
///
/// A page of a slot, and nobody touches it meanwhile.
unsafe fn replace(addr: usize, contents: &Page) -> Result<(), i32> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
    let page = addr as *mut libc::c_void;
    // SAFETY: a page of ours, whose contents are a mark.
    if unsafe { libc::mmap(page, PAGE, protection, flags, -1, 0) } == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    // SAFETY: just mapped.
    unsafe { page.cast::<Page>().write(*contents) };
    Ok(())
}

/// Whether the page at `addr` can be read. Async-signal-safe.
pub fn is_readable(addr: usize) -> bool {
    // The kernel reads the new mask before it looks at what is to be done with it, which is nonsense here: so it
    // says EFAULT or EINVAL.
    const NONSENSE: usize = usize::MAX;
    let mask = addr & !7;
    // SAFETY: changes nothing, whatever the address.
    let result = unsafe { sys::raw(libc::SYS_rt_sigprocmask, [NONSENSE, mask, 0, 8]) };
    result != -(libc::EFAULT as isize)
}

/// # Safety
///
/// As `mprotect` demands.
unsafe fn protect(addr: usize, bytes: usize, protection: i32) -> bool {
    // SAFETY: the caller's word. Not libc's wrapper, which sets `errno`, wherever we are.
    (unsafe { sys::raw(libc::SYS_mprotect, [addr, bytes, protection as usize, 0]) }) == 0
}

/// The system calls, as the kernel's `linux/userfaultfd.h` has them.
mod uffd {
    use super::{PAGE, Page, Refused, sys};

    const USER_MODE_ONLY: usize = 1;
    const API: u64 = 0xaa;
    /// Nobody serves faults: if one should come, it is a signal and no wait for ever.
    const FEATURE_SIGBUS: u64 = 1 << 7;
    const FEATURE_POISON: u64 = 1 << 14;
    const MODE_WP: u64 = 1 << 1;

    #[repr(C)]
    struct Handshake {
        api: u64,
        features: u64,
        ioctls: u64,
    }
    #[repr(C)]
    struct Register {
        start: u64,
        len: u64,
        mode: u64,
        ioctls: u64,
    }
    #[repr(C)]
    struct Copy {
        dst: u64,
        src: u64,
        len: u64,
        mode: u64,
        copied: i64,
    }
    #[repr(C)]
    struct Poison {
        start: u64,
        len: u64,
        mode: u64,
        updated: i64,
    }

    /// `_IOWR(0xaa, number, T)`.
    const fn request<T>(number: usize) -> usize {
        3 << 30 | size_of::<T>() << 16 | 0xaa << 8 | number
    }

    fn ioctl<T>(uffd: i32, number: usize, argument: &mut T) -> Result<(), i32> {
        let args = [
            uffd as usize,
            request::<T>(number),
            core::ptr::from_mut(argument) as usize,
            0,
        ];
        // SAFETY: the kernel reads and writes a `T` as the number demands. What it does to other memory is the
        // caller's to see to: all that reach here say where.
        match unsafe { sys::raw(libc::SYS_ioctl, args) } {
            0 => Ok(()),
            error => Err(-error as i32),
        }
    }

    pub(super) fn open() -> Result<i32, Refused> {
        let flags = libc::O_CLOEXEC as usize | USER_MODE_ONLY;
        // SAFETY: takes flags alone.
        let uffd = unsafe { sys::raw(libc::SYS_userfaultfd, [flags, 0, 0, 0]) };
        if uffd < 0 {
            return Err(Refused::NoUserfaultfd(-uffd as i32));
        }
        let uffd = uffd as i32;
        let mut handshake = Handshake {
            api: API,
            features: FEATURE_SIGBUS | FEATURE_POISON,
            ioctls: 0,
        };
        ioctl(uffd, 0x3f, &mut handshake).map_err(|errno| {
            close(uffd);
            Refused::NoPoison(errno)
        })?;
        Ok(uffd)
    }

    pub(super) fn close(uffd: i32) {
        // SAFETY: our own descriptor, which nobody else knows.
        unsafe { sys::raw(libc::SYS_close, [uffd as usize, 0, 0, 0]) };
    }

    pub(super) fn register(uffd: i32, addr: usize, bytes: usize) -> Result<(), i32> {
        let mut register = Register {
            start: addr as u64,
            len: bytes as u64,
            mode: MODE_WP,
            ioctls: 0,
        };
        ioctl(uffd, 0x00, &mut register)
    }

    pub(super) fn poison(uffd: i32, addr: usize) -> Result<(), i32> {
        let mut poison = Poison {
            start: addr as u64,
            len: PAGE as u64,
            mode: 0,
            updated: 0,
        };
        again(|| ioctl(uffd, 0x08, &mut poison))
    }

    pub(super) fn copy(uffd: i32, addr: usize, contents: &Page) -> Result<(), i32> {
        let mut copy = Copy {
            dst: addr as u64,
            src: contents.as_ptr() as u64,
            len: PAGE as u64,
            mode: 0,
            copied: 0,
        };
        again(|| ioctl(uffd, 0x03, &mut copy))
    }

    /// EAGAIN says that the mappings were just being changed.
    fn again(mut call: impl FnMut() -> Result<(), i32>) -> Result<(), i32> {
        loop {
            match call() {
                Err(libc::EAGAIN) => {}
                result => return result,
            }
        }
    }

    /// Puts a page away and back.
    pub(super) fn trial(uffd: i32) -> Result<(), i32> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping where the kernel likes.
        let page = unsafe { libc::mmap(core::ptr::null_mut(), PAGE, protection, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(libc::ENOMEM);
        }
        let addr = page as usize;
        let contents = [0xa5; PAGE];
        let result = register(uffd, addr, PAGE)
            .and_then(|()| poison(uffd, addr))
            .and_then(|()| copy(uffd, addr, &contents));
        // SAFETY: ours, and accessible if all went well.
        let is_back = result.is_ok() && unsafe { page.cast::<Page>().read() } == contents;
        // SAFETY: ours, used no more.
        unsafe { libc::munmap(page, PAGE) };
        result?;
        if is_back { Ok(()) } else { Err(libc::EIO) }
    }
}
