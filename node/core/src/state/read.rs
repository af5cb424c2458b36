//! Reads: pure, and blind to what is past its deadline.

use super::State;
use crate::{
    command::Refusal,
    glob,
    ids::{Key, NamespaceId, SLOTS, Slot, Stamp, position},
    query::{Answer, Cursor, Filter, Line, Projection, Query, View},
    session::{Body, Fields, Life, Record},
};
use std::sync::Arc;

impl View {
    /// What `projection` shows of a record whose idle deadline is known to be `idle_deadline`.
    ///
    /// # Errors
    /// [`Refusal::NotHere`] if fields are asked for that are not in memory.
    pub fn of(record: &Record, projection: &Projection, idle_deadline: Stamp) -> Result<Self, Refusal> {
        let fields = match (&record.body, projection) {
            (_, Projection::Summary) => Fields::new(),
            (Body::Hot(fields), Projection::Whole) => fields.clone(),
            (Body::Hot(fields), Projection::Fields(names)) => {
                let found = names.iter().filter_map(|name| Some((name.clone(), fields.get(name)?.into())));
                Fields::from_pairs(found)
            }
            (Body::Cold { .. }, _) => return Err(Refusal::NotHere),
        };
        let field_count = match &record.body {
            Body::Hot(fields) => fields.len() as u64,
            Body::Cold { field_count, .. } => *field_count,
        };
        Ok(Self {
            kind: record.kind,
            incarnation: record.incarnation,
            version: record.version,
            written: record.written,
            idle_timeout_ms: record.idle_timeout_ms,
            idle_deadline,
            absolute_deadline: record.absolute_deadline,
            owner: record.owner.clone(),
            field_count,
            bytes: record.body_bytes(),
            fields,
        })
    }
}

type Touched<'a> = &'a dyn Fn(&Key) -> Option<Stamp>;

impl State {
    /// Answers a read at `now`. `touched` says what the leader knows of idle deadlines beyond the log. Also names the session
    /// that was hidden for its deadline although no expiry is logged yet, for the leader to log it first.
    pub fn query(&self, now: Stamp, touched: Touched<'_>, query: &Query) -> (Answer, Vec<Key>) {
        match query {
            Query::Get { key, projection } => self.get(now, touched, key, projection),
            Query::Scan { namespace, filter, from, count } => {
                (self.scan(now, touched, *namespace, filter, *from, *count), Vec::new())
            }
            Query::Count { namespace, filter } => (self.count(now, touched, *namespace, filter), Vec::new()),
            Query::CountSlot { slot, namespace } => {
                let sessions = self.slot_of(*slot, *namespace).filter(|(key, record)| alive(now, touched, key, record));
                (Answer::Total { sessions: sessions.count() as u64, bytes: 0 }, Vec::new())
            }
            Query::RevocationEpoch { namespace, user } => {
                (Answer::Epoch(self.revocation_epoch(*namespace, user)), Vec::new())
            }
            Query::Random { namespace, seed } => (self.random(now, touched, *namespace, *seed), Vec::new()),
        }
    }

    fn get(&self, now: Stamp, touched: Touched<'_>, key: &Key, projection: &Projection) -> (Answer, Vec<Key>) {
        let Some(record) = self.record(key).filter(|record| record.life == Life::Live) else {
            return (Answer::Record(None), Vec::new());
        };
        if !alive(now, touched, key, record) {
            return (Answer::Record(None), vec![key.clone()]);
        }
        let view = View::of(record, projection, idle_deadline(touched, key, record));
        (Answer::Record(view.ok().map(Box::new)), Vec::new())
    }

    fn slot_of(&self, slot: Slot, namespace: NamespaceId) -> impl Iterator<Item = (&Key, &Arc<Record>)> {
        self.beginning_at(slot, namespace, 0)
    }

    /// The records of a slot and a namespace from a hash on.
    fn beginning_at(
        &self,
        slot: Slot,
        namespace: NamespaceId,
        hash: u64,
    ) -> impl Iterator<Item = (&Key, &Arc<Record>)> {
        let from = Key::lowest(position(slot, namespace, hash));
        let until = move |key: &Key| key.slot() == slot && key.namespace_bits() == Key::bits_of(namespace);
        self.records
            .range(from..)
            .take_while(move |(key, _)| until(key))
            .filter(move |(key, _)| key.namespace() == namespace)
    }

