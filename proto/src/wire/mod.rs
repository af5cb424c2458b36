//! The binary form of core types, for the log, snapshots and messages between nodes.
//!
//! Integers are LEB128 varints, bytes are length-prefixed, enums carry explicit tags. `wire_struct!` and `wire_enum!`
//! take types apart field by field, so that a new field or variant in the core breaks the build here, and a tag on disk never
//! moves by accident. Containers (log record, snapshot, frame) carry [`FORMAT_VERSION`]; values do not.

mod base;
mod command;
mod control;
mod query;
mod region;
mod routing;
mod session;
mod slots;
mod state;
mod stream;

#[cfg(test)]
mod tests;

/// The version of everything that this room writes.
pub const FORMAT_VERSION: u8 = 2;

/// Why bytes are not a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// They end too early.
    #[error("the bytes end in the middle of a value")]
    Cut,
    /// They go on after the value.
    #[error("{0} bytes are left after the value")]
    Trailing(usize),
    /// A tag that this version does not know.
    #[error("tag {tag} of {of} is unknown to this version")]
    UnknownTag {
        /// The type.
        of: &'static str,
        /// The tag.
        tag: u64,
    },
    /// Lists within lists within lists.
    #[error("lists are nested more than {NESTED_MAX} deep")]
    TooDeep,
    /// A number or text that the type does not allow.
    #[error("a value that {0} does not allow")]
    Invalid(&'static str),
}

/// How deep lists may be nested: decoding calls itself for each level.
pub const NESTED_MAX: u8 = 16;

/// A value with a binary form.
pub trait Wire: Sized {
    /// Appends the value.
    fn put(&self, out: &mut Vec<u8>);

    /// Takes a value off the front.
    ///
    /// # Errors
    /// The bytes are not one. Never allocates more than a small multiple of what is left.
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError>;
}

/// Bytes that values are taken off.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    depth: u8,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from the front.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, depth: 0 }
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes what is one level deeper.
    ///
    /// # Errors
    /// That of `take`, or more than [`NESTED_MAX`] levels.
    pub fn nested<T>(&mut self, take: impl FnOnce(&mut Self) -> Result<T, WireError>) -> Result<T, WireError> {
        if self.depth == NESTED_MAX {
            return Err(WireError::TooDeep);
        }
        self.depth += 1;
        let taken = take(self);
        self.depth -= 1;
        taken
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(WireError::Cut)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next varint.
    ///
    /// # Errors
    /// Cut, or longer than 64 bits.
    pub fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.bytes(1)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(WireError::Invalid("a 64-bit number"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Invalid("a 64-bit number"))
    }

    /// A length that the bytes left can justify.
    ///
    /// # Errors
    /// More than is left.
    pub fn length(&mut self) -> Result<usize, WireError> {
        let length = usize::try_from(self.varint()?).map_err(|_| WireError::Cut)?;
        if length > self.rest.len() { Err(WireError::Cut) } else { Ok(length) }
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// Something is.
    pub fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing(self.rest.len())) }
    }
}

/// Appends a varint.
pub fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The bytes of one value.
pub fn encode<T: Wire>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.put(&mut out);
    out
}

/// The value that `bytes` are, all of them.
///
/// # Errors
/// They are none.
pub fn decode_all<T: Wire>(bytes: &[u8]) -> Result<T, WireError> {
    let mut input = Reader::new(bytes);
    let value = T::take(&mut input)?;
    input.finish()?;
    Ok(value)
}

/// Implements [`Wire`] for a struct with public fields: `wire_struct!(Version { epoch, home_epoch, sequence });`
#[macro_export]
macro_rules! wire_struct {
    ($name:ty { $($field:ident),* $(,)? }) => {
        impl $crate::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($crate::wire::Wire::put($field, out);)*
            }
            fn take(input: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::WireError> {
                Ok(Self { $($field: $crate::wire::Wire::take(input)?),* })
            }
        }
    };
}

/// Implements [`Wire`] for an enum; each variant has its tag, and its fields in braces or its contents in brackets:
/// `wire_enum!(Answer { 0 => Record[view], 1 => Page { lines, next } });`
#[macro_export]
macro_rules! wire_enum {
    ($name:ty { $($tag:literal => $variant:ident $({ $($field:ident),* $(,)? })? $([ $($inner:ident),* ])?),* $(,)? }) => {
        impl $crate::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $({ $($field),* })? $(( $($inner),* ))? => {
                        $crate::wire::put_varint($tag, out);
                        $($($crate::wire::Wire::put($field, out);)*)?
                        $($($crate::wire::Wire::put($inner, out);)*)?
                    })*
                }
            }
            fn take(input: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::WireError> {
                match input.varint()? {
                    $($tag => {
                        $($(let $field = $crate::wire::Wire::take(input)?;)*)?
                        $($(let $inner = $crate::wire::Wire::take(input)?;)*)?
                        Ok(Self::$variant $({ $($field),* })? $(( $($inner),* ))?)
                    })*
                    tag => Err($crate::wire::WireError::UnknownTag { of: stringify!($name), tag }),
                }
            }
        }
    };
}
