//! What the process occupies, as the kernel counts it.

/// Resident memory plus page tables, in bytes.
///
/// Page tables belong to the price of a goroutine: stacks that lie far apart need more of them.
///
/// # Panics
///
/// If `/proc` is not there.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    kilobytes(&status, "VmRSS:") * 1024 + kilobytes(&status, "VmPTE:") * 1024
}

fn kilobytes(status: &str, field: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("/proc/self/status has no {field}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touched_memory_is_counted() {
        let before = resident_bytes();
        let block = vec![1_u8; 32 << 20];
        let after = resident_bytes();
        std::hint::black_box(&block);
        assert!(after >= before + (30 << 20), "{before} -> {after}");
    }
}
