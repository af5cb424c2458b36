//! Numbers in values, as Redis reads and writes them.

use crate::command::Refusal;

/// A 64-bit integer in its only spelling: no sign but `-`, no leading zero, no blank.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

/// A float in any spelling that is one; not NaN.
pub(super) fn float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    if text.is_empty() || text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        return None;
    }
    text.parse().ok().filter(|number: &f64| !number.is_nan())
}

pub(super) fn finite(number: f64) -> Result<f64, Refusal> {
    if number.is_finite() { Ok(number) } else { Err(Refusal::NotFinite) }
}

/// Without exponent and without trailing zeroes; to 17 digits, as Redis's long doubles print sums of decimals.
pub(super) fn format_float(number: f64) -> Box<[u8]> {
    let shortest = format!("{number}");
    let rounded = format!("{number:.17}");
    let text = if shortest.len() <= rounded.len() { shortest } else { rounded };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    let text = if text == "-0" { "0" } else { text };
    text.as_bytes().into()
}
