//! Where the nodes of other regions are, and who leads what there: asked again and again.

use super::{
    Neighbour,
    guide::{Region, Regions},
};
use crate::{
    peers::{AbroadRoster, Enquiry},
    region::{
        RegionNode,
        backend::Backend,
        entrance::{Answer, Question, Whereabouts},
    },
};
use bytes::Bytes;
use parking_lot::Mutex;
use sojourn_core::{
    NamespaceId, NodeId, RegionId, ShardId, Slot,
    control::{self, ControlState, Phase},
    region::RegionState,
};
use sojourn_proto::wire::{decode_all, encode};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
    time::Duration,
};

/// How often each region is asked.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// How soon again while one has not answered yet.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// What a node knows of the other regions.
pub struct Contacts {
    own: Region,
    neighbours: BTreeMap<RegionId, Neighbour>,
    roster: Arc<AbroadRoster>,
    known: Mutex<BTreeMap<RegionId, Arc<Whereabouts>>>,
    /// The same for those who look for a home.
    regions: Mutex<Arc<[Region]>>,
    /// When each region last answered, by this node's boot clock.
    heard: Mutex<BTreeMap<RegionId, Duration>>,
    /// Regions that do not act for themselves now, or are being drained: they take no new sessions.
    closed: Mutex<BTreeSet<RegionId>>,
    /// What the world agrees on, as this node has heard.
    agreed: Mutex<Option<Arc<ControlState>>>,
    /// What was wrong with a region's answer, so that it is said once.
    complaints: Mutex<BTreeMap<RegionId, String>>,
}

impl Contacts {
    pub(super) fn new(own: Region, neighbours: BTreeMap<RegionId, Neighbour>, roster: Arc<AbroadRoster>) -> Self {
        let regions = Mutex::new(regions(&own, &neighbours, &BTreeMap::new(), &BTreeSet::new()));
        let (known, heard, closed, complaints) =
            (Mutex::default(), Mutex::default(), Mutex::default(), Mutex::default());
        let agreed = Mutex::default();
        Self { own, neighbours, roster, known, regions, heard, closed, agreed, complaints }
    }

    /// All other regions.
    pub fn others(&self) -> Vec<RegionId> {
        self.neighbours.keys().copied().collect()
    }

    /// The names of the regions that have never answered as they should, with what was wrong.
    pub(super) fn unmet(&self) -> Vec<(String, Option<String>)> {
        let (known, complaints) = (self.known.lock(), self.complaints.lock());
        let unmet = self.neighbours.iter().filter(|(region, _)| !known.contains_key(region));
        unmet.map(|(region, neighbour)| (neighbour.name.clone(), complaints.get(region).cloned())).collect()
    }

    /// Where the nodes of a region are, if it has answered.
    pub fn whereabouts(&self, region: RegionId) -> Option<Arc<Whereabouts>> {
        self.known.lock().get(&region).cloned()
    }

    /// When a region last answered, by this node's boot clock.
    pub(super) fn heard(&self, region: RegionId) -> Option<Duration> {
        self.heard.lock().get(&region).copied()
    }

    /// The number of the node that speaks for a region in the control group, as far as the region has said.
    pub(super) fn voter(&self, region: RegionId) -> Option<NodeId> {
        Some(AbroadRoster::number(region, self.whereabouts(region)?.voter?))
    }

    /// The numbers of the nodes of a region, the leader of a slot's shard first.
    pub(super) fn nodes_for(&self, region: RegionId, slot: Slot) -> Vec<NodeId> {
        let Some(known) = self.whereabouts(region) else { return Vec::new() };
        let leader = known.shard(slot).and_then(|shard| known.leaders.get(&shard)).copied();
        let others = known.nodes.keys().copied().filter(|node| Some(*node) != leader);
        leader.into_iter().chain(others).map(|node| AbroadRoster::number(region, node)).collect()
    }

    /// Asks the nodes that are known, else the entrances, one after the other; whether one answered.
    async fn ask(&self, region: RegionId, enquiry: &dyn Enquiry, ours: &RegionState) -> bool {
        let Some(neighbour) = self.neighbours.get(&region) else { return false };
        let known = self.whereabouts(region);
        let nodes = known.iter().flat_map(|known| known.nodes.values());
        let addresses: Vec<&String> = nodes.chain(&neighbour.entrances).collect();
        let question = Bytes::from(encode(&Question::Whereabouts));
        for address in addresses {
            let Ok(bytes) = enquiry.ask(address.clone(), question.clone()).await else { continue };
            match decode_all(&bytes) {
                Ok(Answer::Whereabouts(whereabouts)) => match self.check(region, neighbour, &whereabouts, ours) {
                    Ok(()) => {
                        self.learn(region, *whereabouts);
                        return true;
                    }
                    Err(complaint) => self.complain(region, address, complaint),
                },
                // It is not in its region yet.
                Ok(_) => {}
                Err(error) => self.complain(region, address, format!("it does not answer as a node does ({error})")),
            }
        }
        false
    }

