//! Changing who is in a group, one step at a time.

use super::{GroupFigures, Machine, NotTransferred, RunningGroup};
use openraft::{ChangeMembers, EmptyNode, errors::RaftError};
use sojourn_core::{
    NodeId,
    placement::{GroupView, Step},
};
use std::{collections::BTreeSet, io};

/// Why a step was not done; planning again from what the group is then goes on.
#[derive(Debug, thiserror::Error)]
pub enum NotChanged {
    /// Not by this node or not now.
    #[error("{0}")]
    NotNow(String),
    /// The lead stays.
    #[error(transparent)]
    NotTransferred(#[from] NotTransferred),
    /// The group has stopped.
    #[error("the group has stopped: {0}")]
    Stopped(io::Error),
}

impl GroupFigures {
    /// What the planner needs of a group, if this replica leads it.
    pub fn view(&self) -> Option<GroupView> {
        if self.leader != Some(self.node) {
            return None;
        }
        let followers = |test: fn(&super::FollowerFigures) -> bool| -> BTreeSet<NodeId> {
            let fit = self.followers.iter().filter(|(_, follower)| test(follower)).map(|(node, _)| *node);
            fit.chain([self.node]).collect()
        };
        Some(GroupView {
            leader: self.node,
            voters: self.voters.clone(),
            coming: self.coming.clone(),
            learners: self.learners.clone(),
            pending: self.pending,
            alive: followers(super::FollowerFigures::lives),
            caught_up: followers(super::FollowerFigures::is_caught_up),
        })
    }
}

impl<M: Machine> RunningGroup<M> {
    /// Does one step and waits until it is committed.
    ///
    /// # Errors
    /// [`NotChanged`]; the step may still be done, by this leader or the next.
    pub async fn change(&self, step: Step) -> Result<(), NotChanged> {
        let change = match step {
            Step::AddLearner(node) => ChangeMembers::AddNodes([(node.0, EmptyNode {})].into()),
            Step::RemoveLearner(node) => ChangeMembers::RemoveNodes([node.0].into()),
            Step::ChangeVoters(voters) => {
                ChangeMembers::ReplaceAllVoters(voters.into_iter().map(|node| node.0).collect())
            }
            Step::Transfer(node) => return Ok(self.transfer_to(node).await?),
        };
        // Who loses its vote stays as a learner until a step of its own removes it, so that it hears of it.
        match self.raft().change_membership(change, true).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(error)) => Err(NotChanged::NotNow(error.to_string())),
            Err(RaftError::Fatal(error)) => Err(NotChanged::Stopped(io::Error::other(error))),
        }
    }
}
