//! What gateways may ask of a region: the one door between protocols and replication.

use super::sweep::{Sweep, Swept};
use futures::future::BoxFuture;
use sojourn_core::{
    Answer, Command, Event, Key, NamespaceId, NodeId, Outcome, Query, RegionId, ShardId, SlotTable, Stamp,
    region::{Member, RegionCommand, RegionOutcome, RegionState},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::broadcast;

/// Why a region could not answer in time. The write may or may not have happened, except where the variant says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// No leader of the shard was found, or it answered too late.
    #[error("shard {shard} has no leader that answers; try again in {retry_after_ms} ms")]
    NoLeader {
        /// The shard's number.
        shard: u32,
        /// When trying again makes sense.
        retry_after_ms: u64,
    },
    /// The region that orders the session does not answer.
    #[error("region {region} keeps the session and does not answer; try again in {retry_after_ms} ms")]
    HomeAway {
        /// The region's number.
        region: u16,
        /// When trying again makes sense.
        retry_after_ms: u64,
    },
    /// The write is on the disks of its region, and fewer other regions have it than its namespace wants.
    #[error(
        "the write is on the disks of its region, but only {reached} other regions have it yet, fewer than its namespace \
         wants; repeat it with the same request id in {retry_after_ms} ms"
    )]
    NotCopied {
        /// How many others have it.
        reached: u16,
        /// When trying again makes sense.
        retry_after_ms: u64,
    },
    /// It is not certain who orders the sessions of the region, or nobody does while that changes hands.
    #[error("nobody may write the sessions of region {region} now; try again in {retry_after_ms} ms")]
    NotActing {
        /// The region's number.
        region: u16,
        /// When trying again makes sense.
        retry_after_ms: u64,
    },
    /// No room on disk for writes; nothing was written. Reads go on.
    #[error("no room on the disk of a quorum of the nodes: writes are refused until there is some")]
    DiskFull,
    /// More requests than the node takes at once; nothing was written.
    #[error("the node has {requests_max} requests under way and takes no more; try again shortly")]
    Overloaded {
        /// The bound.
        requests_max: u64,
    },
    /// The node has not caught up with its shards yet.
    #[error("the node is starting: it is reading its log")]
    Loading,
    /// It concerns all regions, and they cannot agree on it now.
    #[error("{0}")]
    Undecided(String),
    /// A write of the region's own state was refused before it was proposed.
    #[error("{0}")]
    Refused(String),
}

/// A read and the shard that it goes to. Reads of one session go to the shard of its slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// Where; `None` for the shard of the session's slot.
    pub shard: Option<ShardId>,
    /// What.
    pub query: Query,
}

/// Who leads what, as far as this node knows.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The agreed state: members, slot table, namespaces.
    pub region: Arc<RegionState>,
    /// The node that answers.
    pub this_node: NodeId,
    /// The leader of each shard, where one is known, and the nodes that hold it.
    pub shards: BTreeMap<ShardId, ShardPlace>,
}

impl Topology {
    /// Which shard holds each slot.
    pub fn slots(&self) -> &SlotTable {
        &self.region.slots
    }

    /// The member that leads `shard`, if known.
    pub fn leader(&self, shard: ShardId) -> Option<&Member> {
        let leader = self.shards.get(&shard)?.leader?;
        self.region.members.get(&leader)
    }
}

/// Where one shard's replicas are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardPlace {
    /// Its leader.
    pub leader: Option<NodeId>,
    /// The leader's Raft term.
    pub term: u64,
    /// Voters.
    pub voters: Vec<NodeId>,
    /// Replicas that do not vote (yet).
    pub learners: Vec<NodeId>,
    /// The index of the last entry that this node applied, if it holds the shard; what was told before is not later.
    pub applied: Option<u64>,
}

/// Something that watchers hear of.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A session changed; sent on every node of the region once the change was applied.
    Changed {
        /// Which session.
        key: Key,
        /// What happened.
        event: Event,
        /// The shard and the log index of the change: a watcher resumes after it.
        shard: ShardId,
        /// See `shard`.
        index: u64,
        /// Its place among the changes of that entry, the same on every node.
        ordinal: u32,
        /// Whether the session lives on, for how long, and whose it is.
        record: Arc<sojourn_core::Record>,
    },
    /// Changes of a shard were not told: this node took over another's snapshot.
    Skipped {
        /// Which.
        shard: ShardId,
    },
    /// A message was published (`PUBLISH`); at most once, not kept.
    Published {
        /// Whose channel.
        namespace: NamespaceId,
        /// Its name.
        channel: bytes::Bytes,
        /// What was said.
        message: bytes::Bytes,
    },
}

/// How long a write or read may wait for a leader that answers nothing before the gateway gives up.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A region, seen from one of its nodes. Answers for every slot by forwarding to leaders.
pub trait Backend: Send + Sync + 'static {
    /// Applies writes; one result each, in order. Writes to one shard are proposed in the given order as one unit that is
    /// not split and is retried whole through changes of leader; shards go side by side. Requests without an origin get
    /// one. Follows leaders; waits for one that is busy, gives up [`REQUEST_TIMEOUT`] after the last sign of one.
    fn write(&self, commands: Vec<Command>) -> BoxFuture<'static, Vec<Result<Outcome, Unavailable>>>;

    /// Linearizable reads; one result each, in order.
    fn read(&self, reads: Vec<Read>) -> BoxFuture<'static, Vec<Result<Answer, Unavailable>>>;

    /// The other regions of the world.
    fn regions_abroad(&self) -> Vec<RegionId>;

    /// Has an operation done on every shard of another region.
    fn sweep_abroad(&self, region: RegionId, sweep: Sweep) -> BoxFuture<'static, Result<Swept, Unavailable>>;

    /// Changes what the region agrees on.
    fn change_region(&self, command: RegionCommand) -> BoxFuture<'static, Result<RegionOutcome, Unavailable>>;

    /// What this node knows of the region now.
    fn topology(&self) -> Arc<Topology>;

    /// What the region agrees on, as far as this node knows. Cheap: asked for every batch of requests.
    fn region(&self) -> Arc<RegionState>;

    /// Changes and messages from now on, in order per shard. A receiver that is too slow is told that it lagged.
    fn subscribe(&self) -> broadcast::Receiver<Arc<Notice>>;

    /// Sends a message to the subscribers of all nodes. Not kept, at most once.
    fn publish(&self, namespace: NamespaceId, channel: bytes::Bytes, message: bytes::Bytes);

    /// The node's time in ms since the Unix epoch, as it would stamp.
    fn now_ms(&self) -> Stamp;

    /// 64 unguessable bits.
    fn random_u64(&self) -> u64;
}
