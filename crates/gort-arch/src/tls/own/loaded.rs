//! Libraries that are loaded while goroutines exist.
//!
//! Most libraries' thread-locals are allocated per thread when first used, which works on a goroutine
//! as on a thread. Initial-exec ones lie at a fixed distance below FS: libc gives a late library a
//! place in its surplus and writes the initial values into the blocks of the threads it knows. The
//! blocks of goroutines it does not know, so this module does the same for them: the place must lie
//! within *our* surplus, or the process ends with a text that says so before the library is used;
//! then every block and the template get the initial values.
//!
//! Loads are noticed by the counter that `dl_iterate_phdr` reports (`dlpi_adds`): in `dlopen`, which
//! `interpose` stands before; when a slot is allocated; and when the scheduler asks, because libc
//! loads libraries by itself for `getaddrinfo` and `iconv`. To make those rare, the ones that can be
//! foreseen are loaded at start.
//!
//! A library that was unloaded and loaded again is another one, be it at the same place: all blocks get its
//! values again ([`Life`]). One that is listed while libc still relocates it has no place yet: whoever looks
//! then leaves the load to be noticed again.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering::*};
use std::ffi::CString;

use super::glibc::Life;
use super::template::{Module, Template, modules};
use super::{block, glibc};
use crate::pool;
use crate::sys::SlowLock;

/// `dlpi_adds` at the last scan that saw no load in progress; 0 until [`start`].
static SEEN: AtomicU64 = AtomicU64::new(0);
static SCAN: SlowLock = SlowLock::new();
/// The template as it was at start, on which each scan builds.
static AT_START: AtomicPtr<Template> = AtomicPtr::new(core::ptr::null_mut());

/// The last entry of the loader's list at start, which is never unloaded. The loader puts what it loads at the end: while
/// nothing comes after it, all is as it was. Null if the last one may be unloaded: then the loader is asked each time.
static LAST: AtomicPtr<LinkMap> = AtomicPtr::new(core::ptr::null_mut());

/// Loads what is foreseen, and keeps what is last on the loader's list after that, if it is no library of the program's.
pub(super) fn preload() {
    let before = last();
    load_foreseen();
    let after = last();
    // What came after the loader itself is ours.
    if before.is_loader() && (after.is_same(&before) || after.pin()) {
        LAST.store(after.map.cast_mut(), Release);
    }
}

/// What libc would load by itself: the unwinder, and the name services of `nsswitch.conf`.
fn load_foreseen() {
    let mut names = vec!["libgcc_s.so.1".to_owned()];
    if let Ok(text) = std::fs::read_to_string("/etc/nsswitch.conf") {
        names.extend(name_services(&text).map(|service| format!("libnss_{service}.so.2")));
    }
    for name in names {
        let Ok(name) = CString::new(name) else {
            continue;
        };
        // SAFETY: libraries of libc and the system, which libc would load itself. Stays loaded; that
        // it may not exist is fine.
        unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
    }
}

/// The services for hosts, users and groups that do not come with libc.
fn name_services(nsswitch: &str) -> impl Iterator<Item = &str> {
    nsswitch
        .lines()
        .filter_map(|line| line.split('#').next()?.split_once(':'))
        .filter(|(database, _)| matches!(database.trim(), "hosts" | "passwd" | "group"))
        .flat_map(|(_, services)| services.split_whitespace())
        .filter(|service| {
            service
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
        .filter(|service| !matches!(*service, "files" | "dns" | "compat" | "db"))
}

/// Begins to watch; the template is in place.
pub(super) fn start() {
    AT_START.store(Box::into_raw(Box::new(block::template().clone())), Release);
    SEEN.store(adds(), Release);
}

pub(in crate::tls) fn check_loaded() {
    let seen = SEEN.load(Acquire);
    if seen != 0 && !is_unchanged() && adds() != seen {
        scan(false);
    }
}

/// Whether nothing is loaded that was not at start. Says no where that is not known.
#[inline]
fn is_unchanged() -> bool {
    let last = LAST.load(Acquire);
    // SAFETY: null, or an entry that is never unloaded. The loader writes its `next` beside us: an aligned word, read
    // as one. A load that is over on this thread, or on one whose work we see, is in it.
    !last.is_null() && unsafe { AtomicPtr::from_ptr(&raw mut (*last).next).load(Acquire) }.is_null()
}

/// [`check_loaded`] after a load, `before` which there were so many ([`adds`]). Looks also if another has looked
/// meanwhile: the load may not have been over then, which some versions of libc do not show.
pub(super) fn check_after_load(before: u64) {
    if SEEN.load(Acquire) != 0 && adds() != before {
        scan(true);
    }
}

/// How many libraries have been loaded so far.
pub(super) fn adds() -> u64 {
    unsafe extern "C" fn first(
        info: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        adds: *mut c_void,
    ) -> c_int {
        // SAFETY: `dl_iterate_phdr` passes a valid description, and the pointer we gave it.
        unsafe { *adds.cast::<u64>() = (*info).dlpi_adds };
        1
    }
    let mut adds = 0u64;
    // SAFETY: `first` has the right type and gets a pointer to `adds` for the length of the call.
    unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut adds).cast()) };
    adds
}

