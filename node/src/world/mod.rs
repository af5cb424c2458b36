//! The world: this region among others.
//!
//! Every node knows where the nodes of the other regions are (`contacts`). The leader of a shard follows the shards of other
//! regions (`follow`), whose leaders send what changes (`sources`); requests for sessions that another region orders go there
//! (`homes`). What all regions agree on is kept by one group across them (`control`); what follows
//! from it for the shards of this region is done by `handover`, for its namespaces by `namespaces`. Which tombstones are known
//! everywhere, and so may be forgotten, `tombs` finds out.

mod calls;
mod compare;
mod contacts;
pub mod control;
mod door;
mod follow;
pub mod geo;
pub mod guide;
mod handover;
mod homes;
mod namespaces;
pub mod origin;
mod packing;
mod sources;
mod tombs;

pub use contacts::Contacts;
pub use sources::StreamBounds;

use crate::{
    env::Env,
    peers::{
        AbroadIdentity, AbroadNetwork, AbroadRoster, Calling, Enquiry, Inbound, Network, Receiver, Rpc, RpcOptions,
        Traffic,
    },
    region::RegionNode,
};
use contacts::run_contact;
use control::{Agreement, Control, ControlOptions};
use door::Door;
use follow::{Followers, run_followers};
use guide::Region;
use homes::Homes;
use namespaces::run_namespaces;
use sojourn_core::RegionId;
use sources::Sources;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tombs::Caretaker;

/// Another region as the configuration tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name.
    pub name: String,
    /// Peers addresses of some of its nodes, to ask for the others.
    pub entrances: Vec<String>,
}

/// The way to other regions, before this node knows who it is.
pub struct Gate {
    neighbours: BTreeMap<RegionId, Neighbour>,
    roster: Arc<AbroadRoster>,
    rpc: Rpc,
    bounds: StreamBounds,
    compare_every: Duration,
    sweep_every: Duration,
}

/// How often copies are compared if nothing else is said.
pub const COMPARE_EVERY: Duration = Duration::from_secs(60);

/// How often a region finds out which tombstones are known everywhere if nothing else is said.
pub const SWEEP_EVERY: Duration = Duration::from_secs(60);

impl Gate {
    /// The gate to these regions; `calling` opens connections to them.
    pub fn new(env: &Env, neighbours: BTreeMap<RegionId, Neighbour>, calling: Calling) -> Self {
        let network = |roster| Arc::new(AbroadNetwork::new(roster, calling)) as Arc<dyn Network>;
        Self::over(env, neighbours, StreamBounds::default(), network)
    }

    /// The same over another network, with streams of other sizes: for simulations.
    pub fn over(
        env: &Env,
        neighbours: BTreeMap<RegionId, Neighbour>,
        bounds: StreamBounds,
        network: impl FnOnce(Arc<AbroadRoster>) -> Arc<dyn Network>,
    ) -> Self {
        let names = neighbours.iter().map(|(id, neighbour)| (*id, neighbour.name.clone())).collect();
        let roster = Arc::new(AbroadRoster::new(names));
        let rpc = Rpc::new(env.clone(), network(roster.clone()), RpcOptions::default());
        Self { neighbours, roster, rpc, bounds, compare_every: COMPARE_EVERY, sweep_every: SWEEP_EVERY }
    }

    /// Compares every copy with what its region has once in so long.
    #[must_use]
    pub fn comparing_every(self, compare_every: Duration) -> Self {
        Self { compare_every, ..self }
    }

    /// Finds out which tombstones are known everywhere once in so long.
    #[must_use]
    pub fn sweeping_every(self, sweep_every: Duration) -> Self {
        Self { sweep_every, ..self }
    }

    /// What is known of the other regions; nothing at first.
    pub fn contacts(&self, own: Region) -> Arc<Contacts> {
        Arc::new(Contacts::new(own, self.neighbours.clone(), self.roster.clone()))
    }

    /// The part of `node` in what the world agrees on.
    pub fn control(&self, node: RegionNode, contacts: &Arc<Contacts>, options: ControlOptions) -> Control {
        Control::new(node, self.rpc.clone(), contacts, options)
    }

    /// Who may call from other regions.
    pub fn roster(&self) -> Arc<AbroadRoster> {
        self.roster.clone()
    }

    /// Where their frames go.
    pub fn receiver(&self) -> Arc<dyn Receiver> {
        Arc::new(Counted { roster: self.roster.clone(), receiver: self.rpc.receiver() })
    }
}

/// Counts what comes from other regions.
struct Counted {
    roster: Arc<AbroadRoster>,
    receiver: Arc<dyn Receiver>,
}

/// A frame's length, before it.
const LENGTH_BYTES: u64 = 4;

impl Receiver for Counted {
    fn receive(&self, inbound: Inbound) {
        if let Inbound::Frame { from, bytes, .. } = &inbound {
            let received_bytes = bytes.len() as u64 + LENGTH_BYTES;
            self.roster.count(*from, Traffic { sent_bytes: 0, received_bytes });
        }
        self.receiver.receive(inbound);
    }
}

/// Joins `node` to the other regions, once it knows of the founding of its own, until `contacts` are dropped.
pub async fn join(gate: Gate, node: RegionNode, contacts: Arc<Contacts>, control: Control, enquiry: Arc<dyn Enquiry>) {
    let Gate { neighbours: _, roster, rpc, bounds, compare_every, sweep_every } = gate;
    let world = node.founded().await;
    let (region, region_name, number) = node.identity();
    roster.introduce(AbroadIdentity { world, region: region.0, region_name, node: number.0 });
    let followers = Arc::new(Followers::default());
    let sources = Sources::new(node.clone(), rpc.clone(), bounds);
    rpc.serve(Arc::new(Door::new(node.clone(), sources, followers.clone(), control.doorway())));
    node.open(Arc::new(Homes::new(rpc.clone(), contacts.clone())), control.watch());
    control.start(world).await;
    let agreement: Arc<dyn Agreement> = Arc::new(control);
    handover::start(&node, &contacts, &rpc, &agreement);
    let env = node.env().clone();
    let (known, calls) = (Arc::downgrade(&contacts), rpc.clone());
    let caretaker =
        Caretaker { node: node.clone(), contacts: known, rpc: calls, agreement: agreement.clone(), every: sweep_every };
    env.spawn("world-tombs", caretaker.run());
    let others = contacts.others();
    let contacts = Arc::downgrade(&contacts);
    env.spawn("world-namespaces", run_namespaces(node.clone(), contacts.clone(), agreement));
    for region in others {
        env.spawn("world-contact", run_contact(node.clone(), contacts.clone(), region, enquiry.clone()));
    }
    let (streams, how) = ((rpc, followers), (bounds, compare_every));
    env.spawn("world-followers", run_followers(node, contacts, streams, how));
}
