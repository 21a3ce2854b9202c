//! Calls that end when their time is over.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::sys::{check, check_number, real_time_after, timed_out, timespec, timeval};
use super::{Call, Op, Shows};

pub(super) const CALLS: &[Call] = &[
    Call {
        name: "nanosleep",
        shows: Shows::Rarely,
        new: || Ok(Box::new(nanosleep)),
    },
    Call {
        name: "clock_nanosleep",
        shows: Shows::Rarely,
        new: || Ok(Box::new(clock_nanosleep)),
    },
    Call {
        name: "poll",
        shows: Shows::Rarely,
        new: || Ok(Box::new(poll)),
    },
    Call {
        name: "ppoll",
        shows: Shows::Rarely,
        new: || Ok(Box::new(ppoll)),
    },
    Call {
        name: "select",
        shows: Shows::Rarely,
        new: || Ok(Box::new(select)),
    },
    Call {
        name: "pselect",
        shows: Shows::Rarely,
        new: || Ok(Box::new(pselect)),
    },
    Call {
        name: "epoll_wait",
        shows: Shows::Rarely,
        new: epoll_wait,
    },
    Call {
        name: "epoll_pwait",
        shows: Shows::Rarely,
        new: epoll_pwait,
    },
    Call {
        name: "futex with a timeout",
        shows: Shows::Rarely,
        new: || Ok(Box::new(futex)),
    },
    Call {
        name: "recv with SO_RCVTIMEO",
        shows: Shows::Rarely,
        new: receive,
    },
    Call {
        name: "send with SO_SNDTIMEO",
        shows: Shows::Rarely,
        new: send,
    },
    Call {
        name: "accept with SO_RCVTIMEO",
        shows: Shows::Rarely,
        new: accept,
    },
    Call {
        name: "connect with SO_SNDTIMEO",
        shows: Shows::Rarely,
        new: connect,
    },
    Call {
        name: "sem_timedwait",
        shows: Shows::Rarely,
        new: sem_timedwait,
    },
    Call {
        name: "mq_timedreceive",
        shows: Shows::Rarely,
        new: mq_timedreceive,
    },
    Call {
        name: "semtimedop",
        shows: Shows::Rarely,
        new: semtimedop,
    },
    Call {
        name: "sigtimedwait",
        shows: Shows::Rarely,
        new: || Ok(Box::new(sigtimedwait)),
    },
];

/// `poll` and `epoll_wait` count in these.
const MILLISECOND: i32 = 1;

pub(super) fn nanosleep(length: Duration) -> io::Result<()> {
    // SAFETY: reads one timespec; the rest of the time is not asked for.
    check(unsafe { libc::nanosleep(&timespec(length), ptr::null_mut()) }).map(drop)
}

fn clock_nanosleep(length: Duration) -> io::Result<()> {
    // SAFETY: as in `nanosleep`.
    check_number(unsafe {
        libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &timespec(length), ptr::null_mut())
    })
}

fn poll(_length: Duration) -> io::Result<()> {
    // SAFETY: no descriptors, so the pointer is not used.
    check(unsafe { libc::poll(ptr::null_mut(), 0, MILLISECOND) }).map(drop)
}

fn ppoll(length: Duration) -> io::Result<()> {
    // SAFETY: no descriptors; reads one timespec; no mask.
    check(unsafe { libc::ppoll(ptr::null_mut(), 0, &timespec(length), ptr::null()) }).map(drop)
}

fn select(length: Duration) -> io::Result<()> {
    let none = ptr::null_mut();
    // SAFETY: no sets; the timeval is ours.
    check(unsafe { libc::select(0, none, none, none, &mut timeval(length)) }).map(drop)
}

fn pselect(length: Duration) -> io::Result<()> {
    let none = ptr::null_mut();
    // SAFETY: no sets; reads one timespec; no mask.
    check(unsafe { libc::pselect(0, none, none, none, &timespec(length), ptr::null()) }).map(drop)
}

