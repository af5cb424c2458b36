//! Shards as somebody outside follows them.

use super::*;
use crate::{region::held::Told, shard::Sessions};
use sojourn_core::{
    Record,
    feed::{FeedBounds, FeedCursor, Followed},
    stream::{CopyPage, Span},
};
use std::collections::BTreeSet;

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

#[tokio::test(start_paused = true)]
async fn who_settles_is_given_what_others_lack_and_not_what_they_hold_of_the_same_millisecond() {
    let mut world = World::founded(51, 3).await;
    let shard = ShardId(0);
    let mut here = (0..).filter(|number| key(*number).slot().number() < 4_096);
    let [first, second] = [0, 1].map(|_| here.next().expect("a session of the first shard"));
    let write = async |world: &World, number| {
        let written = world.node(1).write(vec![set(number, 1)]).await;
        assert!(written.iter().all(Result::is_ok), "{written:?}");
        let leader = sessions(world, world.leader(0).expect("a leader"));
        (leader.record(&key(number)).expect("a record"), leader.feed_end().index)
    };
    let (record, index) = write(&world, first).await;
    let _later = write(&world, second).await;
    let home = record.home;
    let held = async |world: &World, index| {
        let told = Told { stamp: record.written, index };
        let held = world.node(2).held(shard, home, told, Span::all_after(None)).await.expect("held");
        held.0.into_iter().map(|(key, _)| key).collect::<BTreeSet<_>>()
    };
    let (first, second) = (key(first), key(second));
    let both = BTreeSet::from([first, second.clone()]);
    assert_eq!(held(&world, index).await, BTreeSet::from([second.clone()]), "they hold the first");
    assert_eq!(held(&world, index - 1).await, both, "they hold what was logged before");
    assert_eq!(held(&world, 0).await, both, "they may hold some of that millisecond");
    assert_eq!(held(&world, index + 1_000).await, both, "no entry of this log");
    // The engines have all of it, and the logs nothing.
    tokio::time::sleep(Duration::from_secs(60)).await;
    for number in 1..=3 {
        world.crash(number).await;
    }
    for number in 1..=3 {
        world.restart(number).await;
    }
    world.until("ready", World::all_ready).await;
    assert_eq!(held(&world, index - 1).await, both, "the feed does not know any more");
}
