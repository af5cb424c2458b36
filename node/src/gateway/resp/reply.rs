//! Writes replies, in the protocol version that the client chose.
//!
//! What differs between RESP2 and RESP3 is decided here alone: a handler says "map of 3" and a RESP2 client gets an array
//! of 6. The forms are those of Redis 7 (`networking.c`), except that scores have the fewest digits that read back as
//! the same number, as Redis 7.2 and newer print them.

/// The protocol version of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// What every connection starts with.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

impl Protocol {
    /// 2 or 3.
    pub fn number(self) -> i64 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// Replies on their way to one client.
#[derive(Debug, Default)]
pub struct Reply {
    bytes: Vec<u8>,
    protocol: Protocol,
}

impl Reply {
    /// Nothing said yet.
    pub fn new(protocol: Protocol) -> Self {
        Self { bytes: Vec::new(), protocol }
    }

    /// The version that is written from now on.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// The version that is written.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What was written and not taken.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How much that is.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets what was written after the first `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    /// Empties the buffer and keeps at most `bytes_kept` of its memory.
    pub fn clear(&mut self, bytes_kept: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(bytes_kept);
    }

    /// Appends what another reply holds.
    pub fn append(&mut self, encoded: &[u8]) {
        self.bytes.extend_from_slice(encoded);
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.bytes.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string; `text` has no line breaks.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error: a code in capitals, a space, the message. Line breaks become spaces.
    pub fn error(&mut self, text: &str) {
        self.bytes.push(b'-');
        self.bytes.extend(text.bytes().map(|byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte }));
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A number.
    pub fn integer(&mut self, value: i64) {
        self.number_line(b':', value);
    }

    /// A number; beyond 63 bits it stops at the largest that there is.
    pub fn count(&mut self, value: u64) {
        self.integer(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// 1 or 0: Redis 7 sends no booleans, even to RESP3 clients, where the answer was a number before.
    pub fn flag(&mut self, value: bool) {
        self.integer(i64::from(value));
    }

    /// A string of any bytes.
    pub fn bulk(&mut self, value: &[u8]) {
        self.length_line(b'$', value.len());
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Text for people: a verbatim string in RESP3.
    pub fn verbatim(&mut self, text: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => {
                self.length_line(b'=', text.len() + 4);
                self.bytes.extend_from_slice(b"txt:");
                self.bytes.extend_from_slice(text.as_bytes());
                self.bytes.extend_from_slice(b"\r\n");
            }
        }
    }

    /// No value.
    pub fn null(&mut self) {
        self.bytes.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// No array, as an `EXEC` that was cancelled answers.
    pub fn null_array(&mut self) {
        self.bytes.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"*-1\r\n".as_slice(),
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// A value or none.
    pub fn bulk_or_null(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.bulk(value),
            None => self.null(),
        }
    }

    /// The head of an array of `length`.
    pub fn array(&mut self, length: usize) {
        self.length_line(b'*', length);
    }

    /// The head of a map of `length` pairs.
    pub fn map(&mut self, length: usize) {
        match self.protocol {
            Protocol::Resp2 => self.length_line(b'*', length * 2),
            Protocol::Resp3 => self.length_line(b'%', length),
        }
    }

    /// The head of a set of `length`.
    pub fn set(&mut self, length: usize) {
        match self.protocol {
            Protocol::Resp2 => self.length_line(b'*', length),
            Protocol::Resp3 => self.length_line(b'~', length),
        }
    }

    /// The head of a message of `length` parts that answers no request.
    pub fn push(&mut self, length: usize) {
        match self.protocol {
            Protocol::Resp2 => self.length_line(b'*', length),
            Protocol::Resp3 => self.length_line(b'>', length),
        }
    }

    /// A score.
    pub fn double(&mut self, value: f64) {
        let text = double_text(value);
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => self.line(b',', text.as_bytes()),
        }
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(text);
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn number_line(&mut self, kind: u8, value: i64) {
        let mut digits = itoa::Buffer::new();
        self.line(kind, digits.format(value).as_bytes());
    }

    fn length_line(&mut self, kind: u8, length: usize) {
        let mut digits = itoa::Buffer::new();
        self.line(kind, digits.format(length).as_bytes());
    }
}

/// A score as text: the fewest digits that read back as the same number, in C's `%g` layout with a precision of 17.
pub fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    const PRECISION: i32 = 17;
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..PRECISION).contains(&exponent) {
        return format!("{value}");
    }
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(protocol: Protocol, write: impl Fn(&mut Reply)) -> String {
        let mut reply = Reply::new(protocol);
        write(&mut reply);
        String::from_utf8(reply.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn both_versions_have_their_forms() {
        type Case<'a> = (&'a dyn Fn(&mut Reply), &'a str, &'a str);
        let cases: [Case<'_>; 10] = [
            (&|reply| reply.null(), "$-1\r\n", "_\r\n"),
            (&|reply| reply.null_array(), "*-1\r\n", "_\r\n"),
            (&|reply| reply.map(2), "*4\r\n", "%2\r\n"),
            (&|reply| reply.set(2), "*2\r\n", "~2\r\n"),
            (&|reply| reply.push(3), "*3\r\n", ">3\r\n"),
            (&|reply| reply.double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n"),
            (&|reply| reply.verbatim("a"), "$1\r\na\r\n", "=5\r\ntxt:a\r\n"),
            (&|reply| reply.bulk(b"\r\n"), "$2\r\n\r\n\r\n", "$2\r\n\r\n\r\n"),
            (&|reply| reply.error("ERR a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n"),
            (&|reply| reply.count(u64::MAX), ":9223372036854775807\r\n", ":9223372036854775807\r\n"),
        ];
        for (write, second, third) in cases {
            assert_eq!(written(Protocol::Resp2, write), second);
            assert_eq!(written(Protocol::Resp3, write), third);
        }
    }

    #[test]
    fn scores_are_short_and_read_back() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.1, "3.1"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(double_text(value), text);
        }
    }
}
