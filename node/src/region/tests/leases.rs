//! Shards that answer under leases only.

use super::*;
use crate::region::{abroad::Reach, backend::Unavailable};
use sojourn_core::control::EPOCH_ALONE;

const LEASE_MS: u64 = 2_000;

/// Has every shard log a version of the failover mode.
async fn adopt(world: &World, mode_version: u64) {
    let rules = Policy::default().rules(false);
    let command =
        |key| Command { request: Request::default(), key, rules, touched: None, op: Op::Adopt { mode_version } };
    let commands = world.node(1).shard_keys(NamespaceId(0)).into_values().map(command).collect();
    for outcome in world.node(1).write_within(Reach::Region, commands).await {
        assert_eq!(outcome, Ok(Outcome::Done));
    }
}

/// Every node is granted a lease for this epoch, for which it asked just now.
fn grant(world: &World, epoch: u32) {
    for running in world.running.values() {
        let leases = running.node.leases();
        let (home, ..) = running.node.identity();
        leases.renewed(home, epoch, leases.now_ms(), LEASE_MS);
    }
}

async fn write(world: &World, value: u64) -> Result<Outcome, Unavailable> {
    world.node(1).write(vec![set(7, value)]).await.pop().expect("an answer")
}

async fn read(world: &World) -> Result<u64, Unavailable> {
    let query = Query::Get { key: key(7), projection: Projection::Whole };
    world.node(2).read(vec![Read { shard: None, query }]).await.pop().expect("an answer").map(stored)
}

fn is_refused<T>(answer: &Result<T, Unavailable>) -> bool {
    matches!(answer, Err(Unavailable::NotActing { .. }))
}

#[tokio::test(start_paused = true)]
async fn a_shard_under_leases_answers_only_while_one_of_its_epoch_runs() {
    let world = World::founded(60, 3).await;
    assert_eq!(write(&world, 1).await, Ok(Outcome::Done), "a person decides over losses: no leases");
    adopt(&world, 1).await;
    let began = Instant::now();
    assert!(is_refused(&write(&world, 2).await) && is_refused(&read(&world).await));
    assert!(began.elapsed() < Duration::from_secs(1), "fast");
    grant(&world, EPOCH_ALONE + 1);
    assert!(is_refused(&write(&world, 2).await), "a lease to write under another epoch");

    let world = World::founded(61, 3).await;
    adopt(&world, 1).await;
    grant(&world, EPOCH_ALONE);
    assert_eq!((write(&world, 3).await, read(&world).await), (Ok(Outcome::Done), Ok(3)));
    tokio::time::sleep(Duration::from_millis(LEASE_MS)).await;
    assert!(is_refused(&write(&world, 4).await) && is_refused(&read(&world).await));
    grant(&world, EPOCH_ALONE);
    assert_eq!(read(&world).await, Ok(3), "what was refused before it was proposed was not written");
    tokio::time::sleep(Duration::from_millis(LEASE_MS)).await;
    adopt(&world, 2).await;
    assert_eq!((write(&world, 5).await, read(&world).await), (Ok(Outcome::Done), Ok(5)), "a person decides again");
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_lease_ends_before_it_is_logged_is_not_acknowledged() {
    let world = World::founded(62, 3).await;
    adopt(&world, 1).await;
    let shard = world.any().region().slots.shard(key(7).slot());
    let leader = world.leader(shard.0).expect("a leader");
    let node = world.node(leader).clone();
    grant(&world, EPOCH_ALONE);
    tokio::time::sleep(Duration::from_millis(LEASE_MS - 100)).await;
    // Whoever leads can propose, and reaches nobody for a moment.
    let others = || (1..=3).filter(|number| *number != leader).map(NodeId);
    others().for_each(|other| world.network.cut(NodeId(leader), other, true));
    let writing = spawn(async move { node.write(vec![set(7, 8)]).await.pop().expect("an answer") });
    tokio::time::sleep(Duration::from_millis(150)).await;
    world.network.heal();
    assert!(is_refused(&writing.await.expect("it does not panic")));
    grant(&world, EPOCH_ALONE);
    assert_eq!(read(&world).await, Ok(8), "it was logged all the same: nobody knows");
}
