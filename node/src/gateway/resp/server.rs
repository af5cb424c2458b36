//! The endpoint: takes connections, and holds what they share.

use super::{
    clients::{Client, Clients, Push},
    commands::Loaded,
    connection::Connection,
    figures,
    hub::Hub,
    proxied,
    quota::Quota,
    stats::Stats,
};
use crate::{
    region::backend::{Backend, Topology},
    security::password::Passwords,
};
use parking_lot::Mutex;
use sojourn_core::policy::Namespace;
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
};

/// What an operator decides about an endpoint.
#[derive(Clone)]
pub struct RespOptions {
    /// The most connections; more are told so and closed.
    pub clients_max: usize,
    /// Whether to answer `-MOVED` for keys of other nodes, as cluster-aware clients expect. Without it every node answers for
    /// every key.
    pub cluster: bool,
    /// Whether each connection begins with a PROXY header of version 2, which says whose it is.
    pub proxied: bool,
    /// What a connection may do beside reading and writing sessions.
    pub permissions: Arc<dyn Fn(&Namespace, IpAddr) -> Permissions + Send + Sync>,
    /// The memory of the process in bytes, for `INFO`; 0 where nobody knows.
    pub memory_bytes: fn() -> u64,
    /// Where its figures go, for metrics.
    pub registry: Option<prometheus::Registry>,
    /// How long connections may finish what they are doing when the node stops.
    pub stop_within: Duration,
}

/// See [`RespOptions::permissions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// `FLUSHDB` and `FLUSHALL`: all sessions of the namespace.
    pub flush: bool,
    /// `MONITOR`, `CLIENT KILL`, `SLOWLOG`: what other clients do.
    pub watch_others: bool,
    /// Whether `MONITOR` shows ids and values as they are rather than hashed.
    pub show_ids: bool,
}

impl Default for RespOptions {
    fn default() -> Self {
        Self {
            clients_max: 20_000,
            cluster: false,
            proxied: false,
            permissions: Arc::new(|_, peer| Permissions {
                flush: true,
                watch_others: peer.to_canonical().is_loopback(),
                show_ids: false,
            }),
            memory_bytes: || 0,
            registry: None,
            stop_within: Duration::from_secs(2),
        }
    }
}

/// What the connections of one endpoint share.
pub struct Server {
    /// The region.
    pub backend: Arc<dyn Backend>,
    /// What the operator decided.
    pub options: RespOptions,
    /// Numbers.
    pub stats: Stats,
    /// Connections.
    pub clients: Arc<Clients>,
    /// Subscriptions.
    pub hub: Arc<Hub>,
    /// Passwords that were right.
    pub passwords: Passwords,
    /// What namespaces hold, for their limits.
    pub quota: Arc<Quota>,
    /// Revocation epochs that refusals told, by namespace and user.
    pub epochs: Epochs,
    /// Scripts that clients loaded.
    pub scripts: Loaded,
    /// Where it listens.
    pub address: SocketAddr,
    hashing: RandomState,
}

impl Server {
    /// An endpoint at `address` that nobody is connected to.
    pub fn new(backend: Arc<dyn Backend>, options: RespOptions, address: SocketAddr) -> Arc<Self> {
        let mut key = [0; 32];
        for chunk in key.chunks_mut(8) {
            chunk.copy_from_slice(&backend.random_u64().to_le_bytes());
        }
        Arc::new(Self {
            backend,
            options,
            stats: Stats::default(),
            clients: Arc::default(),
            hub: Arc::default(),
            passwords: Passwords::new(key),
            quota: Arc::default(),
            epochs: Epochs::default(),
            scripts: Loaded::default(),
            address,
            hashing: RandomState::new(),
        })
    }

    /// What is shown instead of an id: the same for the same id, on this node, until it restarts.
    pub fn hidden(&self, id: &[u8]) -> String {
        format!("#{:016x}", self.hashing.hash_one(id))
    }

