//! Locks and what else of `sync` waits. The methods of `Mutex` and `RwLock` are `lock_api`'s over our raw
//! locks; each raw operation is called.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use gort::sync::{
    Barrier, Condvar, LazyLock, MappedMutexGuard, Mutex, MutexGuard, Once, OnceLock, RwLock,
    RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard, Semaphore, WaitGroup, mpsc,
};

use super::Needs::{Deadline, Nothing, Start, Wait};
use super::{Call, act, call, panics_with, partner, prepared, short, soon};

pub(super) fn calls() -> Vec<Call> {
    let mut all = mutexes();
    all.extend(rw_locks());
    all.extend(condvars());
    all.extend(onces());
    all.extend(counters());
    all.extend(std_channels());
    all
}

fn mutexes() -> Vec<Call> {
    vec![
        call(
            "Mutex, free",
            "sync::Mutex sync::MutexGuard",
            Nothing,
            || {
                let mut lock = Mutex::new(1);
                *lock.lock() += 1;
                *lock.try_lock().unwrap() += 1;
                *lock.try_lock_for(short()).unwrap() += 1;
                *lock.try_lock_until(Instant::now() + short()).unwrap() += 1;
                let mut guard = lock.lock();
                assert!(lock.is_locked());
                assert!(lock.try_lock().is_none());
                MutexGuard::unlocked(&mut guard, || *lock.lock() += 1);
                MutexGuard::unlocked_fair(&mut guard, || *lock.lock() += 1);
                MutexGuard::bump(&mut guard);
                MutexGuard::unlock_fair(guard);
                *lock.get_mut() += 1;
                assert_eq!(lock.into_inner(), 8);
            },
        ),
        call("Mutex, mapped", "sync::MappedMutexGuard", Nothing, || {
            let lock = Mutex::new((1, 2));
            let guard = MutexGuard::map(lock.lock(), |pair| &mut pair.1);
            assert!(lock.is_locked());
            MappedMutexGuard::unlock_fair(guard);
            assert!(!lock.is_locked());
        }),
        call(
            "Mutex, shared by its guard",
            "sync::ArcMutexGuard",
            Nothing,
            || {
                let lock = Arc::new(Mutex::new(1));
                let guard = lock.lock_arc();
                assert!(lock.try_lock_arc().is_none());
                drop(lock);
                assert_eq!(*guard, 1);
            },
        ),
        prepared("Mutex, held by another", "sync::Mutex", Wait, || {
            let lock = Arc::new(Mutex::new(1));
            let guard = lock.lock_arc();
            let partner = partner(move || drop(guard));
            act(move || {
                partner.begin();
                *lock.lock() += 1;
            })
        }),
        call(
            "Mutex, held by itself, for a while",
            "sync::Mutex",
            Deadline,
            || {
                let lock = Mutex::new(1);
                let _guard = lock.lock();
                assert!(lock.try_lock_for(short()).is_none());
                assert!(lock.try_lock_until(Instant::now() + short()).is_none());
            },
        ),
        call("Mutex, whose holder panics", "sync::Mutex", Start, || {
            let lock = Arc::new(Mutex::new(1));
            let holder = lock.clone();
            let handle = gort::go(move || {
                let _guard = holder.lock();
                panic!("on purpose");
            });
            handle.join().unwrap_err();
            assert_eq!(*lock.lock(), 1);
        }),
    ]
}

