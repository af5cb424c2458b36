//! What operators may do with a region, from any of its nodes.

use super::{
    backend::Unavailable,
    calls,
    heard::HEAR_TIMEOUT,
    node::{Inner, RegionNode},
    rebalance::{Rebalance, WhatIf, foresee_with},
    standing::Homes,
    status::RegionStatus,
    travel::{Moved, NotMoved},
};
use crate::{
    peers::{CallError, Lane},
    raft::NotTransferred,
};
use futures::future::BoxFuture;
use sojourn_core::{
    Key, NodeId, RegionId, ShardId, Slot,
    placement::GroupName,
    region::{Addresses, RegionCommand, RegionOutcome, RegionRefusal},
};
use sojourn_proto::{
    wire::{decode_all, encode},
    wire_enum,
};
use std::{collections::BTreeSet, time::Duration};

/// How long a leader may take to hand over.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(3);

/// Why an operator's wish was not done. Nothing changed, except where the text says that it is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// The region could not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The region refused.
    #[error(transparent)]
    Refused(#[from] RegionRefusal),
    /// No such group.
    #[error("no shard {0} in this region; `sojourn cluster status` lists them")]
    UnknownGroup(GroupName),
    /// The group has no leader that answers.
    #[error("the group {0} has no leader that answers: is a majority of its voters running?")]
    NoLeader(GroupName),
    /// The lead stays where it is.
    #[error("the lead of {group} was not handed over: {why}")]
    NotTransferred {
        /// Of which group.
        group: GroupName,
        /// Why.
        why: NotTransferred,
    },
    /// The node still has replicas that others do not have yet.
    #[error(
        "node {} still has a vote in {} groups: run `sojourn cluster drain {}` first and wait until it has none, or, if the \
         node is gone for good, repeat with --force", .node.0, .votes_in.len(), .node.0
    )]
    StillVotes {
        /// The node.
        node: NodeId,
        /// Where.
        votes_in: BTreeSet<GroupName>,
    },
    /// Removing the node would leave a group without a majority.
    #[error(
        "without node {} the group {group} has {alive} of {needed} voters that it needs: start more of its nodes first",
        .node.0
    )]
    QuorumAtRisk {
        /// The node.
        node: NodeId,
        /// Which group.
        group: GroupName,
        /// How many of its voters would be running.
        alive: u64,
        /// How many it needs.
        needed: u64,
    },
    /// The leader of a shard does not say how many sessions it has.
    #[error("not all shards of this region say how many sessions they have: does each have a leader?")]
    NoStanding,
    /// A forced removal is for nodes that are gone.
    #[error("node {} is running: drain it instead of forcing it out", .node.0)]
    Alive {
        /// The node.
        node: NodeId,
    },
}

/// What operators may do. Cheap handlers call this and nothing else.
pub trait Admin: Send + Sync + 'static {
    /// The region, its members and its groups; members that do not answer within a second show as such.
    fn status(&self) -> BoxFuture<'static, RegionStatus>;

    /// Hands the lead of a group to a voter of it that lives and has caught up; done when it leads.
    fn transfer_leader(&self, group: GroupName, to: NodeId) -> BoxFuture<'static, Result<(), AdminError>>;

    /// Reserves a number for a node that will be started with `--join` under this name and peers address.
    fn add_node(&self, name: String, addresses: Addresses) -> BoxFuture<'static, Result<NodeId, AdminError>>;

    /// Starts or stops draining a node. Leads move at once, replicas as far as the other nodes can take them:
    /// [`MemberStatus`](super::status::MemberStatus) shows what is left.
    fn drain(&self, node: NodeId, draining: bool) -> BoxFuture<'static, Result<(), AdminError>>;

    /// Replicas and leads on their way, and what will be moved, now or after `what_if`, which is not done.
    fn rebalance(&self, what_if: WhatIf) -> BoxFuture<'static, Result<Rebalance, AdminError>>;

    /// Says how replicas are moved; what is `None` stays as it is. 0 bytes a second are as many as go.
    fn set_rebalancing(
        &self,
        paused: Option<bool>,
        bytes_per_s_max: Option<u64>,
    ) -> BoxFuture<'static, Result<(), AdminError>>;

    /// Has slots move to another shard, one range after the other; says which number the move has. It shows in the status.
    fn move_slots(
        &self,
        from: ShardId,
        to: ShardId,
        slots: (Slot, Slot),
    ) -> BoxFuture<'static, Result<u64, AdminError>>;

    /// Has slots of a move stay that have not moved yet.
    fn give_slots_up(&self, number: u64) -> BoxFuture<'static, Result<(), AdminError>>;

    /// Moves a session to another home, and waits until that orders it.
    fn move_session(&self, key: Key, to: RegionId) -> BoxFuture<'static, Result<Moved, NotMoved>>;

    /// How many sessions are at home in each region, as the copies here show them.
    fn homes(&self) -> BoxFuture<'static, Result<Homes, AdminError>>;

    /// Forgets a node that has no vote any more; with `force` also one that is dead, whose votes go to others.
    fn remove_node(&self, node: NodeId, force: bool) -> BoxFuture<'static, Result<(), AdminError>>;
}

