//! One node's part of a region: its groups, and the way to those that other nodes lead.

use super::{
    backend::{Backend, Notice, REQUEST_TIMEOUT, Read, ShardPlace, Topology, Unavailable},
    calls,
    machine::{self, Agreed},
    requests::Requests,
};
use crate::{
    env::{Env, SlewedClock},
    log::{GroupId, Log},
    peers::{Lane, Reply, Rpc, Service},
    raft::{Applied, GroupOptions, GroupParts, Inbox, RunningGroup, SnapshotPlace, spawn},
    shard::{Bundle, NotProposed, Proposer, ProposerOptions, Reads, Sessions},
};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, join_all};
use openraft::async_runtime::watch::WatchReceiver;
use sojourn_core::{
    Answer, Command, Key, NamespaceId, NodeId, Op, Outcome, Query, RegionId, Request, ShardId, Stamp,
    policy::Policy,
    region::{Member, RegionCommand, RegionOutcome},
};
use sojourn_proto::wire::{decode_all, encode};
use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{sync::broadcast, time::Instant};

/// The system group's number; shard `n` is group `n + 1`.
const SYSTEM_GROUP: GroupId = 0;

/// Notices that a slow subscriber may be behind.
const NOTICES_BEHIND_MAX: usize = 16_384;

/// How long one try at a leader may take before another is looked for.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait before a leader is looked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// What callers are advised when no leader answered.
const RETRY_AFTER_MS: u64 = 500;

/// How often a leader looks for sessions whose deadline has passed, and how many it ends at once.
const EXPIRE_EVERY: Duration = Duration::from_millis(200);
const EXPIRE_COUNT_MAX: usize = 512;

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
    /// Where snapshots go.
    pub snapshots: PathBuf,
    /// Times and sizes of the groups.
    pub group: GroupOptions,
    /// Bounds of the proposers.
    pub proposer: ProposerOptions,
}

struct Shard {
    group: Arc<RunningGroup<Sessions>>,
    proposer: Proposer,
    reads: Reads,
}

/// A running node of a region. Cheap to clone.
#[derive(Clone)]
pub struct RegionNode {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    clock: Arc<SlewedClock>,
    rpc: Rpc,
    log: Log,
    options: NodeOptions,
    system: Arc<RunningGroup<Agreed>>,
    shards: BTreeMap<ShardId, Shard>,
    notices: broadcast::Sender<Arc<Notice>>,
    requests: Requests,
}

/// Takes what other nodes ask; groups are reachable before all of the node is.
struct Door {
    inbox: Inbox,
    node: parking_lot::Mutex<Weak<Inner>>,
}

impl RegionNode {
    /// Starts all groups of this node from what the disk has of them, and founds them where it has nothing.
    ///
    /// # Errors
    /// Unreadable log or snapshot: the text says what to do.
    pub async fn start(env: Env, log: Log, rpc: Rpc, options: NodeOptions) -> io::Result<Self> {
        env.disk.create_directory(&options.snapshots)?;
        let door = Arc::new(Door { inbox: Inbox::default(), node: parking_lot::Mutex::new(Weak::new()) });
        rpc.serve(door.clone());
        let clock = Arc::new(SlewedClock::new());
        let (notices, _) = broadcast::channel(NOTICES_BEHIND_MAX);
        let parts = |group: GroupId| GroupParts {
            node: options.node,
            group,
            log: log.clone(),
            rpc: rpc.clone(),
            place: SnapshotPlace { disk: env.disk.clone(), directory: options.snapshots.clone(), group },
            options: options.group.clone(),
        };
        let system = RunningGroup::start(parts(SYSTEM_GROUP), Arc::new(Agreed::default()), &door.inbox).await?;
        let mut shards = BTreeMap::new();
        for shard in (0..options.shard_count).map(ShardId) {
            let sessions = Arc::new(Sessions::new(shard, options.region, 1, notices.clone()));
            let group = RunningGroup::start(parts(shard.0 + 1), sessions, &door.inbox).await?;
            let proposer =
                Proposer::start(env.clone(), clock.clone(), log.clone(), group.clone(), options.proposer.clone());
            let reads = Reads::start(group.clone(), env.plants.read_without_read_index);
            shards.insert(shard, Shard { group, proposer, reads });
        }
        let requests = Requests::new(env.random.next_u64());
        let inner = Arc::new(Inner { env, clock, rpc, log, options, system, shards, notices, requests });
        *door.node.lock() = Arc::downgrade(&inner);
        let node = Self { inner };
        node.found().await?;
        drop(spawn(run_expiry(Arc::downgrade(&node.inner))));
        drop(spawn(run_founding(Arc::downgrade(&node.inner))));
        Ok(node)
    }

