//! Which node to ask: pure.

use sojourn_core::Slot;
use sojourn_proto::sessions::v1;
use std::collections::BTreeMap;

/// What a client knows of a region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Map {
    /// Where nodes are, by number.
    nodes: BTreeMap<u64, String>,
    /// The first slot and the shard of each run of slots.
    runs: BTreeMap<u32, u32>,
    /// Leaders of shards, each with the term that it was heard of in.
    leaders: BTreeMap<u32, (u64, u64)>,
}

impl Map {
    /// Takes over what a node said. Of two leaders the one of the later term counts.
    pub fn learn(&mut self, topology: &v1::TopologyResponse) {
        let v1::TopologyResponse { region: _, node: _, now_ms: _, nodes, slots, shards } = topology;
        // A node that is being emptied still answers, but is not asked first.
        let mut nodes: Vec<&v1::Node> = nodes.iter().filter(|node| !node.address.is_empty()).collect();
        nodes.sort_by_key(|node| node.draining);
        self.nodes = nodes.into_iter().map(|node| (node.id, node.address.clone())).collect();
        self.runs = slots.iter().map(|run| (run.first, run.shard)).collect();
        for v1::Shard { id, leader, term } in shards {
            let known = self.leaders.get(id).map_or(0, |(term, _)| *term);
            if let Some(leader) = leader.filter(|_| *term >= known) {
                self.leaders.insert(*id, (*term, leader));
            }
        }
    }

    /// Where the leader of `slot` is, if known.
    pub fn leader(&self, slot: Slot) -> Option<&str> {
        let (_, shard) = self.runs.range(..=u32::from(slot.number())).next_back()?;
        let (_, leader) = self.leaders.get(shard)?;
        self.nodes.get(leader).map(String::as_str)
    }

    /// Where all nodes are.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.nodes.values().map(String::as_str)
    }
}

/// The order in which to ask nodes: the leader, then the others as they come; those of which `is_down` says so at the end.
pub(crate) fn order(leader: Option<&str>, others: &[String], is_down: impl Fn(&str) -> bool) -> Vec<String> {
    let others = others.iter().map(String::as_str).filter(|other| Some(*other) != leader);
    let mut order: Vec<&str> = leader.into_iter().chain(others).collect();
    order.sort_by_key(|address| is_down(address));
    order.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(leaders: &[(u32, u64, u64)]) -> v1::TopologyResponse {
        let node = |id: u64| v1::Node { id, address: format!("n{id}"), ..Default::default() };
        let shard = |(id, leader, term): &(u32, u64, u64)| v1::Shard { id: *id, leader: Some(*leader), term: *term };
        v1::TopologyResponse {
            nodes: vec![node(1), node(2), node(3)],
            slots: vec![
                v1::SlotRange { first: 0, last: 99, shard: 0 },
                v1::SlotRange { first: 100, last: 16_383, shard: 1 },
            ],
            shards: leaders.iter().map(shard).collect(),
            ..Default::default()
        }
    }

    fn slot(number: u16) -> Slot {
        Slot::new(number).expect("a slot")
    }

    #[test]
    fn slots_lead_to_leaders_and_later_terms_win() {
        let mut map = Map::default();
        assert_eq!(map.leader(slot(5)), None);
        map.learn(&topology(&[(0, 1, 3), (1, 2, 3)]));
        assert_eq!((map.leader(slot(99)), map.leader(slot(100))), (Some("n1"), Some("n2")));
        map.learn(&topology(&[(0, 3, 2), (1, 3, 4)]));
        assert_eq!((map.leader(slot(99)), map.leader(slot(100))), (Some("n1"), Some("n3")));
    }

    #[test]
    fn the_leader_is_asked_first_and_those_that_are_down_last() {
        let nodes = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(order(Some("c"), &nodes, |_| false), ["c", "a", "b"]);
        assert_eq!(order(Some("b"), &nodes, |address| address != "c"), ["c", "b", "a"]);
        assert_eq!(order(None, &nodes, |address| address == "a"), ["b", "c", "a"]);
        assert_eq!(order(Some("new"), &[], |_| true), ["new"]);
    }
}
