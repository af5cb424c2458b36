//! The fields of a session: a small sorted map in one piece of memory.

mod packed;

use packed::Packed;

/// A small sorted map of field names to values.
///
/// A plain value is the single field `""`; more fields are packed into one allocation, so that a session costs little and
/// the copies that writes make of it are plain copies of bytes. Sessions have at most a megabyte of fields or so: whatever
/// changes many fields does it in one go, with [`Fields::with`] and [`Fields::without`].
#[derive(Clone, Debug)]
pub struct Fields(Repr);

#[derive(Clone, Debug)]
enum Repr {
    /// Exactly the field `""`.
    Value(Box<[u8]>),
    /// Any others.
    Many(Packed),
}

/// What a field costs beside its bytes, in the size that limits and metrics speak of.
const FIELD_OVERHEAD_BYTES: u64 = 2;

impl Default for Fields {
    fn default() -> Self {
        Self(Repr::Many(Packed::default()))
    }
}

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
        let pairs: Vec<_> = pairs.into_iter().collect();
        Self::from_slices(pairs.iter().map(|(name, value)| (&**name, &**value)).collect())
    }

    /// The fields of `pairs`; the last of equal names wins. Fastest where they are in order.
    pub fn from_slices(mut pairs: Vec<(&[u8], &[u8])>) -> Self {
        if !pairs.is_sorted_by(|left, right| left.0 < right.0) {
            pairs.reverse();
            pairs.sort_by(|left, right| left.0.cmp(right.0));
            pairs.dedup_by(|later, earlier| later.0 == earlier.0);
        }
        Self::pack(&pairs)
    }

    /// These, in strictly ascending order of names.
    fn pack(pairs: &[(&[u8], &[u8])]) -> Self {
        match pairs {
            [(b"", value)] => Self::value((*value).into()),
            pairs => Self(Repr::Many(Packed::of(pairs))),
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Value(_) => 1,
            Repr::Many(packed) => packed.len(),
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
            Repr::Many(packed) => packed.find(name).ok().map(|at| packed.pair(at).1),
        }
    }

    /// The name and the value at a position in the order of names.
    pub fn at(&self, position: usize) -> Option<(&[u8], &[u8])> {
        if position >= self.len() {
            return None;
        }
        match &self.0 {
            Repr::Value(value) => Some((&[], value)),
            Repr::Many(packed) => Some(packed.pair(position)),
        }
    }

    /// Sets `name`, returning the value it had.
    pub fn insert(&mut self, name: Box<[u8]>, value: Box<[u8]>) -> Option<Box<[u8]>> {
        let old = self.get(&name).map(Into::into);
        if name.is_empty() && self.len() == usize::from(old.is_some()) {
            *self = Self::value(value);
            return old;
        }
        *self = self.with(&Self::pack(&[(&name, &value)]));
        old
    }

    /// Removes `name`, returning the value it had.
    pub fn remove(&mut self, name: &[u8]) -> Option<Box<[u8]>> {
        let old = self.get(name).map(Into::into)?;
        *self = self.without([name]);
        Some(old)
    }

    /// These fields with those of `others` set.
    pub fn with(&self, others: &Self) -> Self {
        let mut pairs = Vec::with_capacity(self.len() + others.len());
        let (mut old, mut new) = (self.iter().peekable(), others.iter().peekable());
        while let (Some(kept), Some(set)) = (old.peek().copied(), new.peek().copied()) {
            if kept.0 < set.0 {
                pairs.push(kept);
                old.next();
                continue;
            }
            if kept.0 == set.0 {
                old.next();
            }
            pairs.push(set);
            new.next();
        }
        pairs.extend(old);
        pairs.extend(new);
        Self::pack(&pairs)
    }

    /// These fields but for those of these names.
    pub fn without<'a>(&self, names: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut names: Vec<&[u8]> = names.into_iter().collect();
        names.sort_unstable();
        let kept: Vec<_> = self.iter().filter(|(name, _)| names.binary_search(name).is_err()).collect();
        Self::pack(&kept)
    }

    /// Names and values in the order of names.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> + ExactSizeIterator + Clone {
        Pairs { fields: self, left: 0..self.len() }
    }

    /// The bytes of all names and values, and two for each field.
    pub fn bytes(&self) -> u64 {
        let bytes = match &self.0 {
            Repr::Value(value) => value.len(),
            Repr::Many(packed) => packed.bytes(),
        };
        (bytes as u64).saturating_add(FIELD_OVERHEAD_BYTES * self.len() as u64)
    }

    /// About what the fields cost in memory, the allocator's rounding included.
    pub fn memory_bytes(&self) -> u64 {
        let length = match &self.0 {
            Repr::Value(value) => value.len(),
            Repr::Many(packed) => packed.memory_bytes(),
        };
        (length + length / 8) as u64
    }
}

