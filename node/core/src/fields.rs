//! The fields of a session: a small sorted map that costs little memory.

use std::collections::BTreeMap;

/// A small sorted map of field names to values.
///
/// A plain value is the single field `""` and costs one allocation; more fields are one sorted vector. Sessions have at
/// most a megabyte of fields, so a vector is never long enough to be slow.
#[derive(Clone, Debug, Default)]
pub struct Fields(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Value(Box<[u8]>),
    Many(Vec<(Box<[u8]>, Box<[u8]>)>),
}

impl Default for Repr {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

/// What a field costs beside its bytes, in the size that limits and metrics speak of.
const FIELD_OVERHEAD_BYTES: u64 = 2;

impl Fields {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// The single field `""`.
    pub fn value(value: Box<[u8]>) -> Self {
        Self(Repr::Value(value))
    }

    /// The fields of `pairs`; the last of equal names wins.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (Box<[u8]>, Box<[u8]>)>) -> Self {
        let sorted: BTreeMap<_, _> = pairs.into_iter().collect();
        let mut pairs: Vec<_> = sorted.into_iter().collect();
        match pairs.pop() {
            Some((name, value)) if pairs.is_empty() && name.is_empty() => Self::value(value),
            Some(last) => {
                pairs.push(last);
                Self(Repr::Many(pairs))
            }
            None => Self::new(),
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Value(_) => 1,
            Repr::Many(pairs) => pairs.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of `name`.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        match &self.0 {
            Repr::Value(value) => name.is_empty().then_some(value),
            Repr::Many(pairs) => find(pairs, name).ok().map(|at| &*pairs[at].1),
        }
    }

    /// Sets `name`, returning the value it had.
    pub fn insert(&mut self, name: Box<[u8]>, value: Box<[u8]>) -> Option<Box<[u8]>> {
        if name.is_empty() && self.is_empty() {
            self.0 = Repr::Value(value);
            return None;
        }
        if let (Repr::Value(old), true) = (&mut self.0, name.is_empty()) {
            return Some(std::mem::replace(old, value));
        }
        let pairs = self.spread();
        match find(pairs, &name) {
            Ok(at) => Some(std::mem::replace(&mut pairs[at].1, value)),
            Err(at) => {
                pairs.insert(at, (name, value));
                None
            }
        }
    }

    /// Removes `name`, returning the value it had.
    pub fn remove(&mut self, name: &[u8]) -> Option<Box<[u8]>> {
        let pairs = self.spread();
        let at = find(pairs, name).ok()?;
        Some(pairs.remove(at).1)
    }

    /// Names and values in the order of names.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> + ExactSizeIterator + Clone {
        let (single, many): (&[Box<[u8]>], &[(Box<[u8]>, Box<[u8]>)]) = match &self.0 {
            Repr::Value(value) => (std::slice::from_ref(value), &[]),
            Repr::Many(pairs) => (&[], pairs),
        };
        Pairs { single, many }
    }

    /// The bytes of all names and values, and two for each field.
    pub fn bytes(&self) -> u64 {
        self.iter().map(|(name, value)| (name.len() + value.len()) as u64 + FIELD_OVERHEAD_BYTES).sum()
    }

    /// About what the fields cost in memory, the allocator's rounding included.
    pub fn memory_bytes(&self) -> u64 {
        let rounded = |length: usize| (length + length / 8) as u64;
        match &self.0 {
            Repr::Value(value) => rounded(value.len()),
            Repr::Many(pairs) => {
                let pair = size_of::<(Box<[u8]>, Box<[u8]>)>() as u64;
                let allocated = pair * pairs.capacity() as u64;
                allocated + pairs.iter().map(|(name, value)| rounded(name.len()) + rounded(value.len())).sum::<u64>()
            }
        }
    }

    fn spread(&mut self) -> &mut Vec<(Box<[u8]>, Box<[u8]>)> {
        if let Repr::Value(value) = &mut self.0 {
            let value = std::mem::take(value);
            self.0 = Repr::Many(vec![(Box::default(), value)]);
        }
        match &mut self.0 {
            Repr::Many(pairs) => pairs,
            Repr::Value(_) => unreachable!("spread above"),
        }
    }
}

impl PartialEq for Fields {
    /// By content: how it is kept depends on how it came about.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

impl PartialOrd for Fields {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Fields {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.iter().cmp(other.iter())
    }
}

fn find(pairs: &[(Box<[u8]>, Box<[u8]>)], name: &[u8]) -> Result<usize, usize> {
    pairs.binary_search_by(|(other, _)| (**other).cmp(name))
}

#[derive(Clone)]
struct Pairs<'a> {
    single: &'a [Box<[u8]>],
    many: &'a [(Box<[u8]>, Box<[u8]>)],
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((value, rest)) = self.single.split_first() {
            self.single = rest;
            return Some((&[], value));
        }
        let ((name, value), rest) = self.many.split_first()?;
        self.many = rest;
        Some((name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.single.len() + self.many.len();
        (left, Some(left))
    }
}

impl DoubleEndedIterator for Pairs<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if let Some(((name, value), rest)) = self.many.split_last() {
            self.many = rest;
            return Some((name, value));
        }
        let (value, rest) = self.single.split_last()?;
        self.single = rest;
        Some((&[], value))
    }
}

impl ExactSizeIterator for Pairs<'_> {}
