//! What every region ordered, replayed without planted bugs, and the history of each session that follows from it.
//!
//! The region where a session is at home orders its writes, so that what its logs did to the session, in the order of versions, is
//! the session's history. What regions took in from each other is none of it.

use super::Regions;
use crate::sim::{
    ledger::{Book, Seen},
    world::World,
};
use sojourn_core::{Incarnation, Key, Life, Op, Outcome, Record, RegionId, ShardId, State, Version, tombstones::Swept};
use sojourn_node::{raft::Proposal, shard::decode_entry};
use std::{collections::BTreeMap, sync::Arc};

/// A place in a session's history: later is higher.
pub type Rank = (Incarnation, Version);

/// One change of a session by the region that ordered it.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which region.
    pub region: usize,
    /// The session after it.
    pub record: Arc<Record>,
}

impl Change {
    /// Its place.
    pub fn rank(&self) -> Rank {
        (self.record.incarnation, self.record.version)
    }

    /// Whether it gave the session away: the last that the region ordered of it.
    pub fn releases(&self) -> bool {
        usize::from(self.record.home.0) != self.region
    }

    /// Whether the session lives after it.
    pub fn lives(&self) -> bool {
        self.record.life == Life::Live
    }
}

/// What became of a request where it was applied.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The region.
    pub region: usize,
    /// What a right state answers.
    pub outcome: Outcome,
    /// The session's place after it, if it is there.
    pub rank: Option<Rank>,
}

/// All regions as they should be.
#[derive(Default)]
pub struct Reference {
    /// The state of each shard, by region.
    pub shards: BTreeMap<(usize, ShardId), State>,
    /// What was ordered of each session, in the order of ranks; touches change no rank.
    pub histories: BTreeMap<Key, Vec<Change>>,
    /// What became of requests, by sender and sequence, each time that they were applied.
    pub requests: BTreeMap<(u64, u64), Vec<Applied>>,
    /// Pieces of streams that were taken in, and those that were not since they did not follow.
    pub pieces: (u64, u64),
    /// How often shards were told which tombstones are known everywhere.
    pub sweeps: u64,
}

/// Replays what the replicas of all regions applied.
///
/// # Errors
/// A hole in a log, or an entry that cannot be read.
pub fn replay(regions: &Regions) -> Result<Reference, String> {
    let mut reference = Reference::default();
    for (number, world) in regions.all.iter().enumerate() {
        for shard in world.shards() {
            let state = world.ledger.with(|book| reference.replay_shard(number, world, shard, book))?;
            reference.shards.insert((number, shard), state);
        }
    }
    reference.histories.values_mut().for_each(|history| history.sort_by_key(Change::rank));
    Ok(reference)
}

impl Reference {
    fn replay_shard(&mut self, region: usize, world: &World, shard: ShardId, book: &Book) -> Result<State, String> {
        let name = &world.seat.name;
        let mut state = State::new(world.seat.region, 1);
        let none = BTreeMap::new();
        for (expected, (index, seen)) in (0..).zip(book.entries.get(&(shard.0 + 1)).unwrap_or(&none)) {
            if expected != *index {
                return Err(format!("{name}: nobody applied entry {expected} of {shard:?}, but {index} was applied"));
            }
            self.replay_entry(region, world.seat.region, &mut state, seen)?;
        }
        Ok(state)
    }

    fn replay_entry(&mut self, region: usize, id: RegionId, state: &mut State, seen: &Seen) -> Result<(), String> {
        let Some(payload) = &seen.payload else { return Ok(()) };
        let (stamp, commands) = decode_entry(&Proposal(payload.clone())).map_err(|error| error.to_string())?;
        for command in commands {
            let (request, key) = (command.request, command.key.clone());
            self.sweeps += u64::from(matches!(command.op, Op::Swept { known } if known != Swept::default()));
            let absorbs = matches!(command.op, Op::Absorb { .. });
            let releases = matches!(command.op, Op::Release { .. });
            let mut effects = Vec::new();
            let outcome = state.apply(stamp, command, &mut effects);
            if absorbs {
                let (taken, left) = &mut self.pieces;
                *if outcome == Outcome::Nothing { left } else { taken } += 1;
                continue;
            }
            for effect in effects.into_iter().filter(|effect| effect.record.home == id || releases) {
                self.histories.entry(effect.key).or_default().push(Change { region, record: effect.record });
            }
            if request.origin != 0 {
                let rank = state.record(&key).map(|record| (record.incarnation, record.version));
                let applied = Applied { region, outcome, rank };
                self.requests.entry((request.origin, request.sequence)).or_default().push(applied);
            }
        }
        Ok(())
    }

    /// The first application of a request that did more than to repeat an answer or to refuse.
    pub fn effective(&self, request: (u64, u64)) -> Option<&Applied> {
        let all = self.requests.get(&request)?;
        all.iter().find(|applied| !matches!(applied.outcome, Outcome::Refused(_))).or_else(|| all.first())
    }

    /// The first place at or after `floor` at which the session does not live.
    pub fn first_end(&self, key: &Key, floor: Rank) -> Option<Rank> {
        let history = self.histories.get(key)?;
        history.iter().filter(|change| !change.lives()).map(Change::rank).find(|rank| *rank >= floor)
    }
}
