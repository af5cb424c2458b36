//! As much of Redis's protocol as a client needs: commands out, RESP2 replies in.
//!
//! See the protocol's specification, "RESP versions".

use anyhow::{Context, bail};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`.
    Status(String),
    /// `-ERR ...`.
    Error(String),
    /// `:1`.
    Number(i64),
    /// A value, or none.
    Bytes(Option<Vec<u8>>),
    /// Several.
    Array(Vec<Reply>),
}

impl Reply {
    /// Its text, if it has one.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Status(text) => Some(text.clone()),
            Self::Number(number) => Some(number.to_string()),
            Self::Bytes(Some(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Self::Error(_) | Self::Bytes(None) | Self::Array(_) => None,
        }
    }
}

/// Appends one command.
pub fn encode(arguments: &[&[u8]], out: &mut Vec<u8>) {
    head(b'*', arguments.len(), out);
    for argument in arguments {
        head(b'$', argument.len(), out);
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

fn head(mark: u8, mut number: usize, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.push(mark);
    out.extend_from_slice(&digits[start..]);
    out.extend_from_slice(b"\r\n");
}

/// A line that begins at `at`, without its end, and where the next begins.
fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| *byte == b'\r')?;
    (rest.len() > end + 1).then(|| (&rest[..end], at + end + 2))
}

fn number(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The reply at the beginning of `bytes` and its length, once all of it is there.
///
/// # Errors
/// What is not RESP2.
pub fn decode(bytes: &[u8]) -> anyhow::Result<Option<(Reply, usize)>> {
    decode_at(bytes, 0)
}

fn decode_at(bytes: &[u8], at: usize) -> anyhow::Result<Option<(Reply, usize)>> {
    let Some((text, next)) = line(bytes, at) else { return Ok(None) };
    let (mark, text) = text.split_first().context("an empty line")?;
    let count = || number(text).with_context(|| format!("{:?} is no number", String::from_utf8_lossy(text)));
    let words = || String::from_utf8_lossy(text).into_owned();
    let reply = match mark {
        b'+' => Reply::Status(words()),
        b'-' => Reply::Error(words()),
        b':' => Reply::Number(count()?),
        b'$' | b'*' if count()? < 0 => Reply::Bytes(None),
        b'$' => {
            let length = usize::try_from(count()?)?;
            let Some(body) = bytes.get(next..next + length + 2) else { return Ok(None) };
            return Ok(Some((Reply::Bytes(Some(body[..length].to_vec())), next + length + 2)));
        }
        b'*' => {
            let (mut items, mut next) = (Vec::new(), next);
            for _ in 0..count()? {
                let Some((item, after)) = decode_at(bytes, next)? else { return Ok(None) };
                items.push(item);
                next = after;
            }
            return Ok(Some((Reply::Array(items), next)));
        }
        other => bail!("{:?} begins no reply", char::from(*other)),
    };
    Ok(Some((reply, next)))
}

/// A reply that load is checked by, without copying it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glance<'a> {
    /// `+OK`.
    Ok,
    /// A number.
    Number(i64),
    /// A value of so many bytes.
    Bytes(usize),
    /// So many replies, which follow.
    Array(i64),
    /// No value.
    Nothing,
    /// An error's text.
    Error(&'a [u8]),
}

/// What kind of reply is at the beginning of `bytes`, and its length, once all of it is there.
///
/// # Errors
/// What is no plain reply.
pub fn glance(bytes: &[u8]) -> anyhow::Result<Option<(Glance<'_>, usize)>> {
    let Some((text, next)) = line(bytes, 0) else { return Ok(None) };
    let (mark, text) = text.split_first().context("an empty line")?;
    let glance = match (mark, number(text)) {
        (b'+', _) => Glance::Ok,
        (b'-', _) => Glance::Error(text),
        (b':', Some(number)) => Glance::Number(number),
        (b'*', Some(count)) => Glance::Array(count),
        (b'$', Some(length)) => match usize::try_from(length) {
            Ok(length) if bytes.len() < next + length + 2 => return Ok(None),
            Ok(length) => return Ok(Some((Glance::Bytes(length), next + length + 2))),
            Err(_) => Glance::Nothing,
        },
        _ => bail!("{:?} is no reply to these commands", String::from_utf8_lossy(&bytes[..next])),
    };
    Ok(Some((glance, next)))
}

/// A connection that asks one thing after another.
pub struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    /// Connects; a reply may take as long as `timeout`.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(address: SocketAddr, timeout: Duration) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: Vec::new() })
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// The connection broke, or no reply came in time.
    pub fn call(&mut self, arguments: &[&[u8]]) -> anyhow::Result<Reply> {
        let mut out = Vec::new();
        encode(arguments, &mut out);
        self.stream.write_all(&out)?;
        let mut chunk = [0_u8; 16 * 1024];
        loop {
            if let Some((reply, length)) = decode(&self.input)? {
                self.input.drain(..length);
                return Ok(reply);
            }
            let count = self.stream.read(&mut chunk)?;
            if count == 0 {
                bail!("the server closed the connection");
            }
            self.input.extend_from_slice(&chunk[..count]);
        }
    }

    /// As [`Client::call`], from the words of a text; an error reply is an error.
    ///
    /// # Errors
    /// See [`Client::call`].
    pub fn say(&mut self, text: &str) -> anyhow::Result<Reply> {
        let words: Vec<&[u8]> = text.split_ascii_whitespace().map(str::as_bytes).collect();
        match self.call(&words)? {
            Reply::Error(error) => bail!("`{text}` is answered with: {error}"),
            reply => Ok(reply),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_written_as_redis_reads_it() {
        let mut out = Vec::new();
        encode(&[b"SET", b"k", b"0123456789"], &mut out);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10\r\n0123456789\r\n");
    }

    #[test]
    fn replies_are_read_whole_or_not_at_all() {
        let bytes = b"*3\r\n:7\r\n$2\r\nhi\r\n*1\r\n$-1\r\n";
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]).expect("sound"), None, "{length}");
        }
        let inner = Reply::Array(vec![Reply::Bytes(None)]);
        let reply = Reply::Array(vec![Reply::Number(7), Reply::Bytes(Some(b"hi".to_vec())), inner]);
        assert_eq!(decode(bytes).expect("sound"), Some((reply, bytes.len())));
    }

    #[test]
    fn a_glance_tells_the_kind_and_the_length() {
        let cases: [(&[u8], Option<(Glance<'_>, usize)>); 6] = [
            (b"+OK\r\n:2\r\n", Some((Glance::Ok, 5))),
            (b":2\r\n", Some((Glance::Number(2), 4))),
            (b"$3\r\nabc\r\n", Some((Glance::Bytes(3), 9))),
            (b"$3\r\nabc\r", None),
            (b"$-1\r\n", Some((Glance::Nothing, 5))),
            (b"-ERR no\r\n", Some((Glance::Error(b"ERR no"), 9))),
        ];
        for (bytes, expected) in cases {
            assert_eq!(glance(bytes).expect("sound"), expected);
        }
    }
}