/// A module whose thread-locals have a fixed place, with their initial values.
struct Placed {
    module: Module,
    initial: Vec<u8>,
}

/// Brings the template and all blocks up to date; if `again`, also when that has been done for so many loads.
#[cold]
fn scan(again: bool) {
    let _lock = SCAN.lock();
    let adds = adds();
    if !again && adds == SEEN.load(Relaxed) {
        return;
    }
    // SAFETY: null before `start`, and then we would not be here; never freed.
    let at_start = unsafe { &*AT_START.load(Acquire) };
    let (placed, is_settled) = placed_modules(at_start);
    let room = at_start.below + crate::stack::surplus(at_start.below);
    for late in &placed {
        if late.module.below > room {
            let wanted = late.module.below - at_start.below;
            let has = room - at_start.below;
            crate::sys::fatal(&format!(
                "{} needs {wanted} bytes of static thread-local storage in every goroutine, {has} are \
                 kept free. Load it before the runtime starts, or set GORT_TLS_SURPLUS={}",
                late.module.name,
                wanted.next_multiple_of(64),
            ));
        }
    }
    let before = block::template();
    let mut template = at_start.clone();
    for late in &placed {
        template.add(&late.module, &late.initial);
    }
    if template.modules != before.modules {
        publish(template, before, &placed);
    }
    if is_settled {
        SEEN.store(adds, Release);
    }
}

/// Puts a template in the place of `before`, and into each block what `placed` has that is new.
fn publish(template: Template, before: &Template, placed: &[Placed]) {
    block::replace(template);
    // A block that is being written gets the new values all the same, see `block::with_template`.
    block::barrier();
    for late in placed
        .iter()
        .filter(|late| !before.modules.contains(&late.module))
    {
        pool::for_each_carved(|slot| {
            let to = (slot.fs() - late.module.below) as *mut u8;
            // SAFETY: the range lies within the surplus of the slot's block, checked by `scan`, which no
            // code uses before the library is loaded; and the load is not over, see the header.
            unsafe {
                core::ptr::copy_nonoverlapping(late.initial.as_ptr(), to, late.initial.len())
            };
        });
    }
}

/// The modules loaded since the start whose thread-locals have a fixed place; and whether no other may yet get one.
fn placed_modules(at_start: &Template) -> (Vec<Placed>, bool) {
    struct Search<'a> {
        at_start: &'a Template,
        loaded: Vec<Module>,
        placed: Vec<Placed>,
        is_settled: bool,
    }
    unsafe extern "C" fn visit(
        info: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        search: *mut c_void,
    ) -> c_int {
        // SAFETY: `dl_iterate_phdr` passes a valid description, and the pointer we gave it.
        let (info, search) = unsafe { (&*info, &mut *search.cast::<Search<'_>>()) };
        let id = info.dlpi_tls_modid;
        let Some(module) = search.loaded.iter().find(|module| module.id == id) else {
            return 0;
        };
        let is_old = |old: &Module| (old.id, old.life) == (id, module.life);
        if matches!(module.life, Life::None | Life::Since(0))
            && !search.at_start.modules.iter().any(is_old)
        {
            search.is_settled = false;
            return 0;
        }
        // SAFETY: the loader's lock is held during this call, so the list does not change.
        let Some(below) = (unsafe { static_offset(id) }) else {
            return 0;
        };
        let module = Module {
            below,
            ..module.clone()
        };
        if search.at_start.modules.contains(&module) {
            return 0;
        }
        // SAFETY: `dlpi_phdr` points to `dlpi_phnum` program headers of a mapped object.
        let headers =
            unsafe { core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize) };
        let Some(tls) = headers.iter().find(|header| header.p_type == libc::PT_TLS) else {
            return 0;
        };
        let mut initial = vec![0; tls.p_memsz as usize];
        let from = info.dlpi_addr.wrapping_add(tls.p_vaddr) as *const u8;
        // SAFETY: PT_TLS says that `p_filesz` bytes of initial values are mapped there, and
        // `p_memsz` is at least as much.
        unsafe {
            core::ptr::copy_nonoverlapping(from, initial.as_mut_ptr(), tls.p_filesz as usize);
        }
        search.placed.push(Placed { module, initial });
        0
    }
    let mut search = Search {
        at_start,
        loaded: modules(glibc()),
        placed: Vec::new(),
        is_settled: true,
    };
    // SAFETY: `visit` has the right type and gets a pointer to `search` for the length of the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
    (search.placed, search.is_settled)
}

