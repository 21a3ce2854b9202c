//! What system calls are called.

/// The name of a system call that may block; -1, a page fault, has one too. `None` for others.
pub(super) fn name(call: i64) -> Option<&'static str> {
    if call == PAGE_FAULT {
        return Some("page fault");
    }
    let all = EVERYWHERE.iter().chain(HERE);
    all.clone()
        .find(|(number, _)| *number == call)
        .map(|(_, name)| *name)
}

/// The kernel has it for a thread that waits for memory.
const PAGE_FAULT: i64 = -1;

macro_rules! names {
    ($($number:ident $name:ident),* $(,)?) => {
        &[$((libc::$number as i64, stringify!($name))),*]
    };
}

const EVERYWHERE: &[(i64, &str)] = names![
    SYS_accept accept,
    SYS_accept4 accept4,
    SYS_clock_nanosleep clock_nanosleep,
    SYS_close close,
    SYS_connect connect,
    SYS_copy_file_range copy_file_range,
    SYS_epoll_pwait epoll_pwait,
    SYS_execve execve,
    SYS_fallocate fallocate,
    SYS_fcntl fcntl,
    SYS_fdatasync fdatasync,
    SYS_flock flock,
    SYS_fsync fsync,
    SYS_ftruncate ftruncate,
    SYS_futex futex,
    SYS_getdents64 getdents64,
    SYS_getrandom getrandom,
    SYS_io_getevents io_getevents,
    SYS_io_uring_enter io_uring_enter,
    SYS_ioctl ioctl,
    SYS_linkat linkat,
    SYS_madvise madvise,
    SYS_mkdirat mkdirat,
    SYS_mmap mmap,
    SYS_mount mount,
    SYS_mprotect mprotect,
    SYS_mq_timedreceive mq_timedreceive,
    SYS_mq_timedsend mq_timedsend,
    SYS_msgrcv msgrcv,
    SYS_msgsnd msgsnd,
    SYS_msync msync,
    SYS_munmap munmap,
    SYS_nanosleep nanosleep,
    SYS_openat openat,
    SYS_ppoll ppoll,
    SYS_pread64 pread64,
    SYS_preadv preadv,
    SYS_pselect6 pselect6,
    SYS_pwrite64 pwrite64,
    SYS_pwritev pwritev,
    SYS_read read,
    SYS_readv readv,
    SYS_recvfrom recvfrom,
    SYS_recvmmsg recvmmsg,
    SYS_recvmsg recvmsg,
    SYS_renameat2 renameat2,
    SYS_rt_sigsuspend rt_sigsuspend,
    SYS_rt_sigtimedwait rt_sigtimedwait,
    SYS_semop semop,
    SYS_semtimedop semtimedop,
    SYS_sendfile sendfile,
    SYS_sendmmsg sendmmsg,
    SYS_sendmsg sendmsg,
    SYS_sendto sendto,
    SYS_splice splice,
    SYS_statx statx,
    SYS_sync sync,
    SYS_syncfs syncfs,
    SYS_tee tee,
    SYS_truncate truncate,
    SYS_umount2 umount2,
    SYS_unlinkat unlinkat,
    SYS_vmsplice vmsplice,
    SYS_wait4 wait4,
    SYS_waitid waitid,
    SYS_write write,
    SYS_writev writev,
];

/// Calls that newer architectures do without.
#[cfg(target_arch = "x86_64")]
const HERE: &[(i64, &str)] = names![
    SYS_epoll_wait epoll_wait,
    SYS_fork fork,
    SYS_mkdir mkdir,
    SYS_newfstatat newfstatat,
    SYS_open open,
    SYS_pause pause,
    SYS_poll poll,
    SYS_rename rename,
    SYS_rmdir rmdir,
    SYS_select select,
    SYS_stat stat,
    SYS_unlink unlink,
    SYS_vfork vfork,
];
#[cfg(not(target_arch = "x86_64"))]
const HERE: &[(i64, &str)] = names![];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_their_names() {
        assert_eq!(name(libc::SYS_read), Some("read"));
        assert_eq!(name(libc::SYS_futex), Some("futex"));
        assert_eq!(name(-1), Some("page fault"));
        assert_eq!(name(1 << 40), None);
        let mut numbers: Vec<i64> = EVERYWHERE.iter().chain(HERE).map(|(n, _)| *n).collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count, "one name each");
    }
}
