//! How a simulated machine's node comes up from its disk: founders as such, others by asking to be let in, as real ones do.

use super::{
    seat::{Joined, Seat},
    world::Death,
};
use sojourn_node::{
    env::{Env, Random, Spawn, Work},
    log::{Log, LogOptions, OpenError},
    peers::{
        Rpc, RpcOptions,
        simulated::{Living, SimulatedNetwork},
    },
    raft::{self, Life},
    region::{
        NodeOptions, RegionNode,
        entrance::{self, EntranceError, Foyer, Question},
        identity::{DataDirectory, Expected, IdentityError, NodeIdentity},
    },
};
use std::{io, path::Path, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// What a node is started with.
pub(super) struct Parts {
    pub env: Env,
    pub options: NodeOptions,
    pub network: SimulatedNetwork,
    pub seat: Seat,
    pub life: Life,
    pub death: Death,
    pub deaths: mpsc::UnboundedSender<Death>,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotStarted {
    #[error(transparent)]
    Log(#[from] OpenError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Entrance(#[from] EntranceError),
    #[error(transparent)]
    Region(#[from] io::Error),
}

/// The seams of every simulated node.
pub(super) struct Seams;

impl Random for Seams {
    fn next_u64(&self) -> u64 {
        raft::simulated_u64().unwrap_or(1)
    }
}

impl Spawn for Seams {
    fn spawn(&self, _name: &'static str, work: Work) {
        drop(raft::spawn(work));
    }

    fn spawn_blocking(&self, _name: &'static str, work: Work) {
        drop(raft::spawn(work));
    }
}

/// How long a node that nobody let in waits before it asks the next member.
const ASK_AGAIN_EVERY: Duration = Duration::from_millis(200);

/// A node that is up.
pub(super) struct Opened {
    pub node: RegionNode,
    /// What it has of other regions.
    pub joined: Option<Joined>,
}

/// Opens the log, finds the way into the region, starts the node and joins it to the other regions.
pub(super) async fn open(parts: Parts) -> Result<Opened, NotStarted> {
    let Parts { env, mut options, network, seat, life, death, deaths } = parts;
    let log_options = LogOptions {
        segment_bytes: 256 << 10,
        cache_bytes_max: 32 << 10,
        log_bytes_max: 8 << 20,
        ..LogOptions::new("/data/log")
    };
    let dying = life.clone();
    let on_fatal = Arc::new(move |_| {
        dying.end();
        // The world may be gone already.
        let _gone = deaths.send(death);
    });
    let log = Log::open(&env, log_options, on_fatal).await?;
    if !options.founder {
        let identity = enter(&env, &options, &seat, &network, &log).await?;
        (options.node, options.disk) = (identity.node, identity.disk);
    }
    let rpc = Rpc::new(env.clone(), Arc::new(network.node(options.node)), RpcOptions::default());
    rpc.serve(Arc::new(Foyer));
    network.attach(options.node, Some(Arc::new(Living { life: life.clone(), receiver: rpc.receiver() })));
    let gate = seat.gate(&env, options.node, &life, rpc.receiver());
    let node = RegionNode::start(env, log, rpc, options).await?;
    let joined = gate.and_then(|gate| seat.join(gate, &node));
    Ok(Opened { node, joined })
}

/// Who a node is that did not found the region: from its data directory, or by joining through one member after the other.
async fn enter(
    env: &Env,
    options: &NodeOptions,
    seat: &Seat,
    network: &SimulatedNetwork,
    log: &Log,
) -> Result<NodeIdentity, NotStarted> {
    let directory = DataDirectory::open(env.disk.clone(), Path::new("/data"))?;
    let known = directory.read(&Expected::default())?;
    directory.check_log(known.as_ref(), log)?;
    if let Some(identity) = known {
        return Ok(identity);
    }
    let asking = network.node(options.node);
    for member in options.founders.iter().cycle() {
        let question = Question::Join {
            region: Some(options.region_name.clone()),
            name: seat.name_of(options.node),
            addresses: options.addresses.clone(),
            disk: options.disk,
        };
        match entrance::join(&asking, &member.addresses.peers, question, options.disk).await {
            Ok((identity, _members)) => {
                directory.write(&identity).await?;
                return Ok(identity);
            }
            Err(error @ EntranceError::Refused { .. }) => return Err(error.into()),
            Err(EntranceError::NoAnswer(_) | EntranceError::Strange { .. } | EntranceError::Unfounded { .. }) => {
                tokio::time::sleep(ASK_AGAIN_EVERY).await;
            }
        }
    }
    Err(io::Error::other("a region without founders").into())
}
