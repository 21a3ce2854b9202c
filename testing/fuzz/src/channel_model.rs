//! What channels do, without any concurrency: lists of values, and of those who wait.
//!
//! Written from the rules that `gort::chan` documents, not from its code. A party is a goroutine or a future; it
//! waits on one channel, or as a select on many. What became of it is `fates`; a future learns of it when it is
//! polled, and until then may be dropped.

use std::collections::{HashMap, VecDeque};

/// Who does an operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Party {
    Goroutine(usize),
    Future(usize),
}

/// What came of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Result {
    Sent,
    SendClosed(u32),
    Received(u32),
    ReceiveClosed,
    /// A select with `default` found nothing.
    Nothing,
}

/// One operation, or one of a select.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arm {
    Send(usize, u32),
    Receive(usize),
}

impl Arm {
    pub(crate) fn channel(self) -> usize {
        match self {
            Arm::Send(channel, _) | Arm::Receive(channel) => channel,
        }
    }
}

/// What has become of a party that waited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// This, with an arm that is equal to this one.
    Done(Arm, Result),
    /// A channel was closed on which it waited, perhaps with several arms.
    Closed(usize),
    /// A future has a place in the buffer of a channel for this value, which it takes when it is polled.
    Granted(usize, u32),
}

#[derive(Debug)]
struct Channel {
    /// None: no bound.
    capacity: Option<usize>,
    is_closed: bool,
    values: VecDeque<u32>,
    /// Values that came back from futures that were dropped; received first.
    returned: VecDeque<u32>,
    granted: VecDeque<Party>,
    senders: VecDeque<(Party, Arm, u32)>,
    receivers: VecDeque<(Party, Arm)>,
}

/// All channels, and who waits.
#[derive(Debug)]
pub(crate) struct Model {
    channels: Vec<Channel>,
    fates: HashMap<Party, Fate>,
}

impl Model {
    pub(crate) fn new(capacities: &[Option<usize>]) -> Self {
        let channel = |&capacity: &Option<usize>| Channel {
            capacity,
            is_closed: false,
            values: VecDeque::new(),
            returned: VecDeque::new(),
            granted: VecDeque::new(),
            senders: VecDeque::new(),
            receivers: VecDeque::new(),
        };
        Self {
            channels: capacities.iter().map(channel).collect(),
            fates: HashMap::new(),
        }
    }

    /// What has become of a party that had to wait.
    pub(crate) fn fate(&self, party: Party) -> Option<Fate> {
        self.fates.get(&party).copied()
    }

    pub(crate) fn forget_fate(&mut self, party: Party) {
        self.fates.remove(&party);
    }

    /// How many values can be received that no sender still holds.
    pub(crate) fn len(&self, channel: usize) -> usize {
        let channel = &self.channels[channel];
        channel.values.len() + channel.returned.len()
    }

    /// Whether an operation can go on now.
    pub(crate) fn is_ready(&self, arm: Arm) -> bool {
        let channel = &self.channels[arm.channel()];
        channel.is_closed
            || match arm {
                Arm::Send(..) => !channel.receivers.is_empty() || channel.has_room(),
                Arm::Receive(_) => {
                    !channel.values.is_empty()
                        || !channel.returned.is_empty()
                        || !channel.granted.is_empty()
                        || !channel.senders.is_empty()
                }
            }
    }

    /// Does an operation that can go on now.
    pub(crate) fn perform(&mut self, arm: Arm) -> Result {
        assert!(self.is_ready(arm), "{arm:?} cannot go on");
        match arm {
            Arm::Send(channel, value) => self.send(channel, value),
            Arm::Receive(channel) => self.receive(channel),
        }
    }

    /// Lets a party wait for the first of these.
    pub(crate) fn wait(&mut self, party: Party, arms: &[Arm]) {
        for &arm in arms {
            let channel = &mut self.channels[arm.channel()];
            match arm {
                Arm::Send(_, value) => channel.senders.push_back((party, arm, value)),
                Arm::Receive(_) => channel.receivers.push_back((party, arm)),
            }
        }
    }

