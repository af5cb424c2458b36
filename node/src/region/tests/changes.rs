//! Groups that move while clients write and nodes crash.

use super::*;
use crate::region::Ended;

#[tokio::test(start_paused = true)]
async fn a_fourth_node_joins_under_load_takes_its_share_by_snapshot_and_is_drained_and_removed() {
    let mut world = World::founded(20, 3).await;
    let load = Load::start(&world);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let purged = world.node(1).log().group(1).state().first_index > Some(1);
    assert!(purged, "nothing was purged, so nothing shows that snapshots work");
    world.join(4, 2).await;
    load.follow(&world);
    world.until("spread over four", |world| world.settled() && world.leads() == [1, 1, 1, 1]).await;
    let held: usize = world.running.values().map(|running| running.node.inner.shards.all().len()).sum();
    world
        .until("rid of copies that nobody wants", |world| {
            world.running.values().all(|running| running.node.inner.shards.all().len() == 3)
        })
        .await;
    assert!(held >= 12);
    world.node(4).drain(NodeId(2), true).await.expect("draining");
    world.until("drained", |world| world.settled() && world.node(2).inner.shards.all().is_empty()).await;
    let status = world.node(1).status().await;
    assert!(status.members[&NodeId(2)].votes_in.is_empty(), "{:?}", status.members[&NodeId(2)]);
    world.node(1).remove_node(NodeId(2), false).await.expect("removed");
    let ended = world.node(2).ended();
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), ended).await, Ok(Ended::Removed));
    world.crash(2).await;
    load.follow(&world);
    world.until("even without it", |world| world.settled() && world.leads() == [1, 1, 2]).await;
    load.check(&world).await;
}

#[test]
fn leaders_that_crash_in_the_middle_of_a_move_leave_it_to_the_next() {
    for seed in 30..34 {
        // A runtime for each, so that one that fails can be run alone.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(crash_leaders_in_the_middle_of_a_move(seed));
    }
}

async fn crash_leaders_in_the_middle_of_a_move(seed: u64) {
    let mut world = World::founded(seed, 3).await;
    let load = Load::start(&world);
    tokio::time::sleep(Duration::from_secs(4)).await;
    world.join(4, 1).await;
    load.follow(&world);
    for round in 0..6 {
        // Anywhere in learner, snapshot, both sets of voters, one set, removal.
        tokio::time::sleep(Duration::from_millis(50 + simulated_u64().expect("a simulation") % 1_500)).await;
        let victim = world.leader(u32::try_from(round % 4).expect("small"));
        let Some(victim) = victim else { continue };
        world.crash(victim).await;
        load.follow(&world);
        tokio::time::sleep(Duration::from_millis(simulated_u64().expect("a simulation") % 2_000)).await;
        world.restart(victim).await;
        load.follow(&world);
    }
    world.until("settled", |world| world.all_ready() && world.settled()).await;
    world.until("led evenly", |world| world.leads() == [1, 1, 1, 1]).await;
    load.check(&world).await;
    world
        .until("rid of copies that nobody wants", |world| {
            world.running.values().all(|running| running.node.inner.shards.all().len() == 3)
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_minority_changes_nothing() {
    let world = World::founded(40, 3).await;
    world.until("led evenly", |world| world.leads() == [1, 1, 2]).await;
    let cut = world.leader(0).expect("a leader");
    for other in (1..=3).filter(|other| *other != cut) {
        world.network.cut(NodeId(cut), NodeId(other), true);
        world.network.cut(NodeId(other), NodeId(cut), true);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let drained = world.node(cut).drain(NodeId(cut), true).await;
    assert!(matches!(drained, Err(AdminError::Unavailable(_))), "{drained:?}");
    let other = (1..=3).find(|other| *other != cut).expect("another");
    let forced = world.node(cut).remove_node(NodeId(other), true).await;
    assert!(matches!(forced, Err(AdminError::QuorumAtRisk { .. } | AdminError::Unavailable(_))), "{forced:?}");
    let alive = world.node(other).remove_node(NodeId(other), true).await;
    assert!(matches!(alive, Err(AdminError::Alive { .. })), "{alive:?}");
    world.network.heal();
    world.until("whole again", |world| world.settled() && world.leads() == [1, 1, 2]).await;
    let region = world.node(cut).topology().region.clone();
    assert!(region.members.len() == 3 && region.members.values().all(|member| !member.draining));
}
