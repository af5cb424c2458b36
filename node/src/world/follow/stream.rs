//! One shard of this node that follows one source: copies of what was missed, then batches as they come.

mod mend;

use super::{
    super::{
        calls::{self, Batch, Copied, CopyOf, Digests, Follow, Followed, Tick},
        compare,
        contacts::Contacts,
        packing::{self, Unpacker},
    },
    Event, Followers,
};
use crate::{
    env::Clock,
    peers::{AbroadRoster, CallError, Lane, Rpc},
    region::{RegionNode, backend::Backend, copies::Copies, led::Led},
    shard::NotProposed,
};
use futures::{
    future::BoxFuture,
    stream::{FuturesOrdered, FuturesUnordered, StreamExt},
};
use sojourn_core::{
    Key, NodeId, Outcome, Refusal, RegionId, Slot, SlotSet,
    feed::FeedCursor,
    state::Believed,
    stream::{Absorbed, Copying, Piece, Progress, Source, Span},
};
use sojourn_proto::wire::{Wire, decode_all, encode};
use std::{
    collections::BTreeSet,
    sync::{Arc, Weak, atomic::AtomicU64},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, interval_at, sleep, timeout_at},
};

/// How often a source is asked how far it is.
const TICK_EVERY: Duration = Duration::from_millis(250);

/// A source that says nothing for so long is looked for again.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Before a source is looked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Before a source is followed again that has ended its stream, or that is asked for other slots.
const RESUME_PAUSE: Duration = Duration::from_millis(20);

/// Before a source is followed again that told what must not be taken in until somebody acts for its home.
const BARRED_PAUSE: Duration = Duration::from_secs(1);

/// How long a source may take to begin a stream, or to give a page.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// Bytes on their way from one source.
const WINDOW_BYTES: u64 = 4 << 20;

/// Entries of a source that changed nothing here, after which the cursor is logged all the same.
const IDLE_ENTRIES_MAX: u64 = 10_000;

/// One shard following one source.
pub(super) struct Follower {
    pub(super) led: Led,
    pub(super) source: Source,
    pub(super) node: RegionNode,
    pub(super) copies: Arc<Copies>,
    pub(super) contacts: Weak<Contacts>,
    pub(super) rpc: Rpc,
    pub(super) followers: Arc<Followers>,
    pub(super) page_reach: usize,
    /// The planted bug: a cursor is logged before what it stands for.
    pub(super) apart: bool,
    pub(super) clock: Arc<dyn Clock>,
    /// The number of the next stream.
    pub(super) stream: u64,
    /// How often each slot is compared with what the source has.
    pub(super) compare_every: Duration,
    /// Copies that differed and were mended.
    pub(super) mended: Arc<AtomicU64>,
    /// Who leads the source, if one was named that others do not know of yet.
    pub(super) leader: Option<NodeId>,
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
    #[error("this shard serves other slots by now")]
    Turned,
    #[error("it tells what counts no more: {0}")]
    Barred(Refusal),
    #[error("it acts for a home for which this shard still acts")]
    Fenced,
    #[error("it acts for region {}, for which this one has to settle what it wrote first", .0.0)]
    Unsettled(RegionId),
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
    /// For which homes the source acted then.
    homes: BTreeSet<RegionId>,
}

impl Follower {
    pub(super) async fn run(mut self) {
        while self.led.leads() {
            let Err(ended) = self.follow().await;
            let Source { region, shard } = self.source;
            tracing::debug!(region = region.0, shard = shard.0, reason = %ended, "a stream ended");
            sleep(match ended {
                Ended::Barred(_) => BARRED_PAUSE,
                // Mostly because slots have moved: copies are not heard of meanwhile.
                Ended::Turned | Ended::Over => RESUME_PAUSE,
                _failed => RETRY_PAUSE,
            })
            .await;
        }
    }

