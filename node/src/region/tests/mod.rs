//! Whole regions in one process, in virtual time: their nodes come, move, crash and go while clients write.

mod changes;
mod entering;
mod feeds;
mod leads;
mod leases;
mod memory;
mod rebalance;
mod slots;

use super::{
    NodeOptions, RegionNode,
    admin::{Admin, AdminError},
    backend::{Backend, Read},
    entrance::{self, EntranceError, Foyer, Question},
    identity::{DataDirectory, Expected, IdentityError, NodeIdentity},
};
use crate::{
    engine::{EngineKind, StorageOptions},
    env::{
        Env, Plants,
        simulated::{SimulatedDisk, Virtual},
    },
    log::{Log, LogOptions},
    peers::{Rpc, RpcOptions, simulated::SimulatedNetwork},
    raft::{GroupOptions, simulate, simulated_u64, spawn},
    shard::ProposerOptions,
};
use sojourn_core::{
    Answer, Command, Condition, Expiry, Key, NamespaceId, NodeId, Op, Outcome, Projection, Query, RegionId, Request,
    ShardId,
    placement::GroupName,
    policy::Policy,
    region::{Addresses, Member},
};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
enum NotStarted {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Entrance(#[from] EntranceError),
}

/// How a node without an identity comes in.
#[derive(Clone, Copy)]
enum By {
    Founding(u64),
    Joining(u64),
}

struct Running {
    node: RegionNode,
    id: NodeId,
    _directory: DataDirectory,
}

/// A region; nodes by the number of their machine, which for founders is their number in the region.
pub(crate) struct World {
    network: SimulatedNetwork,
    seams: Arc<Virtual>,
    founders: u64,
    disks: BTreeMap<u64, SimulatedDisk>,
    running: BTreeMap<u64, Running>,
    seed: u64,
}

const SHARDS: u32 = 4;

fn member(number: u64) -> Member {
    let addresses = Addresses { peers: number.to_string(), ..Addresses::default() };
    Member { id: NodeId(number), name: format!("n{number}"), addresses, draining: false, disk: None }
}

impl World {
    fn new(seed: u64, founders: u64) -> Self {
        simulate(seed);
        let seams = Arc::new(Virtual::start());
        let (disks, running) = (BTreeMap::new(), BTreeMap::new());
        Self { network: SimulatedNetwork::default(), seams, founders, disks, running, seed }
    }

    /// A region whose founders all run.
    pub(crate) async fn founded(seed: u64, founders: u64) -> Self {
        let mut world = Self::new(seed, founders);
        let numbers: Vec<u64> = (1..=founders).collect();
        world.found(&numbers).await;
        world.until("all shards have leaders", |world| world.all_ready()).await;
        world
    }

    /// Starts some founders at the same time.
    async fn found(&mut self, numbers: &[u64]) {
        let starting = numbers.iter().map(|number| self.start(*number, By::Founding(*number)));
        let starting: Vec<_> = starting.collect();
        for (number, started) in numbers.iter().zip(futures::future::join_all(starting).await) {
            self.running.insert(*number, started.expect("started"));
        }
    }

    async fn join(&mut self, number: u64, by_way_of: u64) {
        let joined = self.start(number, By::Joining(by_way_of)).await.expect("joined");
        self.running.insert(number, joined);
    }

    async fn restart(&mut self, number: u64) {
        let started = self.start(number, By::Founding(number)).await.expect("started");
        self.running.insert(number, started);
    }

    fn start(&mut self, number: u64, by: By) -> impl Future<Output = Result<Running, NotStarted>> + use<> {
        let seed = self.seed * 100 + number;
        let disk = self.disks.entry(number).or_insert_with(|| SimulatedDisk::new(seed)).reopen();
        let env = Env {
            clock: self.seams.clone(),
            disk: Arc::new(disk),
            spawn: self.seams.clone(),
            random: self.seams.clone(),
            plants: Plants::default(),
        };
        enter(self.network.clone(), env, self.founders, number, by)
    }

    /// Cuts the power of a node; what it had not synced may be lost.
    async fn crash(&mut self, number: u64) {
        let Some(running) = self.running.remove(&number) else { return };
        self.network.attach(running.id, None);
        let disk = self.disks[&number].crash();
        self.disks.insert(number, disk);
        // Its tasks end; nothing reaches the disk any more.
        for (_, shard) in running.node.inner.shards.all() {
            let _failed = shard.group.raft().shutdown().await;
        }
        let _failed = running.node.inner.system.raft().shutdown().await;
    }

    /// Throws away what a node that does not run had on its disk.
    fn lose_disk(&mut self, number: u64) {
        assert!(!self.running.contains_key(&number));
        self.disks.insert(number, SimulatedDisk::new(self.seed * 1000 + number));
    }

