//! Which tombstones a shard forgets, a few with each entry: see [`crate::tombstones`].
//!
//! They are looked for in two orders, so that those that must stay keep none from being found: by when they may go once they
//! are swept, and by when every region refuses a living copy anyway. A shard that nobody follows and that follows nobody
//! needs no sweep.

use super::{State, index::List, turn::Turn};
use crate::{
    command::Outcome,
    ids::{Key, RegionId, Stamp},
    session::{Life, Record},
    tombstones::{CLOCK_SLACK_MS, may_collect},
};
use std::{collections::BTreeSet, sync::Arc};

/// How many tombstones one entry collects at most, so that no entry takes long. It looks at twice as many.
pub const COLLECTED_PER_APPLY_MAX: usize = 16;

impl State {
    pub(super) fn collect_tombstones(&mut self, stamp: Stamp) {
        let looked_at = self.ended_until(stamp, List::Dead).chain(self.ended_until(stamp, List::Refused));
        let gone = looked_at.filter(|(_, record)| self.may_go(record, stamp)).map(|(key, _)| key.clone());
        // One may be in both lists.
        let gone: BTreeSet<Key> = gone.collect();
        self.collected = gone.into_iter().take(COLLECTED_PER_APPLY_MAX).collect();
        for at in 0..self.collected.len() {
            self.forget(&self.collected[at].clone());
        }
    }

    /// The first tombstones of a list.
    fn ended_until(&self, stamp: Stamp, list: List) -> impl Iterator<Item = (&Key, &Arc<Record>)> {
        let entries = self.index.dead(list).until(stamp, None);
        entries.flat_map(move |entry| self.at(entry, list)).take(COLLECTED_PER_APPLY_MAX)
    }

    fn may_go(&self, record: &Record, stamp: Stamp) -> bool {
        let in_touch = self.acts_for(self.region).is_some();
        let swept = self.plants.tombstones_by_window || self.is_alone() || self.is_swept(record);
        may_collect(record, swept, in_touch, stamp)
    }

    /// Whether every region is known to have the tombstone, and nobody an older copy.
    fn is_swept(&self, record: &Record) -> bool {
        let Life::Dead { at, .. } = record.life else { return false };
        // Under another epoch another region has stamped it.
        self.swept.get(&record.home).is_some_and(|(epoch, through)| *epoch == record.version.epoch && at <= *through)
    }
}

impl Turn<'_> {
    pub(super) fn swept(&mut self, home: RegionId, epoch: u32, through: Stamp) -> Outcome {
        let swept = self.state.swept.entry(home).or_default();
        *swept = (epoch, through).max(*swept);
        Outcome::Done
    }
}

/// When no region takes in a living copy of an ended session any more.
pub(super) fn refused_at(record: &Record, collect_at: Stamp) -> Stamp {
    record.absolute_deadline.saturating_add(CLOCK_SLACK_MS).max(collect_at)
}
