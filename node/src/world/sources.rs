//! The sending side of change streams: what a shard's leader changes, for the regions that follow.
//!
//! A stream sends as the feed grows, within the window that its follower grants. Several changes of a session in one batch
//! are its latest record. A stream ends when its node does not lead the shard any more, when the feed does not reach back to
//! it, or when its follower is silent: the follower begins another one.

use super::{
    calls::{self, Batch, Copied, CopyOf, Digests, DigestsOf, Follow, Followed, Held, HeldOf, Tick},
    compare::{SLOTS_AT_ONCE, runs},
    packing::{self, Packer},
};
use crate::{
    peers::{AbroadRoster, Lane, Reply, Rpc},
    raft::spawn,
    region::{RegionNode, acks::Acks, backend::Backend, led::Led},
    shard::Leases,
};
use parking_lot::Mutex;
use sojourn_core::{
    Key, NodeId, Record, RegionId, ShardId, Slot, SlotSet, State,
    feed::{Changed, FeedBounds, FeedCursor, Followed as Fed},
    stream::Span,
};
use sojourn_proto::wire::encode;
use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

/// Between two batches of one stream: changes that come meanwhile share one.
const BATCH_PAUSE: Duration = Duration::from_millis(16);

/// A follower that says nothing for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// How much goes at a time. A simulation has few sessions, and small pieces of them.
#[derive(Clone, Copy, Debug)]
pub struct StreamBounds {
    /// What one batch holds at most: entries, of which each was one write at least, and about so many bytes of sessions.
    pub batch: FeedBounds,
    /// What one page of a copy holds.
    pub page: FeedBounds,
    /// Records of the following shard that one page may speak of.
    pub page_reach: usize,
}

impl Default for StreamBounds {
    fn default() -> Self {
        Self {
            batch: FeedBounds { entries_max: 4_096, bytes_max: 512 << 10 },
            page: FeedBounds { entries_max: 512, bytes_max: 512 << 10 },
            page_reach: 1_024,
        }
    }
}

/// Streams of one node: one for each of its shards, of each shard of each other region.
const STREAMS_MAX: usize = 65_536;

/// The streams that this node sends.
pub(super) struct Sources {
    node: RegionNode,
    rpc: Rpc,
    bounds: StreamBounds,
    streams: Mutex<BTreeMap<(NodeId, u64), Arc<Stream>>>,
}

/// What a follower has said of its stream.
#[derive(Default)]
struct Heard {
    taken_bytes: u64,
    /// A ping that is not echoed yet.
    ping_ms: Option<u64>,
    ended: bool,
}

struct Stream {
    heard: Mutex<Heard>,
    told: Notify,
    to: RegionId,
    slots: SlotSet,
    acks: Arc<Acks>,
}

impl Stream {
    fn hear(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.heard.lock());
        self.told.notify_one();
    }
}

impl Sources {
    pub fn new(node: RegionNode, rpc: Rpc, bounds: StreamBounds) -> Arc<Self> {
        Arc::new(Self { node, rpc, bounds, streams: Mutex::default() })
    }

    fn led(&self, shard: ShardId) -> Option<Led> {
        self.node.led().into_iter().find(|led| led.shard == shard)
    }

