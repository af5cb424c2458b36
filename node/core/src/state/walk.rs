//! Listings and counts: walks over an index in pages, each page a bounded look.

use super::{State, Usage, read::Touched};
use crate::{
    glob,
    ids::{Key, NEVER, NamespaceId, SLOTS, Slot, Stamp, position},
    query::{Answer, Cursor, Filter, Line, PAGE_COUNT_MAX, Projection, View},
    session::Record,
};
use std::sync::Arc;

/// A step of a walk: where it is, and what is there.
type Step<'a> = (Cursor, &'a Key, &'a Arc<Record>);

/// In a namespace with at most so many sessions, a random one is drawn by counting through them.
const DRAWN_BY_COUNTING_MAX: u64 = 4_096;

impl State {
    /// A page of the sessions that pass the filter: see [`crate::Query::Scan`].
    pub(super) fn scan(
        &self,
        now: Stamp,
        touched: Touched<'_>,
        namespace: NamespaceId,
        filter: &Filter,
        from: Option<Cursor>,
        count: u64,
    ) -> Answer {
        let mut lines = Vec::new();
        let next = self.page(namespace, filter, from, count, |key, record| {
            if self.is_alive(now, touched, key, record) && passes(touched, filter, key, record) {
                lines.extend(line(touched, key, record));
            }
        });
        Answer::Page { lines, next }
    }

    /// Counts a page of those that pass the filter, and says where to go on: counting all of a large namespace at once would
    /// keep writes waiting.
    pub fn count_page(
        &self,
        now: Stamp,
        touched: Touched<'_>,
        namespace: NamespaceId,
        filter: &Filter,
        from: Option<Cursor>,
    ) -> (Usage, Option<Cursor>) {
        let mut counted = Usage::default();
        let next = self.page(namespace, filter, from, PAGE_COUNT_MAX, |key, record| {
            if self.is_alive(now, touched, key, record) && passes(touched, filter, key, record) {
                counted.sessions += 1;
                counted.bytes += record.body_bytes();
            }
        });
        (counted, next)
    }

    /// Looks at up to `count` records from `from` on and says where to go on.
    fn page(
        &self,
        namespace: NamespaceId,
        filter: &Filter,
        from: Option<Cursor>,
        count: u64,
        mut look: impl FnMut(&Key, &Arc<Record>),
    ) -> Option<Cursor> {
        let (mut looked, mut last) = (0, None);
        let count = count.clamp(1, PAGE_COUNT_MAX);
        for (here, key, record) in self.walk(namespace, filter, from.unwrap_or_default()) {
            // All that share a position come in one page.
            if looked >= count && last != Some(here) {
                return Some(here);
            }
            looked += 1;
            last = Some(here);
            look(key, record);
        }
        None
    }

    /// All records that may pass the filter, by the index that leaves least to look at.
    fn walk<'a>(
        &'a self,
        namespace: NamespaceId,
        filter: &Filter,
        from: Cursor,
    ) -> Box<dyn Iterator<Item = Step<'a>> + 'a> {
        if self.usage(namespace).sessions == 0 {
            return Box::new(std::iter::empty());
        }
        let position = Slot::new(from.slot).map_or(u64::MAX, |slot| position(slot, namespace, from.hash));
        let step = |key: &'a Key| self.records.get(key).map(|record| (by_key(key), key, record));
        match filter {
            Filter { user: Some(user), .. } => {
                Box::new(self.index.user(namespace, user, Key::lowest(position)).filter_map(step))
            }
            Filter { label: Some((name, value)), .. } => {
                Box::new(self.index.label(namespace, (name, value), Key::lowest(position)).filter_map(step))
            }
            Filter { expiring_before: Some(before), .. } => {
                let until = before.saturating_sub(1);
                let entries = self.index.living(namespace, until, Some((from.deadline, position)));
                let records = entries.flat_map(move |entry| self.living_at(entry).map(move |found| (entry.0, found)));
                let ours = records.filter(move |(_, (key, _))| key.namespace() == namespace);
                Box::new(ours.map(|(deadline, (key, record))| (Cursor { deadline, ..by_key(key) }, key, record)))
            }
            Filter { user: None, label: None, expiring_before: None, .. } => {
                Box::new(self.from(namespace, from).map(|(key, record)| (by_key(key), key, record)))
            }
        }
    }

    /// All records of a namespace in the order of keys, tombstones included, from a position on.
    fn from(&self, namespace: NamespaceId, from: Cursor) -> impl Iterator<Item = (&Key, &Arc<Record>)> {
        (from.slot..SLOTS).filter_map(Slot::new).flat_map(move |slot| {
            let hash = if slot.number() == from.slot { from.hash } else { 0 };
            self.of_slot(slot, namespace, hash)
        })
    }

    /// The records of a slot and a namespace from a hash on.
    pub(super) fn of_slot(
        &self,
        slot: Slot,
        namespace: NamespaceId,
        hash: u64,
    ) -> impl Iterator<Item = (&Key, &Arc<Record>)> {
        let from = Key::lowest(position(slot, namespace, hash));
        let until = move |key: &Key| key.slot() == slot && key.namespace_bits() == Key::bits_of(namespace);
        let here = self.records.range(from..).take_while(move |(key, _)| until(key));
        here.filter(move |(key, _)| key.namespace() == namespace)
    }

    /// Some session, chosen by `seed`: any of few alike; of many, the first one after a random slot.
    pub(super) fn random(&self, now: Stamp, touched: Touched<'_>, namespace: NamespaceId, seed: u64) -> Answer {
        let sessions = self.usage(namespace).sessions;
        let found = if sessions <= DRAWN_BY_COUNTING_MAX {
            let records = self.index.living(namespace, NEVER, None).flat_map(|entry| self.living_at(entry));
            let alive = records
                .filter(|(key, record)| key.namespace() == namespace && self.is_alive(now, touched, key, record));
            let alive: Vec<_> = alive.collect();
            alive.get((seed % (alive.len() as u64).max(1)) as usize).copied()
        } else {
            let first = (seed % u64::from(SLOTS)) as u16;
            let slots = (first..SLOTS).chain(0..first).filter_map(Slot::new);
            let mut records = slots.flat_map(|slot| self.of_slot(slot, namespace, 0));
            records.find(|(key, record)| self.is_alive(now, touched, key, record))
        };
        let lines = found.and_then(|(key, record)| line(touched, key, record)).into_iter().collect();
        Answer::Page { lines, next: None }
    }
}

/// Where a key is in a walk by key.
fn by_key(key: &Key) -> Cursor {
    Cursor { deadline: 0, slot: key.slot().number(), hash: key.hash() }
}

fn line(touched: Touched<'_>, key: &Key, record: &Record) -> Option<Line> {
    let view = View::of(record, &Projection::Summary, super::read::idle_deadline(touched, key, record)).ok()?;
    Some(Line { id: key.id().into(), view })
}

fn passes(touched: Touched<'_>, filter: &Filter, key: &Key, record: &Record) -> bool {
    let Filter { user, label, expiring_before, kind, pattern } = filter;
    let owner = record.owner.as_deref();
    let deadline = super::read::idle_deadline(touched, key, record).min(record.absolute_deadline);
    user.as_ref().is_none_or(|user| owner.is_some_and(|owner| owner.user == *user))
        && label.as_ref().is_none_or(|(name, value)| owner.is_some_and(|owner| owner.labels.get(name) == Some(value)))
        && expiring_before.is_none_or(|before| deadline < before)
        && kind.is_none_or(|kind| record.kind == kind)
        && pattern.as_ref().is_none_or(|pattern| glob::matches(pattern, key.id()))
}
