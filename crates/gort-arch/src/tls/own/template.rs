//! How a new thread's thread-local block looks, learned from two new threads.
//!
//! Two raw pthreads with different stack sizes, guard sizes, start routines and arguments copy their
//! block, from the lowest static thread-local to the end of `struct pthread`, before they call
//! anything. Comparing the copies word by word explains each:
//!
//! | word                                            | in a goroutine's block                     |
//! |-------------------------------------------------|--------------------------------------------|
//! | differs by as much as FS does, points into block| same distance from the goroutine's FS      |
//! | same in both                                    | kept                                       |
//! | the links of the thread list                    | linked to itself: fork unlinks it          |
//! | thread id, DTV                                  | written per block                          |
//! | rseq area (registered with the kernel)          | 0, and `cpu_id` "not registered"           |
//! | the thread's stack, its size, guard, start, arg | 0                                          |
//! | anything else                                   | unexplained: no own blocks                 |
//!
//! Words above the last one that is not 0 are never written: they lie in a page of zeros (see
//! `stack`). Two words at the end of `struct pthread` are left 0 although a thread has them: the
//! pointer to its first block of keys (read only by libc's thread exit, which a goroutine does not
//! take) and the CPU number of its rseq area (`sched_getcpu` is answered by `interpose`). But if the
//! program or a library runs restartable sequences itself, as Google's tcmalloc does, the area says "not
//! registered" in each block, and so much more of the first page is written: there a 0 would be taken
//! for CPU 0.
//!
//! The same threads then call malloc, to find the words that it keeps per thread, and set a pthread
//! key, to see that keys lie where `exit` will look for them.

use core::ffi::{CStr, c_int, c_void};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU32, Ordering::*};

use super::glibc::{Glibc, KEY_BLOCKS, KEYS_PER_BLOCK, KeyData, Life};
use crate::stack::PAGE;
use crate::sys;

/// A block for any goroutine: what to write relative to its FS.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// Bytes below FS in use, a multiple of 8.
    pub(super) below: usize,
    /// Bytes from FS up that are written, a multiple of 64.
    pub(super) cut: usize,
    /// The words from `fs - below` to `fs + cut`.
    pub(super) words: Vec<usize>,
    /// Indices of words to which FS is to be added, ascending.
    pub(super) relative: Vec<u32>,
    /// The dynamic thread vector: entry 0 is the generation, entry n that of TLS module n.
    pub(super) dtv: Vec<DtvEntry>,
    /// Static TLS modules, for the search for later ones.
    pub(super) modules: Vec<Module>,
    /// Offsets from FS of malloc's words, at most [`MALLOC_WORDS_MAX`]; none if they must not be lent.
    pub(super) malloc_words: Vec<isize>,
}

/// An entry of the DTV before relocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DtvEntry {
    /// As it is: the generation, or "not allocated yet".
    Value(usize),
    /// Static storage this many bytes below FS.
    Below(usize),
}

/// A module (program or library) with thread-locals.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Module {
    pub(super) name: String,
    pub(super) id: usize,
    /// Unloaded and loaded again, it is another.
    pub(super) life: Life,
    /// Bytes below FS where its thread-locals begin; 0 if they are allocated when first used.
    pub(super) below: usize,
    pub(super) bytes: usize,
    pub(super) align: usize,
}

/// More words than this are the state of an allocator that lives in thread-locals itself.
pub(super) const MALLOC_WORDS_MAX: usize = 4;

/// Where `struct pthread` has its DTV pointer, by the x86-64 ABI of `__tls_get_addr`.
pub(super) const DTV: usize = 8;
/// `feature_1` of the thread control block (`__ssp_base`'s neighbour): bit 1 says that this process
/// has shadow stacks. Part of the ABI that compilers use for `-fcf-protection`.
const FEATURE_1: usize = 0x48;

