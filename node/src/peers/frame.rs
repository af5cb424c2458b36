//! Messages inside a frame: `kind u8 | call u64 | service u8 | length u32 | body`, one after the other.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// One message of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Wants an answer.
    Request { call: u64, service: u8, body: Bytes },
    /// Wants none.
    Notice { service: u8, body: Bytes },
    /// Answers a request.
    Answer { call: u64, body: Bytes },
    /// The other side cannot answer a request, and why.
    Failure { call: u64, body: Bytes },
}

const REQUEST: u8 = 1;
const NOTICE: u8 = 2;
const ANSWER: u8 = 3;
const FAILURE: u8 = 4;
const HEADER_BYTES: usize = 1 + 8 + 1 + 4;

/// Appends a message with a body of several parts.
pub fn put(out: &mut BytesMut, kind: Kind, call: u64, service: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.reserve(HEADER_BYTES + length);
    out.put_u8(kind as u8);
    out.put_u64_le(call);
    out.put_u8(service);
    out.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
    for part in parts {
        out.put_slice(part);
    }
}

/// The kinds of [`put`].
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub enum Kind {
    Request = REQUEST,
    Notice = NOTICE,
    Answer = ANSWER,
    Failure = FAILURE,
}

/// Takes the next message; `None` at the end, an error where the bytes are no message.
pub fn take(input: &mut Bytes) -> Result<Option<Message>, Malformed> {
    if input.is_empty() {
        return Ok(None);
    }
    if input.len() < HEADER_BYTES {
        return Err(Malformed);
    }
    let kind = input.get_u8();
    let call = input.get_u64_le();
    let service = input.get_u8();
    let length = input.get_u32_le() as usize;
    if input.len() < length {
        return Err(Malformed);
    }
    let body = input.split_to(length);
    match kind {
        REQUEST => Ok(Some(Message::Request { call, service, body })),
        NOTICE => Ok(Some(Message::Notice { service, body })),
        ANSWER => Ok(Some(Message::Answer { call, body })),
        FAILURE => Ok(Some(Message::Failure { call, body })),
        _ => Err(Malformed),
    }
}

/// A frame that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_and_every_cut_is_noticed() {
        let mut out = BytesMut::new();
        put(&mut out, Kind::Request, 7, 2, &[b"ab", b"c"]);
        put(&mut out, Kind::Failure, 9, 0, &[]);
        let whole = out.freeze();
        let mut input = whole.clone();
        let request = Message::Request { call: 7, service: 2, body: Bytes::from_static(b"abc") };
        assert_eq!(take(&mut input), Ok(Some(request)));
        assert_eq!(take(&mut input), Ok(Some(Message::Failure { call: 9, body: Bytes::new() })));
        assert_eq!(take(&mut input), Ok(None));
        for cut in 1..HEADER_BYTES + 3 {
            assert_eq!(take(&mut whole.slice(..cut)), Err(Malformed), "cut at {cut}");
        }
    }
}
