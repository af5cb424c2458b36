//! LZF, the compression of long strings. Source: `lzf_d.c` of LibLZF 3.5.

use super::reader::Reader;

/// The `plain` bytes that `packed` stands for, if it stands for exactly that many.
pub fn unpack(packed: &[u8], plain: usize) -> Option<Box<[u8]>> {
    let mut bytes = Vec::with_capacity(plain);
    let mut packed = Reader::new(packed);
    while !packed.is_empty() && bytes.len() <= plain {
        let control = usize::from(packed.byte()?);
        if control < 32 {
            // A run of literals, one more than it says.
            bytes.extend_from_slice(packed.take(control + 1)?);
            continue;
        }
        let length = match control >> 5 {
            7 => 7 + usize::from(packed.byte()?),
            short => short,
        };
        let back = (control & 0x1f) << 8 | usize::from(packed.byte()?);
        let from = bytes.len().checked_sub(back + 1)?;
        // It may reach into what it writes itself.
        for at in from..from + length + 2 {
            bytes.push(*bytes.get(at)?);
        }
    }
    (bytes.len() == plain).then(|| bytes.into())
}
