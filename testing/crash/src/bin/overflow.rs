//! Recursion without end, and other faults: who overflows whose stack is the argument.

use std::ffi::{c_int, c_void};
use std::hint::black_box;

/// Takes a few hundred bytes of stack, and calls itself for ever.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    if depth == u64::MAX {
        return 0;
    }
    recurse(depth + 1) + black_box(&frame)[7]
}

// Frames of 32 KiB of which only the lowest byte is touched, as C makes them without stack probes.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".globl crash_without_probes",
    ".type crash_without_probes, @function",
    "crash_without_probes:",
    ".cfi_startproc",
    "push rbp",
    ".cfi_def_cfa_offset 16",
    ".cfi_offset rbp, -16",
    "mov rbp, rsp",
    ".cfi_def_cfa_register rbp",
    "sub rsp, 32768",
    "mov byte ptr [rsp], 0",
    "call crash_without_probes",
    "leave",
    ".cfi_def_cfa rsp, 8",
    "ret",
    ".cfi_endproc",
    ".size crash_without_probes, . - crash_without_probes",
);
#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    fn crash_without_probes();
}
#[cfg(not(target_arch = "x86_64"))]
unsafe extern "C" fn crash_without_probes() {
    recurse(0);
}

struct Deep;
impl Drop for Deep {
    fn drop(&mut self) {
        recurse(0);
    }
}
thread_local! {
    static DEEP: Deep = const { Deep };
}

fn null_dereference() {
    // SAFETY: none: that is the point. The handler in question sees it.
    unsafe { black_box(std::ptr::null::<u64>().wrapping_byte_add(16)).read_volatile() };
}

/// A user's handler of SIGSEGV.
extern "C" fn users(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel's siginfo; `_exit` and `write` are async-signal-safe.
    unsafe {
        let text = format_args!("the user's handler\n")
            .as_str()
            .unwrap_or_default();
        libc::write(1, text.as_ptr().cast(), text.len());
        libc::_exit(if (*info).si_addr() as usize == 16 {
            42
        } else {
            43
        });
    }
}

fn install_users() {
    // SAFETY: all zero is a valid action, and the handler has the form that the flags say.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = users as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut());
    }
}

/// One of several whose stacks, side by side, were put away with the guards between them.
fn after_hibernation() {
    const COUNT: usize = 20;
    let (gate, parked) = gort::chan::bounded::<()>(0);
    let all: Vec<_> = (0..COUNT)
        .map(|number| {
            let parked = parked.clone();
            gort::go(move || {
                parked.recv().unwrap_err();
                if number == COUNT / 2 {
                    recurse(0);
                }
            })
        })
        .collect();
    while gort_core::hibernate::is_started() && gort::runtime::metrics().hibernating < COUNT {
        // waits: the keeper looks
        gort::time::sleep(std::time::Duration::from_millis(1));
    }
    drop(gate);
    all.into_iter().for_each(|one| drop(one.join()));
}

fn main() {
    let way = std::env::args().nth(1).unwrap_or_default();
    if way == "users_handler_before" {
        install_users();
    }
    gort::run(|| match way.as_str() {
        "main" => {
            recurse(0);
        }
        "goroutine" => drop(gort::go(|| recurse(0)).join()),
        "named" => {
            let builder = gort::Builder::new()
                .name("deep\nthinker")
                .stack_size(64 << 10);
            drop(builder.go(|| recurse(0)).unwrap().join());
        }
        "own_thread" => {
            let builder = gort::Builder::new().own_thread().stack_size(256 << 10);
            drop(builder.go(|| recurse(0)).unwrap().join());
        }
        "without_probes" => {
            let builder = gort::Builder::new().stack_size(1 << 20);
            // SAFETY: it does nothing but overflow its stack.
            drop(
                builder
                    .go(|| unsafe { crash_without_probes() })
                    .unwrap()
                    .join(),
            );
        }
        "destructor" => drop(gort::go(|| DEEP.with(|_| ())).join()),
        "two" => {
            for _ in 0..2 {
                gort::go(|| recurse(0));
            }
            gort::go(|| recurse(0)).join().unwrap();
        }
        "hibernated" => after_hibernation(),
        "plain_thread" => {
            let thread = std::thread::Builder::new().name("plain".into());
            drop(thread.spawn(|| recurse(0)).unwrap().join());
        }
        "null" => drop(gort::go(null_dereference).join()),
        "users_handler_before" => drop(gort::go(null_dereference).join()),
        "users_handler_after" => {
            install_users();
            drop(gort::go(null_dereference).join());
        }
        other => panic!("no such way: {other:?}"),
    });
}
