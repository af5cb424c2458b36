//! A region of three nodes in this process: real logs and real sockets, and for each node a runtime of its own, so that it can
//! die at once with all that it was doing.

use sojourn_client::{Builder, Client};
use sojourn_core::{
    Answer, Command, Condition, Expiry, Key, Life, NamespaceId, Op, Outcome, Projection, Query, RegionId, Request,
    Rules, ShardId, Slot, SlotSet,
    policy::Policy,
    region::{DEFAULT_NAMESPACE, RegionCommand, RegionOutcome, RegionRefusal, RegionState},
    state::Believed,
    stream::{Absorbed, Piece, Source, Span},
};
use sojourn_node::{
    config::{NodeConfig, Texts},
    region::{
        backend::{Backend, Read, Unavailable},
        sweep::{Sweep, Swept},
        travel::{Moved, NotMoved},
    },
    run::{Listeners, Running},
};
use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{runtime::Runtime, sync::OnceCell};

/// How long anything may take that must happen.
pub const SOON: Duration = Duration::from_secs(90);

const NODES: usize = 3;
const PORTS_PER_NODE: usize = 4;

pub struct Region {
    nodes: Vec<Node>,
}

struct Node {
    /// What it is configured with, by key.
    texts: Texts,
    config: NodeConfig,
    /// `None` while it is dead.
    alive: Option<(Runtime, Running)>,
}

impl Node {
    fn configure(&mut self) {
        self.config = NodeConfig::from_texts(&[&self.texts]).expect("a good configuration");
    }

