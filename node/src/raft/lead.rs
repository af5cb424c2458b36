//! Handing the lead of a group to another replica.

use super::{Machine, RunningGroup};
use openraft::async_runtime::watch::WatchReceiver;
use sojourn_core::NodeId;
use std::time::Duration;

/// How long the heir may take. The old leader takes no proposals meanwhile, and the others elect after that.
const TAKE_OVER_TIMEOUT: Duration = Duration::from_secs(1);

/// How often the heir is told again: it refuses while it lacks an entry that was on its way.
const TELL_AGAIN_EVERY: Duration = Duration::from_millis(10);

/// Why the lead stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTransferred {
    /// This node does not lead the group.
    #[error("this node does not lead the group; the leader has changed meanwhile: look again")]
    NotLeader,
    /// Only voters lead.
    #[error("node {} has no vote in the group: only a voter can lead it", .node.0)]
    NotVoter {
        /// The node.
        node: NodeId,
    },
    /// The heir does not answer.
    #[error("node {} has not answered for {silent_ms} ms: start it, or choose another one", .node.0)]
    Silent {
        /// The node.
        node: NodeId,
        /// Since when; `u64::MAX` for never.
        silent_ms: u64,
    },
    /// The heir lacks too much.
    #[error("node {} lacks {behind_entries} entries: wait until it has caught up", .node.0)]
    Behind {
        /// The node.
        node: NodeId,
        /// How many entries it lacks.
        behind_entries: u64,
    },
    /// It was told to and did not take over in time.
    #[error("node {} did not take over in time; the group elects a leader by itself", .node.0)]
    TimedOut {
        /// The node.
        node: NodeId,
    },
}

impl<M: Machine> RunningGroup<M> {
    /// Whether `to` could lead in place of this leader: a voter that lives and has caught up.
    ///
    /// # Errors
    /// Why not.
    pub fn check_heir(&self, to: NodeId) -> Result<(), NotTransferred> {
        let figures = self.figures();
        if figures.leader != Some(figures.node) {
            return Err(NotTransferred::NotLeader);
        }
        if !figures.voters.contains(&to) {
            return Err(NotTransferred::NotVoter { node: to });
        }
        let follower = figures.followers.get(&to).copied().unwrap_or_default();
        if !follower.lives() {
            return Err(NotTransferred::Silent { node: to, silent_ms: follower.silent_ms.unwrap_or(u64::MAX) });
        }
        if !follower.is_caught_up() {
            return Err(NotTransferred::Behind { node: to, behind_entries: follower.behind_entries });
        }
        Ok(())
    }

    /// Hands the lead to `to` and waits until it has it. To itself is no error.
    ///
    /// # Errors
    /// Nothing changed, except with [`NotTransferred::TimedOut`], when anybody may come to lead.
    pub async fn transfer_to(&self, to: NodeId) -> Result<(), NotTransferred> {
        if self.figures().leader == Some(to) {
            return Ok(());
        }
        self.check_heir(to)?;
        let mut metrics = self.raft().metrics();
        let taken_over = async {
            loop {
                if self.raft().trigger().transfer_leader(to.0).await.is_err() {
                    return Err(NotTransferred::NotLeader);
                }
                let changed = async {
                    while metrics.borrow_watched().current_leader != Some(to.0) {
                        if metrics.changed().await.is_err() {
                            return;
                        }
                    }
                };
                if tokio::time::timeout(TELL_AGAIN_EVERY, changed).await.is_ok() {
                    return Ok(());
                }
            }
        };
        tokio::time::timeout(TAKE_OVER_TIMEOUT, taken_over).await.unwrap_or(Err(NotTransferred::TimedOut { node: to }))
    }
}