    async fn found(&self) -> io::Result<()> {
        let voters: Vec<NodeId> = self.inner.options.founders.iter().map(|member| member.id).collect();
        self.inner.system.found(voters.iter().copied()).await?;
        for shard in self.inner.shards.values() {
            shard.group.found(voters.iter().copied()).await?;
        }
        Ok(())
    }

    /// Whether this node can answer: the region was founded and every shard has a leader that it knows.
    pub fn is_ready(&self) -> bool {
        let topology = self.topology();
        topology.region.world != 0 && topology.shards.values().all(|place| place.leader.is_some())
    }

    /// Hands leaderships to other nodes, then stops the groups and the log.
    pub async fn shut_down(&self) {
        for shard in self.inner.shards.values() {
            hand_over(&shard.group, self.inner.options.node).await;
        }
        hand_over(&self.inner.system, self.inner.options.node).await;
        for shard in self.inner.shards.values() {
            if let Err(error) = shard.group.raft().shutdown().await {
                tracing::warn!(%error, "a shard did not stop cleanly");
            }
        }
        if let Err(error) = self.inner.system.raft().shutdown().await {
            tracing::warn!(%error, "the system group did not stop cleanly");
        }
        self.inner.log.close().await;
    }

    /// The groups' log, for metrics.
    pub fn log(&self) -> &Log {
        &self.inner.log
    }

    /// The sessions of one shard as this replica holds them, for audits.
    pub fn sessions(&self, shard: ShardId) -> Option<&Arc<Sessions>> {
        self.inner.shards.get(&shard).map(|shard| shard.group.machine())
    }
}

/// How long a leader waits for another one at shutdown.
const HAND_OVER_TIMEOUT: Duration = Duration::from_millis(500);

async fn hand_over<M: crate::raft::Machine>(group: &RunningGroup<M>, this: NodeId) {
    let raft = group.raft();
    if !raft.is_leader() {
        return;
    }
    let Some(target) = raft.voter_ids().find(|voter| *voter != this.0) else { return };
    if raft.trigger().transfer_leader(target).await.is_err() {
        return;
    }
    let moved = async {
        let mut metrics = raft.metrics();
        while metrics.borrow_watched().current_leader == Some(this.0) {
            if metrics.changed().await.is_err() {
                return;
            }
        }
    };
    if tokio::time::timeout(HAND_OVER_TIMEOUT, moved).await.is_err() {
        tracing::warn!(target, "no other node took over in time; they will elect a leader by themselves");
    }
}

/// Logs the founding of the region, once, by whoever leads the system group first.
async fn run_founding(node: Weak<Inner>) {
    loop {
        let Some(inner) = node.upgrade() else { return };
        if inner.system.machine().now().world != 0 {
            return;
        }
        if inner.system.raft().is_leader() {
            let options = &inner.options;
            let found = RegionCommand::Found {
                world: options.world,
                region: options.region,
                name: options.region_name.clone(),
                shard_count: options.shard_count,
                members: options.founders.clone(),
            };
            // Whether it happened shows in the state.
            let _again = inner.system.propose(machine::encode(&found)).await;
        }
        let mut agreed = inner.system.machine().watch();
        drop(inner);
        let _changed = tokio::time::timeout(Duration::from_millis(100), agreed.changed()).await;
    }
}

/// Ends sessions whose deadline has passed, at the shards that this node leads.
async fn run_expiry(node: Weak<Inner>) {
    loop {
        tokio::time::sleep(EXPIRE_EVERY).await;
        let Some(inner) = node.upgrade() else { return };
        let now = inner.now_ms();
        for shard in inner.shards.values().filter(|shard| shard.group.raft().is_leader()) {
            let due = shard.group.machine().due(now, EXPIRE_COUNT_MAX);
            if !due.is_empty() {
                let commands: Vec<Command> =
                    due.into_iter().map(|(key, record)| expire(key, record.version, record.deadline())).collect();
                // What could not be proposed is still due the next time.
                let _later = shard.proposer.write(Bundle::new(&commands)).await;
            }
        }
    }
}

fn expire(key: Key, version: sojourn_core::Version, deadline: Stamp) -> Command {
    let rules = Policy::default().rules(false);
    Command { request: Request::default(), key, rules, touched: None, op: Op::Expire { version, deadline } }
}

