//! Facts about threads and processors.

use std::mem::MaybeUninit;
use std::ptr;

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Threads of the runtime's that have begun, and those of them that are about to end.
static OWN_BEGUN: AtomicU32 = AtomicU32::new(0);
static OWN_ENDED: AtomicU32 = AtomicU32::new(0);

/// Counts the calling thread as one of the runtime's, which wakes nobody of its own accord. `deadlock` takes
/// all others for the user's.
pub(crate) fn begin_own() {
    OWN_BEGUN.fetch_add(1, Ordering::Release);
}

/// Counts it out again; it is about to end.
pub(crate) fn end_own() {
    OWN_ENDED.fetch_add(1, Ordering::Release);
}

/// How many of the runtime's threads have begun, and how many of them have ended. The difference is never
/// more than there are.
pub(crate) fn own() -> (u32, u32) {
    // In this order it is not negative.
    let ended = OWN_ENDED.load(Ordering::Acquire);
    (OWN_BEGUN.load(Ordering::Acquire), ended)
}

/// Asks the kernel to run this thread soon after it wakes, for at most about `ns` at a time (Linux 6.12;
/// older kernels take no notice). Without this a thread that wakes waits until the one on its processor has
/// had its slice, some 3 ms.
pub(crate) fn set_slice(ns: u64) {
    /// The kernel's `struct sched_attr`, first version.
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime_ns: u64,
        deadline_ns: u64,
        period_ns: u64,
    }
    let mut attributes = Attributes::default();
    let size = size_of::<Attributes>() as u32;
    // SAFETY: the kernel writes at most `size` bytes to the attributes.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    // Not where the user has chosen a real-time policy.
    if result != 0 || attributes.policy != libc::SCHED_OTHER as u32 {
        return;
    }
    attributes.size = size;
    attributes.runtime_ns = ns;
    // SAFETY: reads the attributes. A refusal changes nothing.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}

/// The kernel's id of this thread.
pub fn tid() -> u32 {
    // SAFETY: `gettid` takes nothing and cannot fail.
    unsafe { libc::syscall(libc::SYS_gettid) as u32 }
}

/// Whether the thread is running, or about to: not asleep in the kernel, as far as that can be told.
pub fn is_on_a_processor(tid: u32) -> bool {
    // "running", or the number of the call it sleeps in.
    std::fs::read_to_string(format!("/proc/self/task/{tid}/syscall"))
        .is_ok_and(|text| text.starts_with("running"))
}

/// Sends a signal to one thread of this process, if it is still there.
pub fn signal(tid: u32, signal: i32) {
    // SAFETY: `tgkill` takes any numbers; the process's own threads take its signals.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, signal) };
}

/// The CPU time that a thread of this process has used; `None` if there is no such thread. About 0.2 µs.
pub fn cpu_ns(tid: u32) -> Option<u64> {
    if tid == 0 {
        return None; // To the kernel that is the caller.
    }
    // The kernel's `CPUCLOCK_SCHED` of one thread, as `pthread_getcpuclockid` makes it from a `pthread_t`.
    let clock = (!(tid as libc::clockid_t) << 3) | 6;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec; an unknown thread is an error.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    (result == 0).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// A thread's CPU clock at some moment.
#[derive(Clone, Copy, Default, Debug)]
pub struct CpuSeen {
    /// The thread.
    pub tid: u32,
    /// Its clock.
    pub cpu_ns: u64,
    /// The runtime's clock then.
    pub now_ns: u64,
}

/// Whether the process may map `bytes` more, with room for what std maps at a thread's start: if it may not,
/// std ends the process. True if there is no limit.
pub(crate) fn has_room_for(bytes: usize) -> bool {
    /// Threads that have begun and not mapped all of theirs yet.
    const OTHERS_BYTES: usize = 16 << 20;
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: writes one rlimit.
    unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) };
    if limit.rlim_cur == libc::RLIM_INFINITY {
        return true;
    }
    let bytes = bytes.saturating_add(OTHERS_BYTES);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping, which touches nothing and is given back at once.
    unsafe {
        let start = libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0);
        if start == libc::MAP_FAILED {
            return false;
        }
        libc::munmap(start, bytes);
    }
    true
}