fn rw_locks() -> Vec<Call> {
    vec![
        call(
            "RwLock, free",
            "sync::RwLock sync::RwLockReadGuard sync::RwLockWriteGuard",
            Nothing,
            || {
                let mut lock = RwLock::new(1);
                *lock.write() += 1;
                *lock.try_write().unwrap() += 1;
                *lock.try_write_for(short()).unwrap() += 1;
                *lock.try_write_until(Instant::now() + short()).unwrap() += 1;
                let mut guard = lock.write();
                RwLockWriteGuard::unlocked(&mut guard, || *lock.write() += 1);
                RwLockWriteGuard::bump(&mut guard);
                let mut guard = RwLockWriteGuard::downgrade(guard);
                assert!(lock.is_locked() && !lock.is_locked_exclusive());
                assert!(lock.try_write().is_none());
                {
                    let _again = lock.read_recursive();
                    let _and = lock.try_read_recursive().unwrap();
                    let _and = lock.try_read().unwrap();
                    let _and = lock.try_read_for(short()).unwrap();
                    let _and = lock.try_read_until(Instant::now() + short()).unwrap();
                    let _and = lock.read();
                }
                RwLockReadGuard::unlocked(&mut guard, || *lock.write() += 1);
                RwLockReadGuard::bump(&mut guard);
                RwLockReadGuard::unlock_fair(guard);
                RwLockWriteGuard::unlock_fair(lock.write());
                *lock.get_mut() += 1;
                assert_eq!(lock.into_inner(), 8);
            },
        ),
        call(
            "RwLock, read upgradably",
            "sync::RwLockUpgradableReadGuard sync::ArcRwLockUpgradableReadGuard",
            Nothing,
            || {
                let lock = Arc::new(RwLock::new(1));
                let mut guard = lock.upgradable_read();
                let beside = lock.try_read_for(short()).unwrap();
                assert!(lock.try_upgradable_read().is_none());
                assert!(RwLockUpgradableReadGuard::try_with_upgraded(&mut guard, |_| ()).is_none());
                drop(beside);
                RwLockUpgradableReadGuard::bump(&mut guard);
                RwLockUpgradableReadGuard::with_upgraded(&mut guard, |value| *value += 1);
                let mut guard = RwLockUpgradableReadGuard::upgrade(guard);
                *guard += 1;
                let guard = RwLockWriteGuard::downgrade_to_upgradable(guard);
                let guard = RwLockUpgradableReadGuard::try_upgrade_for(guard, short()).unwrap();
                let guard = RwLockWriteGuard::downgrade_to_upgradable(guard);
                drop(RwLockUpgradableReadGuard::downgrade(guard));
                let guard = lock.try_upgradable_read_for(short()).unwrap();
                RwLockUpgradableReadGuard::unlock_fair(guard);
                let guard = lock.upgradable_read_arc();
                assert!(lock.try_write().is_none());
                drop(lock);
                assert_eq!(*guard, 3);
            },
        ),
        call(
            "RwLock, mapped",
            "sync::MappedRwLockReadGuard sync::MappedRwLockWriteGuard",
            Nothing,
            || {
                let lock = RwLock::new((1, 2));
                let guard = RwLockReadGuard::map(lock.read(), |pair| &pair.1);
                assert!(lock.is_locked());
                drop(guard);
                drop(RwLockWriteGuard::map(lock.write(), |pair| &mut pair.1));
                assert!(!lock.is_locked());
            },
        ),
        call(
            "RwLock, shared by its guards",
            "sync::ArcRwLockReadGuard sync::ArcRwLockWriteGuard",
            Nothing,
            || {
                let lock = Arc::new(RwLock::new(1));
                drop(lock.write_arc());
                let guard = lock.read_arc();
                assert!(lock.try_write_arc().is_none());
                drop(lock);
                assert_eq!(*guard, 1);
            },
        ),
        prepared("RwLock, held by a writer", "sync::RwLock", Wait, || {
            let lock = Arc::new(RwLock::new(1));
            let guard = lock.write_arc();
            let partner = partner(move || drop(guard));
            act(move || {
                partner.begin();
                assert_eq!(*lock.read(), 1);
            })
        }),
        prepared("RwLock, held by a reader", "sync::RwLock", Wait, || {
            let lock = Arc::new(RwLock::new(1));
            let guard = lock.read_arc();
            let partner = partner(move || drop(guard));
            act(move || {
                partner.begin();
                *lock.write() += 1;
            })
        }),
        prepared(
            "RwLock, upgraded beside a reader",
            "sync::RwLockUpgradableReadGuard",
            Wait,
            || {
                let lock = Arc::new(RwLock::new(1));
                let guard = lock.read_arc();
                let partner = partner(move || drop(guard));
                act(move || {
                    let upgradable = lock.upgradable_read();
                    partner.begin();
                    *RwLockUpgradableReadGuard::upgrade(upgradable) += 1;
                })
            },
        ),
        call(
            "RwLock, held by itself, for a while",
            "sync::RwLock",
            Deadline,
            || {
                let lock = RwLock::new(1);
                let guard = lock.read();
                assert!(lock.try_write_for(short()).is_none());
                drop(guard);
                let _guard = lock.write();
                assert!(lock.try_read_for(short()).is_none());
                assert!(lock.try_write_for(short()).is_none());
            },
        ),
    ]
}