    /// Begins a stream, if this node leads the shard and its feed reaches back far enough.
    pub fn follow(self: &Arc<Self>, from: NodeId, follow: Follow, reply: Reply) {
        let Some(led) = self.led(follow.shard) else {
            return reply.send(&[&encode(&Followed::NotLeader { leader: self.node.leader(follow.shard) })]);
        };
        let sources = self.clone();
        drop(spawn(async move {
            if !led.confirm().await {
                return reply.send(&[&encode(&Followed::NotLeader { leader: None })]);
            }
            // Read first: a copy is of what is served later, and a page says so itself.
            let begin = led.sessions().feed_end();
            let (served, turned) = led.sessions().served(&sources.node.region().slots);
            let slots = served.common(&follow.slots);
            let reaches = |cursor: &FeedCursor| led.sessions().reaches(*cursor);
            let Some(cursor) = follow.cursor.filter(reaches) else {
                return reply.send(&[&encode(&Followed::CopyFirst { begin, slots })]);
            };
            // What it lacks of the time before the shard served other slots it is told first.
            if cursor.index >= turned && slots != follow.stands {
                return reply.send(&[&encode(&Followed::Bounded { slots })]);
            }
            let (Some(to), acks) = (AbroadRoster::region_of(from), led.acks().clone()) else {
                return reply.refuse("only other regions follow");
            };
            let Ok(packer) = Packer::new() else { return reply.refuse("no memory for another stream") };
            let slots = follow.stands.clone();
            let (heard, told) = (Mutex::default(), Notify::new());
            let stream = Arc::new(Stream { heard, told, to, slots, acks: acks.clone() });
            let key = (from, follow.stream);
            {
                let mut streams = sources.streams.lock();
                if streams.len() >= STREAMS_MAX {
                    return reply.refuse("the node sends as many streams as it may");
                }
                streams.insert(key, stream.clone());
            }
            // What it begins with, it has logged.
            acks.hear(key, to, &stream.slots, cursor.index);
            reply.send(&[&encode(&Followed::Streaming)]);
            let bounds = sources.bounds.batch;
            let (told, sent_bytes, due) = (cursor, 0, None);
            let turned = if cursor.index < turned { 0 } else { turned };
            let leases = sources.node.leases().clone();
            let sending = Sending {
                to: from,
                follow,
                led,
                leases,
                stream,
                bounds,
                cursor,
                turned,
                told,
                sent_bytes,
                packer,
                due,
            };
            sending.run(Arc::downgrade(&sources), sources.rpc.clone()).await;
            sources.streams.lock().remove(&key);
            acks.lose(key);
            sources.rpc.notify(key.0, Lane::Bulk, calls::OVER, &[&encode(&key.1)]);
        }));
    }

    /// Answers a page of a copy.
    pub fn copy(self: &Arc<Self>, copy: CopyOf, reply: Reply) {
        let (led, bounds, node) = (self.led(copy.shard), self.bounds.page, self.node.clone());
        drop(spawn(async move {
            let copied = match led {
                Some(led) if led.confirm().await => page(&node, &led, copy, bounds).await,
                Some(_) | None => Copied::NotLeader,
            };
            reply.send(&[&packing::pack(&copied)]);
        }));
    }

    /// Answers a page of what a shard holds of a home.
    pub fn held(self: &Arc<Self>, wanted: HeldOf, reply: Reply) {
        let (led, bounds) = (self.led(wanted.shard), self.bounds.page);
        drop(spawn(async move {
            let held = match led {
                Some(led) if led.confirm().await => held_page(&led, &wanted, bounds).await,
                Some(_) | None => Held::NotLeader,
            };
            reply.send(&[&packing::pack(&held)]);
        }));
    }

    /// Answers digests.
    pub fn digests(&self, of: DigestsOf, reply: Reply) {
        let led = self.led(of.shard);
        drop(spawn(async move {
            let digests = match led {
                Some(led) => digests(&led, &of.slots).await,
                None => None,
            };
            reply.send(&[&packing::pack(&digests)]);
        }));
    }

    /// Hears a follower.
    pub fn tick(&self, from: NodeId, tick: &Tick) {
        let key = (from, tick.stream);
        // Held, so that a stream that ends now is not known for longer than it lasts.
        let streams = self.streams.lock();
        if let Some(stream) = streams.get(&key) {
            stream.acks.hear(key, stream.to, &stream.slots, tick.logged_index);
            stream.hear(|heard| {
                heard.taken_bytes = tick.taken_bytes;
                heard.ping_ms = tick.ping_ms.or(heard.ping_ms);
            });
        }
    }

