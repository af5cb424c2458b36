//! Slots on their way between shards of a region, as one of the two shards sees them: see [`crate::slots`] for the steps.
//!
//! What is frozen or arriving is kept aside: it is in no list and no index, nobody finds it, nothing of it expires and nothing is
//! collected. It comes back whole, or goes whole. A slot without a hold never moved; it is served by whoever is asked, since
//! nobody asks another shard than the founding's. So a shard without moves pays for one empty map.

use super::{Arrival, Departure, State, turn::Turn, unsaved::Part};
use crate::{
    command::{Op, Outcome, Refusal},
    digest,
    feed::FeedBounds,
    ids::{Key, NamespaceId, RegionId, SLOTS, ShardId, Slot, Stamp, position},
    session::{Life, Record},
    slots::{Contents, Hold, SlotRefusal, SlotStep},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

/// An answer that may be asked for again, and so goes where its session goes.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotAnswer {
    /// Who may ask.
    pub origin: u64,
    /// Below this the origin asks for nothing again.
    pub settled: u64,
    /// Which request it answers.
    pub sequence: u64,
    /// What was told.
    pub outcome: Outcome,
}

/// All that belongs to a slot beside its records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Belongings {
    /// The last version sequence that was given out in it.
    pub sequence: u64,
    /// The stamp at which it was frozen.
    pub stamp: Stamp,
    /// What was answered for its sessions.
    pub answers: Vec<SlotAnswer>,
    /// Sessions that left it for other slots, and are not settled yet.
    pub departures: Vec<(Key, Departure)>,
    /// Sessions that came to it from other slots, and when the note was closed, if it was.
    pub arrivals: Vec<(Key, Arrival, Option<Stamp>)>,
    /// Revocation epochs of its sessions' users: none that was seen to be revoked lives again.
    pub revocations: Vec<(NamespaceId, Box<[u8]>, u64)>,
    /// Up to which stamps it was as other regions' shards had logged.
    pub held: BTreeMap<RegionId, Stamp>,
}

/// A part of some slots, in the order of keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SlotPage {
    /// What the shard has to do with each slot that was asked for; none with one that never moved.
    pub holds: Vec<(Slot, Option<Hold>)>,
    /// The stamp of the shard's log.
    pub as_of: Stamp,
    /// See [`Contents::rights`].
    pub rights: u64,
    /// The last key of the page before this one.
    pub after: Option<Key>,
    /// The last key of this page; none where the slots end.
    pub until: Option<Key>,
    /// Records that changed at the stamp that was asked for, or later.
    pub records: Vec<(Key, Record)>,
    /// Records of frozen slots that did not: there are no others.
    pub others: Vec<Key>,
    /// What belongs to frozen slots, on the last page.
    pub belongings: Vec<(Slot, Belongings)>,
}

/// The slots of a shard that were ever moved.
#[derive(Debug, Default)]
pub(super) struct Slots {
    pub holds: BTreeMap<Slot, Hold>,
    /// Records of slots that are frozen or arriving.
    pub aside: BTreeMap<Key, Arc<Record>>,
    /// Of the same slots.
    pub belongings: BTreeMap<Slot, Belongings>,
}

/// Keys of one slot.
fn span(slot: Slot) -> (Bound<Key>, Bound<Key>) {
    let lowest = |number| Slot::new(number).map(|slot| Key::lowest(position(slot, NamespaceId(0), 0)));
    let after = slot.number() + 1;
    let end = if after < SLOTS { lowest(after).map_or(Bound::Unbounded, Bound::Excluded) } else { Bound::Unbounded };
    (lowest(slot.number()).map_or(Bound::Unbounded, Bound::Included), end)
}

fn of_slot<T>(map: &BTreeMap<Key, T>, slot: Slot) -> impl Iterator<Item = (&Key, &T)> {
    map.range(span(slot))
}

fn keys_of<T>(map: &BTreeMap<Key, T>, slot: Slot) -> Vec<Key> {
    of_slot(map, slot).map(|(key, _)| key.clone()).collect()
}

impl State {
    /// Whether the shard answers for a slot.
    pub fn serves(&self, slot: Slot) -> bool {
        self.slots.holds.get(&slot).is_none_or(Hold::serves)
    }

    /// What the shard has to do with the slots that were ever moved.
    pub fn holds(&self) -> &BTreeMap<Slot, Hold> {
        &self.slots.holds
    }

    /// Whether slots are kept aside here: another shard may serve them, or come to.
    pub fn is_parted(&self) -> bool {
        self.slots.holds.values().any(|hold| matches!(hold, Hold::Frozen { .. } | Hold::Arriving { .. }))
    }

