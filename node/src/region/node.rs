//! One node's part of a region: its groups, and the way to those that other nodes lead.

use super::{
    abroad::Ways,
    backend::{Notice, Topology},
    counsel::Counsel,
    door::Door,
    expiry::run_expiry,
    founding::run_founding,
    holding::run_holding,
    leaders::Leaders,
    led::Sweeps,
    load::{Load, run_load},
    machine::Agreed,
    members::run_members,
    moves::run_moves,
    pace::Paces,
    requests::Requests,
    shards::Shards,
    slots::run_slots,
    space::run_space,
    status::NodeStatus,
    uses::Leaving,
};
use crate::{
    engine::{Storage, StorageOptions},
    env::{Env, SlewedClock},
    log::{GroupId, Log},
    peers::Rpc,
    raft::{GroupOptions, GroupParts, Machine, RunningGroup, spawn},
    shard::{Intervals, Leases, ProposerOptions, Sessions},
};
use parking_lot::Mutex;
use sojourn_core::{
    NodeId, RegionId, ShardId, Stamp,
    mint::MintKey,
    placement::GroupName,
    policy::touch_interval_ms,
    region::{Addresses, Member, RegionRefusal, RegionState},
    routing::Coordinates,
};
use std::{
    collections::BTreeSet,
    io,
    path::PathBuf,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{broadcast, watch};

/// The system group's number; shard `n` is group `n + 1`.
const SYSTEM_GROUP: GroupId = 0;

/// See [`GroupOptions::commit_news_delay`]: a shard's leader answers for it, so hardly anybody waits for what followers apply, and
/// where there are fifty entries a second there are no appends for commits alone.
const SHARD_COMMIT_NEWS_DELAY: Duration = Duration::from_millis(25);

/// The number of the world's control group, beyond those of all shards.
pub const CONTROL_GROUP: GroupId = GroupId::MAX;

/// Notices that a slow subscriber may be behind.
const NOTICES_BEHIND_MAX: usize = 16_384;

/// How a node takes part in its region.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The world that it is of, or that it would found.
    pub world: u128,
    /// The region.
    pub region: RegionId,
    /// The region's name.
    pub region_name: String,
    /// Where the region is, if it says so.
    pub coordinates: Option<Coordinates>,
    /// This node.
    pub node: NodeId,
    /// Drawn when its data directory was made.
    pub disk: u128,
    /// Where this node is reached.
    pub addresses: Addresses,
    /// Whether it takes part in founding the region, if that has not happened yet. Only for a node whose disk has all that it
    /// ever voted for, or that never did.
    pub founder: bool,
    /// The members that found the region.
    pub founders: Vec<Member>,
    /// By which the region knows its ids, when it is founded; drawn otherwise.
    pub mint_key: Option<MintKey>,
    /// How many shards share the slots, when the region is founded.
    pub shard_count: u32,
    /// How many voters each group should have, when the region is founded.
    pub replicas: u32,
    /// Where the groups' state is kept, and how much of it in memory.
    pub storage: StorageOptions,
    /// Where snapshots are while they are sent and received.
    pub snapshots: PathBuf,
    /// Times and sizes of the groups.
    pub group: GroupOptions,
    /// Bounds of the proposers.
    pub proposer: ProposerOptions,
}

/// Why a node cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// It is no member any more.
    #[error("this node was removed from the region; to join again, start it with an empty data directory and `--join`")]
    Removed,
    /// The region refuses it.
    #[error(transparent)]
    Refused(RegionRefusal),
    /// Its disk failed.
    #[error("the disk failed: {0}")]
    Disk(String),
}

/// A running node of a region. Cheap to clone.
#[derive(Clone)]
pub struct RegionNode {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub env: Env,
    pub clock: Arc<SlewedClock>,
    pub rpc: Rpc,
    pub log: Log,
    pub storage: Storage,
    pub options: NodeOptions,
    pub system: Arc<RunningGroup<Agreed>>,
    pub shards: Shards,
    pub door: Arc<Door>,
    /// When this node started, on the boot clock.
    pub started: Duration,
    pub notices: broadcast::Sender<Arc<Notice>>,
    pub requests: Requests,
    /// What this node has under way in each shard.
    pub paces: Paces,
    /// What others said of the shards' leaders.
    pub leaders: Leaders,
    /// How busy it is.
    pub load: Load,
    /// Groups in which a step of membership is under way.
    pub changing: Mutex<BTreeSet<GroupName>>,
    /// What was last said about who leads what, and when.
    pub topology: Mutex<Option<(Duration, Arc<Topology>)>>,
    /// The ways to the other regions, where there are some.
    pub ways: OnceLock<Arc<Ways>>,
    /// This node's part in what the world agrees on, where there are other regions.
    pub counsel: OnceLock<Weak<dyn Counsel>>,
    /// What this node may answer for.
    pub leases: Arc<Leases>,
    /// Sessions that this node sends to other homes.
    pub leaving: Leaving,
    /// Copies of other regions' sessions that were found to differ, and mended.
    pub mended: Arc<AtomicU64>,
    /// What came of finding out which tombstones are known everywhere.
    pub sweeps: Arc<Sweeps>,
    stopping: AtomicBool,
    ended: watch::Sender<Option<Ended>>,
}