    async fn revive(&mut self) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let deadline = Instant::now() + SOON;
        let running = loop {
            let config = self.config.clone();
            let starting = runtime.spawn(async move {
                let listeners = Listeners::bind(&config.listen).await?;
                Running::start(config, listeners).await
            });
            match starting.await.expect("no panic") {
                Ok(running) => break running,
                // While it was down, a connection of somebody else may have been given its port.
                Err(error) => assert!(Instant::now() < deadline, "it does not start: {error:#}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        self.alive = Some((runtime, running));
    }
}

impl Region {
    /// A new region with `shards` shards; `name` tells its directory from others'.
    pub async fn start(name: &str, shards: u32) -> Self {
        let mut region = Self::prepare(name, &free_ports(1), &[("region.shards", shards.to_string())]);
        region.revive_all().await;
        region.until_ready().await;
        region
    }

    /// Two new regions of one world, `na` and `eu`, with different numbers of shards.
    pub async fn start_two(name: &str) -> [Self; 2] {
        Self::start_world(name, [("na", 4), ("eu", 3)]).await
    }

    /// New regions of one world, each with so many shards.
    pub async fn start_world<const N: usize>(name: &str, regions: [(&str, u32); N]) -> [Self; N] {
        let mut started = Self::prepare_world(name, regions);
        futures::future::join_all(started.iter_mut().map(Self::revive_all)).await;
        futures::future::join_all(started.iter().map(Self::until_ready)).await;
        started
    }

    /// The same, none of which is started.
    pub fn prepare_world<const N: usize>(name: &str, regions: [(&str, u32); N]) -> [Self; N] {
        let ports = free_ports(N);
        let of_region = |id: usize| &ports[id * NODES * PORTS_PER_NODE..][..NODES * PORTS_PER_NODE];
        let entrances = regions.iter().enumerate();
        let entrances = entrances.map(|(id, (region, _))| format!("{id}:{region}=127.0.0.1:{}", of_region(id)[3]));
        let world = [
            ("region.world", "7".to_owned()),
            ("world.secret", "known to the tests of this world only".to_owned()),
            ("world.digest_interval", "6s".to_owned()),
            ("world.sweep_interval", "1s".to_owned()),
            ("world.regions", entrances.collect::<Vec<_>>().join(",")),
        ];
        let mut id = 0;
        regions.map(|(region, shards)| {
            let own = [("region.id", id.to_string()), ("region.name", region.to_owned())];
            let own = [&world[..], &own, &[("region.shards", shards.to_string())]].concat();
            let prepared = Self::prepare(&format!("{name}-{region}"), of_region(id), &own);
            id += 1;
            prepared
        })
    }

    /// Makes the region forget the others of its world from its next start on; what it was told of them.
    pub fn part_from_world(&mut self) -> String {
        let parted = self.nodes.iter_mut().filter_map(|node| {
            let regions = node.texts.remove("world.regions");
            node.configure();
            regions
        });
        parted.last().unwrap_or_default()
    }

    /// Tells it of the others again, from its next start on.
    pub fn join_world(&mut self, regions: &str) {
        for node in &mut self.nodes {
            node.texts.insert("world.regions".to_owned(), regions.to_owned());
            node.configure();
        }
    }

    fn prepare(name: &str, ports: &[u16], more: &[(&str, String)]) -> Self {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        if directory.exists() {
            std::fs::remove_dir_all(&directory).expect("the last run's directory can go");
        }
        let founders = (0..NODES).map(|node| {
            let at = |offset: usize| format!("127.0.0.1:{}", ports[node * PORTS_PER_NODE + offset]);
            format!("{}:n-{node}={}/{}/{}/{}", node + 1, at(3), at(1), at(0), at(2))
        });
        let founders = founders.collect::<Vec<_>>().join(",");
        let mut region = Self { nodes: Vec::new() };
        for node in 0..NODES {
            let at = |offset: usize| format!("127.0.0.1:{}", ports[node * PORTS_PER_NODE + offset]);
            let own = [
                ("node.id", (node + 1).to_string()),
                ("node.data_dir", directory.join(node.to_string()).display().to_string()),
                ("region.founders", founders.clone()),
                ("listen.grpc", at(0)),
                ("listen.resp", at(1)),
                ("listen.http", at(2)),
                ("listen.peers", at(3)),
            ];
            let texts: Texts = own.iter().chain(more).map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
            let config = NodeConfig::from_texts(&[&texts]).expect("a good configuration");
            region.nodes.push(Node { texts, config, alive: None });
        }
        region
    }

    /// Starts all nodes at the same time: founders wait for a majority of each other.
    pub async fn revive_all(&mut self) {
        futures::future::join_all(self.nodes.iter_mut().map(Node::revive)).await;
    }

    /// Starts a node from what its disk has.
    pub async fn revive(&mut self, node: usize) {
        self.nodes[node].revive().await;
    }

    /// Ends a node as a crash would: nothing that it was doing is finished.
    pub fn kill(&mut self, node: usize) {
        if let Some((runtime, running)) = self.nodes.get_mut(node).and_then(|node| node.alive.take()) {
            drop(running);
            runtime.shutdown_background();
        }
    }

    /// Stops all nodes as an operator would, so that they can be started again.
    pub async fn stop_all(&mut self) {
        let alive = self.nodes.iter_mut().filter_map(|node| node.alive.take());
        let stopped = alive.map(async |(runtime, running)| {
            let stopped = runtime.spawn(running.stop()).await;
            runtime.shutdown_background();
            stopped.expect("no panic").expect("it stops");
        });
        futures::future::join_all(stopped).await;
    }

    /// Ends all nodes at once.
    pub fn kill_all(&mut self) {
        (0..NODES).for_each(|node| self.kill(node));
    }

    /// Waits until all nodes that live know a leader of every shard.
    pub async fn until_ready(&self) {
        let deadline = Instant::now() + SOON;
        while !self.alive().all(|(_, running)| running.node().is_ready()) {
            assert!(Instant::now() < deadline, "the region is not ready in time");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn alive(&self) -> impl Iterator<Item = (usize, &Running)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(number, node)| Some((number, &node.alive.as_ref()?.1)))
    }

    /// The node that leads a shard.
    pub fn leader(&self, shard: u32) -> usize {
        let (_, any) = self.alive().next().expect("a living node");
        let place = any.node().topology().shards[&ShardId(shard)].clone();
        place.leader.expect("a leader").0 as usize - 1
    }

    /// Loses this region's copies of the slot of `id`, which `home` orders, as a bug would; says how many copies the region has
    /// mended before.
    pub async fn lose_copies(&self, home: RegionId, id: &[u8]) -> u64 {
        let slot = Slot::of(id);
        let mended = self.mended();
        let deadline = Instant::now() + SOON;
        loop {
            let led = self.alive().flat_map(|(_, running)| running.node().led());
            for led in led.filter(|led| led.sessions().record(&key(id)).is_some_and(|copy| copy.home == home)) {
                let shards = (0..16).map(|shard| Source { region: home, shard: ShardId(shard) });
                let followed = shards.filter_map(|source| Some((source, led.sessions().progress(source).cursor?)));
                for (source, begin) in followed.collect::<Vec<_>>() {
                    let span = Span { after: None, until: None, slots: SlotSet::of_slots([slot]) };
                    let homes = Believed::from([(home, u32::MAX)]);
                    let (believed, records, elsewhere) = (homes.clone(), Vec::new(), Vec::new());
                    let piece =
                        Piece::Page { asked: u64::MAX, begin, span, homes, replaces: false, records, elsewhere };
                    // Who leads no more has lost nothing; whoever leads by then is asked anew.
                    let _lost = led.absorb(Absorbed { source, as_of: 1, believed, piece }, true).await;
                }
                if led.sessions().record(&key(id)).is_none() {
                    return mended;
                }
            }
            assert!(Instant::now() < deadline, "the copy comes in time");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Begins a session under an id of the application's own and ends it; its tombstone stands for so long at least.
    pub async fn end_one(&self, id: &[u8], tombstone_ms: u64) {
        let (_, any) = self.alive().next().expect("a living node");
        let rules = Rules { tombstone_ms, ..Policy::default().rules(false) };
        let (expiry, condition) = (Expiry::Default, Condition::Always);
        let set = Op::Set { value: Box::from(&b"v"[..]), expiry, condition, get: false, owner: None };
        for op in [set, Op::Destroy] {
            let command = Command { request: Request::default(), key: key(id), rules, touched: None, op };
            let write = async || any.node().write(vec![command.clone()]).await.pop().expect("one");
            let outcome = until_answered(write).await;
            assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        }
    }

    /// How many tombstones the region holds.
    pub fn tombstones(&self) -> u64 {
        self.alive().flat_map(|(_, running)| running.node().tombs()).map(|(_, tombs)| tombs.count).sum()
    }

    /// How often the region's nodes have found out which tombstones are known everywhere, and how often in vain.
    pub fn sweeps(&self) -> (u64, u64) {
        let of = self.alive().map(|(_, running)| running.node().sweeps());
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        of.fold((0, 0), |(ended, left), sweeps| (ended + load(&sweeps.ended), left + load(&sweeps.left)))
    }

    /// Whether a leader of this region has a living copy of the session.
    pub fn has_copy(&self, id: &[u8]) -> bool {
        let mut led = self.alive().flat_map(|(_, running)| running.node().led());
        led.any(|led| led.sessions().record(&key(id)).is_some_and(|copy| copy.life == Life::Live))
    }

    /// How many copies the region's nodes have mended.
    pub fn mended(&self) -> u64 {
        self.alive().map(|(_, running)| running.node().mended().load(Ordering::Relaxed)).sum()
    }

    /// Where a node listens for gRPC.
    pub fn address(&self, node: usize) -> String {
        self.nodes[node].config.listen.grpc.to_string()
    }

    /// Where all do.
    pub fn addresses(&self) -> Vec<String> {
        (0..NODES).map(|node| self.address(node)).collect()
    }

    /// Changes what the region agrees on.
    pub async fn change(&self, command: RegionCommand) -> RegionOutcome {
        let (_, any) = self.alive().next().expect("a living node");
        until_answered(async || any.node().change_region(command.clone()).await).await
    }

    /// Creates a namespace; on the node that answers it is known at once, on the others soon.
    pub async fn namespace(&self, name: &str, policy: Policy) {
        let created = self.change(RegionCommand::CreateNamespace { name: name.to_owned(), policy }).await;
        // Asked again after an unknown outcome, it may exist.
        let exists = RegionOutcome::Refused(RegionRefusal::NamespaceExists(name.to_owned()));
        assert!(matches!(created, RegionOutcome::Namespace(_)) || created == exists, "{created:?}");
        self.until(|state| state.namespace(name).is_ok()).await;
    }

    /// Waits until what the region agrees on is so, as all its nodes know it.
    pub async fn until(&self, holds: impl Fn(&RegionState) -> bool) {
        let deadline = Instant::now() + SOON;
        while !self.alive().all(|(_, running)| holds(&running.node().region())) {
            assert!(Instant::now() < deadline, "never known to all nodes");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What the region agrees on, as one of its nodes knows it.
    pub fn state(&self) -> Arc<RegionState> {
        let (_, any) = self.alive().next().expect("a living node");
        any.node().region()
    }

    /// Asks once for a change of what the region agrees on.
    pub async fn wish(&self, command: RegionCommand) -> Result<RegionOutcome, Unavailable> {
        let (_, any) = self.alive().next().expect("a living node");
        any.node().change_region(command).await
    }

    /// How many sessions of a namespace the region holds, copies of others' included.
    pub fn sessions(&self, namespace: NamespaceId) -> u64 {
        let led = self.alive().flat_map(|(_, running)| running.node().led());
        let usages = led.flat_map(|led| led.sessions().usages());
        usages.filter(|(of, _)| *of == namespace).map(|(_, usage)| usage.sessions).sum()
    }

    /// Sends inline commands over a connection to a node as a Redis client would; the first line of each answer.
    pub fn redis(&self, node: usize, lines: &[&str]) -> Vec<String> {
        let mut stream = TcpStream::connect(self.nodes[node].config.listen.resp).expect("connected");
        let mut answers =
            BufReader::new(stream.try_clone().expect("twice")).lines().map(|line| line.expect("answered"));
        let mut ask = |line: &&str| {
            stream.write_all(format!("{line}\r\n").as_bytes()).expect("written");
            let first = answers.next().expect("answered");
            match first.strip_prefix('$').filter(|length| *length != "-1") {
                Some(_length) => answers.next().expect("a value"),
                None => first,
            }
        };
        lines.iter().map(&mut ask).collect()
    }

    /// Whether this region orders the session under `id` of the default namespace.
    pub async fn orders(&self, id: &[u8]) -> bool {
        let (_, any) = self.alive().next().expect("a living node");
        let query = Query::GetAtHome { key: key(id), projection: Projection::Summary };
        let read = async || any.node().read(vec![Read { shard: None, query: query.clone() }]).await.pop().expect("one");
        matches!(until_answered(read).await, Answer::Seen { view: Some(_), .. })
    }

    /// Has a node of this region move the session under `id` of the default namespace to another home.
    pub async fn move_session(&self, id: &[u8], to: RegionId) -> Result<Moved, NotMoved> {
        let (_, any) = self.alive().next().expect("a living node");
        any.node().move_session(key(id), to).await
    }

    /// What becomes of a revocation that another region asks for with this epoch.
    pub async fn revoke_at(&self, user: &str, epoch: u64) -> Swept {
        let (_, any) = self.alive().next().expect("a living node");
        let op = Op::Revoke { user: user.as_bytes().into(), epoch, count_max: u64::MAX };
        let sweep = Sweep { namespace: DEFAULT_NAMESPACE, rules: Policy::default().rules(true), op };
        until_answered(async || any.node().sweep(sweep.clone()).await).await
    }

    /// How to connect to a namespace.
    pub fn builder(&self, namespace: &str) -> Builder {
        Client::builder(self.addresses()).namespace(namespace).expect("a good name")
    }
}

impl Drop for Region {
    /// A runtime must not be dropped where others run.
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// Asks again while nobody answers: leaders may change at any time where machines are busy.
async fn until_answered<T>(ask: impl AsyncFn() -> Result<T, Unavailable>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The key of an id in the default namespace.
fn key(id: &[u8]) -> Key {
    Key::new(DEFAULT_NAMESPACE, id).expect("a good id")
}

/// Ports for so many regions.
fn free_ports(regions: usize) -> Vec<u16> {
    // All at once, so that they differ.
    let listeners: Vec<TcpListener> =
        (0..regions * NODES * PORTS_PER_NODE).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("an address").port()).collect()
}

static SHARED: LazyLock<OnceCell<Region>> = LazyLock::new(OnceCell::new);

/// The region of tests that harm no node: each works in namespaces of its own.
pub async fn shared() -> &'static Region {
    SHARED.get_or_init(|| Region::start("shared", 4)).await
}

/// A client in a new namespace of the shared region.
pub async fn client(namespace: &str, policy: Policy) -> Client {
    let region = shared().await;
    region.namespace(namespace, policy).await;
    region.builder(namespace).connect().await.expect("connected")
}
