//! Which region a simulated one is: alone, or one of several that a simulated wide-area network joins.

use sojourn_core::{
    NodeId, RegionId,
    mint::MintKey,
    region::{Addresses, Member},
};
use sojourn_node::{
    env::Env,
    peers::{AbroadRoster, Inbound, Receiver, simulated::Living, simulated::SimulatedNetwork},
    raft::{self, Life},
    region::RegionNode,
    world::{
        self, Contacts, Gate, Neighbour, StreamBounds,
        control::{Control, ControlOptions},
        guide::Region,
    },
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How often regions find out which tombstones are known everywhere, in virtual time.
const SWEEP_EVERY: Duration = Duration::from_millis(700);

/// A region's place in its world. Cheap to clone.
#[derive(Clone)]
pub struct Seat {
    /// Its number.
    pub region: RegionId,
    /// Its name.
    pub name: String,
    /// Nodes that found it.
    pub nodes: u64,
    /// Shards that share its slots.
    pub shards: u32,
    /// The other regions, if there are some.
    pub abroad: Option<Arc<Abroad>>,
}

/// The other regions of a region.
pub struct Abroad {
    /// The network between regions: nodes are known there by [`AbroadRoster::number`].
    pub network: SimulatedNetwork,
    /// What the configuration tells of them.
    pub neighbours: BTreeMap<RegionId, Neighbour>,
    /// How much streams carry at a time.
    pub bounds: StreamBounds,
    /// By which all regions know ids.
    pub mint_key: MintKey,
    /// What the world is founded with.
    pub founding: ControlOptions,
}

/// What a node has of the other regions, as long as it lives.
pub struct Joined {
    /// What it knows of them: as long as this lives they are followed.
    _contacts: Arc<Contacts>,
    /// Its part in what all regions agree on.
    pub control: Control,
}

impl Seat {
    /// A region that is alone.
    pub fn alone(nodes: u64, shards: u32) -> Self {
        Self { region: RegionId(0), name: "na".to_owned(), nodes, shards, abroad: None }
    }

    /// What a trace calls it; nothing if it is alone.
    pub fn label(&self) -> String {
        self.abroad.as_ref().map(|_| self.name.clone()).unwrap_or_default()
    }

    /// What a node is called.
    pub fn name_of(&self, node: NodeId) -> String {
        format!("{}-{}", self.name, node.0)
    }

    /// Where a node is reached: networks know nodes by their numbers.
    pub fn addresses(&self, node: NodeId) -> Addresses {
        let number = if self.abroad.is_some() { AbroadRoster::number(self.region, node) } else { node };
        Addresses { peers: number.0.to_string(), ..Addresses::default() }
    }

    /// A founder as the founding writes it down.
    pub fn founder(&self, node: NodeId) -> Member {
        let (name, addresses) = (self.name_of(node), self.addresses(node));
        Member { id: node, name, addresses, draining: false, disk: Some(u128::from(node.0)) }
    }

    /// See [`Abroad::mint_key`].
    pub fn mint_key(&self) -> Option<MintKey> {
        self.abroad.as_ref().map(|abroad| abroad.mint_key.clone())
    }

    /// The gate of a node that starts; `questions` answers those that come over the same network.
    pub fn gate(&self, env: &Env, node: NodeId, life: &Life, questions: Arc<dyn Receiver>) -> Option<Gate> {
        let abroad = self.abroad.as_ref()?;
        let number = AbroadRoster::number(self.region, node);
        let network = abroad.network.node(number);
        let gate = Gate::over(env, abroad.neighbours.clone(), abroad.bounds, |_| Arc::new(network));
        let gate = gate.sweeping_every(SWEEP_EVERY);
        let receiver = Arc::new(Porch { frames: gate.receiver(), questions });
        abroad.network.attach(number, Some(Arc::new(Living { life: life.clone(), receiver })));
        Some(gate)
    }

    /// Joins a node to the other regions, if there are some, as long as what is returned lives.
    pub fn join(&self, gate: Gate, node: &RegionNode) -> Option<Joined> {
        let abroad = self.abroad.as_ref()?;
        let (_, _, number) = node.identity();
        let contacts =
            gate.contacts(Region { id: self.region, name: self.name.clone(), coordinates: None, open: true });
        let enquiry = Arc::new(abroad.network.node(AbroadRoster::number(self.region, number)));
        let control = gate.control(node.clone(), &contacts, abroad.founding);
        drop(raft::spawn(world::join(gate, node.clone(), contacts.clone(), control.clone(), enquiry)));
        Some(Joined { _contacts: contacts, control })
    }

    /// A node is down: nobody abroad reaches it.
    pub fn leave(&self, node: NodeId) {
        if let Some(abroad) = &self.abroad {
            abroad.network.attach(AbroadRoster::number(self.region, node), None);
        }
    }
}

/// Where a node is reached from other regions: calls of theirs, and questions of whoever looks for it.
struct Porch {
    frames: Arc<dyn Receiver>,
    questions: Arc<dyn Receiver>,
}

impl Receiver for Porch {
    fn receive(&self, inbound: Inbound) {
        self.frames.receive(inbound);
    }

    fn asked(&self, question: bytes::Bytes) -> futures::future::BoxFuture<'static, Option<Vec<u8>>> {
        self.questions.asked(question)
    }
}
