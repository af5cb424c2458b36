//! Operations on many sessions of a shard: revoking a user, clearing a namespace.
//!
//! Each ends so many in one entry of the log and no more, so that no entry takes long. A revoked user's sessions are gone
//! at once all the same: from the entry that raises the epoch on, reads and writes see none of a lower epoch.

use super::{State, index::List, turn::Turn};
use crate::{
    command::Outcome,
    ids::{Key, NamespaceId, Stamp},
    session::{Life, Record},
};

/// The most sessions that one `Revoke` or `Clear` ends.
pub const ENDED_PER_APPLY_MAX: u64 = 1_024;

fn bounded(count_max: u64) -> usize {
    count_max.min(ENDED_PER_APPLY_MAX) as usize
}

impl Turn<'_> {
    pub(super) fn revoke(&mut self, namespace: NamespaceId, user: &[u8], epoch: u64, count_max: u64) -> Outcome {
        if user.is_empty() {
            return Outcome::Count(0);
        }
        if epoch > self.state.revocation_epoch(namespace, user) {
            self.state.revocations.entry(namespace).or_default().insert(user.into(), epoch);
        }
        if let Some(revoked_at) = &mut self.state.plants.revoked_at {
            revoked_at.insert((namespace, user.into()), self.stamp);
        }
        // Whether or not some are known to be left: those of a home that has changed hands since are not.
        self.end_revoked(namespace, user, bounded(count_max))
    }

    fn end_revoked(&mut self, namespace: NamespaceId, user: &[u8], count_max: usize) -> Outcome {
        let mut theirs: Vec<Key> = self.state.revoked(namespace, user).take(count_max + 1).cloned().collect();
        let more = theirs.len() > count_max;
        theirs.truncate(count_max);
        theirs.iter().for_each(|key| self.end(key, false));
        if more {
            self.state.leftovers.insert((namespace, user.into()));
        } else {
            self.state.leftovers.remove(&(namespace, user.into()));
        }
        Outcome::Count(theirs.len() as i64)
    }

    pub(super) fn clear(&mut self, namespace: NamespaceId, before: Stamp, count_max: u64) -> Outcome {
        let state = &*self.state;
        let homes = state.acts().into_keys();
        let entries =
            homes.flat_map(|home| state.index.living_at_home(namespace, home).map(move |entry| (home, entry)));
        let records = entries.flat_map(|(home, entry)| state.at(entry, List::Living(home)));
        let older = records.filter(|(key, record)| key.namespace() == namespace && record.incarnation.stamp < before);
        let chosen: Vec<Key> = older.take(bounded(count_max)).map(|(key, _)| key.clone()).collect();
        chosen.iter().for_each(|key| self.end(key, false));
        Outcome::Count(chosen.len() as i64)
    }
}

impl State {
    /// A user's revocation epoch, 0 at first.
    pub fn revocation_epoch(&self, namespace: NamespaceId, user: &[u8]) -> u64 {
        self.revocations.get(&namespace).and_then(|users| users.get(user)).copied().unwrap_or(0)
    }

    /// Users whose epoch was raised and who have sessions left that are to be destroyed, with the epoch.
    pub fn leftovers(&self) -> impl Iterator<Item = (NamespaceId, &[u8], u64)> {
        self.leftovers.iter().map(|(namespace, user)| (*namespace, &**user, self.revocation_epoch(*namespace, user)))
    }

    /// Whether the session's login read an epoch below its user's.
    pub(super) fn is_revoked(&self, key: &Key, record: &Record) -> bool {
        let Some(owner) = record.owner.as_deref().filter(|owner| !owner.user.is_empty()) else { return false };
        if let Some(revoked_at) = &self.plants.revoked_at {
            let user = (key.namespace(), owner.user.clone());
            return revoked_at.get(&user).is_some_and(|at| record.incarnation.stamp < *at);
        }
        owner.revocation_epoch < self.revocation_epoch(key.namespace(), &owner.user)
    }

    /// Records of a user that only the epoch has ended so far.
    fn revoked(&self, namespace: NamespaceId, user: &[u8]) -> impl Iterator<Item = &Key> {
        let theirs = self.index.user(namespace, user, Key::lowest(0));
        theirs.filter(|key| {
            let left =
                |record: &Record| record.life == Life::Live && self.orders(record) && self.is_revoked(key, record);
            self.records.get(*key).is_some_and(|record| left(record))
        })
    }

    /// What [`State::leftovers`] tells, computed from the records.
    pub(super) fn find_leftovers(&self) -> std::collections::BTreeSet<(NamespaceId, Box<[u8]>)> {
        let users = self.revocations.iter().flat_map(|(namespace, users)| users.keys().map(|user| (*namespace, user)));
        let left = users.filter(|(namespace, user)| self.revoked(*namespace, user).next().is_some());
        left.map(|(namespace, user)| (namespace, user.clone())).collect()
    }
}
