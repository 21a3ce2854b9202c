//! Selecting: the macros, and `Select`.

use std::pin::pin;
use std::time::Instant;

use gort::chan::{
    self, ReadyTimeoutError, RecvError, Select, SelectTimeoutError, TryReadyError, TryRecvError,
    TrySelectError,
};

use super::Needs::{Deadline, Nothing, Start, Wait};
use super::chan::poll;
use super::{Call, act, call, panics_with, partner, prepared, short, soon};
use crate::Expected;

pub(super) fn calls() -> Vec<Call> {
    let mut all = macros();
    all.extend(sets());
    all.extend(operations());
    all
}

fn macros() -> Vec<Call> {
    vec![
        call("select!, one ready", "select!", Nothing, || {
            let (s, r) = chan::bounded(1);
            s.send(7).unwrap();
            let (_t, never) = chan::bounded::<u32>(0);
            chan::select! {
                recv(never) -> _ => unreachable!(),
                recv(r) -> value => assert_eq!(value, Ok(7)),
            }
            chan::select! {
                recv(never) -> _ => unreachable!(),
                default => {}
            }
        }),
        prepared("select!, waiting", "select!", Wait, || {
            let (s, r) = chan::bounded(0);
            let (t, q) = chan::bounded::<u32>(0);
            let partner = partner(move || _ = s.send(7));
            act(move || {
                partner.begin();
                chan::select! {
                    recv(r) -> value => assert_eq!(value, Ok(7)),
                    send(t, 8) -> _ => unreachable!(),
                }
                drop(q);
            })
        }),
        prepared(
            "select!, without an arm that could ever go on",
            "select!",
            Deadline,
            || {
                act(|| {
                    let (_s, never) = chan::nil::<u32>();
                    chan::select! {
                        recv(never) -> _ => unreachable!(),
                        default(short()) => {}
                    }
                })
            },
        ),
        call("select!, whose value panics", "select!", Nothing, || {
            // The place is given back: another takes it.
            let (s, r) = chan::bounded(1);
            let value = || -> u32 { panic!("on purpose") };
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                chan::select! { send(s, value()) -> sent => sent.unwrap() }
            }));
            assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
            s.try_send(7).unwrap();
            if let Err(payload) = ended {
                std::panic::resume_unwind(payload);
            }
        })
        .except(|place| panics_with(place, "on purpose")),
        call("select_biased!", "select_biased!", Nothing, || {
            let (s, r) = chan::bounded(2);
            s.send(7).unwrap();
            chan::select_biased! {
                recv(r) -> value => assert_eq!(value, Ok(7)),
                send(s, 8) -> _ => unreachable!(),
            }
        }),
    ]
}

