//! Sizes such as `100KiB`, in bytes.

const UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads `100KiB`, `1MiB`, `4096`, `4096B`; `None` if it is no size.
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim_start();
    let named = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, bytes)| *bytes);
    let bytes = if unit.is_empty() { 1 } else { named? };
    number.checked_mul(bytes)
}

/// Exactly as many bytes: what [`parse_size`] reads back.
pub fn show_size(bytes: u64) -> String {
    let exact = UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    exact.map_or_else(|| "0".to_owned(), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// Nearly as many bytes, for people.
pub fn about_bytes(bytes: u64) -> String {
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) if *unit > 1 => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        Some(_) | None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_reads_back() {
        for (bytes, text) in [(0, "0"), (1, "1B"), (102_400, "100KiB"), (1 << 20, "1MiB"), (1_025, "1025B")] {
            assert_eq!(show_size(bytes), text);
            assert_eq!(parse_size(text), Some(bytes));
        }
        assert_eq!((parse_size("4096"), parse_size("50 kib")), (Some(4_096), Some(51_200)));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "KiB", "1KB", "1.5MiB", "-1", "99999999999999999999B", "18446744073709551615KiB"] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
    }

    #[test]
    fn people_read_one_decimal() {
        for (bytes, text) in [(0, "0 B"), (512, "512 B"), (1_536, "1.5 KiB"), (5 << 30, "5.0 GiB")] {
            assert_eq!(about_bytes(bytes), text);
        }
    }
}
