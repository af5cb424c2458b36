//! What can be looked up beside the key: who is due, whose sessions, which labels, how much in a namespace.
//!
//! Always equal to what one would compute from the records; the tests do so after every step.

use super::deadlines::Deadlines;
use crate::{
    ids::{Key, NamespaceId, Stamp},
    session::{Life, Owner, Record},
};
use std::collections::{BTreeMap, BTreeSet};

/// Living sessions of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many.
    pub sessions: u64,
    /// The bytes of their fields, as [`crate::Fields::bytes`] counts.
    pub bytes: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    /// Living records by deadline.
    pub(super) live: Deadlines,
    /// Tombstones by when they may go.
    pub(super) dead: Deadlines,
    users: BTreeSet<(NamespaceId, Box<[u8]>, Key)>,
    labels: BTreeSet<(NamespaceId, Box<[u8]>, Box<[u8]>, Key)>,
    usage: BTreeMap<NamespaceId, Usage>,
}

/// Whether `record` is in the index of the living, and the stamp that it is found under.
pub(super) fn due(record: &Record) -> (bool, Stamp) {
    match record.life {
        Life::Live => (true, record.deadline()),
        Life::Dead { collect_at, .. } => (false, collect_at),
    }
}

/// What the index holds of one record.
pub(super) struct Facts {
    due: (bool, Stamp),
    bytes: u64,
    owner: Option<Box<Owner>>,
}

impl Facts {
    pub(super) fn of(record: &Record) -> Self {
        let due = due(record);
        let owner = if due.0 { record.owner.clone() } else { None };
        Self { due, bytes: record.body_bytes(), owner }
    }
}

impl Index {
    pub(super) fn insert(&mut self, key: &Key, record: &Record) {
        let facts = Facts::of(record);
        self.insert_due(key, facts.due);
        self.insert_owner(key, &facts.owner);
        self.count(key, &facts, true);
    }

    pub(super) fn remove(&mut self, key: &Key, record: &Record) {
        self.remove_facts(key, &Facts::of(record));
    }

    /// Moves a record from what it was to what it is.
    pub(super) fn change(&mut self, key: &Key, before: &Facts, record: &Record) {
        let after = Facts::of(record);
        if before.due != after.due {
            self.remove_due(key, before.due);
            self.insert_due(key, after.due);
        }
        if before.owner != after.owner {
            self.remove_owner(key, &before.owner);
            self.insert_owner(key, &after.owner);
        }
        self.count(key, &after, true);
        self.count(key, before, false);
    }

    fn remove_facts(&mut self, key: &Key, facts: &Facts) {
        self.remove_due(key, facts.due);
        self.remove_owner(key, &facts.owner);
        self.count(key, facts, false);
    }

    fn insert_due(&mut self, key: &Key, (live, stamp): (bool, Stamp)) {
        let deadlines = if live { &mut self.live } else { &mut self.dead };
        deadlines.insert((stamp, key.position()));
    }

    fn remove_due(&mut self, key: &Key, (live, stamp): (bool, Stamp)) {
        let deadlines = if live { &mut self.live } else { &mut self.dead };
        deadlines.remove((stamp, key.position()));
    }

    fn insert_owner(&mut self, key: &Key, owner: &Option<Box<Owner>>) {
        let Some(owner) = owner else { return };
        let namespace = key.namespace();
        if !owner.user.is_empty() {
            self.users.insert((namespace, owner.user.clone(), key.clone()));
        }
        let labels = owner.labels.iter().map(|(name, value)| (namespace, name.clone(), value.clone(), key.clone()));
        self.labels.extend(labels);
    }

    fn remove_owner(&mut self, key: &Key, owner: &Option<Box<Owner>>) {
        let Some(owner) = owner else { return };
        let namespace = key.namespace();
        self.users.remove(&(namespace, owner.user.clone(), key.clone()));
        for (name, value) in &owner.labels {
            self.labels.remove(&(namespace, name.clone(), value.clone(), key.clone()));
        }
    }

    fn count(&mut self, key: &Key, facts: &Facts, more: bool) {
        if !facts.due.0 {
            return;
        }
        let usage = self.usage.entry(key.namespace()).or_default();
        if more {
            usage.sessions += 1;
            usage.bytes = usage.bytes.saturating_add(facts.bytes);
            return;
        }
        usage.sessions = usage.sessions.saturating_sub(1);
        usage.bytes = usage.bytes.saturating_sub(facts.bytes);
        if usage.sessions == 0 {
            self.usage.remove(&key.namespace());
        }
    }

    /// The sessions of a user in the order of keys, from `from` on.
    pub(super) fn user(&self, namespace: NamespaceId, user: &[u8], from: Key) -> impl Iterator<Item = &Key> {
        let user: Box<[u8]> = user.into();
        let entries = self.users.range((namespace, user.clone(), from)..);
        entries.take_while(move |entry| entry.0 == namespace && entry.1 == user).map(|(_, _, key)| key)
    }

    /// The sessions with a label at a value in the order of keys, from `from` on.
    pub(super) fn label(&self, namespace: NamespaceId, label: (&[u8], &[u8]), from: Key) -> impl Iterator<Item = &Key> {
        let (name, value): (Box<[u8]>, Box<[u8]>) = (label.0.into(), label.1.into());
        let begin = (namespace, name.clone(), value.clone(), from);
        let entries = self.labels.range(begin..);
        let same = entries.take_while(move |entry| entry.0 == namespace && entry.1 == name && entry.2 == value);
        same.map(|(_, _, _, key)| key)
    }

    pub(super) fn usage(&self, namespace: NamespaceId) -> Usage {
        self.usage.get(&namespace).copied().unwrap_or_default()
    }

    pub(super) fn usages(&self) -> impl Iterator<Item = (NamespaceId, Usage)> {
        self.usage.iter().map(|(namespace, usage)| (*namespace, *usage))
    }
}
