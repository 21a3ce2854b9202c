//! A goroutine is a thread: to `thread_local!`, to `errno`, to std, to C.

#![cfg(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(target_feature = "crt-static")
))]

mod common;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex};

use common::*;
use gort_arch::stack::Class;
use gort_arch::tls::{self, Mode, Request};

const MANY: usize = 10_000;

fn class_64k() -> Class {
    Class::for_size(64 << 10).unwrap()
}

fn no_panics(goes: &[Box<Go>]) {
    for go in goes {
        if let Some(payload) = go.take_panic() {
            panic!(
                "a goroutine panicked: {:?}",
                payload.downcast_ref::<String>()
            );
        }
    }
}

#[test]
fn this_machine_has_own_blocks() {
    let _one = start();
    let support = tls::support().unwrap();
    assert_eq!(support.mode, Mode::Own, "{}", support.reason);
    assert!(
        support.reason.starts_with("own: glibc 2."),
        "{}",
        support.reason
    );
    assert_eq!(support.malloc_words, 2);
    assert!(
        std::ptr::eq(tls::init(Request::Thread), support),
        "the first call decides"
    );
}

thread_local! {
    static VALUE: Cell<usize> = const { Cell::new(7) };
    static LIST: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    static COUNTED: Counted = const { Counted(Cell::new(0)) };
}
static DROPS: AtomicUsize = AtomicUsize::new(0);
struct Counted(Cell<usize>);
impl Drop for Counted {
    fn drop(&mut self) {
        if on_goroutine() {
            park(); // destructors may park
        }
        DROPS.fetch_add(1, Relaxed);
    }
}

#[test]
fn thread_locals_are_the_goroutines_own_and_destroyed_once() {
    let _one = start();
    DROPS.store(0, Relaxed);
    let goes = (0..MANY)
        .map(|i| {
            go(class_64k(), move || {
                assert_eq!(VALUE.get(), 7, "pristine");
                assert!(LIST.with_borrow(Vec::is_empty), "pristine");
                COUNTED.with(|c| c.0.set(i));
                VALUE.set(i);
                LIST.with_borrow_mut(|list| {
                    for k in 0..4 {
                        list.push(i + k);
                        park(); // the borrow is held across a park, and over to another thread
                        assert!(LIST.try_with(|l| l.try_borrow().is_err()).unwrap());
                        assert_eq!(list[k], i + k);
                    }
                });
                assert_eq!(VALUE.get(), i);
                COUNTED.with(|c| assert_eq!(c.0.get(), i));
            })
        })
        .collect();
    no_panics(&run_migrating(goes));
    assert_eq!(DROPS.load(Relaxed), MANY);
}

#[test]
fn a_cached_address_stays_right_after_migration() {
    let _one = start();
    fn bump_around(f: &mut dyn FnMut()) -> (usize, usize) {
        VALUE.with(|v| {
            v.set(v.get() + 1);
            let before = std::ptr::from_ref(v) as usize;
            f();
            v.set(v.get() + 1);
            (before, VALUE.with(|v| std::ptr::from_ref(v) as usize))
        })
    }
    let goes = (0..1000)
        .map(|_| {
            spawn(|| {
                for round in 0..10 {
                    let (before, after) = bump_around(&mut park);
                    assert_eq!(before, after);
                    assert_eq!(VALUE.get(), 7 + 2 * (round + 1));
                }
            })
        })
        .collect();
    no_panics(&run_migrating(goes));
}

#[test]
fn errno_is_the_goroutines_own() {
    let _one = start();
    let goes = (0..1000)
        .map(|i| {
            spawn(move || {
                let wanted = if i % 2 == 0 {
                    // SAFETY: refused by the kernel.
                    unsafe { libc::close(-1) };
                    libc::EBADF
                } else {
                    // SAFETY: the path is terminated; there is no such file.
                    unsafe { libc::open(c"/no/such/file".as_ptr(), libc::O_RDONLY) };
                    libc::ENOENT
                };
                for _ in 0..5 {
                    park();
                    assert_eq!(errno(), wanted);
                }
            })
        })
        .collect();
    no_panics(&run_migrating(goes));
}