/// The public part of `struct link_map`.
#[repr(C)]
struct LinkMap {
    addr: usize,
    name: *const c_char,
    dynamic: *const c_void,
    next: *mut LinkMap,
    previous: *const LinkMap,
}

/// What was last on the loader's list when it was looked at. The entry may be gone since.
struct Last {
    map: *const LinkMap,
    addr: usize,
    name: CString,
}

impl Last {
    fn is_same(&self, other: &Last) -> bool {
        self.map == other.map
    }

    /// The loader itself: its address is what the kernel has told the process.
    fn is_loader(&self) -> bool {
        // SAFETY: `getauxval` has no preconditions.
        let base = unsafe { libc::getauxval(libc::AT_BASE) } as usize;
        base != 0 && self.addr == base
    }

    /// Has it stay loaded for good. False if it cannot be had by its name.
    fn pin(&self) -> bool {
        // SAFETY: loads nothing; a reference to what is loaded is never given back.
        let handle =
            unsafe { libc::dlopen(self.name.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
        // libc's handles are the entries.
        handle.cast_const() == self.map.cast()
    }
}

/// Looks at the end of the loader's list.
fn last() -> Last {
    unsafe extern "C" fn look(
        _info: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        last: *mut c_void,
    ) -> c_int {
        let mut map = MAIN_MAP.load(Acquire).cast_const();
        // SAFETY: the loader's lock is held during this call, so its list does not change; it begins with `MAIN_MAP`,
        // and names are terminated. `last` is the pointer we gave.
        unsafe {
            while !(*map).next.is_null() {
                map = (*map).next;
            }
            *last.cast::<Option<Last>>() = Some(Last {
                map,
                addr: (*map).addr,
                name: CStr::from_ptr((*map).name).to_owned(),
            });
        }
        1
    }
    let mut last = None::<Last>;
    // SAFETY: `look` has the right type and gets a pointer to `last` for the length of the call.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut last).cast()) };
    last.expect("the program itself is on the list")
}

/// How far below FS the thread-locals of module `id` begin, if they have a fixed place.
///
/// # Safety
///
/// The loader's lock is held.
unsafe fn static_offset(id: usize) -> Option<usize> {
    let libc = glibc();
    let mut map = MAIN_MAP.load(Acquire).cast_const();
    while !map.is_null() {
        // SAFETY: a node of the loader's list, which does not change while its lock is held. The
        // offsets are libc's own for this struct.
        unsafe {
            if map.byte_add(libc.link_map_modid).cast::<usize>().read() == id {
                let offset = map.byte_add(libc.link_map_offset).cast::<isize>().read();
                // 0: no place; -1: "allocate it always" (FORCED_DYNAMIC_TLS_OFFSET).
                return (offset > 0).then_some(offset as usize);
            }
            map = (*map).next;
        }
    }
    None
}

/// The program's own entry, the first of the loader's list.
fn main_map() -> *const LinkMap {
    // `struct r_debug { int version; struct link_map *map; ... }`, an ABI with debuggers.
    let debug = super::glibc::symbol(c"_r_debug").cast::<[*const LinkMap; 2]>();
    if debug.is_null() {
        return core::ptr::null();
    }
    // SAFETY: the symbol is the loader's structure.
    unsafe { (*debug)[1] }
}

/// The program's own entry, which stays the first. Looked up once: later `dlsym` could wait for a
/// `dlopen` that waits for us, as `dl_iterate_phdr` holds the loader's second lock around its callback.
static MAIN_MAP: AtomicPtr<LinkMap> = AtomicPtr::new(core::ptr::null_mut());

/// Whether [`check_loaded`] can find what it needs.
pub(super) fn can_look() -> bool {
    let map = main_map();
    if map.is_null() {
        return false;
    }
    MAIN_MAP.store(map.cast_mut(), Release);
    // SAFETY: the program's entry is never removed, and its name is terminated.
    unsafe { CStr::from_ptr((*map).name) }.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_services_are_those_outside_libc() {
        let text = "# comment\npasswd: files systemd # x\nhosts: files mdns4_minimal [NOTFOUND=return] dns\n\
                    shadow: files ldap\ngroup:  compat sss\n";
        let services: Vec<_> = name_services(text).collect();
        assert_eq!(services, ["systemd", "mdns4_minimal", "sss"]);
    }
}