fn condvars() -> Vec<Call> {
    vec![
        call(
            "Condvar, without waiters",
            "sync::Condvar::new sync::Condvar::notify_one sync::Condvar::notify_all",
            Nothing,
            || {
                let condvar = Condvar::new();
                assert!(!condvar.notify_one());
                assert_eq!(condvar.notify_all(), 0);
            },
        ),
        prepared(
            "Condvar, waiting",
            "sync::Condvar::wait sync::Condvar::wait_while sync::Condvar::notify_one \
             sync::Condvar::notify_all",
            Wait,
            || {
                let shared = Arc::new((Mutex::new(0), Condvar::new()));
                let other = shared.clone();
                let partner = partner(move || {
                    for _ in 0..2 {
                        while *other.0.lock() == 0 {
                            gort::yield_now();
                        }
                        *other.0.lock() = 0;
                        other.1.notify_one();
                        other.1.notify_all();
                    }
                });
                act(move || {
                    partner.begin();
                    let (lock, condvar) = &*shared;
                    let mut guard = lock.lock();
                    *guard = 1;
                    while *guard == 1 {
                        condvar.wait(&mut guard);
                    }
                    *guard = 1;
                    condvar.wait_while(&mut guard, |value| *value == 1);
                })
            },
        ),
        call(
            "Condvar, for a while",
            "sync::Condvar::wait_for sync::Condvar::wait_until sync::Condvar::wait_while_for \
             sync::Condvar::wait_while_until sync::WaitTimeoutResult::timed_out",
            Deadline,
            || {
                let (lock, condvar) = (Mutex::new(()), Condvar::new());
                let mut guard = lock.lock();
                let later = || Instant::now() + short();
                assert!(condvar.wait_for(&mut guard, short()).timed_out());
                assert!(condvar.wait_until(&mut guard, later()).timed_out());
                let waited = condvar.wait_while_for(&mut guard, |()| true, short());
                assert!(waited.timed_out());
                let waited = condvar.wait_while_until(&mut guard, |()| true, later());
                assert!(waited.timed_out());
            },
        ),
        call(
            "Barrier, of one",
            "sync::Barrier::new sync::Barrier::wait",
            Nothing,
            || {
                assert!(Barrier::new(1).wait().is_leader());
            },
        ),
        call(
            "Barrier",
            "sync::Barrier::wait sync::BarrierWaitResult::is_leader",
            Start,
            || {
                let barrier = Arc::new(Barrier::new(2));
                let other = barrier.clone();
                let leads = gort::go(move || other.wait().is_leader());
                assert_ne!(barrier.wait().is_leader(), leads.join().unwrap());
            },
        ),
    ]
}

