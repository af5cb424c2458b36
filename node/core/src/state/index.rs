//! What can be looked up beside the key: who is due, whose sessions, which labels, how much in a namespace.
//!
//! Living sessions are listed by their home, so that those of a home for which another region acts are not looked at again and
//! again, and a home changes hands without a session being moved from one list to another.
//! Always equal to what one would compute from the records; the tests do so after every step.

use super::{
    deadlines::{Deadlines, Entry},
    tombs::refused_at,
};
use crate::{
    ids::{Key, NEVER, NamespaceId, RegionId, Stamp},
    session::{Life, Owner, Record},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    iter::Peekable,
    sync::Arc,
};

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
    living: BTreeMap<NamespaceId, Living>,
    /// Tombstones by when they may go once they are known everywhere.
    dead: Deadlines,
    /// Tombstones by when they may go anyway.
    refused: Deadlines,
    users: BTreeSet<(NamespaceId, Box<[u8]>, Key)>,
    labels: BTreeSet<(NamespaceId, Box<[u8]>, Box<[u8]>, Key)>,
}

/// Records of one namespace that are no tombstones.
#[derive(Debug, Default, PartialEq, Eq)]
struct Living {
    homes: BTreeMap<RegionId, Deadlines>,
    usage: Usage,
}

impl Living {
    fn remove(&mut self, home: RegionId, entry: Entry) {
        let Some(deadlines) = self.homes.get_mut(&home) else { return };
        deadlines.remove(entry);
        if deadlines.is_empty() {
            self.homes.remove(&home);
        }
    }
}

/// A list of records by stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum List {
    /// The living of a home, by deadline.
    Living(RegionId),
    /// Tombstones, by when they may go once they are known everywhere.
    Dead,
    /// Tombstones, by when they may go anyway.
    Refused,
}

/// Where a record is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// By its home and its deadline.
    Living(RegionId, Stamp),
    /// By both of its times.
    Dead { collect_at: Stamp, refused_at: Stamp },
}

impl Place {
    fn of(record: &Record) -> Self {
        match record.life {
            Life::Live => Self::Living(record.home, record.deadline()),
            Life::Dead { collect_at, .. } => Self::Dead { collect_at, refused_at: refused_at(record, collect_at) },
        }
    }
}

/// Whether a record is found in a list under a stamp.
pub(super) fn is_at(record: &Record, list: List, stamp: Stamp) -> bool {
    match (Place::of(record), list) {
        (Place::Living(home, deadline), List::Living(listed)) => (home, deadline) == (listed, stamp),
        (Place::Dead { collect_at, .. }, List::Dead) => collect_at == stamp,
        (Place::Dead { refused_at, .. }, List::Refused) => refused_at == stamp,
        (Place::Living(..), List::Dead | List::Refused) | (Place::Dead { .. }, List::Living(_)) => false,
    }
}

/// The owner as far as the index knows it: tombstones have none.
fn owner(record: &Record) -> Option<&Owner> {
    record.owner.as_deref().filter(|_| record.life == Life::Live)
}

impl Index {
    /// The index of these records, built faster than one by one.
    pub(super) fn of(records: &BTreeMap<Key, Arc<Record>>) -> Self {
        let mut index = Self::default();
        let mut living: BTreeMap<(NamespaceId, RegionId), Vec<Entry>> = BTreeMap::new();
        let (mut dead, mut refused) = (Vec::new(), Vec::new());
        for (key, record) in records {
            index.insert_owner(key, owner(record));
            let (home, deadline) = match Place::of(record) {
                Place::Living(home, deadline) => (home, deadline),
                Place::Dead { collect_at, refused_at } => {
                    dead.push((collect_at, key.position()));
                    refused.push((refused_at, key.position()));
                    continue;
                }
            };
            living.entry((key.namespace(), home)).or_default().push((deadline, key.position()));
            let usage = &mut index.living.entry(key.namespace()).or_default().usage;
            usage.sessions += 1;
            usage.bytes = usage.bytes.saturating_add(record.body_bytes());
        }
        for ((namespace, home), entries) in living {
            index.living.entry(namespace).or_default().homes.insert(home, Deadlines::of(entries));
        }
        (index.dead, index.refused) = (Deadlines::of(dead), Deadlines::of(refused));
        index
    }

