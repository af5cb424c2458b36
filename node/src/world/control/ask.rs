//! Whom a node asks about the control group: its leader for changes and leases, its region's voter for news.

use super::{
    Inner, NotAgreed,
    calls::{Answer, Question},
    decide::NEWS_WAIT,
};
use crate::{
    peers::{AbroadRoster, CallError, Lane},
    region::backend::Backend,
};
use bytes::Bytes;
use sojourn_core::{NodeId, Slot};
use sojourn_proto::wire::{decode_all, encode};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::time::Instant;

/// How long to wait before the next is asked when nobody knows of a leader.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// How much longer than its wait news may take on the way.
const NEWS_WAY: Duration = Duration::from_secs(1);

/// How long to wait for news after a node had none to ask or did not answer.
const NEWS_PAUSE: Duration = Duration::from_millis(250);

/// How often who has a replica looks whether others know more than it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often the first choice is tried again while another is asked.
const PREFER_EVERY: Duration = Duration::from_secs(5);

impl Inner {
    /// Asks one node; none if it does not answer.
    pub(super) async fn ask(
        self: &Arc<Self>,
        target: NodeId,
        question: &Question,
        timeout: Duration,
    ) -> Option<Answer> {
        if target == self.this {
            return Some(self.decide(self.here, question.clone()).await);
        }
        let body = encode(question);
        let answer: Result<Bytes, CallError> = if AbroadRoster::region_of(target) == Some(self.here) {
            self.node.ask_member(AbroadRoster::node_of(target), &body, timeout).await
        } else {
            self.rpc.call(target, Lane::Fast, super::super::calls::CONTROL, &[&body], timeout).await
        };
        match answer.map(|bytes| decode_all(&bytes)) {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                tracing::warn!(node = target.0, %error, "a node answers strangely about the control group");
                None
            }
            Err(error) => {
                tracing::debug!(node = target.0, %error, "a node does not answer about the control group");
                None
            }
        }
    }

    /// Asks whoever leads the group, looking for it as long as `patience` lasts; one node may take a third of it: who is
    /// frozen answers nothing.
    pub(super) async fn ask_leader(
        self: &Arc<Self>,
        question: Question,
        patience: Duration,
    ) -> Result<Answer, NotAgreed> {
        let deadline = Instant::now() + patience;
        // Taken out until it has answered: whoever gives up meanwhile must not leave a dead one to the next who asks.
        let mut hint = self.group().and_then(|group| group.leader()).or_else(|| self.leader.lock().take());
        let mut turn = 0;
        loop {
            let voters = self.voters();
            let hinted = hint.take();
            let next = hinted.or_else(|| voters.get(turn % voters.len().max(1)).copied());
            let left = deadline.saturating_duration_since(Instant::now());
            let target = match next {
                Some(target) if !left.is_zero() => target,
                Some(_) if self.known.latest().is_some() => return Err(NotAgreed::NoLeader),
                Some(_) | None => return Err(NotAgreed::NotFounded),
            };
            match self.ask(target, &question, left.min(patience / 3)).await {
                Some(Answer::NotLeader { leader }) => hint = leader.filter(|leader| *leader != target),
                Some(answer) => {
                    *self.leader.lock() = Some(target);
                    return Ok(answer);
                }
                None => {}
            }
            if hint.is_none() {
                *self.leader.lock() = None;
                turn += usize::from(hinted.is_none());
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }

    /// Who votes, as far as this node has heard: this region's first.
    fn voters(&self) -> Vec<NodeId> {
        let own = self.node.region().delegate.map(|delegate| AbroadRoster::number(self.here, delegate.voter));
        let mut voters: Vec<NodeId> = own.into_iter().collect();
        let agreed = self.known.latest().into_iter().flat_map(|state| {
            let number = |region: &sojourn_core::control::Region| Some(AbroadRoster::number(region.id, region.voter?));
            state.regions.values().filter(|region| region.id != self.here).filter_map(number).collect::<Vec<_>>()
        });
        let told = self.contacts.upgrade().into_iter().flat_map(|contacts| {
            contacts.others().into_iter().filter_map(|region| contacts.voter(region)).collect::<Vec<_>>()
        });
        for voter in agreed.chain(told) {
            if !voters.contains(&voter) {
                voters.push(voter);
            }
        }
        voters
    }

    /// Nodes of a region that has said that it knows more than this node; none if there is none.
    fn ahead(&self) -> Vec<NodeId> {
        let Some(contacts) = self.contacts.upgrade() else { return Vec::new() };
        let known = self.known.version();
        let is_ahead = |region: &_| contacts.whereabouts(*region).is_some_and(|told| told.control > known);
        let ahead = contacts.others().into_iter().find(is_ahead);
        let nodes = ahead.map(|region| (contacts.voter(region), contacts.nodes_for(region, Slot::default())));
        nodes.into_iter().flat_map(|(voter, nodes)| voter.into_iter().chain(nodes)).collect()
    }

    /// Whether this node's own replica hears of every change.
    fn hears_itself(&self) -> bool {
        let Some(group) = self.group() else { return false };
        let figures = group.figures();
        figures.leader.is_some() && (figures.voters.contains(&self.this) || figures.learners.contains(&self.this))
    }
}

/// Asks for news until the node is gone.
pub(super) async fn run_news(control: Weak<Inner>) {
    let (mut turn, mut preferred_at) = (0, Instant::now());
    while let Some(inner) = control.upgrade().filter(|inner| !inner.is_stopping()) {
        let mut whom = inner.ahead();
        if whom.is_empty() && inner.hears_itself() {
            drop(inner);
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        if whom.is_empty() {
            whom = inner.voters().into_iter().filter(|voter| *voter != inner.this).collect();
        }
        if preferred_at.elapsed() > PREFER_EVERY {
            (turn, preferred_at) = (0, Instant::now());
        }
        let Some(target) = whom.get(turn % whom.len().max(1)).copied() else {
            drop(inner);
            tokio::time::sleep(NEWS_PAUSE).await;
            continue;
        };
        let question = Question::Watch { seen: inner.known.version() };
        let answer = inner.ask(target, &question, NEWS_WAIT + NEWS_WAY).await;
        match answer {
            Some(Answer::News { state }) => {
                if let Some(state) = state {
                    inner.known.learn(Arc::from(state), inner.mark());
                }
            }
            Some(_) | None => {
                turn += 1;
                drop(inner);
                tokio::time::sleep(NEWS_PAUSE).await;
            }
        }
    }
}
