//! The shards that this node holds; they come and go as the region places them.

use super::{
    acks::{Acks, Wanted, may_have_written},
    copies::Copies,
    draining::Drains,
    uses::Counts,
};
use crate::{
    raft::RunningGroup,
    shard::{Bundle, NotProposed, Proposer, Reads, Sessions},
};
use parking_lot::Mutex;
use sojourn_core::{Outcome, ShardId, region::RegionState};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::watch;

/// One shard on this node: its group, and the ways into it.
pub(super) struct Shard {
    pub group: Arc<RunningGroup<Sessions>>,
    pub proposer: Proposer,
    pub reads: Reads,
    /// What this replica, as leader, knows of its copies of other regions' sessions.
    pub copies: Mutex<Option<Arc<Copies>>>,
    /// How far other regions have logged what it orders.
    pub acks: Arc<Acks>,
    /// From where its sessions are used, counted while this replica leads.
    pub uses: Counts,
    /// How far it is with giving its sessions away, while this replica leads.
    pub drains: Arc<Drains>,
}

impl Shard {
    /// Whether this replica leads.
    pub fn leads(&self) -> bool {
        self.group.raft().is_leader()
    }

    /// Writes what this region orders, and waits for other regions where a namespace wants that. Queued before this returns.
    pub fn write(
        &self,
        region: &RegionState,
        bundle: Bundle,
    ) -> impl Future<Output = Result<Vec<Outcome>, NotProposed>> + Send + use<> {
        let acks = self.acks.clone();
        let wanted = Wanted::by(region, &bundle).map(|wanted| (wanted, acks.begin()));
        let written = self.proposer.enqueue_at(bundle);
        async move {
            let (index, outcomes) = written.await?;
            if let (Some((wanted, _under_way)), Some(index), true) = (wanted, index, may_have_written(&outcomes)) {
                acks.wait(wanted, index).await?;
            }
            Ok(outcomes)
        }
    }

    /// What it knows of its copies, in the term that it leads in.
    pub fn copies(&self) -> Option<Arc<Copies>> {
        let term = self.group.leading_term()?;
        let copies = self.copies.lock().clone().filter(|copies| copies.term() == term)?;
        copies.turn(self.group.machine().turned());
        Some(copies)
    }
}

/// The shards that this node holds.
#[derive(Default)]
pub(super) struct Shards {
    held: watch::Sender<BTreeMap<ShardId, Arc<Shard>>>,
}

impl Shards {
    /// The shard, if this node holds it.
    pub fn get(&self, shard: ShardId) -> Option<Arc<Shard>> {
        self.held.borrow().get(&shard).cloned()
    }

    /// All that this node holds now.
    pub fn all(&self) -> Vec<(ShardId, Arc<Shard>)> {
        self.held.borrow().iter().map(|(id, shard)| (*id, shard.clone())).collect()
    }

    /// Completes when this node holds all of `shards`.
    pub async fn until_held(&self, shards: &BTreeSet<ShardId>) {
        let mut held = self.held.subscribe();
        // The sender lives as long as this node.
        drop(held.wait_for(|held| shards.iter().all(|shard| held.contains_key(shard))).await);
    }

    /// Takes a started shard in.
    pub fn insert(&self, id: ShardId, shard: Shard) -> Arc<Shard> {
        let shard = Arc::new(shard);
        self.held.send_modify(|held| drop(held.insert(id, shard.clone())));
        shard
    }

    /// Lets a shard go; what is under way in it ends as if another node led it.
    pub fn remove(&self, id: ShardId) {
        self.held.send_modify(|held| drop(held.remove(&id)));
    }
}
