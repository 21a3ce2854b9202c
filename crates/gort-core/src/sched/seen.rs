//! What sysmon remembers of each P between two looks.

use crate::os::thread::CpuSeen;

/// What sysmon saw of a P.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Seen {
    /// Whether it had a holder then. If not, what it was seen at is nothing that goes on.
    pub(crate) was_held: bool,
    pub(crate) tick: u32,
    pub(crate) since_ns: u64,
    pub(crate) switches: u64,
    /// Since when it has made no switch.
    pub(crate) still: Still,
    pub(crate) had_work: bool,
    pub(crate) was_due: bool,
    pub(crate) was_asleep: bool,
    /// When it last had a turn for the stopped, or they no need of one (T2 of `stopped`).
    pub(crate) turn_ns: u64,
    /// Since when it has been seen left to a thread.
    pub(crate) left_ns: Option<u64>,
    /// When its goroutine was asked to stop.
    pub(crate) asked_ns: u64,
    pub(crate) cpu: CpuSeen,
}

/// For how long there has been no switch, and when that is to be told to `stall`. sysmon's.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Still {
    pub(crate) since_ns: u64,
    told_at_ns: u64,
}

impl Still {
    /// After how long that is told, and each time how much later again: a slice.
    pub(crate) const LONG_NS: u64 = 10_000_000;

    /// The last switch was at `since_ns`, or not long before.
    pub(crate) const fn since(since_ns: u64) -> Still {
        Still {
            since_ns,
            told_at_ns: since_ns,
        }
    }

    #[inline]
    pub(crate) fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.told_at_ns + Still::LONG_NS
    }

    /// It was told, of a stall that began at `since_ns`. True if for the first time.
    pub(crate) fn tell_again(&mut self, since_ns: u64, now_ns: u64) -> bool {
        std::mem::replace(&mut self.told_at_ns, now_ns) <= since_ns
    }

    /// A stall began at `since_ns`, later than the switch, and was not told.
    pub(crate) fn tell_later(&mut self, since_ns: u64) {
        self.told_at_ns = since_ns;
    }
}
