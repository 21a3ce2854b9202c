//! A channel whose maker is told when it is closed: by the drop of the last receiver or sender, or by hand.
//!
//! Who fills a channel for others learns so that nobody wants it any more, without sending.
//!
//! Elsewhere: what is done about it (`crate::signal`).

use super::receiver::Receiver;
use super::sender::Sender;
use super::state::Chan;

pub(crate) use super::state::ChanId;

/// Who is told.
pub(crate) trait Watch {
    /// The channel has just been closed, on the thread or goroutine that calls: the user's, with any lock of the
    /// user's held.
    fn closed(channel: ChanId);
}

/// A channel with room for `capacity` values, at least one.
pub(crate) fn bounded<T, W: Watch>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    super::ends(Chan::watched::<T, W>(capacity))
}
