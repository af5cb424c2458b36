//! Bytes as text, and back: ids and values may be anything.

/// Printable text as it is; a backslash doubled and every other byte as `\xNN`.
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => out.push_str("\\\\"),
                letter if letter.is_control() => {
                    let mut buffer = [0; 4];
                    letter.encode_utf8(&mut buffer).bytes().for_each(|byte| push_byte(&mut out, byte));
                }
                letter => out.push(letter),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_byte(&mut out, *byte));
    }
    out
}

fn push_byte(out: &mut String, byte: u8) {
    out.push_str(&format!("\\x{byte:02x}"));
}

/// What [`escape`] was given; a backslash that begins nothing known stands for itself.
pub fn unescape(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let after = &rest[at + 1..];
        let byte = after.strip_prefix('x').and_then(|hex| u8::from_str_radix(hex.get(..2)?, 16).ok());
        rest = match byte {
            Some(byte) => {
                out.push(byte);
                &after[3..]
            }
            None => {
                out.push(b'\\');
                after.strip_prefix('\\').unwrap_or(after)
            }
        };
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(escape("sess:ü{7}".as_bytes()), "sess:ü{7}");
        assert_eq!(escape(b"a\\b\n\xff"), "a\\\\b\\x0a\\xff");
        assert_eq!(unescape("C:\\new"), b"C:\\new");
    }

    proptest! {
        #[test]
        fn all_bytes_come_back(bytes: Vec<u8>) {
            prop_assert_eq!(unescape(&escape(&bytes)), bytes);
        }
    }
}
