//! The receiving side of change streams: the leader of a shard follows the shards of other regions.
//!
//! What arrives goes through this shard's own log, the cursor in the same entry as the changes. Whoever leads next goes on from
//! there; what comes twice changes nothing. Every tick asks how far the source is, so that a copy's age is known by this
//! node's own clock: all that the source had committed when it heard the tick is here when the tick is echoed.

mod stream;

use super::{contacts::Contacts, sources::StreamBounds};
use crate::{
    peers::Rpc,
    raft::spawn,
    region::{RegionNode, backend::Backend, copies::Copies, entrance::Whereabouts, led::Led},
};
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use sojourn_core::{NodeId, RegionId, ShardId, Slot, SlotTable, State, region::RegionState, stream::Source};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
    time::Duration,
};
use stream::Follower;
use tokio::{sync::mpsc, task::AbortHandle, time::sleep};

/// How often a node looks which shards it leads, and so which sources it follows.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The streams that this node receives.
#[derive(Default)]
pub(super) struct Followers {
    /// Bounded by the window of each stream.
    streams: Mutex<BTreeMap<(NodeId, u64), mpsc::UnboundedSender<Event>>>,
}

/// What comes of a stream.
enum Event {
    Batch(Bytes),
    Over,
}

impl Followers {
    /// Takes a batch.
    pub fn take(&self, from: NodeId, mut body: Bytes) {
        if body.len() >= size_of::<u64>() {
            let stream = body.get_u64_le();
            self.tell(from, stream, Event::Batch(body));
        }
    }

    /// A stream has ended at its source.
    pub fn end(&self, from: NodeId, stream: u64) {
        self.tell(from, stream, Event::Over);
    }

    /// Ends the streams from a node that cannot be reached.
    pub fn lose(&self, peer: NodeId) {
        self.streams.lock().retain(|(from, _), _| *from != peer);
    }

    fn tell(&self, from: NodeId, stream: u64, event: Event) {
        if let Some(events) = self.streams.lock().get(&(from, stream)) {
            // Whoever does not listen any more has left.
            let _gone = events.send(event);
        }
    }
}

/// What runs for one shard that this node leads, of one source.
type Task = (ShardId, u64, Source);

/// Follows the sources of every shard that this node leads, until the node is gone.
pub(super) async fn run_followers(
    node: RegionNode,
    contacts: Weak<Contacts>,
    (rpc, followers): (Rpc, Arc<Followers>),
    (bounds, compare_every): (StreamBounds, Duration),
) {
    let mut running: BTreeMap<Task, (AbortHandle, Arc<Copies>)> = BTreeMap::new();
    let mut known: BTreeMap<(ShardId, u64), Arc<Copies>> = BTreeMap::new();
    let (mut seen, mut open) = (None, BTreeSet::new());
    while let Some(contacts) = contacts.upgrade() {
        let (led, region) = (node.led(), node.region());
        let others: Vec<_> = contacts.others().into_iter().filter_map(|other| contacts.whereabouts(other)).collect();
        let sight = Sight::new(&led, &region, &others);
        if seen.as_ref() == Some(&sight) {
            drop(contacts);
            sleep(LOOK_EVERY).await;
            continue;
        }
        seen = Some(sight);
        open = keep_open(&rpc, &open, contacts.nodes());
        known.retain(|leading, _| led.iter().any(|led| (led.shard, led.term) == *leading));
        let mut wanted: BTreeMap<Task, Follower> = BTreeMap::new();
        for led in led {
            let copies = known.entry((led.shard, led.term)).or_insert_with(|| {
                let copies = Arc::new(Copies::new(led.term, node.env().clock.clone()).plant(node.env().plants));
                led.know(copies.clone());
                copies
            });
            for other in &others {
                let told_of = led.sessions().audit(|state| followed_still(state, other.region.0));
                let shared = sources(&region.slots, led.shard, other).into_keys();
                for source in shared.chain(told_of).collect::<BTreeSet<_>>() {
                    let follower = Follower {
                        led: led.clone(),
                        source,
                        node: node.clone(),
                        copies: copies.clone(),
                        contacts: Arc::downgrade(&contacts),
                        rpc: rpc.clone(),
                        followers: followers.clone(),
                        page_reach: bounds.page_reach,
                        apart: node.env().plants.cursor_apart_from_data,
                        clock: node.env().clock.clone(),
                        stream: node.env().random.next_u64(),
                        compare_every,
                        mended: node.mended(),
                        leader: None,
                    };
                    wanted.insert((led.shard, led.term, source), follower);
                }
            }
        }
        running.retain(|task, (handle, copies)| {
            let keep = wanted.contains_key(task);
            if !keep {
                handle.abort();
                copies.lose(task.2);
            }
            keep
        });
        for (task, follower) in wanted {
            let copies = follower.copies.clone();
            running.entry(task).or_insert_with(|| (spawn(follower.run()).abort_handle(), copies));
        }
        drop(contacts);
        sleep(LOOK_EVERY).await;
    }
}