impl Template {
    pub(super) fn build(libc: &Glibc) -> Result<Template, String> {
        let mut modules = modules(libc);
        let key = Key::create()?;
        let (first, second) = Snapshot::take_two(libc, &modules, key.0)?;
        drop(key);
        for snapshot in [&first, &second] {
            if !snapshot.key_found {
                return Err("pthread keys are not where they should be".to_owned());
            }
        }
        let dtv = dtv(&first, &second)?;
        for module in &mut modules {
            module.below = match dtv.get(module.id) {
                Some(DtvEntry::Below(below)) => *below,
                _ => 0,
            };
        }
        let used = |below: usize, module: &Module| below.max(module.below);
        let mut below = modules.iter().fold(0, used);
        if let Some((offset, _)) = libc.rseq
            && offset < 0
        {
            below = below.max(offset.unsigned_abs());
        }
        let below = below.next_multiple_of(8);
        if below > libc.static_bytes {
            return Err(format!(
                "{below} bytes of static thread-locals of {}",
                libc.static_bytes
            ));
        }
        let (words, relative, cut) = explain(libc, &first, &second, below)?;
        let libc_module = modules.iter().find(|module| is_libc(&module.name));
        let malloc_words = lendable(&first, &second, libc_module)?;
        Ok(Template {
            below,
            cut,
            words,
            relative,
            dtv,
            modules,
            malloc_words,
        })
    }
}

impl Template {
    /// Gives a module that was loaded later its place below FS.
    pub(super) fn add(&mut self, module: &Module, initial: &[u8]) {
        let below = module.below.next_multiple_of(8).max(self.below);
        let more = (below - self.below) / 8;
        self.words.splice(0..0, core::iter::repeat_n(0, more));
        for index in &mut self.relative {
            *index += more as u32;
        }
        self.below = below;
        for (i, byte) in initial.iter().enumerate() {
            let at = below - module.below + i;
            let shift = at % 8 * 8;
            let word = &mut self.words[at / 8];
            *word = *word & !(0xff << shift) | usize::from(*byte) << shift;
        }
        self.modules.push(module.clone());
    }
}

/// Turns two copies into the words from `-below` to the last that is not 0, which ones are relative
/// to FS, and the bytes above FS.
fn explain(
    libc: &Glibc,
    first: &Snapshot,
    second: &Snapshot,
    below: usize,
) -> Result<(Vec<usize>, Vec<u32>, usize), String> {
    let (mut words, mut relative) = (Vec::new(), Vec::new());
    let mut last = libc.tid;
    for (index, (a, b)) in first.words.iter().zip(&second.words).enumerate() {
        let at = index as isize * 8 - libc.static_bytes as isize;
        let word = Word::explain(libc, first, second, at, *a, *b).ok_or_else(|| {
            format!("word {at:#x} of a new thread's control block is unknown ({a:#x}, {b:#x})")
        })?;
        if at < -(below as isize) {
            if word != Word::Value(0) {
                return Err(format!(
                    "word {at:#x} lies in no module's thread-locals ({a:#x})"
                ));
            }
            continue;
        }
        let (value, is_relative) = match word {
            Word::Value(value) => (value, false),
            Word::Relative(distance) => (distance, true),
        };
        if (value != 0 || is_relative) && at > last as isize && at != libc.specific as isize {
            last = at as usize;
        }
        if is_relative {
            relative.push(words.len() as u32);
        }
        words.push(value);
    }
    let cut = (last + 8)
        .next_multiple_of(64)
        .min(libc.pthread_bytes.next_multiple_of(8));
    if words[(below + FEATURE_1) / 8] & 2 != 0 {
        return Err("this process has shadow stacks (CET), which the switch does not".to_owned());
    }
    words.truncate((below + cut) / 8);
    relative.retain(|index| (*index as usize) < words.len());
    Ok((words, relative, cut))
}

/// What a word of a block is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Word {
    Value(usize),
    /// This much is added to FS.
    Relative(usize),
}

