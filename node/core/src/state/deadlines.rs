//! When records are due: a set of `(stamp, position)` that costs 16 bytes a session.
//!
//! An entry names a position in the order of keys rather than a key; ids that share a position and a stamp share the
//! entry, and are counted.

use crate::ids::Stamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Included, Unbounded},
};

/// A stamp and [`crate::Key`]'s position.
pub(super) type Entry = (Stamp, u64);

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Deadlines {
    entries: BTreeSet<Entry>,
    /// How many more records than one an entry stands for.
    shared: BTreeMap<Entry, u64>,
}

impl Deadlines {
    /// All of these.
    pub(super) fn of(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable();
        let mut shared = BTreeMap::new();
        for pair in entries.windows(2).filter(|pair| pair[0] == pair[1]) {
            *shared.entry(pair[0]).or_default() += 1;
        }
        entries.dedup();
        // From sorted entries the set is built with full nodes.
        Self { entries: entries.into_iter().collect(), shared }
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        if !self.entries.insert(entry) {
            *self.shared.entry(entry).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, entry: Entry) {
        match self.shared.get_mut(&entry) {
            Some(1) => {
                self.shared.remove(&entry);
            }
            Some(more) => *more -= 1,
            None => {
                self.entries.remove(&entry);
            }
        }
    }

    /// How many records there are.
    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64 + self.shared.values().sum::<u64>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entries up to and with stamp `until`, from `from` on, in order.
    pub(super) fn until(&self, until: Stamp, from: Option<Entry>) -> impl Iterator<Item = Entry> {
        let entries = self.entries.range((from.map_or(Unbounded, Included), Unbounded));
        entries.copied().take_while(move |(stamp, _)| *stamp <= until)
    }
}

#[cfg(test)]
mod tests {
    use super::Deadlines;

    #[test]
    fn records_that_share_an_entry_are_counted() {
        let mut deadlines = Deadlines::default();
        for _ in 0..3 {
            deadlines.insert((5, 1));
        }
        for (left, count) in [(1, 2), (1, 1), (0, 0)] {
            deadlines.remove((5, 1));
            assert_eq!(deadlines.len(), count);
            assert_eq!(deadlines.until(9, None).count(), left);
        }
        assert_eq!(deadlines, Deadlines::default());
        let mut deadlines = Deadlines::of(vec![(5, 1), (4, 2), (5, 1), (5, 1)]);
        for left in [3, 2, 1] {
            assert_eq!(deadlines.until(9, None).count(), usize::from(left > 0) + 1);
            deadlines.remove((5, 1));
        }
        assert_eq!(deadlines, Deadlines::of(vec![(4, 2)]));
    }

    #[test]
    fn lists_in_order_what_is_due() {
        let mut deadlines = Deadlines::default();
        for entry in [(7, 1), (5, 2), (5, 1), (9, 0)] {
            deadlines.insert(entry);
        }
        assert_eq!(deadlines.until(7, None).collect::<Vec<_>>(), [(5, 1), (5, 2), (7, 1)]);
        assert_eq!(deadlines.until(7, Some((5, 2))).collect::<Vec<_>>(), [(5, 2), (7, 1)]);
        assert_eq!(deadlines.until(4, None).count(), 0);
    }
}
