//! Makes small what goes to other regions: ways between regions are slow and paid for by the byte.
//!
//! Large messages are compressed by themselves. The batches of a stream are one compressed whole that is cut where each of them
//! ends: the sessions of an application look alike, so what a batch before held need not be told again. Batches of a
//! stream arrive in order or end it.

use sojourn_proto::wire::{Reader, Wire, WireError, decode_all, put_varint};
use std::io;
use zstd::{
    stream::raw::{CParameter, Decoder, Encoder, Operation},
    zstd_safe::{InBuffer, OutBuffer},
};

/// How hard to try: the least, since nodes have more to do.
const LEVEL: i32 = 1;

/// How far back a stream looks for what it has told before: 2 to the power of this many bytes, on both sides.
const WINDOW_LOG: u32 = 16;

/// Bytes from which on a message is worth compressing by itself.
const PACKED_BYTES_MIN: usize = 512;

/// The longest message, unpacked: what is packed says its own length and need not be believed.
const UNPACKED_BYTES_MAX: usize = 128 << 20;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// What is not as it was packed.
const MALFORMED: WireError = WireError::Invalid("a packed message");

/// The bytes of a large message: `how u8 | bytes`, those that are packed `length varint | bytes`.
pub(super) fn pack<T: Wire>(value: &T) -> Vec<u8> {
    let mut plain = vec![PLAIN];
    value.put(&mut plain);
    if plain.len() < PACKED_BYTES_MIN {
        return plain;
    }
    let mut packed = vec![ZSTD];
    put_varint(plain.len() as u64 - 1, &mut packed);
    match zstd::bulk::compress(&plain[1..], LEVEL) {
        Ok(bytes) if packed.len() + bytes.len() < plain.len() => [packed, bytes].concat(),
        Ok(_) | Err(_) => plain,
    }
}

/// Reads back what [`pack`] wrote.
///
/// # Errors
/// Bytes that it did not write.
pub(super) fn unpack<T: Wire>(bytes: &[u8]) -> Result<T, WireError> {
    match bytes.split_first().ok_or(WireError::Cut)? {
        (&PLAIN, plain) => decode_all(plain),
        (&ZSTD, packed) => {
            let (length, packed) = split_length(packed)?;
            let plain = zstd::bulk::decompress(packed, length).map_err(|_| MALFORMED)?;
            decode_all(&plain)
        }
        (tag, _) => Err(WireError::UnknownTag { of: "a packed message", tag: u64::from(*tag) }),
    }
}

fn split_length(bytes: &[u8]) -> Result<(usize, &[u8]), WireError> {
    let mut reader = Reader::new(bytes);
    let length = usize::try_from(u64::take(&mut reader)?).unwrap_or(usize::MAX);
    if length > UNPACKED_BYTES_MAX {
        return Err(WireError::Invalid("a packed message of this length"));
    }
    Ok((length, reader.rest()))
}

/// Packs what a stream tells, one after the other.
pub(super) struct Packer(Encoder<'static>);

impl Packer {
    /// For a stream that begins.
    ///
    /// # Errors
    /// No memory.
    pub fn new() -> io::Result<Self> {
        let mut encoder = Encoder::new(LEVEL)?;
        encoder.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
        Ok(Self(encoder))
    }

    /// The bytes of the next value: `length varint | bytes`.
    ///
    /// # Errors
    /// No memory; the stream is over.
    pub fn pack<T: Wire>(&mut self, value: &T) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        value.put(&mut plain);
        let mut packed = Vec::with_capacity(plain.len() + 64);
        put_varint(plain.len() as u64, &mut packed);
        let mut input = InBuffer::around(&plain);
        loop {
            packed.reserve(plain.len() / 2 + 64);
            let written = packed.len();
            let mut output = OutBuffer::around_pos(&mut packed, written);
            if input.pos() < plain.len() {
                self.0.run(&mut input, &mut output)?;
            } else if self.0.flush(&mut output)? == 0 {
                return Ok(packed);
            }
        }
    }
}

