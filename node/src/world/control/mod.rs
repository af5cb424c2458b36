//! The control group as a node reaches it: one Raft group across regions that keeps [`ControlState`].
//!
//! Each region names one of its nodes, in its own log, to vote for it (`part`). When all regions have met and none knows a
//! world, the voter of the lowest-numbered one founds the group with all; a region that comes later joins it. Whoever leads it
//! grants leases and plans failovers (`lead`). Every other node asks its region's voter for news, or another's where it has to
//! (`ask`), and keeps what it last heard on its disk (`known`).

mod agreement;
mod ask;
mod calls;
mod decide;
mod known;
mod lead;
mod machine;
mod part;
#[cfg(test)]
mod tests;
mod wishes;

pub use agreement::{Agreement, NotAgreed};
pub use calls::Figures;

use super::Contacts;
use crate::{
    env::Heard,
    peers::{AbroadRoster, Reply, Rpc},
    raft::{Inbox, spawn},
    region::{
        RegionNode,
        backend::{Backend, Unavailable},
        counsel::Counsel,
    },
};
use bytes::Bytes;
use calls::{Answer, Question};
use futures::future::BoxFuture;
use known::Known;
use lead::Led;
use machine::Group;
use parking_lot::Mutex;
use part::Seen;
use sojourn_core::{
    NodeId, RegionId,
    control::{ControlCommand, ControlOutcome, ControlState, FailoverMode, Grant},
};
use sojourn_proto::wire::{decode_all, encode};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How long a change may take to be agreed on.
const PROPOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a lease may take to be granted.
const RENEW_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the leader may take to say how the group is.
const FIGURES_TIMEOUT: Duration = Duration::from_secs(2);

/// What a world is founded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlOptions {
    /// Who decides over losses.
    pub failover: FailoverMode,
    /// How long leases last, in ms.
    pub lease_ms: u64,
}

/// This node's part in what the world agrees on. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

/// The same as nodes of other regions reach it.
pub(super) struct Doorway(Weak<Inner>);

struct Inner {
    node: RegionNode,
    here: RegionId,
    /// This node, as other regions number it.
    this: NodeId,
    rpc: Rpc,
    contacts: Weak<Contacts>,
    options: ControlOptions,
    known: Known,
    inbox: Inbox,
    /// This node's replica, if it has one.
    group: Mutex<Option<Arc<Group>>>,
    /// Who led when somebody was asked last.
    leader: Mutex<Option<NodeId>>,
    /// What this node has granted since it leads.
    led: Mutex<Option<Led>>,
    /// What this replica saw the regions do, and when.
    seen: Mutex<Seen>,
    /// When nodes of each region last asked something, in ms of the boot clock.
    asked_ms: Mutex<BTreeMap<RegionId, u64>>,
    /// Why this region is not let in.
    complaint: Mutex<Option<String>>,
    /// Whether a change of the group's voters is under way.
    changing: AtomicBool,
    stopping: AtomicBool,
}

/// What operators see of it.
#[derive(Clone, Debug)]
pub struct View {
    /// The region that answers.
    pub here: RegionId,
    /// What the world agrees on, as far as this node knows.
    pub state: Option<Arc<ControlState>>,
    /// How the group is, if its leader answers.
    pub figures: Option<Figures>,
    /// Why this region is not let in, if it is not.
    pub complaint: Option<String>,
}

