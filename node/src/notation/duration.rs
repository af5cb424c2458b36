//! Durations such as `30m`, `14d`, `1h30m`, in milliseconds.

const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads `1h30m`, `500ms`, `14d`; `None` if it is no duration. A number alone is refused, except 0: nobody knows its unit.
pub fn parse_duration(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let (mut total, mut rest) = (0_u64, text);
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        let (_, ms) = UNITS.iter().find(|(unit, _)| *unit == &rest[..letters])?;
        total = total.checked_add(number.checked_mul(*ms)?)?;
        rest = &rest[letters..];
    }
    (!text.is_empty()).then_some(total)
}

/// Exactly as long, in as few units as possible: what [`parse_duration`] reads back.
pub fn show_duration(ms: u64) -> String {
    parts(ms, UNITS.len())
}

/// Nearly as long, in at most two units: for people.
pub fn about(ms: u64) -> String {
    if ms >= 1_000 { parts(ms / 1_000 * 1_000, 2) } else { parts(ms, 1) }
}

fn parts(ms: u64, count_max: usize) -> String {
    let (mut left, mut text, mut count) = (ms, String::new(), 0);
    // Weeks are read but not shown: `14d` says more than `2w`.
    for (unit, unit_ms) in &UNITS[1..] {
        if left >= *unit_ms && count < count_max {
            text.push_str(&format!("{}{unit}", left / unit_ms));
            left %= unit_ms;
            count += 1;
        } else if count > 0 {
            // Two units next to each other, or one: `3d5s` would be a false precision.
            count += 1;
        }
    }
    if text.is_empty() { "0".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_reads_back() {
        for (ms, text) in [
            (0, "0"),
            (1, "1ms"),
            (1_800_000, "30m"),
            (5_400_000, "1h30m"),
            (1_209_600_000, "14d"),
            (90_061_001, "1d1h1m1s1ms"),
        ] {
            assert_eq!(show_duration(ms), text);
            assert_eq!(parse_duration(text), Some(ms));
        }
        assert_eq!(parse_duration("2w"), Some(1_209_600_000));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "30", "m", "30x", "-1s", "1.5h", "h30", "18446744073709551615d", "30 m"] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn people_read_two_units_at_most() {
        for (ms, text) in [(999, "999ms"), (1_754_321, "29m14s"), (259_205_000, "3d"), (90_000_000, "1d1h")] {
            assert_eq!(about(ms), text);
        }
    }
}
