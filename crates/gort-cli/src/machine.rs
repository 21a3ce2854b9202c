//! The machine, and what this process occupies of it, as `/proc` tells.

use std::fs;

/// Resident memory plus page tables, in bytes; page tables belong to the price of a stack.
pub(crate) fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let sum = ["VmRSS:", "VmPTE:"].map(|field| kilobytes(&status, field).unwrap_or(0));
    sum.iter().sum::<u64>() * 1024
}

/// Bytes of memory that can be had: what the machine has free, cut to the control group's rest.
pub(crate) fn available_memory() -> u64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = kilobytes(&info, "MemAvailable:").unwrap_or(1 << 20) * 1024;
    match gort_core::os::cgroup::memory_limit() {
        Some(limit) => free.min(limit.saturating_sub(resident_bytes())),
        None => free,
    }
}

/// Bytes that the kernel spends on stacks of its own, one for each thread of the whole machine.
pub(crate) fn kernel_stack_bytes() -> u64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    kilobytes(&info, "KernelStack:").unwrap_or(0) * 1024
}

/// A file of one number, as those below `/proc/sys`.
pub(crate) fn number_in(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The first line of a file.
pub(crate) fn line_in(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.lines().next()?.to_owned())
}

/// The processor's name.
pub(crate) fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or("unknown processor", |(_, name)| name.trim())
        .to_owned()
}

fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other tests free memory meanwhile, and some kernels are off by some pages for each processor.
    #[test]
    fn touched_memory_is_counted() {
        const BYTES: usize = 64 << 20;
        let grown = || {
            let before = resident_bytes();
            let block = std::hint::black_box(vec![1_u8; BYTES]);
            let after = resident_bytes();
            drop(block);
            after.saturating_sub(before)
        };
        let seen: Vec<u64> = (0..20).map(|_| grown()).collect();
        let is_counted = |&bytes: &u64| bytes >= BYTES as u64 / 2;
        assert!(seen.iter().any(is_counted), "{seen:?}");
    }

    #[test]
    fn there_is_memory_to_be_had() {
        assert!(available_memory() > 1 << 20);
    }
}
