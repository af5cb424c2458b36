//! What a node knows of its region, for clients that follow leaders.

use crate::region::backend::{ShardPlace, Topology};
use sojourn_core::{NodeId, ShardId, Stamp, region::Member};
use sojourn_proto::sessions::v1;
use std::sync::Arc;

/// What a node knows, and its time.
pub struct Known(pub (Arc<Topology>, Stamp));

impl From<Known> for v1::TopologyResponse {
    fn from(Known((topology, now)): Known) -> Self {
        let Topology { region, this_node, shards } = &*topology;
        let range = |(first, last, shard): (u16, u16, ShardId)| v1::SlotRange {
            first: first.into(),
            last: last.into(),
            shard: shard.0,
        };
        Self {
            region: region.name.clone(),
            node: this_node.0,
            now_ms: now,
            nodes: region.members.values().map(node).collect(),
            slots: region.slots.ranges().into_iter().map(range).collect(),
            shards: shards.iter().map(shard).collect(),
        }
    }
}

fn node(member: &Member) -> v1::Node {
    let Member { id, name, addresses, draining, disk: _ } = member;
    v1::Node { id: id.0, name: name.clone(), address: addresses.grpc.clone(), draining: *draining }
}

fn shard((shard, place): (&ShardId, &ShardPlace)) -> v1::Shard {
    v1::Shard { id: shard.0, leader: place.leader.map(|NodeId(leader)| leader), term: place.term }
}
