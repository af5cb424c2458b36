//! What every region ordered, replayed without planted bugs, and the history of each session that follows from it.
//!
//! Whoever acts for a session's home orders its writes, so that what its logs did to the session, in the order of versions, is
//! the session's history. What regions took in from each other is none of it. What a region wrote that others did not have when they
//! began to act for it is in it, too, and is told by who wrote it when.

use super::{
    Regions,
    hands::{self, By, Hands},
};
use crate::sim::{
    ledger::{Book, Seen},
    world::World,
};
use sojourn_core::{
    Command, Incarnation, Key, Life, Op, Outcome, Record, RegionId, ShardId, SlotSet, SlotTable, State, Version,
    orphans::Tally, state::Effect, tombstones::Swept,
};
use sojourn_node::{raft::Proposal, shard::decode_entry};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// A place in a session's history: later is higher.
pub type Rank = (Incarnation, Version);

/// One change of a session by the region that ordered it.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which region.
    pub region: usize,
    /// The same, with what it acted for and under which epoch.
    pub by: By,
    /// The session after it.
    pub record: Arc<Record>,
    /// Whether it is not a write but what became of one that was settled when its region came back.
    pub settled: bool,
}

impl Change {
    /// Its place.
    pub fn rank(&self) -> Rank {
        (self.record.incarnation, self.record.version)
    }

    /// Whether it gave the session away: the last that the region ordered of it.
    pub fn releases(&self) -> bool {
        self.record.home != self.by.home
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
    /// When a replica applied it first, in virtual time.
    pub at: Duration,
    /// What a right state answers.
    pub outcome: Outcome,
    /// The session's place after it, if it is there.
    pub rank: Option<Rank>,
    /// Who ordered it; none if the region did not act for the session.
    pub by: Option<By>,
}

/// A shard has begun to act for a home.
#[derive(Clone, Debug)]
pub struct Assumed {
    /// Which region and shard, for which home, under which epoch, and when.
    pub by: By,
    /// The places of all sessions that it held then.
    pub held: BTreeMap<Key, Rank>,
    /// The slots that it served.
    pub served: SlotSet,
}

/// Sessions that a returning region had changed after the cut, settled by whoever acts.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Who wrote them.
    pub by: RegionId,
    /// Whose sessions.
    pub home: RegionId,
    /// The epoch under which others acted for them.
    pub epoch: u32,
    /// Names it: asked again it is answered the same.
    pub request: (u64, u64),
    /// The sessions as their region had left them.
    pub mine: Vec<(Key, Rank)>,
    /// What became of them.
    pub tally: Tally,
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
    /// In no order.
    pub assumed: Vec<Assumed>,
    /// In no order.
    pub settlements: Vec<Settlement>,
    /// When a region promised first to take in nothing that was written for a home under earlier epochs, by region, home and epoch.
    pub promised: BTreeMap<(RegionId, RegionId, u32), Duration>,
    /// Who acted for whom.
    pub hands: Hands,
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
    let mut reference = Reference { hands: hands::replay(regions)?, ..Reference::default() };
    for (number, world) in regions.all.iter().enumerate() {
        for shard in world.shards() {
            let state = world.ledger.with(|book| reference.replay_shard(world, shard, book))?;
            reference.shards.insert((number, shard), state);
        }
    }
    reference.histories.values_mut().for_each(|history| history.sort_by_key(Change::rank));
    reference.requests.values_mut().for_each(|all| all.sort_by_key(|applied| applied.at));
    Ok(reference)
}

impl Reference {
    fn replay_shard(&mut self, world: &World, shard: ShardId, book: &Book) -> Result<State, String> {
        let name = &world.seat.name;
        let (mut state, table) = (State::new(world.seat.region, 1), SlotTable::even(world.seat.shards));
        let none = BTreeMap::new();
        for (expected, (index, seen)) in (0..).zip(book.entries.get(&(shard.0 + 1)).unwrap_or(&none)) {
            if expected != *index {
                return Err(format!("{name}: nobody applied entry {expected} of {shard:?}, but {index} was applied"));
            }
            self.replay_entry((world.seat.region, shard, *index), (&mut state, &table), seen)?;
        }
        Ok(state)
    }