    fn check(
        &self,
        region: RegionId,
        neighbour: &Neighbour,
        told: &Whereabouts,
        ours: &RegionState,
    ) -> Result<(), String> {
        let world = self.roster.identity().map_or(0, |identity| identity.world);
        if told.world != world {
            return Err(format!(
                "it is of world {:032x}, this node of {world:032x}: all regions of a world have the same `region.world`",
                told.world
            ));
        }
        if told.region != (region, neighbour.name.clone()) {
            return Err(format!(
                "it is of region {}:{}, `world.regions` says {}:{}: correct the address or the region",
                told.region.0.0, told.region.1, region.0, neighbour.name
            ));
        }
        let differs = |(id, name): &(&NamespaceId, &String)| {
            ours.namespaces.get(*id).is_some_and(|namespace| namespace.name != **name)
        };
        if let Some((id, name)) = told.namespaces.iter().find(differs) {
            return Err(format!(
                "its namespace {} is called {name}, which is the number of another one here. Start one of both regions without \
                 `world.regions`, drop it there with `sojourn namespace drop`, which ends its sessions, and create it again",
                id.0
            ));
        }
        Ok(())
    }

    fn learn(&self, region: RegionId, whereabouts: Whereabouts) {
        self.roster.learn(region, &whereabouts.nodes);
        self.complaints.lock().remove(&region);
        let mut known = self.known.lock();
        let earlier = known.get(&region);
        // The same as long as nothing changes.
        if earlier.is_some_and(|earlier| **earlier == whereabouts) {
            return;
        }
        if earlier.is_none() {
            tracing::info!(region = region.0, "met another region");
        }
        known.insert(region, Arc::new(whereabouts));
        self.note(&known, &self.closed.lock());
    }

    /// The numbers of all nodes of other regions that are known.
    pub(super) fn nodes(&self) -> BTreeSet<NodeId> {
        let known = self.known.lock();
        let nodes = |(region, known): (&RegionId, &Arc<Whereabouts>)| {
            let region = *region;
            known.nodes.keys().map(move |node| AbroadRoster::number(region, *node)).collect::<Vec<_>>()
        };
        known.iter().flat_map(nodes).collect()
    }

    /// Takes note of which regions act for themselves.
    pub(super) fn see(&self, world: Arc<ControlState>) {
        let known = self.known.lock();
        let mut closed = self.closed.lock();
        let is_closed = |region: &&control::Region| region.phase != Phase::Serving || region.draining;
        *closed = world.regions.values().filter(is_closed).map(|region| region.id).collect();
        self.note(&known, &closed);
        drop((known, closed));
        *self.agreed.lock() = Some(world);
    }

    /// Whether this region may take in what `teller` says of a home for which it acts under `epoch`, as far as this node has heard:
    /// see [`control::Region::may_take_in`].
    pub(super) fn may_take_in(&self, home: RegionId, teller: RegionId, epoch: u32) -> bool {
        let agreed = self.agreed.lock();
        let home = agreed.as_ref().and_then(|world| world.regions.get(&home));
        home.is_some_and(|home| home.may_take_in(self.own.id, teller, epoch))
    }

    fn note(&self, known: &BTreeMap<RegionId, Arc<Whereabouts>>, closed: &BTreeSet<RegionId>) {
        let now = regions(&self.own, &self.neighbours, known, closed);
        let mut regions = self.regions.lock();
        // The same as long as nothing changes.
        if *regions != now {
            *regions = now;
        }
    }

    fn complain(&self, region: RegionId, address: &str, complaint: String) {
        let mut complaints = self.complaints.lock();
        if complaints.get(&region) != Some(&complaint) {
            tracing::error!(region = region.0, address, reason = complaint, "not taken for a node of another region");
            complaints.insert(region, complaint);
        }
    }
}

/// All regions; those that were not met yet, or do not act for themselves, take no new sessions.
fn regions(
    own: &Region,
    neighbours: &BTreeMap<RegionId, Neighbour>,
    known: &BTreeMap<RegionId, Arc<Whereabouts>>,
    closed: &BTreeSet<RegionId>,
) -> Arc<[Region]> {
    let others = neighbours.iter().map(|(id, Neighbour { name, .. })| {
        let met = known.get(id);
        let coordinates = met.and_then(|met| met.coordinates);
        Region { id: *id, name: name.clone(), coordinates, open: met.is_some() && !closed.contains(id) }
    });
    let own = Region { open: own.open && !closed.contains(&own.id), ..own.clone() };
    others.chain([own]).collect()
}

impl Regions for Contacts {
    fn regions(&self) -> Arc<[Region]> {
        self.regions.lock().clone()
    }

    fn own(&self) -> RegionId {
        self.own.id
    }
}

impl Whereabouts {
    /// The shard of a slot.
    pub fn shard(&self, slot: Slot) -> Option<ShardId> {
        let range = self.slots.iter().find(|((first, last), _)| (*first..=*last).contains(&slot));
        range.map(|(_, shard)| *shard)
    }
}

/// Keeps asking one region until the node is gone. Each has a task of its own: one that does not answer holds up no other.
pub(super) async fn run_contact(
    node: RegionNode,
    contacts: Weak<Contacts>,
    region: RegionId,
    enquiry: Arc<dyn Enquiry>,
) {
    while let Some(contacts) = contacts.upgrade() {
        if contacts.ask(region, &*enquiry, &node.region()).await {
            contacts.heard.lock().insert(region, node.env().clock.boot());
        }
        let has_met = contacts.whereabouts(region).is_some();
        drop(contacts);
        tokio::time::sleep(if has_met { ASK_EVERY } else { ASK_AGAIN_AFTER }).await;
    }
}
