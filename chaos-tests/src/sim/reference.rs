//! The committed commands of each shard, applied once more to a state without planted bugs.
//!
//! What replicas applied is one order of all writes; whether that order explains what clients saw is for the oracles.

use super::{ledger::Seen, world};
use sojourn_core::{Command, Key, Outcome, Record, RegionId, ShardId, Stamp, State};
use sojourn_node::{log::GroupId, raft::Proposal, shard::decode_entry};
use std::{collections::BTreeMap, sync::Arc};

/// One command in the order of its shard.
#[derive(Debug)]
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
    /// The record of each session from a state on.
    changes: BTreeMap<Key, Vec<(usize, Option<Arc<Record>>)>>,
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
    let state = State::new(RegionId(0), 1);
    let mut shard = Shard { state, steps: Vec::new(), requests: BTreeMap::new(), changes: BTreeMap::new() };
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

impl Shard {
    fn step(&mut self, seen: &Seen, stamp: Stamp, command: Command, keys: &[Key]) {
        let request = (command.request.origin, command.request.sequence);
        if request.0 != 0 {
            self.requests.entry(request).or_default().push(self.steps.len());
        }
        let outcome = self.state.apply(stamp, command.clone(), &mut Vec::new());
        self.steps.push(Step { command, outcome, stamp, tick: seen.tick });
        for key in keys {
            let record = self.state.record(key).cloned();
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