impl Admin for RegionNode {
    fn status(&self) -> BoxFuture<'static, RegionStatus> {
        let inner = self.inner.clone();
        Box::pin(async move { inner.region_status().await })
    }

    fn transfer_leader(&self, group: GroupName, to: NodeId) -> BoxFuture<'static, Result<(), AdminError>> {
        let inner = self.inner.clone();
        Box::pin(async move { inner.transfer_leader(group, to).await })
    }

    fn add_node(&self, name: String, addresses: Addresses) -> BoxFuture<'static, Result<NodeId, AdminError>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            match inner.agree(RegionCommand::AddMember { name, addresses, disk: None }).await? {
                RegionOutcome::Node(id) => Ok(id),
                RegionOutcome::Done
                | RegionOutcome::Namespace(_)
                | RegionOutcome::SlotMove(_)
                | RegionOutcome::Refused(_) => Err(Unavailable::Loading.into()),
            }
        })
    }

    fn drain(&self, node: NodeId, draining: bool) -> BoxFuture<'static, Result<(), AdminError>> {
        let inner = self.inner.clone();
        Box::pin(async move { inner.agree(RegionCommand::DrainMember { id: node, draining }).await.map(drop) })
    }

    fn rebalance(&self, what_if: WhatIf) -> BoxFuture<'static, Result<Rebalance, AdminError>> {
        let inner = self.inner.clone();
        Box::pin(async move { foresee_with(inner.known_status().await?, what_if) })
    }

    fn set_rebalancing(
        &self,
        paused: Option<bool>,
        bytes_per_s_max: Option<u64>,
    ) -> BoxFuture<'static, Result<(), AdminError>> {
        let inner = self.inner.clone();
        Box::pin(async move { inner.agree(RegionCommand::SetRebalancing { paused, bytes_per_s_max }).await.map(drop) })
    }

    fn move_slots(
        &self,
        from: ShardId,
        to: ShardId,
        (first, last): (Slot, Slot),
    ) -> BoxFuture<'static, Result<u64, AdminError>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            match inner.agree(RegionCommand::MoveSlots { from, to, first, last }).await? {
                RegionOutcome::SlotMove(number) => Ok(number),
                RegionOutcome::Done
                | RegionOutcome::Node(_)
                | RegionOutcome::Namespace(_)
                | RegionOutcome::Refused(_) => Err(Unavailable::Loading.into()),
            }
        })
    }

    fn give_slots_up(&self, number: u64) -> BoxFuture<'static, Result<(), AdminError>> {
        let inner = self.inner.clone();
        Box::pin(async move { inner.agree(RegionCommand::GiveSlotsUp { number }).await.map(drop) })
    }

    fn move_session(&self, key: Key, to: RegionId) -> BoxFuture<'static, Result<Moved, NotMoved>> {
        let node = self.clone();
        Box::pin(async move { Self::move_session(&node, key, to).await })
    }

    fn homes(&self) -> BoxFuture<'static, Result<Homes, AdminError>> {
        let node = self.clone();
        Box::pin(async move { Self::homes(&node).await.map_err(|_| AdminError::NoStanding) })
    }

    fn remove_node(&self, node: NodeId, force: bool) -> BoxFuture<'static, Result<(), AdminError>> {
        let inner = self.inner.clone();
        Box::pin(async move { inner.remove_node(node, force).await })
    }
}

