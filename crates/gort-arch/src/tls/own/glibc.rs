//! What glibc tells about its insides: the symbols it exports for debuggers and for its own parts.
//!
//! `_thread_db_*` symbols describe fields of `struct pthread` and `struct link_map` as three words:
//! bits of an element, number of elements, offset. They are what gdb and libthread_db use, so they
//! are right for the libc that runs.

use core::ffi::{CStr, c_int, c_void};
use core::sync::atomic::{AtomicUsize, Ordering::Acquire};

use crate::tls::static_info;

/// Offsets and addresses in the libc that runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glibc {
    /// `sizeof(struct pthread)`.
    pub(super) pthread_bytes: usize,
    /// `struct pthread.tid`, a 32-bit word.
    pub(super) tid: usize,
    /// `struct pthread.list`: two links in glibc's list of threads.
    pub(super) list: usize,
    /// `struct pthread.specific`: 32 pointers to blocks of 32 pthread keys. The first block lies
    /// before it in the struct, `specific_used` (a byte) behind it; `template` checks both.
    pub(super) specific: usize,
    /// `__pthread_keys`: sequence number and destructor of each key.
    pub(super) keys: *const KeyInfo,
    /// Runs what `__cxa_thread_atexit_impl` registered on this thread.
    pub(super) call_tls_dtors: unsafe extern "C" fn(),
    /// The area for restartable sequences, relative to FS, and its bytes.
    pub(super) rseq: Option<(isize, usize)>,
    /// Whether code other than libc's looks into that area.
    pub(super) rseq_is_used: bool,
    /// Bytes of static thread-locals that libc reserves below FS, its own surplus included.
    pub(super) static_bytes: usize,
    /// Alignment of FS.
    pub(super) align: usize,
    /// `struct link_map.l_tls_modid` and `.l_tls_offset`.
    pub(super) link_map_modid: usize,
    pub(super) link_map_offset: usize,
    /// libc's table of modules with thread-locals, if it describes it.
    slots: Option<Slots>,
}

// SAFETY: the pointers are addresses of libc's own tables, which live as long as the process.
unsafe impl Send for Glibc {}
// SAFETY: as above; they are only read, racing with `pthread_key_create` and `dlopen` as libc itself does.
unsafe impl Sync for Glibc {}

impl Glibc {
    /// `struct pthread.specific_1stblock`: the values of the first keys, relative to FS.
    pub(super) fn first_key(&self) -> usize {
        self.specific - KEYS_PER_BLOCK * size_of::<KeyData>()
    }
}

/// An entry of `__pthread_keys`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct KeyInfo {
    pub(super) sequence: usize,
    pub(super) destructor: Option<unsafe extern "C" fn(*mut c_void)>,
}

/// A goroutine's value of one pthread key: `struct pthread_key_data`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct KeyData {
    pub(super) sequence: usize,
    pub(super) data: *mut c_void,
}

/// Keys of a block, and blocks of a thread (`PTHREAD_KEY_2NDLEVEL_SIZE`, `_1STLEVEL_SIZE`).
pub(super) const KEYS_PER_BLOCK: usize = 32;
pub(super) const KEY_BLOCKS: usize = 32;

/// `AT_RSEQ_FEATURE_SIZE` of `linux/auxvec.h`.
const AT_RSEQ_FEATURE_SIZE: libc::c_ulong = 27;

impl Glibc {
    /// Looks everything up; the error names what is missing.
    pub(super) fn find() -> Result<Glibc, String> {
        let table_entry = number(c"_thread_db_sizeof_pthread_key_struct")?;
        let thread_entry = number(c"_thread_db_sizeof_pthread_key_data")?;
        let block = number(c"_thread_db_sizeof_pthread_key_data_level2")?;
        if table_entry != size_of::<KeyInfo>()
            || thread_entry != size_of::<KeyData>()
            || block != KEYS_PER_BLOCK * size_of::<KeyData>()
        {
            return Err("pthread keys have another shape".to_owned());
        }
        let call_tls_dtors = needed(c"__call_tls_dtors")?;
        let pthread_bytes = number(c"_thread_db_sizeof_pthread")?;
        let (size, align) =
            static_info::find().ok_or_else(|| "libc has no _dl_get_tls_static_info".to_owned())?;
        if size < pthread_bytes || size > 1 << 20 || !align.is_power_of_two() || align > 4096 {
            return Err(format!(
                "static thread-locals of {size} bytes, aligned to {align}"
            ));
        }
        Ok(Glibc {
            pthread_bytes,
            tid: offset(c"_thread_db_pthread_tid")?,
            list: offset(c"_thread_db_pthread_list")?,
            specific: offset(c"_thread_db_pthread_specific")?,
            keys: needed(c"__pthread_keys")?.cast(),
            // SAFETY: `void __call_tls_dtors (void)`, since glibc 2.18.
            call_tls_dtors: unsafe {
                core::mem::transmute::<*mut c_void, unsafe extern "C" fn()>(call_tls_dtors)
            },
            rseq: rseq_area(),
            rseq_is_used: anybody_names(c"__rseq_offset"),
            static_bytes: size - pthread_bytes,
            align: align.max(64),
            link_map_modid: offset(c"_thread_db_link_map_l_tls_modid")?,
            link_map_offset: offset(c"_thread_db_link_map_l_tls_offset")?,
            slots: Slots::find().ok(),
        })
    }
}

