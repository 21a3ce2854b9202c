//! Slots: guards, limits, reuse.

#![cfg(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(target_feature = "crt-static")
))]

mod common;

use std::collections::HashSet;
use std::mem::MaybeUninit;

use common::*;
use gort_arch::guard::{self, GuardKind};
use gort_arch::stack::{self, Class, Slot};
use gort_arch::tls;

fn class(bytes: usize) -> Class {
    Class::for_size(bytes).unwrap()
}

fn take(class: Class, count: usize) -> Vec<Slot> {
    let mut slots = Vec::new();
    while slots.len() < count {
        let mut out = [MaybeUninit::uninit(); 32];
        let room = out.len().min(count - slots.len());
        let given = stack::allocate_batch(class, &mut out[..room]).unwrap();
        assert!((1..=room).contains(&given));
        // SAFETY: the first `given` elements were written.
        slots.extend(
            out[..given]
                .iter()
                .map(|slot| unsafe { slot.assume_init() }),
        );
    }
    slots
}

fn give_back(slots: &[Slot]) {
    stack::release_batch(slots);
}

/// What a goroutine takes must not change with what large thread-locals need: this program has few.
#[test]
fn an_ordinary_program_has_the_classes_it_asks_for() {
    let _one = start();
    for (asked, room_min) in [
        (64 << 10, 49 << 10),
        (256 << 10, 217 << 10),
        (1 << 20, 952 << 10),
    ] {
        let slot = stack::allocate(class(asked)).unwrap();
        assert_eq!(slot.class().slot_bytes(), asked);
        let room = slot.top() as usize - slot.limit() as usize;
        assert!(room >= room_min, "{asked}: {room}");
        give_back(&[slot]);
    }
}

#[test]
fn slots_are_apart_and_laid_out_as_described() {
    let _one = start();
    for class in [class(64 << 10), class(1 << 20)] {
        let slots = take(class, 500);
        let mut colours = HashSet::new();
        for slot in &slots {
            let (guard, limit, top, fs) = (
                slot.guard(),
                slot.limit() as usize,
                slot.top() as usize,
                slot.fs(),
            );
            assert_eq!((guard.start, guard.end), (slot.base(), limit));
            assert!(limit < top && top < fs && fs < slot.end());
            assert_eq!(slot.end() - slot.base(), class.slot_bytes());
            assert_eq!((top % 16, fs % 64), (0, 0));
            // The page that holds the block has room for a parked goroutine's frames.
            assert!(top % 4096 >= 1536, "{}", top % 4096);
            assert_eq!(top / 4096, fs / 4096);
            assert!(slot.contains(guard.start) && slot.contains(fs) && !slot.contains(slot.end()));
            // SAFETY: the word that `to_raw` gave.
            assert_eq!(unsafe { Slot::from_raw(slot.to_raw()) }, *slot);
            assert_eq!(stack::find(top), Some(*slot));
            assert_eq!(stack::find_guard(limit - 1), Some(*slot));
            assert_eq!(stack::find_guard(limit), None);
            colours.insert(fs % 4096);
        }
        assert!(
            (4..=16).contains(&colours.len()),
            "{} colours",
            colours.len()
        );
        let mut bases: Vec<_> = slots.iter().map(|slot| slot.base()).collect();
        bases.sort_unstable();
        assert!(
            bases
                .windows(2)
                .all(|pair| pair[0] + class.slot_bytes() <= pair[1])
        );
        give_back(&slots);
    }
    let local = 0;
    assert_eq!(stack::find(&raw const local as usize), None);
    assert_eq!(stack::find_guard(0), None);
}

#[test]
fn slots_come_back_last_in_first_out() {
    let _one = start();
    let class = class(128 << 10);
    let slots = take(class, 40);
    give_back(&slots);
    assert_eq!(take(class, 40), slots, "the first of a batch is on top");
    let free = |report: stack::StackReport| {
        report
            .classes
            .iter()
            .find(|c| c.class == class)
            .map(|c| (c.slots, c.free))
            .unwrap()
    };
    let (made, before) = free(stack::report());
    give_back(&slots[..7]);
    assert_eq!(free(stack::report()), (made, before + 7));
    give_back(&slots[7..]);
}

/// Slots of a class made so far, and how many of them are free.
fn made_and_free(class: Class) -> (usize, usize) {
    let report = stack::report();
    let of_class = report.classes.iter().find(|c| c.class == class).unwrap();
    (of_class.slots, of_class.free)
}

#[test]
fn slots_are_prepared_only_after_somebody_needed_new_ones() {
    let _one = start();
    let prepare = || while stack::prepare() {};
    let class = class(512 << 10);
    prepare();
    // A chunk ends with 256, and `prepare` maps none.
    let mut slots = take(class, 300);
    let (made, free) = made_and_free(class);
    prepare();
    let (now_made, now_free) = made_and_free(class);
    assert!((1..=32).contains(&(now_made - made)), "{now_made} - {made}");
    assert_eq!(now_free - free, now_made - made);

    // Whoever takes those needs more.
    slots.extend(take(class, now_free));
    assert!(stack::prepare());
    prepare();

    // Whoever takes what came back does not, however often.
    give_back(&slots);
    let (made, _) = made_and_free(class);
    for _ in 0..100 {
        let slots = take(class, 32);
        prepare();
        give_back(&slots);
    }
    assert_eq!(made_and_free(class).0, made);
}

