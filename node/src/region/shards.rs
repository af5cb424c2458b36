//! The shards that this node holds; they come and go as the region places them.

use crate::{
    raft::RunningGroup,
    shard::{Proposer, Reads, Sessions},
};
use parking_lot::RwLock;
use sojourn_core::ShardId;
use std::{collections::BTreeMap, sync::Arc};

/// One shard on this node: its group, and the ways into it.
pub(super) struct Shard {
    pub group: Arc<RunningGroup<Sessions>>,
    pub proposer: Proposer,
    pub reads: Reads,
}

impl Shard {
    /// Whether this replica leads.
    pub fn leads(&self) -> bool {
        self.group.raft().is_leader()
    }
}

/// The shards that this node holds.
#[derive(Default)]
pub(super) struct Shards {
    held: RwLock<BTreeMap<ShardId, Arc<Shard>>>,
}

impl Shards {
    /// The shard, if this node holds it.
    pub fn get(&self, shard: ShardId) -> Option<Arc<Shard>> {
        self.held.read().get(&shard).cloned()
    }

    /// All that this node holds now.
    pub fn all(&self) -> Vec<(ShardId, Arc<Shard>)> {
        self.held.read().iter().map(|(id, shard)| (*id, shard.clone())).collect()
    }

    /// Takes a started shard in.
    pub fn insert(&self, id: ShardId, shard: Shard) {
        self.held.write().insert(id, Arc::new(shard));
    }
}
