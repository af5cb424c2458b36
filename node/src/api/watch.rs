//! Watchers: one listener per node hears what the region tells and keeps the last of it; each watcher reads along at its own
//! pace. The listener runs only while somebody watches, and a little longer for those who come back.

use super::{
    Api, Room,
    ring::{Places, Position, Ring, RingLimits, Told},
};
use crate::region::backend::{Backend, Notice};
use parking_lot::Mutex;
use sojourn_core::{Event, NamespaceId, ShardId};
use sojourn_proto::{
    sessions::{
        Failure,
        answers::{Change, ChangeKind, News},
        calls::Watch,
    },
    wire::{decode_all, encode},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{
    sync::{
        broadcast::{
            Receiver,
            error::{RecvError, TryRecvError},
        },
        watch,
    },
    time::Instant,
};

/// What a node keeps for watchers.
const LIMITS: RingLimits = RingLimits { changes_max: 16_384, bytes_max: 8 << 20 };

/// How long changes are kept after the last watcher left.
const LINGER: Duration = Duration::from_secs(60);

/// Changes in one message.
const CHANGES_PER_NEWS_MAX: usize = 256;

/// The version of resume tokens.
const TOKEN_FORMAT: u8 = 1;

/// A node's watchers.
pub(super) struct Watches {
    backend: Arc<dyn Backend>,
    kept: Mutex<Kept>,
    /// Told whenever something was kept.
    stirred: watch::Sender<()>,
}

#[derive(Default)]
struct Kept {
    /// While the listener runs.
    ring: Option<Ring>,
    watchers: usize,
    /// When the last watcher left.
    left_at: Option<Instant>,
}

/// One watcher, from the beginning of its stream to the end.
pub struct Watcher {
    watches: Arc<Watches>,
    stirred: watch::Receiver<()>,
    namespace: NamespaceId,
    ids: BTreeSet<Box<[u8]>>,
    keep_alive: Duration,
    /// The number of the next change in the ring.
    next: u64,
    /// How far it was told.
    places: Places,
    /// Whether to say something although nothing has changed.
    greets: bool,
    lagged: bool,
}

impl Api {
    /// Begins or resumes watching the namespace.
    ///
    /// # Errors
    /// A token that no node gave out.
    pub fn watch(&self, room: &Room<'_>, call: Watch) -> Result<Watcher, Failure> {
        let Watch { ids, resume_token, keep_alive } = call;
        let resumed = decode_token(&resume_token)?;
        let watches = Arc::clone(&self.watches);
        let stirred = watches.stirred.subscribe();
        let (next, places, lagged) = watches.begin(resumed);
        let (namespace, ids) = (room.id(), ids.into_iter().collect());
        Ok(Watcher { watches, stirred, namespace, ids, keep_alive, next, places, greets: true, lagged })
    }
}

impl Watches {
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend, kept: Mutex::default(), stirred: watch::Sender::new(()) }
    }

    /// Counts a watcher in: where it goes on, how far it was told, and whether it missed something.
    fn begin(self: &Arc<Self>, resumed: Option<Places>) -> (u64, Places, bool) {
        let mut kept = self.kept.lock();
        kept.watchers += 1;
        kept.left_at = None;
        let ring = kept.ring.get_or_insert_with(|| self.listen());
        match resumed {
            None => (ring.end(), ring.latest().clone(), false),
            Some(places) => match ring.resume(&places) {
                Some(next) => (next, places, false),
                None => (ring.end(), ring.latest().clone(), true),
            },
        }
    }

    fn listen(self: &Arc<Self>) -> Ring {
        // Subscribed first: what is applied after the places were read is told.
        let notices = self.backend.subscribe();
        let shards = &self.backend.topology().shards;
        let places = shards.iter().map(|(shard, place)| (*shard, Position::after(place.applied.unwrap_or(0))));
        tokio::spawn(listen(Arc::clone(self), notices));
        Ring::new(LIMITS, places.collect())
    }

    /// Keeps what was heard.
    fn keep(&self, heard: impl IntoIterator<Item = Heard>) {
        let mut kept = self.kept.lock();
        let Some(ring) = &mut kept.ring else { return };
        for heard in heard {
            match heard {
                Heard::Change(told) => ring.push(*told),
                Heard::Skipped(shard) => ring.skip(shard),
            }
        }
        drop(kept);
        self.stirred.send_replace(());
    }

    /// Stops keeping if nobody has watched for a while; says whether it did.
    fn stop_if_unwatched(&self) -> bool {
        let mut kept = self.kept.lock();
        let is_over = kept.left_at.is_some_and(|at| at.elapsed() >= LINGER);
        if is_over {
            *kept = Kept::default();
        }
        is_over
    }

    /// Counts a watcher out.
    fn leave(&self) {
        let mut kept = self.kept.lock();
        kept.watchers -= 1;
        if kept.watchers == 0 {
            kept.left_at = Some(Instant::now());
        }
    }
}

enum Heard {
    Change(Box<Told>),
    /// Changes of this shard, or of any, were not heard.
    Skipped(Option<ShardId>),
}

