//! Slots that move between shards while clients write.

use super::*;
use sojourn_core::{Slot, region::RegionRefusal};
use std::collections::BTreeSet;

impl World {
    /// The running machine that leads the system group.
    fn coordinator(&self) -> Option<u64> {
        let leads = |running: &Running| running.node.inner.system.raft().is_leader();
        self.running.iter().find(|(_, running)| leads(running)).map(|(number, _)| *number)
    }

    /// How often the slot table has changed, as far as some node knows, and how many moves wait.
    fn moves(&self) -> (u64, usize) {
        let regions = self.running.values().map(|running| running.node.region());
        let moves = regions.map(|region| (region.slot_moves.changes, region.slot_moves.wanted.len()));
        moves.max_by_key(|(changes, _)| *changes).expect("a running node")
    }

    /// Whether no node knows of slots that are on their way.
    fn rests(&self) -> bool {
        self.running.values().all(|running| running.node.region().slot_moves.wanted.is_empty())
    }

    /// Moves a slot to the next shard: from which to which.
    pub(crate) async fn move_slot(&self, slot: Slot) -> (ShardId, ShardId) {
        let from = self.any().region().slots.shard(slot);
        let to = ShardId((from.0 + 1) % SHARDS);
        self.any().move_slots(from, to, (slot, slot)).await.expect("wanted");
        self.until("moved", Self::rests).await;
        (from, to)
    }

    /// The shards whose leaders serve a slot; those that it never was at are not asked.
    fn owners(&self, slot: Slot) -> BTreeSet<ShardId> {
        let serves = |shard: &ShardId| {
            let leader = self.leader(shard.0)?;
            let sessions = self.node(leader).sessions(*shard)?;
            sessions.audit(|state| state.holds().get(&slot).map(|hold| hold.serves()))
        };
        (0..SHARDS).map(ShardId).filter(|shard| serves(shard) == Some(true)).collect()
    }
}

fn slots() -> BTreeSet<Slot> {
    (0..CLIENTS).map(|client| key(client).slot()).collect()
}

/// Wants every client's slot at the next shard.
async fn move_all(world: &World) {
    for slot in slots() {
        let from = world.any().region().slots.shard(slot);
        let to = ShardId((from.0 + 1) % SHARDS);
        world.any().move_slots(from, to, (slot, slot)).await.expect("wanted");
    }
}

#[tokio::test(start_paused = true)]
async fn slots_move_under_writes_and_hardly_anybody_waits() {
    let world = World::founded(60, 3).await;
    world.until("led evenly", |world| world.leads() == [1, 1, 2]).await;
    let before = world.any().region().slots.clone();
    let load = Load::start(&world);
    tokio::time::sleep(Duration::from_secs(1)).await;
    load.gap_ms();
    move_all(&world).await;
    world.until("moved", World::rests).await;
    let gap_ms = load.gap_ms();
    assert!(gap_ms < 150, "a client waited {gap_ms} ms for a slot that moved");
    let after = world.any().region().slots.clone();
    for slot in slots() {
        assert_eq!(after.shard(slot).0, (before.shard(slot).0 + 1) % SHARDS);
        assert_eq!(world.owners(slot), BTreeSet::from([after.shard(slot)]));
    }
    load.check(&world).await;
}

#[tokio::test(start_paused = true)]
async fn thousands_of_slots_move_under_writes_and_hardly_anybody_waits() {
    let world = World::founded(66, 3).await;
    world.until("led evenly", |world| world.leads() == [1, 1, 2]).await;
    let load = Load::start(&world);
    tokio::time::sleep(Duration::from_secs(1)).await;
    load.gap_ms();
    let table = world.any().region().slots.clone();
    let from = table.shard(key(0).slot());
    let to = ShardId((from.0 + 1) % SHARDS);
    let held = table.ranges().into_iter().find(|(.., shard)| *shard == from);
    let (first, last, _) = held.expect("a range");
    let (changes, _) = world.moves();
    // A shard keeps one slot.
    let slot = |number| Slot::new(number).expect("a slot");
    world.any().move_slots(from, to, (slot(first), slot(last - 1))).await.expect("wanted");
    world.until("moved", World::rests).await;
    let gap_ms = load.gap_ms();
    assert!(gap_ms < 150, "a client waited {gap_ms} ms for a slot that moved");
    let changes = world.moves().0 - changes;
    assert!(changes < 100, "slots with few sessions go a few at a time: {changes} changes");
    let after = world.any().region().slots.clone();
    assert_eq!((after.count(from), after.count(to)), (1, 2 * table.count(from) - 1));
    for slot in slots().into_iter().filter(|slot| after.shard(*slot) == to && table.shard(*slot) == from) {
        assert_eq!(world.owners(slot), BTreeSet::from([after.shard(slot)]));
    }
    load.check(&world).await;
}

