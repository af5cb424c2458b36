//! Renames between shards: a session leaves one shard's log and enters another's, in steps that may be repeated.
//!
//! `Depart` ends the old id and keeps the body aside; `Arrive` creates the new id, once, whoever repeats it; `Settle` drops
//! the body, or gives it back to the old id where it could not arrive; `Forget` and `Close` put away the notes on both sides.
//! The old id's shard owns the whole: while it has a note, its leader goes on with what a crash left. At no time do both ids
//! live, and the body is always in one of the two logs.

use super::{ANSWER_MS_MAX, Event, turn::Turn};
use crate::{
    command::{MoveStep, Outcome, Refusal, Rules},
    ids::{Key, Slot, Stamp},
    query::{Projection, View},
    session::{Body, Incarnation, Life, Record, Version},
};
use std::collections::BTreeMap;

/// Sessions of one shard that are on their way at a time; while another shard does not answer, no more leave.
pub const DEPARTURES_MAX: usize = 1_024;

/// A session on its way to another shard.
#[derive(Clone, Debug, PartialEq)]
pub struct Departure {
    /// The new id.
    pub to: Key,
    /// Whether what lives under the new id is overwritten.
    pub replace: bool,
    /// The policy of the rename.
    pub rules: Rules,
    /// The version that left, which names the move.
    pub version: Version,
    /// When it left.
    pub since: Stamp,
    /// The session; `None` once it is settled where it lives.
    pub view: Option<Box<View>>,
}

/// What became of a session that came from another shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Names the move.
    pub version: Version,
    /// Whether the new id is its own from then on.
    pub arrived: bool,
    /// The slot of the new id, with which the note moves.
    pub slot: Slot,
}

/// The moves that a shard has a part in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moves {
    /// By the old id, in its shard.
    pub departures: BTreeMap<Key, Departure>,
    /// By the old id, in the new id's shard.
    pub arrivals: BTreeMap<Key, Arrival>,
    /// Arrivals that are to be forgotten, by when they were closed: a step that was held up on its way must still find them.
    pub closed: BTreeMap<(Stamp, Key), Version>,
}

impl Turn<'_> {
    pub(super) fn move_op(&mut self, key: &Key, step: MoveStep) -> Result<Outcome, Refusal> {
        self.forget_closed();
        match step {
            MoveStep::Depart { to, replace } => self.depart(key, to, replace),
            MoveStep::Arrive { from, replace, view } => self.arrive(key, from, replace, *view),
            MoveStep::Settle { version, arrived } => self.settle(key, version, arrived),
            MoveStep::Forget { from, version } => {
                self.state.moves.closed.insert((self.stamp, from), version);
                Ok(Outcome::Done)
            }
            MoveStep::Close { version } => {
                let departures = &mut self.state.moves.departures;
                if departures.get(key).is_some_and(|left| left.version == version && left.view.is_none()) {
                    departures.remove(key);
                }
                Ok(Outcome::Done)
            }
        }
    }

    fn depart(&mut self, key: &Key, to: Key, replace: bool) -> Result<Outcome, Refusal> {
        let record = self.live(key).ok_or(Refusal::Missing)?;
        let departures = &self.state.moves.departures;
        if departures.contains_key(key) || departures.len() >= DEPARTURES_MAX {
            return Err(Refusal::Busy);
        }
        let view = Box::new(View::of(&record, &Projection::Whole, record.idle_deadline)?);
        let (rules, version, since) = (self.rules, record.version, self.stamp);
        let departure = Departure { to, replace, rules, version, since, view: Some(view.clone()) };
        self.state.moves.departures.insert(key.clone(), departure);
        if self.state.plants.rename_keeps_both {
            return Ok(Outcome::Record(Some(view)));
        }
        self.end(key, false);
        if let Some(effect) = self.effects.last_mut() {
            effect.event = Event::RenameFrom;
        }
        Ok(Outcome::Record(Some(view)))
    }

    fn arrive(&mut self, key: &Key, from: Key, replace: bool, view: View) -> Result<Outcome, Refusal> {
        let version = view.version;
        if let Some(known) = self.state.moves.arrivals.get(&from).filter(|known| known.version == version) {
            return Ok(Outcome::Count(i64::from(known.arrived)));
        }
        let lives = self.live(key).is_some();
        let refused = !lives && self.rules.refuse_after_destroy && self.state.records.contains_key(key);
        let arrived = !refused && (replace || !lives);
        self.home()?;
        self.state.moves.arrivals.insert(from, Arrival { version, arrived, slot: key.slot() });
        if arrived {
            let record = self.revived(key, view);
            // It may have ended on the way.
            if record.is_live(self.stamp) && !self.state.is_revoked(key, &record) {
                self.place(key, record, Event::RenameTo);
            } else if lives {
                self.end(key, false);
            }
        }
        if refused { Err(Refusal::Destroyed) } else { Ok(Outcome::Count(i64::from(arrived))) }
    }

    fn settle(&mut self, key: &Key, version: Version, arrived: bool) -> Result<Outcome, Refusal> {
        self.home()?;
        let departure = self.state.moves.departures.get_mut(key).filter(|departure| departure.version == version);
        let Some(view) = departure.and_then(|departure| departure.view.take()) else { return Ok(Outcome::Count(0)) };
        if !arrived && self.live(key).is_none() {
            // As if it had been renamed back; if the id was taken meanwhile, that overwrote it.
            let record = self.revived(key, *view);
            if record.is_live(self.stamp) && !self.state.is_revoked(key, &record) {
                self.place(key, record, Event::RenameTo);
            }
        }
        Ok(Outcome::Count(1))
    }

    /// The session that a view shows, as it is written under `key`: the same incarnation unless the id had that or a later one.
    fn revived(&mut self, key: &Key, view: View) -> Record {
        let View {
            kind, incarnation, version, idle_timeout_ms, idle_deadline, absolute_deadline, owner, fields, ..
        } = view;
        let old = self.state.records.get(key).map(|old| (old.incarnation.stamp, old.version));
        let after = old.map_or(0, |(stamp, _)| stamp.saturating_add(1));
        let home = self.state.region;
        let sequence = self.next_version(key, home, old.map(|(_, version)| version).unwrap_or_default()).sequence;
        Record {
            incarnation: Incarnation { stamp: incarnation.stamp.max(after), ..incarnation },
            version: Version { epoch: self.epoch_after(home, version), sequence, ..version },
            home,
            kind,
            life: Life::Live,
            written: self.stamp,
            idle_timeout_ms,
            idle_deadline,
            absolute_deadline,
            owner,
            body: Body::Hot(fields),
            used: Default::default(),
        }
    }

    fn forget_closed(&mut self) {
        let moves = &mut self.state.moves;
        while let Some(first) = moves.closed.first_entry() {
            if first.key().0.saturating_add(ANSWER_MS_MAX) > self.stamp {
                return;
            }
            let ((_, from), version) = first.remove_entry();
            if moves.arrivals.get(&from).is_some_and(|known| known.version == version) {
                moves.arrivals.remove(&from);
            }
        }
    }
}