impl Word {
    /// The rules of the module's table; `None` if none fits. `at` is relative to FS.
    fn explain(
        libc: &Glibc,
        first: &Snapshot,
        second: &Snapshot,
        at: isize,
        a: usize,
        b: usize,
    ) -> Option<Word> {
        if at == DTV as isize {
            return Some(Word::Value(0));
        }
        if libc.is_list(at) {
            return Some(Word::Relative(libc.list));
        }
        if at == libc.tid as isize & !7 {
            // The other half of the word must be the same.
            let shift = 32 * (libc.tid / 4 % 2);
            let other_half = !(0xffff_ffff << shift);
            return (a & other_half == b & other_half).then_some(Word::Value(a & other_half));
        }
        if let Some((offset, bytes)) = libc.rseq
            && (offset..offset + bytes as isize).contains(&at)
        {
            let cpu_id = (first.at(libc, offset) >> 32) as i32;
            return Some(Word::Value(match at == offset {
                // Not registered in this process: threads that a goroutine creates look here for it.
                true if cpu_id < 0 => a,
                // Above FS the area is left untouched unless somebody looks, see the module's header.
                true if offset < 0 || libc.rseq_is_used => 0xffff_ffff << 32,
                _ => 0,
            }));
        }
        let distance = a.wrapping_sub(first.fs);
        if distance == b.wrapping_sub(second.fs) {
            let block = -(libc.static_bytes as isize)..=libc.pthread_bytes as isize;
            if block.contains(&(distance as isize)) {
                return Some(Word::Relative(distance));
            }
        }
        if a == b {
            return Some(Word::Value(a));
        }
        let of_the_thread = |snapshot: &Snapshot, value: usize| {
            let stack = snapshot.stack_bytes + snapshot.guard_bytes;
            snapshot.fs.wrapping_sub(value) <= stack + 2 * PAGE
                || (stack - snapshot.guard_bytes..=stack + 2 * PAGE).contains(&value)
                || value == snapshot.guard_bytes
                || value == snapshot.start
                || value == snapshot.argument
        };
        (of_the_thread(first, a) && of_the_thread(second, b)).then_some(Word::Value(0))
    }
}

/// The common form of two DTVs.
fn dtv(first: &Snapshot, second: &Snapshot) -> Result<Vec<DtvEntry>, String> {
    let mut entries = Vec::new();
    for (id, (a, b)) in first.dtv.iter().zip(&second.dtv).enumerate() {
        if a[1] != 0 || b[1] != 0 {
            return Err(format!("entry {id} of a new thread's DTV is allocated"));
        }
        let (a, b) = (a[0], b[0]);
        let below = first.fs.wrapping_sub(a);
        entries.push(if a == b {
            DtvEntry::Value(a)
        } else if below == second.fs.wrapping_sub(b) && below < 1 << 20 {
            DtvEntry::Below(below)
        } else {
            return Err(format!(
                "entry {id} of a new thread's DTV is unknown ({a:#x}, {b:#x})"
            ));
        });
    }
    Ok(entries)
}

/// Malloc's words, if they are to be lent.
///
/// Another allocator under malloc's name (a preloaded one) keeps what it likes per thread, and frees
/// it by destructors: each goroutine is a thread to it, and nothing is lent. libc's own frees nothing
/// that way, so if its words are not understood, there are no own blocks.
fn lendable(
    first: &Snapshot,
    second: &Snapshot,
    libc_module: Option<&Module>,
) -> Result<Vec<isize>, String> {
    if !malloc_is_libcs() {
        return Ok(Vec::new());
    }
    let own = libc_module.map_or(0..0, |module| {
        let low = -(module.below as isize);
        low..low + module.bytes as isize
    });
    let words = &first.malloc_words;
    let known = words == &second.malloc_words
        && (1..=MALLOC_WORDS_MAX).contains(&words.len())
        && words.iter().all(|at| own.contains(at));
    if !known {
        return Err(format!(
            "malloc keeps {words:?} and {:?} per thread",
            second.malloc_words
        ));
    }
    Ok(words.clone())
}

