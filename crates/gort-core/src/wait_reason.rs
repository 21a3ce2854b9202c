//! Why a goroutine waits. The words are Go's: dumps, profiles and tests compare by them.

use std::fmt;

macro_rules! wait_reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        // Its docs are where `gort` re-exports it, as their example needs `gort`.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum WaitReason {
            $($(#[$doc])* $name,)*
        }

        impl WaitReason {
            const ALL: &[WaitReason] = &[$(WaitReason::$name,)*];

            /// The phrase shown to users.
            pub fn as_str(self) -> &'static str {
                match self { $(WaitReason::$name => $text,)* }
            }
        }
    };
}

wait_reasons! {
    /// Not parked, or not yet said.
    None = "",
    /// Receiving from a channel.
    ChanReceive = "chan receive",
    /// Sending to a channel.
    ChanSend = "chan send",
    /// Receiving from a nil channel: for ever.
    ChanReceiveNil = "chan receive (nil chan)",
    /// Sending to a nil channel: for ever.
    ChanSendNil = "chan send (nil chan)",
    /// A select over channels.
    Select = "select",
    /// A select over nothing: for ever.
    SelectNoCases = "select (no cases)",
    /// Locking a mutex.
    MutexLock = "sync.Mutex.Lock",
    /// Read-locking.
    RwLockRead = "sync.RWMutex.RLock",
    /// Write-locking.
    RwLockWrite = "sync.RWMutex.Lock",
    /// Waiting for a wait group.
    WaitGroupWait = "sync.WaitGroup.Wait",
    /// Waiting on a condition variable.
    CondWait = "sync.Cond.Wait",
    /// Waiting for another caller's run of a once.
    OnceWait = "sync.Once.Do",
    /// Waiting at a barrier.
    BarrierWait = "sync.Barrier.Wait",
    /// Acquiring a semaphore.
    SemAcquire = "semacquire",
    /// Sleeping.
    Sleep = "sleep",
    /// Waiting for a descriptor.
    IoWait = "IO wait",
    /// Joining a goroutine.
    Join = "join",
    /// `thread::park`.
    Park = "park",
    /// `block_on` of a future.
    BlockOn = "block_on",
    /// An async goroutine whose future is pending.
    Await = "await",
    /// A goroutine of the runtime's own with nothing to do.
    SystemIdle = "system idle",
}

impl WaitReason {
    /// The reason stored as `code` (see `as u8`).
    pub fn from_code(code: u8) -> WaitReason {
        *WaitReason::ALL
            .get(usize::from(code))
            .unwrap_or(&WaitReason::None)
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
