//! The last changes of a node's shards, so that watchers can be slow for a while and come back after a cut. Pure.

use sojourn_core::{NamespaceId, ShardId};
use sojourn_proto::sessions::answers::Change;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// Where in the order of a shard's changes: the log index of an entry, and a place among the changes of that entry. The same
/// on every node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The log index.
    pub index: u64,
    /// The place.
    pub ordinal: u32,
}

impl Position {
    /// The end of an entry.
    pub const fn after(index: u64) -> Self {
        Self { index, ordinal: u32::MAX }
    }

    /// The latest position before this one.
    const fn previous(self) -> Self {
        match self.ordinal.checked_sub(1) {
            Some(ordinal) => Self { ordinal, ..self },
            None => Self::after(self.index.saturating_sub(1)),
        }
    }
}

/// How far somebody has been told, by shard.
pub type Places = BTreeMap<ShardId, Position>;

/// A change, and where it happened.
#[derive(Clone)]
pub struct Told {
    /// Which shard.
    pub shard: ShardId,
    /// Where in its changes.
    pub position: Position,
    /// Whose session.
    pub namespace: NamespaceId,
    /// What happened.
    pub change: Change,
}

/// Bounds of what is kept.
#[derive(Clone, Copy, Debug)]
pub struct RingLimits {
    /// Changes.
    pub changes_max: usize,
    /// Their size in bytes, roughly.
    pub bytes_max: usize,
}

/// The last changes, numbered in the order of arrival.
pub struct Ring {
    limits: RingLimits,
    /// The number of the oldest one that is kept.
    first: u64,
    told: VecDeque<Arc<Told>>,
    bytes: usize,
    /// All changes after these positions are kept.
    floors: Places,
    /// The latest positions.
    latest: Places,
    /// Shards whose changes were skipped: where they go on is not known yet.
    blind: BTreeSet<ShardId>,
}

impl Ring {
    /// A ring that is told of everything after `places`.
    pub fn new(limits: RingLimits, places: Places) -> Self {
        let (floors, latest) = (places.clone(), places);
        Self { limits, first: 0, told: VecDeque::new(), bytes: 0, floors, latest, blind: BTreeSet::new() }
    }

    /// Takes the next change; ignores one from before the ring's beginning.
    pub fn push(&mut self, told: Told) {
        let (shard, position) = (told.shard, told.position);
        if self.blind.remove(&shard) {
            self.floors.insert(shard, position.previous());
        } else if self.latest.get(&shard).is_some_and(|latest| position <= *latest) {
            return;
        }
        self.latest.insert(shard, position);
        self.bytes += size_of_change(&told.change);
        self.told.push_back(Arc::new(told));
        while self.told.len() > self.limits.changes_max || self.bytes > self.limits.bytes_max {
            let Some(oldest) = self.told.pop_front() else { return };
            self.first += 1;
            self.bytes -= size_of_change(&oldest.change);
            self.floors.insert(oldest.shard, oldest.position);
        }
    }

    /// Notes that changes of a shard were skipped, or of all shards: everybody has lagged.
    pub fn skip(&mut self, shard: Option<ShardId>) {
        self.first = self.end() + 1;
        self.told.clear();
        self.bytes = 0;
        self.floors.clone_from(&self.latest);
        match shard {
            Some(shard) => drop(self.blind.insert(shard)),
            None => self.blind.extend(self.latest.keys()),
        }
    }

    /// The number of the next change.
    pub fn end(&self) -> u64 {
        self.first + self.told.len() as u64
    }

    /// How far the ring has been told.
    pub fn latest(&self) -> &Places {
        &self.latest
    }

    /// The number to go on from for somebody who was told up to `places`, perhaps by another node; `None` if changes after
    /// them are not kept. What comes before `places` is to be passed over.
    pub fn resume(&self, places: &Places) -> Option<u64> {
        let is_kept = |(shard, floor): (&ShardId, &Position)| {
            !self.blind.contains(shard) && places.get(shard).is_some_and(|place| place >= floor)
        };
        self.floors.iter().all(is_kept).then_some(self.first)
    }

    /// The changes from number `from` on, at most `count_max`; `None` if some are not kept any more.
    pub fn since(&self, from: u64, count_max: usize) -> Option<Vec<Arc<Told>>> {
        let skip = usize::try_from(from.checked_sub(self.first)?).ok()?;
        Some(self.told.iter().skip(skip).take(count_max).cloned().collect())
    }
}

/// What a change weighs beside its texts.
const CHANGE_OVERHEAD_BYTES: usize = 160;

