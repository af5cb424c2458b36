//! Reads requests off a connection's bytes: arrays of bulk strings, and inline commands as people and `redis-cli --pipe`
//! type them.
//!
//! The parser is incremental: it keeps its place in a request that has not come whole, so that a large request which
//! trickles in is looked at once. It copies nothing but inline arguments with quotes. Texts of errors and limits follow
//! `networking.c` of Redis 7; after an error the connection is closed, because nobody knows where the next request begins.

use super::args::{Args, Span};

/// The longest argument in bytes: a session of 1 MiB and some slack for what is refused with a better message.
pub const BULK_BYTES_MAX: usize = (1 << 20) + (64 << 10);

/// The most arguments of one request, whatever the command: 65 536 keys and as many values, and the name.
pub const ARGS_MAX: usize = 2 * 65_536 + 1;

/// The longest request in bytes, and so the bound of a connection's read buffer.
pub const REQUEST_BYTES_MAX: usize = 64 << 20;

/// The longest inline request and the longest length line in bytes.
pub const INLINE_BYTES_MAX: usize = 64 << 10;

/// The most arguments and the longest argument of somebody who has not authenticated.
pub const STRANGER_ARGS_MAX: usize = 10;
/// See [`STRANGER_ARGS_MAX`].
pub const STRANGER_BULK_BYTES_MAX: usize = 16_384;

/// Why bytes are no request. The display form is what the client is told after `ERR `.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A line without end where a request begins.
    #[error("Protocol error: too big inline request")]
    InlineTooLong,
    /// A quote that is not closed, or closed within a word.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// A line without end where a number of arguments should be.
    #[error("Protocol error: too big mbulk count string")]
    CountTooLong,
    /// No number of arguments, or too many.
    #[error("Protocol error: invalid multibulk length")]
    BadCount,
    /// Too many arguments for somebody unknown.
    #[error("Protocol error: unauthenticated multibulk length")]
    StrangerCount,
    /// A line without end where a length should be.
    #[error("Protocol error: too big bulk count string")]
    LengthTooLong,
    /// Something else than a length.
    #[error("Protocol error: expected '$', got '{}'", char::from(*.0))]
    NotBulk(u8),
    /// No length, or too long an argument.
    #[error("Protocol error: invalid bulk length")]
    BadLength,
    /// Too long an argument for somebody unknown.
    #[error("Protocol error: unauthenticated bulk length")]
    StrangerLength,
    /// More than [`REQUEST_BYTES_MAX`].
    #[error("Protocol error: too big request")]
    RequestTooLong,
}

/// What one look at the buffer found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// More bytes are needed; nothing may be taken off the buffer.
    Partial,
    /// One request of this many bytes; see [`Parser::args`]. No arguments at all if it was an empty line.
    Request(usize),
}

/// The state of a connection's parser.
#[derive(Debug, Default)]
pub struct Parser {
    spans: Vec<Span>,
    /// Unquoted arguments of an inline request; empty otherwise.
    inline: Vec<u8>,
    /// Up to where the buffer was understood.
    at: usize,
    /// Arguments still to come.
    arguments_left: usize,
    /// The length of the argument that comes next, once known.
    bulk_bytes: Option<usize>,
    /// Whether the spans are those of a request that was given out.
    complete: bool,
    /// Whether `inline` holds the arguments.
    is_inline: bool,
}

impl Parser {
    /// Looks for a request at the beginning of `input`, which begins where it did at the last call unless that returned
    /// [`Parsed::Request`]. `known` tells whether the client has authenticated.
    ///
    /// # Errors
    /// The bytes are no request.
    pub fn parse(&mut self, input: &[u8], known: bool) -> Result<Parsed, ProtocolError> {
        if self.complete {
            self.start();
        }
        if self.arguments_left == 0 {
            match input.first() {
                None => return Ok(Parsed::Partial),
                Some(b'*') => {
                    if !self.parse_count(input, known)? {
                        return Ok(Parsed::Partial);
                    }
                }
                Some(_) => return self.parse_inline(input),
            }
        }
        while self.arguments_left > 0 {
            if !self.parse_bulk(input, known)? {
                if self.at > REQUEST_BYTES_MAX {
                    return Err(ProtocolError::RequestTooLong);
                }
                return Ok(Parsed::Partial);
            }
        }
        self.complete = true;
        Ok(Parsed::Request(self.at))
    }

    /// The arguments of the request that the last [`Parser::parse`] of `input` found.
    pub fn args<'a>(&'a self, input: &'a [u8]) -> Args<'a> {
        Args::new(if self.is_inline { &self.inline } else { input }, &self.spans)
    }

    /// How many bytes the buffer must hold before it is worth looking again.
    pub fn bytes_wanted(&self) -> usize {
        match self.bulk_bytes {
            Some(length) if !self.complete => self.at + length + 2,
            Some(_) | None => 0,
        }
    }

    /// Gives back memory that a large request took.
    pub fn shrink(&mut self) {
        const SPANS_KEPT: usize = 64;
        const INLINE_BYTES_KEPT: usize = 256;
        if self.complete {
            self.start();
        }
        if self.arguments_left == 0 {
            self.spans.shrink_to(SPANS_KEPT);
            self.inline.clear();
            self.inline.shrink_to(INLINE_BYTES_KEPT);
        }
    }

    fn start(&mut self) {
        self.spans.clear();
        self.at = 0;
        self.arguments_left = 0;
        self.bulk_bytes = None;
        self.complete = false;
        self.is_inline = false;
    }