    /// Follows one node of the source's region as long as that goes well.
    async fn follow(&mut self) -> Result<std::convert::Infallible, Ended> {
        let node = self.source_node()?;
        let progress = self.led.sessions().progress(self.source);
        if let Some(Copying { begin, after, slots, .. }) = progress.copying {
            self.copy(node, begin, (after, &slots)).await?;
        }
        loop {
            let (slots, turned) = self.own();
            let Progress { cursor, slots: stands, .. } = self.led.sessions().progress(self.source);
            self.stream = self.stream.wrapping_add(1);
            // Heard before it is asked for: the first batch may overtake the answer.
            let (events, mut arrivals) = mpsc::unbounded_channel();
            self.followers.streams.lock().insert((node, self.stream), events);
            let _listening = Listening { followers: self.followers.clone(), key: (node, self.stream) };
            let (stream, shard) = (self.stream, self.source.shard);
            let follow = Follow { stream, shard, slots, cursor, stands: stands.clone(), window_bytes: WINDOW_BYTES };
            match self.call(node, calls::FOLLOW, &encode(&follow)).await? {
                Followed::CopyFirst { begin, slots } => drop(self.copy(node, begin, (None, &slots)).await?),
                Followed::Bounded { slots } => self.rebound(node, (cursor.unwrap_or_default(), &stands), slots).await?,
                Followed::NotLeader { leader } => {
                    self.leader = leader.map(|leader| AbroadRoster::number(self.source.region, leader));
                    return Err(Ended::NotLeader);
                }
                Followed::Streaming => {
                    let slots = (&stands, turned);
                    return self.listen(node, cursor.unwrap_or_default(), slots, &mut arrivals).await;
                }
            }
        }
    }

    /// The slots that this shard serves, and up to which entry it has served others.
    fn own(&self) -> (SlotSet, u64) {
        self.led.sessions().served(&self.node.region().slots)
    }

    /// Goes on from a cursor with the slots for which the source speaks since then: leaves out others, and copies those for which the cursor
    /// does not stand.
    async fn rebound(
        &self,
        node: NodeId,
        (cursor, stands): (FeedCursor, &SlotSet),
        slots: SlotSet,
    ) -> Result<(), Ended> {
        let lacking = slots.without(stands);
        if stands.common(&slots) != *stands {
            self.copies.lose(self.source);
            self.absorb(0, Believed::new(), Piece::Bounded { slots }, true).await?;
        }
        if !lacking.is_empty() {
            self.copy(node, cursor, (None, &lacking)).await?;
        }
        Ok(())
    }