#[tokio::test(start_paused = true)]
async fn who_moves_slots_may_be_lost_at_any_time() {
    let mut world = World::founded(61, 3).await;
    world.until("led evenly", |world| world.leads() == [1, 1, 2]).await;
    let load = Load::start(&world);
    for round in 0..3 {
        let (changes, _) = world.moves();
        move_all(&world).await;
        // Somewhere on the way.
        for _ in 0..1_000 {
            if world.moves().0 > changes + round {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let lost = world.coordinator().expect("somebody leads");
        world.crash(lost).await;
        load.follow(&world);
        world.until("moved by another one", World::rests).await;
        world.restart(lost).await;
        load.follow(&world);
        world.until("all there", |world| world.all_ready() && world.rests()).await;
        for slot in slots() {
            assert_eq!(world.owners(slot), BTreeSet::from([world.any().region().slots.shard(slot)]), "{slot:?}");
        }
    }
    load.check(&world).await;
}

#[tokio::test(start_paused = true)]
async fn moves_wait_while_they_are_held_up_and_may_be_given_up() {
    let world = World::founded(62, 3).await;
    world.until("led evenly", |world| world.leads() == [1, 1, 2]).await;
    let (node, before) = (world.node(2).clone(), world.any().region().slots.clone());
    node.set_rebalancing(Some(true), None).await.expect("held up");
    let slot = key(0).slot();
    let (from, to) = (before.shard(slot), ShardId((before.shard(slot).0 + 1) % SHARDS));
    let number = node.move_slots(from, to, (slot, slot)).await.expect("wanted");
    let again = node.move_slots(from, to, (slot, slot)).await;
    assert_eq!(again, Err(AdminError::Refused(RegionRefusal::SlotMoves { slot: slot.number() })));
    let back = node.move_slots(to, from, (slot, slot)).await;
    assert_eq!(back, Err(AdminError::Refused(RegionRefusal::SlotElsewhere { slot: slot.number(), shard: from })));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.moves(), (0, 1), "it goes on although it is held up");
    node.give_slots_up(number).await.expect("given up");
    node.set_rebalancing(Some(false), None).await.expect("going on");
    world.until("over", World::rests).await;
    assert_eq!(world.any().region().slots, before);
    assert_eq!(world.owners(slot), BTreeSet::from([from]));
    node.move_slots(from, to, (slot, slot)).await.expect("wanted anew");
    world.until("moved", World::rests).await;
    assert_eq!(world.owners(slot), BTreeSet::from([to]));
}

#[tokio::test(start_paused = true)]
async fn a_session_gets_its_new_id_although_that_has_moved_away_meanwhile() {
    let world = World::founded(63, 3).await;
    world.until("led evenly", |world| world.leads() == [1, 1, 2]).await;
    let table = world.any().region().slots.clone();
    let keys = || (0..200).map(key);
    let from = key(0);
    let to = keys().find(|to| to.slot() != from.slot() && table.shard(to.slot()) == table.shard(from.slot()));
    let to = to.expect("another slot of the shard");
    world.node(1).write(vec![set(0, 7)]).await;
    let shard = table.shard(from.slot());
    let next = ShardId((shard.0 + 1) % SHARDS);
    world.node(1).move_slots(shard, next, (to.slot(), to.slot())).await.expect("wanted");
    world.until("moved", World::rests).await;
    // As a gateway asks that planned by the table of before.
    let op = Op::Rename { to: to.clone(), replace: true };
    let rename = Command { op, ..set(0, 0) };
    let outcome = world.node(1).write(vec![rename]).await.pop();
    assert_eq!(outcome, Some(Ok(Outcome::Count(1))));
    assert_eq!(stored(read_again(world.node(2), to).await), 7);
}