    fn send(&mut self, index: usize, value: u32) -> Result {
        let channel = &mut self.channels[index];
        if channel.is_closed {
            return Result::SendClosed(value);
        }
        if let Some((party, arm)) = channel.receivers.pop_front() {
            self.finish(party, Fate::Done(arm, Result::Received(value)));
        } else {
            channel.values.push_back(value);
        }
        Result::Sent
    }

    fn receive(&mut self, index: usize) -> Result {
        let channel = &mut self.channels[index];
        if let Some(value) = channel.returned.pop_front() {
            return Result::Received(value);
        }
        if let Some(value) = channel.values.pop_front() {
            self.refill(index);
            return Result::Received(value);
        }
        if let Some(party) = channel.granted.pop_front() {
            let Some(Fate::Granted(_, value)) = self.fate(party) else {
                panic!("{party:?} is granted");
            };
            self.finish(party, Fate::Done(Arm::Send(index, value), Result::Sent));
            self.refill(index);
            return Result::Received(value);
        }
        if let Some((party, arm, value)) = channel.senders.pop_front() {
            self.finish(party, Fate::Done(arm, Result::Sent));
            return Result::Received(value);
        }
        Result::ReceiveClosed
    }

    /// Gives room that came free to those who wait for it.
    fn refill(&mut self, index: usize) {
        while self.channels[index].has_room()
            && let Some((party, arm, value)) = self.channels[index].senders.pop_front()
        {
            if let Party::Future(_) = party {
                self.channels[index].granted.push_back(party);
                self.finish(party, Fate::Granted(index, value));
            } else {
                self.channels[index].values.push_back(value);
                self.finish(party, Fate::Done(arm, Result::Sent));
            }
        }
    }

    /// The party waits no more, nowhere.
    fn finish(&mut self, party: Party, fate: Fate) {
        self.stop_waiting(party);
        self.fates.insert(party, fate);
    }

    fn stop_waiting(&mut self, party: Party) {
        for channel in &mut self.channels {
            channel.senders.retain(|&(other, ..)| other != party);
            channel.receivers.retain(|&(other, _)| other != party);
        }
    }

    /// Closes a channel. True the first time.
    pub(crate) fn close(&mut self, index: usize) -> bool {
        let channel = &mut self.channels[index];
        if channel.is_closed {
            return false;
        }
        channel.is_closed = true;
        let senders = channel.senders.iter().map(|&(party, ..)| party);
        let receivers = channel.receivers.iter().map(|&(party, _)| party);
        let granted = channel.granted.iter().copied();
        let all: Vec<Party> = senders.chain(receivers).chain(granted).collect();
        channel.granted.clear();
        for party in all {
            self.finish(party, Fate::Closed(index));
        }
        true
    }

    /// A future that was granted a place is polled: its value takes it.
    pub(crate) fn redeem(&mut self, party: Party, index: usize, value: u32) {
        let channel = &mut self.channels[index];
        channel.granted.retain(|&other| other != party);
        channel.values.push_back(value);
        self.forget_fate(party);
    }

    /// A future is dropped before it was polled to its end.
    pub(crate) fn cancel(&mut self, party: Party) {
        self.stop_waiting(party);
        match self.fates.remove(&party) {
            Some(Fate::Granted(index, _)) => {
                self.channels[index].granted.retain(|&other| other != party);
                self.refill(index);
            }
            Some(Fate::Done(Arm::Receive(index), Result::Received(value))) => {
                match self.channels[index].receivers.pop_front() {
                    Some((other, arm)) => {
                        self.finish(other, Fate::Done(arm, Result::Received(value)));
                    }
                    None => self.channels[index].returned.push_back(value),
                }
            }
            _ => {}
        }
    }
}

impl Channel {
    fn has_room(&self) -> bool {
        let taken = self.values.len() + self.granted.len();
        self.capacity.is_none_or(|capacity| taken < capacity)
    }
}