    fn is_frozen(&self) -> bool {
        self.slots.holds.values().any(|hold| matches!(hold, Hold::Frozen { .. }))
    }

    /// The shard that is likely to serve a slot instead.
    pub(super) fn served_by(&self, slot: Slot) -> Option<ShardId> {
        self.slots.holds.get(&slot).and_then(Hold::elsewhere)
    }

    /// Whether all slots from the first to the last are served here.
    pub fn serves_all(&self, first: Slot, last: Slot) -> bool {
        first > last || self.slots.holds.range(first..=last).all(|(_, hold)| hold.serves())
    }

    /// Why an operation is not for this shard, or not now; `is_told` says whether somebody asked for it, other than its leader.
    pub(super) fn not_served(&self, key: &Key, op: &Op, is_told: bool) -> Option<Refusal> {
        if self.slots.holds.is_empty() {
            return None;
        }
        if let Op::Clear { .. } | Op::Revoke { .. } = op {
            // Whoever asks all shards means the one that he believes to serve this key, and has to know where it is by now. What
            // is kept aside is cleared by whoever serves it next.
            let is_elsewhere = is_told && !self.serves(key.slot());
            let refused = is_elsewhere || matches!(op, Op::Clear { .. }) && self.is_parted();
            return refused.then_some(Refusal::SlotMoved { to: None });
        }
        if super::rights::changes_rights(op) {
            // Until it is certain where they are.
            return self.is_frozen().then_some(Refusal::SlotMoved { to: None });
        }
        if super::streams::concerns_no_session(op) {
            return None;
        }
        let mut keys = vec![key];
        op.push_keys(&mut keys);
        let slot = keys.into_iter().map(Key::slot).find(|slot| !self.serves(*slot))?;
        Some(Refusal::SlotMoved { to: self.served_by(slot) })
    }

    /// The record under `key`, also while it is kept aside.
    pub fn record_or_aside(&self, key: &Key) -> Option<&Arc<Record>> {
        self.records.get(key).or_else(|| self.slots.aside.get(key))
    }

    /// A page of what there is of these slots, records that were not written since `since` left out; fields that are on disk only
    /// come as such.
    pub fn slot_page(&self, slots: &BTreeSet<Slot>, since: Stamp, after: Option<&Key>, bounds: FeedBounds) -> SlotPage {
        let holds = slots.iter().map(|slot| (*slot, self.slots.holds.get(slot).copied())).collect();
        let (as_of, rights) = (self.last_stamp, self.rights_digest());
        let mut page = SlotPage { holds, as_of, rights, after: after.cloned(), ..SlotPage::default() };
        let mut last: Option<Key> = None;
        let mut bytes = 0;
        for slot in slots {
            let frozen = matches!(self.slots.holds.get(slot), Some(Hold::Frozen { .. }));
            let from = if frozen { &self.slots.aside } else { &self.records };
            for (key, record) in of_slot(from, *slot).filter(|(key, _)| after.is_none_or(|after| *key > after)) {
                if bytes >= bounds.bytes_max || page.records.len() + page.others.len() == bounds.entries_max {
                    page.until = last;
                    return page;
                }
                if record.written >= since {
                    bytes += RECORD_OVERHEAD_BYTES + record.body_bytes();
                    page.records.push((key.clone(), (**record).clone()));
                } else if frozen {
                    bytes += key.id().len() as u64;
                    page.others.push(key.clone());
                }
                last = Some(key.clone());
            }
        }
        let belongings = slots.iter().filter_map(|slot| Some((*slot, self.slots.belongings.get(slot)?.clone())));
        page.belongings = belongings.collect();
        page
    }

    /// All that is kept aside of a slot.
    fn contents(&self, slot: Slot) -> Contents {
        let nothing = Belongings::default();
        let belongings = self.slots.belongings.get(&slot).unwrap_or(&nothing);
        let records = of_slot(&self.slots.aside, slot).map(|(key, record)| digest::whole(key, record));
        let records = records.fold(0_u64, u64::wrapping_add);
        let digest = u128::from(records) << 64 | u128::from(belongings.digest());
        Contents { digest, sequence: belongings.sequence, stamp: belongings.stamp, rights: self.rights_digest() }
    }