    /// Serves one connection until its client leaves, `Push::Stop` comes, or an error ends it. The stream may be anything
    /// that carries bytes, so that TLS needs nothing here. Whoever spawns the future tells the client by
    /// [`Client::runs_in`].
    pub fn connect<S>(
        self: &Arc<Self>,
        stream: S,
        peer: SocketAddr,
    ) -> (Arc<Client>, impl Future<Output = ()> + Send + use<S>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.stats.connections.fetch_add(1, Relaxed);
        let (client, inbox) = Client::new(self.clients.next_id(), peer, self.address);
        let connected = self.clients.add(Arc::clone(&client));
        let connection = Connection::new(stream, Arc::clone(&client), inbox, Arc::clone(self));
        let run = async move {
            let _connected = connected;
            connection.run().await;
        };
        (client, run)
    }

    /// What this node knows of the region.
    pub fn topology(&self) -> Arc<Topology> {
        self.backend.topology()
    }
}

/// Revocation epochs above 0 of users, as far as this node met them.
///
/// A Redis client knows nothing of epochs: its writes carry the one that the node last heard of. Too low a one is refused,
/// and the refusal tells the right one.
#[derive(Debug, Default)]
pub struct Epochs(Mutex<BTreeMap<(u32, Box<[u8]>), u64>>);

impl Epochs {
    /// Users that are remembered.
    const USERS_MAX: usize = 10_000;

    /// The epoch of `user`.
    pub fn get(&self, namespace: u32, user: &[u8]) -> u64 {
        let epochs = self.0.lock();
        if epochs.is_empty() {
            return 0;
        }
        epochs.get(&(namespace, user.into())).copied().unwrap_or(0)
    }

    /// Remembers it.
    pub fn set(&self, namespace: u32, user: &[u8], epoch: u64) {
        let mut epochs = self.0.lock();
        if epochs.len() >= Self::USERS_MAX {
            epochs.clear();
        }
        epochs.insert((namespace, user.into()), epoch);
    }
}

/// Serves Redis clients on `listener` until `shutdown` completes; then lets connections finish and returns.
pub async fn serve(
    listener: TcpListener,
    backend: Arc<dyn Backend>,
    options: RespOptions,
    shutdown: impl Future<Output = ()> + Send,
) {
    let Ok(address) = listener.local_addr() else {
        tracing::error!("the socket for Redis clients has no address");
        return;
    };
    let server = Server::new(backend, options, address);
    if let Some(Err(error)) = server.options.registry.as_ref().map(|registry| figures::register(&server, registry)) {
        tracing::warn!(%error, "the figures of this endpoint are missing from the metrics");
    }
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => accept(&server, &mut connections, stream, peer),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; raise the limit of open files if it says so");
                    // The connection stays in the listener's queue, so the error would return at once.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    stop(&server, connections).await;
}

/// How long to wait after `accept` failed for want of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

fn accept(server: &Arc<Server>, connections: &mut JoinSet<()>, stream: TcpStream, peer: SocketAddr) {
    if connections.len() >= server.options.clients_max {
        server.stats.rejected.fetch_add(1, Relaxed);
        // A fresh socket's buffer takes these bytes at once.
        tokio::spawn(async move {
            let mut stream = stream;
            drop(stream.write_all(b"-ERR max number of clients reached\r\n").await);
        });
        return;
    }
    tune(&stream);
    if server.options.proxied {
        let (tell, told) = oneshot::channel();
        let task = connections.spawn(proxied::serve(Arc::clone(server), stream, peer, told));
        // It may have ended already.
        let _ended = tell.send(task);
        return;
    }
    let (client, connection) = server.connect(stream, peer);
    client.runs_in(connections.spawn(connection));
}

/// Replies go out at once, and clients that vanished are noticed after a few minutes.
fn tune(stream: &TcpStream) {
    let tuned = stream.set_nodelay(true).and_then(|()| {
        rustix::net::sockopt::set_socket_keepalive(stream, true)?;
        rustix::net::sockopt::set_tcp_keepidle(stream, KEEPALIVE_AFTER)?;
        Ok(())
    });
    if let Err(error) = tuned {
        tracing::debug!(%error, "cannot tune a connection");
    }
}

/// As Redis's `tcp-keepalive`.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(300);

async fn stop(server: &Arc<Server>, mut connections: JoinSet<()>) {
    let stop = Arc::new(Push::Stop);
    for client in server.clients.list() {
        client.push(&stop);
    }
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(server.options.stop_within, finished).await.is_err() {
        connections.shutdown().await;
    }
}
