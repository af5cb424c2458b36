//! The receiving side of change streams: the leader of a shard follows the shards of other regions.
//!
//! What arrives goes through this shard's own log, the cursor in the same entry as the changes. Whoever leads next goes on from
//! there; what comes twice changes nothing. Every tick asks how far the source is, so that a copy's age is known by this
//! node's own clock: all that the source had committed when it heard the tick is here when the tick is echoed.

mod mend;

use super::{
    calls::{self, Batch, Copied, CopyOf, Digests, Follow, Followed, Tick},
    compare,
    contacts::Contacts,
    packing::{self, Unpacker},
    sources::StreamBounds,
};
use crate::{
    env::Clock,
    peers::{AbroadRoster, CallError, Lane, Rpc},
    raft::spawn,
    region::{RegionNode, backend::Backend, copies::Copies, entrance::Whereabouts, led::Led},
    shard::NotProposed,
};
use bytes::{Buf, Bytes};
use futures::{
    future::BoxFuture,
    stream::{FuturesOrdered, FuturesUnordered, StreamExt},
};
use parking_lot::Mutex;
use sojourn_core::{
    Key, NodeId, Outcome, Refusal, RegionId, ShardId, Slot, SlotTable, State,
    feed::FeedCursor,
    region::RegionState,
    state::Believed,
    stream::{Absorbed, Copying, Piece, Source, Span},
};
use sojourn_proto::wire::{Wire, decode_all, encode};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak, atomic::AtomicU64},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, MissedTickBehavior, interval, interval_at, sleep, timeout_at},
};

/// How often a node looks which shards it leads, and so which sources it follows.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often a source is asked how far it is.
const TICK_EVERY: Duration = Duration::from_millis(250);

/// A source that says nothing for so long is looked for again.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Before a source is looked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Before a source is followed again that told what must not be taken in until somebody acts for its home.
const BARRED_PAUSE: Duration = Duration::from_secs(1);

/// How long a source may take to begin a stream, or to give a page.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// Bytes on their way from one source.
const WINDOW_BYTES: u64 = 4 << 20;