/// What the kernel says of a thread of this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doing {
    /// It is on a processor, or waits for one.
    Running,
    /// It sleeps in this system call; -1 is a page fault.
    Blocked(i64),
    /// The kernel does not say.
    Unknown,
}

/// Whether a thread sleeps in the kernel (`/proc/self/task/TID/syscall`). Some 3 µs; neither allocates nor
/// locks.
pub fn doing(tid: u32) -> Doing {
    let mut text = [0u8; SYSCALL_TEXT_MAX];
    doing_by(read_syscall(tid, &mut text))
}

/// A thread that sleeps in the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asleep {
    /// As [`Doing::Blocked`].
    pub call: i64,
    /// Its stack pointer.
    pub sp: usize,
    /// Its program counter.
    pub pc: usize,
}

/// [`doing`], with where it stands; `None` unless it sleeps.
pub fn asleep(tid: u32) -> Option<Asleep> {
    let mut text = [0u8; SYSCALL_TEXT_MAX];
    let text = read_syscall(tid, &mut text);
    let Doing::Blocked(call) = doing_by(text) else {
        return None;
    };
    // The call, its arguments but for a page fault, and the two.
    let mut fields = text.trim_ascii_end().rsplit(|&byte| byte == b' ');
    let mut number = || {
        let digits = fields.next()?.strip_prefix(b"0x")?;
        usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let (pc, sp) = (number()?, number()?);
    Some(Asleep { call, sp, pc })
}

/// A number of the call, eight addresses, and what is between.
const SYSCALL_TEXT_MAX: usize = 192;

fn read_syscall(tid: u32, text: &mut [u8; SYSCALL_TEXT_MAX]) -> &[u8] {
    let mut path = [0u8; 48];
    let mut len = 0;
    let mut put = |bytes: &[u8]| {
        path[len..len + bytes.len()].copy_from_slice(bytes);
        len += bytes.len();
    };
    put(b"/proc/self/task/");
    let mut digits = [0u8; 10];
    let mut first = digits.len();
    let mut rest = tid;
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    put(&digits[first..]);
    put(b"/syscall\0");
    // SAFETY: the path ends with a zero.
    let fd = unsafe { libc::open(path.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if fd < 0 {
        return &[];
    }
    // SAFETY: writes at most `text.len()` bytes to `text`; the descriptor is ours to close.
    let read = unsafe {
        let read = libc::read(fd, text.as_mut_ptr().cast(), text.len());
        libc::close(fd);
        read
    };
    &text[..usize::try_from(read).unwrap_or(0)]
}

fn doing_by(text: &[u8]) -> Doing {
    if text.starts_with(b"running") {
        return Doing::Running;
    }
    let (is_negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let mut number = 0i64;
    let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    for digit in &digits[..count] {
        number = number.wrapping_mul(10) + i64::from(digit - b'0');
    }
    match count {
        0 => Doing::Unknown,
        _ if is_negative => Doing::Blocked(-number),
        _ => Doing::Blocked(number),
    }
}

/// Copies words of this process's memory, which others may be writing meanwhile, or which may not be there:
/// gives how many could be copied. Neither allocates nor locks.
pub fn copy_words(from: usize, to: &[AtomicUsize]) -> usize {
    /// What lies together is there together.
    const PAGE: usize = 4096;
    const PIECES_MAX: usize = 8;
    let mut pieces = [libc::iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    }; PIECES_MAX];
    let end = from + size_of_val(to);
    let (mut at, mut count) = (from, 0);
    while at < end && count < PIECES_MAX {
        let next = (at / PAGE + 1) * PAGE;
        pieces[count] = libc::iovec {
            iov_base: at as *mut libc::c_void,
            iov_len: next.min(end) - at,
        };
        (at, count) = (next, count + 1);
    }
    let room = libc::iovec {
        iov_base: to.as_ptr().cast_mut().cast(),
        iov_len: size_of_val(to),
    };
    // SAFETY: writes no more than `room`, which is atomics' memory: others see old words or new ones. What
    // cannot be read of the pieces ends the copy.
    let copied = unsafe {
        let pid = libc::getpid();
        libc::process_vm_readv(pid, &raw const room, 1, pieces.as_ptr(), count as u64, 0)
    };
    usize::try_from(copied).unwrap_or(0) / size_of::<usize>()
}

/// How many processors this thread may run on (its affinity mask).
pub fn affinity_count() -> usize {
    // A kernel with more than 8,192 processors answers EINVAL; then the configured count will do.
    let mut set = [0u64; 128];
    // SAFETY: the kernel writes at most `size_of_val(&set)` bytes to `set`.
    let bytes = unsafe {
        libc::syscall(
            libc::SYS_sched_getaffinity,
            0,
            size_of_val(&set),
            set.as_mut_ptr(),
        )
    };
    if bytes <= 0 {
        // SAFETY: `sysconf` takes any name.
        return unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }.max(1) as usize;
    }
    set.iter()
        .map(|word| word.count_ones() as usize)
        .sum::<usize>()
        .max(1)
}

/// How many threads the process has, by `/proc/self/stat`; `None` where that cannot be read.
///
/// Allocates nothing and takes no lock.
pub fn count() -> Option<u32> {
    let mut bytes = [0u8; 1024];
    // SAFETY: the path is a string that ends with a zero.
    let fd = unsafe {
        libc::open(
            c"/proc/self/stat".as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC,
        )
    };
    if fd < 0 {
        return None;
    }
    // SAFETY: the kernel writes at most `bytes.len()` bytes to `bytes`.
    let len = unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) };
    // SAFETY: the descriptor was opened above and is nobody else's.
    unsafe { libc::close(fd) };
    count_in_stat(&bytes[..usize::try_from(len).ok()?])
}

