//! Moving replicas as an operator sees it: held up or not, how fast, and all that would be moved before it is.

use crate::{
    ids::{NodeId, ShardId},
    placement::{GroupName, plan_leaders, plan_place},
    region::RegionState,
};
use std::collections::{BTreeMap, BTreeSet};

/// How replicas are moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebalancing {
    /// Whether none is moved to even them out or to drain a node. What is under way is finished, and what a removed node held
    /// is replaced.
    pub paused: bool,
    /// Bytes a second that each node sends in snapshots at most; 0 for as fast as it goes.
    pub bytes_per_s_max: u64,
}

/// One group that gets other voters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedMove {
    /// Which.
    pub group: GroupName,
    /// The voters that it has then.
    pub from: BTreeSet<NodeId>,
    /// The voters that it gets.
    pub to: BTreeSet<NodeId>,
}

/// All that is to be moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// Replicas, one after the other.
    pub moves: Vec<PlannedMove>,
    /// Who leads each shard once they are where they should be and all nodes are there.
    pub leaders: BTreeMap<ShardId, NodeId>,
}

/// The most moves that are foreseen: of a region of 256 shards with 5 replicas each, every one.
pub const MOVES_FORESEEN_MAX: usize = 256 * 5;

/// What would be moved from now on, if each move succeeds and nobody holds it up.
pub fn foresee(region: &RegionState) -> Forecast {
    let mut region = region.clone();
    region.rebalancing.paused = false;
    let settled = region.placement.keys().copied().collect();
    let mut moves = Vec::new();
    while moves.len() < MOVES_FORESEEN_MAX
        && let Some((group, to)) = plan_place(&region, &settled)
    {
        let from = region.placement.insert(group, to.clone()).unwrap_or_default();
        moves.push(PlannedMove { group, from, to });
    }
    let able = region.members.values().filter(|member| member.disk.is_some() && !member.draining);
    let leaders = plan_leaders(&region.placement, &able.map(|member| member.id).collect());
    Forecast { moves, leaders }
}

#[cfg(test)]
mod tests;