impl PartialEq for Fields {
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

#[derive(Clone)]
struct Pairs<'a> {
    fields: &'a Fields,
    left: std::ops::Range<usize>,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left.next().and_then(|at| self.fields.at(at))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl DoubleEndedIterator for Pairs<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.left.next_back().and_then(|at| self.fields.at(at))
    }
}

impl ExactSizeIterator for Pairs<'_> {}

#[cfg(test)]
mod tests {
    use super::Fields;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Model = BTreeMap<Vec<u8>, Vec<u8>>;

    fn fields(model: &Model) -> Fields {
        Fields::from_pairs(model.iter().map(|(name, value)| (name.as_slice().into(), value.as_slice().into())))
    }

    fn model(fields: &Fields) -> Model {
        fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
    }

    fn any_model() -> impl Strategy<Value = Model> {
        proptest::collection::btree_map(
            "[a-e]{0,2}".prop_map(String::into_bytes),
            "[xy]{0,3}".prop_map(String::into_bytes),
            0..8,
        )
    }

    proptest! {
        #[test]
        fn fields_are_a_sorted_map(one in any_model(), two in any_model(), name in "[a-e]{0,2}") {
            let (ours, theirs, name) = (fields(&one), fields(&two), name.as_bytes());
            prop_assert_eq!(&model(&ours), &one);
            prop_assert_eq!(ours.len(), one.len());
            prop_assert_eq!(ours.get(name), one.get(name).map(Vec::as_slice));
            let bytes: usize = one.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
            prop_assert_eq!(ours.bytes(), bytes as u64);
            prop_assert!(ours.iter().rev().eq(one.iter().rev().map(|(name, value)| (&name[..], &value[..]))));
            let mut both = one.clone();
            both.extend(two.clone());
            prop_assert_eq!(&model(&ours.with(&theirs)), &both);
            let mut rest = one.clone();
            rest.retain(|name, _| !two.contains_key(name));
            prop_assert_eq!(&model(&ours.without(theirs.iter().map(|(name, _)| name))), &rest);
            let (mut changed, mut expected) = (ours.clone(), one.clone());
            prop_assert_eq!(changed.insert(name.into(), b"z"[..].into()).map(Vec::from), expected.insert(name.to_vec(), b"z".to_vec()));
            prop_assert_eq!(&model(&changed), &expected);
            let (mut changed, mut expected) = (ours, one);
            prop_assert_eq!(changed.remove(name).map(Vec::from), expected.remove(name));
            prop_assert_eq!(&model(&changed), &expected);
        }
    }

    #[test]
    fn the_last_of_equal_names_wins() {
        let pairs = [("b", "1"), ("a", "2"), ("b", "3"), ("a", "4")];
        let fields = Fields::from_pairs(pairs.map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into())));
        assert_eq!((fields.len(), fields.get(b"a"), fields.get(b"b")), (2, Some(&b"4"[..]), Some(&b"3"[..])));
    }

    #[test]
    fn many_and_large_fields_fit() {
        for (count, length) in [(1, 70_000), (70_000, 1), (300, 300)] {
            let names: Vec<String> = (0..count).map(|number| format!("{number:06}")).collect();
            let value = vec![b'x'; length];
            let fields = Fields::from_slices(names.iter().map(|name| (name.as_bytes(), &value[..])).collect());
            assert_eq!(fields.len(), count);
            assert!(names.iter().all(|name| fields.get(name.as_bytes()) == Some(&value)));
            assert_eq!(fields.get(b"none"), None);
        }
    }
}
