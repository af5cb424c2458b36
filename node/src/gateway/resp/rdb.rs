//! The serialised form of values that `DUMP` gives and `RESTORE` takes, so that tools which copy keys between Redis
//! servers copy them in and out of Sojourn.
//!
//! What is written is readable by Redis 5 and newer: the plain forms, version 9. What is read is everything that Redis up
//! to 7.4 writes for strings, hashes, sets and sorted sets. Source: `rdb.c` and `rdb.h` of Redis 7.
//! `reader` has the primitives, `packed` the compact forms of small collections, `lzf` the compression.

mod lzf;
mod packed;
mod reader;
#[cfg(test)]
mod tests;

use crate::gateway::resp::codec;
use packed::{intset, listpack, ziplist};
use reader::Reader;
use sojourn_core::{
    Fields, Kind,
    state::{decode_score, encode_score},
};

/// The version that is written: the oldest that has all the forms in use here.
const VERSION_WRITTEN: u16 = 9;

/// The newest version that is read, that of Redis 7.4.
const VERSION_READ_MAX: u16 = 12;

/// Version and checksum at the end.
const FOOTER_BYTES: usize = 2 + 8;

/// The forms by their number in `rdb.h`.
mod form {
    pub const STRING: u8 = 0;
    pub const SET: u8 = 2;
    pub const SORTED_SET_TEXT: u8 = 3;
    pub const HASH: u8 = 4;
    pub const SORTED_SET: u8 = 5;
    pub const SET_INTSET: u8 = 11;
    pub const SORTED_SET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    pub const HASH_LISTPACK: u8 = 16;
    pub const SORTED_SET_LISTPACK: u8 = 17;
    pub const SET_LISTPACK: u8 = 20;
}

/// Why bytes are no serialised value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RdbError {
    /// Cut, damaged, or from a newer Redis.
    #[error("DUMP payload version or checksum are wrong")]
    Footer,
    /// Well kept, but not a value of a kind that is kept here.
    #[error("Bad data format")]
    Form,
}

