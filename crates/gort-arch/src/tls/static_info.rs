//! How much memory glibc sets aside in each thread for the thread-locals of the program and of the libraries
//! that came with it, its own control block and its reserve for late libraries included.
//!
//! Also for thread mode, where threads get more stack by as much. Checked by `tests/large_tls.rs` and, in
//! thread mode, by `testing/soundness`.

/// The bytes, and how they are aligned; `None` if libc does not say, as musl, which takes them from no stack.
pub(super) fn find() -> Option<(usize, usize)> {
    // SAFETY: `dlsym` with a terminated name.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_dl_get_tls_static_info".as_ptr()) };
    if address.is_null() {
        return None;
    }
    let (mut bytes, mut align) = (0usize, 0usize);
    // SAFETY: `void _dl_get_tls_static_info(size_t *, size_t *)`, since glibc 2.3.
    unsafe {
        let f: unsafe extern "C" fn(*mut usize, *mut usize) = core::mem::transmute(address);
        f(&mut bytes, &mut align);
    }
    Some((bytes, align))
}
