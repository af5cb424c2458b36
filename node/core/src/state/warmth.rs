//! Which sessions' fields are in memory, and what a command or a query needs there.
//!
//! Going cold and warm changes nothing that is replicated: a record says the same either way, only its fields have to be
//! fetched first. Who goes cold is decided by a hand that goes round the records and passes those that were used since
//! it came by (the CLOCK approximation of "least recently used").

use super::State;
use crate::{
    command::{Command, MoveStep, Op},
    ids::Key,
    query::{Projection, Query},
    session::{Body, Fields, Incarnation, Record, Version},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

#[derive(Debug, Default)]
pub(super) struct Warmth {
    hot_bytes: u64,
    cold: u64,
    /// Where the hand is: the last record that it looked at.
    hand: Option<Key>,
    /// What must not go cold, because somebody is about to use it.
    held: BTreeSet<Key>,
}

/// A session whose fields are to be fetched, as it was when that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColdSession {
    /// Which.
    pub key: Key,
    /// Which session under this id.
    pub incarnation: Incarnation,
    /// Which body of it.
    pub version: Version,
}

impl Warmth {
    pub(super) fn of<'a>(records: impl Iterator<Item = &'a Arc<Record>>) -> Self {
        let mut warmth = Self::default();
        records.for_each(|record| warmth.enter(record));
        warmth
    }

    pub(super) fn enter(&mut self, record: &Record) {
        self.hot_bytes += record.hot_bytes();
        self.cold += u64::from(record.is_cold());
    }

    pub(super) fn leave(&mut self, record: &Record) {
        self.hot_bytes = self.hot_bytes.saturating_sub(record.hot_bytes());
        self.cold = self.cold.saturating_sub(u64::from(record.is_cold()));
    }
}

impl State {
    /// What the fields in memory cost, in bytes.
    pub fn hot_bytes(&self) -> u64 {
        self.warmth.hot_bytes
    }

    /// How many sessions have their fields on disk only.
    pub fn cold_count(&self) -> u64 {
        self.warmth.cold
    }

    /// Lets go of fields that the engine has until `bytes` bytes were freed, looking at no more than `looks_max` records,
    /// those not used lately first. Returns how many bytes were freed.
    pub fn cool(&mut self, bytes: u64, looks_max: usize) -> u64 {
        let (mut freed, mut looks) = (0, 0);
        while freed < bytes && looks < looks_max {
            let from = self.warmth.hand.take().map_or(Unbounded, Excluded);
            let Some((key, record)) = self.records.range_mut((from, Unbounded)).next() else {
                // The hand starts over; one look, so that an empty shard ends.
                looks += 1;
                continue;
            };
            looks += 1;
            self.warmth.hand = Some(key.clone());
            let hot_bytes = record.hot_bytes();
            if hot_bytes == 0 || self.warmth.held.contains(key) || record.used.take() || !self.unsaved.has_saved(key) {
                continue;
            }
            // Whoever else holds the record keeps it in memory anyway.
            let Some(record) = Arc::get_mut(record) else { continue };
            self.warmth.leave(record);
            record.body = Body::Cold { bytes: record.body_bytes(), field_count: record.field_count() };
            self.warmth.enter(record);
            freed += hot_bytes;
        }
        freed
    }

    /// Keeps these sessions' fields in memory until [`State::release`], however little of it there is.
    pub fn hold(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.warmth.held.extend(keys);
    }

    /// What was held may go cold again.
    pub fn release(&mut self) {
        self.warmth.held.clear();
    }

    /// Gives a cold session its fields back, if it still is the session that they were fetched for.
    pub fn warm(&mut self, session: &ColdSession, fields: Fields) {
        if !self.is_still(session) {
            return;
        }
        let Some(record) = self.records.get_mut(&session.key) else { return };
        self.warmth.leave(record);
        let hot = Arc::make_mut(record);
        hot.body = Body::Hot(fields);
        hot.used.set();
        self.warmth.enter(record);
    }

    /// Whether a session is cold and the one that was found so.
    pub fn is_still(&self, session: &ColdSession) -> bool {
        let record = self.record_or_aside(&session.key);
        record.and_then(|record| cold_as(&session.key, record)).as_ref() == Some(session)
    }

