//! Founding, late founders, lost disks, strangers.

use super::*;
use crate::region::{Ended, backend::Unavailable};

#[tokio::test(start_paused = true)]
async fn a_region_is_founded_by_a_majority_and_the_late_founder_is_admitted() {
    let mut world = World::new(10, 3);
    world.found(&[1, 2]).await;
    world.until("ready without the third", World::all_ready).await;
    let load = Load::start(&world);
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.found(&[3]).await;
    load.follow(&world);
    world.until("all three lead", |world| world.all_ready() && world.leads() == [1, 1, 2]).await;
    let region = world.node(3).topology().region.clone();
    assert!(region.members.values().all(|member| member.disk.is_some()));
    load.check(&world).await;
}

#[tokio::test(start_paused = true)]
async fn one_founder_alone_founds_nothing_and_a_region_of_one_works() {
    let mut world = World::new(11, 3);
    let alone = world.start(1, By::Founding(1));
    assert!(tokio::time::timeout(Duration::from_secs(60), alone).await.is_err());
    let world = World::founded(12, 1).await;
    let load = Load::start(&world);
    tokio::time::sleep(Duration::from_secs(1)).await;
    load.check(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_founder_that_lost_its_disk_never_votes_again_under_its_number() {
    let mut world = World::founded(13, 3).await;
    let load = Load::start(&world);
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.crash(3).await;
    world.lose_disk(3);
    load.follow(&world);
    let refused = world.start(3, By::Founding(3)).await.err().expect("refused").to_string();
    assert!(refused.contains("node 3 was here with another data directory"), "{refused}");
    // What the message says to do.
    world.until("two lead", |world| world.leads() == [2, 2]).await;
    world.node(1).remove_node(NodeId(3), true).await.expect("removed");
    world.lose_disk(3);
    world.join(3, 1).await;
    assert_eq!(world.running[&3].id, NodeId(4), "a number is never used again");
    load.follow(&world);
    world.until("settled with the new node", |world| world.settled() && world.leads() == [1, 1, 2]).await;
    load.check(&world).await;
}

#[tokio::test(start_paused = true)]
async fn two_founders_that_lost_their_disks_do_not_take_the_region_over() {
    let mut world = World::founded(14, 3).await;
    for number in [2, 3] {
        world.crash(number).await;
        world.lose_disk(number);
    }
    let starting: Vec<_> = [2, 3].into_iter().map(|number| world.start(number, By::Founding(number))).collect();
    let starting = futures::future::join_all(starting);
    // The one that is left knows the region, and has no quorum to admit anybody.
    assert!(tokio::time::timeout(Duration::from_secs(60), starting).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_taken_is_refused_and_a_reserved_one_is_claimed() {
    let mut world = World::founded(15, 3).await;
    let reserved = world.node(2).add_node("n7".to_owned(), Addresses::default()).await.expect("reserved");
    assert_eq!(reserved, NodeId(4));
    let again = world.node(2).add_node("n7".to_owned(), Addresses::default()).await;
    assert_eq!(again, Ok(reserved));
    world.join(7, 3).await;
    assert_eq!(world.running[&7].id, reserved);
    let taken = world.node(2).add_node("n7".to_owned(), Addresses::default()).await;
    assert!(taken.is_err(), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_removed_while_it_was_down_hears_so_when_it_comes_back() {
    let mut world = World::founded(16, 3).await;
    world.crash(3).await;
    world.until("two lead", |world| world.leads() == [2, 2]).await;
    world.node(1).remove_node(NodeId(3), true).await.expect("removed");
    world.restart(3).await;
    let ended = world.node(3).ended();
    assert_eq!(tokio::time::timeout(Duration::from_secs(60), ended).await, Ok(Ended::Removed));
    // Of those who are members nobody ends, though one is cut off for long.
    for (from, to) in [(1, 2), (2, 1)] {
        world.network.cut(NodeId(from), NodeId(to), true);
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    for member in [1, 2] {
        assert!(tokio::time::timeout(Duration::ZERO, world.node(member).ended()).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_know_the_region_yet_denies_nobody() {
    let mut world = World::new(17, 3);
    world.found(&[1, 2, 3]).await;
    assert_eq!(world.node(1).topology().region.world, 0, "it knows the region, so nothing is shown");
    let removed = world.node(1).remove_node(NodeId(2), true).await;
    assert_eq!(removed, Err(AdminError::Unavailable(Unavailable::Loading)));
    let transferred = world.node(1).transfer_leader(GroupName::System, NodeId(2)).await;
    assert_eq!(transferred, Err(AdminError::Unavailable(Unavailable::Loading)));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_removed_before_it_kept_anything_of_the_region_hears_so() {
    let mut world = World::founded(18, 3).await;
    world.join(4, 1).await;
    world.crash(4).await;
    world.until("known", |world| world.node(1).topology().region.members.contains_key(&NodeId(4))).await;
    world.node(1).remove_node(NodeId(4), true).await.expect("removed");
    // Long enough for nobody to send it anything any more.
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.restart(4).await;
    assert_eq!(world.node(4).topology().region.world, 0, "it knows the region, so nothing is shown");
    let ended = world.node(4).ended();
    assert_eq!(tokio::time::timeout(Duration::from_secs(60), ended).await, Ok(Ended::Removed));
}