    pub(super) fn insert(&mut self, key: &Key, record: &Record) {
        self.insert_due(key, record);
        self.insert_owner(key, owner(record));
    }

    pub(super) fn remove(&mut self, key: &Key, record: &Record) {
        self.remove_due(key, record);
        self.remove_owner(key, owner(record));
    }

    /// Moves a record from what it was to what it is.
    pub(super) fn change(&mut self, key: &Key, before: &Record, after: &Record) {
        if Place::of(before) != Place::of(after) {
            self.remove_due(key, before);
            self.insert_due(key, after);
        } else if let (Life::Live, Some(living)) = (after.life, self.living.get_mut(&key.namespace())) {
            let more = living.usage.bytes.saturating_add(after.body_bytes());
            living.usage.bytes = more.saturating_sub(before.body_bytes());
        }
        if owner(before) != owner(after) {
            self.remove_owner(key, owner(before));
            self.insert_owner(key, owner(after));
        }
    }

    fn insert_due(&mut self, key: &Key, record: &Record) {
        let (home, deadline) = match Place::of(record) {
            Place::Living(home, deadline) => (home, deadline),
            Place::Dead { collect_at, refused_at } => {
                self.dead.insert((collect_at, key.position()));
                return self.refused.insert((refused_at, key.position()));
            }
        };
        let living = self.living.entry(key.namespace()).or_default();
        living.homes.entry(home).or_default().insert((deadline, key.position()));
        living.usage.sessions += 1;
        living.usage.bytes = living.usage.bytes.saturating_add(record.body_bytes());
    }

    fn remove_due(&mut self, key: &Key, record: &Record) {
        let (home, deadline) = match Place::of(record) {
            Place::Living(home, deadline) => (home, deadline),
            Place::Dead { collect_at, refused_at } => {
                self.dead.remove((collect_at, key.position()));
                return self.refused.remove((refused_at, key.position()));
            }
        };
        let Some(living) = self.living.get_mut(&key.namespace()) else { return };
        living.remove(home, (deadline, key.position()));
        living.usage.sessions = living.usage.sessions.saturating_sub(1);
        living.usage.bytes = living.usage.bytes.saturating_sub(record.body_bytes());
        if living.usage.sessions == 0 {
            self.living.remove(&key.namespace());
        }
    }

    fn insert_owner(&mut self, key: &Key, owner: Option<&Owner>) {
        let Some(owner) = owner else { return };
        let namespace = key.namespace();
        if !owner.user.is_empty() {
            self.users.insert((namespace, owner.user.clone(), key.clone()));
        }
        let labels = owner.labels.iter().map(|(name, value)| (namespace, name.clone(), value.clone(), key.clone()));
        self.labels.extend(labels);
    }

    fn remove_owner(&mut self, key: &Key, owner: Option<&Owner>) {
        let Some(owner) = owner else { return };
        let namespace = key.namespace();
        self.users.remove(&(namespace, owner.user.clone(), key.clone()));
        for (name, value) in &owner.labels {
            self.labels.remove(&(namespace, name.clone(), value.clone(), key.clone()));
        }
    }

    /// A list of tombstones.
    pub(super) fn dead(&self, list: List) -> &Deadlines {
        if list == List::Refused { &self.refused } else { &self.dead }
    }

