//! Replicas and leads on their way, as an operator sees them.

use super::{admin::AdminError, status::RegionStatus};
use sojourn_core::{
    NodeId, ShardId, Slot,
    placement::GroupName,
    rebalancing::{Forecast, foresee},
    region::{Addresses, Member, RegionCommand, RegionOutcome, RegionState},
};
use std::{collections::BTreeMap, sync::Arc};

/// A change that is only thought of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WhatIf {
    /// This node is drained.
    pub drained: Option<NodeId>,
    /// A node of this name joins.
    pub joining: Option<String>,
}

/// What is moved, and what will be.
#[derive(Clone, Debug)]
pub struct Rebalance {
    /// The region, with the members that were thought of.
    pub status: RegionStatus,
    /// Replicas that catch up, and how many entries they lack, if that is known.
    pub coming: Vec<(GroupName, NodeId, Option<u64>)>,
    /// What will be moved.
    pub forecast: Forecast,
    /// Shards whose lead will move, from whom and to whom.
    pub leads: BTreeMap<ShardId, (Option<NodeId>, NodeId)>,
}

/// What is moved and what would be, after `what_if`.
///
/// # Errors
/// What the region would refuse.
pub(super) fn foresee_with(mut status: RegionStatus, what_if: WhatIf) -> Result<Rebalance, AdminError> {
    let WhatIf { drained, joining } = what_if;
    let region = Arc::make_mut(&mut status.region);
    let mut think = |command| match region.apply(command) {
        RegionOutcome::Refused(refusal) => Err(AdminError::from(refusal)),
        outcome => Ok(outcome),
    };
    if let Some(id) = drained {
        think(RegionCommand::DrainMember { id, draining: true })?;
    }
    if let Some(name) = joining {
        // Any disk that no other node has.
        let disk = Some(u128::MAX);
        think(RegionCommand::AddMember { name, addresses: Addresses::default(), disk })?;
    }
    // Those that were announced come some day: the plan is for then.
    let seen = |member: &mut Member| member.disk = member.disk.or(Some(u128::from(member.id.0)));
    region.members.values_mut().for_each(seen);
    let forecast = foresee(region);
    let coming = status.groups.iter().filter(|(group, _)| **group != GroupName::System).flat_map(|(group, of)| {
        let lacks = |node: &NodeId| of.replicas.get(node).and_then(|replica| replica.behind_entries);
        of.learners.iter().map(move |node| (*group, *node, lacks(node)))
    });
    let coming = coming.collect();
    let now = |shard| status.groups.get(&GroupName::Shard(shard)).and_then(|group| group.leader);
    let leads = forecast.leaders.iter().filter(|(shard, to)| now(**shard) != Some(**to));
    let leads = leads.map(|(shard, to)| (*shard, (now(*shard), *to))).collect();
    Ok(Rebalance { status, coming, forecast, leads })
}

/// How many slots each shard has, and would have once these have moved, too.
///
/// # Errors
/// What the region would refuse.
pub fn foresee_slots(
    region: &RegionState,
    from: ShardId,
    to: ShardId,
    (first, last): (Slot, Slot),
) -> Result<BTreeMap<ShardId, (u32, u32)>, AdminError> {
    let mut then = region.clone();
    if let RegionOutcome::Refused(refusal) = then.apply(RegionCommand::MoveSlots { from, to, first, last }) {
        return Err(refusal.into());
    }
    let moves: Vec<_> = then.slot_moves.wanted.iter().map(|(number, wanted)| (*number, wanted.left.clone())).collect();
    for (number, slots) in moves {
        then.apply(RegionCommand::ServeSlots { number, slots });
    }
    let shards = region.placement.keys().filter_map(|group| match group {
        GroupName::System => None,
        GroupName::Shard(shard) => Some(*shard),
    });
    Ok(shards.map(|shard| (shard, (region.slots.count(shard), then.slots.count(shard)))).collect())
}
