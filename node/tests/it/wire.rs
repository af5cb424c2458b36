//! A client that sees raw bytes, so that tests notice what a library would smooth over.

use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How long an answer may take on a busy machine.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection.
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the endpoint takes connections");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, received: Vec::new() }
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the endpoint reads");
    }

    /// Sends one request.
    pub async fn send(&mut self, words: &[&[u8]]) {
        self.send_raw(&request(words)).await;
    }

    /// The bytes of the next reply, or `None` if the connection was closed.
    pub async fn try_reply(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(length) = length(&self.received) {
                let rest = self.received.split_off(length);
                return Some(std::mem::replace(&mut self.received, rest));
            }
            let read = tokio::time::timeout(ANSWER_TIMEOUT, self.stream.read_buf(&mut self.received));
            match read.await.expect("an answer in time") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The bytes of the next reply.
    pub async fn reply(&mut self) -> Vec<u8> {
        self.try_reply().await.expect("the connection stays open")
    }

    /// Whether nothing comes for `time`.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        self.received.is_empty() && tokio::time::timeout(time, self.stream.read_buf(&mut self.received)).await.is_err()
    }

    /// Sends one request and returns the bytes of its reply.
    pub async fn call(&mut self, words: &[&[u8]]) -> Vec<u8> {
        self.send(words).await;
        self.reply().await
    }

    /// Sends words with blanks between, see [`words`], and returns the reply as text.
    pub async fn ask(&mut self, line: &str) -> String {
        let words = words(line);
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        shown(&self.call(&words).await)
    }

    /// As [`Client::ask`], where one answer is right.
    pub async fn expect(&mut self, line: &str, reply: &str) {
        assert_eq!(self.ask(line).await, reply, "{line}");
    }
}

/// A request as clients send it.
pub fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Bytes as text on one line.
pub fn shown(bytes: &[u8]) -> String {
    bytes.trim_ascii_end().escape_ascii().to_string()
}

/// The words of a line: blanks separate, quotes keep together, `\xff`, `\r` and `\n` stand for bytes, and `@n` for a
/// word of `n` letters.
pub fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').expect("a closing quote"),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(match word.strip_prefix('@').and_then(|count| count.parse().ok()) {
            Some(count) => vec![b'x'; count],
            None => unescaped(word),
        });
        rest = after.trim_start();
    }
    words
}

fn unescaped(word: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut letters = word.bytes();
    while let Some(letter) = letters.next() {
        let byte = match (letter, letter == b'\\') {
            (_, true) => match letters.next().expect("something after a backslash") {
                b'r' => b'\r',
                b'n' => b'\n',
                b'x' => {
                    let digits = [letters.next().expect("a digit"), letters.next().expect("a digit")];
                    u8::from_str_radix(std::str::from_utf8(&digits).expect("digits"), 16).expect("digits")
                }
                other => other,
            },
            (plain, false) => plain,
        };
        bytes.push(byte);
    }
    bytes
}

/// The length of the reply that `bytes` begin with, if it is there whole.
fn length(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let number = || -> i64 { std::str::from_utf8(&bytes[1..line - 2]).expect("a number").parse().expect("a number") };
    let parts = match bytes[0] {
        b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => return Some(line),
        b'$' | b'=' | b'!' => {
            let end = usize::try_from(number()).map_or(line, |length| line + length + 2);
            return (bytes.len() >= end).then_some(end);
        }
        b'*' | b'~' | b'>' => number().max(0),
        b'%' => number() * 2,
        other => panic!("a reply begins with {:?}", char::from(other)),
    };
    let mut end = line;
    for _ in 0..parts {
        end += length(&bytes[end..])?;
    }
    Some(end)
}

/// The parts of an array, set or map; of a map two for each pair.
pub fn parts(reply: &[u8]) -> Vec<&[u8]> {
    let line = reply.windows(2).position(|pair| pair == b"\r\n").expect("a reply") + 2;
    assert!(b"*~%>".contains(&reply[0]), "no array: {}", shown(reply));
    let (mut at, mut parts) = (line, Vec::new());
    while at < reply.len() {
        let length = length(&reply[at..]).expect("a whole part");
        parts.push(&reply[at..at + length]);
        at += length;
    }
    parts
}

/// The bytes of a bulk string.
pub fn bulk(reply: &[u8]) -> &[u8] {
    assert_eq!(reply[0], b'$', "no bulk string: {}", shown(reply));
    let line = reply.windows(2).position(|pair| pair == b"\r\n").expect("a reply") + 2;
    reply.get(line..reply.len() - 2).unwrap_or_default()
}
