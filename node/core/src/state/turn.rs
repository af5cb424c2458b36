//! One operation on its way through the state: the few mutators that touch records.

use super::{Effect, Event, SESSION_BYTES_MAX, State, index::Facts};
use crate::{
    command::{Op, Outcome, Refusal, Rules},
    ids::{Key, Stamp},
    session::{Body, Fields, Incarnation, Kind, Life, Owner, Record, Version},
};
use std::sync::Arc;

pub(super) struct Turn<'a> {
    pub state: &'a mut State,
    pub stamp: Stamp,
    pub rules: Rules,
    /// What the leader knows of one session's idle deadline beyond the log.
    pub touched: Option<(Key, Stamp)>,
    pub effects: &'a mut Vec<Effect>,
}

/// The times of a session that a write sets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub idle_timeout_ms: u64,
    pub idle_deadline: Stamp,
    pub absolute_deadline: Stamp,
}

/// How many fields a refusal for size names.
const LARGEST_NAMED_MAX: usize = 5;

impl Turn<'_> {
    pub fn run(&mut self, key: &Key, op: Op) -> Result<Outcome, Refusal> {
        match op {
            Op::Create { .. } | Op::Put { .. } | Op::Patch { .. } | Op::Touch | Op::Rename { .. } | Op::Copy { .. } => {
                self.session_op(key, op)
            }
            Op::Destroy | Op::Expire { .. } | Op::SetExpiry { .. } | Op::Restore { .. } => self.life_op(key, op),
            Op::Set { .. }
            | Op::Append { .. }
            | Op::SetRange { .. }
            | Op::Increment { .. }
            | Op::IncrementFloat { .. }
            | Op::GetDelete
            | Op::GetExpire { .. }
            | Op::CompareDelete { .. }
            | Op::CompareExpire { .. } => self.string_op(key, op),
            Op::HashSet { .. } | Op::HashRemove { .. } | Op::HashIncrement { .. } | Op::HashIncrementFloat { .. } => {
                self.hash_op(key, op)
            }
            Op::SetAdd { .. } | Op::SetRemove { .. } | Op::SetPop { .. } => self.set_op(key, op),
            Op::SortedAdd { .. }
            | Op::SortedIncrement { .. }
            | Op::SortedRemove { .. }
            | Op::SortedRemoveByScore { .. }
            | Op::SortedRemoveByRank { .. }
            | Op::SortedPop { .. } => self.sorted_op(key, op),
            Op::Read { projection } => Ok(self.read(key, &projection)),
            Op::Exec { watched, steps } => Ok(self.exec(&watched, steps)),
            Op::Revoke { user, epoch } => Ok(self.revoke(key.namespace(), &user, epoch)),
            Op::Clear { namespace, before, count_max } => Ok(self.clear(namespace, before, count_max)),
        }
    }

    /// The record under `key` if it lives at this stamp. One whose deadline has passed is expired here and now.
    pub fn live(&mut self, key: &Key) -> Option<Arc<Record>> {
        self.absorb_touch(key);
        let record = self.state.records.get(key)?.clone();
        if record.life != Life::Live {
            return None;
        }
        if record.is_live(self.stamp) {
            return Some(record);
        }
        self.end(key, true);
        None
    }

    fn absorb_touch(&mut self, key: &Key) {
        let Some((touched, deadline)) = self.touched.take() else { return };
        if touched != *key {
            self.touched = Some((touched, deadline));
            return;
        }
        let past_absolute = self.state.plants.touch_past_absolute;
        self.change(key, None, |record| {
            let bound = if past_absolute { Stamp::MAX } else { record.absolute_deadline };
            record.idle_deadline = record.idle_deadline.max(deadline).min(bound);
        });
    }

    /// The fields of a living record.
    pub fn fields(record: &Record) -> Result<&Fields, Refusal> {
        match &record.body {
            Body::Hot(fields) => Ok(fields),
            // The shell warms what a command needs; a command that slipped through changes nothing.
            Body::Cold { .. } => Err(Refusal::NotHere),
        }
    }

    /// The living record of that kind, if any lives.
    pub fn live_kind(&mut self, key: &Key, kind: Kind) -> Result<Option<Arc<Record>>, Refusal> {
        match self.live(key) {
            Some(record) if record.kind != kind => Err(Refusal::WrongKind),
            other => Ok(other),
        }
    }

    /// Ends whatever lives under `key`.
    pub fn end(&mut self, key: &Key, expired: bool) {
        let (stamp, keep_ms) = (self.stamp, self.rules.tombstone_ms);
        let event = if expired { Event::Expired } else { Event::Del };
        let version = self.next_version(key);
        self.change(key, Some(event), |record| {
            record.life = Life::Dead { at: stamp, collect_at: stamp.saturating_add(keep_ms), expired };
            record.version = version(record.version);
            record.body = Body::Hot(Fields::new());
            record.owner = None;
            record.written = stamp;
        });
    }

    fn next_version(&mut self, key: &Key) -> impl FnOnce(Version) -> Version + use<> {
        let above = self.state.records.get(key).map_or(0, |record| record.version.sequence);
        let sequence = self.state.next_sequence(key.slot(), above);
        let epoch = self.state.epoch;
        move |old| Version { epoch: old.epoch.max(epoch), home_epoch: old.home_epoch, sequence }
    }

    /// Changes the record under `key`, if there is one, with its index.
    fn change(&mut self, key: &Key, event: Option<Event>, change: impl FnOnce(&mut Record)) {
        let State { records, index, .. } = &mut *self.state;
        let Some(slot) = records.get_mut(key) else { return };
        let before = Facts::of(slot);
        change(Arc::make_mut(slot));
        index.change(key, &before, slot);
        if let Some(event) = event {
            self.effects.push(Effect { key: key.clone(), event, record: slot.clone() });
        }
    }

    /// Creates a session where none lives.
    pub fn create(
        &mut self,
        key: &Key,
        kind: Kind,
        fields: Fields,
        times: Times,
        owner: Option<Box<Owner>>,
        event: Event,
    ) -> Result<Arc<Record>, Refusal> {
        self.check_owner(key, owner.as_deref())?;
        self.check_size(&fields)?;
        let old = self.state.records.get(key).cloned();
        if old.is_some() && self.rules.refuse_after_destroy {
            return Err(Refusal::Destroyed);
        }
        let stamp = old.as_ref().map_or(self.stamp, |old| self.stamp.max(old.incarnation.stamp.saturating_add(1)));
        let version = self.next_version(key)(old.as_ref().map(|old| old.version).unwrap_or_default());
        let record = Arc::new(Record {
            incarnation: Incarnation { stamp, region: self.state.region },
            version,
            home: self.state.region,
            kind,
            life: Life::Live,
            written: self.stamp,
            idle_timeout_ms: times.idle_timeout_ms,
            idle_deadline: times.idle_deadline,
            absolute_deadline: times.absolute_deadline,
            owner,
            body: Body::Hot(fields),
        });
        self.place(key, record.clone(), event);
        Ok(record)
    }

    /// Puts a record under `key`, over whatever was there.
    pub fn place(&mut self, key: &Key, record: Arc<Record>, event: Event) {
        if let Some(old) = self.state.records.insert(key.clone(), record.clone()) {
            self.state.index.remove(key, &old);
        }
        self.state.index.insert(key, &record);
        self.effects.push(Effect { key: key.clone(), event, record });
    }

    /// Gives a living session other fields; one without fields, of a kind that cannot be empty, is destroyed.
    pub fn rewrite(&mut self, key: &Key, fields: Fields, times: Times, event: Event) -> Result<Arc<Record>, Refusal> {
        self.check_size(&fields)?;
        let version = self.next_version(key);
        let stamp = self.stamp;
        self.change(key, Some(event), |record| {
            record.version = version(record.version);
            record.body = Body::Hot(fields);
            record.written = stamp;
            record.idle_timeout_ms = times.idle_timeout_ms;
            record.idle_deadline = times.idle_deadline;
            record.absolute_deadline = times.absolute_deadline;
        });
        self.state.records.get(key).cloned().ok_or(Refusal::Gone)
    }

    /// Sets only the times of a living session. With `logged` the deadline is part of the body and counts as a change.
    pub fn retime(&mut self, key: &Key, times: Times, event: Event, logged: bool) {
        let version = logged.then(|| self.next_version(key));
        let stamp = self.stamp;
        self.change(key, Some(event), |record| {
            if let Some(version) = version {
                record.version = version(record.version);
            }
            record.written = stamp;
            record.idle_timeout_ms = times.idle_timeout_ms;
            record.idle_deadline = times.idle_deadline;
            record.absolute_deadline = times.absolute_deadline;
        });
    }

    /// Changes kind and owner of a living session, as an overwriting `SET` does.
    pub fn reown(&mut self, key: &Key, kind: Kind, owner: Option<Option<Box<Owner>>>) {
        self.change(key, None, |record| {
            record.kind = kind;
            if let Some(owner) = owner {
                record.owner = owner;
            }
        });
    }

    pub fn check_size(&self, fields: &Fields) -> Result<(), Refusal> {
        let (bytes, bytes_max) = (fields.bytes(), self.rules.size_bytes_max.min(SESSION_BYTES_MAX));
        if bytes <= bytes_max {
            return Ok(());
        }
        let mut largest: Vec<(Box<[u8]>, u64)> =
            fields.iter().map(|(name, value)| (name.into(), (name.len() + value.len()) as u64)).collect();
        largest.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        largest.truncate(LARGEST_NAMED_MAX);
        Err(Refusal::TooLarge { bytes, bytes_max, largest })
    }

    pub fn check_owner(&self, key: &Key, owner: Option<&Owner>) -> Result<(), Refusal> {
        let Some(owner) = owner.filter(|owner| !owner.user.is_empty()) else { return Ok(()) };
        let epoch = self.state.revocation_epoch(key.namespace(), &owner.user);
        if owner.revocation_epoch < epoch { Err(Refusal::Revoked { epoch }) } else { Ok(()) }
    }
}
