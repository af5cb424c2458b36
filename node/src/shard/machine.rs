//! A shard's sessions as entries are applied to them.

use super::{
    batch,
    cold::Shelf,
    leases::is_leased,
    planted::Planted,
    rows::{LoadingSessions, UnsavedSessions},
    touches::{Intervals, Touches},
};
use crate::{
    engine::Part,
    env::Spawn,
    raft::{Applied, Machine, Proposal, Unsaved},
    region::backend::Notice,
};
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use sojourn_core::{
    Command, Effect, Key, NamespaceId, Op, Record, RegionId, ShardId, Slot, Stamp, State,
    feed::{Feed, FeedId},
    slots::SlotStep,
    state::{Answers, Departure, Usage},
    stream::{Progress, Source},
};
use std::{
    io, mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::{Notify, broadcast, futures::Notified};

/// The most bytes of changes that a replica keeps for those who follow it.
const FEED_BYTES_MAX: u64 = 4 << 20;

/// The sessions of one shard.
pub struct Sessions {
    pub(super) shard: ShardId,
    pub(super) state: RwLock<State>,
    pub(super) shelf: Shelf,
    /// The index of the last entry, noted before its changes are told; 0 before the first.
    applied: AtomicU64,
    pub(super) feed: Mutex<Feed>,
    /// Woken whenever the feed grows.
    fed: Notify,
    pub(super) touches: Touches,
    /// Whether it has logged that it answers under leases only: asked for every request.
    pub(super) leased: AtomicBool,
    notices: broadcast::Sender<Arc<Notice>>,
    /// Takes what is not needed any more: dropping it would hold up all that this node does.
    spawn: Arc<dyn Spawn>,
    pub(super) planted: Option<Planted>,
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.spawn.discard(Box::new(mem::take(self.state.get_mut())));
    }
}

impl Sessions {
    /// An empty shard whose fields are kept in `part` where memory does not hold them; what is applied is told to
    /// `notices`. As leader it logs touches at these intervals. What it does not need any more is dropped by `spawn`.
    pub fn new(
        shard: ShardId,
        region: RegionId,
        epoch: u32,
        intervals: Intervals,
        part: Part,
        notices: broadcast::Sender<Arc<Notice>>,
        spawn: Arc<dyn Spawn>,
    ) -> Self {
        Self {
            shard,
            state: RwLock::new(State::new(region, epoch)),
            shelf: Shelf::new(part),
            touches: Touches::new(intervals),
            leased: AtomicBool::new(false),
            applied: AtomicU64::new(0),
            feed: Mutex::new(Feed::new(FeedId::UNNAMED, FEED_BYTES_MAX)),
            fed: Notify::new(),
            notices,
            spawn,
            planted: None,
        }
    }

    /// The last stamp that was applied.
    pub fn last_stamp(&self) -> Stamp {
        self.state.read().last_stamp()
    }

    /// The index of the last entry that was applied since the node started, if one was. Who subscribes and then asks is told
    /// of all later ones.
    pub fn applied(&self) -> Option<u64> {
        Some(self.applied.load(Ordering::SeqCst)).filter(|index| *index > 0)
    }

    /// Completes when more can be followed than when this was enabled.
    pub fn fed(&self) -> Notified<'_> {
        self.fed.notified()
    }

    /// How far this shard has followed a source.
    pub fn progress(&self, source: Source) -> Progress {
        self.state.read().progress(source)
    }

    /// Whether this shard acts for a home, by what it has applied.
    pub fn acts_for(&self, home: RegionId) -> bool {
        self.state.read().acts_for(home).is_some()
    }

    /// Whether this shard serves a slot, by what it has applied.
    pub fn serves(&self, slot: Slot) -> bool {
        self.state.read().serves(slot)
    }

    /// Whether something may be missing here of what was written for a home before it changed hands.
    pub fn lacks(&self, home: RegionId) -> bool {
        self.state.read().lacks(home)
    }

    /// Sessions that left for another shard before `left_before` and are not settled yet, at most `max`.
    pub fn departures(&self, left_before: Stamp, max: usize) -> Vec<(Key, Departure)> {
        self.state.read().departures(left_before, max)
    }

    /// Namespaces that have sessions here, and how much of them.
    pub fn usages(&self) -> Vec<(NamespaceId, Usage)> {
        self.state.read().namespaces().collect()
    }

    /// What the fields in memory cost, in bytes.
    pub fn hot_bytes(&self) -> u64 {
        self.state.read().hot_bytes()
    }

    /// The record under `key` as it is.
    pub fn record(&self, key: &Key) -> Option<Arc<Record>> {
        self.state.read().record(key).cloned()
    }

    /// Looks at the whole state, for audits.
    pub fn audit<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read())
    }

    /// Tells those who watch, and those who follow of what this region orders.
    fn tell(&self, index: u64, stamp: Stamp, mut effects: Vec<Effect>) {
        self.applied.store(index, Ordering::SeqCst);
        if self.notices.receiver_count() > 0 {
            for (ordinal, Effect { key, event, record, told: _ }) in (0..).zip(effects.iter().cloned()) {
                let notice = Notice::Changed { key, event, shard: self.shard, index, ordinal, record };
                // Nobody may be listening any more.
                let _listeners = self.notices.send(Arc::new(notice));
            }
        }
        effects.retain(|effect| effect.told);
        self.feed.lock().push(index, stamp, effects);
        self.fed.notify_waiters();
    }
}

