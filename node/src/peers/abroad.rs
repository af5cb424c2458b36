//! Who is in the other regions of the world and where, and whose calls from there are taken.
//!
//! Between regions a node has a number that says its region too, so that the calls of a world are those of a region over
//! another network.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sojourn_core::{NodeId, RegionId};
use std::collections::BTreeMap;

/// Who a node is to nodes of other regions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbroadIdentity {
    /// The world; nodes of another are refused.
    pub world: u128,
    /// The region's number.
    pub region: u16,
    /// The region's name.
    pub region_name: String,
    /// The node's number in its region.
    pub node: u64,
}

/// What a node knows of the nodes of other regions.
#[derive(Default)]
pub struct AbroadRoster {
    known: Mutex<Known>,
    /// By region.
    traffic: Mutex<BTreeMap<RegionId, Traffic>>,
}

/// What went between this node and the nodes of a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From this node.
    pub sent_bytes: u64,
    /// To it.
    pub received_bytes: u64,
}

#[derive(Default)]
struct Known {
    /// Of this node; none until it knows.
    identity: Option<AbroadIdentity>,
    /// The other regions' names.
    names: BTreeMap<RegionId, String>,
    addresses: BTreeMap<NodeId, String>,
}

/// Why a caller from another region is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AbroadStranger {
    /// This node does not know yet who it is.
    #[error("the node is starting")]
    Starting,
    /// It belongs to another world.
    #[error(
        "the caller is of world {theirs:032x}, this node of {ours:032x}: all regions of a world have the same `region.world`"
    )]
    World {
        /// The caller's.
        theirs: u128,
        /// This node's.
        ours: u128,
    },
    /// It has this region's number or name.
    #[error(
        "the caller says that it is of region {}:{name}, which is this one: give each region of the world a `region.id` and \
         a `region.name` of its own", id.0
    )]
    SameRegion {
        /// The number.
        id: RegionId,
        /// The name.
        name: String,
    },
    /// Nobody told this node of its region.
    #[error(
        "the caller is of region {}:{name}, which `world.regions` of this node does not list: correct the one of both that is \
         wrong", id.0
    )]
    UnknownRegion {
        /// The number.
        id: RegionId,
        /// The name.
        name: String,
    },
}

/// Numbers of nodes in their regions are below this.
const NODES_BITS: u32 = 48;

impl AbroadRoster {
    /// A roster of a world with these other regions.
    pub fn new(names: BTreeMap<RegionId, String>) -> Self {
        let roster = Self::default();
        roster.known.lock().names = names;
        roster
    }

    /// The number by which a node is called from other regions.
    pub fn number(region: RegionId, node: NodeId) -> NodeId {
        NodeId((u64::from(region.0) + 1) << NODES_BITS | node.0)
    }

    /// The region that such a number says.
    pub fn region_of(number: NodeId) -> Option<RegionId> {
        u16::try_from((number.0 >> NODES_BITS).checked_sub(1)?).ok().map(RegionId)
    }

    /// The node's number in its region.
    pub fn node_of(number: NodeId) -> NodeId {
        NodeId(number.0 & ((1 << NODES_BITS) - 1))
    }

    /// Says who this node is.
    pub fn introduce(&self, identity: AbroadIdentity) {
        self.known.lock().identity = Some(identity);
    }

    /// Who this node is, if it knows.
    pub fn identity(&self) -> Option<AbroadIdentity> {
        self.known.lock().identity.clone()
    }

    /// Notes where the nodes of a region listen for others, instead of what was known.
    pub fn learn(&self, region: RegionId, nodes: &BTreeMap<NodeId, String>) {
        let addresses = &mut self.known.lock().addresses;
        addresses.retain(|number, _| Self::region_of(*number) != Some(region));
        addresses.extend(nodes.iter().map(|(node, address)| (Self::number(region, *node), address.clone())));
    }

    /// Where the node with this number listens.
    pub fn address(&self, number: NodeId) -> Option<String> {
        self.known.lock().addresses.get(&number).cloned()
    }

