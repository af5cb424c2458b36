//! What gateways ask of this node, answered by the region.

use super::{
    abroad::Reach,
    backend::{Backend, Notice, Read, ShardPlace, Topology, Unavailable},
    calls,
    forward::scatter,
    node::{Inner, RegionNode},
    sweep::{Sweep, Swept},
};
use crate::peers::Lane;
use bytes::Bytes;
use futures::future::BoxFuture;
use sojourn_core::{
    Answer, Command, NamespaceId, NodeId, Outcome, Query, RegionId, ShardId, Stamp,
    placement::GroupName,
    region::{RegionCommand, RegionOutcome, RegionState},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::broadcast;

impl RegionNode {
    /// As [`Backend::write`]; what another region orders is written there only if `reach` goes so far, and refused otherwise.
    pub fn write_within(
        &self,
        reach: Reach,
        commands: Vec<Command>,
    ) -> BoxFuture<'static, Vec<Result<Outcome, Unavailable>>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            let Some(region) = inner.agreed() else { return vec![Err(Unavailable::Loading); commands.len()] };
            let items = commands.into_iter().map(|command| (region.slots.shard(command.key.slot()), command)).collect();
            scatter(items, |shard, commands| {
                let inner = inner.clone();
                Box::pin(async move { inner.write_shard(shard, reach, commands).await })
            })
            .await
        })
    }
}

impl Backend for RegionNode {
    fn write(&self, commands: Vec<Command>) -> BoxFuture<'static, Vec<Result<Outcome, Unavailable>>> {
        self.write_within(Reach::World, commands)
    }

    fn read(&self, reads: Vec<Read>) -> BoxFuture<'static, Vec<Result<Answer, Unavailable>>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            let Some(region) = inner.agreed() else { return vec![Err(Unavailable::Loading); reads.len()] };
            let items = reads.into_iter().map(|Read { shard, query }| {
                let shard = shard.unwrap_or_else(|| match &query {
                    Query::Get { key, .. } | Query::GetAtHome { key, .. } | Query::GetSince { key, .. } => {
                        region.slots.shard(key.slot())
                    }
                    Query::CountSlot { slot, .. } => region.slots.shard(*slot),
                    Query::Scan { .. }
                    | Query::Count { .. }
                    | Query::RevocationEpoch { .. }
                    | Query::Random { .. }
                    | Query::Slots { .. } => ShardId(0),
                });
                (shard, query)
            });
            let items = items.collect();
            scatter(items, |shard, queries| {
                let inner = inner.clone();
                Box::pin(async move { inner.read_served(shard, queries).await })
            })
            .await
        })
    }

    fn regions_abroad(&self) -> Vec<RegionId> {
        self.inner.ways.get().map(|ways| ways.abroad.regions()).unwrap_or_default()
    }

    fn sweep_abroad(&self, region: RegionId, sweep: Sweep) -> BoxFuture<'static, Result<Swept, Unavailable>> {
        match self.inner.ways.get() {
            Some(ways) => ways.abroad.sweep(region, sweep),
            None => Box::pin(std::future::ready(Err(Unavailable::Loading))),
        }
    }

    fn change_region(&self, command: RegionCommand) -> BoxFuture<'static, Result<RegionOutcome, Unavailable>> {
        let inner = self.inner.clone();
        Box::pin(async move { inner.change_as_wished(command).await })
    }

    fn region(&self) -> Arc<RegionState> {
        self.inner.system.machine().now()
    }

    fn topology(&self) -> Arc<Topology> {
        self.inner.topology()
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.inner.notices.subscribe()
    }

    fn publish(&self, namespace: NamespaceId, channel: Bytes, message: Bytes) {
        let published = (namespace, (Box::from(&*channel), Box::from(&*message)));
        let bytes = calls::encode_published(&published);
        for member in self.inner.system.machine().now().members.keys() {
            if *member != self.inner.options.node {
                self.inner.rpc.notify(*member, Lane::Fast, calls::PUBLISH, &[&bytes]);
            }
        }
        self.inner.tell_published(published);
    }

    fn now_ms(&self) -> Stamp {
        self.inner.now_ms()
    }

    fn random_u64(&self) -> u64 {
        self.inner.env.random.next_u64()
    }
}

/// How long what was said about leaders is said again: gateways ask for each request.
const TOPOLOGY_AGE_MAX: Duration = Duration::from_millis(10);

impl Inner {
    fn topology(&self) -> Arc<Topology> {
        let region = self.system.machine().now();
        let now = self.env.clock.boot();
        let mut last = self.topology.lock();
        if let Some((at, topology)) = &*last
            && now.saturating_sub(*at) <= TOPOLOGY_AGE_MAX
            && Arc::ptr_eq(&topology.region, &region)
        {
            return topology.clone();
        }
        let place = |(group, voters): (&GroupName, &BTreeSet<NodeId>)| {
            let GroupName::Shard(shard) = *group else { return None };
            let place = match self.shards.get(shard) {
                Some(held) => {
                    let figures = held.group.figures();
                    ShardPlace {
                        leader: self.leader(shard),
                        term: figures.term,
                        voters: figures.voters.into_iter().collect(),
                        learners: figures.learners.into_iter().collect(),
                        applied: figures.applied.max(held.group.machine().applied()),
                    }
                }
                None => ShardPlace {
                    leader: self.leader(shard),
                    voters: voters.iter().copied().collect(),
                    ..ShardPlace::default()
                },
            };
            Some((shard, place))
        };
        let shards = region.placement.iter().filter_map(place).collect();
        let topology = Arc::new(Topology { shards, this_node: self.options.node, region });
        *last = Some((now, topology.clone()));
        topology
    }

    /// Gives a message to this node's subscribers.
    pub fn tell_published(&self, (namespace, (channel, message)): calls::Published) {
        let notice =
            Notice::Published { namespace, channel: channel.into_vec().into(), message: message.into_vec().into() };
        // Nobody may be listening.
        let _listeners = self.notices.send(Arc::new(notice));
    }
}