/// `struct dtv_slotinfo_list` and `struct dtv_slotinfo`: a list of arrays, which only grows, with an entry for
/// each number of a module.
#[derive(Clone, Copy, Debug)]
struct Slots {
    /// `_rtld_global._dl_tls_dtv_slotinfo_list`.
    first: *const AtomicUsize,
    len: usize,
    next: usize,
    entries: usize,
    entry_bytes: usize,
    generation: usize,
    map: usize,
}

impl Slots {
    fn find() -> Result<Slots, String> {
        let global = needed(c"_rtld_global")?;
        let first = offset(c"_thread_db_rtld_global__dl_tls_dtv_slotinfo_list")?;
        Ok(Slots {
            first: global.wrapping_byte_add(first).cast(),
            len: offset(c"_thread_db_dtv_slotinfo_list_len")?,
            next: offset(c"_thread_db_dtv_slotinfo_list_next")?,
            entries: offset(c"_thread_db_dtv_slotinfo_list_slotinfo")?,
            entry_bytes: number(c"_thread_db_sizeof_dtv_slotinfo")?,
            generation: offset(c"_thread_db_dtv_slotinfo_gen")?,
            map: offset(c"_thread_db_dtv_slotinfo_map")?,
        })
    }
}

/// Which of the modules that have had a number this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Life {
    /// libc does not say.
    Unknown,
    /// It came with this generation of libc's table. 0: with the program, or its load is not over.
    Since(usize),
    /// libc is about to enter it, or has taken it out.
    None,
}

impl Glibc {
    /// The life that module number `id` has at the moment. For one that gets a number which another had, it may be
    /// that one's for the nanoseconds between libc's two stores; who loads it looks again.
    pub(super) fn life(&self, id: usize) -> Life {
        let Some(slots) = self.slots else {
            return Life::Unknown;
        };
        // SAFETY: libc's own variable, and fields where libc says that they are. The arrays are never freed and
        // do not change their length; libc links one in when it is complete. The words of an entry are written
        // while others read them, by libc's own readers too: here they are read as atomics.
        unsafe {
            let word = |at: *const u8, offset: usize| {
                (*at.add(offset).cast::<AtomicUsize>()).load(Acquire)
            };
            let mut list = (*slots.first).load(Acquire) as *const u8;
            let mut index = id;
            while !list.is_null() {
                let len = word(list, slots.len);
                if index < len {
                    let entry = list.add(slots.entries + index * slots.entry_bytes);
                    return match word(entry, slots.map) {
                        0 => Life::None,
                        _ => Life::Since(word(entry, slots.generation)),
                    };
                }
                index -= len;
                list = word(list, slots.next) as *const u8;
            }
        }
        Life::None
    }
}

impl Glibc {
    /// Whether the word `at` this offset from FS is a link of the list of threads.
    pub(super) fn is_list(&self, at: isize) -> bool {
        at == self.list as isize || at == self.list as isize + 8
    }

    /// Whether other threads or the kernel change the word `at` this offset from FS at any time: the
    /// neighbours in the list of threads come and go, and the CPU number in the rseq area moves.
    pub(super) fn changes_by_itself(&self, at: isize) -> bool {
        let in_rseq =
            |(offset, bytes): (isize, usize)| (offset..offset + bytes as isize).contains(&at);
        self.is_list(at) || self.rseq.is_some_and(in_rseq)
    }
}

