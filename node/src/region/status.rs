//! What a region looks like to its operators: every node says what it sees, and one puts it together.

use super::{calls, node::Inner};
use crate::{
    peers::Lane,
    raft::{FollowerFigures, GroupFigures, Role},
};
use futures::future::join_all;
use sojourn_core::{
    NodeId,
    advisor::Advice,
    region::{Member, RegionState},
};
use sojourn_proto::{
    wire::{decode_all, encode},
    wire_enum, wire_struct,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

pub use sojourn_core::placement::GroupName;

/// How long a node may take to say how it is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The region as a whole.
#[derive(Clone, Debug)]
pub struct RegionStatus {
    /// What it agrees on, as the node that answers has applied it.
    pub region: Arc<RegionState>,
    /// The node that answers.
    pub this_node: NodeId,
    /// Its members.
    pub members: BTreeMap<NodeId, MemberStatus>,
    /// Its groups.
    pub groups: BTreeMap<GroupName, GroupStatus>,
    /// How many nodes it should have, as the leader of the system group last judged.
    pub advice: Option<Advice>,
    /// Whether slots stay where they are for now: not every region of the world acts for itself.
    pub slots_wait: bool,
}

/// One member.
#[derive(Clone, Debug)]
pub struct MemberStatus {
    /// Who and where.
    pub member: Member,
    /// What it says; `None` if it did not answer in time.
    pub node: Option<NodeStatus>,
    /// The groups that it leads.
    pub leads: BTreeSet<GroupName>,
    /// The groups that it has a vote in.
    pub votes_in: BTreeSet<GroupName>,
    /// The groups that it has a copy of and no vote in.
    pub learns: BTreeSet<GroupName>,
}

impl MemberStatus {
    /// Whether it answered.
    pub fn is_alive(&self) -> bool {
        self.node.is_some()
    }
}

/// One node, as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The version of its program.
    pub version: String,
    /// How long it has been running.
    pub up_ms: u64,
    /// Whether it can answer clients.
    pub ready: bool,
    /// The share of its processors that it used in the last whole minute, in thousandths.
    pub busy_permille: Option<u16>,
    /// What it last advised as leader of the system group.
    pub advice: Option<Advice>,
    /// Its log.
    pub log: LogFigures,
    /// Its replicas.
    pub replicas: BTreeMap<GroupName, GroupFigures>,
}

/// The figures of a node's log that say how it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFigures {
    /// Bytes that can still be appended.
    pub room_bytes: u64,
    /// Whether the disk or the cap refused more space.
    pub space_refused: bool,
    /// Segments that hold records.
    pub segments: u64,
    /// Bytes accepted and not yet durable.
    pub queue_bytes: u64,
    /// Syncs so far.
    pub syncs_total: u64,
    /// Bytes written so far.
    pub written_bytes_total: u64,
}

/// One group, as its leader sees it, or, without one, as whoever knows most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// Who leads.
    pub leader: Option<NodeId>,
    /// The term.
    pub term: u64,
    /// Who votes.
    pub voters: BTreeSet<NodeId>,
    /// Who has a copy and no vote.
    pub learners: BTreeSet<NodeId>,
    /// Whether a change of membership is under way.
    pub changing: bool,
    /// Index of the leader's last log entry.
    pub last: Option<u64>,
    /// Each replica.
    pub replicas: BTreeMap<NodeId, ReplicaStatus>,
}

/// One replica of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Index of the last entry that it applied, if its node answered.
    pub applied: Option<u64>,
    /// Entries that it lacks, if the leader is known.
    pub behind_entries: Option<u64>,
    /// How long ago the leader heard of it; 0 for the leader.
    pub silent_ms: Option<u64>,
}

wire_enum!(Role { 0 => Leader, 1 => Follower, 2 => Candidate, 3 => Learner, 4 => Stopped });
wire_struct!(FollowerFigures { matched, behind_entries, silent_ms });
wire_struct!(GroupFigures {
    node,
    role,
    leader,
    term,
    voters,
    learners,
    coming,
    pending,
    last,
    committed,
    applied,
    snapshot,
    followers
});
wire_struct!(LogFigures { room_bytes, space_refused, segments, queue_bytes, syncs_total, written_bytes_total });
wire_struct!(NodeStatus { version, up_ms, ready, busy_permille, advice, log, replicas });

