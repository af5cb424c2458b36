//! Replicas and leads on their way, and how many nodes there should be, in JSON.

use super::slots::SlotMove;
use crate::region::{rebalance, status::RegionStatus};
use serde::{Deserialize, Serialize};
use sojourn_core::{NodeId, advisor, rebalancing::PlannedMove};

/// How many nodes a region should have, for autoscalers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// How many there should be.
    pub wanted: u32,
    /// How many there were to stay when it was judged.
    pub nodes: u32,
    /// `busy`, `idle`, `steady`, `settling` (replicas move, or a node has not told its load) or `least` (as many as replicas).
    pub reason: String,
    /// The share of its processors that the average node used in the minute before.
    pub busy_percent: Option<f64>,
}

/// `GET /v1/rebalance`, and what `POST /v1/rebalance/plan` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebalance {
    /// Whether it is held up.
    pub paused: bool,
    /// Bytes a second that each node sends in snapshots at most; none for as fast as it goes.
    pub bytes_per_s_max: Option<u64>,
    /// Replicas that catch up.
    pub coming: Vec<Coming>,
    /// Replicas that will be moved, one after the other.
    pub moves: Vec<Move>,
    /// Leads that will be handed over then.
    pub leads: Vec<Lead>,
    /// Slots on their way between shards, in the order in which they are moved.
    #[serde(default)]
    pub slot_moves: Vec<SlotMove>,
}

/// A replica that catches up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coming {
    /// The shard's number.
    pub group: String,
    /// On which node.
    pub node: String,
    /// How many entries it lacks, if its leader is known.
    pub behind_entries: Option<u64>,
}

/// A group that gets other voters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// `system`, or the shard's number.
    pub group: String,
    /// The nodes that vote then.
    pub from: Vec<String>,
    /// The nodes that will.
    pub to: Vec<String>,
}

/// A lead that goes to another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// The shard's number.
    pub group: String,
    /// Who leads now, if anybody.
    pub from: Option<String>,
    /// Who will.
    pub to: String,
}

/// `POST /v1/rebalance`: what is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetRebalancing {
    /// Whether to hold it up.
    pub paused: Option<bool>,
    /// Bytes a second that each node sends in snapshots at most; 0 for as fast as it goes.
    pub bytes_per_s_max: Option<u64>,
}

/// `POST /v1/rebalance/plan`: what is only thought of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhatIf {
    /// The name or number of a node that would be drained.
    pub drained: Option<String>,
    /// The name of a node that would join.
    pub joining: Option<String>,
}

/// Thousandths as a percentage.
pub(super) fn percent(permille: u16) -> f64 {
    f64::from(permille) / 10.0
}

impl From<advisor::Advice> for Advice {
    fn from(advisor::Advice { wanted, situation, reason }: advisor::Advice) -> Self {
        let reason = match reason {
            advisor::Reason::Busy => "busy",
            advisor::Reason::Idle => "idle",
            advisor::Reason::Steady => "steady",
            advisor::Reason::Settling => "settling",
            advisor::Reason::Least => "least",
        };
        let busy_percent = situation.busy_permille.map(percent);
        Self { wanted, nodes: situation.nodes, reason: reason.to_owned(), busy_percent }
    }
}

impl From<rebalance::Rebalance> for Rebalance {
    fn from(rebalance::Rebalance { status, coming, forecast, leads }: rebalance::Rebalance) -> Self {
        let RegionStatus { region, slots_wait, .. } = &status;
        let name = |node: NodeId| {
            let member = region.members.get(&node);
            member.map_or_else(|| format!("node {}", node.0), |member| member.name.clone())
        };
        let names = |nodes: std::collections::BTreeSet<NodeId>| nodes.into_iter().map(name).collect();
        let coming = coming.into_iter().map(|(group, node, behind_entries)| Coming {
            group: group.to_string(),
            node: name(node),
            behind_entries,
        });
        let moves = forecast.moves.into_iter().map(|PlannedMove { group, from, to }| Move {
            group: group.to_string(),
            from: names(from),
            to: names(to),
        });
        let leads = leads.into_iter().map(|(shard, (from, to))| Lead {
            group: shard.0.to_string(),
            from: from.map(name),
            to: name(to),
        });
        Self {
            paused: region.rebalancing.paused,
            bytes_per_s_max: Some(region.rebalancing.bytes_per_s_max).filter(|bytes| *bytes > 0),
            coming: coming.collect(),
            moves: moves.collect(),
            leads: leads.collect(),
            slot_moves: SlotMove::all(&region.slot_moves, *slots_wait),
        }
    }
}