/// The serialised form of a session's fields.
pub fn dump(kind: Kind, fields: &Fields) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(usize::try_from(fields.bytes()).unwrap_or(0) + 64);
    match kind {
        Kind::String => {
            bytes.push(form::STRING);
            put_string(&mut bytes, fields.get(b"").unwrap_or_default());
        }
        Kind::Hash => {
            bytes.push(form::HASH);
            put_length(&mut bytes, fields.len());
            for (name, value) in fields.iter() {
                put_string(&mut bytes, name);
                put_string(&mut bytes, value);
            }
        }
        Kind::Set => {
            bytes.push(form::SET);
            put_length(&mut bytes, fields.len());
            fields.iter().for_each(|(member, _)| put_string(&mut bytes, member));
        }
        Kind::SortedSet => {
            bytes.push(form::SORTED_SET);
            put_length(&mut bytes, fields.len());
            for (member, score) in fields.iter() {
                put_string(&mut bytes, member);
                bytes.extend_from_slice(&decode_score(score).to_bits().to_le_bytes());
            }
        }
    }
    bytes.extend_from_slice(&VERSION_WRITTEN.to_le_bytes());
    let checksum = checksum(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

fn put_length(bytes: &mut Vec<u8>, length: usize) {
    match length {
        0..64 => bytes.push(length as u8),
        64..16_384 => bytes.extend_from_slice(&(0x4000 | length as u16).to_be_bytes()),
        _ => {
            bytes.push(0x81);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

fn put_string(bytes: &mut Vec<u8>, text: &[u8]) {
    // As in Redis, integers that are short as numbers are kept so.
    match codec::integer(text).and_then(|number| i32::try_from(number).ok()) {
        Some(number) if i8::try_from(number).is_ok() => bytes.extend_from_slice(&[0xc0, number as u8]),
        Some(number) if i16::try_from(number).is_ok() => {
            bytes.push(0xc1);
            bytes.extend_from_slice(&(number as i16).to_le_bytes());
        }
        Some(number) => {
            bytes.push(0xc2);
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        None => {
            put_length(bytes, text.len());
            bytes.extend_from_slice(text);
        }
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    const CRC: crc::Crc<u64, crc::Table<16>> = crc::Crc::<u64, crc::Table<16>>::new(&crc::CRC_64_REDIS);
    CRC.checksum(bytes)
}

/// The kind and the fields of a serialised value.
///
/// # Errors
/// Damaged, from a newer Redis, or of a kind that is not kept here.
pub fn restore(payload: &[u8]) -> Result<(Kind, Fields), RdbError> {
    let Some((body, footer)) = payload.split_last_chunk::<FOOTER_BYTES>() else { return Err(RdbError::Footer) };
    let version = u16::from_le_bytes([footer[0], footer[1]]);
    let stored = footer[2..].iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    // A checksum of 0 says that there is none, as Redis writes it where checksums are turned off.
    let right = stored == 0 || stored == checksum(&payload[..payload.len() - 8]);
    if version > VERSION_READ_MAX || !right {
        return Err(RdbError::Footer);
    }
    let mut reader = Reader::new(body);
    let value = value(&mut reader).ok_or(RdbError::Form)?;
    if reader.is_empty() { Ok(value) } else { Err(RdbError::Form) }
}

fn value(reader: &mut Reader<'_>) -> Option<(Kind, Fields)> {
    match reader.byte()? {
        form::STRING => Some((Kind::String, Fields::value(reader.string()?))),
        form::SET => members(reader.strings(1)?),
        form::SET_INTSET => members(intset(&reader.string()?)?),
        form::SET_LISTPACK => members(listpack(&reader.string()?)?),
        form::HASH => hash(reader.strings(2)?),
        form::HASH_ZIPLIST => hash(ziplist(&reader.string()?)?),
        form::HASH_LISTPACK => hash(listpack(&reader.string()?)?),
        form::SORTED_SET => sorted(reader.scored(Reader::score)?),
        form::SORTED_SET_TEXT => sorted(reader.scored(Reader::score_text)?),
        form::SORTED_SET_ZIPLIST => sorted(scored(ziplist(&reader.string()?)?)?),
        form::SORTED_SET_LISTPACK => sorted(scored(listpack(&reader.string()?)?)?),
        _ => None,
    }
}

/// A collection is never empty and names nothing twice.
fn collection(kind: Kind, pairs: Vec<(Box<[u8]>, Box<[u8]>)>) -> Option<(Kind, Fields)> {
    let count = pairs.len();
    let fields = Fields::from_pairs(pairs);
    (count > 0 && fields.len() == count).then_some((kind, fields))
}

fn members(members: Vec<Box<[u8]>>) -> Option<(Kind, Fields)> {
    collection(Kind::Set, members.into_iter().map(|member| (member, Box::default())).collect())
}

fn hash(words: Vec<Box<[u8]>>) -> Option<(Kind, Fields)> {
    collection(Kind::Hash, pairs(words)?)
}

fn sorted(members: Vec<(Box<[u8]>, f64)>) -> Option<(Kind, Fields)> {
    if members.iter().any(|(_, score)| score.is_nan()) {
        return None;
    }
    collection(Kind::SortedSet, members.into_iter().map(|(member, score)| (member, encode_score(score))).collect())
}

fn scored(words: Vec<Box<[u8]>>) -> Option<Vec<(Box<[u8]>, f64)>> {
    let score = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
    pairs(words)?.into_iter().map(|(member, text)| Some((member, score(&text)?))).collect()
}

fn pairs(words: Vec<Box<[u8]>>) -> Option<Vec<(Box<[u8]>, Box<[u8]>)>> {
    let mut words = words.into_iter();
    let mut pairs = Vec::with_capacity(words.len() / 2);
    while let Some(name) = words.next() {
        pairs.push((name, words.next()?));
    }
    Some(pairs)
}
