//! Who is in the region and where, as far as this node knows: whom to call, and whose calls to take.

use parking_lot::Mutex;
use sojourn_core::{NodeId, region::RegionState};
use std::collections::BTreeMap;

/// What a node knows of its peers; changes as the region does.
#[derive(Default)]
pub struct Roster {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// 0 until the region is founded: then anybody whose address was given may call.
    world: u128,
    members: BTreeMap<NodeId, Entry>,
}

#[derive(Clone, Default)]
struct Entry {
    address: String,
    disk: Option<u128>,
}

/// Why a caller is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// It belongs to another world.
    #[error(
        "the caller is of world {theirs:032x}, this node of {ours:032x}: check the addresses in both configurations; a \
         node changes its world only with an empty data directory"
    )]
    World {
        /// The caller's.
        theirs: u128,
        /// This node's.
        ours: u128,
    },
    /// It is no member, or no longer.
    #[error(
        "node {} is no member of the region: if it was removed, start it with an empty data directory and `--join`", .0.0
    )]
    NoMember(NodeId),
    /// It was here with another disk.
    #[error(
        "node {} was here with another data directory. If it has lost its disk, it must not vote as before: run `sojourn \
         cluster remove-node {} --force`, then start it with an empty data directory and `--join`", .0.0, .0.0
    )]
    DiskChanged(NodeId),
}

impl Roster {
    /// A roster of a node that knows its world, or 0.
    pub fn new(world: u128) -> Self {
        let roster = Self::default();
        roster.known.lock().world = world;
        roster
    }

    /// Notes where `node` listens for peers, as `host:port`, before the region says so.
    pub fn expect(&self, node: NodeId, address: String) {
        self.known.lock().members.insert(node, Entry { address, disk: None });
    }

    /// Takes over what the region agrees on, if it is founded.
    pub fn learn(&self, region: &RegionState) {
        if region.world == 0 {
            return;
        }
        let members = region.members.iter();
        let entry = |member: &sojourn_core::region::Member| Entry {
            address: member.addresses.peers.clone(),
            disk: member.disk,
        };
        let members = members.map(|(id, member)| (*id, entry(member))).collect();
        *self.known.lock() = Known { world: region.world, members };
    }

    /// The world, 0 if it is not known.
    pub fn world(&self) -> u128 {
        self.known.lock().world
    }

    /// Where `node` listens for peers.
    pub fn address(&self, node: NodeId) -> Option<String> {
        self.known.lock().members.get(&node).map(|entry| entry.address.clone())
    }

    /// Whether a caller is who it should be. Without a world of its own it is a founder that has not heard yet.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(&self, node: NodeId, world: u128, disk: u128) -> Result<(), Stranger> {
        let known = self.known.lock();
        if known.world != 0 && world != 0 && world != known.world {
            return Err(Stranger::World { theirs: world, ours: known.world });
        }
        match known.members.get(&node) {
            None if known.world == 0 => Ok(()),
            None => Err(Stranger::NoMember(node)),
            Some(Entry { disk: Some(expected), .. }) if *expected != disk => Err(Stranger::DiskChanged(node)),
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sojourn_core::region::{Addresses, Member};

    #[test]
    fn a_caller_must_be_of_the_world_a_member_and_on_its_own_disk() {
        let roster = Roster::new(0);
        roster.expect(NodeId(1), "a:1".to_owned());
        assert_eq!(roster.check(NodeId(2), 9, 2), Ok(()), "before the founding nobody is a stranger");
        let member = |id, disk| {
            let addresses = Addresses { peers: format!("b:{id}"), ..Addresses::default() };
            (NodeId(id), Member { id: NodeId(id), name: String::new(), addresses, draining: false, disk })
        };
        let members = [member(1, Some(11)), member(2, None)].into();
        roster.learn(&RegionState { world: 7, members, ..RegionState::default() });
        assert_eq!(roster.address(NodeId(1)), Some("b:1".to_owned()));
        assert_eq!(roster.check(NodeId(1), 7, 11), Ok(()));
        assert_eq!(roster.check(NodeId(1), 0, 11), Ok(()), "a founder that has not heard yet");
        assert_eq!(roster.check(NodeId(2), 7, 22), Ok(()), "a member that nobody has seen yet");
        assert_eq!(roster.check(NodeId(1), 7, 12), Err(Stranger::DiskChanged(NodeId(1))));
        assert_eq!(roster.check(NodeId(3), 7, 33), Err(Stranger::NoMember(NodeId(3))));
        assert_eq!(roster.check(NodeId(1), 8, 11), Err(Stranger::World { theirs: 8, ours: 7 }));
    }
}
