//! Numbers as arguments.

use crate::gateway::resp::error::{Error, NOT_FLOAT};

/// A float as Redis reads it: decimal or exponent form, `inf` allowed, no blanks, not NaN.
///
/// # Errors
/// It is none.
pub fn float(text: &[u8]) -> Result<f64, Error> {
    parse(text).ok_or(NOT_FLOAT)
}

/// See [`float`].
pub fn parse(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().filter(|value: &f64| !value.is_nan())
}

/// The border of a score range, `(` in front to leave the score itself out.
///
/// # Errors
/// It is no float.
pub fn score_border(text: &[u8]) -> Result<(f64, bool), Error> {
    let (text, excluded) = match text {
        [b'(', rest @ ..] => (rest, true),
        whole => (whole, false),
    };
    parse(text).map(|score| (score, excluded)).ok_or(Error::new("ERR min or max is not a float"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_read() {
        for (text, value) in [
            ("1.5", Some(1.5)),
            ("-1e3", Some(-1000.0)),
            ("+inf", Some(f64::INFINITY)),
            ("nan", None),
            ("", None),
            (" 1", None),
            ("1x", None),
        ] {
            assert_eq!(parse(text.as_bytes()), value, "{text}");
        }
        assert_eq!(score_border(b"(1"), Ok((1.0, true)));
        assert_eq!(score_border(b"-inf"), Ok((f64::NEG_INFINITY, false)));
        assert!(score_border(b"[1").is_err());
    }
}