impl Inner {
    /// Changes what the region agrees on; a refusal is an error. Who looks here afterwards sees it.
    pub async fn agree(&self, command: RegionCommand) -> Result<RegionOutcome, AdminError> {
        match self.change(command.clone()).await? {
            RegionOutcome::Refused(refusal) => Err(refusal.into()),
            outcome => {
                self.hear_of(&command, HEAR_TIMEOUT).await;
                Ok(outcome)
            }
        }
    }

    /// The region's status, if this node knows the region: before that it would deny that anybody is a member.
    async fn known_status(&self) -> Result<RegionStatus, AdminError> {
        self.agreed().ok_or(Unavailable::Loading)?;
        Ok(self.region_status().await)
    }

    async fn transfer_leader(&self, group: GroupName, to: NodeId) -> Result<(), AdminError> {
        let status = self.known_status().await?;
        if !status.region.members.contains_key(&to) {
            return Err(RegionRefusal::UnknownNode(to).into());
        }
        let leader = status.groups.get(&group).ok_or(AdminError::UnknownGroup(group))?.leader;
        let leader = leader.ok_or(AdminError::NoLeader(group))?;
        let done = if leader == self.options.node {
            self.transfer_here(group, to).await
        } else {
            let parts = encode(&(group, to));
            let answer = self.rpc.call(leader, Lane::Fast, calls::TRANSFER, &[&parts], TRANSFER_TIMEOUT).await;
            match answer {
                Ok(bytes) => decode_transferred(&bytes),
                Err(CallError::TimedOut(_)) => Err(NotTransferred::TimedOut { node: to }),
                Err(_) => return Err(AdminError::NoLeader(group)),
            }
        };
        done.map_err(|why| AdminError::NotTransferred { group, why })
    }

    /// Hands the lead of a group that this node leads to another.
    pub async fn transfer_here(&self, group: GroupName, to: NodeId) -> Result<(), NotTransferred> {
        match group {
            GroupName::System => self.system.transfer_to(to).await,
            GroupName::Shard(shard) => match self.shards.get(shard) {
                Some(shard) => shard.group.transfer_to(to).await,
                None => Err(NotTransferred::NotLeader),
            },
        }
    }

    async fn remove_node(&self, node: NodeId, force: bool) -> Result<(), AdminError> {
        let status = self.known_status().await?;
        let member = status.members.get(&node).ok_or(RegionRefusal::UnknownNode(node))?;
        if !force && !member.votes_in.is_empty() {
            return Err(AdminError::StillVotes { node, votes_in: member.votes_in.clone() });
        }
        if force && member.is_alive() && !member.votes_in.is_empty() {
            return Err(AdminError::Alive { node });
        }
        for &group in &member.votes_in {
            let others = status.groups[&group].voters.iter().filter(|voter| **voter != node);
            let alive =
                others.filter(|voter| status.members.get(voter).is_some_and(|member| member.is_alive())).count();
            let needed = status.groups[&group].voters.len() / 2 + 1;
            if alive < needed {
                return Err(AdminError::QuorumAtRisk { node, group, alive: alive as u64, needed: needed as u64 });
            }
        }
        self.agree(RegionCommand::RemoveMember { id: node }).await.map(drop)
    }
}

wire_enum!(NotTransferred {
    0 => NotLeader,
    1 => NotVoter { node },
    2 => Silent { node, silent_ms },
    3 => Behind { node, behind_entries },
    4 => TimedOut { node },
});

/// The bytes that answer [`calls::TRANSFER`].
pub(super) fn encode_transferred(done: Result<(), NotTransferred>) -> Vec<u8> {
    encode(&done.err())
}

fn decode_transferred(bytes: &[u8]) -> Result<(), NotTransferred> {
    match decode_all::<Option<NotTransferred>>(bytes) {
        Ok(Some(why)) => Err(why),
        Ok(None) => Ok(()),
        // A leader of another version; what it did shows in the status.
        Err(_) => Err(NotTransferred::NotLeader),
    }
}