    fn parse_count(&mut self, input: &[u8], known: bool) -> Result<bool, ProtocolError> {
        let Some((line, next)) = line(input, 1) else {
            let too_long = input.len() > INLINE_BYTES_MAX;
            return if too_long { Err(ProtocolError::CountTooLong) } else { Ok(false) };
        };
        let count = integer(line).filter(|&count| count <= ARGS_MAX as i64).ok_or(ProtocolError::BadCount)?;
        // A count of zero or less is an empty request, as in Redis.
        let count = usize::try_from(count).unwrap_or(0);
        if count > STRANGER_ARGS_MAX && !known {
            return Err(ProtocolError::StrangerCount);
        }
        self.at = next;
        self.arguments_left = count;
        Ok(true)
    }

    fn parse_bulk(&mut self, input: &[u8], known: bool) -> Result<bool, ProtocolError> {
        let length = match self.bulk_bytes {
            Some(length) => length,
            None => match self.parse_length(input, known)? {
                Some(length) => length,
                None => return Ok(false),
            },
        };
        let end = self.at + length;
        if input.len() < end + 2 {
            return Ok(false);
        }
        self.spans.push(Span::new(self.at, end));
        // As Redis does, whatever stands where CRLF should be is skipped.
        self.at = end + 2;
        self.bulk_bytes = None;
        self.arguments_left -= 1;
        Ok(true)
    }

    fn parse_length(&mut self, input: &[u8], known: bool) -> Result<Option<usize>, ProtocolError> {
        match input.get(self.at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(&other) => return Err(ProtocolError::NotBulk(other)),
        }
        let Some((line, next)) = line(input, self.at + 1) else {
            let too_long = input.len() - self.at > INLINE_BYTES_MAX;
            return if too_long { Err(ProtocolError::LengthTooLong) } else { Ok(None) };
        };
        let length = integer(line).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|&length| length <= BULK_BYTES_MAX).ok_or(ProtocolError::BadLength)?;
        if length > STRANGER_BULK_BYTES_MAX && !known {
            return Err(ProtocolError::StrangerLength);
        }
        self.at = next;
        self.bulk_bytes = Some(length);
        Ok(Some(length))
    }

    fn parse_inline(&mut self, input: &[u8]) -> Result<Parsed, ProtocolError> {
        let looked_at = self.at.min(input.len());
        let Some(end) = input[looked_at..].iter().position(|&byte| byte == b'\n').map(|found| looked_at + found) else {
            self.at = input.len();
            let too_long = input.len() > INLINE_BYTES_MAX;
            return if too_long { Err(ProtocolError::InlineTooLong) } else { Ok(Parsed::Partial) };
        };
        let line = &input[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.inline.clear();
        self.is_inline = true;
        split_words(line, &mut self.inline, &mut self.spans)?;
        self.complete = true;
        Ok(Parsed::Request(end + 1))
    }
}

/// The line that begins at `start` and where the next begins, if its CRLF is there.
fn line(input: &[u8], start: usize) -> Option<(&[u8], usize)> {
    let rest = input.get(start..)?;
    let length = rest.iter().take(INLINE_BYTES_MAX).position(|&byte| byte == b'\r')?;
    (rest.len() > length + 1).then(|| (&rest[..length], start + length + 2))
}

/// A decimal integer exactly as Redis's `string2ll` takes it: no plus sign, no leading zeroes, no spaces.
pub fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    let mut value: i64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        let digit = i64::from(digit - b'0');
        value = value.checked_mul(10)?;
        value = if negative { value.checked_sub(digit)? } else { value.checked_add(digit)? };
    }
    Some(value)
}

/// Splits a line into words as `sdssplitargs` does: blanks part them, `"..."` takes escapes, `'...'` only `\'`.
fn split_words(line: &[u8], words: &mut Vec<u8>, spans: &mut Vec<Span>) -> Result<(), ProtocolError> {
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|&byte| is_blank(byte)) {
            at += 1;
        }
        if at == line.len() {
            return Ok(());
        }
        let start = words.len();
        while let Some(&byte) = line.get(at).filter(|&&byte| !is_blank(byte)) {
            at = match byte {
                b'"' => double_quoted(line, at + 1, words)?,
                b'\'' => single_quoted(line, at + 1, words)?,
                plain => {
                    words.push(plain);
                    at + 1
                }
            };
        }
        if spans.len() == ARGS_MAX {
            return Err(ProtocolError::BadCount);
        }
        spans.push(Span::new(start, words.len()));
    }
}

fn is_blank(byte: u8) -> bool {
    // A zero byte ends the line for Redis; taking it for a blank keeps what follows from being glued to the word.
    matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c | 0)
}

fn double_quoted(line: &[u8], mut at: usize, words: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    loop {
        match &line[at..] {
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                words.push(hex(*high) << 4 | hex(*low));
                at += 4;
            }
            [b'\\', escaped, ..] => {
                words.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                at += 2;
            }
            [b'"', rest @ ..] => return closed(rest, at + 1),
            [byte, ..] => {
                words.push(*byte);
                at += 1;
            }
            [] => return Err(ProtocolError::UnbalancedQuotes),
        }
    }
}

fn single_quoted(line: &[u8], mut at: usize, words: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    loop {
        match &line[at..] {
            [b'\\', b'\'', ..] => {
                words.push(b'\'');
                at += 2;
            }
            [b'\'', rest @ ..] => return closed(rest, at + 1),
            [byte, ..] => {
                words.push(*byte);
                at += 1;
            }
            [] => return Err(ProtocolError::UnbalancedQuotes),
        }
    }
}

/// A closing quote must end the word.
fn closed(rest: &[u8], at: usize) -> Result<usize, ProtocolError> {
    match rest.first() {
        None => Ok(at),
        Some(&byte) if is_blank(byte) => Ok(at),
        Some(_) => Err(ProtocolError::UnbalancedQuotes),
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10) & 0xf,
    }
}

#[cfg(test)]
mod tests;