/// Reads back what a [`Packer`] wrote, from its beginning and in order.
pub(super) struct Unpacker(Decoder<'static>);

impl Unpacker {
    /// For a stream that begins.
    ///
    /// # Errors
    /// No memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Decoder::new()?))
    }

    /// The next value.
    ///
    /// # Errors
    /// Bytes that are not the packer's next ones; the stream is over then.
    pub fn unpack<T: Wire>(&mut self, bytes: &[u8]) -> Result<T, WireError> {
        let (length, packed) = split_length(bytes)?;
        // As much as comes, whatever is said.
        let mut plain = Vec::with_capacity(length.min(packed.len().saturating_mul(8)));
        let mut input = InBuffer::around(packed);
        loop {
            let read = (input.pos(), plain.len());
            if plain.len() == plain.capacity() {
                plain.reserve((length - plain.len()).clamp(1, plain.len().max(64)));
            }
            let written = plain.len();
            let mut output = OutBuffer::around_pos(&mut plain, written);
            self.0.run(&mut input, &mut output).map_err(|_| MALFORMED)?;
            if plain.len() > length {
                return Err(MALFORMED);
            }
            let is_full = plain.len() == plain.capacity();
            if (input.pos(), plain.len()) == read || input.pos() == packed.len() && !is_full {
                break;
            }
        }
        if plain.len() == length { decode_all(&plain) } else { Err(MALFORMED) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(bytes: usize, seed: u8) -> Box<[u8]> {
        b"session ".iter().copied().cycle().take(bytes).chain([seed]).collect()
    }

    #[test]
    fn what_was_packed_comes_out_and_a_length_is_not_believed() {
        for bytes in [0_usize, 10, 100_000] {
            let value = value(bytes, 7);
            let packed = pack(&value);
            assert!(packed.len() <= bytes + 8);
            assert_eq!(unpack::<Box<[u8]>>(&packed), Ok(value));
        }
        assert!(pack(&value(100_000, 1)).len() < 1_000);
        assert!(unpack::<Box<[u8]>>(&[ZSTD, 255, 255, 255, 255, 255, 1, 2]).is_err());
    }

    #[test]
    fn a_stream_does_not_tell_twice_what_it_told() {
        let (mut packer, mut unpacker) = (Packer::new().expect("memory"), Unpacker::new().expect("memory"));
        let noise: Box<[u8]> = (0..1_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let first = packer.pack(&noise).expect("packed");
        let second = packer.pack(&noise).expect("packed");
        assert!(first.len() > 400 && second.len() < 50, "{} and {} bytes", first.len(), second.len());
        assert_eq!(unpacker.unpack::<Box<[u8]>>(&first).as_ref(), Ok(&noise));
        assert_eq!(unpacker.unpack::<Box<[u8]>>(&second), Ok(noise));
    }

    #[test]
    fn what_is_not_the_next_of_a_stream_is_refused() {
        let mut packer = Packer::new().expect("memory");
        let _missed = packer.pack(&value(5_000, 1)).expect("packed");
        let second = packer.pack(&value(5_000, 2)).expect("packed");
        let mut unpacker = Unpacker::new().expect("memory");
        assert!(unpacker.unpack::<Box<[u8]>>(&second).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_stream_gives_back_all_that_went_in(lengths in proptest::collection::vec(0_usize..200_000, 1..12)) {
            let (mut packer, mut unpacker) = (Packer::new().expect("memory"), Unpacker::new().expect("memory"));
            for (seed, length) in (0..).zip(lengths) {
                let value = value(length, seed);
                let packed = packer.pack(&value).expect("packed");
                prop_assert_eq!(unpacker.unpack::<Box<[u8]>>(&packed), Ok(value));
            }
        }

        #[test]
        fn noise_is_never_a_panic(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _outcome = unpack::<Box<[u8]>>(&noise);
            let _outcome = Unpacker::new().expect("memory").unpack::<Box<[u8]>>(&noise);
        }
    }
}