impl Heard {
    fn of(notice: &Notice) -> Option<Self> {
        match notice {
            Notice::Changed { key, event, shard, index, ordinal, record } => {
                let change = Change {
                    id: key.id().into(),
                    kind: kind_of(*event),
                    version: record.version,
                    deadline: record.deadline(),
                    owner: record.owner.clone(),
                };
                let position = Position { index: *index, ordinal: *ordinal };
                Some(Self::Change(Box::new(Told { shard: *shard, position, namespace: key.namespace(), change })))
            }
            Notice::Skipped { shard } => Some(Self::Skipped(Some(*shard))),
            Notice::Published { .. } => None,
        }
    }
}

fn kind_of(event: Event) -> ChangeKind {
    match event {
        Event::Set | Event::Changed(_) => ChangeKind::Written,
        Event::Expire | Event::Touched | Event::Persist => ChangeKind::Touched,
        Event::Del => ChangeKind::Destroyed,
        Event::Expired => ChangeKind::Expired,
        Event::RenameFrom => ChangeKind::RenamedAway,
        Event::RenameTo => ChangeKind::RenamedTo,
    }
}

async fn listen(watches: Arc<Watches>, mut notices: Receiver<Arc<Notice>>) {
    while !watches.stop_if_unwatched() {
        match tokio::time::timeout(LINGER, notices.recv()).await {
            Ok(Ok(notice)) => watches.keep(Heard::of(&notice)),
            Ok(Err(RecvError::Lagged(_))) => watches.keep([Heard::Skipped(None)]),
            Ok(Err(RecvError::Closed)) => return,
            Err(_) => continue,
        }
        // What came meanwhile is kept under one lock.
        let mut more = Vec::new();
        loop {
            match notices.try_recv() {
                Ok(notice) => more.extend(Heard::of(&notice)),
                Err(TryRecvError::Lagged(_)) => more.push(Heard::Skipped(None)),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Closed) => return,
            }
            if more.len() >= CHANGES_PER_NEWS_MAX {
                break;
            }
        }
        watches.keep(more);
    }
}

impl Watcher {
    /// The next message: changes if there are any, a sign of life if not.
    pub async fn next(&mut self) -> News {
        let alive_at = Instant::now() + self.keep_alive;
        loop {
            // Before looking, so that nothing is kept unseen.
            self.stirred.mark_unchanged();
            let changes = self.take();
            let (greets, lagged) = (std::mem::take(&mut self.greets), std::mem::take(&mut self.lagged));
            if greets || lagged || !changes.is_empty() {
                return News { changes, lagged, resume: encode_token(&self.places) };
            }
            // The sender lives as long as `watches`.
            if !matches!(tokio::time::timeout_at(alive_at, self.stirred.changed()).await, Ok(Ok(()))) {
                self.greets = true;
            }
        }
    }

    /// Takes what it has not been told, or notes that it lagged.
    fn take(&mut self) -> Vec<Change> {
        let kept = self.watches.kept.lock();
        let Some(ring) = &kept.ring else { return Vec::new() };
        let Some(taken) = ring.since(self.next, CHANGES_PER_NEWS_MAX) else {
            self.next = ring.end();
            self.places.clone_from(ring.latest());
            self.lagged = true;
            return Vec::new();
        };
        drop(kept);
        self.next += taken.len() as u64;
        let mut changes = Vec::new();
        for told in taken {
            let place = self.places.entry(told.shard).or_default();
            // Told by another node before.
            if told.position <= *place {
                continue;
            }
            *place = told.position;
            let is_wanted = self.ids.is_empty() || self.ids.contains(&told.change.id);
            if told.namespace == self.namespace && is_wanted {
                changes.push(told.change.clone());
            }
        }
        changes
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.watches.leave();
    }
}

fn encode_token(places: &Places) -> Box<[u8]> {
    let places: Vec<(ShardId, u64, u32)> =
        places.iter().map(|(shard, place)| (*shard, place.index, place.ordinal)).collect();
    let mut token = vec![TOKEN_FORMAT];
    token.extend(encode(&places));
    token.into()
}

/// The places that a token names; `None` for an empty one.
fn decode_token(token: &[u8]) -> Result<Option<Places>, Failure> {
    const BAD: Failure = Failure::BadToken("resume");
    match token.split_first() {
        None => Ok(None),
        Some((&TOKEN_FORMAT, places)) => {
            let places: Vec<(ShardId, u64, u32)> = decode_all(places).map_err(|_| BAD)?;
            let place = |(shard, index, ordinal)| (shard, Position { index, ordinal });
            Ok(Some(places.into_iter().map(place).collect()))
        }
        Some(_) => Err(BAD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_back_and_others_are_refused() {
        let places = Places::from([(ShardId(3), Position { index: 7, ordinal: 1 }), (ShardId(0), Position::after(9))]);
        let token = encode_token(&places);
        assert_eq!(decode_token(&token), Ok(Some(places)));
        assert_eq!(decode_token(b""), Ok(None));
        for bad in [&token[..token.len() - 1], b"\x02", b"\x01\xff\xff\xff\xff"] {
            assert_eq!(decode_token(bad), Err(Failure::BadToken("resume")), "{bad:?}");
        }
    }
}