fn sets() -> Vec<Call> {
    vec![
        call(
            "Select::try_select",
            "chan::Select::new chan::Select::recv chan::Select::send chan::Select::remove \
             chan::Select::try_select chan::SelectedOperation::index \
             chan::SelectedOperation::recv",
            Nothing,
            || {
                let (s, r) = chan::bounded(1);
                let mut select = Select::new();
                let receive = select.recv(&r);
                assert_eq!(select.try_select().unwrap_err(), TrySelectError);
                let send = select.send(&s);
                select.remove(send);
                s.send(7).unwrap();
                let operation = select.try_select().unwrap();
                assert_eq!(operation.index(), receive);
                assert_eq!(operation.recv(&r), Ok(7));
            },
        ),
        call(
            "Select::select, one ready",
            "chan::Select::new_biased chan::Select::select chan::Select:Clone \
             chan::Select:Default chan::SelectedOperation::send",
            Nothing,
            || {
                let (s, r) = chan::bounded(1);
                let mut select = Select::new_biased();
                select.send(&s);
                let mut select = select.clone();
                select.select().send(&s, 7).unwrap();
                assert_eq!(r.recv(), Ok(7));
                let _ = Select::default();
            },
        ),
        prepared(
            "Select::select, waiting",
            "chan::Select::select",
            Wait,
            || {
                let (s, r) = chan::bounded(0);
                let partner = partner(move || _ = s.send(7));
                act(move || {
                    partner.begin();
                    let mut select = Select::new();
                    select.recv(&r);
                    assert_eq!(select.select().recv(&r), Ok(7));
                })
            },
        ),
        call(
            "Select::select, of a promise kept",
            "chan::SelectedOperation::send",
            Start,
            || {
                let (s, r) = chan::bounded(0);
                let receives = gort::go(move || r.recv());
                let mut select = Select::new();
                select.send(&s);
                select.select().send(&s, 7).unwrap();
                assert_eq!(receives.join().unwrap(), Ok(7));
            },
        ),
        call(
            "Select::select_timeout",
            "chan::Select::select_timeout chan::Select::select_deadline",
            Deadline,
            || {
                let (_s, r) = chan::bounded::<u32>(0);
                let mut select = Select::new();
                select.recv(&r);
                assert_eq!(
                    select.select_timeout(short()).unwrap_err(),
                    SelectTimeoutError
                );
                let deadline = Instant::now() + short();
                assert_eq!(
                    select.select_deadline(deadline).unwrap_err(),
                    SelectTimeoutError
                );
            },
        ),
        call(
            "Select::ready",
            "chan::Select::ready chan::Select::try_ready",
            Nothing,
            || {
                let (s, r) = chan::bounded(1);
                let mut select = Select::new();
                let index = select.recv(&r);
                assert_eq!(select.try_ready(), Err(TryReadyError));
                s.send(7).unwrap();
                assert_eq!(select.try_ready(), Ok(index));
                assert_eq!(select.ready(), index);
            },
        ),
        call(
            "Select::ready_timeout",
            "chan::Select::ready_timeout chan::Select::ready_deadline",
            Deadline,
            || {
                let (_s, r) = chan::bounded::<u32>(0);
                let mut select = Select::new();
                select.recv(&r);
                assert_eq!(select.ready_timeout(short()), Err(ReadyTimeoutError));
                let deadline = Instant::now() + short();
                assert_eq!(select.ready_deadline(deadline), Err(ReadyTimeoutError));
            },
        ),
        call(
            "Select::select_async",
            "chan::Select::select_async chan::SelectFuture:Future",
            Nothing,
            || {
                let (s, r) = chan::bounded(0);
                let mut select = Select::new();
                select.recv(&r);
                let mut future = pin!(select.select_async());
                assert!(poll(future.as_mut()).is_pending());
                s.try_send(7).unwrap();
                let operation = gort::block_on(future);
                assert_eq!(operation.recv(&r), Ok(7));
            },
        ),
        call(
            "Select::select_async, dropped while it waits",
            "chan::Select::select_async",
            Nothing,
            || {
                let (s, r) = chan::bounded::<u32>(0);
                let mut select = Select::new();
                select.recv(&r);
                {
                    let mut future = pin!(select.select_async());
                    assert!(poll(future.as_mut()).is_pending());
                }
                s.try_send(7).unwrap_err();
            },
        ),
        call(
            "Select::select_async, awaited",
            "chan::Select::select_async",
            Start,
            || {
                let (s, r) = chan::bounded(0);
                soon(move || s.send(7).unwrap());
                let mut select = Select::new();
                select.recv(&r);
                let operation = gort::block_on(select.select_async());
                assert_eq!(operation.recv(&r), Ok(7));
            },
        ),
    ]
}

fn operations() -> Vec<Call> {
    vec![
        call(
            "SelectedOperation, dropped with a value",
            "chan::SelectedOperation:Drop",
            Nothing,
            || {
                let (s, r) = chan::bounded(1);
                s.send(7).unwrap();
                let mut select = Select::new();
                select.recv(&r);
                let operation = select.select();
                let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    drop(operation);
                }));
                assert_eq!(r.try_recv(), Ok(7));
                if let Err(payload) = ended {
                    std::panic::resume_unwind(payload);
                }
            },
        )
        .except(|place| match place.is_unwinding() {
            // One panic is enough.
            true => Some(Expected::Works),
            false => panics_with(place, "dropped `SelectedOperation` without completing"),
        }),
        call(
            "SelectedOperation, completed with another handle",
            "chan::SelectedOperation::recv",
            Nothing,
            || {
                let (s, r) = chan::bounded(1);
                s.send(7).unwrap();
                let other = r.clone();
                let mut select = Select::new();
                select.recv(&r);
                let _ = select.select().recv(&other);
            },
        )
        .except(|place| panics_with(place, "passed a receiver that wasn't selected")),
        call(
            "SelectedOperation of a send, completed after the close",
            "chan::SelectedOperation::send",
            Nothing,
            || {
                let (s, r) = chan::bounded(1);
                let mut select = Select::new();
                select.send(&s);
                let operation = select.select();
                r.close();
                // The place was promised before.
                let _ = operation.send(&s, 7);
                assert!(matches!(r.recv(), Ok(7) | Err(RecvError)));
            },
        ),
    ]
}
