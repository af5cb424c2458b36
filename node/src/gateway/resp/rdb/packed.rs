//! The compact forms of small collections: one string that holds all elements.
//!
//! Sources: `intset.c`, `listpack.c` and, as Redis 6 and older wrote them, `ziplist.c`. The counts in the headers are not
//! relied on.

use super::reader::{Reader, decimal};

/// What ends listpacks and ziplists.
const END: u8 = 0xff;

/// The members of a set of integers.
pub fn intset(bytes: &[u8]) -> Option<Vec<Box<[u8]>>> {
    let mut reader = Reader::new(bytes);
    let width = u32::from_le_bytes(reader.array()?);
    let count = u32::from_le_bytes(reader.array()?);
    let mut members = Vec::new();
    while !reader.is_empty() {
        members.push(decimal(match width {
            2 => i16::from_le_bytes(reader.array()?).into(),
            4 => i32::from_le_bytes(reader.array()?).into(),
            8 => i64::from_le_bytes(reader.array()?),
            _ => return None,
        }));
    }
    (members.len() == usize::try_from(count).ok()?).then_some(members)
}

/// The elements of a listpack.
pub fn listpack(bytes: &[u8]) -> Option<Vec<Box<[u8]>>> {
    const HEADER_BYTES: usize = 4 + 2;
    let mut reader = Reader::new(bytes);
    reader.take(HEADER_BYTES)?;
    let mut elements = Vec::new();
    loop {
        let before = reader.left();
        let Some(element) = listpack_element(&mut reader)? else {
            return reader.is_empty().then_some(elements);
        };
        // For walking backwards: the length of the element once more.
        reader.take(back_length_bytes(before - reader.left()))?;
        elements.push(element);
    }
}

/// The next element; `Some(None)` at the end.
fn listpack_element(reader: &mut Reader<'_>) -> Option<Option<Box<[u8]>>> {
    let first = reader.byte()?;
    let number = match first {
        END => return Some(None),
        0..0x80 => i64::from(first),
        0x80..0xc0 => return text(reader, usize::from(first & 0x3f)),
        0xc0..0xe0 => {
            let bits = i64::from(first & 0x1f) << 8 | i64::from(reader.byte()?);
            // Thirteen bits with a sign.
            if bits < 1 << 12 { bits } else { bits - (1 << 13) }
        }
        0xe0..0xf0 => {
            let length = usize::from(first & 0x0f) << 8 | usize::from(reader.byte()?);
            return text(reader, length);
        }
        0xf0 => {
            let length = u32::from_le_bytes(reader.array()?);
            return text(reader, usize::try_from(length).ok()?);
        }
        0xf1 => i16::from_le_bytes(reader.array()?).into(),
        0xf2 => int24(reader.array()?),
        0xf3 => i32::from_le_bytes(reader.array()?).into(),
        0xf4 => i64::from_le_bytes(reader.array()?),
        _ => return None,
    };
    Some(Some(decimal(number)))
}

fn back_length_bytes(length: usize) -> usize {
    match length {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

/// The elements of a ziplist.
pub fn ziplist(bytes: &[u8]) -> Option<Vec<Box<[u8]>>> {
    const HEADER_BYTES: usize = 4 + 4 + 2;
    let mut reader = Reader::new(bytes);
    reader.take(HEADER_BYTES)?;
    let mut elements = Vec::new();
    loop {
        match reader.byte()? {
            END => return reader.is_empty().then_some(elements),
            // The length of the element before, in four bytes where one is too few.
            0xfe => drop(reader.take(4)?),
            _ => {}
        }
        elements.push(ziplist_element(&mut reader)??);
    }
}

fn ziplist_element(reader: &mut Reader<'_>) -> Option<Option<Box<[u8]>>> {
    let first = reader.byte()?;
    let number = match first {
        0..0x40 => return text(reader, usize::from(first)),
        0x40..0x80 => {
            let length = usize::from(first & 0x3f) << 8 | usize::from(reader.byte()?);
            return text(reader, length);
        }
        0x80 => {
            let length = u32::from_be_bytes(reader.array()?);
            return text(reader, usize::try_from(length).ok()?);
        }
        0xc0 => i16::from_le_bytes(reader.array()?).into(),
        0xd0 => i32::from_le_bytes(reader.array()?).into(),
        0xe0 => i64::from_le_bytes(reader.array()?),
        0xf0 => int24(reader.array()?),
        0xfe => i8::from_le_bytes(reader.array()?).into(),
        // 0 to 12 within the byte itself.
        0xf1..=0xfd => i64::from(first & 0x0f) - 1,
        _ => return None,
    };
    Some(Some(decimal(number)))
}

fn text(reader: &mut Reader<'_>, length: usize) -> Option<Option<Box<[u8]>>> {
    reader.take(length).map(|text| Some(text.into()))
}

fn int24([low, middle, high]: [u8; 3]) -> i64 {
    // Shifted up and down again, so that the sign comes along.
    (i32::from_le_bytes([0, low, middle, high]) >> 8).into()
}
