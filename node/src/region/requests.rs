//! Names writes that came without a name, so that a retry after a change of leader is applied once.

use parking_lot::Mutex;
use sojourn_core::{Command, Request, ShardId};
use std::collections::{BTreeMap, BTreeSet};

/// The writes that this node has under way, per shard.
pub struct Requests {
    origin: u64,
    shards: Mutex<BTreeMap<ShardId, UnderWay>>,
}

#[derive(Default)]
struct UnderWay {
    last: u64,
    open: BTreeSet<u64>,
}

impl Requests {
    /// Names of a node that drew `origin` when it started; must not be 0.
    pub fn new(origin: u64) -> Self {
        Self { origin: origin.max(1), shards: Mutex::new(BTreeMap::new()) }
    }

    /// Names those of `commands` that have no name. The names stay open until the ticket is dropped.
    pub fn name<'a>(&'a self, shard: ShardId, commands: &mut [Command]) -> Ticket<'a> {
        let mut shards = self.shards.lock();
        let under_way = shards.entry(shard).or_default();
        let mut sequences = Vec::new();
        // Sequences are counted per shard, and another region may have all of these in one shard.
        let origin = self.origin.wrapping_add(u64::from(shard.0)).max(1);
        for command in commands.iter_mut().filter(|command| command.request.origin == 0) {
            under_way.last += 1;
            let sequence = under_way.last;
            under_way.open.insert(sequence);
            let settled = under_way.open.first().copied().unwrap_or(sequence);
            command.request = Request { origin, sequence, settled };
            sequences.push(sequence);
        }
        Ticket { requests: self, shard, sequences }
    }
}

/// Names that may still be sent again.
pub struct Ticket<'a> {
    requests: &'a Requests,
    shard: ShardId,
    sequences: Vec<u64>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut shards = self.requests.shards.lock();
        if let Some(under_way) = shards.get_mut(&self.shard) {
            for sequence in &self.sequences {
                under_way.open.remove(sequence);
            }
        }
    }
}