/// The slot that a command may let go, or take in.
fn turns(command: &Command) -> Option<Slot> {
    let Op::Slot { slot, step } = command.op else { return None };
    match step {
        SlotStep::Freeze { .. } | SlotStep::Thaw { .. } | SlotStep::Adopt { .. } => Some(slot),
        SlotStep::Leave(_) | SlotStep::Arrive(_) | SlotStep::Abandon { .. } | SlotStep::Drop { .. } => None,
    }
}

impl Machine for Sessions {
    type Entry = (Stamp, Vec<Command>);
    type Loading = LoadingSessions;

    fn read(&self, proposal: &Proposal) -> io::Result<Self::Entry> {
        batch::decode(proposal)
    }

    async fn warm(&self, (_, commands): &Self::Entry) -> io::Result<()> {
        self.fetch_for(commands).await
    }

    fn apply(&self, index: u64, (stamp, commands): Self::Entry) -> Result<Applied, Self::Entry> {
        let stamp = self.local_stamp().unwrap_or(stamp);
        let mut effects = Vec::with_capacity(commands.len());
        let joins = |command: &Command| matches!(command.op, Op::Slot { step: SlotStep::Adopt { .. }, .. });
        let joined = commands.iter().any(joins);
        let turned: Vec<Slot> = commands.iter().filter_map(turns).collect();
        let outcomes = {
            let mut state = self.state.write();
            if !state.cold_for_commands(&commands).is_empty() {
                return Err((stamp, commands));
            }
            state.plants.sequence = self.version_of(index);
            let outcomes = commands.into_iter().map(|command| state.apply(stamp, command, &mut effects)).collect();
            // Whoever sees that other slots are served sees from which entry on.
            if !turned.is_empty() {
                self.feed.lock().turn(index, turned);
            }
            state.release();
            self.leased.store(is_leased(&state), Ordering::SeqCst);
            self.shelf.make_room(&mut state);
            outcomes
        };
        if joined {
            self.touches.join(self.last_stamp());
        }
        self.tell(index, stamp, effects);
        Ok(Applied::Sessions(outcomes))
    }

    fn pass(&self, index: u64) {
        self.feed.lock().push(index, 0, Vec::new());
    }

    fn unsaved_bytes(&self) -> u64 {
        self.state.read().unsaved_bytes()
    }

    fn take_unsaved(&self) -> Box<dyn Unsaved> {
        let mut state = self.state.write();
        let mut meta = state.meta();
        if self.forgets_requests() {
            meta.answers = Answers::default();
        }
        Box::new(UnsavedSessions { meta, changes: state.take_unsaved() })
    }

    fn settle(&self, saved: bool) {
        if saved {
            let written = self.state.write().saved();
            self.spawn.discard(Box::new(written));
        } else {
            self.state.write().not_saved();
        }
    }

    fn loading(&self) -> LoadingSessions {
        LoadingSessions::default()
    }

    async fn adopt(&self, index: u64, loaded: Option<State>, commit: BoxFuture<'_, io::Result<()>>) -> io::Result<()> {
        let Some(mut loaded) = loaded else { return commit.await };
        let _alone = self.shelf.replaced.write().await;
        commit.await?;
        let mut state = self.state.write();
        loaded.plants = state.plants.clone();
        let before = mem::replace(&mut *state, loaded);
        self.leased.store(is_leased(&state), Ordering::SeqCst);
        self.feed.lock().skip(index);
        self.shelf.make_room(&mut state);
        drop(state);
        self.spawn.discard(Box::new(before));
        // Nobody may be listening.
        let _listeners = self.notices.send(Arc::new(Notice::Skipped { shard: self.shard }));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
