//! Leads spread evenly over the nodes that live: gently, and never to and fro.
//!
//! Who should lead what follows from the placement and from who is able to, so all nodes come to the same answer. A leader
//! gives a shard away only after it saw the same reason twice, one shard at a time, and lets it rest afterwards.

use super::node::Inner;
use sojourn_core::{
    NodeId, ShardId,
    placement::{GroupName, plan_leaders},
    region::RegionState,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::Instant;

/// How often a node asks itself whether it leads what it should.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a shard that was given away is not given away again.
const REST: Duration = Duration::from_secs(10);

/// What a node remembers between looks.
#[derive(Default)]
pub(super) struct Balance {
    looked: Option<Instant>,
    wished: Option<(ShardId, NodeId)>,
    resting: BTreeMap<ShardId, Instant>,
}

impl Balance {
    /// Gives one lead away, if it has been another node's for a while.
    pub async fn look(&mut self, inner: &Inner) {
        let region = inner.system.machine().now();
        if region.members.get(&inner.options.node).is_some_and(|member| member.draining) {
            return inner.lead_nothing(&region).await;
        }
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        self.resting.retain(|_, since| since.elapsed() < REST);
        let wish = self.wish(inner, &region).await;
        if wish.is_some() && wish == self.wished {
            self.wished = None;
            self.give(inner, wish).await;
        } else {
            self.wished = wish;
        }
    }

    async fn wish(&self, inner: &Inner, region: &RegionState) -> Option<(ShardId, NodeId)> {
        let led: Vec<ShardId> =
            inner.shards.all().into_iter().filter(|(_, shard)| shard.leads()).map(|(id, _)| id).collect();
        let members = || region.members.values().filter(|member| member.disk.is_some() && !member.draining);
        let elsewhere = |able: &BTreeSet<NodeId>| {
            let leaders = plan_leaders(&region.placement, able);
            let misplaced = led.iter().filter(|shard| !self.resting.contains_key(*shard));
            let mut misplaced = misplaced.filter_map(|shard| Some((*shard, *leaders.get(shard)?)));
            misplaced.find(|(_, leader)| *leader != inner.options.node)
        };
        // As long as all is as it should be with everybody there, nobody has to be asked.
        elsewhere(&members().map(|member| member.id).collect())?;
        let status = inner.region_status().await;
        let ready = |id: &NodeId| status.members.get(id).and_then(|m| m.node.as_ref()).is_some_and(|node| node.ready);
        elsewhere(&members().map(|member| member.id).filter(ready).collect())
    }

    async fn give(&mut self, inner: &Inner, wish: Option<(ShardId, NodeId)>) {
        let Some((shard, to)) = wish else { return };
        match inner.transfer_here(GroupName::Shard(shard), to).await {
            Ok(()) => tracing::info!(shard = shard.0, to = to.0, "gave a lead to the node that should have it"),
            Err(error) => tracing::debug!(shard = shard.0, to = to.0, %error, "a lead stays for now"),
        }
        self.resting.insert(shard, Instant::now());
    }
}

impl Inner {
    /// Gives away every lead that this node has to a node that is not draining.
    async fn lead_nothing(&self, region: &RegionState) {
        let able = |node: &NodeId| region.members.get(node).is_some_and(|member| !member.draining);
        let shards = self.shards.all();
        let groups = shards.iter().filter(|(_, shard)| shard.leads());
        let mut led: Vec<_> = groups.map(|(id, shard)| (GroupName::Shard(*id), shard.group.figures())).collect();
        if self.system.raft().is_leader() {
            led.push((GroupName::System, self.system.figures()));
        }
        let mut given = BTreeMap::<NodeId, usize>::new();
        for (group, figures) in led {
            let heirs = figures.heirs().into_iter().filter(able);
            let Some(to) = heirs.min_by_key(|node| given.get(node).copied().unwrap_or(0)) else { continue };
            if self.transfer_here(group, to).await.is_ok() {
                *given.entry(to).or_default() += 1;
            }
        }
    }
}
