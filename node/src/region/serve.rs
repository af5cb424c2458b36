//! What gateways ask of this node, answered by the region.

use super::{
    backend::{Backend, Notice, Read, ShardPlace, Topology, Unavailable},
    calls,
    forward::scatter,
    node::{Inner, RegionNode},
};
use crate::peers::Lane;
use bytes::Bytes;
use futures::future::BoxFuture;
use sojourn_core::{
    Answer, Command, NamespaceId, Outcome, Query, ShardId, Stamp,
    region::{RegionCommand, RegionOutcome, RegionState},
};
use std::sync::Arc;
use tokio::sync::broadcast;

impl Backend for RegionNode {
    fn write(&self, commands: Vec<Command>) -> BoxFuture<'static, Vec<Result<Outcome, Unavailable>>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            let items = commands.into_iter().map(|command| (inner.shard_of(&command.key), command)).collect();
            scatter(items, |shard, commands| {
                let inner = inner.clone();
                Box::pin(async move { inner.write_shard(shard, commands).await })
            })
            .await
        })
    }

    fn read(&self, reads: Vec<Read>) -> BoxFuture<'static, Vec<Result<Answer, Unavailable>>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            let items = reads.into_iter().map(|Read { shard, query }| {
                let shard = shard.unwrap_or_else(|| match &query {
                    Query::Get { key, .. } => inner.shard_of(key),
                    Query::CountSlot { slot, .. } => inner.system.machine().now().slots.shard(*slot),
                    Query::Scan { .. } | Query::Count { .. } | Query::RevocationEpoch { .. } | Query::Random { .. } => {
                        ShardId(0)
                    }
                });
                (shard, query)
            });
            let items = items.collect();
            scatter(items, |shard, queries| {
                let inner = inner.clone();
                Box::pin(async move { inner.read_shard(shard, queries).await })
            })
            .await
        })
    }

    fn change_region(&self, command: RegionCommand) -> BoxFuture<'static, Result<RegionOutcome, Unavailable>> {
        let inner = self.inner.clone();
        Box::pin(async move { inner.change(command).await })
    }

    fn region(&self) -> Arc<RegionState> {
        self.inner.system.machine().now()
    }

    fn topology(&self) -> Arc<Topology> {
        let places = self.inner.shards.all().into_iter().map(|(id, shard)| {
            let figures = shard.group.figures();
            let place = ShardPlace {
                leader: figures.leader,
                term: figures.term,
                voters: figures.voters.into_iter().collect(),
                learners: figures.learners.into_iter().collect(),
                applied: figures.applied.max(shard.group.machine().applied()),
            };
            (id, place)
        });
        let region = self.inner.system.machine().now();
        Arc::new(Topology { region, this_node: self.inner.options.node, shards: places.collect() })
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

impl Inner {
    /// Gives a message to this node's subscribers.
    pub fn tell_published(&self, (namespace, (channel, message)): calls::Published) {
        let notice =
            Notice::Published { namespace, channel: channel.into_vec().into(), message: message.into_vec().into() };
        // Nobody may be listening.
        let _listeners = self.notices.send(Arc::new(notice));
    }
}
