//! A channel that carries no value: it is open, and then closed, by its owner alone.
//!
//! Receivers are given away freely, so their `close` does nothing: nobody can make others believe that
//! the owner has spoken.
//!
//! Elsewhere: what it says that a context is done (`context`).

use std::ptr::NonNull;

use super::receiver::Receiver;
use super::state::Chan;

/// The owner's end.
pub(crate) struct Signal {
    receiver: Receiver<()>,
}

impl Signal {
    /// An open channel.
    pub(crate) fn new() -> Signal {
        let chan = NonNull::from(Box::leak(Box::new(Chan::signal())));
        // SAFETY: a new channel of `()`s, made with one receiver.
        let receiver = unsafe { Receiver::new(Some(chan)) };
        Signal { receiver }
    }

    /// What the others wait on.
    pub(crate) fn receiver(&self) -> &Receiver<()> {
        &self.receiver
    }

    /// Closes the channel, if it is open. Wakes all who wait, and their wakers; so no lock is held.
    pub(crate) fn close(&self) {
        if let Some(chan) = self.receiver.chan() {
            chan.close();
        }
    }
}