fn size_of_change(change: &Change) -> usize {
    let owner = change.owner.as_ref().map_or(0, |owner| {
        owner.user.len() + owner.labels.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    });
    change.id.len() + owner + CHANGE_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sojourn_core::Version;
    use sojourn_proto::sessions::answers::ChangeKind;

    fn told(shard: u32, index: u64, ordinal: u32) -> Told {
        let change = Change {
            id: format!("{shard}-{index}-{ordinal}").into_bytes().into(),
            kind: ChangeKind::Written,
            version: Version::default(),
            deadline: 0,
            owner: None,
        };
        let position = Position { index, ordinal };
        Told { shard: ShardId(shard), position, namespace: NamespaceId(0), change }
    }

    fn places(pairs: &[(u32, u64)]) -> Places {
        pairs.iter().map(|(shard, index)| (ShardId(*shard), Position::after(*index))).collect()
    }

    fn ring(changes_max: usize) -> Ring {
        Ring::new(RingLimits { changes_max, bytes_max: 1 << 20 }, places(&[(0, 10), (1, 20)]))
    }

    fn numbers(ring: &Ring, from: u64) -> Option<Vec<u64>> {
        Some(ring.since(from, 100)?.iter().map(|told| told.position.index).collect())
    }

    #[test]
    fn what_was_before_the_beginning_is_ignored() {
        let mut ring = ring(10);
        ring.push(told(0, 10, 0));
        ring.push(told(0, 11, 0));
        ring.push(told(0, 11, 1));
        assert_eq!(numbers(&ring, 0), Some(vec![11, 11]));
    }

    #[test]
    fn one_who_is_too_slow_is_told_so() {
        let mut ring = ring(2);
        (11..15).for_each(|index| ring.push(told(0, index, 0)));
        assert_eq!(numbers(&ring, 1), None);
        assert_eq!(numbers(&ring, 2), Some(vec![13, 14]));
        assert_eq!(numbers(&ring, ring.end()), Some(vec![]));
    }

    #[test]
    fn large_changes_are_kept_fewer() {
        let mut ring = Ring::new(RingLimits { changes_max: 100, bytes_max: 600 }, places(&[(0, 0)]));
        (1..20).for_each(|index| ring.push(told(0, index, 0)));
        assert_eq!(numbers(&ring, ring.end() - 3), Some(vec![17, 18, 19]));
        assert_eq!(numbers(&ring, ring.end() - 4), None);
    }

    #[test]
    fn resuming_needs_every_shard_and_all_that_followed() {
        let mut ring = ring(2);
        assert_eq!(ring.resume(&places(&[(0, 10), (1, 20)])), Some(0));
        assert_eq!(ring.resume(&places(&[(0, 9), (1, 20)])), None);
        assert_eq!(ring.resume(&places(&[(0, 10)])), None);
        (11..15).for_each(|index| ring.push(told(0, index, 0)));
        assert_eq!(ring.resume(&places(&[(0, 11), (1, 20)])), None);
        assert_eq!(ring.resume(&places(&[(0, 12), (1, 20)])), Some(2));
        assert_eq!(ring.resume(&places(&[(0, 99), (1, 99)])), Some(2), "one who is ahead of this node waits");
    }

    #[test]
    fn a_skip_is_a_lag_for_all_until_the_shard_is_heard_of() {
        let mut ring = ring(10);
        ring.push(told(0, 11, 0));
        let end = ring.end();
        ring.skip(Some(ShardId(1)));
        assert_eq!(numbers(&ring, end), None);
        assert_eq!(ring.resume(&places(&[(0, 11), (1, 99)])), None);
        ring.push(told(1, 50, 1));
        let known = |ordinal| {
            BTreeMap::from([(ShardId(0), Position::after(11)), (ShardId(1), Position { index: 50, ordinal })])
        };
        assert_eq!(ring.resume(&known(0)), Some(end + 1));
        assert_eq!(ring.resume(&places(&[(0, 11), (1, 49)])), None);
        ring.skip(None);
        assert_eq!(ring.resume(&known(1)), None);
    }

    proptest! {
        /// Whatever is pushed and whenever somebody resumes: either told so, or every later change comes exactly once.
        #[test]
        fn nobody_misses_a_change_without_being_told(
            shards in proptest::collection::vec(0_u32..2, 1..60), keep in 1_usize..20, cut in 0_usize..60,
        ) {
            let mut ring = ring(keep);
            let (mut indexes, mut seen, mut later) = ([10, 20], places(&[(0, 10), (1, 20)]), Vec::new());
            for (at, shard) in shards.iter().enumerate() {
                indexes[*shard as usize] += 1;
                let told = told(*shard, indexes[*shard as usize], 0);
                if at < cut {
                    seen.insert(told.shard, told.position);
                } else {
                    later.push((told.shard, told.position));
                }
                ring.push(told);
            }
            if let Some(from) = ring.resume(&seen) {
                let all = ring.since(from, 100).expect("kept");
                let new = all.iter().filter(|told| seen.get(&told.shard).is_none_or(|place| told.position > *place));
                prop_assert_eq!(new.map(|told| (told.shard, told.position)).collect::<Vec<_>>(), later);
            } else {
                prop_assert!(shards.len() > keep);
            }
        }
    }
}