    /// The cold sessions whose fields `commands` need.
    pub fn cold_for_commands<'a>(&self, commands: impl IntoIterator<Item = &'a Command>) -> Vec<ColdSession> {
        if self.warmth.cold == 0 {
            return Vec::new();
        }
        let mut found = BTreeMap::new();
        for command in commands {
            self.collect_cold(&command.key, &command.op, &mut found);
        }
        found.into_values().collect()
    }

    /// The cold sessions whose fields `queries` need.
    pub fn cold_for_queries<'a>(&self, queries: impl IntoIterator<Item = &'a Query>) -> Vec<ColdSession> {
        if self.warmth.cold == 0 {
            return Vec::new();
        }
        let keys = queries.into_iter().filter_map(|query| match query {
            Query::Get { key, projection }
            | Query::GetAtHome { key, projection }
            | Query::GetSince { key, projection, .. } => (*projection != Projection::Summary).then_some(key),
            Query::Scan { .. }
            | Query::Count { .. }
            | Query::CountSlot { .. }
            | Query::RevocationEpoch { .. }
            | Query::Random { .. }
            | Query::Slots { .. } => None,
        });
        let cold: BTreeMap<&Key, ColdSession> = keys.filter_map(|key| Some((key, self.cold(key)?))).collect();
        cold.into_values().collect()
    }

    fn collect_cold(&self, key: &Key, op: &Op, found: &mut BTreeMap<Key, ColdSession>) {
        if let Op::Exec { steps, .. } = op {
            steps.iter().for_each(|(key, op)| self.collect_cold(key, op, found));
        }
        if let Op::Settle { orphans, .. } = op {
            let cold = orphans.iter().filter_map(|orphan| self.cold(&orphan.key));
            found.extend(cold.map(|cold| (cold.key.clone(), cold)));
        }
        if let Some(cold) = needs_fields(op).then(|| self.cold(key)).flatten() {
            found.insert(cold.key.clone(), cold);
        }
    }

    fn cold(&self, key: &Key) -> Option<ColdSession> {
        // What is kept aside is not asked for.
        self.records.get(key).and_then(|record| cold_as(key, record))
    }
}

fn cold_as(key: &Key, record: &Record) -> Option<ColdSession> {
    let Record { incarnation, version, .. } = *record;
    record.is_cold().then(|| ColdSession { key: key.clone(), incarnation, version })
}

/// Whether an operation looks at the fields of the session that it is on.
fn needs_fields(op: &Op) -> bool {
    match op {
        Op::Create { .. }
        | Op::Touch
        | Op::Destroy
        | Op::Expire { .. }
        | Op::Extend { .. }
        | Op::SetExpiry { .. }
        | Op::Restore { .. }
        | Op::Exec { .. }
        | Op::Revoke { .. }
        | Op::Clear { .. }
        | Op::Absorb { .. }
        | Op::Promise { .. }
        | Op::Assume { .. }
        | Op::CaughtUp { .. }
        | Op::Adopt { .. }
        // Of the sessions that it names: see above.
        | Op::Settle { .. }
        | Op::Release { .. }
        | Op::Swept { .. }
        | Op::Slot { .. }
        | Op::TakeSlots { .. } => false,
        Op::Set { get, .. } => *get,
        Op::Move { step } => matches!(step, MoveStep::Depart { .. }),
        Op::Read { projection } => *projection != Projection::Summary,
        Op::Put { .. }
        | Op::Patch { .. }
        | Op::Rename { .. }
        | Op::Copy { .. }
        | Op::Append { .. }
        | Op::SetRange { .. }
        | Op::Increment { .. }
        | Op::IncrementFloat { .. }
        | Op::GetDelete
        | Op::GetExpire { .. }
        | Op::CompareDelete { .. }
        | Op::CompareExpire { .. }
        | Op::HashSet { .. }
        | Op::HashRemove { .. }
        | Op::HashIncrement { .. }
        | Op::HashIncrementFloat { .. }
        | Op::SetAdd { .. }
        | Op::SetRemove { .. }
        | Op::SetPop { .. }
        | Op::SortedAdd { .. }
        | Op::SortedIncrement { .. }
        | Op::SortedRemove { .. }
        | Op::SortedRemoveByScore { .. }
        | Op::SortedRemoveByRank { .. }
        | Op::SortedPop { .. } => true,
    }
}
