//! Puts a node together from its configuration and runs it until it is told to stop.

use crate::{
    api::Api,
    config::NodeConfig,
    engine::{EngineKind, StorageOptions},
    env::RealEnv,
    gateway::{self, grpc::GrpcOptions, http::HttpOptions, resp::RespOptions},
    log::{Log, LogOptions},
    peers::{AddressBook, GrpcNetwork, Identity, PeersService, Rpc, RpcOptions},
    raft::GroupOptions,
    region::{NodeOptions, RegionNode},
    shard::ProposerOptions,
    telemetry::{Metrics, notify},
};
use anyhow::Context;
use std::{net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, sync::watch};

/// Runs a node until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting, with the mend.
pub async fn serve(config: NodeConfig) -> anyhow::Result<()> {
    let env = RealEnv::current();
    let log_options =
        LogOptions { log_bytes_max: config.log_bytes_max, ..LogOptions::new(config.data_dir.join("log")) };
    let on_fatal = Arc::new(|failure| {
        tracing::error!(error = %failure, "the log failed; the node stops at once");
        std::process::exit(74);
    });
    let log = Log::open(&env, log_options, on_fatal).await?;
    let identity = Identity { world: config.world, region: config.region.1.clone(), node: config.id };
    let book = Arc::new(AddressBook::default());
    for member in &config.founders {
        book.set(member.id, member.addresses.peers.clone());
    }
    let network = Arc::new(GrpcNetwork::new(identity.clone(), book));
    let rpc = Rpc::new(env.clone(), network, RpcOptions::default());
    let (stop, stopped) = watch::channel(false);
    let (close, closing) = watch::channel(false);
    let peers = bind("listen.peers", config.listen.peers).await?;
    let http = bind("listen.http", config.listen.http).await?;
    let grpc = bind("listen.grpc", config.listen.grpc).await?;
    let resp = bind("listen.resp", config.listen.resp).await?;
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(peers);
    let peers_server = PeersService::transport()
        .add_service(PeersService::server(identity, rpc.receiver()))
        .serve_with_incoming_shutdown(incoming, is_set(stopped.clone()));
    let peers_server = tokio::spawn(peers_server);
    let options = NodeOptions {
        world: config.world,
        region: config.region.0,
        region_name: config.region.1.clone(),
        node: config.id,
        founders: config.founders.clone(),
        shard_count: config.shard_count,
        storage: StorageOptions {
            kind: EngineKind::Fjall,
            directory: config.data_dir.join("engine"),
            memory_bytes_max: config.memory_bytes_max.unwrap_or_else(|| crate::env::machine_memory_bytes() / 2),
        },
        snapshots: config.data_dir.join("snapshots"),
        group: GroupOptions::default(),
        proposer: ProposerOptions::default(),
    };
    let node = RegionNode::start(env, log, rpc, options).await?;
    let metrics = Arc::new(Metrics::new(node.clone())?);
    let sessions = Arc::new(metrics.measured());
    let http_options = HttpOptions { open: config.insecure };
    let http_server = tokio::spawn(gateway::http::serve(http, node.clone(), metrics, http_options, is_set(stopped)));
    let api = Arc::new(Api::new(sessions.clone()));
    let grpc_server = tokio::spawn(gateway::grpc::serve(grpc, api, GrpcOptions::default(), closing.clone()));
    let resp_options =
        RespOptions { cluster: config.resp_cluster, memory_bytes: crate::env::memory_bytes, ..RespOptions::default() };
    let resp_server = tokio::spawn(gateway::resp::serve(resp, sessions, resp_options, is_set(closing)));
    tracing::info!(node = %config.name, grpc = %config.listen.grpc, resp = %config.listen.resp, http = %config.listen.http, "serving");
    let ready = node.clone();
    tokio::spawn(async move {
        ready.until_ready().await;
        tracing::info!("ready");
        notify::tell(notify::READY);
    });
    told_to_stop().await?;
    notify::tell(notify::STOPPING);
    tracing::info!("stopping: clients finish, then leaderships go to other nodes");
    close.send_replace(true);
    resp_server.await?;
    grpc_server.await??;
    node.shut_down().await;
    stop.send_replace(true);
    http_server.await??;
    peers_server.abort();
    Ok(())
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: is another node running there? Change `{key}`"))
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
