//! The committed commands of each shard, applied once more to a state without planted bugs.
//!
//! What replicas applied is one order of all writes; whether that order explains what clients saw is for the oracles.

use super::{ledger::Seen, world};
use sojourn_core::{
    Command, Key, Life, Op, Outcome, Owner, Record, Refusal, RegionId, Request, ShardId, Slot, SlotTable, Stamp, State,
};
use sojourn_node::{log::GroupId, raft::Proposal, shard::decode_entry};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// One command in the order of its shard.
#[derive(Clone, Debug)]
pub struct Step {
    /// What was asked.
    pub command: Command,
    /// What a right state answers.
    pub outcome: Outcome,
    /// The stamp of its entry.
    pub stamp: Stamp,
    /// When the first replica applied it.
    pub tick: u64,
}

/// One shard as it should be.
pub struct Shard {
    /// The state after all steps.
    pub state: State,
    /// All commands in order. State `n` is the one before step `n`.
    pub steps: Vec<Step>,
    /// Which steps carry a request, by origin and sequence.
    pub requests: BTreeMap<(u64, u64), Vec<usize>>,
    /// What there is of each session from a state on: its record, unless its user was revoked.
    changes: BTreeMap<Key, Vec<(usize, Option<Arc<Record>>)>>,
    /// From which state on it serves slots that were ever moved, or does not.
    moved: BTreeMap<Slot, Vec<(usize, bool)>>,
}

/// The group of a shard.
pub fn group(shard: ShardId) -> GroupId {
    shard.0 + 1
}

/// All shards, from what replicas applied.
///
/// # Errors
/// A hole in the log, or an entry that cannot be read.
pub fn shards(
    entries: &BTreeMap<GroupId, BTreeMap<u64, Seen>>,
    keys: &[Key],
) -> Result<BTreeMap<ShardId, Shard>, String> {
    let none = BTreeMap::new();
    world::shards().map(|shard| Ok((shard, replay(entries.get(&group(shard)).unwrap_or(&none), keys)?))).collect()
}

fn replay(entries: &BTreeMap<u64, Seen>, keys: &[Key]) -> Result<Shard, String> {
    let mut shard = Shard::new();
    for (expected, (index, seen)) in (0..).zip(entries) {
        if expected != *index {
            return Err(format!("nobody applied entry {expected}, but {index} was applied"));
        }
        let Some(payload) = &seen.payload else { continue };
        let (stamp, commands) = decode_entry(&Proposal(payload.clone())).map_err(|error| error.to_string())?;
        commands.into_iter().for_each(|command| shard.step(seen, stamp, command, keys));
    }
    Ok(shard)
}

/// Whether the user of a living session was revoked after its login, as far as the shard knows.
fn is_revoked(state: &State, key: &Key, record: &Record) -> bool {
    let revoked = |owner: &Owner| owner.revocation_epoch < state.revocation_epoch(key.namespace(), &owner.user);
    record.life == Life::Live && record.owner.as_deref().is_some_and(revoked)
}

/// Slots that were ever moved, each as an object of its own: what the shards did that served it, one after the other.
pub fn lanes(shards: &BTreeMap<ShardId, Shard>) -> BTreeMap<Slot, Shard> {
    let slots: BTreeSet<Slot> = shards.values().flat_map(|shard| shard.moved.keys().copied()).collect();
    slots.into_iter().map(|slot| (slot, lane(shards, slot))).collect()
}

fn lane(shards: &BTreeMap<ShardId, Shard>, slot: Slot) -> Shard {
    let mut pieces = Vec::new();
    for (number, shard) in shards {
        let mut since = None;
        for (state, serves) in shard.serving(*number, slot) {
            match since.take() {
                // The last step is that which ended it.
                Some(from) if !serves => pieces.push((shard.tick(from), *number, from, state - 1)),
                before => since = before.or(serves.then_some(state)),
            }
        }
        pieces.extend(since.map(|from| (shard.tick(from), *number, from, shard.steps.len())));
    }
    pieces.sort_unstable();
    let mut lane = Shard::new();
    for (_, number, from, to) in pieces {
        if let Some(shard) = shards.get(&number) {
            lane.follow(shard, slot, (from, to));
        }
    }
    lane
}

