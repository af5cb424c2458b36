//! Operations on many sessions of a shard: revoking a user, clearing a namespace.

use super::{State, turn::Turn};
use crate::{
    command::Outcome,
    ids::{Key, NamespaceId, SLOTS, Slot, Stamp, position},
    session::{Life, Record},
};
use std::sync::Arc;

impl Turn<'_> {
    pub(super) fn revoke(&mut self, namespace: NamespaceId, user: &[u8], epoch: u64) -> Outcome {
        if epoch <= self.state.revocation_epoch(namespace, user) {
            return Outcome::Count(0);
        }
        self.state.revocations.entry(namespace).or_default().insert(user.into(), epoch);
        let theirs: Vec<Key> = self.state.index.user(namespace, user, Key::lowest(0)).cloned().collect();
        let mut ended = 0;
        for key in theirs {
            let below =
                |record: &Arc<Record>| record.owner.as_ref().is_some_and(|owner| owner.revocation_epoch < epoch);
            if self.live(&key).as_ref().is_some_and(below) {
                self.end(&key, false);
                ended += 1;
            }
        }
        Outcome::Count(ended)
    }

    pub(super) fn clear(&mut self, namespace: NamespaceId, before: Stamp, count_max: u64) -> Outcome {
        let count_max = usize::try_from(count_max).unwrap_or(usize::MAX);
        let chosen = self.state.living(namespace).filter(|(_, record)| record.incarnation.stamp < before);
        let chosen: Vec<Key> = chosen.take(count_max).map(|(key, _)| key.clone()).collect();
        for key in &chosen {
            self.end(key, false);
        }
        Outcome::Count(chosen.len() as i64)
    }
}

impl State {
    /// The records of a namespace that are no tombstones, in the order of keys.
    pub(super) fn living(&self, namespace: NamespaceId) -> impl Iterator<Item = (&Key, &Arc<Record>)> {
        let slots = (0..SLOTS).filter_map(Slot::new);
        slots.flat_map(move |slot| {
            let from = Key::lowest(position(slot, namespace, 0));
            let until = move |key: &Key| key.slot() == slot && key.namespace_bits() == Key::bits_of(namespace);
            let here = self.records.range(from..).take_while(move |(key, _)| until(key));
            here.filter(move |(key, record)| key.namespace() == namespace && record.life == Life::Live)
        })
    }
}