impl RegionNode {
    /// Starts the groups of this node that the disk knows, and those that the region places here as it says so.
    ///
    /// # Errors
    /// Unreadable log or snapshot: the text says what to do.
    pub async fn start(env: Env, log: Log, rpc: Rpc, options: NodeOptions) -> io::Result<Self> {
        let clock = Arc::new(SlewedClock::start(&*env.clock));
        let storage = Storage::open(&env, &options.storage)?;
        let door = Arc::new(Door::default());
        rpc.serve(door.clone());
        let (notices, _) = broadcast::channel(NOTICES_BEHIND_MAX);
        let parts = group_parts(&env, &log, &rpc, &storage, &options, SYSTEM_GROUP);
        let system = RunningGroup::start(parts, Arc::new(Agreed::default()), &door.inbox).await?;
        let inner = Arc::new(Inner {
            clock,
            shards: Shards::default(),
            requests: Requests::new(env.random.next_u64()),
            paces: Paces::default(),
            started: env.clock.boot(),
            leaders: Leaders::default(),
            load: Load::default(),
            changing: Mutex::default(),
            topology: Mutex::default(),
            ways: OnceLock::new(),
            counsel: OnceLock::new(),
            leases: Arc::new(Leases::new(env.clock.clone())),
            leaving: Leaving::default(),
            mended: Arc::default(),
            sweeps: Arc::default(),
            stopping: AtomicBool::new(false),
            ended: watch::Sender::new(None),
            door,
            rpc,
            log,
            storage,
            system,
            notices,
            options,
            env,
        });
        // Whatever is on the disk was placed here; whether it still is shows later.
        // Side by side: each reads what the engine has of it, and applies the rest of its log.
        let starting =
            inner.log.groups().into_iter().filter(|group| !matches!(*group, SYSTEM_GROUP | CONTROL_GROUP)).map(
                |group| {
                    let inner = inner.clone();
                    spawn(async move { inner.start_shard(ShardId(group - 1)).await })
                },
            );
        for started in starting.collect::<Vec<_>>() {
            started.await.map_err(io::Error::other)??;
        }
        *inner.door.node.lock() = Arc::downgrade(&inner);
        if inner.options.founder {
            let founders = inner.options.founders.iter().map(|member| member.id);
            inner.system.found(sojourn_core::placement::system_founders(founders)).await?;
            drop(spawn(run_founding(Arc::downgrade(&inner))));
        }
        drop(spawn(run_holding(Arc::downgrade(&inner))));
        drop(spawn(run_members(Arc::downgrade(&inner))));
        drop(spawn(run_expiry(Arc::downgrade(&inner))));
        drop(spawn(run_moves(Arc::downgrade(&inner))));
        drop(spawn(run_slots(Arc::downgrade(&inner))));
        drop(spawn(run_space(Arc::downgrade(&inner))));
        drop(spawn(run_load(Arc::downgrade(&inner))));
        Ok(Self { inner })
    }

    /// Whether this node can answer: the region was founded, and it has its shards and knows their leaders.
    pub fn is_ready(&self) -> bool {
        self.inner.is_ready()
    }

    /// How this node is.
    pub fn node_status(&self) -> NodeStatus {
        self.inner.node_status()
    }

    /// Completes once this node can answer.
    pub async fn until_ready(&self) {
        self.founded().await;
        let region = self.inner.system.machine().now();
        self.inner.shards.until_held(&self.inner.placed_here(&region)).await;
        for (_, shard) in self.inner.shards.all() {
            // Without a bound it fails only when the group stops.
            let wait = shard.group.raft().wait(None);
            let _stopped = wait.metrics(|metrics| metrics.current_leader.is_some(), "a leader").await;
        }
    }

    /// Completes with the world's number once this node knows that the region is founded.
    pub async fn founded(&self) -> u128 {
        self.inner.system.machine().watch().wait_for(|region| region.world != 0).await.world
    }

