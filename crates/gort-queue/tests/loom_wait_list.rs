//! Models of wait lists under a lock: a waiter that gives up and a waker agree on who took the node
//! out, and the node is the waiter's again when it is out.

#![cfg(loom)]

mod model;

use gort_queue::wait_list::{Node, WaitList};
use loom::{
    cell::UnsafeCell,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};
use model::model;
// Not loom's `Arc`, whose counting would add interleavings of no interest.
use std::{ptr::NonNull, sync::Arc};

struct Waiter {
    /// Written by the waker, before `is_woken`; read by the waiter, after.
    value: UnsafeCell<u32>,
    is_woken: AtomicU32,
}

struct Channel {
    waiters: Mutex<WaitList<Waiter>>,
}

// SAFETY: nodes are reached under the lock, and loom checks that; waiters wait for their wakers.
unsafe impl Send for Channel {}
// SAFETY: as above.
unsafe impl Sync for Channel {}

/// Waits with a node on the stack, gives up at once, and says whether it was woken all the same.
fn wait_and_give_up(channel: &Channel) -> bool {
    let node = Node::new(Waiter {
        value: UnsafeCell::new(0),
        is_woken: AtomicU32::new(0),
    });
    let link = NonNull::from(&node);
    // SAFETY: the lock is held, and the node stays here until it is out: see below.
    unsafe { channel.waiters.lock().unwrap().push_back(link) };
    // SAFETY: the node is alive, in this list or in none, and the lock is held.
    if unsafe { channel.waiters.lock().unwrap().remove(link) } {
        return false;
    }
    while node.data.is_woken.load(Ordering::Acquire) == 0 {
        thread::yield_now();
    }
    // SAFETY: loom checks that nobody writes at the same time.
    node.data
        .value
        .with(|value| assert_eq!(unsafe { *value }, 7));
    true
}

/// Wakes the first waiter, if there is one.
fn wake_one(channel: &Channel) -> bool {
    let Some(node) = channel.waiters.lock().unwrap().pop_front() else {
        return false;
    };
    // SAFETY: we took the node out, so its waiter keeps it until it sees `is_woken`.
    let waiter = unsafe { &node.as_ref().data };
    // SAFETY: loom checks that this access is the only one.
    waiter.value.with_mut(|value| unsafe { *value = 7 });
    waiter.is_woken.store(1, Ordering::Release);
    true
}

#[test]
fn waiter_and_waker_agree_on_who_took_the_node_out() {
    model(|| {
        let channel = Arc::new(Channel {
            waiters: Mutex::new(WaitList::new()),
        });
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let channel = channel.clone();
                thread::spawn(move || wait_and_give_up(&channel))
            })
            .collect();
        let woke = wake_one(&channel);
        let woken = waiters.into_iter().map(|waiter| waiter.join().unwrap());
        assert_eq!(woken.filter(|woken| *woken).count(), usize::from(woke));
        assert!(channel.waiters.lock().unwrap().is_empty());
    });
}
