//! Maps, pools and groups that goroutines share.

use std::ops::ControlFlow;

use gort::sync::{ErrGroup, Map, Pool, SingleFlight};

use super::Needs::{Nothing, Start};
use super::{Call, call, panics_with, soon};

pub(super) fn calls() -> Vec<Call> {
    vec![
        call(
            "Map",
            "sync::Map::new sync::Map::with_hasher sync::Map::store sync::Map::load \
             sync::Map::contains_key sync::Map::swap sync::Map::load_or_store \
             sync::Map::load_and_delete sync::Map::delete sync::Map::compare_and_swap \
             sync::Map::compare_and_delete sync::Map::range sync::Map::clear sync::Map::len \
             sync::Map::is_empty sync::Map:Default sync::Map:FromIterator",
            Nothing,
            || {
                let map = Map::<u32, String>::new();
                let text = |number: u32| number.to_string();
                (0..100).for_each(|i| map.store(i, text(i)));
                assert_eq!(map.load(&7), Some(text(7)));
                assert!(map.contains_key(&7) && !map.contains_key(&100));
                assert_eq!(map.swap(7, text(8)), Some(text(7)));
                assert_eq!(map.load_or_store(7, text(9)), (text(8), true));
                assert!(map.compare_and_swap(&7, &text(8), text(7)));
                assert!(!map.compare_and_delete(&7, &text(8)));
                assert_eq!(map.load_and_delete(&7), Some(text(7)));
                assert!(!map.delete(&7));
                let mut count = 0;
                map.range(|_, _| {
                    count += 1;
                    ControlFlow::Continue(())
                });
                assert_eq!((count, map.len(), map.is_empty()), (99, 99, false));
                map.clear();
                assert!(map.is_empty());
                let map: Map<u32, u32> = (0..9).map(|i| (i, i)).collect();
                assert_eq!(map.len(), 9);
                let hasher = std::hash::RandomState::new();
                assert!(Map::<u32, u32>::with_hasher(hasher).is_empty());
                assert!(Map::<u32, u32>::default().is_empty());
            },
        ),
        call(
            "Map, changed inside of range",
            "sync::Map::range sync::Map::delete",
            Nothing,
            || {
                let map: Map<u32, String> = (0..99).map(|i| (i, i.to_string())).collect();
                map.range(|key, value| {
                    map.delete(key);
                    map.store(key + 1000, value.clone());
                    ControlFlow::Continue(())
                });
                assert!(map.len() >= 99);
            },
        ),
        call(
            "Map, whose values use it when dropped",
            "sync::Map::clear",
            Nothing,
            || {
                struct Clears(Option<&'static Map<u32, Clears>>);
                impl Drop for Clears {
                    fn drop(&mut self) {
                        if let Some(map) = self.0 {
                            map.delete(&1);
                            map.store(2, Clears(None));
                        }
                    }
                }
                let map: &'static Map<u32, Clears> = Box::leak(Box::new(Map::new()));
                map.store(0, Clears(Some(map)));
                map.store(1, Clears(Some(map)));
                map.clear();
                map.clear();
            },
        ),
        call(
            "Map, whose range panics",
            "sync::Map::range",
            Nothing,
            || {
                let map: Map<u32, u32> = (0..9).map(|i| (i, i)).collect();
                map.range(|_, _| panic!("on purpose"));
            },
        )
        .except(|place| panics_with(place, "on purpose")),
        call(
            "Pool",
            "sync::Pool::new sync::Pool::get sync::Pool::try_get sync::Pool::put \
             sync::Pool::clear sync::PoolGuard::into_inner sync::PoolGuard:Deref \
             sync::PoolGuard:DerefMut sync::PoolGuard:Drop",
            Nothing,
            || {
                let pool = Pool::new(|| vec![0]);
                pool.put(vec![7]);
                assert_eq!(*pool.get(), [7]);
                pool.clear();
                assert!(pool.try_get().is_none());
                let mut made = pool.get();
                made.push(1);
                assert_eq!(made.into_inner(), [0, 1]);
                drop(pool.get());
            },
        ),
        call(
            "ErrGroup",
            "sync::ErrGroup::new sync::ErrGroup::limit sync::ErrGroup::go \
             sync::ErrGroup::try_go sync::ErrGroup::wait sync::ErrGroup:Default",
            Start,
            || {
                let group = ErrGroup::new().limit(1);
                group.go(|| Ok(()));
                group.go(|| Err("on purpose"));
                while !group.try_go(|| Ok(())) {
                    gort::yield_now();
                }
                assert_eq!(group.wait(), Err("on purpose"));
            },
        ),
        call(
            "ErrGroup, empty",
            "sync::ErrGroup::limit sync::ErrGroup::try_go",
            Nothing,
            || {
                let group = ErrGroup::<()>::default().limit(0);
                assert!(!group.try_go(|| Ok(())));
                group.wait().unwrap();
            },
        ),
        call(
            "ErrGroup::with_context",
            "sync::ErrGroup::with_context",
            Start,
            || {
                let (group, ctx) = ErrGroup::with_context(&gort::context::background());
                group.go(move || ctx.done().recv().map_err(|_| "told to stop"));
                group.go(|| Err("on purpose"));
                assert_eq!(group.wait(), Err("on purpose"));
            },
        ),
        call(
            "ErrGroup, whose member panics",
            "sync::ErrGroup::wait",
            Start,
            || {
                let group = ErrGroup::<()>::new();
                group.go(|| panic!("on purpose"));
                let wait = std::panic::AssertUnwindSafe(|| group.wait());
                std::panic::catch_unwind(wait).unwrap_err();
            },
        ),
        call(
            "SingleFlight",
            "sync::SingleFlight::new sync::SingleFlight::run sync::SingleFlight::forget \
             sync::SingleFlight:Default",
            Nothing,
            || {
                let flights = SingleFlight::new();
                assert_eq!(flights.run(1, || 7), (7, false));
                // Another function for a key that is forgotten while one runs.
                let inner = flights.run(1, || {
                    flights.forget(&1);
                    flights.run(1, || 8).0
                });
                assert_eq!(inner, (8, false));
                SingleFlight::<u32, u32>::default().run(1, || 7);
            },
        ),
        call(
            "SingleFlight, joined by another",
            "sync::SingleFlight::run",
            Start,
            || {
                let flights = std::sync::Arc::new(SingleFlight::new());
                let other = flights.clone();
                let (s, r) = gort::chan::bounded(1);
                soon(move || _ = s.send(other.run(1, || 8)));
                let (value, _shared) = flights.run(1, || {
                    gort::yield_now();
                    7
                });
                assert!(matches!(value, 7 | 8));
                assert!(matches!(r.recv(), Ok((7 | 8, _))));
            },
        ),
        call(
            "SingleFlight, whose function panics",
            "sync::SingleFlight::run",
            Nothing,
            || {
                let flights = SingleFlight::<u32, u32>::new();
                flights.run(1, || panic!("on purpose"));
            },
        )
        .except(|place| panics_with(place, "on purpose")),
    ]
}