impl Inner {
    fn now_ms(&self) -> Stamp {
        self.clock.read_ms(&*self.env.clock)
    }

    fn shard_of(&self, key: &Key) -> ShardId {
        self.system.machine().now().slots.shard(key.slot())
    }

    fn leader(&self, shard: ShardId) -> Option<NodeId> {
        let metrics = self.shards.get(&shard)?.group.raft().metrics();
        let leader = metrics.borrow_watched().current_leader;
        leader.map(NodeId)
    }

    /// Reads here, if this node leads the shard.
    async fn read_here(&self, shard: ShardId, queries: &[Query]) -> Result<Vec<Answer>, NotProposed> {
        let Some(shard) = self.shards.get(&shard) else { return Err(NotProposed::NotLeader) };
        if !shard.reads.confirm().await {
            return Err(NotProposed::NotLeader);
        }
        let machine = shard.group.machine();
        let now = self.now_ms().max(machine.last_stamp());
        let mut answers = Vec::with_capacity(queries.len());
        for query in queries {
            let (answer, hidden) = machine.query(now, query);
            if !hidden.is_empty() {
                self.log_expiry(shard, now, &hidden).await?;
            }
            answers.push(answer);
        }
        Ok(answers)
    }

    /// A session that was hidden for its deadline is ended in the log before anybody is told, so that no later leader with a
    /// slower clock shows it again.
    async fn log_expiry(&self, shard: &Shard, now: Stamp, keys: &[Key]) -> Result<(), NotProposed> {
        let records = keys.iter().filter_map(|key| Some((key, shard.group.machine().record(key)?)));
        let commands: Vec<Command> = records
            .filter(|(_, record)| record.deadline() <= now)
            .map(|(key, record)| expire(key.clone(), record.version, record.deadline()))
            .collect();
        if commands.is_empty() { Ok(()) } else { shard.proposer.write(Bundle::new(&commands)).await.map(drop) }
    }

    async fn write_once(&self, shard: ShardId, bundle: &Bundle) -> Result<Vec<Outcome>, NotProposed> {
        let leader = self.leader(shard).ok_or(NotProposed::NotLeader)?;
        if leader == self.options.node {
            let Some(shard) = self.shards.get(&shard) else { return Err(NotProposed::NotLeader) };
            return shard.proposer.write(bundle.clone()).await;
        }
        let parts: [&[u8]; 3] = [&calls::shard_head(shard), &bundle.count().to_le_bytes(), bundle.bytes()];
        let answer = self.rpc.call(leader, Lane::Fast, calls::WRITE, &parts, TRY_TIMEOUT).await;
        answer.ok().and_then(|bytes| calls::decode_answer(&bytes).ok()).unwrap_or(Err(NotProposed::NotLeader))
    }

    async fn read_once(&self, shard: ShardId, queries: &Vec<Query>) -> Result<Vec<Answer>, NotProposed> {
        let leader = self.leader(shard).ok_or(NotProposed::NotLeader)?;
        if leader == self.options.node {
            return self.read_here(shard, queries).await;
        }
        let parts: [&[u8]; 2] = [&calls::shard_head(shard), &encode(queries)];
        let answer = self.rpc.call(leader, Lane::Fast, calls::READ, &parts, TRY_TIMEOUT).await;
        answer.ok().and_then(|bytes| calls::decode_answer(&bytes).ok()).unwrap_or(Err(NotProposed::NotLeader))
    }

    /// What becomes of one try at a leader: a value, nothing yet (after a pause), or the end of trying.
    async fn settle<T>(
        &self,
        shard: ShardId,
        deadline: Instant,
        tried: Result<Result<T, NotProposed>, tokio::time::error::Elapsed>,
    ) -> Result<Option<T>, Unavailable> {
        match tried {
            Ok(Ok(value)) => Ok(Some(value)),
            Ok(Err(NotProposed::NoRoom)) => Err(Unavailable::DiskFull),
            Ok(Err(NotProposed::Overloaded)) => {
                Err(Unavailable::Overloaded { requests_max: self.options.proposer.commands_waiting_max })
            }
            Ok(Err(NotProposed::NotLeader | NotProposed::Stopped)) if Instant::now() < deadline => {
                tokio::time::sleep(RETRY_PAUSE).await;
                Ok(None)
            }
            Ok(Err(_)) | Err(_) => Err(Unavailable::NoLeader { shard: shard.0, retry_after_ms: RETRY_AFTER_MS }),
        }
    }

