//! Who acts for a home, by ranges of slots.

use crate::ids::{RegionId, SLOTS, Slot};
use std::collections::{BTreeMap, BTreeSet};

/// A region for every slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Successors {
    /// By the last slot of each range; the last range ends with the last slot.
    ranges: BTreeMap<Slot, RegionId>,
    /// The region of the last range.
    last: RegionId,
}

impl Successors {
    /// One region for all slots.
    pub fn one(region: RegionId) -> Self {
        Self { ranges: BTreeMap::new(), last: region }
    }

    /// Ranges by their last slots, if the last of them ends with the last slot. Neighbours of one region become one range.
    pub fn from_ranges(ranges: impl IntoIterator<Item = (Slot, RegionId)>) -> Option<Self> {
        let mut ranges: BTreeMap<Slot, RegionId> = ranges.into_iter().collect();
        let (end, last) = ranges.pop_last()?;
        if end.number() != SLOTS - 1 {
            return None;
        }
        let next: Vec<RegionId> = ranges.values().copied().skip(1).chain([last]).collect();
        let ranges = ranges.into_iter().zip(next).filter(|((_, region), next)| region != next);
        Some(Self { ranges: ranges.map(|(range, _)| range).collect(), last })
    }

    /// Equal contiguous ranges for several regions, if there is one.
    pub fn even(regions: &[RegionId]) -> Option<Self> {
        let count = u32::try_from(regions.len()).ok()?;
        let last = |i: u32| Slot::new(((i + 1) * u32::from(SLOTS) / count).checked_sub(1)? as u16);
        Self::from_ranges((0..count).zip(regions).filter_map(|(i, region)| Some((last(i)?, *region))))
    }

    /// The region of `slot`.
    pub fn of(&self, slot: Slot) -> RegionId {
        self.ranges.range(slot..).next().map_or(self.last, |(_, region)| *region)
    }

    /// All regions that have slots.
    pub fn regions(&self) -> BTreeSet<RegionId> {
        self.ranges.values().copied().chain([self.last]).collect()
    }

    /// The last slot of each range and its region, in order.
    pub fn ranges(&self) -> Vec<(Slot, RegionId)> {
        let end = Slot::new(SLOTS - 1).map(|end| (end, self.last));
        self.ranges.iter().map(|(slot, region)| (*slot, *region)).chain(end).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: u16) -> Slot {
        Slot::new(number).expect("a slot")
    }

    #[test]
    fn every_slot_has_one_region() {
        let [one, two] = [RegionId(1), RegionId(2)];
        let both = Successors::from_ranges([(slot(99), one), (slot(16_383), two)]).expect("all slots");
        assert_eq!([0, 99, 100, 16_383].map(|number| both.of(slot(number))), [one, one, two, two]);
        assert_eq!(both.regions(), BTreeSet::from([one, two]));
        assert_eq!(Successors::from_ranges(both.ranges()), Some(both));
        assert_eq!(Successors::from_ranges([(slot(99), one)]), None, "nobody for the rest");
        assert_eq!(Successors::from_ranges([(slot(99), one), (slot(16_383), one)]), Some(Successors::one(one)));
    }

    #[test]
    fn even_ranges_differ_by_a_slot_at_most() {
        for count in 1..=7_u16 {
            let regions: Vec<RegionId> = (1..=count).map(RegionId).collect();
            let even = Successors::even(&regions).expect("some regions");
            let counts = regions.iter().map(|region| (0..SLOTS).filter(|at| even.of(slot(*at)) == *region).count());
            let counts: Vec<usize> = counts.collect();
            assert!(counts.iter().max().zip(counts.iter().min()).is_some_and(|(most, least)| most - least <= 1));
        }
        assert_eq!(Successors::even(&[]), None);
    }
}
