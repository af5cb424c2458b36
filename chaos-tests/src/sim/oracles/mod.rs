//! What must hold whatever happened: one promise a file.
//!
//! `agreement`, `recovery` and `membership` are watched while the run goes on (see `ledger` and `world`), `progress` where it
//! settles (see `settling`), the others afterwards. None of them knows which bugs can be planted.

mod acknowledged;
mod deadlines;
mod destroyed;
mod feed;
mod linearizable;
mod memory;
mod owners;
mod renames;
pub mod replicas;
mod retries;
mod search;

use super::{
    coverage::Coverage,
    follower::Copies,
    ledger::{Book, Call, Violation},
    reference::{self, Shard},
    workload::Cell,
    world::World,
};
use sojourn_core::{Answer, Key, ShardId, Slot, SlotTable};
use std::collections::BTreeMap;

/// What the oracles look at when all is over.
pub struct Evidence<'a> {
    /// What clients asked and were told, in order.
    pub calls: &'a [Call],
    /// What the book says beside.
    pub book: &'a Book,
    /// What every shard should be.
    pub shards: BTreeMap<ShardId, Shard>,
    /// Slots that went from shard to shard, each by itself.
    pub lanes: BTreeMap<Slot, Shard>,
    /// The sessions of the run.
    pub cells: &'a [Cell],
    /// The machines; those of members are all running.
    pub world: &'a World,
    /// The machines that should have a replica of each shard.
    pub holders: &'a BTreeMap<ShardId, Vec<usize>>,
    /// What each node's replica answers in the end.
    pub views: &'a Views,
    /// What the follower has in the end.
    pub copies: &'a Copies,
    slots: SlotTable,
}

impl Evidence<'_> {
    /// The shard that has to hold a session.
    pub fn shard_of(&self, key: &Key) -> ShardId {
        self.slots.shard(key.slot())
    }

    /// What is judged by itself of which the session is a part: its shard, or its slot if that was ever moved.
    pub fn place_of(&self, key: &Key) -> (ShardId, Option<Slot>) {
        let moved = Some(key.slot()).filter(|slot| self.lanes.contains_key(slot));
        (moved.map_or_else(|| self.shard_of(key), |_| ShardId(0)), moved)
    }

    /// How that should be.
    pub fn right(&self, (shard, moved): (ShardId, Option<Slot>)) -> Option<&Shard> {
        moved.map_or_else(|| self.shards.get(&shard), |slot| self.lanes.get(&slot))
    }

    /// The machines that should have a replica of a shard.
    pub fn holders(&self, shard: ShardId) -> &[usize] {
        self.holders.get(&shard).map_or(&[][..], Vec::as_slice)
    }

    /// The cell of a session.
    pub fn cell(&self, key: &Key) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.keys.contains(key))
    }
}

/// What each node's replica answers for each session, whatever the time.
pub type Views = BTreeMap<(usize, Key), Answer>;

/// What is seen when all is quiet.
pub struct Seen {
    /// What each node's replica answers.
    pub views: Views,
    /// What the follower has.
    pub copies: Copies,
    /// The machines that should have a replica of each shard.
    pub holders: BTreeMap<ShardId, Vec<usize>>,
    /// Which shard holds each slot, as the region agrees.
    pub slots: SlotTable,
}

/// Collects what one oracle finds.
pub struct Findings {
    oracle: &'static str,
    found: Vec<Violation>,
    /// What the oracle reached.
    pub coverage: Coverage,
}

/// Findings of one oracle beyond this many say nothing new.
const FINDINGS_MAX: usize = 3;

impl Findings {
    /// Nothing yet of `oracle`.
    pub fn of(oracle: &'static str) -> Self {
        Self { oracle, found: Vec::new(), coverage: Coverage::default() }
    }

    /// What was found.
    pub fn into_found(self) -> Vec<Violation> {
        self.found
    }

    /// A promise was broken.
    pub fn report(&mut self, what: String) {
        if self.found.len() < FINDINGS_MAX {
            self.found.push(Violation { oracle: self.oracle, what });
        }
    }
}

type Oracle = fn(&Evidence<'_>, &mut Findings);

const ALL: [(&str, Oracle); 11] = [
    ("linearizable", linearizable::check),
    ("search", search::check),
    ("acknowledged", acknowledged::check),
    ("retries", retries::check),
    ("destroyed", destroyed::check),
    ("deadlines", deadlines::check),
    ("renames", renames::check),
    ("replicas", replicas::check),
    ("memory", memory::check),
    ("feed", feed::check),
    ("owners", owners::check),
];

/// Asks all oracles.
pub fn audit(world: &World, book: &Book, cells: &[Cell], seen: Seen) -> (Vec<Violation>, Coverage) {
    let keys: Vec<Key> = cells.iter().flat_map(|cell| cell.keys.iter().cloned()).collect();
    let shards = match reference::shards(&book.entries, &keys) {
        Ok(shards) => shards,
        Err(what) => return (vec![Violation { oracle: "agreement", what }], Coverage::default()),
    };
    let lanes = reference::lanes(&shards);
    let Seen { views, copies, holders, slots } = &seen;
    let slots = slots.clone();
    let evidence = Evidence { calls: &book.calls, book, shards, lanes, cells, world, holders, views, copies, slots };
    let mut coverage = Coverage::default();
    let mut violations = Vec::new();
    for (oracle, check) in ALL {
        let mut findings = Findings::of(oracle);
        check(&evidence, &mut findings);
        coverage.merge(&findings.coverage);
        violations.extend(findings.found);
    }
    (violations, coverage)
}