    /// Ends the streams to a node that cannot be reached.
    pub fn lose(&self, peer: NodeId) {
        let streams = self.streams.lock();
        let theirs = streams.iter().filter(|((to, _), _)| *to == peer);
        theirs.for_each(|(_, stream)| stream.hear(|heard| heard.ended = true));
    }
}

async fn held_page(led: &Led, HeldOf { shard: _, home, epoch, since, span }: &HeldOf, bounds: FeedBounds) -> Held {
    let sessions = led.sessions();
    let serves = |state: &State| span.slots.iter().all(|(first, last)| state.serves_all(*first, *last));
    if sessions.audit(|state| state.promised(*home) < *epoch || !serves(state)) {
        return Held::NotYet;
    }
    match sessions.held_page(*home, *since, span, bounds).await {
        Ok(page) => Held::Page {
            records: page.records.into_iter().map(|(key, record)| (key, (*record).clone())).collect(),
            until: page.until,
        },
        Err(error) => {
            tracing::error!(%error, "a session cannot be read from the engine");
            Held::NotLeader
        }
    }
}

async fn page(node: &RegionNode, led: &Led, CopyOf { shard: _, begin, span }: CopyOf, bounds: FeedBounds) -> Copied {
    let sessions = led.sessions();
    if !sessions.reaches(begin) {
        return Copied::BeginAnew;
    }
    let as_of = sessions.last_stamp();
    let (served, turned) = sessions.served(&node.region().slots);
    let slots = served.common(&span.slots);
    let copied = sessions.copy_page(&Span { slots: slots.clone(), ..span }, bounds).await;
    // A slot that was let go meanwhile would look empty.
    if sessions.turned() != turned {
        return Copied::BeginAnew;
    }
    match copied {
        Ok(page) => Copied::Page {
            as_of,
            slots,
            until: page.until,
            homes: page.homes,
            records: page.records.into_iter().map(|(key, record)| (key, (*record).clone())).collect(),
            elsewhere: page.elsewhere,
        },
        Err(error) => {
            tracing::error!(%error, "a session cannot be read from the engine");
            Copied::NotLeader
        }
    }
}

/// Digests of these slots, a few at once: nobody may hold the shard up for long.
async fn digests(led: &Led, slots: &[(Slot, Slot)]) -> Option<Digests> {
    let mut digests = Vec::new();
    for run in runs(slots, SLOTS_AT_ONCE) {
        digests.extend(led.sessions().digests(run.0, run.1));
        tokio::task::yield_now().await;
    }
    // The entry that was applied last may not be in the feed yet; it is once all is that was acknowledged before now.
    let homes = led.sessions().audit(sojourn_core::State::acts);
    led.confirm().await.then(|| Digests { index: led.sessions().feed_end().index, homes, slots: digests })
}

/// A stream on its way.
struct Sending {
    to: NodeId,
    follow: Follow,
    led: Led,
    leases: Arc<Leases>,
    stream: Arc<Stream>,
    bounds: FeedBounds,
    /// All up to here was sent, or is no business of the follower's.
    cursor: FeedCursor,
    /// The index from which on the shard has served the same slots as now; 0 if it has served others since the cursor.
    turned: u64,
    /// What the follower was told of that.
    told: FeedCursor,
    sent_bytes: u64,
    packer: Packer,
    /// A ping, and the index up to which everything has to be sent before it is echoed.
    due: Option<(u64, u64)>,
}

impl Sending {
    async fn run(mut self, sources: Weak<Sources>, rpc: Rpc) {
        let mut silent_at = Instant::now() + SILENCE_MAX;
        while sources.strong_count() > 0 && Instant::now() < silent_at {
            let led = self.led.clone();
            let fed = led.sessions().fed();
            tokio::pin!(fed);
            fed.as_mut().enable();
            let Some((window, was_told)) = self.look().await else { return };
            if was_told {
                silent_at = Instant::now() + SILENCE_MAX;
            }
            let Some(batch) = self.next_batch(window).await else { return };
            match batch {
                Some(batch) => {
                    let Ok(bytes) = self.packer.pack(&batch) else { return };
                    self.sent_bytes += bytes.len() as u64;
                    rpc.notify(self.to, Lane::Bulk, calls::BATCH, &[&self.follow.stream.to_le_bytes(), &bytes]);
                    sleep(BATCH_PAUSE).await;
                }
                None => tokio::select! {
                    biased;
                    () = fed => {}
                    () = self.stream.told.notified() => {}
                    () = sleep_until(silent_at) => {}
                },
            }
        }
    }

