//! Answers that nobody will ask for again, though the shard that gave them was not told so yet.
//!
//! A node tells a shard with its next write, which may be long in coming. Who has to know now asks all nodes of the world; what
//! they say is logged as copies of old requests, to which nothing else happens. Clients that name their requests themselves are
//! not asked: they tell with their next write, or are not waited for after [`ANSWER_MS_MAX`](sojourn_core::state::ANSWER_MS_MAX).

use super::{
    calls,
    node::{Inner, RegionNode},
    shards::Shard,
};
use crate::{
    peers::Lane,
    shard::{Bundle, NotProposed},
};
use futures::future::join_all;
use sojourn_core::{Command, Key, NodeId, Op, Request, Slot, Version, policy::Policy};
use sojourn_proto::wire::{decode_all, encode};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::timeout;

/// How long a node may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// How long all of them may take: those who do not answer by then are not waited for.
const ALL_TIMEOUT: Duration = Duration::from_secs(1);

impl RegionNode {
    /// Those of `origins` that are of nodes of this region, and below which of their sequences nothing is asked again.
    pub async fn settled(&self, origins: Vec<u64>) -> Vec<(u64, u64)> {
        self.inner.settled(&origins).await
    }
}

impl Inner {
    async fn settled(&self, origins: &[u64]) -> Vec<(u64, u64)> {
        let members = self.system.machine().now();
        let others: Vec<NodeId> = members.members.keys().copied().filter(|node| *node != self.options.node).collect();
        let body = encode(&origins.to_vec());
        let asked =
            others.into_iter().map(|node| self.rpc.call(node, Lane::Fast, calls::SETTLED, &[&body], ANSWER_TIMEOUT));
        let told = join_all(asked).await.into_iter().flatten();
        let told = told.filter_map(|bytes| decode_all::<Vec<(u64, u64)>>(&bytes).ok()).flatten();
        self.requests.settled(origins).into_iter().chain(told).collect()
    }

    /// Has a shard that this node leads forget the answers for sessions in the slot of `key` that nobody asks for again.
    ///
    /// # Errors
    /// It was not logged.
    pub(super) async fn settle(&self, held: &Shard, key: &Key) -> Result<(), NotProposed> {
        self.settle_all(held, std::slice::from_ref(key)).await
    }

    /// The same for sessions in the slots of several keys.
    pub(super) async fn settle_all(&self, held: &Shard, keys: &[Key]) -> Result<(), NotProposed> {
        let Some(key) = keys.first() else { return Ok(()) };
        let slots: BTreeSet<Slot> = keys.iter().map(Key::slot).collect();
        let origins: BTreeSet<u64> =
            held.group.machine().audit(|state| slots.iter().flat_map(|slot| state.askers(*slot)).collect());
        let origins = Vec::from_iter(origins);
        let abroad = self.ways.get().map(|ways| ways.abroad.clone());
        let asked = abroad.iter().flat_map(|abroad| {
            abroad.regions().into_iter().map(|region| timeout(ALL_TIMEOUT, abroad.settled(region, origins.clone())))
        });
        let (mut settled, told) = futures::join!(self.settled(&origins), join_all(asked));
        settled.extend(told.into_iter().flatten().flatten());
        if settled.is_empty() {
            return Ok(());
        }
        let commands: Vec<Command> = settled.into_iter().map(|told| late(key, told)).collect();
        held.write(&self.system.machine().now(), Bundle::new(&commands)).await.map(drop)
    }
}

/// A copy of a request from before all that is asked again.
fn late(key: &Key, (origin, settled): (u64, u64)) -> Command {
    let request = Request { origin, sequence: 0, settled };
    let op = Op::Extend { version: Version::default(), deadline: 0 };
    Command { request, key: key.clone(), rules: Policy::default().rules(false), touched: None, op }
}