#[test]
fn thread_ids_are_distinct_and_stay() {
    let _one = start();
    let ids = Arc::new(Mutex::new(HashSet::new()));
    let goes = (0..MANY)
        .map(|_| {
            let ids = Arc::clone(&ids);
            go(class_64k(), move || {
                let id = std::thread::current().id();
                park();
                assert_eq!(std::thread::current().id(), id);
                assert!(ids.lock().unwrap().insert(id));
            })
        })
        .collect();
    no_panics(&run_migrating(goes));
    assert_eq!(ids.lock().unwrap().len(), MANY);
}

#[test]
fn a_panic_belongs_to_its_goroutine_and_is_caught_at_its_base() {
    let _one = start();
    struct ParkOnDrop(Arc<AtomicUsize>);
    impl Drop for ParkOnDrop {
        fn drop(&mut self) {
            for _ in 0..3 {
                assert!(std::thread::panicking());
                park();
            }
            self.0.fetch_add(1, Relaxed);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let goes = (0..2000_usize)
        .map(|i| {
            let dropped = Arc::clone(&dropped);
            spawn(move || {
                assert!(!std::thread::panicking());
                if i % 2 == 0 {
                    let _guard = ParkOnDrop(dropped);
                    park();
                    std::panic::resume_unwind(Box::new(i));
                }
                for _ in 0..5 {
                    park();
                    assert!(!std::thread::panicking());
                }
            })
        })
        .collect();
    let goes = run_migrating(goes);
    for (i, go) in goes.iter().enumerate() {
        let payload = go.take_panic().and_then(|p| p.downcast::<usize>().ok());
        assert_eq!(payload.map(|p| *p), (i % 2 == 0).then_some(i));
    }
    assert_eq!(dropped.load(Relaxed), 1000);
    assert!(!std::thread::panicking());
}

#[test]
fn pthread_keys_are_the_goroutines_own_and_destroyed() {
    let _one = start();
    static DESTROYED: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" fn destroy(value: *mut libc::c_void) {
        park();
        DESTROYED.fetch_add(value as usize, Relaxed);
    }
    // More keys than fit into the block that is part of `struct pthread`.
    let keys: Vec<_> = (0..40)
        .map(|_| {
            let mut key = 0;
            // SAFETY: `key` is valid for a write; the destructor has the right type.
            let error = unsafe { libc::pthread_key_create(&mut key, Some(destroy)) };
            assert_eq!(error, 0);
            key
        })
        .collect();
    let keys = Arc::new(keys);
    for _ in 0..2 {
        DESTROYED.store(0, Relaxed);
        let goes = (0..200)
            .map(|i| {
                let keys = Arc::clone(&keys);
                spawn(move || {
                    for key in keys.iter() {
                        // SAFETY: keys that exist.
                        unsafe {
                            assert!(libc::pthread_getspecific(*key).is_null(), "pristine");
                            libc::pthread_setspecific(*key, (i + 1) as *mut libc::c_void);
                        }
                    }
                    park();
                    for key in keys.iter() {
                        // SAFETY: as above.
                        assert_eq!(unsafe { libc::pthread_getspecific(*key) } as usize, i + 1);
                    }
                })
            })
            .collect();
        no_panics(&run_migrating(goes));
        assert_eq!(DESTROYED.load(Relaxed), keys.len() * (200 * 201 / 2));
    }
    for key in keys.iter() {
        // SAFETY: no goroutine uses them any more.
        unsafe { libc::pthread_key_delete(*key) };
    }
}

/// With few keys in the process their values lie in a block's first page or two, depending on the
/// slot's colour, and the end of a goroutine looks for them there.
#[test]
fn a_few_pthread_keys_are_destroyed_in_slots_of_all_colours() {
    const NAME: &str = "a_few_pthread_keys_are_destroyed_in_slots_of_all_colours";
    if child::role().as_deref() != Some("few keys") {
        let output = child::run(NAME, "few keys", &[]);
        return assert!(output.status.success(), "{output:?}");
    }
    let _one = start();
    static DESTROYED: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" fn destroy(value: *mut libc::c_void) {
        DESTROYED.fetch_add(value as usize, Relaxed);
    }
    for keys_made in 1..=12 {
        let mut key = 0;
        // SAFETY: `key` is valid for a write; the destructor has the right type. Never deleted, so that
        // each round has one more.
        let error = unsafe { libc::pthread_key_create(&mut key, Some(destroy)) };
        assert_eq!(error, 0);
        DESTROYED.store(0, Relaxed);
        let goes = (0..64)
            .map(|i| {
                spawn(move || {
                    // SAFETY: a key that exists.
                    unsafe {
                        assert!(libc::pthread_getspecific(key).is_null(), "pristine");
                        if i % 3 != 0 {
                            libc::pthread_setspecific(key, i as *mut libc::c_void);
                        }
                    }
                    park();
                })
            })
            .collect();
        no_panics(&run_migrating(goes));
        let set: usize = (0..64).filter(|i| i % 3 != 0).sum();
        assert_eq!(
            DESTROYED.load(Relaxed),
            set,
            "with {keys_made} keys of ours"
        );
    }
}