    /// Takes in what the follower has said: how much may be sent now, and whether it has said anything; none if the stream is
    /// over.
    async fn look(&mut self) -> Option<(u64, bool)> {
        let (ping, taken_bytes) = {
            let mut heard = self.stream.heard.lock();
            if heard.ended {
                return None;
            }
            (heard.ping_ms.take(), heard.taken_bytes)
        };
        if let Some(ping) = ping {
            if !self.led.confirm().await {
                return None;
            }
            // Else somebody else may have written, another region or the shard that serves some of these slots by now.
            let sessions = self.led.sessions();
            let vouches = sessions.turned() == self.turned && sessions.vouches(&self.leases);
            self.due = vouches.then(|| (ping, self.led.sessions().feed_end().index));
        }
        let window = self.follow.window_bytes.saturating_sub(self.sent_bytes.saturating_sub(taken_bytes));
        Some((window, ping.is_some()))
    }

    /// What is to be sent now, if anything; none at all if the feed does not reach back.
    async fn next_batch(&mut self, window_bytes: u64) -> Option<Option<Batch>> {
        let sessions = self.led.sessions().clone();
        let turned = sessions.turned();
        if turned != self.turned && self.told.index >= turned {
            // The follower begins another stream, of the slots that the shard serves by now.
            return None;
        }
        let (mut as_of, acts) = (0, sessions.audit(State::acts));
        let mut records = BTreeMap::new();
        if window_bytes > 0 {
            let FeedBounds { bytes_max, entries_max } = self.bounds;
            let bounds = FeedBounds { bytes_max: window_bytes.min(bytes_max), entries_max };
            match sessions.follow(self.cursor, bounds).await {
                Ok(Fed::Changes { entries, next }) => {
                    self.cursor = next;
                    as_of = entries.last().map_or(0, |entry| entry.stamp);
                    records = latest(entries, &self.stream.slots);
                }
                Ok(Fed::CursorTooOld) => return None,
                Err(error) => {
                    tracing::error!(%error, "a session cannot be read from the engine");
                    return None;
                }
            }
        }
        let echo_ms = self.due.take_if(|(_, index)| *index <= self.cursor.index).map(|(ping, _)| ping);
        let (after, next) = (self.told, self.cursor);
        let is_awaited = after != next && self.led.acks().are_awaited();
        let ends = turned != self.turned && next.index >= turned;
        if records.is_empty() && echo_ms.is_none() && !is_awaited && !ends {
            return Some(None);
        }
        self.told = next;
        let turned = sessions.turns(after.index, next.index).common(&self.follow.slots);
        let end_index = sessions.feed_end().index;
        let records = records.into_iter().collect();
        Some(Some(Batch { after, next, as_of, echo_ms, end_index, is_awaited, acts, records, turned }))
    }
}

/// The latest record of each session of these slots.
fn latest(entries: Vec<Changed>, slots: &[(Slot, Slot)]) -> BTreeMap<Key, Record> {
    let effects = entries.into_iter().flat_map(|entry| entry.effects);
    let ours = effects.filter(|effect| slots.iter().any(|(first, last)| (*first..=*last).contains(&effect.key.slot())));
    let latest: BTreeMap<Key, Arc<Record>> = ours.map(|effect| (effect.key, effect.record)).collect();
    latest.into_iter().map(|(key, record)| (key, Arc::unwrap_or_clone(record))).collect()
}

#[cfg(test)]
mod tests;