    fn scan(
        &self,
        now: Stamp,
        touched: Touched<'_>,
        namespace: NamespaceId,
        filter: &Filter,
        from: Option<Cursor>,
        count: u64,
    ) -> Answer {
        let from = from.unwrap_or_default();
        let (mut lines, mut looked, mut last) = (Vec::new(), 0, None);
        let slots = (from.slot..SLOTS).filter_map(Slot::new);
        let records = slots.flat_map(|slot| {
            let hash = if slot.number() == from.slot { from.hash } else { 0 };
            self.beginning_at(slot, namespace, hash)
        });
        for (key, record) in records {
            let here = Cursor { slot: key.slot().number(), hash: key.hash() };
            // All that share a position come in one page.
            if looked >= count.max(1) && last != Some(here) {
                return Answer::Page { lines, next: Some(here) };
            }
            looked += 1;
            last = Some(here);
            if alive(now, touched, key, record) && passes(touched, filter, key, record) {
                lines.extend(line(touched, key, record));
            }
        }
        Answer::Page { lines, next: None }
    }

    fn count(&self, now: Stamp, touched: Touched<'_>, namespace: NamespaceId, filter: &Filter) -> Answer {
        if *filter == Filter::default() {
            let usage = self.usage(namespace);
            return Answer::Total { sessions: usage.sessions, bytes: usage.bytes };
        }
        let (mut sessions, mut bytes) = (0, 0);
        let mut add = |key: &Key, record: &Arc<Record>| {
            if alive(now, touched, key, record) && passes(touched, filter, key, record) {
                sessions += 1;
                bytes += record.body_bytes();
            }
        };
        match (&filter.user, &filter.label) {
            (Some(user), _) => {
                let keys = self.index.user(namespace, user, Key::lowest(0));
                keys.for_each(|key| self.records.get(key).into_iter().for_each(|record| add(key, record)));
            }
            (None, Some((name, value))) => {
                let keys = self.index.label(namespace, (name, value), Key::lowest(0));
                keys.for_each(|key| self.records.get(key).into_iter().for_each(|record| add(key, record)));
            }
            (None, None) => self.living(namespace).for_each(|(key, record)| add(key, record)),
        }
        Answer::Total { sessions, bytes }
    }

    fn random(&self, now: Stamp, touched: Touched<'_>, namespace: NamespaceId, seed: u64) -> Answer {
        let first = (seed % u64::from(SLOTS)) as u16;
        let slots = (first..SLOTS).chain(0..first).filter_map(Slot::new);
        let mut records = slots.flat_map(|slot| self.slot_of(slot, namespace));
        let found = records.find(|(key, record)| alive(now, touched, key, record));
        let lines = found.and_then(|(key, record)| line(touched, key, record)).into_iter().collect();
        Answer::Page { lines, next: None }
    }
}

fn line(touched: Touched<'_>, key: &Key, record: &Record) -> Option<Line> {
    let view = View::of(record, &Projection::Summary, idle_deadline(touched, key, record)).ok()?;
    Some(Line { id: key.id().into(), view })
}

fn idle_deadline(touched: Touched<'_>, key: &Key, record: &Record) -> Stamp {
    touched(key).map_or(record.idle_deadline, |later| record.idle_deadline.max(later).min(record.absolute_deadline))
}

fn alive(now: Stamp, touched: Touched<'_>, key: &Key, record: &Record) -> bool {
    let deadline = idle_deadline(touched, key, record).min(record.absolute_deadline);
    record.life == Life::Live && now < deadline
}

fn passes(touched: Touched<'_>, filter: &Filter, key: &Key, record: &Record) -> bool {
    let Filter { user, label, expiring_before, kind, pattern } = filter;
    let owner = record.owner.as_deref();
    let deadline = idle_deadline(touched, key, record).min(record.absolute_deadline);
    user.as_ref().is_none_or(|user| owner.is_some_and(|owner| owner.user == *user))
        && label.as_ref().is_none_or(|(name, value)| owner.is_some_and(|owner| owner.labels.get(name) == Some(value)))
        && expiring_before.is_none_or(|before| deadline < before)
        && kind.is_none_or(|kind| record.kind == kind)
        && pattern.as_ref().is_none_or(|pattern| glob::matches(pattern, key.id()))
}