/// The version string of the running libc.
pub(super) fn version() -> String {
    // SAFETY: returns a static, terminated string.
    unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) }
        .to_string_lossy()
        .into_owned()
}

/// The address of a symbol, null if there is none.
pub(super) fn symbol(name: &CStr) -> *mut c_void {
    // SAFETY: `dlsym` with a terminated name.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

fn needed(name: &CStr) -> Result<*mut c_void, String> {
    let address = symbol(name);
    if address.is_null() {
        return Err(format!("libc has no {}", name.to_string_lossy()));
    }
    Ok(address)
}

/// A 32-bit number that libc exports.
fn number(name: &CStr) -> Result<usize, String> {
    let address = needed(name)?.cast::<u32>();
    // SAFETY: the `_thread_db_sizeof_*` symbols are constants of type uint32_t.
    Ok(unsafe { address.read() } as usize)
}

/// The offset of a field that libc describes.
fn offset(name: &CStr) -> Result<usize, String> {
    let address = needed(name)?.cast::<[u32; 3]>();
    // SAFETY: the `_thread_db_*` field descriptors are constants of type uint32_t[3].
    Ok(unsafe { address.read() }[2] as usize)
}

/// Whether an object outside libc has a dynamic symbol of this name, be it only that it asks for it.
fn anybody_names(symbol: &CStr) -> bool {
    unsafe extern "C" fn visit(
        info: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        symbol: *mut c_void,
    ) -> c_int {
        // SAFETY: `dl_iterate_phdr` passes a valid description of a mapped object, with a terminated
        // name, and the pointer we gave it.
        let (info, symbol, name) = unsafe {
            let info = &*info;
            (
                info,
                *symbol.cast::<&CStr>(),
                CStr::from_ptr(info.dlpi_name),
            )
        };
        let file = name
            .to_bytes()
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default();
        if file.starts_with(b"libc.so") || file.starts_with(b"ld-linux") {
            return 0;
        }
        // SAFETY: the object stays mapped during this call.
        let strings = unsafe { dynamic_strings(info) };
        let found = strings.is_some_and(|strings| {
            strings
                .split(|byte| *byte == 0)
                .any(|name| name == symbol.to_bytes())
        });
        c_int::from(found)
    }
    let mut symbol = symbol;
    // SAFETY: `visit` has the right type and gets a pointer to `symbol` for the length of the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut symbol).cast()) != 0 }
}

/// The names of an object's dynamic symbols, one after the other.
///
/// # Safety
///
/// The object is mapped, and stays so while the names are used.
unsafe fn dynamic_strings(info: &libc::dl_phdr_info) -> Option<&[u8]> {
    // `d_tag` of `elf.h`.
    const DT_NULL: usize = 0;
    const DT_STRTAB: usize = 5;
    const DT_STRSZ: usize = 10;
    // SAFETY: `dlpi_phdr` points to `dlpi_phnum` program headers; PT_DYNAMIC is a mapped array of
    // tag and value that ends with DT_NULL.
    unsafe {
        let headers = core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize);
        let dynamic = headers
            .iter()
            .find(|header| header.p_type == libc::PT_DYNAMIC)?;
        let mut entry = info.dlpi_addr.wrapping_add(dynamic.p_vaddr) as *const [usize; 2];
        let (mut strings, mut bytes) = (0, 0);
        while (*entry)[0] != DT_NULL {
            match *entry {
                [DT_STRTAB, value] => strings = value,
                [DT_STRSZ, value] => bytes = value,
                _ => (),
            }
            entry = entry.add(1);
        }
        // glibc has added the base already, except where the section is read-only (the vDSO).
        let base = info.dlpi_addr as usize;
        let start = if strings < base {
            strings + base
        } else {
            strings
        };
        (strings != 0).then(|| core::slice::from_raw_parts(start as *const u8, bytes))
    }
}

/// The rseq area, if libc has one (glibc 2.35).
fn rseq_area() -> Option<(isize, usize)> {
    let address = symbol(c"__rseq_offset").cast::<isize>();
    if address.is_null() {
        return None;
    }
    // SAFETY: `const ptrdiff_t __rseq_offset`; `getauxval` has no preconditions.
    let (offset, feature_size) = unsafe {
        (
            address.read(),
            libc::getauxval(AT_RSEQ_FEATURE_SIZE) as usize,
        )
    };
    // 32 bytes is the first version of the area; the kernel's may be longer.
    Some((offset, feature_size.max(32).next_multiple_of(32)))
}