/// Whether `malloc` lies in the same object as a function that only libc has.
fn malloc_is_libcs() -> bool {
    let object = |symbol: &CStr| {
        let address = super::glibc::symbol(symbol);
        // SAFETY: `info` is valid for a write; any address may be asked for.
        unsafe {
            let mut info: libc::Dl_info = core::mem::zeroed();
            (libc::dladdr(address, &mut info) != 0).then_some(info.dli_fbase)
        }
    };
    object(c"malloc").is_some() && object(c"malloc") == object(c"gnu_get_libc_version")
}

pub(super) fn is_libc(name: &str) -> bool {
    name.rsplit('/')
        .next()
        .is_some_and(|file| file.starts_with("libc.so") || file.starts_with("libc-"))
}

/// All modules with thread-locals that are loaded now; `below` is not known yet.
pub(super) fn modules(libc: &Glibc) -> Vec<Module> {
    struct Search<'a> {
        libc: &'a Glibc,
        modules: Vec<Module>,
    }
    unsafe extern "C" fn visit(
        info: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        search: *mut c_void,
    ) -> c_int {
        // SAFETY: `dl_iterate_phdr` passes a valid description, and the pointer we gave it.
        let (info, search) = unsafe { (&*info, &mut *search.cast::<Search<'_>>()) };
        // SAFETY: `dlpi_phdr` points to `dlpi_phnum` program headers of a mapped object.
        let headers =
            unsafe { core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize) };
        if info.dlpi_tls_modid != 0
            && let Some(tls) = headers.iter().find(|header| header.p_type == libc::PT_TLS)
        {
            // SAFETY: the name is terminated, and lives while the object is mapped.
            let name = unsafe { CStr::from_ptr(info.dlpi_name) };
            search.modules.push(Module {
                name: name.to_string_lossy().into_owned(),
                id: info.dlpi_tls_modid,
                life: search.libc.life(info.dlpi_tls_modid),
                below: 0,
                bytes: tls.p_memsz as usize,
                align: (tls.p_align as usize).max(1),
            });
        }
        0
    }
    let mut search = Search {
        libc,
        modules: Vec::new(),
    };
    // SAFETY: `visit` has the right type and gets a pointer to `search` for the length of the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
    search.modules
}

/// A pthread key for the time of the snapshots.
struct Key(libc::pthread_key_t);

impl Key {
    fn create() -> Result<Key, String> {
        let mut key = 0;
        // SAFETY: `key` is valid for a write; no destructor.
        match unsafe { libc::pthread_key_create(&mut key, None) } {
            0 => Ok(Key(key)),
            error => Err(format!("no pthread key (error {error})")),
        }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: we created it, and both threads that used it have ended.
        unsafe { libc::pthread_key_delete(self.0) };
    }
}

/// What one thread saw of itself.
#[derive(Debug)]
struct Snapshot {
    /// From `fs - static_bytes` to the end of `struct pthread`, as it was before anything ran.
    words: Vec<usize>,
    dtv: Vec<[usize; 2]>,
    fs: usize,
    stack_bytes: usize,
    guard_bytes: usize,
    start: usize,
    argument: usize,
    /// Offsets from FS of words that the first calls of malloc changed.
    malloc_words: Vec<isize>,
    key_found: bool,
}

/// What a thread is given, and what it writes down. All memory is there before it starts.
struct Task {
    libc: Glibc,
    key: libc::pthread_key_t,
    words: Vec<usize>,
    dtv: Vec<[usize; 2]>,
    fs: usize,
    tid_found: bool,
    dtv_len: usize,
    /// Words that malloc changed: the count, and the first of them.
    changed_len: usize,
    changed: [isize; 64],
    key_found: bool,
}

/// How far the first thread is, beside the task, which is that thread's alone.
///
/// 0: running; 1: done, waits; 2: may end.
static STATE: AtomicU32 = AtomicU32::new(0);