#[test]
fn threads_that_race_for_slots_never_share_one() {
    let _one = start();
    let class = class(64 << 10);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..100_000 {
                stack::prepare();
            }
        });
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..2000 {
                    let slots = take(class, 1 + round % 7);
                    for slot in &slots {
                        // SAFETY: the slot is ours; the word lies on its stack.
                        unsafe {
                            let word = slot.top().sub(8).cast::<usize>();
                            word.write_volatile(slot.to_raw());
                            std::hint::spin_loop();
                            assert_eq!(word.read_volatile(), slot.to_raw());
                            word.write_volatile(0);
                        }
                    }
                    give_back(&slots);
                }
            });
        }
    });
    let report = stack::report();
    let of_class = report.classes.iter().find(|c| c.class == class).unwrap();
    assert_eq!(of_class.slots, of_class.free, "all came back");
}

/// Goes down until the stack pointer is below `until`, touching all of it.
#[inline(never)]
fn descend(until: usize) -> usize {
    let frame = std::hint::black_box([1_u8; 512]);
    if (&raw const frame as usize) < until {
        return 0;
    }
    descend(until) + frame[17] as usize
}

#[test]
fn a_stack_can_be_used_down_to_its_guard() {
    let _one = start();
    let m = M::new();
    for bytes in [64 << 10, 1 << 20] {
        let go = go(class(bytes), || {
            let (slot, _) = here();
            let depth = descend(slot.limit() as usize + 4096);
            assert!(depth > 20);
        });
        m.finish(&go);
        assert!(go.take_panic().is_none());
    }
}

#[test]
fn an_overflow_hits_the_guard_and_is_recognised() {
    const NAME: &str = "an_overflow_hits_the_guard_and_is_recognised";
    const RECOGNISED: i32 = 42;
    extern "C" fn handler(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the kernel passes a siginfo of a fault; `_exit` and what we call are
        // async-signal-safe.
        unsafe {
            let slot = stack::find_guard((*info).si_addr() as usize);
            let ours = slot.is_some_and(|slot| slot.class() == Class::for_size(64 << 10).unwrap());
            libc::_exit(if ours { RECOGNISED } else { 1 });
        }
    }
    if child::role().as_deref() != Some("overflow") {
        for environment in [&[][..], &[("GORT_TEST_GUARD", "protect")][..]] {
            let output = child::run(NAME, "overflow", environment);
            assert_eq!(
                output.status.code(),
                Some(RECOGNISED),
                "{environment:?}: {output:?}"
            );
        }
        return;
    }
    if std::env::var_os("GORT_TEST_GUARD").is_some() {
        guard::force_protect();
    }
    let _one = start();
    // SAFETY: plain use of the signal API. Rust's threads have an alternate stack.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut());
    }
    let go = go(class(64 << 10), || {
        descend(0);
    });
    M::new().finish(&go);
    unreachable!("the stack has no end");
}

#[test]
fn a_limit_on_address_space_is_an_error_not_the_end() {
    const NAME: &str = "a_limit_on_address_space_is_an_error_not_the_end";
    if child::role().as_deref() != Some("limit") {
        let output = child::run(NAME, "limit", &[]);
        return assert!(output.status.success(), "{output:?}");
    }
    let _one = start();
    let used = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = used.split(' ').next().unwrap().parse().unwrap();
    let limit = libc::rlimit {
        rlim_cur: pages * 4096 + (100 << 20),
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the structure is valid.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
    // 100 MiB are left: chunks shrink until nearly all of it is slots, and then it is an error.
    let mut slots = Vec::new();
    let error = loop {
        match stack::allocate(class(1 << 20)) {
            Ok(slot) => slots.push(slot),
            Err(error) => break error,
        }
        assert!(slots.len() < 1000);
    };
    assert!(slots.len() >= 80, "only {} of 100", slots.len());
    assert!(error.to_string().contains("RLIMIT_AS"), "{error}");
    let error = std::io::Error::from(error);
    assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory);
    // What exists still works.
    give_back(&slots);
    let m = M::new();
    let go = go(class(1 << 20), || ());
    m.finish(&go);
}

#[test]
fn guards_by_mprotect_stop_at_a_quarter_of_the_mappings() {
    const NAME: &str = "guards_by_mprotect_stop_at_a_quarter_of_the_mappings";
    if child::role().as_deref() != Some("guards") {
        let output = child::run(NAME, "guards", &[]);
        return assert!(output.status.success(), "{output:?}");
    }
    guard::force_protect();
    let _one = start();
    let mut slots = Vec::new();
    let error = loop {
        match stack::allocate(class(64 << 10)) {
            Ok(slot) => slots.push(slot),
            Err(error) => break error,
        }
        assert!(slots.len() <= guard::guards_max());
    };
    assert_eq!(stack::report().guard, Some(GuardKind::Protect));
    // Some guards were made for the probe of the start, in another class.
    assert!(
        slots.len() + 64 >= guard::guards_max(),
        "only {}",
        slots.len()
    );
    assert!(
        error.to_string().contains("sysctl vm.max_map_count"),
        "{error}"
    );
    // malloc still has mappings to take.
    drop(std::hint::black_box(vec![1u8; 64 << 20]));
    give_back(&slots);
}

#[test]
fn a_block_takes_what_it_says() {
    let _one = start();
    let slot = take(class(64 << 10), 1);
    assert!(slot[0].end() - slot[0].top() as usize >= tls::block_bytes());
    give_back(&slot);
}
