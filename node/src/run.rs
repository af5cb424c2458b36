//! Puts a node together from its configuration and runs it until it is told to stop.

use crate::{
    api::Api,
    config::{Listen, NodeConfig, WorldSecret},
    engine::{EngineKind, StorageOptions},
    env::{Env, RealEnv, machine_memory_bytes, memory_bytes, raise_open_files},
    gateway::{
        self,
        grpc::GrpcOptions,
        http::{Endpoint, HttpOptions},
        resp::RespOptions,
        shares::Shares,
    },
    log::{Log, LogFailure, LogOptions},
    peers::{Calling, Identity, PeersServer, Roster, Rpc, RpcOptions, TcpEnquiry, TcpNetwork},
    raft::GroupOptions,
    region::{
        NodeOptions, RegionNode,
        backend::Backend,
        entrance::{self, Foyer, Question},
        identity::{DataDirectory, Expected, NodeIdentity},
    },
    security::certificates::Certificates,
    shard::ProposerOptions,
    telemetry::{Abroad, Metrics, notify},
    world::{
        self, Contacts, Gate,
        control::{Control, ControlOptions},
        geo::Geo,
        guide::{Alone, Guide, Region, Regions},
    },
};
use anyhow::Context;
use sojourn_core::{mint::MintKey, region::Member};
use std::{net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// What a node that starts does first.
const READING: &str = "it is reading its log and its state";

/// Runs a node until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting, with the mend.
pub async fn serve(config: NodeConfig) -> anyhow::Result<()> {
    let listeners = Listeners::bind(&config.listen).await?;
    let Listen { grpc, resp, http, .. } = config.listen;
    let mut running = Running::start(config, listeners).await?;
    let Shares { resp: redis_clients_max, grpc: grpc_connections_max, http: _ } = running.shares;
    let (node, number) = (&running.name, running.number);
    tracing::info!(%node, number, %grpc, %resp, %http, redis_clients_max, grpc_connections_max, "serving");
    let ready = running.node.clone();
    tokio::spawn(async move {
        ready.until_ready().await;
        tracing::info!("ready");
        notify::tell(notify::READY);
    });
    tokio::select! {
        told = told_to_stop() => told?,
        error = running.failed() => return Err(error),
    }
    notify::tell(notify::STOPPING);
    tracing::info!("stopping: leaderships go to other nodes, then clients finish");
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
    name: String,
    number: u64,
    /// How many connections its endpoints take.
    shares: Shares,
    node: RegionNode,
    /// The other regions, if there are some: as long as this lives they are followed.
    contacts: Option<Arc<Contacts>>,
    /// Its part in what they agree on.
    control: Option<Control>,
    /// Holds the data directory, and notes in it which world the node is of.
    remembers: JoinHandle<anyhow::Result<()>>,
    /// Ends the endpoints that take sessions' clients.
    close: watch::Sender<bool>,
    /// Ends the others.
    stop: watch::Sender<bool>,
    grpc: JoinHandle<Result<(), tonic::transport::Error>>,
    resp: JoinHandle<()>,
    http: JoinHandle<std::io::Result<()>>,
    peers: JoinHandle<()>,
}

impl Running {
    /// Starts a node on the current runtime. A log that fails later ends the process.
    ///
    /// # Errors
    /// What keeps it from starting, with the mend.
    pub async fn start(config: NodeConfig, listeners: Listeners) -> anyhow::Result<Self> {
        let env = RealEnv::current();
        let shares = Shares::of(raise_open_files())?;
        let (close, closing) = watch::channel(false);
        let (stop, stopped) = watch::channel(false);
        // Probes are answered from the beginning. What fails here drops `stop`, which ends it.
        let endpoint = Endpoint::new(READING);
        let http = tokio::spawn(endpoint.clone().serve(listeners.http, shares.http, is_set(stopped.clone())));
        let geo = match &config.geo.database {
            Some(file) => Geo::open(&env, file).await?,
            None => Geo::built_in()?,
        };
        let directory = DataDirectory::open(env.disk.clone(), &config.data_dir)?;
        let log_options =
            LogOptions { log_bytes_max: config.log_bytes_max, ..LogOptions::new(config.data_dir.join("log")) };
        let log = Log::open(&env, log_options, Arc::new(stop_at_once)).await?;
        let certificates = config.tls.as_ref().map(|files| Certificates::open(&env, files)).transpose()?;
        let neighbours = &config.abroad.neighbours;
        let calling = Calling { out: config.abroad.way_out.clone(), certificates: certificates.clone() };
        let gate = (!neighbours.is_empty()).then(|| {
            let gate = Gate::new(&env, neighbours.clone(), calling.clone());
            gate.comparing_every(config.abroad.digest_interval).sweeping_every(config.abroad.sweep_interval)
        });
        let door = (listeners.peers, gate.as_ref(), certificates);
        let entered = enter(&env, &config, &directory, &log, door, stopped, &endpoint).await?;
        let Entered { identity, rpc, peers } = entered;
        endpoint.waits_for(READING.to_owned());
        let own = own_region(&config, &identity);
        let contacts = gate.as_ref().map(|gate| gate.contacts(own.clone()));
        let regions: Arc<dyn Regions> = match &contacts {
            Some(contacts) => contacts.clone(),
            None => Arc::new(Alone::new(own)),
        };
        let abroad = gate.as_ref().map(|gate| Abroad { regions: regions.clone(), roster: gate.roster() });
        let guide = Arc::new(Guide::new(geo, regions, config.geo.guide.clone()));
        let options = node_options(&env, &config, &identity);
        let node = RegionNode::start(env, log, rpc, options).await?;
        let founding = ControlOptions { failover: config.abroad.failover, lease_ms: config.abroad.lease_ms };
        let control = gate.as_ref().zip(contacts.as_ref());
        let control = control.map(|(gate, contacts)| gate.control(node.clone(), contacts, founding));
        if let (Some(gate), Some(contacts), Some(control)) = (gate, contacts.clone(), control.clone()) {
            tokio::spawn(world::join(gate, node.clone(), contacts, control, Arc::new(TcpEnquiry(calling))));
        }
        let (name, number) = (config.name_of(Some(identity.node)), identity.node.0);
        let expected = (config.world, config.abroad.secret.as_ref().map(WorldSecret::mint_key));
        let remembers = tokio::spawn(remember_world(node.clone(), directory, identity, expected));
        let metrics = Arc::new(Metrics::new(node.clone(), abroad, control.clone())?);
        let (sessions, registry) = (Arc::new(metrics.measured()), metrics.registry().clone());
        endpoint.open(node.clone(), control.clone(), metrics, guide.clone(), HttpOptions { open: config.insecure });
        let api = Arc::new(Api::new(sessions.clone(), guide));
        let options = GrpcOptions { connections_max: shares.grpc, ..GrpcOptions::default() };
        let grpc = gateway::grpc::serve(listeners.grpc, api, options, closing.clone());
        let options = RespOptions {
            clients_max: shares.resp,
            cluster: config.resp_cluster,
            proxied: config.resp_proxy,
            memory_bytes,
            registry: Some(registry),
            ..RespOptions::default()
        };
        let resp = gateway::resp::serve(listeners.resp, sessions, options, is_set(closing));
        let (grpc, resp) = (tokio::spawn(grpc), tokio::spawn(resp));
        Ok(Self { name, number, shares, node, contacts, control, remembers, close, stop, grpc, resp, http, peers })
    }

    /// The node behind the endpoints.
    pub fn node(&self) -> &RegionNode {
        &self.node
    }

    /// Completes when the node cannot go on, with the reason.
    pub async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            ended = self.node.ended() => ended.into(),
            failed = &mut self.remembers => match failed {
                Ok(Err(error)) => error,
                Ok(Ok(())) => anyhow::anyhow!("the data directory was let go"),
                Err(error) => error.into(),
            },
        }
    }

    /// Hands leaderships to other nodes, lets clients finish, and ends.
    ///
    /// # Errors
    /// An endpoint had failed.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.node.hand_over().await;
        self.close.send_replace(true);
        self.resp.await?;
        self.grpc.await??;
        if let Some(control) = self.control {
            control.shut_down().await;
        }
        drop(self.contacts);
        self.node.shut_down().await;
        self.stop.send_replace(true);
        self.http.await??;
        // What is left of it are connections of peers that do not answer.
        self.peers.abort();
        self.remembers.abort();
        // Its port and its directory are free from here on.
        drop((self.peers.await, self.remembers.await));
        Ok(())
    }
}