fn epoll() -> io::Result<OwnedFd> {
    // SAFETY: takes flags only.
    let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the descriptor is new and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn epoll_wait() -> io::Result<Op> {
    let epoll = epoll()?;
    Ok(Box::new(move |_| {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: room for the one event that is allowed.
        check(unsafe { libc::epoll_wait(epoll.as_raw_fd(), &mut event, 1, MILLISECOND) }).map(drop)
    }))
}

fn epoll_pwait() -> io::Result<Op> {
    let epoll = epoll()?;
    Ok(Box::new(move |_| {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        let fd = epoll.as_raw_fd();
        // SAFETY: room for the one event that is allowed; no mask.
        check(unsafe { libc::epoll_pwait(fd, &mut event, 1, MILLISECOND, ptr::null()) }).map(drop)
    }))
}

fn futex(length: Duration) -> io::Result<()> {
    let word = AtomicU32::new(0);
    let time = timespec(length);
    // SAFETY: the word lives until the call returns; reads one timespec.
    let result = check(unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            0,
            &raw const time,
        )
    });
    timed_out(result, &[libc::ETIMEDOUT])
}

fn set_timeout(fd: i32, option: i32, length: Duration) -> io::Result<()> {
    let value = timeval(length);
    // SAFETY: the option is a timeval, and that is its size.
    check(unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size_of::<libc::timeval>() as u32,
        )
    })
    .map(drop)
}

/// Two ends of a connection over loopback.
pub(super) fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    Ok((near, far))
}