    async fn read_shard(&self, shard: ShardId, queries: Vec<Query>) -> Result<Vec<Answer>, Unavailable> {
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        loop {
            let tried = tokio::time::timeout_at(deadline, self.read_once(shard, &queries)).await;
            if let Some(answers) = self.settle(shard, deadline, tried).await? {
                return Ok(answers);
            }
        }
    }

    async fn change(&self, command: RegionCommand) -> Result<RegionOutcome, Unavailable> {
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        loop {
            let tried = tokio::time::timeout_at(deadline, self.change_once(&command)).await;
            if let Some(outcome) = self.settle(ShardId(0), deadline, tried).await? {
                return Ok(outcome);
            }
        }
    }

    async fn write_shard(&self, shard: ShardId, mut commands: Vec<Command>) -> Result<Vec<Outcome>, Unavailable> {
        // Open until this returns: nobody forgets the answers of what may be sent again.
        let _ticket = self.requests.name(shard, &mut commands);
        let bundle = Bundle::new(&commands);
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        loop {
            let tried = tokio::time::timeout_at(deadline, self.write_once(shard, &bundle)).await;
            if let Some(outcomes) = self.settle(shard, deadline, tried).await? {
                return Ok(outcomes);
            }
        }
    }

    async fn change_once(&self, command: &RegionCommand) -> Result<RegionOutcome, NotProposed> {
        let metrics = self.system.raft().metrics();
        let leader = metrics.borrow_watched().current_leader.map(NodeId);
        let leader = leader.ok_or(NotProposed::NotLeader)?;
        if leader == self.options.node {
            return match self.system.propose(machine::encode(command)).await {
                Ok(Some(Applied::Region(outcome))) => Ok(*outcome),
                Ok(_) => Err(NotProposed::NotLeader),
                Err(_) => Err(NotProposed::Stopped),
            };
        }
        let answer = self.rpc.call(leader, Lane::Fast, calls::CHANGE, &[&encode(command)], TRY_TIMEOUT).await;
        answer.ok().and_then(|bytes| calls::decode_answer(&bytes).ok()).unwrap_or(Err(NotProposed::NotLeader))
    }

    fn tell_published(&self, (namespace, (channel, message)): calls::Published) {
        let notice =
            Notice::Published { namespace, channel: channel.into_vec().into(), message: message.into_vec().into() };
        // Nobody may be listening.
        let _listeners = self.notices.send(Arc::new(notice));
    }
}

/// Runs the parts of a request that go to different shards side by side and puts the results back in order.
async fn scatter<I, O>(
    items: Vec<(ShardId, I)>,
    run: impl Fn(ShardId, Vec<I>) -> BoxFuture<'static, Result<Vec<O>, Unavailable>>,
) -> Vec<Result<O, Unavailable>> {
    let count = items.len();
    let mut parts: BTreeMap<ShardId, (Vec<usize>, Vec<I>)> = BTreeMap::new();
    for (position, (shard, item)) in items.into_iter().enumerate() {
        let (positions, part) = parts.entry(shard).or_default();
        positions.push(position);
        part.push(item);
    }
    let running =
        parts.into_iter().map(|(shard, (positions, part))| run(shard, part).map(move |done| (positions, done)));
    let mut results: Vec<Option<Result<O, Unavailable>>> = (0..count).map(|_| None).collect();
    for (positions, done) in join_all(running).await {
        match done {
            Ok(values) => {
                for (position, value) in positions.into_iter().zip(values) {
                    results[position] = Some(Ok(value));
                }
            }
            Err(error) => positions.into_iter().for_each(|position| results[position] = Some(Err(error.clone()))),
        }
    }
    results.into_iter().map(|result| result.unwrap_or(Err(Unavailable::Loading))).collect()
}

