//! What a source says of slots that its shard serves no more.

use super::*;
use crate::region::{
    admin::Admin,
    tests::{World, key, set},
};

const BOUNDS: FeedBounds = FeedBounds { entries_max: 100, bytes_max: 1 << 20 };

async fn founded(seed: u64) -> World {
    let world = World::founded(seed, 3).await;
    world.until("led evenly", |world| world.leads() == [1, 1, 2]).await;
    world
}

/// Who leads a shard, and how.
fn leader(world: &World, shard: ShardId) -> (RegionNode, Led) {
    let node = world.node(world.leader(shard.0).expect("a leader")).clone();
    let led = node.led().into_iter().find(|led| led.shard == shard).expect("led");
    (node, led)
}

/// The slots of which a page speaks, and the sessions that are on it.
async fn page_of(world: &World, shard: ShardId) -> (SlotSet, Vec<Key>) {
    let (node, led) = leader(world, shard);
    let copy = CopyOf { shard, begin: led.sessions().feed_end(), span: Span::all_after(None) };
    let Copied::Page { slots, records, .. } = page(&node, &led, copy, BOUNDS).await else { panic!("no page") };
    (slots, records.into_iter().map(|(key, _)| key).collect())
}

#[tokio::test(start_paused = true)]
async fn a_page_speaks_only_of_slots_that_its_shard_serves() {
    let world = founded(64).await;
    world.node(1).write(vec![set(0, 1)]).await;
    let slot = key(0).slot();
    let before = world.any().region().slots.shard(slot);
    let (slots, keys) = page_of(&world, before).await;
    assert!(slots.contains(slot) && keys.contains(&key(0)));
    let (from, to) = world.move_slot(slot).await;
    // What the shard has nothing of it must not call empty.
    let (slots, keys) = page_of(&world, from).await;
    assert!(!slots.contains(slot) && keys.is_empty());
    let (slots, keys) = page_of(&world, to).await;
    assert!(slots.contains(slot) && keys.contains(&key(0)));
}

#[tokio::test(start_paused = true)]
async fn a_stream_vouches_for_nothing_and_ends_once_its_shard_serves_other_slots() {
    let world = founded(65).await;
    let slot = key(0).slot();
    let shard = world.any().region().slots.shard(slot);
    let (node, led) = leader(&world, shard);
    let slots = SlotSet::of_shard(&world.any().region().slots, shard);
    let stream = Arc::new(Stream {
        heard: Mutex::default(),
        told: Notify::new(),
        to: RegionId(1),
        slots: slots.clone(),
        acks: led.acks().clone(),
    });
    let cursor = led.sessions().feed_end();
    let follow =
        Follow { stream: 1, shard, slots: slots.clone(), cursor: Some(cursor), stands: slots, window_bytes: 1 << 20 };
    let mut sending = Sending {
        to: NodeId(9),
        follow,
        turned: led.sessions().turned(),
        led,
        leases: node.leases().clone(),
        stream: stream.clone(),
        bounds: BOUNDS,
        cursor,
        told: cursor,
        sent_bytes: 0,
        packer: Packer::new().expect("memory"),
        due: None,
    };
    let ping = |now_ms| stream.hear(|heard| heard.ping_ms = Some(now_ms));
    ping(7);
    sending.look().await.expect("it goes on");
    let batch = sending.next_batch(1 << 20).await.expect("it goes on").expect("an echo");
    assert_eq!(batch.echo_ms, Some(7));
    let to = ShardId((shard.0 + 1) % 4);
    node.move_slots(shard, to, (slot, slot)).await.expect("wanted");
    let sessions = sending.led.sessions().clone();
    let goes = async {
        loop {
            let fed = sessions.fed();
            tokio::pin!(fed);
            fed.as_mut().enable();
            if sessions.turned() != sending.turned {
                return;
            }
            fed.await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), goes).await.expect("the slot goes");
    // Where more is logged since, no echo could be due within what is told yet.
    assert_eq!(sessions.feed_end().index, sessions.turned());
    ping(8);
    sending.look().await.expect("what came before is not told yet");
    // What was logged until then it is told, and that the slot has gone.
    let mut gone = SlotSet::default();
    while let Some(batch) = sending.next_batch(1 << 20).await {
        let batch = batch.expect("the end of what was logged before");
        assert_eq!(batch.echo_ms, None);
        gone = gone.joined(&batch.turned);
    }
    assert!(gone.contains(slot));
}
