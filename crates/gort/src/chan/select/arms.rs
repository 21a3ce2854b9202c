//! What `select!` expands to: typed arms on the stack, and the calls that select among them.
//!
//! Public for the macro's sake only.

use std::fmt;
use std::mem::MaybeUninit;
use std::time::Duration;

use gort_core::clock;

use super::super::Wait;
use super::super::core::Promised;
use super::super::error::{RecvError, SendError};
use super::super::receiver::Receiver;
use super::super::sender::Sender;
use super::{Arm, Intent, Order, Won, break_promise, run};

/// A `recv` arm, with room for the value.
pub struct RecvArm<'a, T> {
    receiver: &'a Receiver<T>,
    won: Option<Won>,
    value: MaybeUninit<T>,
}

/// A `send` arm, whose value does not exist yet.
pub struct SendArm<'a, T> {
    sender: &'a Sender<T>,
    won: Option<Won>,
}

/// A `recv` arm for `receiver`.
#[inline]
pub fn recv<T>(receiver: &Receiver<T>) -> RecvArm<'_, T> {
    RecvArm {
        receiver,
        won: None,
        value: MaybeUninit::uninit(),
    }
}

/// A `send` arm for `sender`.
#[inline]
pub fn send<T>(sender: &Sender<T>) -> SendArm<'_, T> {
    SendArm { sender, won: None }
}

impl<T> RecvArm<'_, T> {
    /// The arm as the selection wants it.
    #[inline]
    pub fn erase(&mut self) -> Arm<'_> {
        let mut arm = Arm::recv(self.receiver.chan(), self.value.as_mut_ptr().cast());
        arm.won = Some(&mut self.won);
        arm
    }

    /// What was received, after the selection chose this arm.
    #[inline]
    pub fn finish(&mut self) -> Result<T, RecvError> {
        match self.won.take() {
            // SAFETY: the selection has put a value there, and with `won` taken it is read once.
            Some(Won::Value) => Ok(unsafe { self.value.assume_init_read() }),
            _ => Err(RecvError),
        }
    }
}

impl<'a, T> SendArm<'a, T> {
    /// The arm as the selection wants it.
    #[inline]
    pub fn erase(&mut self) -> Arm<'_> {
        let mut arm = Arm::send(self.sender.chan());
        arm.won = Some(&mut self.won);
        arm
    }

    /// The right to send one value, after the selection chose this arm.
    #[inline]
    pub fn promise(&mut self) -> Promise<'a, T> {
        let promised = match self.won.take() {
            Some(Won::Promised(promised)) => promised,
            _ => Promised::Closed,
        };
        Promise {
            sender: self.sender,
            promised,
        }
    }
}

/// The right to send one value without waiting. Dropping it gives the right back.
pub struct Promise<'a, T> {
    sender: &'a Sender<T>,
    promised: Promised,
}

impl<T> Promise<'_, T> {
    /// Sends the value.
    #[inline]
    #[track_caller]
    pub fn keep(self, value: T) -> Result<(), SendError<T>> {
        let this = std::mem::ManuallyDrop::new(self);
        this.sender.send_promised(this.promised, value)
    }
}

impl<T> Drop for Promise<'_, T> {
    fn drop(&mut self) {
        if let Some(chan) = self.sender.chan() {
            break_promise(chan, self.promised);
        }
    }
}

/// Selects an arm, waiting for one to be ready. Its index.
#[inline]
#[track_caller]
pub fn select<const N: usize>(arms: [Arm<'_>; N], is_biased: bool) -> usize {
    // Without a deadline a selection ends only with an arm.
    run_array(arms, Wait::FOREVER, is_biased).unwrap_or(usize::MAX)
}

/// Selects an arm that is ready; `usize::MAX` if there is none.
#[inline]
#[track_caller]
pub fn try_select<const N: usize>(arms: [Arm<'_>; N], is_biased: bool) -> usize {
    run_array(arms, Wait::Never, is_biased).unwrap_or(usize::MAX)
}

/// Selects an arm, waiting for one to be ready for at most `timeout`; `usize::MAX` if none was.
#[inline]
#[track_caller]
pub fn select_timeout<const N: usize>(
    arms: [Arm<'_>; N],
    timeout: Duration,
    is_biased: bool,
) -> usize {
    let wait = Wait::Until(clock::deadline_after(timeout));
    run_array(arms, wait, is_biased).unwrap_or(usize::MAX)
}

#[track_caller]
fn run_array<const N: usize>(mut arms: [Arm<'_>; N], wait: Wait, is_biased: bool) -> Option<usize> {
    let mut order = [0; N];
    let mut waiters = [const { MaybeUninit::uninit() }; N];
    // SAFETY: as much order and as many waiters as arms; the slot of a receive arm is its `RecvArm`'s, which
    // it borrows.
    let (index, won) = unsafe {
        run(
            &mut arms,
            &mut Order::unsorted(&mut order),
            &mut waiters,
            wait,
            Intent::Act,
            is_biased,
        )
    }?;
    if let Some(place) = &mut arms[index].won {
        **place = Some(won);
    }
    Some(index)
}

impl<T> fmt::Debug for RecvArm<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("RecvArm { .. }")
    }
}

impl<T> fmt::Debug for SendArm<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("SendArm { .. }")
    }
}

impl fmt::Debug for Arm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Arm { .. }")
    }
}

impl<T> fmt::Debug for Promise<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Promise { .. }")
    }
}