impl Backend for RegionNode {
    fn write(&self, commands: Vec<Command>) -> BoxFuture<'static, Vec<Result<Outcome, Unavailable>>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            let items = commands.into_iter().map(|command| (inner.shard_of(&command.key), command)).collect();
            scatter(items, |shard, commands| {
                let inner = inner.clone();
                Box::pin(async move { inner.write_shard(shard, commands).await })
            })
            .await
        })
    }

    fn read(&self, reads: Vec<Read>) -> BoxFuture<'static, Vec<Result<Answer, Unavailable>>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            let items = reads.into_iter().map(|Read { shard, query }| {
                let shard = shard.unwrap_or_else(|| match &query {
                    Query::Get { key, .. } => inner.shard_of(key),
                    Query::CountSlot { slot, .. } => inner.system.machine().now().slots.shard(*slot),
                    Query::Scan { .. } | Query::Count { .. } | Query::RevocationEpoch { .. } | Query::Random { .. } => {
                        ShardId(0)
                    }
                });
                (shard, query)
            });
            let items = items.collect();
            scatter(items, |shard, queries| {
                let inner = inner.clone();
                Box::pin(async move { inner.read_shard(shard, queries).await })
            })
            .await
        })
    }

    fn change_region(&self, command: RegionCommand) -> BoxFuture<'static, Result<RegionOutcome, Unavailable>> {
        let inner = self.inner.clone();
        Box::pin(async move { inner.change(command).await })
    }

    fn topology(&self) -> Arc<Topology> {
        let places = self.inner.shards.iter().map(|(id, shard)| {
            let metrics = shard.group.raft().metrics();
            let metrics = metrics.borrow_watched();
            let place = ShardPlace {
                leader: metrics.current_leader.map(NodeId),
                term: metrics.current_term,
                voters: metrics.membership_config.voter_ids().map(NodeId).collect(),
                learners: metrics.membership_config.membership().learner_ids().map(NodeId).collect(),
                applied: metrics.last_applied.map(|id| id.index),
            };
            (*id, place)
        });
        let region = self.inner.system.machine().now();
        Arc::new(Topology { region, this_node: self.inner.options.node, shards: places.collect() })
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.inner.notices.subscribe()
    }

    fn publish(&self, namespace: NamespaceId, channel: Bytes, message: Bytes) {
        let published = (namespace, (Box::from(&*channel), Box::from(&*message)));
        let bytes = calls::encode_published(&published);
        for member in self.inner.system.machine().now().members.keys() {
            if *member != self.inner.options.node {
                self.inner.rpc.notify(*member, Lane::Fast, calls::PUBLISH, &[&bytes]);
            }
        }
        self.inner.tell_published(published);
    }

    fn now_ms(&self) -> Stamp {
        self.inner.now_ms()
    }

    fn random_u64(&self) -> u64 {
        self.inner.env.random.next_u64()
    }
}

impl Service for Door {
    fn handle(&self, from: NodeId, number: u8, body: Bytes, reply: Reply) {
        let Some((body, reply)) = self.inbox.handle(from, number, body, reply) else { return };
        let Some(inner) = self.node.lock().upgrade() else { return reply.refuse("the node is starting") };
        match number {
            calls::WRITE => inner.handle_write(body, reply),
            calls::READ => inner.handle_read(body, reply),
            calls::PUBLISH => {
                if let Ok(published) = decode_all(&body) {
                    inner.tell_published(published);
                }
            }
            calls::CHANGE => match decode_all(&body) {
                Ok(command) => drop(spawn(async move {
                    reply.send(&[&calls::encode_answer(&inner.change_once(&command).await)]);
                })),
                Err(error) => reply.refuse(&error.to_string()),
            },
            other => reply.refuse(&format!("call {other} is unknown to this version")),
        }
    }

    fn lost(&self, peer: NodeId) {
        self.inbox.lost(peer);
    }
}

impl Inner {
    fn handle_write(self: Arc<Self>, mut body: Bytes, reply: Reply) {
        let (Some(shard), Some(count)) = (calls::take_u32(&mut body), calls::take_u32(&mut body)) else {
            return reply.refuse("a cut message");
        };
        let bundle = match Bundle::received(count, body) {
            Ok(bundle) => bundle,
            Err(error) => return reply.refuse(&error.to_string()),
        };
        let Some(proposer) = self.shards.get(&ShardId(shard)).map(|shard| shard.proposer.clone()) else {
            return reply.send(&[&calls::encode_answer::<Vec<Outcome>>(&Err(NotProposed::NotLeader))]);
        };
        // Queued here and now, so that what one node forwards keeps its order.
        let outcomes = proposer.enqueue(bundle);
        drop(spawn(async move { reply.send(&[&calls::encode_answer(&outcomes.await)]) }));
    }

    fn handle_read(self: Arc<Self>, mut body: Bytes, reply: Reply) {
        let Some(shard) = calls::take_u32(&mut body) else { return reply.refuse("a cut message") };
        match decode_all::<Vec<Query>>(&body) {
            Ok(queries) => drop(spawn(async move {
                reply.send(&[&calls::encode_answer(&self.read_here(ShardId(shard), &queries).await)]);
            })),
            Err(error) => reply.refuse(&error.to_string()),
        }
    }
}
