//! Which tombstones a shard forgets, a few with each entry: see [`crate::tombstones`].
//!
//! Whether they are known everywhere is found out by the region that the shard is in, for all homes at once, and logged. From then on
//! nothing is taken in that was asked for before: it may be older than what is forgotten now.
//!
//! They are looked for in two orders, so that those that must stay keep none from being found: by when they may go once they
//! are swept, and by when every region refuses a living copy anyway. A shard that nobody follows and that follows nobody
//! needs no sweep.

use super::{State, index::List, turn::Turn};
use crate::{
    command::Outcome,
    ids::{Key, Stamp},
    session::{Life, Record},
    tombstones::{CLOCK_SLACK_MS, Swept, may_collect},
};
use std::{collections::BTreeSet, sync::Arc};

/// How many tombstones one entry collects at most, so that no entry takes long. It looks at twice as many.
pub const COLLECTED_PER_APPLY_MAX: usize = 16;

/// How many tombstones that are due are looked at to say what is to be done about them.
const LOOKS_MAX: usize = 1_024;

/// The tombstones of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tombs {
    /// How many there are.
    pub count: u64,
    /// Which are known everywhere.
    pub swept: Swept,
    /// When the latest of those was made that are due and not known everywhere, as far as was looked.
    pub waiting: Option<Stamp>,
    /// How many the next entries would forget, as far as was looked.
    pub collectable: u64,
}

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
        let swept = self.plants.tombstones_by_window || self.is_alone() || self.swept.covers(record);
        may_collect(record, swept, in_touch, stamp)
    }

    /// What is to be done about tombstones at `now`.
    pub fn tombs(&self, now: Stamp) -> Tombs {
        let swept = self.swept;
        let mut tombs = Tombs { count: self.index.dead(List::Dead).len(), swept, waiting: None, collectable: 0 };
        if tombs.count == 0 {
            return tombs;
        }
        let due = self.index.dead(List::Dead).until(now, None).take(LOOKS_MAX);
        for (_, record) in due.flat_map(|entry| self.at(entry, List::Dead)) {
            match record.life {
                _ if self.may_go(record, now) => tombs.collectable += 1,
                Life::Dead { at, .. } => tombs.waiting = tombs.waiting.max(Some(at)),
                Life::Live => {}
            }
        }
        tombs
    }

    /// Whether something that was asked for at `asked` may have been read before others knew of a tombstone that is forgotten here
    /// by now.
    pub(super) fn may_predate_a_sweep(&self, asked: Stamp) -> bool {
        asked < self.swept_at
    }
}

impl Turn<'_> {
    pub(super) fn swept(&mut self, known: Swept) -> Outcome {
        if known > self.state.swept {
            (self.state.swept, self.state.swept_at) = (known, self.stamp);
        }
        Outcome::Done
    }
}

/// When no region takes in a living copy of an ended session any more.
pub(super) fn refused_at(record: &Record, collect_at: Stamp) -> Stamp {
    record.absolute_deadline.saturating_add(CLOCK_SLACK_MS).max(collect_at)
}