/// What std gives when a socket's time is over.
fn would_block<T>(result: io::Result<T>) -> io::Result<()> {
    match result {
        Ok(_) => Err(io::Error::other("it ended before its time")),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

/// By way of std, whose `read` gives the user what the kernel gave it.
pub(super) fn receive() -> io::Result<Op> {
    let (mut near, far) = connection()?;
    Ok(Box::new(move |length| {
        let _open = &far;
        near.set_read_timeout(Some(length))?;
        would_block(near.read(&mut [0]))
    }))
}

fn send() -> io::Result<Op> {
    let (mut near, far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    while near.write(&[0; 4096]).is_ok() {}
    near.set_nonblocking(false)?;
    Ok(Box::new(move |length| {
        let _open = &far;
        near.set_write_timeout(Some(length))?;
        would_block(near.write(&[0; 4096]))
    }))
}

fn accept() -> io::Result<Op> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    Ok(Box::new(move |length| {
        let fd = listener.as_raw_fd();
        set_timeout(fd, libc::SO_RCVTIMEO, length)?;
        // Not by std, which tries again after EINTR.
        // SAFETY: the address is not asked for.
        let result = check(unsafe { libc::accept(fd, ptr::null_mut(), ptr::null_mut()) });
        timed_out(result, &[libc::EAGAIN])
    }))
}

/// A listener with room for no connection more, on a name without a file.
pub(super) fn full_listener() -> io::Result<(OwnedFd, libc::sockaddr_un, u32)> {
    let listener = socket()?;
    // SAFETY: zeros are an empty address.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    // The kernel chooses a name if there is none.
    let mut length = size_of::<libc::sa_family_t>() as u32;
    // SAFETY: the address has the family, and no more is said to be there; it has room for what is
    // asked back.
    unsafe {
        check(libc::bind(
            listener.as_raw_fd(),
            (&raw const address).cast(),
            length,
        ))?;
        length = size_of::<libc::sockaddr_un>() as u32;
        check(libc::getsockname(
            listener.as_raw_fd(),
            (&raw mut address).cast(),
            &mut length,
        ))?;
        check(libc::listen(listener.as_raw_fd(), 0))?;
    }
    Ok((listener, address, length))
}

pub(super) fn socket() -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let fd =
        check(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor is new and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

pub(super) fn connect_to(
    socket: &OwnedFd,
    address: &libc::sockaddr_un,
    length: u32,
) -> io::Result<()> {
    // SAFETY: the address has at least that many bytes.
    check(unsafe {
        libc::connect(
            socket.as_raw_fd(),
            (address as *const libc::sockaddr_un).cast(),
            length,
        )
    })
    .map(drop)
}

fn connect() -> io::Result<Op> {
    let (listener, address, address_length) = full_listener()?;
    let fills = socket()?;
    connect_to(&fills, &address, address_length)?;
    Ok(Box::new(move |length| {
        let _open = (&listener, &fills);
        let socket = socket()?;
        set_timeout(socket.as_raw_fd(), libc::SO_SNDTIMEO, length)?;
        timed_out(
            connect_to(&socket, &address, address_length),
            &[libc::EAGAIN],
        )
    }))
}

/// A semaphore of C's that stays where it is.
pub(super) struct Semaphore(Box<std::cell::UnsafeCell<libc::sem_t>>);

// SAFETY: semaphores are for several threads; all calls take a shared pointer.
unsafe impl Send for Semaphore {}
// SAFETY: as above.
unsafe impl Sync for Semaphore {}

impl Semaphore {
    pub(super) fn new() -> Semaphore {
        // SAFETY: `sem_init` makes of the zeros what it needs, at an address that stays.
        let semaphore = Semaphore(Box::new(unsafe { std::mem::zeroed() }));
        // SAFETY: the memory is ours and lives as long as the value.
        let result = unsafe { libc::sem_init(semaphore.as_ptr(), 0, 0) };
        assert_eq!(result, 0, "0 is a legal value");
        semaphore
    }

    pub(super) fn as_ptr(&self) -> *mut libc::sem_t {
        self.0.get()
    }
}

fn sem_timedwait() -> io::Result<Op> {
    let semaphore = Semaphore::new();
    Ok(Box::new(move |length| {
        // SAFETY: an initialized semaphore; reads one timespec.
        let result =
            check(unsafe { libc::sem_timedwait(semaphore.as_ptr(), &real_time_after(length)) });
        timed_out(result, &[libc::ETIMEDOUT])
    }))
}

fn mq_timedreceive() -> io::Result<Op> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("/gort-preempt-{}-{number}\0", std::process::id());
    // SAFETY: zeros and two sizes are legal attributes.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    attributes.mq_maxmsg = 1;
    attributes.mq_msgsize = 8;
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: the name ends with a zero; the attributes live until the call returns.
    let queue = check(unsafe {
        libc::mq_open(
            name.as_ptr().cast(),
            flags,
            0o600 as libc::mode_t,
            &raw mut attributes,
        )
    })?;
    // SAFETY: the name ends with a zero.
    unsafe { libc::mq_unlink(name.as_ptr().cast()) };
    // SAFETY: on Linux a queue is a descriptor, new and ours.
    let queue = unsafe { OwnedFd::from_raw_fd(queue as i32) };
    Ok(Box::new(move |length| {
        let mut message = [0_u8; 8];
        // SAFETY: room for the longest message; no priority asked; reads one timespec.
        let result = check(unsafe {
            libc::mq_timedreceive(
                queue.as_raw_fd(),
                message.as_mut_ptr().cast(),
                message.len(),
                ptr::null_mut(),
                &real_time_after(length),
            )
        } as i64);
        timed_out(result, &[libc::ETIMEDOUT])
    }))
}

/// A set of one semaphore that is gone with the value.
struct SemaphoreSet(i32);

impl Drop for SemaphoreSet {
    fn drop(&mut self) {
        // SAFETY: the set is ours, and nobody waits on it any more.
        unsafe { libc::semctl(self.0, 0, libc::IPC_RMID) };
    }
}

fn semtimedop() -> io::Result<Op> {
    // SAFETY: takes numbers only.
    let id = check(unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600) })?;
    let set = SemaphoreSet(id as i32);
    Ok(Box::new(move |length| {
        let set = &set;
        let mut take = libc::sembuf {
            sem_num: 0,
            sem_op: -1,
            sem_flg: 0,
        };
        let time = timespec(length);
        // SAFETY: one operation, as said; reads one timespec.
        let result = check(unsafe {
            libc::syscall(
                libc::SYS_semtimedop,
                set.0,
                &raw mut take,
                1,
                &raw const time,
            )
        });
        timed_out(result, &[libc::EAGAIN])
    }))
}

fn sigtimedwait(length: Duration) -> io::Result<()> {
    // SAFETY: zeros are storage for `sigemptyset`, which makes a set of them. The signal is one that
    // nobody sends. No details asked; reads one timespec.
    let result = check(unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGRTMIN() + 9);
        libc::sigtimedwait(&set, ptr::null_mut(), &timespec(length))
    });
    timed_out(result, &[libc::EAGAIN])
}
