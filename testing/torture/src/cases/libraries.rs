//! Libraries with thread-locals, loaded while goroutines live.

use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use crate::drive::{many, park, scaled};

/// Where the build script put them; `TORTURE_LIBRARIES` says where they are now.
fn path(file: &str) -> PathBuf {
    let folder = std::env::var_os("TORTURE_LIBRARIES");
    Path::new(&folder.unwrap_or(env!("TORTURE_LIBRARIES").into())).join(file)
}

fn late_count() -> usize {
    env!("TORTURE_LATE_COUNT")
        .parse()
        .expect("the build script's number")
}

/// A library, loaded for good.
#[derive(Clone, Copy)]
struct Library(*mut c_void);

// SAFETY: the handle is the loader's, which any thread may ask.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    fn open(file: &str) -> Library {
        let path = path(file);
        let name = CString::new(path.as_os_str().as_encoded_bytes()).expect("a path has no zeros");
        // SAFETY: the library has no constructors.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        assert!(!handle.is_null(), "{} is not loaded", path.display());
        Library(handle)
    }

    /// Calls one of its functions, which take nothing.
    fn call<R>(self, name: &str) -> R {
        let name = CString::new(name).expect("a name has no zeros");
        // SAFETY: the handle is valid.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!address.is_null(), "{name:?} is not there");
        // SAFETY: `csrc/late_*.c` define the functions; each caller here names the type in C.
        let function: extern "C" fn() -> R = unsafe { std::mem::transmute_copy(&address) };
        function()
    }

    fn value(self) -> *mut c_int {
        self.call("late_value_place")
    }
}

/// What one goroutine did to one library's thread-locals.
struct Own {
    library: Library,
    value: *mut c_int,
    id: c_int,
    bumps: c_long,
}

impl Own {
    /// Looks at them for the first time: they are as the linker wrote them.
    fn first(library: Library, id: c_int) -> Own {
        let value = library.value();
        let block: *mut c_char = library.call("late_block_place");
        // SAFETY: the places are this goroutine's own, and of the size that the library says.
        unsafe {
            assert_eq!(*value, 7);
            assert_eq!((*block, *block.add(64 * 1024 - 1)), (1, 0));
            *value = id;
            *block.add(64 * 1024 - 1) = id as c_char;
        }
        let bumps = 0;
        Own {
            library,
            value,
            id,
            bumps,
        }
    }

    /// They have not changed.
    fn again(&mut self) {
        assert_eq!(self.library.value(), self.value);
        park();
        let block: *mut c_char = self.library.call("late_block_place");
        // SAFETY: as in `first`.
        unsafe {
            assert_eq!(*self.value, self.id);
            assert_eq!(*block.add(64 * 1024 - 1), self.id as c_char);
        }
        self.bumps += 1;
        assert_eq!(self.library.call::<c_long>("late_bump"), self.bumps);
    }
}

pub(super) fn late_thread_locals_are_the_goroutines() {
    if cfg!(target_feature = "crt-static") {
        return println!("skipped: a static program loads no libraries");
    }
    // Goroutines alive before, during and after the loads; they are loaded by a thread and by
    // goroutines.
    let loaded = RwLock::new(Vec::new());
    let is_over = AtomicBool::new(false);
    let open = |i: usize| {
        let library = Library::open(&format!("late_dynamic_{i}.so"));
        loaded.write().unwrap().push(library);
    };
    gort::scope(|scope| {
        let watchers: Vec<_> = (0..scaled(500))
            .map(|id| {
                let (loaded, is_over) = (&loaded, &is_over);
                scope.go(move || {
                    let mut own: Vec<Own> = Vec::new();
                    loop {
                        let is_last = is_over.load(Relaxed);
                        let all = loaded.read().unwrap().clone();
                        for library in &all[own.len()..] {
                            own.push(Own::first(*library, id as c_int));
                        }
                        own.iter_mut().for_each(Own::again);
                        if is_last {
                            return own.len();
                        }
                        park();
                    }
                })
            })
            .collect();
        let half = late_count() / 2;
        std::thread::scope(|threads| {
            threads.spawn(|| (0..half).for_each(open));
        });
        many(late_count() - half, |i| {
            park();
            open(half + i);
            park();
        });
        is_over.store(true, Relaxed);
        for watcher in watchers {
            assert_eq!(watcher.join().unwrap(), late_count());
        }
    });
    // On stacks that others had before: pristine again.
    let all = loaded.into_inner().unwrap();
    many(scaled(1_000), |i| {
        for library in &all {
            let mut own = Own::first(*library, i as c_int);
            park();
            own.again();
        }
    });
}

pub(super) fn late_thread_locals_at_fixed_offsets_reach_all() {
    if cfg!(target_feature = "crt-static") {
        return println!("skipped: a static program loads no libraries");
    }
    let library = RwLock::new(None);
    let seen = AtomicUsize::new(0);
    let look = |library: Library, id: usize| {
        let value = library.value();
        let text: *mut c_char = library.call("late_text_place");
        // SAFETY: the places are this goroutine's own.
        unsafe {
            assert_eq!(*value, 11);
            assert_eq!(std::ffi::CStr::from_ptr(text), c"as it was");
            *value = id as c_int;
            *text = b'A' as c_char;
            park();
            assert_eq!((*value, *text), (id as c_int, b'A' as c_char));
        }
    };
    let count = scaled(1_000);
    gort::scope(|scope| {
        for id in 0..count {
            let (library, seen, look) = (&library, &seen, &look);
            scope.go(move || {
                // Alive before the load.
                seen.fetch_add(1, Relaxed);
                let library = loop {
                    park();
                    if let Some(library) = *library.read().unwrap() {
                        break library;
                    }
                };
                look(library, id);
            });
        }
        while seen.load(Relaxed) < count {
            park();
        }
        *library.write().unwrap() = Some(Library::open("late_initial.so"));
    });
    // Started after the load; some on new stacks, some on used ones.
    let library = library.into_inner().unwrap().expect("set above");
    many(2 * count, |id| look(library, id));
}