impl Control {
    /// The part of `node`, which reaches the other regions over `rpc` and as `contacts` know them.
    pub fn new(node: RegionNode, rpc: Rpc, contacts: &Arc<Contacts>, options: ControlOptions) -> Self {
        let (here, _, number) = node.identity();
        let inner = Inner {
            this: AbroadRoster::number(here, number),
            known: Known::new(here),
            contacts: Arc::downgrade(contacts),
            inbox: Inbox::default(),
            group: Mutex::default(),
            leader: Mutex::default(),
            led: Mutex::default(),
            seen: Mutex::default(),
            asked_ms: Mutex::default(),
            complaint: Mutex::default(),
            changing: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            node,
            here,
            rpc,
            options,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Takes part, once the region is founded, in `world`.
    pub(super) async fn start(&self, world: u128) {
        let inner = &self.inner;
        let (env, file) = (inner.node.env(), inner.node.control_file());
        if let Some(state) = known::recall(env, file.clone(), world).await {
            inner.known.learn(state, inner.mark());
        }
        let keeping = known::run_keeping(Arc::downgrade(inner), env.clone(), file, inner.known.version());
        env.spawn("control-keep", keeping);
        let counsel: Weak<Inner> = Arc::downgrade(inner);
        inner.node.take_part(counsel);
        env.spawn("control-part", part::run_part(Arc::downgrade(inner)));
        env.spawn("control-news", ask::run_news(Arc::downgrade(inner)));
        env.spawn("control-lead", lead::run_lead(Arc::downgrade(inner)));
    }

    pub(super) fn doorway(&self) -> Doorway {
        Doorway(Arc::downgrade(&self.inner))
    }

    /// Whether this node leads the group, as far as it knows.
    pub fn leads(&self) -> bool {
        self.inner.group().is_some_and(|group| group.leading_term().is_some())
    }

    /// How it all is.
    pub async fn view(&self) -> View {
        let inner = &self.inner;
        let state = inner.known.latest();
        let figures = match &state {
            Some(_) => inner.ask_leader(Question::Figures, FIGURES_TIMEOUT).await.ok(),
            None => None,
        };
        let figures = match figures {
            Some(Answer::Figures { figures }) => Some(figures),
            Some(_) | None => None,
        };
        View { here: inner.here, state, figures, complaint: inner.complaint.lock().clone() }
    }

    /// Completes when this node knows version `version`, or after a while.
    pub async fn hear_of(&self, version: u64) {
        let heard = self.inner.known.heard();
        drop(tokio::time::timeout(HEAR_TIMEOUT, heard.later_than(version.saturating_sub(1))).await);
    }

    /// Ends this node's part; the lead goes to another region, if it is here.
    pub async fn shut_down(&self) {
        self.inner.stopping.store(true, Ordering::Relaxed);
        let group = self.inner.group.lock().take();
        if let Some(group) = group {
            self.inner.end_group(&group).await;
        }
    }
}

/// How long who changed something waits until its own node has heard of it.
const HEAR_TIMEOUT: Duration = Duration::from_secs(1);

impl Agreement for Control {
    fn watch(&self) -> Heard<Option<Arc<ControlState>>> {
        self.inner.known.watch()
    }

    fn propose(&self, command: ControlCommand) -> BoxFuture<'static, Result<ControlOutcome, NotAgreed>> {
        let inner = self.inner.clone();
        Box::pin(async move { inner.propose(command).await })
    }

    fn renew(&self, home: RegionId, epoch: u32, seen: u64) -> BoxFuture<'static, Result<Grant, NotAgreed>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            match inner.ask_leader(Question::Renew { home, epoch, seen }, RENEW_TIMEOUT).await? {
                Answer::Granted { grant } => Ok(grant),
                Answer::Refused { refusal } => Err(NotAgreed::Refused(refusal)),
                _ => Err(NotAgreed::NoLeader),
            }
        })
    }
}

impl Doorway {
    /// Takes what a node of another region asks; gives back what is not for the control group.
    pub fn handle(&self, from: NodeId, number: u8, body: Bytes, reply: Reply) -> Option<(Bytes, Reply)> {
        let Some(inner) = self.0.upgrade() else { return Some((body, reply)) };
        let (body, reply) = inner.inbox.handle(from, number, body, reply)?;
        if number != super::calls::CONTROL {
            return Some((body, reply));
        }
        match AbroadRoster::region_of(from) {
            Some(region) => {
                inner.asked_ms.lock().insert(region, inner.now_ms());
                inner.take(region, body, reply);
            }
            None => reply.refuse("a node of no region"),
        }
        None
    }

    /// A node of another region cannot be reached any more.
    pub fn lost(&self, peer: NodeId) {
        if let Some(inner) = self.0.upgrade() {
            inner.inbox.lost(peer);
        }
    }
}

impl Counsel for Inner {
    fn answer(self: Arc<Self>, question: Bytes, reply: Reply) {
        self.take(self.here, question, reply);
    }

    fn version(&self) -> u64 {
        self.known.version()
    }

    fn have_agreed(self: Arc<Self>, wish: ControlCommand) -> BoxFuture<'static, Result<ControlOutcome, Unavailable>> {
        Box::pin(async move { self.fulfil(wish).await })
    }
}

impl Inner {
    fn take(self: &Arc<Self>, from: RegionId, question: Bytes, reply: Reply) {
        match decode_all::<Question>(&question) {
            Ok(question) => {
                let inner = self.clone();
                drop(spawn(async move {
                    reply.send(&[&encode(&inner.decide(from, question).await)]);
                }));
            }
            Err(error) => reply.refuse(&error.to_string()),
        }
    }

    async fn propose(self: &Arc<Self>, command: ControlCommand) -> Result<ControlOutcome, NotAgreed> {
        match self.ask_leader(Question::Propose { command }, PROPOSE_TIMEOUT).await? {
            Answer::Changed { outcome: ControlOutcome::Refused(refusal) } => Err(NotAgreed::Refused(refusal)),
            Answer::Changed { outcome } => Ok(outcome),
            _ => Err(NotAgreed::NoLeader),
        }
    }

    /// This node's replica of the group, if it has one.
    fn group(&self) -> Option<Arc<Group>> {
        self.group.lock().clone()
    }

    /// Tells this region from another of its number; none before the region has named who speaks for it.
    fn mark(&self) -> Option<u128> {
        self.node.region().delegate.map(|delegate| delegate.mark)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.node.env().clock.boot().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