    /// The leader of the source, or whoever may know.
    fn source_node(&mut self) -> Result<NodeId, Ended> {
        let named = self.leader.take();
        let known = || {
            let contacts = self.contacts.upgrade()?;
            let whereabouts = contacts.whereabouts(self.source.region)?;
            let theirs = whereabouts.slots.iter().find(|(_, shard)| *shard == self.source.shard);
            let first = theirs.map_or_else(Slot::default, |((first, _), _)| *first);
            contacts.nodes_for(self.source.region, first).first().copied()
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
        (mut after, slots): (Option<Key>, &SlotSet),
    ) -> Result<u64, Ended> {
        let mut changed = 0;
        // Some slots say nothing of how far the others are.
        let is_whole = self.led.sessions().progress(self.source).cursor != Some(begin);
        loop {
            let mut span = Span { after: after.clone(), until: None, slots: slots.clone() };
            span.until = self.led.sessions().copy_reach(&span, self.page_reach);
            let copy = CopyOf { shard: self.source.shard, begin, span };
            let asked = self.led.sessions().last_stamp();
            let bytes = self.rpc.call(node, Lane::Bulk, calls::COPY, &[&encode(&copy)], CALL_TIMEOUT).await?;
            let (as_of, slots, until, homes, records, elsewhere) = match packing::unpack(&bytes)? {
                Copied::Page { as_of, slots, until, homes, records, elsewhere } => {
                    (as_of, slots, until, homes, records, elsewhere)
                }
                // The next stream begins another copy.
                Copied::BeginAnew => return Ok(changed),
                Copied::NotLeader => return Err(Ended::NotLeader),
            };
            let span = Span { until: until.clone(), slots, ..copy.span };
            let homes = self.believed(homes)?;
            let believed = homes.clone();
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
    /// since is not merged with what others wrote, but settled. Or it acted for one of another region, and has not settled it yet.
    fn believed(&self, mut acts: Believed) -> Result<Believed, Ended> {
        let contacts = self.contacts.upgrade().ok_or(Ended::Unknown)?;
        let region = self.source.region;
        let own = self.led.sessions().audit(|state| {
            let outdone = |(home, epoch): (&RegionId, &u32)| state.acts_for(*home).is_some_and(|own| own < *epoch);
            if acts.iter().any(outdone) {
                return Err(Ended::Fenced);
            }
            let own = state.region();
            let wrote = |home: &RegionId| *home != own && state.may_have_acted(*home);
            let mut wrote = acts.iter().filter(|(home, _)| wrote(home));
            match wrote.find(|(home, epoch)| !contacts.may_take_in(**home, region, **epoch)) {
                Some((home, _)) => Err(Ended::Unsettled(*home)),
                None => Ok(own),
            }
        })?;
        if acts.get(&own).is_some_and(|epoch| !contacts.may_take_in(own, region, *epoch)) {
            acts.remove(&own);
        }
        Ok(acts)
    }

    /// Takes in batches as they come, and tells the source how far it is.
    async fn listen(
        &self,
        node: NodeId,
        begin: FeedCursor,
        (slots, turned): (&SlotSet, u64),
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
                    let TakenIn { bytes, index, echo_ms, is_awaited, end_index, homes } = taken?;
                    taken_bytes += bytes;
                    logged_index = index;
                    self.copies.hold(self.source, FeedCursor { index, ..begin });
                    if is_awaited {
                        tick(taken_bytes, logged_index, None);
                    }
                    self.copies.fall_behind(self.source, end_index.max(told.index).saturating_sub(index));
                    if let Some(echo_ms) = echo_ms {
                        self.copies.hear(self.source, slots, homes, Duration::from_millis(echo_ms));
                    }
                }
                Some(answer) = asking.next(), if !asking.is_empty() => digests = answer,
                _ = comparing.tick(), if asking.is_empty() && digests.is_none() => {
                    turn = turn.wrapping_add(1);
                    asking.push(self.digests(node, compare::part(slots, turn)));
                }
                _ = ticks.tick() => {
                    if self.led.sessions().turned() != turned {
                        return Err(Ended::Turned);
                    }
                    let ping_ms = u64::try_from(self.clock.boot().as_millis()).unwrap_or(u64::MAX);
                    tick(taken_bytes, logged_index, Some(ping_ms));
                }
                event = timeout_at(silent_at, arrivals.recv()) => {
                    let Event::Batch(body) = event.map_err(|_| Ended::Silent)?.ok_or(Ended::Over)? else {
                        while let Some(taken) = taking.next().await {
                            taken?;
                        }
                        if told != logged {
                            // The source goes on from here with other slots.
                            let (records, turned) = (Vec::new(), SlotSet::default());
                            let piece = Piece::Changes { after: logged, next: told, records, turned };
                            self.absorb(0, Believed::new(), piece, true).await?;
                        }
                        return Err(Ended::Over);
                    };
                    silent_at = Instant::now() + SILENCE_MAX;
                    let batch = unpacker.unpack(&body)?;
                    let Batch { after, next, as_of, echo_ms, end_index, is_awaited, acts, records, turned } = batch;
                    let acts = self.believed(acts)?;
                    if after != told {
                        return Err(Ended::Gap);
                    }
                    told = next;
                    let (bytes, index, homes) = (body.len() as u64, next.index, acts.keys().copied().collect());
                    let taken = TakenIn { bytes, index, echo_ms, is_awaited, end_index, homes };
                    if records.is_empty() && turned.is_empty() && next.index < logged.index + IDLE_ENTRIES_MAX {
                        taking.push_back(Box::pin(std::future::ready(Ok(taken))));
                    } else {
                        let piece = Piece::Changes { after: logged, next, records, turned };
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
        Piece::Changes { after, next, records, turned } if !records.is_empty() => {
            let cursor = Piece::Changes { after, next, records: Vec::new(), turned: SlotSet::default() };
            (cursor, Some(Piece::Changes { after: next, next, records, turned }))
        }
        piece @ (Piece::Changes { .. } | Piece::Page { .. } | Piece::Bounded { .. } | Piece::Held { .. }) => {
            (piece, None)
        }
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
