//! Digests of what this shard orders, and of its copies: see `crate::digest`.

use super::{Believed, State};
use crate::{
    digest::{self, SlotDigest},
    ids::{Key, NamespaceId, Slot, position},
    session::{Life, Record},
};
use std::{collections::BTreeMap, sync::Arc};

impl State {
    /// Digests of what this shard orders in the slots from `first` to `last`, but of those in which it never had anything.
    pub fn digests(&self, first: Slot, last: Slot) -> Vec<SlotDigest> {
        let known = self.sequences.range(first..=last);
        let mut digests: BTreeMap<Slot, (u64, u64)> = known.map(|(slot, sequence)| (*slot, (*sequence, 0))).collect();
        for (key, record) in self.in_slots(first, last).filter(|(_, record)| self.orders(record)) {
            let (sequence, sum) = digests.entry(key.slot()).or_default();
            *sequence = record.version.sequence.max(*sequence);
            if record.life == Life::Live {
                *sum = digest::share(key, record).wrapping_add(*sum);
            }
        }
        digests.into_iter().map(|(slot, (sequence, sum))| SlotDigest { slot, sequence, sum }).collect()
    }

    /// Those of `digests` that the copies here differ from, once all that their source had changed by then is in; it acts for
    /// `homes`. Where something later is in, nothing can be said, and neither where somebody else may act for one of them.
    pub fn differing(&self, homes: &Believed, digests: &[SlotDigest]) -> Vec<Slot> {
        let spoken_for = self.spoken_for(homes, false);
        if spoken_for.len() < homes.len() {
            return Vec::new();
        }
        let differs = |digest: &&SlotDigest| {
            let SlotDigest { slot, sequence, sum } = **digest;
            let mut here: u64 = 0;
            for (key, record) in self.in_slots(slot, slot).filter(|(_, record)| spoken_for.contains(&record.home)) {
                if record.version.sequence > sequence {
                    return false;
                }
                if record.life == Life::Live {
                    here = here.wrapping_add(digest::share(key, record));
                }
            }
            here != sum
        };
        digests.iter().filter(differs).map(|digest| digest.slot).collect()
    }

    fn in_slots(&self, first: Slot, last: Slot) -> impl Iterator<Item = (&Key, &Arc<Record>)> {
        let from = Key::lowest(position(first, NamespaceId(0), 0));
        self.records.range(from..).take_while(move |(key, _)| key.slot() <= last)
    }
}
