//! Numbers as people read them, and as the command line gives them.

use std::time::Duration;

use crate::Failure;

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A length of time with three digits and the unit that suits it.
pub(crate) fn time(ns: f64) -> String {
    match ns {
        _ if ns < 1e3 => format!("{} ns", three_digits(ns)),
        _ if ns < 1e6 => format!("{} µs", three_digits(ns / 1e3)),
        _ if ns < 1e9 => format!("{} ms", three_digits(ns / 1e6)),
        _ => format!("{} s", three_digits(ns / 1e9)),
    }
}

/// An amount of memory with three digits and the unit that suits it.
pub(crate) fn bytes(amount: f64) -> String {
    const KIB: f64 = 1024.0;
    match amount {
        // A thousand and some bytes say more than one KiB and a half.
        _ if amount < 10_000.0 => format!("{} B", grouped(amount.round() as u64)),
        _ if amount < KIB * KIB => format!("{} KiB", three_digits(amount / KIB)),
        _ if amount < KIB * KIB * KIB => format!("{} MiB", three_digits(amount / KIB / KIB)),
        _ => format!("{} GiB", three_digits(amount / KIB / KIB / KIB)),
    }
}

fn three_digits(value: f64) -> String {
    match value {
        _ if value < 9.995 => format!("{value:.2}"),
        _ if value < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// `elapsed` shared by `count` operations, in nanoseconds.
pub(crate) fn ns_each(elapsed: Duration, count: u64) -> f64 {
    elapsed.as_nanos() as f64 / count.max(1) as f64
}

/// The value of `option`, which must be a whole number from 1 to `max`; `10_000` and `10,000` do.
pub(crate) fn parse(option: &str, text: &str, max: u64) -> Result<u64, Failure> {
    let digits: String = text.chars().filter(|c| !matches!(c, '_' | ',')).collect();
    match digits.parse::<u64>() {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        _ => Err(Failure::Usage(format!(
            "{option} {text}: a whole number from 1 to {} is needed",
            grouped(max)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_groups_of_three() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn three_digits_and_a_unit() {
        assert_eq!(time(2.345), "2.35 ns");
        assert_eq!(time(99.96), "100 ns");
        assert_eq!(time(12_345.0), "12.3 µs");
        assert_eq!(time(2.5e9), "2.50 s");
        assert_eq!(bytes(4_385.2), "4,385 B");
        assert_eq!(bytes(64.0 * 1024.0), "64.0 KiB");
        assert_eq!(bytes(6.25 * 1024.0 * 1024.0 * 1024.0), "6.25 GiB");
    }

    #[test]
    fn numbers_outside_the_range_are_refused() {
        assert_eq!(parse("--conns", "10_000", 20_000).expect("valid"), 10_000);
        for text in ["0", "20,001", "-1", "many", ""] {
            assert!(
                matches!(parse("--conns", text, 20_000), Err(Failure::Usage(_))),
                "{text}"
            );
        }
    }
}
