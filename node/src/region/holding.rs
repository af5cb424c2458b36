//! Which shards this node holds: those that the region placed here, and those that its leader still counts on.

use super::{
    calls,
    node::{Ended, Inner},
    shards::Shard,
    uses::Counts,
};
use crate::{
    peers::Lane,
    raft::RunningGroup,
    shard::{NotProposed, Proposer, Reads, Sessions},
};
use parking_lot::Mutex;
use sojourn_core::{NodeId, ShardId, feed::FeedId, placement::GroupName, region::RegionState};
use sojourn_proto::wire::encode;
use std::{
    io,
    sync::{Arc, Weak},
    time::Duration,
};

/// How often a node looks whether it holds what it should.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a leader may take to say whether it counts on this node.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts and ends shards as the region places them, until the node is gone.
pub(super) async fn run_holding(node: Weak<Inner>) {
    loop {
        let Some(inner) = node.upgrade() else { return };
        if inner.is_stopping() {
            return;
        }
        let mut agreed = inner.system.machine().watch();
        let region = agreed.latest();
        if let Err(error) = inner.keep(&region).await {
            inner.end(Ended::Disk(error.to_string()));
        }
        drop((region, inner));
        let _changed = tokio::time::timeout(LOOK_EVERY, agreed.changed()).await;
    }
}

impl Inner {
    async fn keep(&self, region: &RegionState) -> io::Result<()> {
        let this = self.options.node;
        if region.world != 0 {
            // Indexes begin anew only in a world that is founded anew.
            let feed = FeedId(region.world as u64);
            self.shards.all().iter().for_each(|(_, held)| held.group.machine().name_feed(feed));
        }
        // A vote counts only from a node whose disk the region has seen.
        let admitted = region.members.get(&this).is_some_and(|member| member.disk == Some(self.options.disk));
        for (name, voters) in &region.placement {
            let GroupName::Shard(shard) = *name else { continue };
            let held = self.shards.get(shard);
            match (voters.contains(&this), held) {
                (true, None) if admitted => {
                    let held = self.start_shard(shard).await?;
                    held.group.machine().name_feed(FeedId(region.world as u64));
                    if self.options.founder && region.as_founded.contains(name) {
                        held.group.found(voters.iter().copied()).await?;
                    }
                }
                (false, Some(held)) => self.let_go(shard, &held).await?,
                (true, Some(_)) | (true | false, None) => {}
            }
        }
        Ok(())
    }

    /// Starts this node's replica of `shard` from what the disk has of it.
    pub async fn start_shard(&self, shard: ShardId) -> io::Result<Arc<Shard>> {
        let Self { env, log, options, .. } = self;
        let group = shard.0 + 1;
        let part = self.storage.part(group);
        let (notices, spawn) = (self.notices.clone(), env.spawn.clone());
        let sessions = Sessions::new(shard, options.region, 1, self.touch_intervals(), part, notices, spawn);
        let sessions = Arc::new(sessions.plant(env, self.clock.clone()));
        let group = RunningGroup::start(self.parts(group), sessions, &self.door.inbox).await?;
        let reads = Reads::start(group.clone(), env.plants.read_without_read_index);
        let (clock, bounds) = (self.clock.clone(), options.proposer.clone());
        let leases = self.leases.clone();
        let proposer = Proposer::start(env.clone(), clock, log.clone(), group.clone(), reads.clone(), leases, bounds);
        let (copies, acks, uses, drains) = (Mutex::default(), Arc::default(), Counts::default(), Arc::default());
        Ok(self.shards.insert(shard, Shard { group, proposer, reads, copies, acks, uses, drains }))
    }

    /// Ends a replica that was moved away, once its leader says that nobody counts on it. Nothing is accepted from the
    /// moment of the question on: so the leader cannot have begun to count on what is about to be erased.
    async fn let_go(&self, shard: ShardId, held: &Arc<Shard>) -> io::Result<()> {
        if !self.is_out(shard).await {
            return Ok(());
        }
        let group = shard.0 + 1;
        self.door.inbox.remove(group);
        if !self.is_out(shard).await {
            self.door.inbox.add(group, &held.group);
            return Ok(());
        }
        tracing::info!(shard = shard.0, "the shard was moved away; removing this replica");
        self.shards.remove(shard);
        held.group.erase().await
    }

    /// Whether the shard's leader says that this node is not part of its group.
    async fn is_out(&self, shard: ShardId) -> bool {
        let Some(lead) = self.find_leader(shard).await.filter(|lead| lead.node != self.options.node) else {
            return false;
        };
        let question = encode(&GroupName::Shard(shard));
        let answer = self.rpc.call(lead.node, Lane::Fast, calls::IS_OUT, &[&question], ANSWER_TIMEOUT).await;
        self.forwarded(shard, lead, answer).unwrap_or(false)
    }

    /// As leader of the shard: whether `node` is not part of its group, for certain.
    ///
    /// # Errors
    /// This node does not lead.
    pub async fn is_out_here(&self, shard: ShardId, node: NodeId) -> Result<bool, NotProposed> {
        let shard = self.shards.get(shard).ok_or(NotProposed::NotLeader)?;
        if !shard.reads.confirm().await {
            return Err(NotProposed::NotLeader);
        }
        let figures = shard.group.figures();
        if figures.leader != Some(figures.node) {
            return Err(NotProposed::NotLeader);
        }
        Ok(!figures.changing() && !figures.voters.contains(&node) && !figures.learners.contains(&node))
    }
}