    /// Counts what went to a node, or came from it.
    pub fn count(&self, number: NodeId, Traffic { sent_bytes, received_bytes }: Traffic) {
        let Some(region) = Self::region_of(number) else { return };
        let mut traffic = self.traffic.lock();
        let known = traffic.entry(region).or_default();
        known.sent_bytes += sent_bytes;
        known.received_bytes += received_bytes;
    }

    /// What went to and came from each region so far.
    pub fn traffic(&self) -> BTreeMap<RegionId, Traffic> {
        self.traffic.lock().clone()
    }

    /// The number of a caller that may call.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(&self, caller: &AbroadIdentity) -> Result<NodeId, AbroadStranger> {
        let known = self.known.lock();
        let this = known.identity.as_ref().ok_or(AbroadStranger::Starting)?;
        if caller.world != this.world {
            return Err(AbroadStranger::World { theirs: caller.world, ours: this.world });
        }
        let (id, name) = (RegionId(caller.region), caller.region_name.clone());
        if caller.region == this.region || caller.region_name == this.region_name {
            return Err(AbroadStranger::SameRegion { id, name });
        }
        if known.names.get(&id) != Some(&name) {
            return Err(AbroadStranger::UnknownRegion { id, name });
        }
        Ok(Self::number(id, NodeId(caller.node)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(world: u128, region: u16, name: &str) -> AbroadIdentity {
        AbroadIdentity { world, region, region_name: name.to_owned(), node: 5 }
    }

    #[test]
    fn a_caller_must_be_of_the_world_and_of_a_region_that_is_listed() {
        let roster = AbroadRoster::new([(RegionId(1), "eu".to_owned())].into());
        let eu = identity(7, 1, "eu");
        assert_eq!(roster.check(&eu), Err(AbroadStranger::Starting));
        roster.introduce(identity(7, 0, "na"));
        let number = roster.check(&eu).expect("welcome");
        assert_eq!(AbroadRoster::region_of(number), Some(RegionId(1)));
        assert_eq!(number, AbroadRoster::number(RegionId(1), NodeId(5)));
        assert_eq!(AbroadRoster::node_of(number), NodeId(5));
        let same = |id, name: &str| Err(AbroadStranger::SameRegion { id: RegionId(id), name: name.to_owned() });
        assert_eq!(roster.check(&identity(8, 1, "eu")), Err(AbroadStranger::World { theirs: 8, ours: 7 }));
        assert_eq!(roster.check(&identity(7, 0, "eu")), same(0, "eu"));
        assert_eq!(roster.check(&identity(7, 1, "na")), same(1, "na"));
        let unknown = Err(AbroadStranger::UnknownRegion { id: RegionId(2), name: "apac".to_owned() });
        assert_eq!(roster.check(&identity(7, 2, "apac")), unknown);
    }

    #[test]
    fn traffic_is_counted_for_each_region() {
        let roster = AbroadRoster::default();
        let sent = |sent_bytes| Traffic { sent_bytes, ..Traffic::default() };
        roster.count(AbroadRoster::number(RegionId(1), NodeId(5)), sent(10));
        roster.count(AbroadRoster::number(RegionId(1), NodeId(6)), Traffic { received_bytes: 7, ..sent(1) });
        roster.count(NodeId(3), sent(99));
        let expected = Traffic { sent_bytes: 11, received_bytes: 7 };
        assert_eq!(roster.traffic(), [(RegionId(1), expected)].into());
    }

    #[test]
    fn addresses_of_a_region_replace_those_that_were_known() {
        let roster = AbroadRoster::default();
        let at = |node, text: &str| (NodeId(node), text.to_owned());
        roster.learn(RegionId(1), &[at(1, "a"), at(2, "b")].into());
        roster.learn(RegionId(2), &[at(1, "c")].into());
        roster.learn(RegionId(1), &[at(3, "d")].into());
        let address = |region, node| roster.address(AbroadRoster::number(RegionId(region), NodeId(node)));
        assert_eq!((address(1, 1), address(1, 3)), (None, Some("d".to_owned())));
        assert_eq!(address(2, 1), Some("c".to_owned()));
    }
}
