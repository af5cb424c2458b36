//! Shards as somebody outside follows them.

use super::*;
use crate::shard::Sessions;
use sojourn_core::{
    Record,
    feed::{FeedBounds, FeedCursor, Followed},
    stream::{CopyPage, Span},
};

const BOUNDS: FeedBounds = FeedBounds { entries_max: 2, bytes_max: 1 << 20 };

fn sessions(world: &World, node: u64) -> Arc<Sessions> {
    world.node(node).sessions(ShardId(0)).expect("a replica")
}

/// All records of a replica, page by page.
async fn copy(sessions: &Sessions) -> BTreeMap<Key, Record> {
    let (mut records, mut after) = (BTreeMap::new(), None);
    loop {
        let span = Span::all_after(after);
        let CopyPage { records: page, until, .. } = sessions.copy_page(&span, BOUNDS).await.expect("a page");
        assert!(page.len() <= 2);
        records.extend(page.into_iter().map(|(key, record)| (key, Record::clone(&record))));
        after = until;
        if after.is_none() {
            return records;
        }
    }
}

/// Follows until nothing is new.
async fn follow(sessions: &Sessions, mut cursor: FeedCursor, records: &mut BTreeMap<Key, Record>) -> FeedCursor {
    loop {
        let followed = sessions.follow(cursor, BOUNDS).await.expect("followed");
        let Followed::Changes { entries, next } = followed else { panic!("{cursor:?} is too old") };
        cursor = next;
        if entries.is_empty() {
            return cursor;
        }
        let effects = entries.into_iter().flat_map(|entry| entry.effects);
        records.extend(effects.map(|effect| (effect.key, Record::clone(&effect.record))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_begins_with_a_copy_and_goes_on_at_another_replica_and_after_restarts() {
    let mut world = World::founded(50, 3).await;
    for number in 0..40 {
        let written = world.node(1).write(vec![set(number, 1)]).await;
        assert!(written.iter().all(Result::is_ok), "{written:?}");
    }
    let cursor = sessions(&world, 1).feed_end();
    let mut records = copy(&sessions(&world, 1)).await;
    assert!(records.len() > 4, "one page is no proof");
    for number in 0..40 {
        let written = world.node(1).write(vec![set(number, 2)]).await;
        assert!(written.iter().all(Result::is_ok), "{written:?}");
    }
    // A follower hears of a commit a little later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let cursor = follow(&sessions(&world, 2), cursor, &mut records).await;
    assert_eq!(records, copy(&sessions(&world, 3)).await);
    // Long enough for the engines to have all of it.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let cursor = follow(&sessions(&world, 2), cursor, &mut records).await;
    for number in 1..=3 {
        world.crash(number).await;
    }
    for number in 1..=3 {
        world.restart(number).await;
    }
    world.until("ready", World::all_ready).await;
    let again = follow(&sessions(&world, 3), cursor, &mut records).await;
    assert_eq!(records, copy(&sessions(&world, 3)).await);
    assert!(again.feed == cursor.feed && again.index >= cursor.index, "{cursor:?}, then {again:?}");
}