    /// Completes when this node cannot go on, with the reason.
    pub async fn ended(&self) -> Ended {
        let mut ended = self.inner.ended.subscribe();
        // The sender lives as long as this node.
        ended.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone()).unwrap_or(Ended::Removed)
    }

    /// Hands every leadership to another node that can take it. This node goes on answering, by forwarding.
    pub async fn hand_over(&self) {
        let inner = &self.inner;
        inner.stopping.store(true, Ordering::Relaxed);
        for (shard, held) in inner.shards.all() {
            // Whoever leads next gives what is not logged some grace.
            let _unlogged = held.proposer.log_touches().await;
            hand_over(GroupName::Shard(shard), &held.group).await;
        }
        hand_over(GroupName::System, &inner.system).await;
    }

    /// Hands leaderships to other nodes, then stops the groups and the log.
    pub async fn shut_down(&self) {
        self.hand_over().await;
        let inner = &self.inner;
        for (shard, held) in inner.shards.all() {
            if let Err(error) = held.group.shut_down().await {
                tracing::warn!(%error, shard = shard.0, "a shard did not stop cleanly");
            }
            inner.door.inbox.remove(shard.0 + 1);
        }
        if let Err(error) = inner.system.shut_down().await {
            tracing::warn!(%error, "the system group did not stop cleanly");
        }
        inner.door.inbox.remove(SYSTEM_GROUP);
        inner.storage.close().await;
        inner.log.close().await;
    }

    /// The groups' log, for metrics.
    pub fn log(&self) -> &Log {
        &self.inner.log
    }

    /// The sessions of one shard as this replica holds them, for audits.
    pub fn sessions(&self, shard: ShardId) -> Option<Arc<Sessions>> {
        self.inner.shards.get(shard).map(|shard| shard.group.machine().clone())
    }
}

/// Gives the lead of a group to the voter that is best prepared for it, if this node has it.
async fn hand_over<M: Machine>(name: GroupName, group: &RunningGroup<M>) {
    for heir in group.figures().heirs() {
        match group.transfer_to(heir).await {
            Ok(()) => return tracing::info!(group = %name, to = heir.0, "handed the lead over"),
            Err(error) => tracing::warn!(group = %name, to = heir.0, %error, "the lead was not handed over"),
        }
    }
}

fn group_parts(
    env: &Env,
    log: &Log,
    rpc: &Rpc,
    storage: &Storage,
    options: &NodeOptions,
    group: GroupId,
) -> GroupParts {
    let news_delay = match group {
        // Other nodes act by what these agree on.
        SYSTEM_GROUP | CONTROL_GROUP => options.group.commit_news_delay,
        _shard => SHARD_COMMIT_NEWS_DELAY,
    };
    GroupParts {
        node: options.node,
        group,
        log: log.clone(),
        rpc: rpc.clone(),
        env: env.clone(),
        engine: storage.engine().clone(),
        snapshots: options.snapshots.clone(),
        options: GroupOptions { commit_news_delay: news_delay, ..options.group.clone() },
    }
}

impl Inner {
    /// The time as this node would stamp it.
    pub fn now_ms(&self) -> Stamp {
        self.clock.read_ms(&*self.env.clock)
    }

    /// Which shard holds which slot; `None` until this node has read that the region was founded: by a table from before
    /// that, it would send writes to shards where nobody looks for them later.
    pub fn agreed(&self) -> Option<Arc<RegionState>> {
        Some(self.system.machine().now()).filter(|region| region.world != 0)
    }

    /// What a group of this node is made of.
    pub fn parts(&self, group: GroupId) -> GroupParts {
        group_parts(&self.env, &self.log, &self.rpc, &self.storage, &self.options, group)
    }

    /// How often touches are logged, as the region agrees now.
    pub fn touch_intervals(&self) -> Intervals {
        let system = self.system.clone();
        Arc::new(move |namespace, idle_timeout_ms| {
            let region = system.machine().now();
            let policy = region.namespaces.get(&namespace).map(|namespace| namespace.policy.touch_interval_ms);
            touch_interval_ms(policy.flatten(), idle_timeout_ms)
        })
    }

    /// The shards that the region wants this node to hold.
    pub fn placed_here(&self, region: &RegionState) -> BTreeSet<ShardId> {
        let placed = region.placement.iter().filter(|(_, voters)| voters.contains(&self.options.node));
        let shards = placed.filter_map(|(group, _)| match group {
            GroupName::System => None,
            GroupName::Shard(shard) => Some(*shard),
        });
        shards.collect()
    }

    /// See [`RegionNode::is_ready`]; not while it stops.
    pub fn is_ready(&self) -> bool {
        let region = self.system.machine().now();
        let led = |shard: &ShardId| self.shards.get(*shard).is_some_and(|shard| shard.group.leader().is_some());
        region.world != 0 && !self.is_stopping() && self.placed_here(&region).iter().all(led)
    }

    /// Whether this node is handing over and wants no leads.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Says that this node cannot go on.
    pub fn end(&self, reason: Ended) {
        tracing::error!(%reason, "this node cannot go on");
        self.ended.send_if_modified(|ended| ended.is_none() && ended.replace(reason).is_none());
    }
}
