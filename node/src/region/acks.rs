//! Writes that are acknowledged only when other regions have them on disk too (`ack = "geo"`).
//!
//! A shard's leader knows how far each region has logged what it orders: those that follow say so. A write waits for its entry
//! to be logged by as many as its namespace wants. It waits beside others, in nobody's way, and not for long: by then it is on
//! the disks of its own region, and whoever repeats it is answered once the others have it.

use crate::shard::{Bundle, NotProposed};
use parking_lot::Mutex;
use sojourn_core::{NodeId, Outcome, RegionId, Slot, region::RegionState};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// How long a write waits for other regions. Those who forwarded it look for another leader after two seconds of silence.
const WAIT_MAX: Duration = Duration::from_millis(1_500);

/// A stream to another region: the node that follows, and the stream's number there.
pub type StreamId = (NodeId, u64);

/// What the writes of one shard wait for.
#[derive(Default)]
pub struct Acks {
    known: Mutex<Known>,
    /// Writes that wait or will.
    under_way: AtomicUsize,
}

/// What a bundle waits for.
pub(super) struct Wanted {
    slots: BTreeSet<Slot>,
    regions: u16,
}

impl Wanted {
    /// What `bundle` waits for by the policies of its namespaces, if anything: not so what a shard does for itself, which must go
    /// on while other regions are away, and what it settles for one that is back. That one takes in what became of its writes before
    /// it calls them settled; until then it follows nobody who acts for it, so that two of them would wait for each other.
    pub fn by(region: &RegionState, bundle: &Bundle) -> Option<Self> {
        if !bundle.needs_lease() || bundle.settles().is_some() {
            return None;
        }
        let regions_of = |namespace| region.namespaces.get(&namespace).map_or(0, |found| found.policy.ack_regions);
        let mut wanted = Self { slots: BTreeSet::new(), regions: 0 };
        for key in bundle.keys() {
            let regions = regions_of(key.namespace());
            if regions > 0 {
                wanted.regions = wanted.regions.max(regions);
                wanted.slots.insert(key.slot());
            }
        }
        (wanted.regions > 0).then_some(wanted)
    }
}

/// A write that waits or will; the streams hurry as long as there is one.
pub(super) struct UnderWay(Arc<Acks>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Acks {
    /// A write is about to be proposed.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    /// Whether anybody wants to hear at once how far the followers are.
    pub fn are_awaited(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) > 0
    }

    /// A region has logged everything of these slots up to `index`.
    pub fn hear(&self, stream: StreamId, region: RegionId, slots: &[(Slot, Slot)], index: u64) {
        self.known.lock().hear(stream, region, slots, index);
    }

    /// A stream has ended; whoever follows next says how far it is.
    pub fn lose(&self, stream: StreamId) {
        self.known.lock().streams.remove(&stream);
    }

    /// Waits until as many regions as are wanted have logged the entry at `index`.
    ///
    /// # Errors
    /// [`NotProposed::NotCopied`] if that takes too long.
    pub(super) async fn wait(&self, wanted: Wanted, index: u64) -> Result<(), NotProposed> {
        let slots = wanted.slots.clone();
        let (number, logged) = {
            let mut known = self.known.lock();
            if known.reached(&wanted.slots, index) >= wanted.regions {
                return Ok(());
            }
            known.wait(wanted, index)
        };
        let waiting = Waiting { acks: self, place: (index, number) };
        if timeout(WAIT_MAX, logged).await.is_ok() {
            return Ok(());
        }
        let reached = self.known.lock().reached(&slots, index);
        drop(waiting);
        Err(NotProposed::NotCopied { reached })
    }
}

/// A place in the queue of those who wait; it is left when this is dropped.
struct Waiting<'a> {
    acks: &'a Acks,
    place: (u64, u64),
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.acks.known.lock().waiting.remove(&self.place);
    }
}

#[derive(Default)]
struct Known {
    streams: BTreeMap<StreamId, Logged>,
    /// By index, and in the order of their arrival.
    waiting: BTreeMap<(u64, u64), (Wanted, oneshot::Sender<()>)>,
    last_number: u64,
}

/// How far a stream is logged where it goes.
struct Logged {
    region: RegionId,
    slots: Vec<(Slot, Slot)>,
    index: u64,
}

impl Known {
    fn hear(&mut self, stream: StreamId, region: RegionId, slots: &[(Slot, Slot)], index: u64) {
        match self.streams.get_mut(&stream) {
            Some(logged) if logged.index >= index => return,
            Some(logged) => logged.index = index,
            None => drop(self.streams.insert(stream, Logged { region, slots: slots.to_vec(), index })),
        }
        let is_logged = |place: &(u64, u64), wanted: &Wanted| self.reached(&wanted.slots, place.0) >= wanted.regions;
        let candidates = self.waiting.range(..=(index, u64::MAX));
        let logged: Vec<(u64, u64)> =
            candidates.filter(|(place, (wanted, _))| is_logged(place, wanted)).map(|(place, _)| *place).collect();
        for place in logged {
            if let Some((_, told)) = self.waiting.remove(&place) {
                // Whoever gave up was told something else.
                let _gone = told.send(());
            }
        }
    }

