//! Whether this node still leads, asked of those without whom nobody else can.
//!
//! Raft's ReadIndex asks a quorum to acknowledge the leader. openraft does so with a heartbeat through everybody's core; that
//! costs more than all the rest of a read. What it proves is less: that no quorum had voted for a later leader when the
//! read came. A vote is in a replica's log before the candidate hears of it, so the replica's log answers that at once.
//! Two quorums share a replica: if each of one still holds this leader's vote *now*, a later leader can only be elected after
//! now, and all that was acknowledged before was acknowledged by this leader or an earlier one. Once this machine has
//! applied an entry of the leader's own term it holds all of that.
//!
//! A read that another voter forwarded brings that voter's answer along: in a group of three that is a quorum already.

use super::{
    Machine, RunningGroup, Vote,
    network::{decode, encode, service},
    types::LeaderId,
};
use crate::peers::Lane;
use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use openraft::{ReadPolicy, ServerState, async_runtime::watch::WatchReceiver, errors::RaftError, vote::RaftLeaderId};
use parking_lot::Mutex;
use sojourn_core::NodeId;
use std::{collections::BTreeSet, io, time::Duration};
use tokio::time::{Instant, sleep};

/// How long the first who are asked may take before the others are asked too.
const HEDGE_DELAY: Duration = Duration::from_millis(20);

/// Replicas that did not answer in time when they were asked last: they are asked after the others.
#[derive(Default)]
pub(super) struct Late(Mutex<BTreeSet<NodeId>>);

/// A lead that others can confirm.
pub(super) struct Lead {
    pub vote: Vote,
    pub others: Vec<NodeId>,
    /// How many of the others make a quorum with this node.
    pub needed: usize,
}

impl<M: Machine> RunningGroup<M> {
    /// Waits until this machine holds everything that was acknowledged before the call; `false` if this node does not
    /// lead.
    ///
    /// # Errors
    /// The group has stopped.
    pub async fn confirm_read(&self) -> io::Result<bool> {
        self.note_own_lead();
        if self.is_confirmed_by_votes().await {
            return Ok(true);
        }
        // A new leader that has applied nothing yet, a change of voters, a quorum that is away: openraft waits for them.
        match self.raft().ensure_linearizable(ReadPolicy::ReadIndex).await {
            Ok(_) => Ok(true),
            Err(RaftError::APIError(_)) => Ok(false),
            Err(RaftError::Fatal(error)) => Err(io::Error::other(error)),
        }
    }

    /// This replica helps itself, too.
    fn note_own_lead(&self) {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        if metrics.state == ServerState::Leader {
            self.support.note(metrics.vote.leader_id());
        }
    }

    async fn is_confirmed_by_votes(&self) -> bool {
        let Some(Lead { vote, mut others, needed }) = self.lead() else { return false };
        let Ok(question) = encode(&vote) else { return false };
        if others.len() > needed {
            let late = self.late.0.lock();
            others.sort_by_key(|node| late.contains(node));
        }
        let mut waiting = others.into_iter();
        let mut asked: FuturesUnordered<_> =
            waiting.by_ref().take(needed).map(|node| self.ask_vote(node, &question)).collect();
        let hedge = sleep(HEDGE_DELAY);
        tokio::pin!(hedge);
        let mut confirmed = 0;
        while confirmed < needed {
            tokio::select! {
                biased;
                Some(agrees) = asked.next() => match agrees {
                    true => confirmed += 1,
                    false => asked.extend(waiting.next().map(|node| self.ask_vote(node, &question))),
                },
                () = &mut hedge, if waiting.len() > 0 => {
                    asked.extend(waiting.by_ref().map(|node| self.ask_vote(node, &question)));
                }
                else => return false,
            }
        }
        true
    }

    /// This replica's vote as its log has it, for [`RunningGroup::is_confirmed_by`].
    pub fn vote(&self) -> Option<Bytes> {
        self.log.group(self.group).vote()
    }

    /// Whether this node leads and the vote that `node` had when it read it, with this node's own, is a quorum. A read that
    /// came in before `node` read its vote needs no other confirmation.
    pub fn is_confirmed_by(&self, node: NodeId, vote: &[u8]) -> bool {
        let Some(Lead { vote: own, others, needed }) = self.lead() else { return false };
        needed <= 1
            && others.contains(&node)
            && decode::<Vote>(vote).is_ok_and(|vote| vote.leader_id() == own.leader_id())
    }

    /// The lead of this node, if its machine has applied an entry of it and its own log knows of no later vote.
    pub(super) fn lead(&self) -> Option<Lead> {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let voters = match metrics.membership_config.membership().get_joint_config().as_slice() {
            [voters] if metrics.state == ServerState::Leader && voters.contains(&metrics.id) => voters,
            _ => return None,
        };
        let leader = metrics.vote.leader_id();
        let has_applied = self.keeper.applied_id().is_some_and(|id| id.leader_id == leader.to_committed());
        if !metrics.vote.is_committed() || !has_applied || !self.votes_for(leader) {
            return None;
        }
        let others: Vec<NodeId> = voters.iter().filter(|node| **node != metrics.id).map(|node| NodeId(*node)).collect();
        Some(Lead { vote: metrics.vote, needed: voters.len() / 2, others })
    }

    /// Whether `node` still votes for this node.
    async fn ask_vote(&self, node: NodeId, question: &[u8]) -> bool {
        let group = self.group.to_le_bytes();
        let call = self.rpc.call(node, Lane::Fast, service::CONFIRM, &[&group, question], self.confirm_timeout);
        let asked = Instant::now();
        let answer = call.await;
        let mut late = self.late.0.lock();
        if answer.is_err() || asked.elapsed() > HEDGE_DELAY {
            late.insert(node);
        } else if !late.is_empty() {
            late.remove(&node);
        }
        answer.is_ok_and(|answer| answer[..] == [1])
    }

    /// Whether this replica's log holds a vote for `leader`, and so none for a later one.
    pub(super) fn votes_for(&self, leader: &LeaderId) -> bool {
        self.vote().is_some_and(|vote| decode::<Vote>(&vote).is_ok_and(|vote| vote.leader_id() == leader))
    }
}