impl Snapshot {
    /// Two threads that live at the same time, so that their blocks lie apart.
    fn take_two(
        libc: &Glibc,
        modules: &[Module],
        key: libc::pthread_key_t,
    ) -> Result<(Snapshot, Snapshot), String> {
        let ids = modules.iter().map(|module| module.id).max().unwrap_or(0);
        let task = || Task {
            libc: *libc,
            key,
            words: vec![0; (libc.static_bytes + libc.pthread_bytes).div_ceil(8)],
            dtv: vec![[0; 2]; ids + 1],
            fs: 0,
            tid_found: false,
            dtv_len: 0,
            changed_len: 0,
            changed: [0; 64],
            key_found: false,
        };
        // Stacks of this size are never from libc's cache (40 MiB), where a `struct pthread` keeps
        // marks of the thread before; if the process may not have as much, small ones must do.
        let (mut first, mut second) = (task(), task());
        for scale in [1 << 20, 8 << 10] {
            let (a, b) = ((48 * scale, 4096), (64 * scale, 8192));
            STATE.store(0, Relaxed);
            let first_thread = match spawn(&mut first, a, start_first) {
                Ok(thread) => thread,
                Err(_) if scale > 8 << 10 => continue,
                Err(error) => return Err(error),
            };
            while STATE.load(Acquire) == 0 {
                sys::futex_wait(&STATE, 0);
            }
            let second_thread = spawn(&mut second, b, start_second);
            STATE.store(2, Release);
            sys::futex_wake(&STATE, 1);
            // SAFETY: a joinable thread that nobody else joins.
            unsafe { libc::pthread_join(first_thread, null_mut()) };
            match second_thread {
                // SAFETY: as above.
                Ok(thread) => unsafe { libc::pthread_join(thread, null_mut()) },
                Err(_) if scale > 8 << 10 => {
                    first = task();
                    continue;
                }
                Err(error) => return Err(error),
            };
            let (first_argument, second_argument) = (&raw const first, &raw const second);
            return Ok((
                first.snapshot(
                    a,
                    start_first as *const () as usize,
                    first_argument as usize,
                )?,
                second.snapshot(
                    b,
                    start_second as *const () as usize,
                    second_argument as usize,
                )?,
            ));
        }
        Err("no thread for the template".to_owned())
    }

    /// The word at an offset from FS.
    fn at(&self, libc: &Glibc, offset: isize) -> usize {
        self.words[(offset + libc.static_bytes as isize) as usize / 8]
    }
}

impl Task {
    fn snapshot(
        &self,
        (stack_bytes, guard_bytes): (usize, usize),
        start: usize,
        argument: usize,
    ) -> Result<Snapshot, String> {
        if !self.tid_found {
            return Err("the thread id is not where it should be".to_owned());
        }
        if self.dtv_len + 1 < self.dtv.len() {
            return Err(format!("the DTV has only {} entries", self.dtv_len));
        }
        Ok(Snapshot {
            words: self.words.clone(),
            dtv: self.dtv.clone(),
            fs: self.fs,
            stack_bytes,
            guard_bytes,
            start,
            argument,
            malloc_words: self.changed[..self.changed_len.min(self.changed.len())].to_vec(),
            key_found: self.key_found,
        })
    }

    /// Runs on the new thread. Nothing may be called before the copy is made.
    fn fill(&mut self) {
        let fs = crate::context::fs_base();
        let live = (fs - self.libc.static_bytes) as *const usize;
        // SAFETY: libc keeps `static_bytes` below FS and a `struct pthread` above it, mapped and
        // aligned; `words` has that many. This thread alone writes them.
        unsafe { core::ptr::copy_nonoverlapping(live, self.words.as_mut_ptr(), self.words.len()) };
        self.fs = fs;
        // SAFETY: the tid is a 32-bit word of our own `struct pthread`.
        self.tid_found = unsafe { ((fs + self.libc.tid) as *const u32).read() } == sys::gettid();
        // SAFETY: the ABI puts the DTV's address at FS+8, and its length in the entry before it.
        unsafe {
            let dtv = *((fs + DTV) as *const *const [usize; 2]);
            self.dtv_len = (*dtv.sub(1))[0];
            let count = self.dtv.len().min(self.dtv_len + 1);
            core::ptr::copy_nonoverlapping(dtv, self.dtv.as_mut_ptr(), count);
        }
        // Small, big, and grown: whatever malloc sets up when first used.
        // SAFETY: each block is freed once; `realloc` gets one of malloc's.
        unsafe {
            for bytes in [24, 1 << 10, 200 << 10] {
                let block = core::hint::black_box(libc::malloc(bytes));
                let block = core::hint::black_box(libc::realloc(block, bytes * 2));
                libc::free(block);
            }
        }
        for (index, before) in self.words.iter().enumerate() {
            let at = index as isize * 8 - self.libc.static_bytes as isize;
            // SAFETY: as for the copy above. Volatile: malloc changed them behind our back.
            let changed = unsafe { live.add(index).read_volatile() } != *before;
            if changed && !self.libc.changes_by_itself(at) {
                if let Some(next) = self.changed.get_mut(self.changed_len) {
                    *next = at;
                }
                self.changed_len += 1;
            }
        }
        self.key_found = self.find_key(fs);
    }

