//! Somebody outside who keeps a copy of every shard by its feed alone, as another region does: changes after a cursor from
//! whichever node leads, a copy page by page where the cursor is too old, both merged as the core merges.

use super::world::{self, Running, World};
use rand::{Rng, rngs::StdRng};
use sojourn_core::{
    Key, Record, ShardId,
    feed::{FeedBounds, FeedCursor, Followed},
    merge::merge,
    stream::{CopyPage, Span},
};
use sojourn_node::{region::backend::Backend, shard::Sessions};
use std::{collections::BTreeMap, io, sync::Arc, time::Duration};
use tokio::sync::watch;

/// What the follower has of each shard.
#[derive(Default)]
pub struct Copies {
    shards: BTreeMap<ShardId, Copy>,
}

/// A copy of one shard.
#[derive(Default)]
struct Copy {
    records: BTreeMap<Key, Record>,
    stage: Stage,
}

/// How far a copy is.
#[derive(Clone, Default)]
enum Stage {
    /// Nothing yet, or nothing that can be gone on with.
    #[default]
    Begin,
    /// A new copy is on its way: up to this key, from this place of the feed on.
    Copying { after: Option<Key>, since: FeedCursor, fresh: BTreeMap<Key, Record> },
    /// It follows.
    Following(FeedCursor),
}

/// What a leader answers.
enum Pulled {
    Changes(io::Result<Followed>),
    Page(io::Result<CopyPage>, FeedCursor),
}

impl Copies {
    /// Pulls until told to end.
    pub async fn follow(mut self, world: Arc<World>, mut rng: StdRng, end: watch::Receiver<bool>) -> Self {
        while !*end.borrow() {
            // Now and then it is away for longer than some feeds reach back.
            let pause_ms = if rng.random_ratio(1, 20) { 1_500 } else { rng.random_range(0..150) };
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            let shard = ShardId(rng.random_range(0..world::SHARDS));
            let bounds = FeedBounds { entries_max: rng.random_range(1..10), bytes_max: rng.random_range(1..20_000) };
            self.pull(&world, shard, bounds).await;
        }
        self
    }

    /// Pulls until nothing is new. Returns whether it came so far.
    pub async fn catch_up(&mut self, world: &World) -> bool {
        for shard in world::shards() {
            let mut pulls = 0;
            while !self.pull(world, shard, FeedBounds { entries_max: 100, bytes_max: 1 << 20 }).await {
                pulls += 1;
                if pulls > PULLS_MAX {
                    return false;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        true
    }

    /// What it has of a shard.
    pub fn records(&self, shard: ShardId) -> BTreeMap<Key, Record> {
        self.shards.get(&shard).map(|copy| copy.records.clone()).unwrap_or_default()
    }

    /// Asks the leader of a shard once. Returns whether nothing was new.
    async fn pull(&mut self, world: &World, shard: ShardId, bounds: FeedBounds) -> bool {
        let copy = self.shards.entry(shard).or_default();
        let Some((running, sessions)) = leader(world, shard) else { return false };
        let stage = copy.stage.clone();
        let pulled = running.life.spawn(async move {
            match stage {
                Stage::Following(cursor) => Pulled::Changes(sessions.follow(cursor, bounds).await),
                Stage::Begin => {
                    let since = sessions.feed_end();
                    Pulled::Page(sessions.copy_page(&Span::all_after(None), bounds).await, since)
                }
                Stage::Copying { after, since, .. } => {
                    Pulled::Page(sessions.copy_page(&Span::all_after(after), bounds).await, since)
                }
            }
        });
        drop(running);
        // A node that dies is asked no more.
        let Ok(pulled) = pulled.await else { return false };
        world.ledger.note(format_args!("pulled {shard:?}: {}", pulled.text()));
        copy.take(world, pulled)
    }
}

/// How often the follower asks at the end before it counts as lost.
const PULLS_MAX: usize = 2_000;

/// A node that believes to lead the shard.
fn leader(world: &World, shard: ShardId) -> Option<(Running, Arc<Sessions>)> {
    (0..world.machines.len()).find_map(|number| {
        let running = world.running(number)?;
        let leads = running.node.topology().shards.get(&shard)?.leader == Some(world.machines[number].id);
        let sessions = running.node.sessions(shard).filter(|_| leads)?;
        Some((running, sessions))
    })
}

impl Pulled {
    /// What the trace shows of it.
    fn text(&self) -> String {
        match self {
            Self::Changes(Err(error)) => format!("no changes: {error}"),
            Self::Changes(Ok(Followed::CursorTooOld)) => "the cursor is too old".to_owned(),
            Self::Changes(Ok(Followed::Changes { entries, next })) => {
                format!("{} entries, up to {next:?}", entries.len())
            }
            Self::Page(Ok(page), since) => format!("{} records since {since:?}", page.records.len()),
            Self::Page(Err(error), _) => format!("no copy: {error}"),
        }
    }
}

impl Copy {
    /// Takes in what was pulled. Returns whether nothing was new.
    fn take(&mut self, world: &World, pulled: Pulled) -> bool {
        match pulled {
            Pulled::Changes(Ok(Followed::Changes { entries, next })) => {
                // Where the shard began to serve other slots an answer ends, though more follows.
                let nothing = matches!(&self.stage, Stage::Following(cursor) if *cursor == next);
                world.ledger.with(|book| book.coverage.add("entries followed", entries.len() as u64));
                for effect in entries.into_iter().flat_map(|entry| entry.effects) {
                    put(&mut self.records, effect.key, &effect.record);
                }
                self.stage = Stage::Following(next);
                nothing
            }
            Pulled::Changes(Ok(Followed::CursorTooOld)) => {
                world.ledger.count("cursors too old");
                self.stage = Stage::Begin;
                false
            }
            Pulled::Page(Ok(CopyPage { records, elsewhere: _, until: next, homes: _ }), since) => {
                let mut fresh = match std::mem::take(&mut self.stage) {
                    Stage::Copying { fresh, .. } => fresh,
                    Stage::Begin | Stage::Following(_) => BTreeMap::new(),
                };
                records.into_iter().for_each(|(key, record)| put(&mut fresh, key, &record));
                if next.is_some() {
                    self.stage = Stage::Copying { after: next, since, fresh };
                } else {
                    world.ledger.count("copies of shards");
                    self.records = fresh;
                    self.stage = Stage::Following(since);
                }
                false
            }
            Pulled::Changes(Err(error)) | Pulled::Page(Err(error), _) => {
                world.ledger.violation("feed", format!("a shard cannot be read: {error}"));
                false
            }
        }
    }
}

/// Merges one record in.
fn put(records: &mut BTreeMap<Key, Record>, key: Key, record: &Record) {
    let merged = records.get(&key).map_or_else(|| record.clone(), |ours| merge(ours, record).record);
    records.insert(key, merged);
}
