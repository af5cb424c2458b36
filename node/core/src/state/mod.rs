//! A shard's sessions, and the one function that changes them.
//!
//! Start at [`State::apply`]: it settles time, tombstones and repeated requests, then hands the operation to a
//! `turn::Turn`, whose few mutators are the only code that touches records. One file for each family of operations;
//! `index` keeps what can be looked up beside the key, `answers` what was answered, `meta` is the way out and in for
//! checkpoints and snapshots; `unsaved` is what the engine does not have yet, `warmth` decides which bodies memory holds.

mod answers;
mod deadlines;
mod digests;
mod exec;
mod followed;
mod hashes;
mod held;
mod index;
mod journal;
mod leaving;
mod life;
mod meta;
pub mod moves;
mod number;
mod read;
mod returns;
mod rights;
mod sessions;
mod sets;
mod slots;
mod sorted;
mod streams;
mod strings;
#[cfg(test)]
mod tests;
mod tombs;
mod travels;
mod turn;
mod unsaved;
mod users;
mod walk;
mod warmth;

pub use answers::{ANSWER_LEAP_MS_MAX, ANSWER_MS_MAX, Answers, Origin, Remembered};
pub use followed::Lacking;
pub use index::Usage;
pub use journal::{CONFLICT_MS, Conflict, JOURNAL, Side};
pub use leaving::HomePlace;
pub use meta::Meta;
pub use moves::{Arrival, Departure, Moves};
pub use returns::{ORPHANS_BYTES_PER_APPLY_MAX, ORPHANS_PER_APPLY_MAX};
pub use rights::{Believed, Right};
pub use slots::{Belongings, SlotAnswer, SlotPage};
pub use sorted::{decode_score, encode_score, ordered, rank_range};
pub use tombs::{COLLECTED_PER_APPLY_MAX, Tombs};
pub use unsaved::{Change, Changes};
pub use users::ENDED_PER_APPLY_MAX;
pub use warmth::ColdSession;

use crate::{
    command::{Command, Outcome, Refusal},
    ids::{Key, NamespaceId, RegionId, Slot, Stamp},
    session::{Life, Record},
    stream::{Progress, Source},
    tombstones::Swept,
};
use answers::{Memory, Recall};
use deadlines::Entry;
use index::{Index, List};
use slots::Slots;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use turn::Turn;
use unsaved::{Part, Unsaved};
use warmth::Warmth;

/// What happened to a session, for watchers, keyspace events and change streams. Named as Redis names its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A string was set.
    Set,
    /// Something else changed its fields; the name is Redis's event name.
    Changed(&'static str),
    /// Its deadline was moved.
    Expire,
    /// Its idle deadline was moved on by use; nothing else changed.
    Touched,
    /// It lost its deadline.
    Persist,
    /// It was destroyed.
    Del,
    /// It expired.
    Expired,
    /// It got another id: this is the old one.
    RenameFrom,
    /// It got this id.
    RenameTo,
}

/// One change that [`State::apply`] made.
#[derive(Clone, Debug)]
pub struct Effect {
    /// Which session.
    pub key: Key,
    /// What happened.
    pub event: Event,
    /// The record after it.
    pub record: Arc<Record>,
    /// Whether this region ordered it, and so tells those who follow.
    pub told: bool,
}

/// Bugs that the simulation plants to prove that its oracles see them. All off outside the simulation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plants {
    /// `put` and `patch` create what is gone.
    pub update_creates: bool,
    /// A touch moves the absolute deadline too.
    pub touch_past_absolute: bool,
    /// A session that leaves for another shard lives on under its old id.
    pub rename_keeps_both: bool,
    /// Pieces of streams are taken in wherever they were cut off, however often.
    pub pieces_in_any_order: bool,
    /// A page of a copy drops what it does not know outside of its span too.
    pub page_drops_beyond_its_span: bool,
    /// A cursor goes on to stand for slots that its source has let go, or taken in again.
    pub turned_slots_stand: bool,
    /// Tombstones go after half a second.
    pub tombstones_by_window: bool,
    /// Nothing that is told is kept out for its epoch, nor takes second place for it.
    pub fences_by_term_alone: bool,
    /// A session that travels has the epoch of where it goes.
    pub epoch_lowered_by_travel: bool,
    /// A user's sessions are revoked that began before the revocation, by this shard's clock and that of whoever created them,
    /// instead of by epochs: when each user was revoked last.
    pub revoked_at: Option<BTreeMap<(NamespaceId, Box<[u8]>), Stamp>>,
    /// Every version of an entry has this sequence.
    pub sequence: Option<u64>,
}