    /// Sets a pthread key and looks for it where `exit` would.
    fn find_key(&self, fs: usize) -> bool {
        let (block, index) = (
            self.key as usize / KEYS_PER_BLOCK,
            self.key as usize % KEYS_PER_BLOCK,
        );
        let data = fs as *mut c_void;
        // SAFETY: the offsets are libc's for this thread's `struct pthread`; reads only, of words
        // that lie in it whatever they mean. A block that is not the first is a pointer that libc
        // set when the key was.
        unsafe {
            let used = (fs + self.libc.specific + KEY_BLOCKS * 8) as *const u8;
            let pristine = (self.libc.static_bytes + self.libc.specific + KEY_BLOCKS * 8) / 8;
            let used_before = self.words[pristine].to_ne_bytes()[used as usize % 8];
            if libc::pthread_setspecific(self.key, data) != 0 {
                return false;
            }
            let entries = match block {
                0 => (fs + self.libc.specific - KEYS_PER_BLOCK * 16) as *const KeyData,
                _ => ((fs + self.libc.specific) as *const *const KeyData)
                    .add(block)
                    .read(),
            };
            let sequence = (*self.libc.keys.add(self.key as usize)).sequence;
            let found = !entries.is_null()
                && (*entries.add(index)).data == data
                && (*entries.add(index)).sequence == sequence
                && used_before == 0
                && used.read_volatile() == 1;
            libc::pthread_setspecific(self.key, null_mut());
            found
        }
    }
}

type Start = extern "C" fn(*mut c_void) -> *mut c_void;

extern "C" fn start_first(task: *mut c_void) -> *mut c_void {
    // SAFETY: `spawn` passed a task that outlives this thread, and the spawner looks at it only after
    // joining.
    unsafe { &mut *task.cast::<Task>() }.fill();
    STATE.store(1, Release);
    sys::futex_wake(&STATE, 1);
    while STATE.load(Acquire) != 2 {
        sys::futex_wait(&STATE, 1);
    }
    null_mut()
}

extern "C" fn start_second(task: *mut c_void) -> *mut c_void {
    // SAFETY: as in `start_first`.
    unsafe { &mut *task.cast::<Task>() }.fill();
    null_mut()
}

fn spawn(
    task: &mut Task,
    (stack_bytes, guard_bytes): (usize, usize),
    start: Start,
) -> Result<libc::pthread_t, String> {
    // SAFETY: plain use of the pthread API; the attributes are initialized, used and destroyed here.
    // `task` outlives the thread, because the caller joins it.
    unsafe {
        let mut attributes: libc::pthread_attr_t = core::mem::zeroed();
        libc::pthread_attr_init(&mut attributes);
        libc::pthread_attr_setstacksize(&mut attributes, stack_bytes);
        libc::pthread_attr_setguardsize(&mut attributes, guard_bytes);
        let mut thread = 0;
        let error = libc::pthread_create(&mut thread, &attributes, start, (&raw mut *task).cast());
        libc::pthread_attr_destroy(&mut attributes);
        if error != 0 {
            return Err(format!("no thread for the template (error {error})"));
        }
        Ok(thread)
    }
}
