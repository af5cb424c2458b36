//! Puts a node together from its configuration and runs it until it is told to stop.

use crate::{
    api::Api,
    config::{Listen, NodeConfig},
    engine::{EngineKind, StorageOptions},
    env::{RealEnv, machine_memory_bytes, memory_bytes, raise_open_files},
    gateway::{self, grpc::GrpcOptions, http::HttpOptions, resp::RespOptions},
    log::{Log, LogFailure, LogOptions},
    peers::{AddressBook, GrpcNetwork, Identity, PeersService, Rpc, RpcOptions},
    raft::GroupOptions,
    region::{NodeOptions, RegionNode},
    shard::ProposerOptions,
    telemetry::{Metrics, notify},
};
use anyhow::Context;
use std::{net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;

/// Runs a node until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting, with the mend.
pub async fn serve(config: NodeConfig) -> anyhow::Result<()> {
    let open_files_max = raise_open_files();
    let listeners = Listeners::bind(&config.listen).await?;
    let (name, Listen { grpc, resp, http, .. }) = (config.name.clone(), config.listen);
    let running = Running::start(config, listeners).await?;
    tracing::info!(node = %name, %grpc, %resp, %http, open_files_max, "serving");
    let ready = running.node.clone();
    tokio::spawn(async move {
        ready.until_ready().await;
        tracing::info!("ready");
        notify::tell(notify::READY);
    });
    told_to_stop().await?;
    notify::tell(notify::STOPPING);
    tracing::info!("stopping: clients finish, then leaderships go to other nodes");
    running.stop().await
}

/// The sockets of a node, taken before it reads its disk.
pub struct Listeners {
    /// gRPC clients.
    pub grpc: TcpListener,
    /// Redis clients.
    pub resp: TcpListener,
    /// Probes and metrics.
    pub http: TcpListener,
    /// Other nodes.
    pub peers: TcpListener,
}

impl Listeners {
    /// Listens where the configuration says.
    ///
    /// # Errors
    /// An address is taken, or not of this machine.
    pub async fn bind(listen: &Listen) -> anyhow::Result<Self> {
        Ok(Self {
            grpc: bind("listen.grpc", listen.grpc).await?,
            resp: bind("listen.resp", listen.resp).await?,
            http: bind("listen.http", listen.http).await?,
            peers: bind("listen.peers", listen.peers).await?,
        })
    }
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: is another node running there? Change `{key}`"))
}

/// A node with its endpoints.
pub struct Running {
    node: RegionNode,
    /// Ends the endpoints that take sessions' clients.
    close: watch::Sender<bool>,
    /// Ends the others.
    stop: watch::Sender<bool>,
    grpc: JoinHandle<Result<(), tonic::transport::Error>>,
    resp: JoinHandle<()>,
    http: JoinHandle<std::io::Result<()>>,
    peers: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Running {
    /// Starts a node on the current runtime. A log that fails later ends the process.
    ///
    /// # Errors
    /// What keeps it from starting, with the mend.
    pub async fn start(config: NodeConfig, listeners: Listeners) -> anyhow::Result<Self> {
        let env = RealEnv::current();
        let log_options =
            LogOptions { log_bytes_max: config.log_bytes_max, ..LogOptions::new(config.data_dir.join("log")) };
        let log = Log::open(&env, log_options, Arc::new(stop_at_once)).await?;
        let identity = Identity { world: config.world, region: config.region.1.clone(), node: config.id };
        let book = Arc::new(AddressBook::default());
        for member in &config.founders {
            book.set(member.id, member.addresses.peers.clone());
        }
        let network = Arc::new(GrpcNetwork::new(identity.clone(), book));
        let rpc = Rpc::new(env.clone(), network, RpcOptions::default());
        let (close, closing) = watch::channel(false);
        let (stop, stopped) = watch::channel(false);
        // Nodes ask each other while they start.
        let peers = PeersService::transport()
            .add_service(PeersService::server(identity, rpc.receiver(), stopped.clone()))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listeners.peers), is_set(stopped.clone()));
        let peers = tokio::spawn(peers);
        let node = RegionNode::start(env, log, rpc, node_options(&config)).await?;
        let metrics = Arc::new(Metrics::new(node.clone())?);
        let sessions = Arc::new(metrics.measured());
        let options = HttpOptions { open: config.insecure };
        let http = gateway::http::serve(listeners.http, node.clone(), metrics, options, is_set(stopped));
        let api = Arc::new(Api::new(sessions.clone()));
        let grpc = gateway::grpc::serve(listeners.grpc, api, GrpcOptions::default(), closing.clone());
        let options = RespOptions { cluster: config.resp_cluster, memory_bytes, ..RespOptions::default() };
        let resp = gateway::resp::serve(listeners.resp, sessions, options, is_set(closing));
        let (grpc, resp, http) = (tokio::spawn(grpc), tokio::spawn(resp), tokio::spawn(http));
        Ok(Self { node, close, stop, grpc, resp, http, peers })
    }

    /// The node behind the endpoints.
    pub fn node(&self) -> &RegionNode {
        &self.node
    }

    /// Lets clients finish, hands leaderships to other nodes, and ends.
    ///
    /// # Errors
    /// An endpoint had failed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.close.send_replace(true);
        self.resp.await?;
        self.grpc.await??;
        self.node.shut_down().await;
        self.stop.send_replace(true);
        self.http.await??;
        // What is left of it are connections of peers that do not answer.
        self.peers.abort();
        // Its port is free from here on.
        drop(self.peers.await);
        Ok(())
    }
}

fn node_options(config: &NodeConfig) -> NodeOptions {
    NodeOptions {
        world: config.world,
        region: config.region.0,
        region_name: config.region.1.clone(),
        node: config.id,
        founders: config.founders.clone(),
        shard_count: config.shard_count,
        storage: StorageOptions {
            kind: EngineKind::Fjall,
            directory: config.data_dir.join("engine"),
            memory_bytes_max: config.memory_bytes_max.unwrap_or_else(|| machine_memory_bytes() / 2),
        },
        snapshots: config.data_dir.join("snapshots"),
        group: GroupOptions::default(),
        proposer: ProposerOptions::default(),
    }
}

fn stop_at_once(failure: LogFailure) {
    tracing::error!(error = %failure, "the log failed; the node stops at once");
    std::process::exit(74);
}

/// Completes when the flag is set, or when nobody can set it any more.
async fn is_set(mut flag: watch::Receiver<bool>) {
    let _set_or_closed = flag.wait_for(|set| *set).await;
}

async fn told_to_stop() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}