    /// Puts a slot aside that this shard has served.
    fn set_aside(&mut self, slot: Slot, stamp: Stamp) {
        let mut revocations = BTreeSet::new();
        for key in keys_of(&self.records, slot) {
            let Some(record) = self.records.remove(&key) else { continue };
            self.index.remove(&key, &record);
            if let Some(owner) = record.owner.as_deref().filter(|_| record.life == Life::Live) {
                let epoch = self.revocation_epoch(key.namespace(), &owner.user);
                if epoch > 0 {
                    revocations.insert((key.namespace(), owner.user.clone(), epoch));
                }
            }
            self.slots.aside.insert(key, record);
        }
        let moves = &mut self.moves;
        let departures = keys_of(&moves.departures, slot);
        let departures = departures.into_iter().filter_map(|key| moves.departures.remove_entry(&key)).collect();
        let arrivals: Vec<Key> =
            moves.arrivals.iter().filter(|(_, arrival)| arrival.slot == slot).map(|(key, _)| key.clone()).collect();
        let closed = |from: &Key, arrival: &Arrival| {
            let same =
                |entry: &(&(Stamp, Key), &crate::session::Version)| entry.0.1 == *from && *entry.1 == arrival.version;
            moves.closed.iter().find(same).map(|((stamp, _), _)| *stamp)
        };
        let closed: Vec<Option<Stamp>> =
            arrivals.iter().map(|from| moves.arrivals.get(from).and_then(|arrival| closed(from, arrival))).collect();
        let mut taken = Vec::with_capacity(arrivals.len());
        for (from, closed) in arrivals.into_iter().zip(closed) {
            if let Some(closed) = closed {
                moves.closed.remove(&(closed, from.clone()));
            }
            if let Some(arrival) = moves.arrivals.remove(&from) {
                taken.push((from, arrival, closed));
            }
        }
        let belongings = Belongings {
            sequence: self.sequences.remove(&slot).unwrap_or_default(),
            stamp,
            answers: self.answers.take_slot(slot),
            departures,
            arrivals: taken,
            revocations: revocations.into_iter().collect(),
            held: self.held_of_all(),
        };
        self.slots.belongings.insert(slot, belongings);
    }

    /// Serves a slot that was kept aside.
    fn bring_back(&mut self, slot: Slot, was_away: bool) {
        let Belongings { sequence, stamp: _, answers, departures, arrivals, revocations, held } =
            self.slots.belongings.remove(&slot).unwrap_or_default();
        for (namespace, user, epoch) in revocations {
            let known = self.revocations.entry(namespace).or_default().entry(user).or_default();
            *known = epoch.max(*known);
        }
        for key in keys_of(&self.slots.aside, slot) {
            let Some(record) = self.slots.aside.remove(&key) else { continue };
            self.index.insert(&key, &record);
            let revoked = record.life == Life::Live && self.is_revoked(&key, &record);
            if let Some(owner) = record.owner.as_deref().filter(|_| revoked) {
                self.leftovers.insert((key.namespace(), owner.user.clone()));
            }
            self.records.insert(key, record);
        }
        if sequence > 0 {
            let known = self.sequences.entry(slot).or_default();
            *known = sequence.max(*known);
        }
        self.answers.put_slot(slot, answers);
        self.moves.departures.extend(departures);
        for (from, arrival, closed) in arrivals {
            if let Some(closed) = closed {
                self.moves.closed.insert((closed, from.clone()), arrival.version);
            }
            self.moves.arrivals.insert(from, arrival);
        }
        if was_away {
            self.lag_behind(slot, &held);
        }
    }

    /// Forgets what is kept aside of a slot.
    fn forget_aside(&mut self, slot: Slot) {
        for key in keys_of(&self.slots.aside, slot) {
            self.forget_one_aside(&key);
        }
        self.slots.belongings.remove(&slot);
    }

    fn forget_one_aside(&mut self, key: &Key) {
        if let Some(record) = self.slots.aside.remove(key) {
            self.warmth.leave(&record);
            self.unsaved.note(key, None, Part::Body);
        }
    }
}

/// What a record takes on a page beside its fields, about.
const RECORD_OVERHEAD_BYTES: u64 = 256;

impl Belongings {
    /// By names: what was answered to a request, or left under a version, is one thing only.
    fn digest(&self) -> u64 {
        let Self { sequence, stamp, answers, departures, arrivals, revocations, held } = self;
        let answers = answers.iter().map(|answer| digest::mixed([1, answer.origin, answer.sequence, answer.settled]));
        let departures = departures.iter().map(|(key, departure)| {
            let waits = u64::from(departure.view.is_some());
            digest::mixed([2, digest::name(key), departure.version.sequence, waits])
        });
        let arrivals = arrivals.iter().map(|(from, arrival, closed)| {
            let told = u64::from(arrival.arrived) | closed.map_or(0, |closed| closed << 1);
            digest::mixed([3, digest::name(from), arrival.version.sequence, told])
        });
        let revocations = revocations
            .iter()
            .map(|(namespace, user, epoch)| digest::mixed([4, u64::from(namespace.0), digest::bytes(user), *epoch]));
        let held = held.iter().map(|(region, stamp)| digest::mixed([5, u64::from(region.0), *stamp, 0]));
        let all = answers.chain(departures).chain(arrivals).chain(revocations).chain(held);
        all.fold(digest::mixed([0, *sequence, *stamp, 0]), u64::wrapping_add)
    }
}