/// How long tombstones stand where [`Plants::tombstones_by_window`] is planted, in ms.
const PLANTED_WINDOW_MS: u64 = 500;

/// The most bytes of fields in one session, whatever the namespace allows: the longest string of Redis.
pub const SESSION_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// A shard's replicated state.
#[derive(Debug, Default)]
pub struct State {
    region: RegionId,
    /// For which homes it acts, and what it has promised of others.
    rights: BTreeMap<RegionId, Right>,
    /// The version of the failover mode that it writes by.
    adopted: Option<u64>,
    /// Which tombstones are known everywhere.
    swept: Swept,
    /// The stamp of the entry that said so: pages that were asked for before it may be older than those tombstones.
    swept_at: Stamp,
    last_stamp: Stamp,
    records: BTreeMap<Key, Arc<Record>>,
    /// The last version sequence given out in each slot.
    sequences: BTreeMap<Slot, u64>,
    /// The revocation epoch of each user that has one.
    revocations: BTreeMap<NamespaceId, BTreeMap<Box<[u8]>, u64>>,
    /// Users of whose revoked sessions some wait to be destroyed. Follows from the above.
    leftovers: BTreeSet<(NamespaceId, Box<[u8]>)>,
    answers: Memory,
    /// Sessions between this shard and others.
    moves: Moves,
    /// How far this shard has followed those of other regions.
    followed: BTreeMap<Source, Progress>,
    /// Slots whose copies of a region's sessions may lack what its shards told that are followed: they came by a move since.
    unfollowed: BTreeMap<RegionId, Lacking>,
    /// What became of those of its slots that were ever moved.
    slots: Slots,
    /// Derived from `records`, always.
    index: Index,
    /// Whose tombstones the last entry collected; not replicated, as all that follows.
    collected: Vec<Key>,
    unsaved: Unsaved,
    warmth: Warmth,
    /// Simulation only.
    pub plants: Plants,
}

impl State {
    /// A shard of `region` without sessions, acting for its own region under `epoch`.
    pub fn new(region: RegionId, epoch: u32) -> Self {
        let rights = BTreeMap::from([(region, Right::acting(epoch))]);
        Self { region, rights, ..Self::default() }
    }

    /// Applies one command and reports what changed through `effects`.
    ///
    /// Time is `stamp`, or the latest stamp so far if that is later. Repeating a request answers what it answered at
    /// first and changes nothing; one that was settled meanwhile is refused with [`Refusal::Gone`], since whoever asked
    /// was answered long ago. No input panics.
    pub fn apply(&mut self, stamp: Stamp, command: Command, effects: &mut Vec<Effect>) -> Outcome {
        let stamp = stamp.max(self.last_stamp);
        self.answers.pass(self.last_stamp, stamp);
        self.last_stamp = stamp;
        self.collect_tombstones(stamp);
        self.answers.sweep();
        let Command { request, key, rules, touched, op } = command;
        match self.answers.recall(request) {
            Recall::Known(outcome) => return outcome,
            Recall::Settled => return Outcome::Refused(Refusal::Gone),
            Recall::New => {}
        }
        // Not remembered: whoever asks again, here or where the slot is by then, is answered anew.
        let refusal = self.not_served(&key, &op, request.origin != 0).or_else(|| self.settles_nothing(&op));
        if let Some(refusal) = refusal {
            return Outcome::Refused(refusal);
        }
        let mut turn = Turn { state: self, stamp, rules, effects };
        if let Some(deadline) = touched {
            turn.extend(&key, None, deadline);
        }
        let outcome = turn.run(&key, op).unwrap_or_else(Outcome::Refused);
        self.answers.remember(request, key.slot(), &outcome);
        outcome
    }

    /// The record under `key`: alive, overdue or a tombstone.
    pub fn record(&self, key: &Key) -> Option<&Arc<Record>> {
        self.records.get(key)
    }

