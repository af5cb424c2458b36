//! Sorted names and values in one allocation.
//!
//! `width u8 | count | end of each name and of each value | names and values`, numbers little-endian in `width` bytes. The
//! ends make a name's place known without reading those before it, so that it is found by halving.

/// No bytes at all are no pairs.
#[derive(Clone, Debug, Default)]
pub(super) struct Packed(Box<[u8]>);

/// Widths of numbers, the narrowest that fits is taken: most sessions have less than 64 KiB.
const WIDTHS: [usize; 3] = [2, 4, 8];

impl Packed {
    /// These pairs, which are in strictly ascending order of names.
    pub fn of(pairs: &[(&[u8], &[u8])]) -> Self {
        if pairs.is_empty() {
            return Self::default();
        }
        let bytes: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
        let greatest = bytes.max(pairs.len()) as u64;
        let width = WIDTHS.into_iter().find(|width| greatest < 1 << (8 * width - 1)).unwrap_or(8);
        let mut out = Vec::with_capacity(1 + width * (1 + 2 * pairs.len()) + bytes);
        out.push(width as u8);
        put(pairs.len(), width, &mut out);
        let mut end = 0;
        for piece in pairs.iter().flat_map(|(name, value)| [name, value]) {
            end += piece.len();
            put(end, width, &mut out);
        }
        pairs.iter().flat_map(|(name, value)| [name, value]).for_each(|piece| out.extend_from_slice(piece));
        Self(out.into())
    }

    /// How many.
    pub fn len(&self) -> usize {
        if self.0.is_empty() { 0 } else { self.number(0) }
    }

    /// The pair at `at`, which is below [`Packed::len`].
    pub fn pair(&self, at: usize) -> (&[u8], &[u8]) {
        let begin = if at == 0 { 0 } else { self.end(2 * at - 1) };
        let (middle, end) = (self.end(2 * at), self.end(2 * at + 1));
        let pieces = &self.0[self.head_bytes()..];
        (&pieces[begin..middle], &pieces[middle..end])
    }

    /// Where `name` is, or where it would be.
    pub fn find(&self, name: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.pair(middle).0.cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    /// The bytes of all names and values.
    pub fn bytes(&self) -> usize {
        if self.0.is_empty() { 0 } else { self.0.len() - self.head_bytes() }
    }

    /// The bytes of all of it.
    pub fn memory_bytes(&self) -> usize {
        self.0.len()
    }

    fn width(&self) -> usize {
        usize::from(self.0[0])
    }

    fn head_bytes(&self) -> usize {
        1 + self.width() * (1 + 2 * self.len())
    }

    /// Where the name or value number `piece` ends.
    fn end(&self, piece: usize) -> usize {
        self.number(1 + piece)
    }

    fn number(&self, at: usize) -> usize {
        let width = self.width();
        let from = 1 + width * at;
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(&self.0[from..from + width]);
        u64::from_le_bytes(bytes) as usize
    }
}

fn put(number: usize, width: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(number as u64).to_le_bytes()[..width]);
}