    /// How many regions have logged the entry at `index`, as far as these slots are concerned.
    fn reached(&self, slots: &BTreeSet<Slot>, index: u64) -> u16 {
        let covers = |logged: &&Logged, slot: &Slot| logged.slots.iter().any(|(a, b)| (*a..=*b).contains(slot));
        let regions = |slot: &Slot| {
            let logged = self.streams.values().filter(|logged| logged.index >= index && covers(logged, slot));
            logged.map(|logged| logged.region).collect::<BTreeSet<_>>().len()
        };
        let fewest = slots.iter().map(regions).min().unwrap_or_default();
        u16::try_from(fewest).unwrap_or(u16::MAX)
    }

    fn wait(&mut self, wanted: Wanted, index: u64) -> (u64, oneshot::Receiver<()>) {
        self.last_number += 1;
        let (told, logged) = oneshot::channel();
        self.waiting.insert((index, self.last_number), (wanted, told));
        (self.last_number, logged)
    }
}

/// Whether anything may have been written by what was told.
pub(super) fn may_have_written(outcomes: &[Outcome]) -> bool {
    outcomes.iter().any(|outcome| !matches!(outcome, Outcome::Refused(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::{FutureExt, join_all};
    use sojourn_core::{
        Command, Key, NamespaceId, Op, Request,
        policy::{Namespace, Policy},
        tombstones::Return,
    };

    const EU: RegionId = RegionId(1);
    const APAC: RegionId = RegionId(2);

    fn slot(number: u16) -> Slot {
        Slot::new(number).expect("a slot")
    }

    fn wanted(slots: &[u16], regions: u16) -> Wanted {
        Wanted { slots: slots.iter().map(|number| slot(*number)).collect(), regions }
    }

    fn hear(acks: &Acks, stream: u64, region: RegionId, (first, last): (u16, u16), index: u64) {
        acks.hear((NodeId(1), stream), region, &[(slot(first), slot(last))], index);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_waits_for_as_many_regions_as_it_wants_to_have_its_slots() {
        let acks = Acks::default();
        hear(&acks, 1, EU, (0, 99), 10);
        assert_eq!(acks.wait(wanted(&[5], 1), 10).now_or_never(), Some(Ok(())));
        let mut later = Box::pin(acks.wait(wanted(&[5], 1), 11));
        let mut two = Box::pin(acks.wait(wanted(&[5], 2), 10));
        let mut elsewhere = Box::pin(acks.wait(wanted(&[5, 100], 1), 10));
        for waiting in [&mut later, &mut two, &mut elsewhere] {
            assert_eq!(waiting.now_or_never(), None);
        }
        // Another stream of the same region speaks for other slots, and is no other region.
        hear(&acks, 2, EU, (100, 199), 50);
        assert_eq!((elsewhere.now_or_never(), (&mut two).now_or_never()), (Some(Ok(())), None));
        hear(&acks, 3, APAC, (0, 199), 10);
        assert_eq!((two.now_or_never(), (&mut later).now_or_never()), (Some(Ok(())), None));
        hear(&acks, 1, EU, (0, 99), 11);
        assert_eq!(later.now_or_never(), Some(Ok(())));
        assert!(acks.known.lock().waiting.is_empty());
    }

    #[test]
    fn what_is_settled_for_a_region_that_is_back_waits_for_nobody() {
        let policy = Policy { ack_regions: 1, ..Policy::default() };
        let namespace = Namespace { id: NamespaceId(0), name: "default".into(), policy };
        let region = RegionState { namespaces: [(namespace.id, namespace)].into(), ..RegionState::default() };
        let waits = |op: Op| {
            let key = Key::new(NamespaceId(0), b"s").expect("an id");
            let rules = Policy::default().rules(false);
            let command = Command { request: Request::default(), key, rules, touched: None, op };
            Wanted::by(&region, &Bundle::new(&[command])).is_some()
        };
        assert!(waits(Op::Destroy));
        assert!(!waits(Op::Settle { by: EU, home: EU, epoch: 2, how: Return::Merge, orphans: Vec::new() }));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_too_long_is_told_how_far_it_came_and_leaves_nothing() {
        let acks = Acks::default();
        hear(&acks, 1, EU, (0, 99), 10);
        hear(&acks, 2, APAC, (0, 99), 10);
        acks.lose((NodeId(1), 2));
        assert_eq!(acks.wait(wanted(&[5], 2), 10).await, Err(NotProposed::NotCopied { reached: 1 }));
        let given_up = Box::pin(acks.wait(wanted(&[5], 2), 10)).now_or_never();
        assert_eq!(given_up, None);
        assert!(acks.known.lock().waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn many_wait_at_once_and_none_for_another() {
        let acks = Arc::new(Acks::default());
        let writes = (1..=10_000).map(|index| acks.wait(wanted(&[5], 1), index));
        let logged = async {
            for index in (100..=10_000).step_by(100) {
                tokio::task::yield_now().await;
                hear(&acks, 1, EU, (0, 99), index);
            }
        };
        let (done, ()) = tokio::join!(join_all(writes), logged);
        assert!(done.into_iter().all(|done| done.is_ok()));
        assert!(!acks.are_awaited());
        let (one, other) = (acks.begin(), acks.begin());
        drop(one);
        assert!(acks.are_awaited());
        drop(other);
        assert!(!acks.are_awaited());
    }
}
