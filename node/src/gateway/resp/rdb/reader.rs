//! The primitives of the serialised form: lengths, strings, scores. Nothing panics, and nothing is allocated that the
//! bytes at hand do not justify.

use super::lzf;
use crate::gateway::resp::codec::BULK_BYTES_MAX;

/// Reads from the front of some bytes.
pub struct Reader<'a>(&'a [u8]);

/// What stands where a length does.
enum Length {
    Plain(usize),
    /// One of the special forms of strings.
    Special(u8),
}

impl<'a> Reader<'a> {
    /// At the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.0.len()
    }

    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn length(&mut self) -> Option<Length> {
        let first = self.byte()?;
        let low = first & 0x3f;
        Some(match first >> 6 {
            0 => Length::Plain(usize::from(low)),
            1 => Length::Plain(usize::from(low) << 8 | usize::from(self.byte()?)),
            2 if first == 0x80 => Length::Plain(usize::try_from(u32::from_be_bytes(self.array()?)).ok()?),
            2 if first == 0x81 => Length::Plain(usize::try_from(u64::from_be_bytes(self.array()?)).ok()?),
            3 => Length::Special(low),
            _ => return None,
        })
    }

    /// A length that is no special form.
    fn plain_length(&mut self) -> Option<usize> {
        match self.length()? {
            Length::Plain(length) => Some(length),
            Length::Special(_) => None,
        }
    }

    /// A string in any of its forms.
    pub fn string(&mut self) -> Option<Box<[u8]>> {
        match self.length()? {
            Length::Plain(length) => self.take(length).map(Into::into),
            Length::Special(0) => Some(decimal(i8::from_le_bytes(self.array()?).into())),
            Length::Special(1) => Some(decimal(i16::from_le_bytes(self.array()?).into())),
            Length::Special(2) => Some(decimal(i32::from_le_bytes(self.array()?).into())),
            Length::Special(3) => {
                let (packed, plain) = (self.plain_length()?, self.plain_length()?);
                let packed = self.take(packed)?;
                if plain > BULK_BYTES_MAX { None } else { lzf::unpack(packed, plain) }
            }
            Length::Special(_) => None,
        }
    }

    /// A number of entries and `each` strings for every one.
    pub fn strings(&mut self, each: usize) -> Option<Vec<Box<[u8]>>> {
        let count = self.plain_length()?.checked_mul(each)?;
        // Every string takes a byte at least.
        let mut strings = Vec::with_capacity(count.min(self.left()));
        for _ in 0..count {
            strings.push(self.string()?);
        }
        Some(strings)
    }

    /// A number of members, each with a score that `score` reads.
    pub fn scored(&mut self, score: fn(&mut Self) -> Option<f64>) -> Option<Vec<(Box<[u8]>, f64)>> {
        let count = self.plain_length()?;
        let mut members = Vec::with_capacity(count.min(self.left()));
        for _ in 0..count {
            members.push((self.string()?, score(self)?));
        }
        Some(members)
    }

    /// A score in eight bytes.
    pub fn score(&mut self) -> Option<f64> {
        self.array().map(|bytes| f64::from_bits(u64::from_le_bytes(bytes)))
    }

    /// A score as text, with three lengths that stand for what is no number.
    pub fn score_text(&mut self) -> Option<f64> {
        match self.byte()? {
            255 => Some(f64::NEG_INFINITY),
            254 => Some(f64::INFINITY),
            253 => Some(f64::NAN),
            length => std::str::from_utf8(self.take(usize::from(length))?).ok()?.parse().ok(),
        }
    }
}

/// A number as Redis shows it.
pub fn decimal(number: i64) -> Box<[u8]> {
    itoa::Buffer::new().format(number).as_bytes().into()
}
