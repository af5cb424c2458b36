//! One operation on its way through the state: the few mutators that touch records.
//!
//! Records are shared with whoever was told of them, so a write makes a new one and never changes one in place.

use super::{Effect, Event, SESSION_BYTES_MAX, State, unsaved::Part};
use crate::{
    command::{Expiry, Op, Outcome, Refusal, Rules},
    expiry::Times,
    ids::{Key, RegionId, Stamp},
    session::{Body, Fields, Incarnation, Kind, Life, Owner, Record, Used, Version},
};
use std::sync::Arc;

pub(super) struct Turn<'a> {
    pub state: &'a mut State,
    pub stamp: Stamp,
    pub rules: Rules,
    pub effects: &'a mut Vec<Effect>,
}

/// What a session holds beside its times.
pub(super) struct Contents {
    pub kind: Kind,
    pub fields: Fields,
    pub owner: Option<Box<Owner>>,
}

/// How many fields a refusal for size names.
const LARGEST_NAMED_MAX: usize = 5;

impl Turn<'_> {
    pub fn run(&mut self, key: &Key, op: Op) -> Result<Outcome, Refusal> {
        if let Some(refusal) = self.state.elsewhere(key, &op) {
            return Err(refusal);
        }
        match op {
            Op::Create { .. } | Op::Put { .. } | Op::Patch { .. } | Op::Touch | Op::Rename { .. } | Op::Copy { .. } => {
                self.session_op(key, op)
            }
            Op::Destroy | Op::Expire { .. } | Op::Extend { .. } | Op::SetExpiry { .. } | Op::Restore { .. } => {
                self.life_op(key, op)
            }
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
            Op::Revoke { user, epoch, count_max } => Ok(self.revoke(key.namespace(), &user, epoch, count_max)),
            Op::Move { step } => self.move_op(key, step),
            Op::Clear { namespace, before, count_max } => Ok(self.clear(namespace, before, count_max)),
            Op::Absorb { absorbed } => self.absorb(*absorbed),
            Op::Promise { home, epoch, holders } => Ok(self.promise(home, epoch, &holders)),
            Op::Assume { home, epoch } => self.assume(home, epoch),
            Op::CaughtUp { home, epoch } => Ok(self.caught_up(home, epoch)),
            Op::Settle { by: _, home, epoch, how, orphans } => self.settle_orphans(home, epoch, how, &orphans),
            Op::Release { to } => self.release(key, to),
            Op::Swept { known } => Ok(self.swept(known)),
            Op::Adopt { mode_version } => Ok(self.adopt(mode_version)),
            Op::Slot { slot, step } => self.slot_step(slot, step),
            Op::TakeSlots { number, page } => self.take_slots(number, *page),
        }
    }

    /// The record under `key` if it lives at this stamp. One whose deadline has passed, or whose user was revoked, ends here
    /// and now.
    pub fn live(&mut self, key: &Key) -> Option<Arc<Record>> {
        let record = self.state.records.get(key)?;
        if record.life != Life::Live {
            return None;
        }
        let overdue = !record.is_live(self.stamp);
        if overdue || self.state.is_revoked(key, record) {
            self.end(key, overdue);
            return None;
        }
        record.used.set();
        Some(record.clone())
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

    /// The times of a session after a write that states `expiry`.
    pub fn times(&self, expiry: Expiry, current: Option<&Record>) -> Times {
        Times::after(self.stamp, &self.rules, expiry, current)
    }

    /// Ends whatever lives under `key`.
    pub fn end(&mut self, key: &Key, expired: bool) {
        let Some(old) = self.state.records.get(key).cloned() else { return };
        // A tombstone outlives an incarnation that ran ahead of the clock, so that the next one is still higher.
        let stands_ms =
            if self.state.plants.tombstones_by_window { super::PLANTED_WINDOW_MS } else { self.rules.tombstone_ms };
        let collect_at = self.stamp.max(old.incarnation.stamp).saturating_add(stands_ms);
        // Others may move the deadline of a foreign id on for as long before they hear of its end.
        let moved_ms = if self.rules.absolute_moves { self.rules.absolute_ms } else { 0 };
        let absolute_deadline = old.absolute_deadline.max(self.stamp.saturating_add(moved_ms));
        let ended = Record {
            life: Life::Dead { at: self.stamp, collect_at, expired },
            version: self.next_version(key, old.home, old.version),
            written: self.stamp,
            absolute_deadline,
            owner: None,
            ..old.with_body(Body::Hot(Fields::new()))
        };
        self.place(key, ended, if expired { Event::Expired } else { Event::Del });
    }

    /// The version after `old` under `key`, of a session that is at home in `home`.
    pub fn next_version(&mut self, key: &Key, home: RegionId, old: Version) -> Version {
        let sequence = self.state.next_sequence(key.slot(), old.sequence);
        Version { epoch: self.epoch_after(home, old), home_epoch: old.home_epoch, sequence }
    }

    /// The epoch of what is written for `home` after `old`: never lower than any that the session was written under.
    pub fn epoch_after(&self, home: RegionId, old: Version) -> u32 {
        old.epoch.max(self.state.acts_for(home).unwrap_or(0))
    }

    /// The home of what is created here; refused while somebody else may act for it.
    pub fn home(&self) -> Result<RegionId, Refusal> {
        let home = self.state.region;
        let fenced = Refusal::Fenced { home, epoch: self.state.promised(home) };
        self.state.acts_for(home).map(|_| home).ok_or(fenced)
    }

    /// Creates a session where none lives.
    pub fn create(
        &mut self,
        key: &Key,
        contents: Contents,
        times: Times,
        event: Event,
    ) -> Result<Arc<Record>, Refusal> {
        let Contents { kind, fields, owner } = contents;
        let home = self.home()?;
        self.check_owner(key, owner.as_deref())?;
        self.check_size(&fields)?;
        let old = self.state.records.get(key).map(|old| (old.incarnation, old.version));
        if old.is_some() && self.rules.refuse_after_destroy {
            return Err(Refusal::Destroyed);
        }
        let stamp = old.map_or(self.stamp, |(old, _)| self.stamp.max(old.stamp.saturating_add(1)));
        let record = Record {
            incarnation: Incarnation { stamp, region: home },
            version: self.next_version(key, home, old.map(|(_, version)| version).unwrap_or_default()),
            home,
            kind,
            life: Life::Live,
            written: self.stamp,
            idle_timeout_ms: times.idle_timeout_ms,
            idle_deadline: times.idle_deadline,
            absolute_deadline: times.absolute_deadline,
            owner,
            body: Body::Hot(fields),
            used: Used::default(),
        };
        Ok(self.place(key, record, event))
    }

    /// Puts a record under `key`, over whatever was there.
    pub fn place(&mut self, key: &Key, record: Record, event: Event) -> Arc<Record> {
        let record = Arc::new(record);
        record.used.set();
        let told = self.state.orders(&record);
        let State { records, index, unsaved, warmth, .. } = &mut *self.state;
        warmth.enter(&record);
        unsaved.note(key, Some(&record), Part::of(event));
        match records.get_mut(key) {
            Some(slot) => {
                warmth.leave(slot);
                index.change(key, slot, &record);
                *slot = record.clone();
            }
            None => {
                index.insert(key, &record);
                records.insert(key.clone(), record.clone());
            }
        }
        self.effects.push(Effect { key: key.clone(), event, record: record.clone(), told });
        record
    }

    /// Gives a living session other contents.
    pub fn rewrite(
        &mut self,
        key: &Key,
        old: &Record,
        contents: Contents,
        times: Times,
        event: Event,
    ) -> Result<Arc<Record>, Refusal> {
        let Contents { kind, fields, owner } = contents;
        self.check_size(&fields)?;
        let record = Record {
            incarnation: old.incarnation,
            version: self.next_version(key, old.home, old.version),
            home: old.home,
            kind,
            life: Life::Live,
            written: self.stamp,
            idle_timeout_ms: times.idle_timeout_ms,
            idle_deadline: times.idle_deadline,
            absolute_deadline: times.absolute_deadline,
            owner,
            body: Body::Hot(fields),
            used: Used::default(),
        };
        Ok(self.place(key, record, event))
    }

    /// Gives a living session other times; they are part of the body, so this is a new version.
    pub fn retime(&mut self, key: &Key, old: &Record, times: Times, event: Event) {
        let version = self.next_version(key, old.home, old.version);
        self.place(key, self.retimed(old, times, version), event);
    }

    /// Moves the idle deadline of a living session under the version that it has.
    pub fn touch(&mut self, key: &Key, old: &Record, times: Times) -> Arc<Record> {
        self.place(key, self.retimed(old, times, old.version), Event::Touched)
    }

    fn retimed(&self, old: &Record, times: Times, version: Version) -> Record {
        let Times { idle_timeout_ms, idle_deadline, absolute_deadline } = times;
        Record { version, written: self.stamp, idle_timeout_ms, idle_deadline, absolute_deadline, ..old.clone() }
    }

    pub fn check_size(&self, fields: &Fields) -> Result<(), Refusal> {
        let (bytes, bytes_max) = (fields.bytes(), self.rules.size_bytes_max.min(SESSION_BYTES_MAX));
        if bytes <= bytes_max {
            return Ok(());
        }
        let mut largest: Vec<(&[u8], u64)> =
            fields.iter().map(|(name, value)| (name, (name.len() + value.len()) as u64)).collect();
        largest.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(right.0)));
        largest.truncate(LARGEST_NAMED_MAX);
        let largest = largest.into_iter().map(|(name, bytes)| (name.into(), bytes)).collect();
        Err(Refusal::TooLarge { bytes, bytes_max, largest })
    }

    pub fn check_owner(&self, key: &Key, owner: Option<&Owner>) -> Result<(), Refusal> {
        let Some(owner) = owner.filter(|owner| !owner.user.is_empty()) else { return Ok(()) };
        if self.state.plants.revoked_at.is_some() {
            // Who goes by the clock knows of no epochs.
            return Ok(());
        }
        let epoch = self.state.revocation_epoch(key.namespace(), &owner.user);
        if owner.revocation_epoch < epoch { Err(Refusal::Revoked { epoch }) } else { Ok(()) }
    }
}