fn onces() -> Vec<Call> {
    vec![
        call(
            "Once",
            "sync::Once::new sync::Once::call_once sync::Once::is_completed sync::Once::wait \
             sync::Once:Default",
            Nothing,
            || {
                let (once, mut times) = (Once::new(), 0);
                assert!(!Once::default().is_completed());
                once.call_once(|| times += 1);
                once.call_once(|| times += 1);
                once.wait();
                assert!(once.is_completed());
                assert_eq!(times, 1);
            },
        ),
        call(
            "Once, whose function panics",
            "sync::Once::call_once",
            Nothing,
            || {
                let once = Once::new();
                let run = || once.call_once(|| panic!("on purpose"));
                let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
                assert!(once.is_completed());
                once.call_once(|| unreachable!());
                if let Err(payload) = ended {
                    std::panic::resume_unwind(payload);
                }
            },
        )
        .except(|place| panics_with(place, "on purpose")),
        call(
            "Once, run by another",
            "sync::Once::wait sync::Once::call_once",
            Start,
            || {
                let once = Arc::new(Once::new());
                let other = once.clone();
                soon(move || other.call_once(gort::yield_now));
                once.wait();
                once.call_once(|| unreachable!());
            },
        ),
        call(
            "OnceLock",
            "sync::OnceLock::new sync::OnceLock::get sync::OnceLock::get_mut \
             sync::OnceLock::set sync::OnceLock::get_or_init sync::OnceLock::take \
             sync::OnceLock::into_inner sync::OnceLock::wait sync::OnceLock:Drop \
             sync::OnceLock:Clone sync::OnceLock:Default",
            Nothing,
            || {
                let mut cell = OnceLock::new();
                assert_eq!(cell.get(), None);
                assert_eq!(*cell.get_or_init(|| 7), 7);
                assert_eq!(cell.set(8), Err(8));
                assert_eq!(*cell.wait(), 7);
                assert_eq!(cell.clone().into_inner(), Some(7));
                *cell.get_mut().unwrap() = 9;
                assert_eq!(cell.take(), Some(9));
                assert_eq!(OnceLock::<u32>::default().get(), None);
            },
        ),
        call(
            "OnceLock, set by another",
            "sync::OnceLock::wait",
            Start,
            || {
                let cell = Arc::new(OnceLock::new());
                let other = cell.clone();
                soon(move || other.set(7).unwrap());
                assert_eq!(*cell.wait(), 7);
            },
        ),
        call(
            "OnceLock, whose function panics",
            "sync::OnceLock::get_or_init",
            Nothing,
            || {
                let cell = OnceLock::<u32>::new();
                let run = || _ = cell.get_or_init(|| panic!("on purpose"));
                let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
                assert_eq!(*cell.get_or_init(|| 7), 7);
                if let Err(payload) = ended {
                    std::panic::resume_unwind(payload);
                }
            },
        )
        .except(|place| panics_with(place, "on purpose")),
        call(
            "LazyLock",
            "sync::LazyLock::new sync::LazyLock::force sync::LazyLock:Deref \
             sync::LazyLock:Default",
            Nothing,
            || {
                let times = AtomicU32::new(0);
                let lazy = LazyLock::new(|| times.fetch_add(1, Relaxed) + 7);
                assert_eq!((*lazy, *LazyLock::force(&lazy)), (7, 7));
                assert_eq!(*LazyLock::<u32>::default(), 0);
            },
        ),
        call(
            "LazyLock, poisoned",
            "sync::LazyLock::force",
            Nothing,
            || {
                let lazy = LazyLock::<u32>::new(|| panic!("on purpose"));
                let run = || _ = *lazy;
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_err();
                LazyLock::force(&lazy);
            },
        )
        .except(|place| panics_with(place, "LazyLock instance has previously been poisoned")),
    ]
}