/// The 20th field. The second is the program's name in parentheses, which may have any in itself.
fn count_in_stat(stat: &[u8]) -> Option<u32> {
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    let field = stat[name_end + 1..].split(|&byte| byte == b' ').nth(18)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Names this thread (15 bytes are kept), for `top` and debuggers.
pub fn set_name(name: &str) {
    let mut bytes = [0u8; 16];
    let len = name.len().min(15);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    // SAFETY: PR_SET_NAME reads a string of up to 16 bytes; `bytes` ends with a zero.
    unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr()) };
}

/// A thread to be made, with `bytes` of stack for frames: libc takes its block of thread-locals, which may be
/// large, from what it is asked for.
pub(crate) fn builder(name: String, bytes: usize) -> std::thread::Builder {
    // Whole pages, as `guard_stack` wants them.
    let bytes = (bytes + gort_arch::tls::bytes_in_thread_stack()).next_multiple_of(4096);
    std::thread::Builder::new().name(name).stack_size(bytes)
}

/// Guard below a thread's stack that [`guard_stack`] adds: as below a goroutine's, because C code
/// without stack probes can jump over the one page that libc leaves.
pub const STACK_GUARD_BYTES: usize = 64 << 10;

/// Where a thread's stack ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stack {
    /// The lowest byte of the guard.
    guard: usize,
    /// The first byte above it.
    limit: usize,
    /// The lowest byte of our part of the guard, if there is one: from here to `limit`.
    added: Option<usize>,
    /// Bytes for frames that were asked for.
    pub bytes: usize,
}

/// From `include/uapi/asm-generic/mman-common.h`; Linux 6.13 has them.
const MADV_GUARD_INSTALL: i32 = 102;
const MADV_GUARD_REMOVE: i32 = 103;

