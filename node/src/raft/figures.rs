//! What a group looks like from this replica: figures for operators, and for whoever plans its membership.

use super::{Machine, RunningGroup};
use openraft::{Instant, ServerState, async_runtime::watch::WatchReceiver};
use sojourn_core::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// A follower that was heard of within this time lives.
pub const SILENT_MS_MAX: u64 = 1_000;

/// A follower that lacks at most so many entries has caught up.
pub const BEHIND_ENTRIES_MAX: u64 = 1_000;

/// What a replica does in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Orders the writes.
    Leader,
    /// Votes.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Has a copy and no vote.
    Learner,
    /// Has stopped.
    Stopped,
}

/// A group as one of its replicas sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFigures {
    /// The replica's node.
    pub node: NodeId,
    /// What the replica does.
    pub role: Role,
    /// Who leads, if the replica knows.
    pub leader: Option<NodeId>,
    /// The term.
    pub term: u64,
    /// Who votes; during a change both the old and the new voters.
    pub voters: BTreeSet<NodeId>,
    /// Who has a copy and no vote.
    pub learners: BTreeSet<NodeId>,
    /// Between two sets of voters: the one to come.
    pub coming: Option<BTreeSet<NodeId>>,
    /// Whether the last change of membership is not committed yet.
    pub pending: bool,
    /// Index of the last log entry.
    pub last: Option<u64>,
    /// Index of the last committed entry.
    pub committed: Option<u64>,
    /// Index of the last applied entry.
    pub applied: Option<u64>,
    /// Index of the last entry in the newest snapshot.
    pub snapshot: Option<u64>,
    /// The other replicas, as a leader sees them; empty on others.
    pub followers: BTreeMap<NodeId, FollowerFigures>,
}

/// Another replica as the leader sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowerFigures {
    /// Index of the last entry that it is known to have.
    pub matched: Option<u64>,
    /// How many entries it lacks.
    pub behind_entries: u64,
    /// How long ago it last answered; `None` if never.
    pub silent_ms: Option<u64>,
}

impl FollowerFigures {
    /// Whether it answered lately.
    pub fn lives(&self) -> bool {
        self.silent_ms.is_some_and(|silent_ms| silent_ms <= SILENT_MS_MAX)
    }

    /// Whether it lives and lacks little.
    pub fn is_caught_up(&self) -> bool {
        self.lives() && self.matched.is_some() && self.behind_entries <= BEHIND_ENTRIES_MAX
    }
}

impl GroupFigures {
    /// Whether a change of membership is under way.
    pub fn changing(&self) -> bool {
        self.pending || self.coming.is_some()
    }

    /// The voters that could lead when this leader goes, those that lack least first. None on others.
    pub fn heirs(&self) -> Vec<NodeId> {
        let fit =
            |(node, follower): &(&NodeId, &FollowerFigures)| self.voters.contains(node) && follower.is_caught_up();
        let mut heirs: Vec<_> = self.followers.iter().filter(fit).collect();
        heirs.sort_by_key(|(_, follower)| follower.behind_entries);
        heirs.into_iter().map(|(node, _)| *node).collect()
    }
}

impl<M: Machine> RunningGroup<M> {
    /// Who leads, if this replica knows. Cheap.
    pub fn leader(&self) -> Option<NodeId> {
        self.raft().metrics().borrow_watched().current_leader.map(NodeId)
    }

    /// Who leads, and in which term, if this replica knows. Cheap.
    pub fn known_lead(&self) -> Option<(u64, NodeId)> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        metrics.current_leader.map(|leader| (metrics.current_term, NodeId(leader)))
    }

    /// The term that this replica leads in, if it leads. Cheap.
    pub fn leading_term(&self) -> Option<u64> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        (metrics.current_leader == Some(metrics.id)).then_some(metrics.current_term)
    }

    /// The group as this replica sees it now.
    pub fn figures(&self) -> GroupFigures {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let heartbeats = metrics.heartbeat.as_ref();
        let last = metrics.last_log_index;
        let follower = |(node, matched): (&u64, &Option<super::LogId>)| {
            let matched = matched.as_ref().map(|id| id.index);
            let heard = heartbeats.and_then(|heartbeats| heartbeats.get(node)).and_then(|at| at.as_ref());
            let figures = FollowerFigures {
                matched,
                behind_entries: last.map_or(0, |last| last + 1).saturating_sub(matched.map_or(0, |index| index + 1)),
                silent_ms: heard.map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
            };
            (NodeId(*node), figures)
        };
        let others = metrics.replication.iter().flatten().filter(|(node, _)| **node != metrics.id);
        GroupFigures {
            node: NodeId(metrics.id),
            role: match metrics.state {
                ServerState::Leader => Role::Leader,
                ServerState::Follower => Role::Follower,
                ServerState::Candidate => Role::Candidate,
                ServerState::Learner => Role::Learner,
                ServerState::Shutdown => Role::Stopped,
            },
            leader: metrics.current_leader.map(NodeId),
            term: metrics.current_term,
            voters: membership.voter_ids().map(NodeId).collect(),
            learners: membership.learner_ids().map(NodeId).collect(),
            coming: match membership.get_joint_config().as_slice() {
                [_, .., coming] => Some(coming.iter().copied().map(NodeId).collect()),
                [] | [_] => None,
            },
            pending: metrics.committed_membership_config.log_id() != metrics.membership_config.log_id(),
            last,
            committed: metrics.local_committed.as_ref().map(|id| id.index),
            applied: metrics.last_applied.as_ref().map(|id| id.index),
            snapshot: metrics.snapshot.as_ref().map(|id| id.index),
            followers: others.map(follower).collect(),
        }
    }
}
