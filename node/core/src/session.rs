//! A session's record: what a replica keeps of it, alive or destroyed.

use crate::ids::{RegionId, Stamp};
use std::collections::BTreeMap;

/// Orders the bodies of one incarnation: compared field by field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The highest region epoch that the session was ever written under.
    pub epoch: u32,
    /// Raised whenever the session changes home.
    pub home_epoch: u32,
    /// Counted per slot inside the state machine.
    pub sequence: u64,
}

/// Tells a session from an earlier one under the same id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Incarnation {
    /// `max(stamp of the creation, replaced incarnation + 1)`.
    pub stamp: Stamp,
    /// Where it was created.
    pub region: RegionId,
}

/// What shape of value a session shows to Redis clients. All are field maps underneath.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One field with the empty name.
    String,
    /// Named fields: the form that applications of the client crate use.
    #[default]
    Hash,
    /// Members are field names, values are empty.
    Set,
    /// Members are field names, values are scores: 8 bytes, `f64` big-endian bits.
    SortedSet,
}

/// Who a session belongs to, for the index.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The user (principal), empty if nobody.
    pub user: Box<[u8]>,
    /// The user's revocation epoch that the login read.
    pub revocation_epoch: u64,
    /// Labels that the application set.
    pub labels: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

/// Whether a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    /// It does, until a deadline.
    Live,
    /// Ended for good: a tombstone, kept until `collect_at`.
    Dead {
        /// The stamp of the destroy or expiry.
        at: Stamp,
        /// When the tombstone may go.
        collect_at: Stamp,
        /// Whether a deadline ended it rather than somebody.
        expired: bool,
    },
}

/// A session's fields, or the note that they are on disk only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// In memory.
    Hot(Fields),
    /// In the engine only: the shell warms it before a command or a query needs it.
    Cold {
        /// The size of the fields, as [`Fields::bytes`] counts.
        bytes: u64,
    },
}

/// One session as a replica keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which session under this id.
    pub incarnation: Incarnation,
    /// Which body of it.
    pub version: Version,
    /// The region that orders its writes.
    pub home: RegionId,
    /// Its shape.
    pub kind: Kind,
    /// Alive or a tombstone.
    pub life: Life,
    /// The stamp of the last logged change of any sort, touches included.
    pub written: Stamp,
    /// How long it may stay unused, in ms; 0 where the client set no expiry (a TTL of −1 to Redis clients).
    pub idle_timeout_ms: u64,
    /// When it ends unless touched; [`crate::ids::NEVER`] where only the absolute deadline counts.
    pub idle_deadline: Stamp,
    /// When it ends whatever happens.
    pub absolute_deadline: Stamp,
    /// Who it belongs to; boxed because most sessions of Redis clients have none.
    pub owner: Option<Box<Owner>>,
    /// Its fields; empty in a tombstone.
    pub body: Body,
}

impl Record {
    /// The earlier of both deadlines.
    pub fn deadline(&self) -> Stamp {
        self.idle_deadline.min(self.absolute_deadline)
    }

    /// Whether it is alive at `now`.
    pub fn is_live(&self, now: Stamp) -> bool {
        matches!(self.life, Life::Live) && now < self.deadline()
    }

    /// The size of its fields in bytes, hot or cold.
    pub fn body_bytes(&self) -> u64 {
        match &self.body {
            Body::Hot(fields) => fields.bytes(),
            Body::Cold { bytes } => *bytes,
        }
    }
}

/// A small sorted map of field names to values.
///
/// A plain value is the single field `""` and costs one allocation; more fields are one sorted vector. Sessions have at
/// most a megabyte of fields, so a vector is never long enough to be slow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Repr);

#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> + ExactSizeIterator {
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

fn find(pairs: &[(Box<[u8]>, Box<[u8]>)], name: &[u8]) -> Result<usize, usize> {
    pairs.binary_search_by(|(other, _)| (**other).cmp(name))
}

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
