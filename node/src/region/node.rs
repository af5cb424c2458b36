//! One node's part of a region: its groups, and the way to those that other nodes lead.

use super::{
    backend::Notice,
    door::Door,
    expiry::run_expiry,
    founding::run_founding,
    machine::Agreed,
    requests::Requests,
    shards::{Shard, Shards},
    status::{GroupName, NodeStatus},
};
use crate::{
    engine::{Storage, StorageOptions},
    env::{Env, SlewedClock},
    log::{GroupId, Log},
    peers::Rpc,
    raft::{GroupOptions, GroupParts, Machine, RunningGroup, spawn},
    shard::{Intervals, Proposer, ProposerOptions, Reads, Sessions},
};
use sojourn_core::{Key, NodeId, RegionId, ShardId, Stamp, policy::touch_interval_ms, region::Member};
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::broadcast;

const SYSTEM_GROUP: GroupId = 0;

/// Notices that a slow subscriber may be behind.
const NOTICES_BEHIND_MAX: usize = 16_384;

/// How a node takes part in its region.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The world.
    pub world: u128,
    /// The region.
    pub region: RegionId,
    /// The region's name.
    pub region_name: String,
    /// This node.
    pub node: NodeId,
    /// The members that found the region, this node among them.
    pub founders: Vec<Member>,
    /// How many shards share the slots.
    pub shard_count: u32,
    /// Where the groups' state is kept, and how much of it in memory.
    pub storage: StorageOptions,
    /// Where snapshots are while they are sent and received.
    pub snapshots: PathBuf,
    /// Times and sizes of the groups.
    pub group: GroupOptions,
    /// Bounds of the proposers.
    pub proposer: ProposerOptions,
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
}

impl RegionNode {
    /// Starts all groups of this node from what the disk has of them, and founds them where it has nothing.
    ///
    /// # Errors
    /// Unreadable log or snapshot: the text says what to do.
    pub async fn start(env: Env, log: Log, rpc: Rpc, options: NodeOptions) -> io::Result<Self> {
        let storage = Storage::open(&env, &options.storage)?;
        let door = Arc::new(Door::default());
        rpc.serve(door.clone());
        let (notices, _) = broadcast::channel(NOTICES_BEHIND_MAX);
        let parts = group_parts(&env, &log, &rpc, &storage, &options, SYSTEM_GROUP);
        let system = RunningGroup::start(parts, Arc::new(Agreed::default()), &door.inbox).await?;
        let inner = Arc::new(Inner {
            clock: Arc::new(SlewedClock::new()),
            shards: Shards::default(),
            requests: Requests::new(env.random.next_u64()),
            started: env.clock.boot(),
            door,
            rpc,
            log,
            storage,
            system,
            notices,
            options,
            env,
        });
        // Side by side: each reads what the engine has of it, and applies the rest of its log.
        let starting = (0..inner.options.shard_count).map(|shard| {
            let inner = inner.clone();
            spawn(async move { inner.start_shard(ShardId(shard)).await })
        });
        for started in starting.collect::<Vec<_>>() {
            started.await.map_err(io::Error::other)??;
        }
        *inner.door.node.lock() = Arc::downgrade(&inner);
        let node = Self { inner };
        node.found().await?;
        drop(spawn(run_expiry(Arc::downgrade(&node.inner))));
        drop(spawn(run_founding(Arc::downgrade(&node.inner))));
        Ok(node)
    }

    /// Whether this node can answer: the region was founded and every shard has a leader that it knows.
    pub fn is_ready(&self) -> bool {
        self.inner.is_ready()
    }

    /// How this node is.
    pub fn node_status(&self) -> NodeStatus {
        self.inner.node_status()
    }

    /// Completes once this node can answer.
    pub async fn until_ready(&self) {
        let mut agreed = self.inner.system.machine().watch();
        // The sender lives as long as this node.
        drop(agreed.wait_for(|state| state.world != 0).await);
        for (_, shard) in self.inner.shards.all() {
            // Without a bound it fails only when the group stops.
            let wait = shard.group.raft().wait(None);
            let _stopped = wait.metrics(|metrics| metrics.current_leader.is_some(), "a leader").await;
        }
    }

    /// Hands leaderships to other nodes, then stops the groups and the log.
    pub async fn shut_down(&self) {
        let inner = &self.inner;
        for (shard, held) in inner.shards.all() {
            // Whoever leads next gives what is not logged some grace.
            let _unlogged = held.proposer.log_touches().await;
            hand_over(GroupName::Shard(shard), &held.group).await;
        }
        hand_over(GroupName::System, &inner.system).await;
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
    let Some(heir) = group.figures().heir() else { return };
    if let Err(error) = group.transfer_to(heir).await {
        tracing::warn!(group = %name, to = heir.0, %error, "the lead was not handed over; the others elect by themselves");
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
    GroupParts {
        node: options.node,
        group,
        log: log.clone(),
        rpc: rpc.clone(),
        env: env.clone(),
        engine: storage.engine().clone(),
        snapshots: options.snapshots.clone(),
        options: options.group.clone(),
    }
}

impl Inner {
    /// The time as this node would stamp it.
    pub fn now_ms(&self) -> Stamp {
        self.clock.read_ms(&*self.env.clock)
    }

    /// The shard that a session belongs to.
    pub fn shard_of(&self, key: &Key) -> ShardId {
        self.system.machine().now().slots.shard(key.slot())
    }

    /// See [`RegionNode::is_ready`].
    pub fn is_ready(&self) -> bool {
        let region = self.system.machine().now();
        region.world != 0 && self.shards.all().iter().all(|(_, shard)| shard.group.leader().is_some())
    }

    /// How often touches are logged, as the region agrees now.
    fn touch_intervals(&self) -> Intervals {
        let system = self.system.clone();
        Arc::new(move |namespace, idle_timeout_ms| {
            let region = system.machine().now();
            let policy = region.namespaces.get(&namespace).map(|namespace| namespace.policy.touch_interval_ms);
            touch_interval_ms(policy.flatten(), idle_timeout_ms)
        })
    }

    /// Starts this node's replica of `shard` from what the disk has of it.
    async fn start_shard(&self, shard: ShardId) -> io::Result<()> {
        let Self { env, log, storage, options, .. } = self;
        let group = shard.0 + 1;
        let parts = group_parts(env, log, &self.rpc, storage, options, group);
        let part = storage.part(group);
        let sessions =
            Arc::new(Sessions::new(shard, options.region, 1, self.touch_intervals(), part, self.notices.clone()));
        let group = RunningGroup::start(parts, sessions, &self.door.inbox).await?;
        let reads = Reads::start(group.clone(), env.plants.read_without_read_index);
        let (clock, bounds) = (self.clock.clone(), options.proposer.clone());
        let proposer = Proposer::start(env.clone(), clock, log.clone(), group.clone(), reads.clone(), bounds);
        self.shards.insert(shard, Shard { group, proposer, reads });
        Ok(())
    }
}