/// Makes the lowest part of this thread's stack a guard too, where the kernel has guards that cost no
/// mapping. `asked` is the size asked for, without that part. `None` if libc does not say where the
/// stack is. Calls malloc.
pub fn guard_stack(asked: usize) -> Option<Stack> {
    let mut attributes = MaybeUninit::uninit();
    let (mut base, mut bytes, mut guard_bytes) = (ptr::null_mut(), 0, 0);
    // SAFETY: `pthread_getattr_np` writes the attributes, which are read and destroyed only if it did;
    // the out-pointers are of the types asked for.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        libc::pthread_attr_getguardsize(attributes.as_ptr(), &raw mut guard_bytes);
        libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut base, &raw mut bytes);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
    }
    let base = base as usize;
    // libc's guard lies below the stack; in glibc before 2.27 it was counted to it.
    // Above it may be megabytes of thread-locals, which libc takes from the stack that was asked for.
    let here = (&raw const base) as usize;
    let has_room = asked > STACK_GUARD_BYTES
        && base.is_multiple_of(4096)
        && here.saturating_sub(base) > STACK_GUARD_BYTES + asked / 2;
    // SAFETY: the range is the far end of our own stack, which no frame has reached; an advice that the
    // kernel does not know, or not for this memory, changes nothing.
    let is_added = has_room
        && unsafe {
            libc::madvise(
                base as *mut libc::c_void,
                STACK_GUARD_BYTES,
                MADV_GUARD_INSTALL,
            ) == 0
        };
    let added = if is_added { STACK_GUARD_BYTES } else { 0 };
    Some(Stack {
        guard: base.saturating_sub(guard_bytes),
        limit: base + added.max(guard_bytes),
        added: is_added.then_some(base),
        bytes: asked,
    })
}

impl Stack {
    /// Whether a touch of `address` is an overflow of this stack.
    pub fn guards(&self, address: usize) -> bool {
        (self.guard..self.limit).contains(&address)
    }

    /// Takes our part of the guard away: libc gives the stack to another thread.
    ///
    /// # Safety
    ///
    /// On the thread that [`guard_stack`] was called on, at its end.
    pub unsafe fn unguard(self) {
        if let Some(base) = self.added {
            let bytes = STACK_GUARD_BYTES;
            // SAFETY: the range is part of the caller's stack, and a guard since `guard_stack`.
            unsafe { libc::madvise(base as *mut libc::c_void, bytes, MADV_GUARD_REMOVE) };
        }
    }
}

/// Tells the processor that this is a spin loop.
pub fn pause(times: u32) {
    for _ in 0..times {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_of_a_process_are_counted() {
        let before = count().expect("/proc is there");
        assert!(before >= 1);
        let line = b"7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 31 0 1234 0 0";
        assert_eq!(count_in_stat(line), Some(31));
        assert_eq!(count_in_stat(b"7 (a) S 1"), None);
        assert_eq!(count_in_stat(b""), None);
    }

    #[test]
    fn words_are_copied_as_far_as_they_are_there() {
        let from: Vec<usize> = (0..2000).collect();
        let to = [const { AtomicUsize::new(0) }; 1500];
        assert_eq!(copy_words(from.as_ptr() as usize, &to), 1500);
        for (index, word) in to.iter().enumerate() {
            assert_eq!(word.load(Ordering::Relaxed), index);
        }
        assert_eq!(copy_words(8, &to), 0, "nothing is mapped there");
        // SAFETY: two pages of our own, of which the upper one is closed.
        let lower = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let pages = libc::mmap(ptr::null_mut(), 8192, libc::PROT_READ, flags, -1, 0);
            libc::mprotect(pages.wrapping_byte_add(4096), 4096, libc::PROT_NONE);
            pages as usize
        };
        assert_eq!(copy_words(lower + 4096 - 24, &to), 3);
        // SAFETY: the mapping made above.
        unsafe { libc::munmap(lower as *mut libc::c_void, 8192) };
    }

    #[test]
    fn a_thread_that_sleeps_is_told_from_one_that_computes() {
        assert_eq!(
            doing(tid()),
            Doing::Blocked(libc::SYS_read),
            "it reads this"
        );
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let sleeper = std::thread::spawn(move || {
            tell.send(tid()).expect("the test listens");
            let _ = ended.recv();
        });
        let tid = told.recv().expect("the thread says who it is");
        let start = std::time::Instant::now();
        while !matches!(doing(tid), Doing::Blocked(nr) if nr == libc::SYS_futex) {
            assert!(start.elapsed().as_secs() < 20, "{:?}", doing(tid));
            std::thread::yield_now();
        }
        let asleep = asleep(tid).expect("it is");
        assert_eq!(asleep.call, libc::SYS_futex);
        let words = [const { AtomicUsize::new(0) }; 2];
        assert_eq!(copy_words(asleep.sp, &words), 2, "its stack");
        assert_eq!(copy_words(asleep.pc & !7, &words), 2, "its code");
        drop(end);
        sleeper.join().expect("it only sleeps");
    }
}