impl Inner {
    /// How this node is.
    pub fn node_status(&self) -> NodeStatus {
        let log = self.log.statistics();
        let shards = self.shards.all();
        let shards = shards.iter().map(|(shard, held)| (GroupName::Shard(*shard), held.group.figures()));
        let system = (GroupName::System, self.system.figures());
        NodeStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            up_ms: u64::try_from((self.env.clock.boot() - self.started).as_millis()).unwrap_or(u64::MAX),
            ready: self.is_ready(),
            busy_permille: self.load.busy_permille(),
            advice: self.load.advice(),
            log: LogFigures {
                room_bytes: self.log.room_bytes(),
                space_refused: log.space_refused,
                segments: log.segments as u64,
                queue_bytes: log.queue_bytes,
                syncs_total: log.syncs_total,
                written_bytes_total: log.bytes_total,
            },
            replicas: shards.chain([system]).collect(),
        }
    }

    /// How the region is: every member is asked.
    pub async fn region_status(&self) -> RegionStatus {
        let region = self.system.machine().now();
        let asked = region.members.keys().map(|&id| async move { (id, self.ask_status(id).await) });
        let nodes: BTreeMap<NodeId, Option<NodeStatus>> = join_all(asked).await.into_iter().collect();
        let groups = groups(&nodes);
        let members = region.members.iter().map(|(id, member)| {
            let groups_where = |test: &dyn Fn(&GroupStatus) -> bool| -> BTreeSet<GroupName> {
                groups.iter().filter(|(_, group)| test(group)).map(|(name, _)| *name).collect()
            };
            let status = MemberStatus {
                member: member.clone(),
                node: nodes.get(id).cloned().flatten(),
                leads: groups_where(&|group| group.leader == Some(*id)),
                votes_in: groups_where(&|group| group.voters.contains(id)),
                learns: groups_where(&|group| group.learners.contains(id)),
            };
            (*id, status)
        });
        let leader = groups.get(&GroupName::System).and_then(|group| group.leader);
        let advice = leader.and_then(|leader| nodes.get(&leader)?.as_ref()?.advice);
        let (this_node, members) = (self.options.node, members.collect());
        let slots_wait = !self.is_world_settled();
        RegionStatus { this_node, members, groups, advice, slots_wait, region: region.clone() }
    }

    async fn ask_status(&self, node: NodeId) -> Option<NodeStatus> {
        if node == self.options.node {
            return Some(self.node_status());
        }
        let answer = self.rpc.call(node, Lane::Fast, calls::STATUS, &[], ANSWER_TIMEOUT).await.ok()?;
        decode_all(&answer).ok()
    }

    /// The bytes of [`NodeStatus`], for who asks.
    pub fn status_bytes(&self) -> Vec<u8> {
        encode(&self.node_status())
    }
}

/// Puts together what the nodes say of each group; of several that believe to lead, the one with the highest term does.
fn groups(nodes: &BTreeMap<NodeId, Option<NodeStatus>>) -> BTreeMap<GroupName, GroupStatus> {
    let answers = || nodes.values().flatten().flat_map(|node| &node.replicas);
    let names: BTreeSet<GroupName> = answers().map(|(name, _)| *name).collect();
    let status = |name: GroupName| {
        let replicas: Vec<&GroupFigures> = answers().filter(|(other, _)| **other == name).map(|(_, of)| of).collect();
        let best = replicas.iter().max_by_key(|of| (of.role == Role::Leader, of.term, of.committed))?;
        let leads = best.role == Role::Leader;
        let replica = |node: NodeId| {
            let own = replicas.iter().find(|of| of.node == node);
            let follower = best.followers.get(&node);
            let is_leader = leads && node == best.node;
            let status = ReplicaStatus {
                applied: own.and_then(|of| of.applied),
                behind_entries: if is_leader { Some(0) } else { follower.map(|of| of.behind_entries) },
                silent_ms: if is_leader { Some(0) } else { follower.and_then(|of| of.silent_ms) },
            };
            (node, status)
        };
        let status = GroupStatus {
            leader: if leads { Some(best.node) } else { None },
            term: best.term,
            voters: best.voters.clone(),
            learners: best.learners.clone(),
            changing: best.changing(),
            last: best.last,
            replicas: best.voters.union(&best.learners).map(|node| replica(*node)).collect(),
        };
        Some((name, status))
    };
    names.into_iter().filter_map(status).collect()
}