    /// The sessions of a user in the order of keys, from `from` on.
    pub(super) fn user(&self, namespace: NamespaceId, user: &[u8], from: Key) -> impl Iterator<Item = &Key> + use<'_> {
        let user: Box<[u8]> = user.into();
        let entries = self.users.range((namespace, user.clone(), from)..);
        entries.take_while(move |entry| entry.0 == namespace && entry.1 == user).map(|(_, _, key)| key)
    }

    /// The sessions with a label at a value in the order of keys, from `from` on.
    pub(super) fn label(
        &self,
        namespace: NamespaceId,
        label: (&[u8], &[u8]),
        from: Key,
    ) -> impl Iterator<Item = &Key> + use<'_> {
        let (name, value): (Box<[u8]>, Box<[u8]>) = (label.0.into(), label.1.into());
        let begin = (namespace, name.clone(), value.clone(), from);
        let entries = self.labels.range(begin..);
        let same = entries.take_while(move |entry| entry.0 == namespace && entry.1 == name && entry.2 == value);
        same.map(|(_, _, _, key)| key)
    }

    /// Where living records of a namespace are whose deadline is at or before `until`, from `from` on, by deadline.
    pub(super) fn living(
        &self,
        namespace: NamespaceId,
        until: Stamp,
        from: Option<Entry>,
    ) -> impl Iterator<Item = Entry> + use<'_> {
        let living = self.living.get(&namespace).into_iter();
        living.flat_map(move |living| merged(living.homes.values().map(move |home| home.until(until, from))))
    }

    /// The same for those of one home.
    pub(super) fn living_at_home(
        &self,
        namespace: NamespaceId,
        home: RegionId,
    ) -> impl Iterator<Item = Entry> + use<'_> {
        let living = self.living.get(&namespace).and_then(|living| living.homes.get(&home)).into_iter();
        living.flat_map(|deadlines| deadlines.until(NEVER, None))
    }

    /// Where living records of a home are whose deadline is at or before `until`, by namespace, then by deadline.
    pub(super) fn due(&self, home: RegionId, until: Stamp) -> impl Iterator<Item = Entry> + use<'_> {
        let theirs = self.living.values().filter_map(move |living| living.homes.get(&home));
        theirs.flat_map(move |deadlines| deadlines.until(until, None))
    }

    /// How many living records each home has, by namespace.
    pub(super) fn homes(&self) -> impl Iterator<Item = (RegionId, NamespaceId, u64)> {
        self.living.iter().flat_map(|(namespace, living)| {
            living.homes.iter().map(move |(home, deadlines)| (*home, *namespace, deadlines.len()))
        })
    }

    /// Where living records of a home are from `from` on, by namespace, then by deadline.
    pub(super) fn of_home(
        &self,
        home: RegionId,
        from: Option<(NamespaceId, Entry)>,
    ) -> impl Iterator<Item = (NamespaceId, Entry)> + use<'_> {
        let begin = from.map_or(NamespaceId(0), |(namespace, _)| namespace);
        self.living.range(begin..).flat_map(move |(namespace, living)| {
            let from = from.filter(|(first, _)| first == namespace).map(|(_, entry)| entry);
            let deadlines = living.homes.get(&home).into_iter();
            deadlines.flat_map(move |deadlines| deadlines.until(NEVER, from)).map(|entry| (*namespace, entry))
        })
    }

    pub(super) fn usage(&self, namespace: NamespaceId) -> Usage {
        self.living.get(&namespace).map(|living| living.usage).unwrap_or_default()
    }

    pub(super) fn usages(&self) -> impl Iterator<Item = (NamespaceId, Usage)> {
        self.living.iter().map(|(namespace, living)| (*namespace, living.usage))
    }
}

/// Ascending lists as one; an entry that is in several comes once.
fn merged(lists: impl Iterator<Item = impl Iterator<Item = Entry>>) -> impl Iterator<Item = Entry> {
    let mut lists: Vec<Peekable<_>> = lists.map(Iterator::peekable).collect();
    std::iter::from_fn(move || {
        let first = lists.iter_mut().filter_map(|list| list.peek().copied()).min()?;
        for list in &mut lists {
            list.next_if_eq(&first);
        }
        Some(first)
    })
}