/// The shards of a region that this one follows, also where they have let go all slots that both shared: what they told last is taken in
/// before they are forgotten.
fn followed_still(state: &State, region: RegionId) -> BTreeSet<Source> {
    let theirs = state.followed().iter().filter(|(source, _)| source.region == region);
    theirs.filter(|(_, progress)| !progress.slots.is_empty()).map(|(source, _)| *source).collect()
}

/// Opens the ways to nodes that were not known before, since what is asked there first would wait for several ways there and back;
/// closes those to nodes that are gone. Returns to which they are open.
fn keep_open(rpc: &Rpc, open: &BTreeSet<NodeId>, nodes: BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    nodes.difference(open).for_each(|node| rpc.keep_open(*node));
    open.difference(&nodes).for_each(|node| rpc.forget(*node));
    nodes
}

/// What decides which streams there are. The same as long as nothing changes, so that an idle node has nothing to work out.
#[derive(PartialEq, Eq)]
struct Sight {
    led: Vec<(ShardId, u64)>,
    region: ByAddress<RegionState>,
    others: Vec<ByAddress<Whereabouts>>,
}

impl Sight {
    fn new(led: &[Led], region: &Arc<RegionState>, others: &[Arc<Whereabouts>]) -> Self {
        Self {
            led: led.iter().map(|led| (led.shard, led.term)).collect(),
            region: ByAddress(region.clone()),
            others: others.iter().cloned().map(ByAddress).collect(),
        }
    }
}

/// The same only if it is the same one.
struct ByAddress<T>(Arc<T>);

impl<T> PartialEq for ByAddress<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Eq for ByAddress<T> {}

/// The shards of another region that share slots with one of ours, and which.
pub(super) fn sources(ours: &SlotTable, shard: ShardId, other: &Whereabouts) -> BTreeMap<Source, Vec<(Slot, Slot)>> {
    let own = ours.ranges().into_iter().filter(|(_, _, holder)| *holder == shard);
    let own: Vec<(u16, u16)> = own.map(|(first, last, _)| (first, last)).collect();
    let mut sources: BTreeMap<Source, Vec<(Slot, Slot)>> = BTreeMap::new();
    for ((first, last), shard) in &other.slots {
        for (own_first, own_last) in &own {
            let (first, last) = (first.number().max(*own_first), last.number().min(*own_last));
            if let (true, Some(first), Some(last)) = (first <= last, Slot::new(first), Slot::new(last)) {
                sources.entry(Source { region: other.region.0, shard: *shard }).or_default().push((first, last));
            }
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;
    use sojourn_core::RegionId;

    #[test]
    fn every_slot_of_a_shard_is_followed_at_one_source() {
        for (here, there) in [(4, 4), (4, 3), (1, 16), (16, 1)] {
            let table = SlotTable::even(there);
            let ranges = table.ranges().into_iter();
            let slot = |number| Slot::new(number).expect("a slot");
            let other = Whereabouts {
                world: 1,
                region: (RegionId(1), "eu".to_owned()),
                coordinates: None,
                namespaces: BTreeMap::new(),
                nodes: BTreeMap::new(),
                slots: ranges.map(|(first, last, shard)| ((slot(first), slot(last)), shard)).collect(),
                leaders: BTreeMap::new(),
                voter: None,
                control: 0,
            };
            let ours = SlotTable::even(here);
            for number in 0..sojourn_core::ids::SLOTS {
                let all = sources(&ours, ours.shard(slot(number)), &other);
                let speaks = |slots: &Vec<(Slot, Slot)>| slots.iter().any(|(a, b)| (*a..=*b).contains(&slot(number)));
                let found: Vec<_> =
                    all.iter().filter(|(_, slots)| speaks(slots)).map(|(source, _)| source.shard).collect();
                assert_eq!(found, [table.shard(slot(number))]);
            }
        }
    }
}
