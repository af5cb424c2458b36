//! Numbers, bytes, text and collections.

use super::{Reader, Wire, WireError, put_varint};
use std::collections::{BTreeMap, BTreeSet};

macro_rules! wire_unsigned {
    ($($name:ty),*) => {$(
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                put_varint(u64::from(*self), out);
            }
            fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
                Self::try_from(input.varint()?).map_err(|_| WireError::Invalid(stringify!($name)))
            }
        }
    )*};
}

wire_unsigned!(u8, u16, u32, u64);

impl Wire for u128 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(input.bytes(16)?);
        Ok(Self::from_le_bytes(bytes))
    }
}

impl Wire for i64 {
    /// Zigzag.
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(((self << 1) ^ (self >> 63)).cast_unsigned(), out);
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let number = input.varint()?;
        Ok((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
    }
}

impl Wire for f64 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bits().to_le_bytes());
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(input.bytes(8)?);
        Ok(Self::from_bits(u64::from_le_bytes(bytes)))
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        match input.bytes(1)?[0] {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Invalid("a boolean")),
        }
    }
}

/// Length and bytes.
pub fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// See [`put_bytes`].
pub fn take_bytes<'a>(input: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
    let length = input.length()?;
    input.bytes(length)
}

impl Wire for Box<[u8]> {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(self, out);
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        take_bytes(input).map(Self::from)
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(self.as_bytes(), out);
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let bytes = take_bytes(input)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| WireError::Invalid("UTF-8 text"))
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        bool::take(input)?.then(|| T::take(input)).transpose()
    }
}

/// `Box<[u8]>` has a form of its own, so boxes of other values are listed.
macro_rules! wire_box {
    ($($name:ty),* $(,)?) => {$(
        impl Wire for Box<$name> {
            fn put(&self, out: &mut Vec<u8>) {
                (**self).put(out);
            }
            fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
                <$name>::take(input).map(Self::new)
            }
        }
    )*};
}

wire_box!(
    sojourn_core::Owner,
    sojourn_core::View,
    sojourn_core::control::ControlState,
    sojourn_core::control::WorldPolicy,
    sojourn_core::policy::Namespace,
    sojourn_core::state::SlotPage,
    sojourn_core::stream::Absorbed
);

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(self.len() as u64, out);
        for value in self {
            value.put(out);
        }
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        // Each value takes at least a byte, so the count is justified by what is left; memory grows as values come.
        let count = input.length()?;
        input.nested(|input| {
            let mut values = Self::with_capacity(count.min(64));
            for _ in 0..count {
                values.push(T::take(input)?);
            }
            Ok(values)
        })
    }
}

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(self.len() as u64, out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        (0..input.length()?).map(|_| Ok((K::take(input)?, V::take(input)?))).collect()
    }
}

impl<T: Wire + Ord> Wire for BTreeSet<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(self.len() as u64, out);
        self.iter().for_each(|item| item.put(out));
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Vec::take(input).map(|items: Vec<T>| items.into_iter().collect())
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok((A::take(input)?, B::take(input)?))
    }
}

impl<A: Wire, B: Wire, C: Wire> Wire for (A, B, C) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
        self.2.put(out);
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok((A::take(input)?, B::take(input)?, C::take(input)?))
    }
}
