//! Sets of slots as ranges: few and long, since slots lie together where nobody has moved them.

use crate::ids::{ShardId, Slot, SlotTable};
use std::ops::Deref;

/// Ranges from first to last, in order, apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotSet(Vec<(Slot, Slot)>);

impl SlotSet {
    /// All slots of these ranges, whatever their order; one from high to low has none.
    pub fn of(ranges: impl IntoIterator<Item = (Slot, Slot)>) -> Self {
        let mut sorted: Vec<(Slot, Slot)> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
        sorted.sort_unstable();
        let mut set = Self::default();
        sorted.into_iter().for_each(|range| set.push(range));
        set
    }

    /// These slots.
    pub fn of_slots(slots: impl IntoIterator<Item = Slot>) -> Self {
        Self::of(slots.into_iter().map(|slot| (slot, slot)))
    }

    /// What a table gives to a shard.
    pub fn of_shard(table: &SlotTable, shard: ShardId) -> Self {
        let ranges = table.ranges().into_iter().filter(|(_, _, holder)| *holder == shard);
        Self::of(ranges.filter_map(|(first, last, _)| Slot::new(first).zip(Slot::new(last))))
    }

    /// Whether a slot is among them.
    pub fn contains(&self, slot: Slot) -> bool {
        contains(&self.0, slot)
    }

    /// Those that are in both.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        self.combined(other, |here, there| here && there)
    }

    /// Those that are in either.
    #[must_use]
    pub fn joined(&self, other: &Self) -> Self {
        self.combined(other, |here, there| here || there)
    }

    /// Those that are here and not there.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.combined(other, |here, there| here && !there)
    }

    /// Between two neighbouring edges of either set nothing changes.
    fn combined(&self, other: &[(Slot, Slot)], keeps: impl Fn(bool, bool) -> bool) -> Self {
        let ranges = self.0.iter().chain(other);
        let mut edges: Vec<u16> = ranges.flat_map(|(first, last)| [first.number(), last.number() + 1]).collect();
        edges.sort_unstable();
        edges.dedup();
        let mut set = Self::default();
        for between in edges.windows(2) {
            let [first, end] = between else { continue };
            let Some((first, last)) = Slot::new(*first).zip(Slot::new(*end - 1)) else { continue };
            if keeps(contains(&self.0, first), contains(other, first)) {
                set.push((first, last));
            }
        }
        set
    }

    /// Adds a range that begins nowhere before the last one.
    fn push(&mut self, (first, last): (Slot, Slot)) {
        match self.0.last_mut() {
            Some((_, end)) if first.number() <= end.number() + 1 => *end = last.max(*end),
            Some(_) | None => self.0.push((first, last)),
        }
    }
}

/// Whether a slot is in ranges that are in order and apart.
fn contains(ranges: &[(Slot, Slot)], slot: Slot) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= slot);
    after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|(_, last)| *last >= slot)
}

impl Deref for SlotSet {
    type Target = [(Slot, Slot)];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SLOTS;
    use std::collections::BTreeSet;

    fn slot(number: u16) -> Slot {
        Slot::new(number).expect("a slot")
    }

    fn set(ranges: &[(u16, u16)]) -> SlotSet {
        SlotSet::of(ranges.iter().map(|(first, last)| (slot(*first), slot(*last))))
    }

    fn numbers(set: &SlotSet) -> BTreeSet<u16> {
        set.iter().flat_map(|(first, last)| first.number()..=last.number()).collect()
    }

    #[test]
    fn ranges_are_in_order_and_apart() {
        let mixed = set(&[(5, 9), (100, 100), (0, 4), (8, 12), (7, 6), (16_383, 16_383)]);
        assert_eq!(&*mixed, &[(slot(0), slot(12)), (slot(100), slot(100)), (slot(16_383), slot(16_383))]);
        assert_eq!(SlotSet::of_slots([3, 1, 2, 9].map(slot)), set(&[(1, 3), (9, 9)]));
        assert_eq!(&*set(&[]), &[]);
        let shards = [0, 1, 2].map(|shard| SlotSet::of_shard(&SlotTable::even(3), ShardId(shard)));
        assert_eq!(shards[0].joined(&shards[1]).joined(&shards[2]), set(&[(0, SLOTS - 1)]));
        assert_eq!(shards[0].common(&shards[1]), set(&[]));
    }

    #[test]
    fn sets_combine_as_sets_do() {
        let (a, b) = (set(&[(0, 70), (128, 130), (500, 600)]), set(&[(60, 129), (550, 550), (16_000, 16_383)]));
        let [ours, theirs] = [numbers(&a), numbers(&b)];
        assert_eq!(numbers(&a.common(&b)), &ours & &theirs);
        assert_eq!(numbers(&a.joined(&b)), &ours | &theirs);
        assert_eq!(numbers(&a.without(&b)), &ours - &theirs);
        for number in 0..SLOTS {
            assert_eq!(a.contains(slot(number)), ours.contains(&number), "{number}");
        }
    }
}