impl Turn<'_> {
    /// A step of the move of a slot.
    pub(super) fn slot_step(&mut self, slot: Slot, step: SlotStep) -> Result<Outcome, Refusal> {
        let hold = self.state.slots.holds.get(&slot).copied().unwrap_or(match step {
            // Nobody but the shard that serves a slot is asked to let it go, and nobody else to take it in.
            SlotStep::Leave(_) | SlotStep::Freeze { .. } | SlotStep::Thaw { .. } | SlotStep::Drop { .. } => {
                Hold::Serving { settled: 0 }
            }
            SlotStep::Arrive(_) | SlotStep::Adopt { .. } | SlotStep::Abandon { .. } => Hold::Away { settled: 0 },
        });
        let mut after = hold.after(step, self.state.contents(slot)).map_err(Refusal::Slot)?;
        match step {
            SlotStep::Freeze { .. } if !self.state.is_settled() => return Err(Refusal::Slot(SlotRefusal::Unsettled)),
            SlotStep::Freeze { .. } => {
                self.state.set_aside(slot, self.stamp);
                self.state.unfollow(slot);
                after = hold.after(step, self.state.contents(slot)).map_err(Refusal::Slot)?;
            }
            SlotStep::Thaw { .. } => {
                self.state.bring_back(slot, !hold.serves());
            }
            SlotStep::Adopt { contents, .. } => {
                // Time never goes back in a slot.
                self.state.last_stamp = contents.stamp.max(self.state.last_stamp);
                self.state.bring_back(slot, true);
            }
            SlotStep::Arrive(_) | SlotStep::Drop { .. } | SlotStep::Abandon { .. } => self.state.forget_aside(slot),
            SlotStep::Leave(_) => {}
        }
        self.state.slots.holds.insert(slot, after);
        Ok(Outcome::Done)
    }

    /// Takes in a page of slots that arrive by a move.
    pub(super) fn take_slots(&mut self, number: u64, page: SlotPage) -> Result<Outcome, Refusal> {
        let SlotPage { holds, as_of: _, rights: _, after, until, records, others, belongings } = page;
        let arrives = |slot: &Slot| matches!(self.state.slots.holds.get(slot), Some(Hold::Arriving { from, .. }) if from.number == number);
        let slots: BTreeMap<Slot, Option<Hold>> = holds.into_iter().collect();
        if !slots.keys().all(arrives) || !records.iter().all(|(key, _)| slots.contains_key(&key.slot())) {
            return Err(Refusal::Slot(SlotRefusal::OutOfPlace));
        }
        let frozen = |slot: &Slot| matches!(slots.get(slot), Some(Some(Hold::Frozen { .. })));
        let there: BTreeSet<&Key> = records.iter().map(|(key, _)| key).chain(&others).collect();
        let is_within = |key: &Key| {
            after.as_ref().is_none_or(|after| key > after) && until.as_ref().is_none_or(|until| key <= until)
        };
        let aside = &self.state.slots.aside;
        let gone = slots.keys().filter(|slot| frozen(slot)).flat_map(|slot| of_slot(aside, *slot));
        let gone = gone.map(|(key, _)| key).filter(|key| is_within(key) && !there.contains(*key));
        let gone: Vec<Key> = gone.cloned().collect();
        gone.iter().for_each(|key| self.state.forget_one_aside(key));
        for (key, record) in records {
            let record = Arc::new(record);
            let State { slots, unsaved, warmth, .. } = &mut *self.state;
            if let Some(known) = slots.aside.get(&key) {
                warmth.leave(known);
            }
            warmth.enter(&record);
            unsaved.note(&key, Some(&record), Part::Body);
            slots.aside.insert(key, record);
        }
        for (slot, belongings) in belongings.into_iter().filter(|(slot, _)| slots.contains_key(slot)) {
            self.state.slots.belongings.insert(slot, belongings);
        }
        Ok(Outcome::Done)
    }
}

impl Slots {
    /// The slots that a snapshot tells of, and the records that are served among `records`.
    pub(super) fn restore(
        holds: BTreeMap<Slot, Hold>,
        belongings: BTreeMap<Slot, Belongings>,
        records: &mut BTreeMap<Key, Arc<Record>>,
    ) -> Self {
        let mut aside = BTreeMap::new();
        for (slot, _) in holds.iter().filter(|(_, hold)| !hold.serves()) {
            for key in keys_of(records, *slot) {
                aside.extend(records.remove_entry(&key));
            }
        }
        Self { holds, aside, belongings }
    }
}
