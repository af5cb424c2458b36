//! Who leads what: evenly, and handed over before anybody has to wait.

use super::*;
use crate::raft::NotTransferred;

#[tokio::test(start_paused = true)]
async fn three_fresh_nodes_come_to_lead_two_one_and_one_and_a_restarted_one_gets_its_share_back() {
    let mut world = World::founded(1, 3).await;
    world.until("led evenly", |world| world.leads() == [1, 1, 2]).await;
    let load = Load::start(&world);
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.crash(2).await;
    load.follow(&world);
    world.until("led by the two that are left", |world| world.leads() == [2, 2]).await;
    world.restart(2).await;
    load.follow(&world);
    world.until("led evenly again", |world| world.leads() == [1, 1, 2]).await;
    load.check(&world).await;
    // No flapping: nothing moves any more.
    let terms =
        |world: &World| -> Vec<u64> { world.any().topology().shards.values().map(|place| place.term).collect() };
    let before = terms(&world);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(terms(&world), before);
}

#[tokio::test(start_paused = true)]
async fn a_lead_goes_only_to_a_voter_that_lives() {
    let mut world = World::founded(2, 3).await;
    world.until("led evenly", |world| world.leads() == [1, 1, 2]).await;
    let leader = world.leader(0).expect("a leader");
    let heir = (1..=3).find(|number| *number != leader).expect("another");
    let other = (1..=3).find(|number| *number != leader && *number != heir).expect("a third");
    let shard = GroupName::Shard(ShardId(0));
    // Asked at a node that does not lead.
    world.node(other).transfer_leader(shard, NodeId(heir)).await.expect("transferred");
    world.until("led by the heir", |world| world.leader(0) == Some(heir)).await;
    world.crash(other).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let heir = world.leader(0).expect("a leader");
    let refused = world.node(heir).transfer_leader(shard, NodeId(other)).await;
    let silent = matches!(refused, Err(AdminError::NotTransferred { why: NotTransferred::Silent { .. }, .. }));
    assert!(silent, "{refused:?}");
    let unknown = world.node(heir).transfer_leader(shard, NodeId(9)).await;
    assert!(matches!(unknown, Err(AdminError::Refused(_))), "{unknown:?}");
}

#[tokio::test(start_paused = true)]
async fn with_three_nodes_a_draining_one_gives_its_leads_away_and_keeps_its_copies() {
    let world = World::founded(3, 3).await;
    world.until("led evenly", |world| world.leads() == [1, 1, 2]).await;
    let load = Load::start(&world);
    world.node(1).drain(NodeId(2), true).await.expect("draining");
    world.until("led by others", |world| world.leads() == [0, 2, 2]).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.leads(), [0, 2, 2]);
    let status = world.node(3).status().await;
    assert_eq!(status.members[&NodeId(2)].leads.len(), 0);
    assert_eq!(status.members[&NodeId(2)].votes_in.len(), SHARDS as usize + 1, "three copies are needed");
    let refused = world.node(1).remove_node(NodeId(2), false).await;
    assert!(matches!(refused, Err(AdminError::StillVotes { .. })), "{refused:?}");
    world.node(1).drain(NodeId(2), false).await.expect("not draining");
    world.until("led evenly again", |world| world.leads() == [1, 1, 2]).await;
    load.check(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_hands_over_first_and_hardly_anybody_waits() {
    let mut world = World::founded(4, 3).await;
    world.until("led evenly", |world| world.leads() == [1, 1, 2]).await;
    let load = Load::start(&world);
    tokio::time::sleep(Duration::from_secs(1)).await;
    for number in 1..=3 {
        load.gap_ms();
        world.node(number).hand_over().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let gap_ms = load.gap_ms();
        assert!(gap_ms < 300, "handing over took {gap_ms} ms from a client, as long as an election");
        let stopped = world.running.remove(&number).expect("running");
        load.follow(&world);
        stopped.node.shut_down().await;
        world.network.attach(stopped.id, None);
        drop(stopped);
        let disk = world.disks[&number].kill();
        world.disks.insert(number, disk);
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.restart(number).await;
        load.follow(&world);
        world.until("ready", World::all_ready).await;
    }
    load.check(&world).await;
}
