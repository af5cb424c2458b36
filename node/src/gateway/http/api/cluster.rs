//! The region and its members in JSON.

use super::{
    rebalance::{Advice, percent},
    slots::SlotMove,
};
use crate::region::status::{GroupName, GroupStatus, MemberStatus, RegionStatus};
use serde::{Deserialize, Serialize};
use sojourn_core::{NodeId, SlotTable, region};

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The region's name.
    pub region: String,
    /// The world's number in hexadecimal.
    pub world: String,
    /// The node that answers.
    pub answered_by: String,
    /// Its members, by number.
    pub members: Vec<Member>,
    /// Its Raft groups.
    pub groups: Vec<Group>,
    /// Slots on their way between shards, in the order in which they are moved.
    #[serde(default)]
    pub slot_moves: Vec<SlotMove>,
    /// How many nodes it should have; none before the first judgement of who leads the system group.
    pub advice: Option<Advice>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub node: String,
    /// Its number.
    pub id: u64,
    /// `ready`, `starting` or `down`.
    pub state: String,
    /// Whether leads and replicas are being moved away from it.
    pub draining: bool,
    /// Where to reach it.
    pub addresses: Addresses,
    /// Its program's version, if it answered.
    pub version: Option<String>,
    /// How long it has been running, if it answered.
    pub up_ms: Option<u64>,
    /// The groups that it leads.
    pub leads: Vec<String>,
    /// The groups that it has a vote in.
    pub votes_in: Vec<String>,
    /// The groups that it has a copy of and no vote in.
    pub learns: Vec<String>,
    /// The share of its processors that it used in the last whole minute.
    pub busy_percent: Option<f64>,
    /// Its log, if it answered.
    pub log: Option<Log>,
}

/// Where a node is reached, each as `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Other nodes.
    pub peers: String,
    /// Redis clients.
    pub resp: String,
    /// gRPC clients.
    pub grpc: String,
    /// Probes, metrics, administration.
    pub http: String,
}

/// A node's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// What can still be appended.
    pub room_bytes: u64,
    /// Whether the disk or the cap refused more space.
    pub space_refused: bool,
    /// Written since the node started.
    pub written_bytes: u64,
    /// Syncs since the node started.
    pub syncs: u64,
}

/// A Raft group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// `system`, or the shard's number.
    pub group: String,
    /// Who leads, if anybody.
    pub leader: Option<String>,
    /// The term.
    pub term: u64,
    /// The index of the leader's last entry.
    pub last: Option<u64>,
    /// Whether its membership is changing.
    pub changing: bool,
    /// How many slots it holds; none of the system group.
    #[serde(default)]
    pub slots: Option<u32>,
    /// Its replicas.
    pub replicas: Vec<Replica>,
}

/// A replica of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Its node.
    pub node: String,
    /// Whether it votes.
    pub votes: bool,
    /// The index of the last entry that it applied, if its node answered.
    pub applied: Option<u64>,
    /// Entries that it lacks, if there is a leader.
    pub behind_entries: Option<u64>,
    /// How long the leader has not heard of it.
    pub silent_ms: Option<u64>,
}

/// `POST /v1/members`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddMember {
    /// The new node's name.
    pub node: String,
    /// Where it will be reached.
    pub addresses: Addresses,
}

/// What that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// The number that the node starts with.
    pub id: u64,
}

/// `POST /v1/members/drain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// The node's name or number.
    pub node: String,
    /// Whether to start or to stop draining.
    pub draining: bool,
}

/// `POST /v1/members/remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remove {
    /// The node's name or number.
    pub node: String,
    /// Also if it still has votes, because it is gone for good.
    #[serde(default)]
    pub force: bool,
}

/// `POST /v1/groups/transfer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// `system`, or the shard's number.
    pub group: String,
    /// The node's name or number.
    pub to: String,
}

impl From<region::Addresses> for Addresses {
    fn from(region::Addresses { peers, resp, grpc, http }: region::Addresses) -> Self {
        Self { peers, resp, grpc, http }
    }
}

impl From<Addresses> for region::Addresses {
    fn from(Addresses { peers, resp, grpc, http }: Addresses) -> Self {
        Self { peers, resp, grpc, http }
    }
}

impl From<RegionStatus> for Status {
    fn from(RegionStatus { region, this_node, members, groups, advice, slots_wait }: RegionStatus) -> Self {
        let name = |node: NodeId| {
            let member = region.members.get(&node);
            member.map_or_else(|| format!("node {}", node.0), |member| member.name.clone())
        };
        Self {
            region: region.name.clone(),
            world: format!("{:x}", region.world),
            answered_by: name(this_node),
            members: members.into_values().map(Member::from).collect(),
            groups: groups.iter().map(|(group, status)| Group::of(*group, status, &region.slots, &name)).collect(),
            slot_moves: SlotMove::all(&region.slot_moves, slots_wait),
            advice: advice.map(Advice::from),
        }
    }
}

impl From<MemberStatus> for Member {
    fn from(MemberStatus { member, node, leads, votes_in, learns }: MemberStatus) -> Self {
        let names = |groups: std::collections::BTreeSet<GroupName>| groups.iter().map(ToString::to_string).collect();
        let state = match &node {
            Some(node) if node.ready => "ready",
            Some(_) => "starting",
            None => "down",
        };
        Self {
            node: member.name,
            id: member.id.0,
            state: state.to_owned(),
            draining: member.draining,
            addresses: member.addresses.into(),
            up_ms: node.as_ref().map(|node| node.up_ms),
            busy_percent: node.as_ref().and_then(|node| node.busy_permille).map(percent),
            log: node.as_ref().map(|node| Log {
                room_bytes: node.log.room_bytes,
                space_refused: node.log.space_refused,
                written_bytes: node.log.written_bytes_total,
                syncs: node.log.syncs_total,
            }),
            version: node.map(|node| node.version),
            leads: names(leads),
            votes_in: names(votes_in),
            learns: names(learns),
        }
    }
}

impl Group {
    fn of(group: GroupName, status: &GroupStatus, slots: &SlotTable, name: &dyn Fn(NodeId) -> String) -> Self {
        let slots = match group {
            GroupName::System => None,
            GroupName::Shard(shard) => Some(slots.count(shard)),
        };
        let GroupStatus { leader, term, voters, learners: _, changing, last, replicas } = status;
        let replicas = replicas.iter().map(|(node, replica)| Replica {
            node: name(*node),
            votes: voters.contains(node),
            applied: replica.applied,
            behind_entries: replica.behind_entries,
            silent_ms: replica.silent_ms,
        });
        Self {
            group: group.to_string(),
            leader: leader.map(name),
            term: *term,
            last: *last,
            changing: *changing,
            slots,
            replicas: replicas.collect(),
        }
    }
}
