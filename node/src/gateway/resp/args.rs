//! The arguments of one request, as slices of the bytes it came in.

/// Where one argument lies; 32 bits suffice because requests are bounded far below 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The bytes from `start` up to but not including `end`, or nothing where that is no place in a request.
    pub fn new(start: usize, end: usize) -> Self {
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: place(start), end: place(end).max(place(start)) }
    }

    /// The same argument in bytes that begin `offset` later.
    fn moved_back(self, offset: u32) -> Self {
        Self { start: self.start - offset, end: self.end - offset }
    }
}

/// A request: the command's name and its arguments, borrowed from the read buffer.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// The arguments at `spans` of `bytes`.
    pub fn new(bytes: &'a [u8], spans: &'a [Span]) -> Self {
        Self { bytes, spans }
    }

    /// How many, the name included.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none, not even a name.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `index`; 0 is the name. Empty where the request is shorter: arity was checked before.
    pub fn at(&self, index: usize) -> &'a [u8] {
        self.get(index).unwrap_or_default()
    }

    /// Argument `index`, if there are that many.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let span = self.spans.get(index)?;
        self.bytes.get(span.start as usize..span.end as usize)
    }

    /// The arguments from `index` on.
    pub fn from(&self, index: usize) -> Self {
        Self { bytes: self.bytes, spans: self.spans.get(index..).unwrap_or_default() }
    }

    /// All of them in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        self.spans.iter().map(move |span| bytes.get(span.start as usize..span.end as usize).unwrap_or_default())
    }

    /// Whether argument `index` is `word`, whatever the case of its letters.
    pub fn is(&self, index: usize, word: &str) -> bool {
        self.get(index).is_some_and(|argument| argument.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// The bytes of all arguments together.
    pub fn bytes(&self) -> usize {
        self.spans.iter().map(|span| (span.end - span.start) as usize).sum()
    }

    /// A copy that outlives the read buffer.
    pub fn to_owned(&self) -> OwnedArgs {
        let start = self.spans.iter().map(|span| span.start).min().unwrap_or(0);
        let end = self.spans.iter().map(|span| span.end).max().unwrap_or(0);
        let bytes = self.bytes.get(start as usize..end as usize).unwrap_or_default();
        OwnedArgs { bytes: bytes.into(), spans: self.spans.iter().map(|span| span.moved_back(start)).collect() }
    }
}

/// A request that waits in a `MULTI`.
#[derive(Debug)]
pub struct OwnedArgs {
    bytes: Box<[u8]>,
    spans: Box<[Span]>,
}

impl OwnedArgs {
    /// The request made of these words.
    pub fn from_words(words: &[&[u8]]) -> Self {
        let mut bytes = Vec::new();
        let mut spans = Vec::with_capacity(words.len());
        for word in words {
            spans.push(Span::new(bytes.len(), bytes.len() + word.len()));
            bytes.extend_from_slice(word);
        }
        Self { bytes: bytes.into(), spans: spans.into() }
    }

    /// The request.
    pub fn as_args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owned_copy_has_the_same_words_and_no_more_bytes() {
        let bytes = b"xxSETyykeyzzvalue";
        let spans = [Span::new(2, 5), Span::new(7, 10), Span::new(12, 17)];
        let args = Args::new(bytes, &spans);
        let owned = args.from(1).to_owned();
        let words: Vec<_> = owned.as_args().iter().collect();
        assert_eq!(words, [b"key".as_slice(), b"value"]);
        assert_eq!(owned.bytes.len(), 10);
        assert!(args.is(0, "set"));
        assert_eq!(args.at(9), b"");
    }
}
