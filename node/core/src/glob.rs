//! Redis's glob patterns: `*`, `?`, `[a-c]`, `[^x]`, and `\` to quote.
//!
//! Source: `stringmatchlen` of Redis 7 defines the corner cases; in particular an unclosed class takes the rest of the
//! pattern, and a range may be given either way round.

/// Whether `text` matches `pattern`. Takes at most `pattern.len() * text.len()` steps.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and the text position that it is tried at: one level of backtracking is enough.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, t));
            p += 1;
            continue;
        }
        if t == text.len() {
            return p == pattern.len();
        }
        if let Some(next) = (p < pattern.len()).then(|| step(&pattern[p..], text[t])).flatten() {
            p += next;
            t += 1;
            continue;
        }
        match &mut star {
            Some((at, tried)) => {
                *tried += 1;
                p = *at + 1;
                t = *tried;
            }
            None => return false,
        }
    }
}

/// How many pattern bytes match this one byte of text, if they do.
fn step(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern[0] {
        b'?' => Some(1),
        b'[' => {
            let (matched, length) = class(pattern, byte);
            matched.then_some(length)
        }
        b'\\' if pattern.len() > 1 => (pattern[1] == byte).then_some(2),
        literal => (literal == byte).then_some(1),
    }
}

fn class(pattern: &[u8], byte: u8) -> (bool, usize) {
    let mut at = 1;
    let negated = pattern.get(at) == Some(&b'^');
    if negated {
        at += 1;
    }
    let mut matched = false;
    loop {
        match pattern[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', quoted, ..] => {
                matched |= quoted == byte;
                at += 2;
            }
            [low, b'-', high, ..] => {
                matched |= (low.min(high)..=low.max(high)).contains(&byte);
                at += 3;
            }
            [one, ..] => {
                matched |= one == byte;
                at += 1;
            }
        }
    }
    (matched != negated, at)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn agrees_with_redis() {
        // Each line was asked of `redis-cli --raw KEYS` on Redis 7.
        for (pattern, text, expected) in [
            ("*", "", true),
            ("sess:*", "sess:abc", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[b-a]llo", "hallo", true),
            ("h[a-", "ha", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxbxxcd", false),
            ("[]a]", "]a]", false),
            ("\\", "\\", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} on {text}");
        }
    }
}