    fn replay_entry(
        &mut self,
        (id, shard, index): (RegionId, ShardId, u64),
        (state, table): (&mut State, &SlotTable),
        seen: &Seen,
    ) -> Result<(), String> {
        let Some(payload) = &seen.payload else { return Ok(()) };
        let (stamp, commands) = decode_entry(&Proposal(payload.clone())).map_err(|error| error.to_string())?;
        let region = usize::from(id.0);
        let by = |home, epoch| By { region: id, shard, home, epoch, stamp, index, at: seen.at };
        for command in commands {
            let (request, key) = (command.request, command.key.clone());
            let settled = matches!(command.op, Op::Settle { .. });
            let about = About::of(&command);
            let home = state.record(&key).map_or(id, |record| record.home);
            let acting = state.acts_for(home).map(|epoch| by(home, epoch));
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
            for Effect { key, record, .. } in effects.into_iter().filter(|effect| effect.told) {
                let home = if releases { home } else { record.home };
                let by = by(home, state.acts_for(home).unwrap_or(0));
                self.histories.entry(key).or_default().push(Change { region, by, record, settled });
            }
            match (about, &outcome) {
                (About::Assumption(home, epoch), Outcome::Done) => {
                    let rank = |record: &Record| (record.incarnation, record.version);
                    let held = state.records(None).map(|(key, record)| (key.clone(), rank(record))).collect();
                    let served = state.served(table, shard);
                    self.assumed.push(Assumed { by: by(home, epoch), held, served });
                }
                (About::Promise(home, epoch), Outcome::Done) => {
                    self.promised.entry((id, home, epoch)).or_insert(seen.at);
                }
                (About::Settlement(by, home, mine), Outcome::Settled(tally)) => {
                    let request = (request.origin, request.sequence);
                    self.settlements.push(Settlement {
                        by,
                        home,
                        epoch: state.acts_for(home).unwrap_or(0),
                        request,
                        mine,
                        tally: *tally,
                    });
                }
                _ => {}
            }
            if request.origin != 0 && !settled {
                let rank = state.record(&key).map(|record| (record.incarnation, record.version));
                let applied = Applied { region, at: seen.at, outcome, rank, by: acting };
                self.requests.entry((request.origin, request.sequence)).or_default().push(applied);
            }
        }
        Ok(())
    }

    /// Whether all that was done for a request may be missing where others began to act after it.
    pub fn is_cut(&self, request: (u64, u64)) -> bool {
        let is_cut = |applied: &Applied| applied.by.as_ref().is_some_and(|by| self.hands.is_cut(by));
        self.effective(request).is_some_and(is_cut)
    }

    /// The first application of a request that did more than to repeat an answer or to refuse; of those that others who act later
    /// had, if there is one.
    pub fn effective(&self, request: (u64, u64)) -> Option<&Applied> {
        let all = self.requests.get(&request)?;
        let done = || all.iter().filter(|applied| !matches!(applied.outcome, Outcome::Refused(_)));
        let is_kept = |applied: &&Applied| applied.by.as_ref().is_none_or(|by| !self.hands.is_cut(by));
        done().find(is_kept).or_else(|| done().next()).or_else(|| all.first())
    }

    /// Whether the change of a session with this rank may be missing where others began to act after it.
    pub fn is_change_cut(&self, key: &Key, rank: Rank) -> bool {
        let mut changes = self.histories.get(key).into_iter().flatten();
        changes.any(|change| change.rank() == rank && !change.settled && self.hands.is_cut(&change.by))
    }

    /// In how many reigns a request was carried out: who acts after another does not know what that one has answered.
    pub fn times_done(&self, request: (u64, u64)) -> usize {
        let all = self.requests.get(&request).into_iter().flatten();
        let done = all.filter(|applied| !matches!(applied.outcome, Outcome::Refused(_)));
        done.filter_map(|applied| Some((applied.by.as_ref()?.home, applied.by.as_ref()?.epoch)))
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// The first place at or after `floor` at which the session does not live.
    pub fn first_end(&self, key: &Key, floor: Rank) -> Option<Rank> {
        let history = self.histories.get(key)?;
        history.iter().filter(|change| !change.lives()).map(Change::rank).find(|rank| *rank >= floor)
    }
}

/// What of a command the reference keeps.
enum About {
    Assumption(RegionId, u32),
    Promise(RegionId, u32),
    Settlement(RegionId, RegionId, Vec<(Key, Rank)>),
    Other,
}

impl About {
    fn of(command: &Command) -> Self {
        match &command.op {
            Op::Assume { home, epoch } => Self::Assumption(*home, *epoch),
            Op::Promise { home, epoch, .. } => Self::Promise(*home, *epoch),
            Op::Settle { by, home, orphans, .. } => {
                let rank = |record: &Record| (record.incarnation, record.version);
                let mine = orphans.iter().map(|orphan| (orphan.key.clone(), rank(&orphan.mine)));
                Self::Settlement(*by, *home, mine.collect())
            }
            _ => Self::Other,
        }
    }
}