impl Shard {
    fn new() -> Self {
        let state = State::new(RegionId(0), 1);
        let (steps, requests) = (Vec::new(), BTreeMap::new());
        Self { state, steps, requests, changes: BTreeMap::new(), moved: BTreeMap::new() }
    }

    /// From which state on it serves a slot, or does not.
    pub fn serving(&self, number: ShardId, slot: Slot) -> Vec<(usize, bool)> {
        let founded = SlotTable::even(world::SHARDS).shard(slot) == number;
        let later = self.moved.get(&slot).into_iter().flatten().copied();
        std::iter::once((0, founded)).chain(later).collect()
    }

    /// When the first replica reached a state.
    pub fn tick(&self, state: usize) -> u64 {
        state.checked_sub(1).and_then(|step| self.steps.get(step)).map_or(0, |step| step.tick)
    }

    /// Goes on with what a shard did between two states. That it took the slot over is a step of its own: it may know of a revocation that
    /// whoever served the slot before had not heard of.
    fn follow(&mut self, shard: &Self, slot: Slot, (from, to): (usize, usize)) {
        let taken_over = from.checked_sub(1).filter(|_| !self.steps.is_empty());
        self.steps.extend(taken_over.and_then(|step| shard.steps.get(step)).cloned());
        let offset = self.steps.len();
        for step in &shard.steps[from..to] {
            self.name(step.command.request, &step.outcome);
            self.steps.push(step.clone());
        }
        for key in shard.changes.keys().filter(|key| key.slot() == slot) {
            let changes = self.changes.entry(key.clone()).or_default();
            for (state, record) in shard.records(key, from, to) {
                if changes.last().and_then(|(_, last)| last.as_ref()) != record.as_ref() {
                    changes.push((offset + state - from, record));
                }
            }
        }
    }

    /// Notes the name of the next step. One that met a shard which does not serve its slot was asked for elsewhere.
    fn name(&mut self, request: Request, outcome: &Outcome) {
        if request.origin != 0 && !matches!(outcome, Outcome::Refused(Refusal::SlotMoved { .. })) {
            self.requests.entry((request.origin, request.sequence)).or_default().push(self.steps.len());
        }
    }

    fn step(&mut self, seen: &Seen, stamp: Stamp, command: Command, keys: &[Key]) {
        let outcome = self.state.apply(stamp, command.clone(), &mut Vec::new());
        self.name(command.request, &outcome);
        if let (Op::Slot { slot, .. }, Outcome::Done) = (&command.op, &outcome) {
            let serves = self.state.serves(*slot);
            let moved = self.moved.entry(*slot).or_default();
            if moved.last().is_none_or(|(_, last)| *last != serves) {
                moved.push((self.steps.len() + 1, serves));
            }
        }
        // Time goes on from where a slot came from, too.
        let stamp = stamp.max(self.state.last_stamp());
        self.steps.push(Step { command, outcome, stamp, tick: seen.tick });
        for key in keys {
            // Whose user was revoked is shown to nobody, whether it was destroyed yet or has only come to where that is known.
            let record = self.state.record(key).filter(|record| !is_revoked(&self.state, key, record)).cloned();
            let changes = self.changes.entry(key.clone()).or_default();
            if changes.last().and_then(|(_, last)| last.as_ref()) != record.as_ref() {
                changes.push((self.steps.len(), record));
            }
        }
    }

    /// The records of `key` in states `from..=to`, in order, each with the first of these states that has it.
    pub fn records(&self, key: &Key, from: usize, to: usize) -> Vec<(usize, Option<Arc<Record>>)> {
        let changes = self.changes.get(key).map_or(&[][..], Vec::as_slice);
        let first = changes.iter().rfind(|(state, _)| *state <= from).and_then(|(_, record)| record.clone());
        let later = changes.iter().filter(|(state, _)| (from + 1..=to).contains(state)).cloned();
        std::iter::once((from, first)).chain(later).collect()
    }

    /// The last stamp in state `number`.
    pub fn stamp(&self, number: usize) -> Stamp {
        number.checked_sub(1).and_then(|step| self.steps.get(step)).map_or(0, |step| step.stamp)
    }

    /// The last state that any replica had reached at `tick`.
    pub fn reached(&self, tick: u64) -> usize {
        self.steps.partition_point(|step| step.tick < tick)
    }
}