fn counters() -> Vec<Call> {
    vec![
        call(
            "WaitGroup",
            "sync::WaitGroup::new sync::WaitGroup::add sync::WaitGroup::done \
             sync::WaitGroup::wait sync::WaitGroup:Default",
            Nothing,
            || {
                let group = WaitGroup::new();
                group.add(2);
                group.done();
                group.add(-1);
                group.wait();
                WaitGroup::default().wait();
            },
        ),
        call(
            "WaitGroup::go",
            "sync::WaitGroup::go sync::WaitGroup::wait",
            Start,
            || {
                let group = WaitGroup::new();
                group.go(gort::yield_now);
                group.go(|| panic!("on purpose"));
                group.go(|| gort::goexit());
                group.wait();
            },
        ),
        call(
            "WaitGroup, below 0",
            "sync::WaitGroup::done",
            Nothing,
            || WaitGroup::new().done(),
        )
        .except(|place| panics_with(place, "sync: negative WaitGroup counter")),
        call(
            "Semaphore",
            "sync::Semaphore::new sync::Semaphore::acquire sync::Semaphore::try_acquire \
             sync::Semaphore::try_acquire_for sync::Semaphore::add_permits \
             sync::Semaphore::available_permits sync::Permit::count sync::Permit:Drop",
            Nothing,
            || {
                let semaphore = Semaphore::new(1);
                let permit = semaphore.acquire(1);
                assert_eq!(permit.count(), 1);
                assert!(semaphore.try_acquire(1).is_none());
                drop(permit);
                semaphore.add_permits(1);
                assert_eq!(semaphore.available_permits(), 2);
                drop(semaphore.try_acquire_for(2, short()).unwrap());
            },
        ),
        prepared(
            "Semaphore, waiting",
            "sync::Semaphore::acquire",
            Wait,
            || {
                let semaphore = Arc::new(Semaphore::new(0));
                let other = semaphore.clone();
                let partner = partner(move || other.add_permits(2));
                act(move || {
                    partner.begin();
                    drop(semaphore.acquire(2));
                })
            },
        ),
        call(
            "Semaphore, for a while",
            "sync::Semaphore::try_acquire_for",
            Deadline,
            || {
                assert!(Semaphore::new(0).try_acquire_for(1, short()).is_none());
            },
        ),
        call(
            "Semaphore, too many",
            "sync::Semaphore::add_permits",
            Nothing,
            || {
                Semaphore::new(u64::MAX).add_permits(u64::MAX);
            },
        )
        .except(|place| panics_with(place, "Semaphore: too many permits")),
    ]
}

fn std_channels() -> Vec<Call> {
    vec![
        call(
            "mpsc",
            "sync::mpsc::channel sync::mpsc::sync_channel sync::mpsc::Sender::send \
             sync::mpsc::SyncSender::send sync::mpsc::SyncSender::try_send \
             sync::mpsc::Receiver::recv sync::mpsc::Receiver::try_recv \
             sync::mpsc::Receiver::iter sync::mpsc::Receiver::try_iter \
             sync::mpsc::Iter:Iterator sync::mpsc::TryIter:Iterator \
             sync::mpsc::IntoIter:Iterator sync::mpsc::&Receiver:IntoIterator \
             sync::mpsc::Receiver:IntoIterator sync::mpsc::Sender:Clone \
             sync::mpsc::SyncSender:Clone",
            Nothing,
            || {
                let (s, r) = mpsc::channel();
                (0..6).for_each(|i| s.clone().send(i).unwrap());
                drop(s);
                assert_eq!((r.recv(), r.try_recv()), (Ok(0), Ok(1)));
                assert!(r.try_iter().take(1).eq([2]));
                assert!(r.iter().take(1).eq([3]));
                assert!((&r).into_iter().take(1).eq([4]));
                assert!(r.into_iter().eq([5]));
                let (s, r) = mpsc::sync_channel(2);
                s.send(7).unwrap();
                s.clone().try_send(8).unwrap();
                s.try_send(9).unwrap_err();
                drop(s);
                assert!(r.into_iter().eq([7, 8]));
            },
        ),
        call(
            "mpsc, for a while",
            "sync::mpsc::Receiver::recv_timeout",
            Deadline,
            || {
                let (_s, r) = mpsc::channel::<u32>();
                r.recv_timeout(short()).unwrap_err();
            },
        ),
    ]
}