/// Entries of a source that changed nothing here, after which the cursor is logged all the same.
const IDLE_ENTRIES_MAX: u64 = 10_000;

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
                for (source, slots) in sources(&region.slots, led.shard, other) {
                    let follower = Follower {
                        led: led.clone(),
                        source,
                        slots,
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

/// One shard following one source.
struct Follower {
    led: Led,
    source: Source,
    slots: Vec<(Slot, Slot)>,
    copies: Arc<Copies>,
    contacts: Weak<Contacts>,
    rpc: Rpc,
    followers: Arc<Followers>,
    page_reach: usize,
    /// The planted bug: a cursor is logged before what it stands for.
    apart: bool,
    clock: Arc<dyn Clock>,
    /// The number of the next stream.
    stream: u64,
    /// How often each slot is compared with what the source has.
    compare_every: Duration,
    /// Copies that differed and were mended.
    mended: Arc<AtomicU64>,
    /// Who leads the source, if one was named that others do not know of yet.
    leader: Option<NodeId>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("no node of the region is known")]
    Unknown,
    #[error("the node does not lead the shard")]
    NotLeader,
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("its words make no sense: {0}")]
    Strange(#[from] sojourn_proto::wire::WireError),
    #[error("no memory for another stream: {0}")]
    NoMemory(std::io::Error),
    #[error("a batch is missing")]
    Gap,
    #[error("it was over at its source")]
    Over,
    #[error("it says nothing")]
    Silent,
    #[error("this node cannot take it in: {0}")]
    Here(#[from] NotProposed),
    #[error("another node leads this shard")]
    Superseded,
    #[error("it tells what counts no more: {0}")]
    Barred(Refusal),
    #[error("it acts for a home for which this shard still acts")]
    Fenced,
}

/// What a batch leaves when it is in.
struct TakenIn {
    bytes: u64,
    /// The source's index after it.
    index: u64,
    echo_ms: Option<u64>,
    is_awaited: bool,
    /// The last index of the source's feed when it sent this.
    end_index: u64,
}

impl Follower {
    async fn run(mut self) {
        while self.led.leads() {
            let Err(ended) = self.follow().await;
            let Source { region, shard } = self.source;
            tracing::debug!(region = region.0, shard = shard.0, reason = %ended, "a stream ended");
            let barred = matches!(ended, Ended::Barred(_));
            sleep(if barred { BARRED_PAUSE } else { RETRY_PAUSE }).await;
        }
    }

    /// Follows one node of the source's region as long as that goes well.
    async fn follow(&mut self) -> Result<std::convert::Infallible, Ended> {
        let node = self.source_node()?;
        let progress = self.led.sessions().progress(self.source);
        if let Some(Copying { begin, after, .. }) = progress.copying {
            self.copy(node, begin, (after, &self.slots)).await?;
        }
        loop {
            let cursor = self.led.sessions().progress(self.source).cursor;
            self.stream = self.stream.wrapping_add(1);
            // Heard before it is asked for: the first batch may overtake the answer.
            let (events, mut arrivals) = mpsc::unbounded_channel();
            self.followers.streams.lock().insert((node, self.stream), events);
            let _listening = Listening { followers: self.followers.clone(), key: (node, self.stream) };
            let (stream, shard, slots) = (self.stream, self.source.shard, self.slots.clone());
            let follow = Follow { stream, shard, slots, cursor, window_bytes: WINDOW_BYTES };
            match self.call(node, calls::FOLLOW, &encode(&follow)).await? {
                Followed::CopyFirst { begin } => drop(self.copy(node, begin, (None, &self.slots)).await?),
                Followed::NotLeader { leader } => {
                    self.leader = leader.map(|leader| AbroadRoster::number(self.source.region, leader));
                    return Err(Ended::NotLeader);
                }
                Followed::Streaming => return self.listen(node, cursor.unwrap_or_default(), &mut arrivals).await,
            }
        }
    }

    /// The leader of the source, or whoever may know.
    fn source_node(&mut self) -> Result<NodeId, Ended> {
        let named = self.leader.take();
        let known = || {
            let first = self.slots.first()?.0;
            self.contacts.upgrade()?.nodes_for(self.source.region, first).first().copied()
        };
        named.or_else(known).ok_or(Ended::Unknown)
    }

    async fn call<T: Wire>(&self, node: NodeId, service: u8, body: &[u8]) -> Result<T, Ended> {
        let bytes = self.rpc.call(node, Lane::Bulk, service, &[body], CALL_TIMEOUT).await?;
        Ok(decode_all(&bytes)?)
    }

    /// Takes a copy of these slots, page by page, from `after` on; says how many copies it changed.
    async fn copy(
        &self,
        node: NodeId,
        begin: FeedCursor,
        (mut after, slots): (Option<Key>, &[(Slot, Slot)]),
    ) -> Result<u64, Ended> {
        let mut changed = 0;
        loop {
            // A single slot has no more than one page may speak of, and is not where the shard begins.
            let is_whole = slots.len() == self.slots.len() && *slots == *self.slots;
            let reach = || self.led.sessions().copy_reach(after.as_ref(), self.page_reach);
            let span = Span { after: after.clone(), until: is_whole.then(reach).flatten(), slots: slots.to_vec() };
            let copy = CopyOf { shard: self.source.shard, begin, span };
            let asked = self.led.sessions().last_stamp();
            let bytes = self.rpc.call(node, Lane::Bulk, calls::COPY, &[&encode(&copy)], CALL_TIMEOUT).await?;
            let (as_of, until, homes, records, elsewhere) = match packing::unpack(&bytes)? {
                Copied::Page { as_of, until, homes, records, elsewhere } => (as_of, until, homes, records, elsewhere),
                // The next stream begins another copy.
                Copied::BeginAnew => return Ok(changed),
                Copied::NotLeader => return Err(Ended::NotLeader),
            };
            let span = Span { until: until.clone(), ..copy.span };
            let homes = self.believed(homes)?;
            let believed = homes.clone();
            // A single slot says nothing of how far the others are.
            let as_of = if is_whole { as_of } else { 0 };
            let piece = Piece::Page { asked, begin, span, homes, replaces: false, records, elsewhere };
            changed += self.absorb(as_of, believed, piece, true).await?;
            match until {
                Some(until) => after = Some(until),
                None => return Ok(changed),
            }
        }
    }

    /// Takes a piece in; says how many copies it changed.
    fn absorb(
        &self,
        as_of: u64,
        believed: Believed,
        piece: Piece,
        is_awaited: bool,
    ) -> BoxFuture<'static, Result<u64, Ended>> {
        let absorbed = Absorbed { source: self.source, as_of, believed: believed.clone(), piece };
        if let Some(refusal) = self.led.sessions().audit(|state| state.bars(&absorbed)) {
            return Box::pin(std::future::ready(Err(Ended::Barred(refusal))));
        }
        let Absorbed { piece, .. } = absorbed;
        let (piece, rest) = if self.apart { apart(piece) } else { (piece, None) };
        let (led, source) = (self.led.clone(), self.source);
        let absorbing = led.absorb(Absorbed { source, as_of, believed: believed.clone(), piece }, is_awaited);
        Box::pin(async move {
            let mut outcome = absorbing.await?;
            if let Some(piece) = rest {
                outcome = led.absorb(Absorbed { source, as_of, believed, piece }, is_awaited).await?;
            }
            match outcome {
                Outcome::Count(count) => Ok(count.unsigned_abs()),
                // Somebody else has led meanwhile and taken in other pieces, or a sweep has ended while a page was on its way.
                _superseded => Err(Ended::Superseded),
            }
        })
    }

    /// For which homes the source is believed, of those for which it says that it acts. What it tells of this region's own home is
    /// believed only once this region has settled what it wrote itself.
    ///
    /// # Errors
    /// This shard acts for one of them too, under an earlier epoch: it has lost the right and does not know yet. What it wrote
    /// since is not merged with what others wrote, but settled.
    fn believed(&self, mut acts: Believed) -> Result<Believed, Ended> {
        let outdone = |(home, epoch): (&RegionId, &u32)| {
            self.led.sessions().audit(|state| state.acts_for(*home)).is_some_and(|own| own < *epoch)
        };
        if acts.iter().any(outdone) {
            return Err(Ended::Fenced);
        }
        if !self.contacts.upgrade().is_some_and(|contacts| contacts.is_settled()) {
            let own = self.led.sessions().audit(State::region);
            acts.remove(&own);
        }
        Ok(acts)
    }

    /// Takes in batches as they come, and tells the source how far it is.
    async fn listen(
        &self,
        node: NodeId,
        begin: FeedCursor,
        arrivals: &mut mpsc::UnboundedReceiver<Event>,
    ) -> Result<std::convert::Infallible, Ended> {
        let mut ticks = interval(TICK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut taking: FuturesOrdered<BoxFuture<'static, Result<TakenIn, Ended>>> = FuturesOrdered::new();
        // What was told last, what the log will have once all is in, and what was taken in.
        let (mut told, mut logged, mut taken_bytes, mut logged_index) = (begin, begin, 0, begin.index);
        self.copies.hold(self.source, begin);
        let tick = |taken_bytes, logged_index, ping_ms| {
            let tick = Tick { stream: self.stream, taken_bytes, logged_index, ping_ms };
            self.rpc.notify(node, Lane::Fast, calls::TICK, &[&encode(&tick)]);
        };
        let mut unpacker = Unpacker::new().map_err(Ended::NoMemory)?;
        let mut silent_at = Instant::now() + SILENCE_MAX;
        let pause = compare::pause(self.compare_every);
        // Not all streams at once.
        let (mut turn, begin_comparing) =
            (self.stream, Instant::now() + pause.mul_f64(self.stream as f64 / u64::MAX as f64));
        let mut comparing = interval_at(begin_comparing, pause);
        comparing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut asking, mut digests, mut suspects) = (FuturesUnordered::new(), None::<Digests>, BTreeSet::new());
        loop {
            if let Some(Digests { homes, slots, .. }) =
                digests.take_if(|of| taking.is_empty() && of.index <= told.index)
            {
                // The source may have summed up an entry that it had not told yet: only what differs twice does.
                let differing = self.differing(&homes, &slots).await;
                let (sure, unsure) = differing.into_iter().partition(|slot| suspects.contains(slot));
                suspects = unsure;
                self.mend(node, logged, sure).await?;
                if !suspects.is_empty() {
                    asking.push(self.digests(node, suspects.iter().map(|slot| (*slot, *slot)).collect()));
                }
            }
            tokio::select! {
                biased;
                Some(taken) = taking.next(), if !taking.is_empty() => {
                    let TakenIn { bytes, index, echo_ms, is_awaited, end_index } = taken?;
                    taken_bytes += bytes;
                    logged_index = index;
                    self.copies.hold(self.source, FeedCursor { index, ..begin });
                    if is_awaited {
                        tick(taken_bytes, logged_index, None);
                    }
                    self.copies.fall_behind(self.source, end_index.max(told.index).saturating_sub(index));
                    if let Some(echo_ms) = echo_ms {
                        self.copies.hear(self.source, &self.slots, Duration::from_millis(echo_ms));
                    }
                }
                Some(answer) = asking.next(), if !asking.is_empty() => digests = answer,
                _ = comparing.tick(), if asking.is_empty() && digests.is_none() => {
                    turn = turn.wrapping_add(1);
                    asking.push(self.digests(node, compare::part(&self.slots, turn)));
                }
                _ = ticks.tick() => {
                    let ping_ms = u64::try_from(self.clock.boot().as_millis()).unwrap_or(u64::MAX);
                    tick(taken_bytes, logged_index, Some(ping_ms));
                }
                event = timeout_at(silent_at, arrivals.recv()) => {
                    let Event::Batch(body) = event.map_err(|_| Ended::Silent)?.ok_or(Ended::Over)? else {
                        return Err(Ended::Over);
                    };
                    silent_at = Instant::now() + SILENCE_MAX;
                    let Batch { after, next, as_of, echo_ms, end_index, is_awaited, acts, records } = unpacker.unpack(&body)?;
                    let acts = self.believed(acts)?;
                    if after != told {
                        return Err(Ended::Gap);
                    }
                    told = next;
                    let taken =
                        TakenIn { bytes: body.len() as u64, index: next.index, echo_ms, is_awaited, end_index };
                    if records.is_empty() && next.index < logged.index + IDLE_ENTRIES_MAX {
                        taking.push_back(Box::pin(std::future::ready(Ok(taken))));
                    } else {
                        let piece = Piece::Changes { after: logged, next, records };
                        let absorbing = self.absorb(as_of, acts, piece, is_awaited);
                        logged = next;
                        taking.push_back(Box::pin(async move { absorbing.await.map(|_changed| taken) }));
                    }
                }
            }
        }
    }
}

/// The planted bug: the cursor of a piece without what it stands for, and that by itself.
fn apart(piece: Piece) -> (Piece, Option<Piece>) {
    match piece {
        Piece::Changes { after, next, records } if !records.is_empty() => {
            let cursor = Piece::Changes { after, next, records: Vec::new() };
            (cursor, Some(Piece::Changes { after: next, next, records }))
        }
        piece @ (Piece::Changes { .. } | Piece::Page { .. } | Piece::Held { .. }) => (piece, None),
    }
}

/// Ends when its stream does.
struct Listening {
    followers: Arc<Followers>,
    key: (NodeId, u64),
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.followers.streams.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