#[test]
fn a_reused_slot_is_pristine() {
    let _one = start();
    let m = M::new();
    let snapshot = |go: &Go| -> Vec<usize> {
        let fs = go.slot.fs();
        let below = tls::support().unwrap().static_bytes + tls::support().unwrap().surplus_bytes;
        let from = (fs - below) & !7;
        // SAFETY: the block of an idle slot, up to the end of what is written.
        (from..fs + 0x340)
            .step_by(8)
            .map(|at| unsafe { (at as *const usize).read() })
            .collect()
    };
    // A slot of a class that nobody else uses here.
    let class = Class::for_size(2 << 20).unwrap();
    let leave_traces = || {
        VALUE.set(9);
        COUNTED.with(|c| c.0.set(1));
        LIST.with_borrow_mut(|l| l.push(1));
        // SAFETY: refused by the kernel; a C locale for this thread; nothing else.
        unsafe {
            libc::close(-1);
            libc::uselocale(libc::newlocale(
                libc::LC_ALL_MASK,
                c"C".as_ptr(),
                std::ptr::null_mut(),
            ));
            libc::dlsym(libc::RTLD_DEFAULT, c"no such symbol".as_ptr());
        }
        let _ = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(1)));
        std::hint::black_box(vec![1u8; 100]);
        park();
    };
    let first = go(class, leave_traces);
    let fresh = snapshot(&first);
    m.finish(&first);
    // Cleaned for the next one, and by the one before where that has ended.
    for cleans in [true, false] {
        let next = go(class, leave_traces);
        assert_eq!(first.slot, next.slot);
        let reused = snapshot(&next);
        // Compare from FS on, in words; the test's own thread-local names another G.
        let fs_index = fresh.len() - 0x340 / 8;
        let differing: Vec<isize> = (0..fresh.len())
            .filter(|i| fresh[*i] != reused[*i])
            .map(|i| (i as isize - fs_index as isize) * 8)
            .filter(|at| *at != own_offset())
            .collect();
        assert!(
            differing.is_empty(),
            "words at {differing:x?} are not pristine"
        );
        m.cleans.set(cleans);
        m.finish(&next);
    }
}

#[test]
fn malloc_stays_with_the_thread() {
    let _one = start();
    // Blocks are allocated on one M and freed on another, and many goroutines have no many caches.
    let goes = (0..MANY)
        .map(|i| {
            go(class_64k(), move || {
                let blocks: Vec<Box<usize>> = (0..10).map(|k| Box::new(i + k)).collect();
                park();
                let more: Vec<String> = (0..10).map(|k| (i * k).to_string()).collect();
                park();
                assert!(blocks.iter().enumerate().all(|(k, block)| **block == i + k));
                assert!(
                    more.iter()
                        .enumerate()
                        .all(|(k, text)| *text == (i * k).to_string())
                );
            })
        })
        .collect();
    no_panics(&run_migrating(goes));
}