    /// All records in the order of keys, those after `after` or from the first.
    pub fn records(&self, after: Option<&Key>) -> impl Iterator<Item = (&Key, &Arc<Record>)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.records.range((after.map_or(Unbounded, Excluded), Unbounded))
    }

    /// How many records there are, tombstones included.
    pub fn record_count(&self) -> usize {
        self.records.len()
    }

    /// The stamp of the last entry.
    pub fn last_stamp(&self) -> Stamp {
        self.last_stamp
    }

    /// The region that the shard is in.
    pub fn region(&self) -> RegionId {
        self.region
    }

    /// The keys that the last [`State::apply`] forgot altogether, at most [`COLLECTED_PER_APPLY_MAX`]: their tombstones
    /// were due, and the engine drops them too.
    pub fn collected(&self) -> &[Key] {
        &self.collected
    }

    /// Sessions that left this shard before `left_before` and are not settled yet, at most `max`.
    pub fn departures(&self, left_before: Stamp, max: usize) -> Vec<(Key, Departure)> {
        let left = self.moves.departures.iter().filter(|(_, departure)| departure.since < left_before);
        left.take(max).map(|(key, departure)| (key.clone(), departure.clone())).collect()
    }

    /// The origins that may ask again for an answer for a session of the slot, as far as this shard was told: see
    /// [`crate::Refusal::Busy`].
    pub fn askers(&self, slot: Slot) -> Vec<u64> {
        self.answers.askers(slot).collect()
    }

    /// Living sessions of a namespace and their size, those past their deadline but not yet expired included.
    pub fn usage(&self, namespace: NamespaceId) -> Usage {
        self.index.usage(namespace)
    }

    /// Namespaces that have living sessions.
    pub fn namespaces(&self) -> impl Iterator<Item = (NamespaceId, Usage)> {
        self.index.usages().filter(|(namespace, _)| *namespace != JOURNAL)
    }

    /// Living records of homes that this shard acts for and whose logged deadline is at or before `now`, at most `max`. The leader knows
    /// which of them were touched since, and proposes to extend those and to expire the others.
    pub fn due(&self, now: Stamp, max: usize) -> Vec<(Key, Arc<Record>)> {
        let due = self.due_at(now).flat_map(|(home, entry)| self.at(entry, List::Living(home)));
        due.take(max).map(|(key, record)| (key.clone(), record.clone())).collect()
    }

    /// Whether there is any of [`State::due`].
    pub fn is_any_due(&self, now: Stamp) -> bool {
        self.due_at(now).next().is_some()
    }

    fn due_at(&self, now: Stamp) -> impl Iterator<Item = (RegionId, Entry)> {
        let homes = self.rights.iter().filter(|(_, right)| right.acts).map(|(home, _)| *home);
        homes.flat_map(move |home| self.index.due(home, now).map(move |entry| (home, entry)))
    }

    /// Forgets a record altogether.
    fn forget(&mut self, key: &Key) {
        if let Some(record) = self.records.remove(key) {
            self.index.remove(key, &record);
            self.warmth.leave(&record);
            self.unsaved.note(key, None, Part::Body);
        }
    }

    /// The records that an index entry `(stamp, position)` stands for: one, but for ids whose hashes collide.
    fn at(&self, (stamp, position): Entry, list: List) -> impl Iterator<Item = (&Key, &Arc<Record>)> {
        let here = self.records.range(Key::lowest(position)..).take_while(move |(key, _)| key.position() == position);
        here.filter(move |(_, record)| index::is_at(record, list, stamp))
    }

    /// As [`State::at`], for a living record that any region orders.
    fn living_at(&self, (stamp, position): Entry) -> impl Iterator<Item = (&Key, &Arc<Record>)> {
        let here = self.records.range(Key::lowest(position)..).take_while(move |(key, _)| key.position() == position);
        here.filter(move |(_, record)| record.life == Life::Live && record.deadline() == stamp)
    }

    /// The next version sequence of a slot, above `above`.
    fn next_sequence(&mut self, slot: Slot, above: u64) -> u64 {
        if let Some(sequence) = self.plants.sequence {
            return sequence;
        }
        let last = self.sequences.entry(slot).or_default();
        *last = (*last).max(above).saturating_add(1);
        *last
    }
}
