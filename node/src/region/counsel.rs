//! This node's part in what the world agrees on: who speaks for the region, and how its nodes ask each other about it.
//!
//! The region names the node that votes for it in the control group, in its own log, so that two never believe it at a time
//! when a world is founded. What is asked and answered is the world's own business.

pub use super::node::CONTROL_GROUP;

use super::{
    backend::Unavailable,
    calls,
    node::{Ended, Inner, RegionNode},
};
use crate::{
    peers::{AbroadRoster, CallError, Lane, Reply, Rpc},
    raft::{GroupOptions, GroupParts},
};
use bytes::Bytes;
use futures::future::BoxFuture;
use sojourn_core::{
    NodeId,
    control::{ControlCommand, ControlOutcome},
    region::{RegionCommand, RegionState},
    routing::Coordinates,
};
use std::{
    io,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

/// Answers nodes of this region for the world.
pub trait Counsel: Send + Sync + 'static {
    /// Answers a question, now or later.
    fn answer(self: Arc<Self>, question: Bytes, reply: Reply);

    /// The version of the world's state that this node knows; 0 for none.
    fn version(&self) -> u64;

    /// Has something agreed on that a person wishes; what is refused is an outcome here.
    fn have_agreed(self: Arc<Self>, wish: ControlCommand) -> BoxFuture<'static, Result<ControlOutcome, Unavailable>>;
}

/// How often the control leader shows that it lives.
const HEARTBEAT: Duration = Duration::from_millis(250);

/// The shortest silence after which another voter asks for votes: several ways round the world.
const ELECTION_MIN: Duration = Duration::from_millis(800);

/// The longest.
const ELECTION_MAX: Duration = Duration::from_millis(1_600);

/// How long a voter may take to say whether it still votes for the leader.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(1);

impl RegionNode {
    /// Takes part in what the world agrees on from now on, through `counsel`.
    pub fn take_part(&self, counsel: Weak<dyn Counsel>) {
        // It takes part once.
        let _takes_part = self.inner.counsel.set(counsel);
    }

    /// Asks another node of the region.
    pub fn ask_member(
        &self,
        member: NodeId,
        question: &[u8],
        timeout: Duration,
    ) -> impl Future<Output = Result<Bytes, CallError>> + Send + use<> {
        self.inner.rpc.call(member, Lane::Fast, calls::COUNSEL, &[question], timeout)
    }

    /// Where the region is, if it says so.
    pub fn coordinates(&self) -> Option<Coordinates> {
        self.inner.options.coordinates
    }

    /// Whether the disk has something of the control group.
    pub fn holds_control(&self) -> bool {
        self.inner.log.groups().contains(&CONTROL_GROUP)
    }

    /// What this node's replica of the control group is made of, which reaches the others over `rpc`.
    pub fn control_parts(&self, rpc: Rpc) -> GroupParts {
        let inner = &self.inner;
        let options = GroupOptions {
            heartbeat: HEARTBEAT,
            election_min: ELECTION_MIN,
            election_max: ELECTION_MAX,
            confirm_timeout: CONFIRM_TIMEOUT,
            ..inner.options.group.clone()
        };
        let node = AbroadRoster::number(inner.options.region, inner.options.node);
        GroupParts { node, rpc, options, ..inner.parts(CONTROL_GROUP) }
    }

    /// The node cannot go on: what it logged for the control group cannot be read or removed.
    pub fn give_up(&self, error: &io::Error) {
        self.inner.end(Ended::Disk(error.to_string()));
    }

    /// Where the node keeps what it last knew of the world.
    pub fn control_file(&self) -> PathBuf {
        self.inner.options.snapshots.with_file_name("control")
    }
}

impl Inner {
    /// As leader of the system group in a world of several regions: names who speaks for the region.
    pub async fn name_delegate(&self, region: &RegionState) {
        if self.counsel.get().is_none() || !self.system.raft().is_leader() {
            return;
        }
        let Some(voter) = region.next_delegate() else { return };
        let over = region.delegate.map(|delegate| delegate.voter);
        let mark = self.env.random.next_u128().max(1);
        // What was not done shows at the next look.
        let _done = self.change_once(&RegionCommand::Delegate { over, voter, mark }).await;
    }

    /// The version of the world's state that this node knows; 0 for none.
    pub fn control_version(&self) -> u64 {
        self.counsel.get().and_then(Weak::upgrade).map_or(0, |counsel| counsel.version())
    }

    /// Answers another node of the region.
    pub fn advise(&self, question: Bytes, reply: Reply) {
        match self.counsel.get().and_then(Weak::upgrade) {
            Some(counsel) => counsel.answer(question, reply),
            None => reply.refuse("this node knows of no other region (yet)"),
        }
    }
}
