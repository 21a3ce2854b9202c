//! `torture-deny CALL[,CALL...] PROGRAM [ARGUMENT...]`: runs a program to which the kernel refuses some
//! system calls, as a container's seccomp filter does.
//!
//! `membarrier`, `userfaultfd` and `pidfd_open` are refused as a whole, `guard_install` is `madvise` with
//! MADV_GUARD_INSTALL. The filter is written out by hand: a few instructions a call.

use std::ffi::c_long;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(calls), Some(program)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: torture-deny CALL[,CALL...] PROGRAM [ARGUMENT...]");
        return ExitCode::from(2);
    };
    let mut filter = Vec::new();
    for call in calls.to_string_lossy().split(',') {
        match call {
            "membarrier" => refuse(&mut filter, libc::SYS_membarrier, libc::ENOSYS),
            "userfaultfd" => refuse(&mut filter, libc::SYS_userfaultfd, libc::EPERM),
            "pidfd_open" => refuse(&mut filter, libc::SYS_pidfd_open, libc::ENOSYS),
            "guard_install" => refuse_advice(&mut filter, MADV_GUARD_INSTALL),
            other => {
                eprintln!("torture-deny: I cannot refuse {other}");
                return ExitCode::from(2);
            }
        }
    }
    filter.push(statement(BPF_RETURN, libc::SECCOMP_RET_ALLOW));
    if let Err(error) = install(&mut filter) {
        eprintln!("torture-deny: no filter: {error}");
        return ExitCode::from(2);
    }
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("torture-deny: {}: {error}", program.to_string_lossy());
    ExitCode::from(2)
}

/// Not in libc yet (Linux 6.13).
const MADV_GUARD_INSTALL: u32 = 102;

/// Load a word of `seccomp_data`; jump if it is equal; return.
const BPF_LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const BPF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const BPF_RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Where `seccomp_data` has the number of the call, and the low half of the third argument.
const CALL: u32 = 0;
const THIRD_ARGUMENT: u32 = 16 + 2 * 8;

fn statement(code: u32, k: u32) -> libc::sock_filter {
    unless(code, k, 0)
}

/// Goes on with the next instruction if the condition holds, else skips some.
fn unless(code: u32, k: u32, skipped: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: skipped,
        k,
    }
}

fn error(number: i32) -> libc::sock_filter {
    statement(BPF_RETURN, libc::SECCOMP_RET_ERRNO | number as u32)
}

fn refuse(filter: &mut Vec<libc::sock_filter>, call: c_long, number: i32) {
    filter.push(statement(BPF_LOAD, CALL));
    filter.push(unless(BPF_EQUAL, call as u32, 1));
    filter.push(error(number));
}

fn refuse_advice(filter: &mut Vec<libc::sock_filter>, advice: u32) {
    filter.push(statement(BPF_LOAD, CALL));
    filter.push(unless(BPF_EQUAL, libc::SYS_madvise as u32, 3));
    filter.push(statement(BPF_LOAD, THIRD_ARGUMENT));
    filter.push(unless(BPF_EQUAL, advice, 1));
    filter.push(error(libc::EINVAL));
}

/// For this process and all that it becomes.
fn install(filter: &mut [libc::sock_filter]) -> std::io::Result<()> {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    let (yes, none): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: the kernel reads the program, which lives during the call.
    let answer = unsafe {
        match libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, none, none, none) {
            0 => libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::c_ulong::from(libc::SECCOMP_MODE_FILTER),
                &raw const program,
            ),
            refused => refused,
        }
    };
    match answer {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