    pub(crate) fn node(&self, number: u64) -> &RegionNode {
        &self.running[&number].node
    }

    pub(crate) fn any(&self) -> &RegionNode {
        &self.running.values().next().expect("a running node").node
    }

    fn all_ready(&self) -> bool {
        self.running.values().all(|running| running.node.is_ready())
    }

    /// Waits until `test` holds, a few minutes of virtual time at most.
    pub(crate) async fn until(&self, what: &str, test: impl Fn(&Self) -> bool) {
        for _ in 0..1_500 {
            if test(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let status = self.any().status().await;
        panic!("never {what}; seed {}; placement {:?}; groups {:?}", self.seed, status.region.placement, status.groups);
    }

    /// How many shards each running node leads, lowest first.
    pub(crate) fn leads(&self) -> Vec<usize> {
        let leads =
            |running: &Running| running.node.inner.shards.all().iter().filter(|(_, shard)| shard.leads()).count();
        let mut leads: Vec<usize> = self.running.values().map(leads).collect();
        leads.sort_unstable();
        leads
    }

    /// The running machine that leads a shard.
    pub(crate) fn leader(&self, shard: u32) -> Option<u64> {
        let leads =
            |running: &Running| running.node.inner.shards.get(ShardId(shard)).is_some_and(|shard| shard.leads());
        self.running.iter().find(|(_, running)| leads(running)).map(|(number, _)| *number)
    }

    /// Whether every group has exactly the voters that it should have, and nothing is under way.
    fn settled(&self) -> bool {
        let region = self.any().inner.system.machine().now();
        let statuses: Vec<_> = self.running.values().map(|running| running.node.inner.node_status()).collect();
        region.placement.iter().all(|(group, voters)| {
            statuses.iter().any(|status| {
                status.replicas.get(group).is_some_and(|of| {
                    let strangers = *group != GroupName::System && !of.learners.is_empty();
                    of.leader == Some(of.node) && of.voters == *voters && !of.changing() && !strangers
                })
            })
        })
    }
}

async fn enter(network: SimulatedNetwork, env: Env, founders: u64, number: u64, by: By) -> Result<Running, NotStarted> {
    let directory = DataDirectory::open(env.disk.clone(), Path::new("/data"))?;
    let known = directory.read(&Expected::default())?;
    let options = LogOptions { segment_bytes: 256 << 10, log_bytes_max: 16 << 20, ..LogOptions::new("/data/log") };
    // A log that fails belongs to a node whose power was cut.
    let log = Log::open(&env, options, Arc::new(|_| {})).await.expect("a log");
    directory.check_log(known.as_ref(), &log)?;
    let disk = known.as_ref().map_or_else(|| env.random.next_u128(), |identity| identity.disk);
    let founders: Vec<Member> = (1..=founders).map(member).collect();
    let own = member(number);
    let (identity, rpc) = match (known, by) {
        (Some(identity), _) => {
            let rpc = call_as(&network, &env, identity.node);
            (identity, rpc)
        }
        (None, By::Joining(by_way_of)) => {
            let (name, addresses) = (own.name, own.addresses.clone());
            let question = Question::Join { region: Some("na".to_owned()), name, addresses, disk };
            let asking = network.node(NodeId(number));
            let (identity, _) = entrance::join(&asking, &by_way_of.to_string(), question, disk).await?;
            let rpc = call_as(&network, &env, identity.node);
            (identity, rpc)
        }
        (None, By::Founding(id)) => {
            let rpc = call_as(&network, &env, NodeId(id));
            let asking = network.node(NodeId(id));
            let region = (RegionId(0), "na");
            let (identity, _) = entrance::enter_as_founder(&asking, &founders, region, NodeId(id), disk).await?;
            (identity, rpc)
        }
    };
    directory.write(&identity).await?;
    let node = RegionNode::start(env.clone(), log, rpc, options_of(&identity, founders, own.addresses, &env));
    Ok(Running { node: node.await.expect("a node"), id: identity.node, _directory: directory })
}

fn call_as(network: &SimulatedNetwork, env: &Env, id: NodeId) -> Rpc {
    let rpc = Rpc::new(env.clone(), Arc::new(network.node(id)), RpcOptions::default());
    rpc.serve(Arc::new(Foyer));
    network.attach(id, Some(rpc.receiver()));
    rpc
}

fn options_of(identity: &NodeIdentity, founders: Vec<Member>, addresses: Addresses, env: &Env) -> NodeOptions {
    NodeOptions {
        world: if identity.world == 0 { env.random.next_u128().max(1) } else { identity.world },
        region: identity.region,
        region_name: identity.region_name.clone(),
        coordinates: None,
        node: identity.node,
        disk: identity.disk,
        addresses,
        founder: identity.founder,
        founders,
        mint_key: None,
        shard_count: SHARDS,
        replicas: 3,
        storage: StorageOptions {
            kind: EngineKind::Files,
            directory: "/data/engine".into(),
            memory_bytes_max: 64 << 20,
        },
        snapshots: "/data/snapshots".into(),
        group: GroupOptions {
            heartbeat: Duration::from_millis(200),
            election_min: Duration::from_millis(600),
            election_max: Duration::from_millis(1_200),
            snapshot_entries: 200,
            keep_entries: 20,
            unsaved_bytes_max: 64 << 10,
            log_room_bytes_min: 64 << 10,
            ..GroupOptions::default()
        },
        proposer: ProposerOptions { log_room_bytes_min: 128 << 10, ..ProposerOptions::default() },
    }
}

pub(crate) fn key(number: u64) -> Key {
    Key::new(NamespaceId(0), format!("key-{number}").as_bytes()).expect("a key")
}

pub(crate) fn set(number: u64, value: u64) -> Command {
    let op = Op::Set {
        value: value.to_be_bytes().into(),
        expiry: Expiry::Never,
        condition: Condition::Always,
        get: false,
        owner: None,
    };
    Command { request: Request::default(), key: key(number), rules: Policy::default().rules(false), touched: None, op }
}

/// Clients that write for as long as the load lives: each its own keys, ever higher values, by way of changing nodes.
struct Load {
    nodes: Arc<parking_lot::Mutex<Vec<RegionNode>>>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Vec<AtomicU64>>,
    gap_ms_max: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

const CLIENTS: u64 = 6;

impl Load {
    fn start(world: &World) -> Self {
        let mut load = Self {
            nodes: Arc::default(),
            stop: Arc::default(),
            acknowledged: Arc::new((0..CLIENTS).map(|_| AtomicU64::new(0)).collect()),
            gap_ms_max: Arc::default(),
            tasks: Vec::new(),
        };
        load.follow(world);
        for client in 0..CLIENTS {
            let (nodes, stop) = (load.nodes.clone(), load.stop.clone());
            let (acknowledged, gap_ms_max) = (load.acknowledged.clone(), load.gap_ms_max.clone());
            load.tasks.push(spawn(async move {
                let mut last = Instant::now();
                for value in 1.. {
                    let node = {
                        let nodes = nodes.lock();
                        nodes[usize::try_from(value + client).expect("small") % nodes.len()].clone()
                    };
                    let outcome = node.write(vec![set(client, value)]).await.pop().expect("an outcome");
                    if matches!(outcome, Ok(Outcome::Done)) {
                        acknowledged[client as usize].store(value, Ordering::Relaxed);
                        let gap_ms = u64::try_from(last.elapsed().as_millis()).expect("a short test");
                        gap_ms_max.fetch_max(gap_ms, Ordering::Relaxed);
                        last = Instant::now();
                    }
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }));
        }
        load
    }

    /// Goes on by way of the nodes that run now.
    fn follow(&self, world: &World) {
        *self.nodes.lock() = world.running.values().map(|running| running.node.clone()).collect();
    }

    /// The longest that a client waited between two acknowledged writes since the last question.
    fn gap_ms(&self) -> u64 {
        self.gap_ms_max.swap(0, Ordering::Relaxed)
    }

    /// Ends the load and checks that every node answers with what was acknowledged, or later.
    async fn check(self, world: &World) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a client that ends");
        }
        for running in world.running.values() {
            for client in 0..CLIENTS {
                let value = stored(read_again(&running.node, key(client)).await);
                let acknowledged = self.acknowledged[client as usize].load(Ordering::Relaxed);
                assert!(acknowledged > 0, "client {client} got nothing done");
                assert!(value >= acknowledged, "node {:?} lost {acknowledged} of client {client}: {value}", running.id);
            }
        }
    }
}

fn stored(answer: Answer) -> u64 {
    let Answer::Record(Some(view)) = answer else { panic!("no session: {answer:?}") };
    let value = view.fields.get(b"").expect("a value").to_vec();
    u64::from_be_bytes(value.try_into().expect("eight bytes"))
}

/// A read that is asked again while its shard finds a leader.
async fn read_again(node: &RegionNode, key: Key) -> Answer {
    let query = Query::Get { key, projection: Projection::Whole };
    let mut last = None;
    for _ in 0..20 {
        let read = Read { shard: None, query: query.clone() };
        match node.read(vec![read]).await.pop() {
            Some(Ok(answer)) => return answer,
            refused => last = refused,
        }
    }
    let held = node.inner.shards.all().into_iter().map(|(id, shard)| (id, shard.group.figures()));
    let held: Vec<_> = held.collect();
    panic!("no answer to a read in 100 s of virtual time but {last:?}; this node holds {held:?}");
}