#[test]
fn code_on_the_threads_fs_meets_the_thread() {
    let _one = start();
    let m = M::new();
    VALUE.set(11);
    let g = spawn(|| {
        VALUE.set(22);
        let (slot, m) = here();
        // SAFETY: on the goroutine of this slot, which runs on `m`; the closures switch nowhere.
        let seen = unsafe {
            tls::on_thread_fs(&mut *m, slot.fs(), || {
                VALUE.set(VALUE.get() + 1);
                std::hint::black_box(vec![1u8; 3000]);
                VALUE.get()
            })
        };
        assert_eq!((seen, VALUE.get()), (12, 22));
        let caught = std::panic::catch_unwind(|| {
            // SAFETY: as above.
            unsafe {
                tls::on_thread_fs(&mut *m, slot.fs(), || {
                    std::panic::resume_unwind(Box::new(5))
                })
            }
        });
        assert_eq!(*caught.unwrap_err().downcast::<i32>().unwrap(), 5);
        assert!(!std::thread::panicking());
        assert_eq!(gort_arch::context::fs_base(), slot.fs());
    });
    m.finish(&g);
    assert!(g.take_panic().is_none());
    assert_eq!(VALUE.get(), 12);
    VALUE.set(7);
}

#[test]
fn a_place_of_a_thread_local_is_known_if_it_is_static() {
    let _one = start();
    let address = VALUE.with(|v| std::ptr::from_ref(v) as usize);
    let offset = tls::thread_local_offset(address).unwrap();
    assert!(offset < 0);
    assert_eq!(
        gort_arch::context::fs_base().wrapping_add_signed(offset),
        address
    );
    assert_eq!(tls::thread_local_offset(&raw const address as usize), None);
}

/// Whom C's mutexes take for the owner, of a goroutine.
fn owner_of_a_mutex() -> u32 {
    let mut mutex = libc::PTHREAD_MUTEX_INITIALIZER;
    // SAFETY: a mutex of ours. After two words, its lock and its count, comes the owner.
    unsafe {
        assert_eq!(libc::pthread_mutex_lock(&raw mut mutex), 0);
        let owner = (&raw const mutex).cast::<u32>().add(2).read();
        assert_eq!(libc::pthread_mutex_unlock(&raw mut mutex), 0);
        owner
    }
}

/// Mutexes that processes share would take a goroutine of another one for their owner.
#[test]
fn processes_begin_with_different_ids_of_their_goroutines() {
    const NAME: &str = "processes_begin_with_different_ids_of_their_goroutines";
    if child::role().as_deref() == Some("id") {
        let _one = start();
        let goes: Vec<_> = (0..2)
            .map(|_| spawn(|| println!("id {}", owner_of_a_mutex())))
            .collect();
        let m = M::new();
        goes.iter().for_each(|go| m.finish(go));
        return no_panics(&goes);
    }
    let ids: Vec<u32> = (0..3)
        .flat_map(|_| {
            let output = child::run(NAME, "id", &[("GORT_TLS_TID", "unique")]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let id = |line: &str| line.split_once("id ")?.1.trim().parse().ok();
            text.lines().filter_map(id).collect::<Vec<u32>>()
        })
        .collect();
    assert_eq!(ids.len(), 6, "{ids:?}");
    assert!(
        ids.iter().all(|id| (1 << 29..1 << 30).contains(id)),
        "{ids:?}"
    );
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 6, "{ids:?}");
}

#[test]
fn all_of_this_holds_without_fsgsbase() {
    child::suite_with(&[("GORT_FSGSBASE", "0")]);
}

#[test]
fn all_of_this_holds_with_the_threads_tid() {
    child::suite_with(&[("GORT_TLS_TID", "thread")]);
}

#[test]
fn thread_mode_can_be_chosen_and_gives_no_slots() {
    if child::role().as_deref() != Some("thread mode") {
        let output = child::run(
            "thread_mode_can_be_chosen_and_gives_no_slots",
            "thread mode",
            &[("GORT_TLS", "thread")],
        );
        return assert!(output.status.success(), "{output:?}");
    }
    let support = tls::init(Request::Auto);
    assert_eq!(
        (support.mode, &*support.reason),
        (Mode::Thread, "thread: GORT_TLS=thread")
    );
    let error = gort_arch::stack::allocate(class_64k()).unwrap_err();
    assert!(error.to_string().contains("thread mode"), "{error}");
    assert_eq!(
        tls::thread_local_offset(VALUE.with(|v| std::ptr::from_ref(v) as usize)),
        None
    );
}
