//! A region of three nodes in this process, with real logs in a temporary directory.

use sojourn_core::{
    NodeId, RegionId, ShardId,
    policy::Policy,
    region::{Addresses, Member, RegionCommand},
};
use sojourn_node::{
    config::{Listen, NodeConfig, Texts},
    region::{RegionNode, backend::Backend},
    run::{Listeners, Running},
};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{Mutex, MutexGuard},
};

/// How many nodes.
pub const NODES: usize = 3;

/// How long a region may take to elect leaders on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A running region; it ends with this value, or in order by [`Region::stop`].
pub struct Region {
    nodes: Vec<Option<Running>>,
    configs: Vec<NodeConfig>,
    directory: Option<tempfile::TempDir>,
    _alone: MutexGuard<'static, ()>,
}

/// One region at a time: two on a small machine starve each other of the time that elections need.
static ALONE: Mutex<()> = Mutex::const_new(());

impl Region {
    /// Starts one and waits until every shard has a leader that every node knows.
    pub async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// The same with configurations that `change` was shown.
    pub async fn start_with(change: impl Fn(&mut NodeConfig)) -> Self {
        let alone = ALONE.lock().await;
        let directory = tempfile::tempdir().expect("a directory");
        let mut listeners = Vec::new();
        for _ in 0..NODES {
            listeners.push(listeners_anywhere().await);
        }
        let listens: Vec<Listen> = listeners.iter().map(listen).collect();
        let founders: Vec<Member> = listens.iter().enumerate().map(member).collect();
        let mut region = Self { nodes: Vec::new(), configs: Vec::new(), directory: None, _alone: alone };
        let mut starting = Vec::new();
        for (at, (listeners, listen)) in listeners.into_iter().zip(listens).enumerate() {
            let mut config = NodeConfig::from_texts(&[&Texts::new()]).expect("the defaults");
            config.id = Some(NodeId(at as u64 + 1));
            config.name = Some(founders[at].name.clone());
            config.region = (RegionId(0), "na".to_owned());
            config.data_dir = directory.path().join(at.to_string());
            config.founders.clone_from(&founders);
            config.listen = listen;
            change(&mut config);
            // At the same time: founders wait for a majority of each other.
            starting.push(tokio::spawn(Running::start(config.clone(), listeners)));
            region.configs.push(config);
        }
        for started in starting {
            region.nodes.push(Some(started.await.expect("no panic").expect("a node starts")));
        }
        region.directory = Some(directory);
        region.until_ready().await;
        region
    }

    /// Waits until every running node knows a leader of every shard that runs.
    pub async fn until_ready(&self) {
        let deadline = tokio::time::Instant::now() + READY_TIMEOUT;
        while !self.is_ready() {
            assert!(tokio::time::Instant::now() < deadline, "the region has no leaders");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn is_ready(&self) -> bool {
        self.running().all(|node| {
            let topology = node.topology();
            let leads =
                |leader: Option<NodeId>| leader.is_some_and(|leader| self.nodes[leader.0 as usize - 1].is_some());
            topology.region.world != 0 && topology.shards.values().all(|place| leads(place.leader))
        })
    }

    fn running(&self) -> impl Iterator<Item = &RegionNode> {
        self.nodes.iter().flatten().map(Running::node)
    }

    /// A node that runs.
    pub fn node(&self, at: usize) -> &RegionNode {
        self.nodes[at].as_ref().expect("a running node").node()
    }

    /// Where a node takes Redis clients.
    pub fn resp(&self, at: usize) -> SocketAddr {
        self.configs[at].listen.resp
    }

    /// The nodes' numbers by the shards that they lead.
    pub fn leaders(&self) -> Vec<(ShardId, usize)> {
        let topology = self.running().next().expect("a running node").topology();
        let leaders = topology.shards.iter().map(|(shard, place)| (*shard, place.leader.expect("a leader")));
        leaders.map(|(shard, node)| (shard, node.0 as usize - 1)).collect()
    }

    /// Stops a node as an operator does, and waits until the others lead all.
    pub async fn stop_node(&mut self, at: usize) {
        self.nodes[at].take().expect("a running node").stop().await.expect("it stops in order");
        self.until_ready().await;
    }

    /// Starts a stopped node on the data and the ports that it had.
    pub async fn start_node(&mut self, at: usize) {
        let config = self.configs[at].clone();
        let deadline = tokio::time::Instant::now() + READY_TIMEOUT;
        let running = loop {
            let started = match Listeners::bind(&config.listen).await {
                Ok(listeners) => Running::start(config.clone(), listeners).await,
                Err(taken) => Err(taken),
            };
            match started {
                Ok(running) => break running,
                // Tasks of the node before hold its engine a little longer than it runs.
                Err(error) => assert!(tokio::time::Instant::now() < deadline, "the node does not start: {error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        self.nodes[at] = Some(running);
        self.until_ready().await;
    }

    /// Creates a namespace and waits until every node knows it.
    pub async fn create_namespace(&self, name: &str, policy: Policy) {
        let command = RegionCommand::CreateNamespace { name: name.to_owned(), policy };
        self.change(command).await;
        self.until(|region| region.namespace(name).is_ok()).await;
    }

    /// Changes a namespace's policy and waits until every node knows.
    pub async fn set_namespace(&self, name: &str, policy: Policy) {
        self.change(RegionCommand::SetNamespace { name: name.to_owned(), policy: policy.clone() }).await;
        self.until(|region| {
            let id = region.namespace(name).expect("it exists");
            region.namespaces[&id].policy == policy
        })
        .await;
    }

    async fn change(&self, command: RegionCommand) {
        let node = self.running().next().expect("a running node");
        node.change_region(command).await.expect("the region answers");
    }

    async fn until(&self, holds: impl Fn(&sojourn_core::region::RegionState) -> bool) {
        let deadline = tokio::time::Instant::now() + READY_TIMEOUT;
        while !self.running().all(|node| holds(&node.topology().region)) {
            assert!(tokio::time::Instant::now() < deadline, "a node does not hear of it");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops all nodes.
    pub async fn stop(mut self) {
        let stops = std::mem::take(&mut self.nodes).into_iter().flatten().map(Running::stop);
        for stopped in futures::future::join_all(stops).await {
            stopped.expect("it stops in order");
        }
    }
}

impl Drop for Region {
    /// Nodes of a failed test still run: a log without its directory would end the process and hide what failed.
    fn drop(&mut self) {
        if let Some(directory) = self.directory.take().filter(|_| std::thread::panicking()) {
            eprintln!("the nodes' data is kept in {}", directory.keep().display());
        }
    }
}

async fn listeners_anywhere() -> Listeners {
    let bind = || async { TcpListener::bind("127.0.0.1:0").await.expect("a free port") };
    Listeners { grpc: bind().await, resp: bind().await, http: bind().await, peers: bind().await }
}

fn listen(listeners: &Listeners) -> Listen {
    let address = |listener: &TcpListener| listener.local_addr().expect("an address");
    Listen {
        grpc: address(&listeners.grpc),
        resp: address(&listeners.resp),
        http: address(&listeners.http),
        peers: address(&listeners.peers),
    }
}

fn member((at, listen): (usize, &Listen)) -> Member {
    let addresses = Addresses {
        peers: listen.peers.to_string(),
        resp: listen.resp.to_string(),
        grpc: listen.grpc.to_string(),
        http: listen.http.to_string(),
    };
    Member { id: NodeId(at as u64 + 1), name: format!("na-{at}"), addresses, draining: false, disk: None }
}