fn own_region(config: &NodeConfig, identity: &NodeIdentity) -> Region {
    let name = identity.region_name.clone();
    Region { id: identity.region, coordinates: config.coordinates_of(&name), name, open: true }
}

fn node_options(env: &Env, config: &NodeConfig, identity: &NodeIdentity) -> NodeOptions {
    let world = Some(identity.world).filter(|world| *world != 0).or(config.world);
    NodeOptions {
        world: world.unwrap_or_else(|| env.random.next_u128().max(1)),
        region: identity.region,
        region_name: identity.region_name.clone(),
        coordinates: config.coordinates_of(&identity.region_name),
        node: identity.node,
        disk: identity.disk,
        addresses: config.addresses_of(Some(identity.node)),
        founder: identity.founder,
        founders: config.founders.clone(),
        mint_key: config.abroad.secret.as_ref().map(WorldSecret::mint_key),
        shard_count: config.shard_count,
        replicas: config.replicas,
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

/// A node that knows who it is and that others can reach.
struct Entered {
    identity: NodeIdentity,
    rpc: Rpc,
    peers: JoinHandle<()>,
}

/// Finds out who this node is: from its data directory, or by coming into a region for the first time.
async fn enter(
    env: &Env,
    config: &NodeConfig,
    directory: &DataDirectory,
    log: &Log,
    (peers, gate, certificates): (TcpListener, Option<&Gate>, Option<Arc<Certificates>>),
    stopped: watch::Receiver<bool>,
    endpoint: &Endpoint,
) -> anyhow::Result<Entered> {
    let calling = Calling { certificates: certificates.clone(), ..Calling::default() };
    let enquiry = TcpEnquiry(calling.clone());
    let region_name = config.region_given.then(|| config.region.1.clone());
    let expected = Expected { world: config.world, region_name: region_name.clone(), node: config.id };
    let known = directory.read(&expected)?;
    directory.check_log(known.as_ref(), log)?;
    let disk = known.as_ref().map_or_else(|| env.random.next_u128(), |identity| identity.disk);
    // A joining node is told its number before anybody can call it.
    let joined = match (&known, &config.join) {
        (None, Some(address)) => {
            endpoint.waits_for(format!("{address} has not let it join yet"));
            let (name, addresses) = (config.name_of(None), config.addresses_of(None));
            let question = Question::Join { region: region_name, name, addresses, disk };
            Some(entrance::join(&enquiry, address, question, disk).await?)
        }
        (Some(_), _) | (None, None) => None,
    };
    let settled = known.clone().or_else(|| joined.as_ref().map(|(identity, _)| identity.clone()));
    let node = settled.as_ref().map_or_else(|| config.founder_id(), |identity| identity.node);
    let roster = Arc::new(Roster::new(settled.as_ref().map_or(0, |identity| identity.world)));
    let members = joined.as_ref().map_or(&config.founders, |(_, members)| members);
    members.iter().for_each(|member| roster.expect(member.id, member.addresses.peers.clone()));
    let region_name = settled.as_ref().map_or(&config.region.1, |identity| &identity.region_name).clone();
    let caller = Identity { region: region_name, node, disk };
    let network = Arc::new(TcpNetwork::new(caller.clone(), roster.clone(), calling));
    let rpc = Rpc::new(env.clone(), network, RpcOptions::default());
    rpc.serve(Arc::new(Foyer));
    // Nodes ask each other while they start.
    let peers_server = PeersServer::new(caller, roster.clone(), rpc.receiver()).with_certificates(certificates);
    let peers_server = match gate {
        Some(gate) => peers_server.with_abroad(gate.roster(), gate.receiver()),
        None => peers_server,
    };
    let peers = tokio::spawn(peers_server.serve(peers, is_set(stopped)));
    let identity = match settled {
        Some(identity) => identity,
        None => {
            let region = (config.region.0, config.region.1.as_str());
            let founders = &config.founders;
            endpoint.waits_for(founders_wanted(founders));
            let (identity, members) = entrance::enter_as_founder(&enquiry, founders, region, node, disk).await?;
            members.iter().for_each(|member| roster.expect(member.id, member.addresses.peers.clone()));
            identity
        }
    };
    if known.is_none() {
        directory.write(&identity).await?;
        tracing::info!(node = node.0, region = identity.region_name, founder = identity.founder, "came in");
    }
    Ok(Entered { identity, rpc, peers })
}

fn founders_wanted(founders: &[Member]) -> String {
    let all: Vec<String> =
        founders.iter().map(|member| format!("{} at {}", member.name, member.addresses.peers)).collect();
    format!("a majority of the founders has not come yet; they are {}: do most of them run?", all.join(", "))
}

/// Writes down which world a founder founded. Never returns but with an error; holds the directory as long as it runs.
async fn remember_world(
    node: RegionNode,
    directory: DataDirectory,
    identity: NodeIdentity,
    (expected, mint_key): (Option<u128>, Option<MintKey>),
) -> anyhow::Result<()> {
    let world = node.founded().await;
    if let Some(expected) = expected.filter(|expected| *expected != world) {
        anyhow::bail!(
            "the region is of world {world:032x}, the configuration says {expected:032x}: correct `region.world`"
        );
    }
    if mint_key.is_some_and(|mint_key| mint_key != node.region().mint_key) {
        anyhow::bail!(
            "the region was founded with another `world.secret`, or without one: say that one, or found the region anew \
             with empty data directories, since its ids would be unknown to the others"
        );
    }
    if identity.world != world {
        directory.write(&NodeIdentity { world, ..identity }).await?;
    }
    std::future::pending::<()>().await;
    drop(directory);
    Ok(())
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
