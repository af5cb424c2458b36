//! What this node answers about the control group.

use super::{
    Inner,
    calls::{Answer, Question},
    lead::led_in,
};
use crate::{
    raft::{Applied, encode_change},
    region::backend::Backend,
};
use sojourn_core::{
    RegionId,
    control::{ControlCommand, ControlState},
};
use std::{sync::Arc, time::Duration};

/// How long who asks for news waits before it is told that there are none: it asks again, so a broken way shows by then.
pub(super) const NEWS_WAIT: Duration = Duration::from_secs(2);

/// How long a quorum may take to confirm a lead, or to log a change.
const QUORUM_TIMEOUT: Duration = Duration::from_secs(2);

impl Inner {
    /// Answers a question of a node of region `from`.
    pub(super) async fn decide(self: &Arc<Self>, from: RegionId, question: Question) -> Answer {
        match question {
            Question::Census => self.census().await,
            Question::Watch { seen } => self.news(seen).await,
            Question::Propose { command } => self.change(command).await,
            Question::Renew { home, epoch, seen } => self.grant(home, epoch, from, seen).await,
            Question::Figures => self.figures().await,
        }
    }

    async fn census(&self) -> Answer {
        let speaks_for = self.node.region().delegate.map(|delegate| delegate.voter);
        let group = self.group();
        let founded = match &group {
            Some(group) => group.is_founded().await.unwrap_or(true),
            None => false,
        };
        let speaks = speaks_for == Some(self.node.identity().2) && group.is_some();
        Answer::Census { speaks, knows: founded || self.known.latest().is_some() }
    }

    async fn news(&self, seen: u64) -> Answer {
        let later = tokio::time::timeout(NEWS_WAIT, self.known.heard().later_than(seen)).await;
        Answer::News { state: later.ok().map(|state| Box::new(ControlState::clone(&state))) }
    }

    async fn change(&self, command: ControlCommand) -> Answer {
        let Some(group) = self.group() else { return self.not_leader() };
        match tokio::time::timeout(QUORUM_TIMEOUT, group.propose(encode_change(&command))).await {
            Ok(Ok(Some(Applied::Control(outcome)))) => Answer::Changed { outcome: *outcome },
            // Whether it is done shows in the state.
            Ok(_) | Err(_) => self.not_leader(),
        }
    }

    /// Grants what a region needs to write, if this node leads and a quorum says so after it was asked.
    ///
    /// What is granted is noted, under the lock that planning takes, before it is answered: a fence that this node has applied
    /// either refuses the lease or sees it. A fence of a later leader was proposed after the quorum had confirmed this one, and
    /// so after the lease began.
    async fn grant(&self, home: RegionId, epoch: u32, holder: RegionId, seen: u64) -> Answer {
        let Some(group) = self.group() else { return self.not_leader() };
        let confirmed = tokio::time::timeout(QUORUM_TIMEOUT, group.confirm_read()).await;
        let (Ok(Ok(true)), Some(term)) = (confirmed, group.leading_term()) else { return self.not_leader() };
        let mut led = self.led.lock();
        let now_ms = self.now_ms();
        let led = led_in(&mut led, term, self.leads_since_ms(now_ms));
        match group.machine().now().grant(home, epoch, holder, seen) {
            Ok(grant) => {
                led.grants.note(home, holder, now_ms);
                Answer::Granted { grant }
            }
            Err(refusal) => Answer::Refused { refusal },
        }
    }

    async fn figures(&self) -> Answer {
        let Some(group) = self.group() else { return self.not_leader() };
        match tokio::time::timeout(QUORUM_TIMEOUT, group.confirm_read()).await {
            Ok(Ok(true)) => Answer::Figures { figures: self.figures_of(&group) },
            Ok(_) | Err(_) => self.not_leader(),
        }
    }

    fn not_leader(&self) -> Answer {
        Answer::NotLeader {
            leader: self.group().and_then(|group| group.leader()).filter(|leader| *leader != self.this),
        }
    }
}
