//! Moves that an operator sees before they happen, holds up, and bounds; and how many nodes there should be.

use super::*;
use crate::region::{load::Judging, rebalance::WhatIf};
use sojourn_core::advisor::{Advice, Reason, Situation};

#[tokio::test(start_paused = true)]
async fn what_is_shown_before_a_node_joins_is_what_happens_once_nobody_holds_it_up() {
    let mut world = World::founded(50, 3).await;
    world.until("led evenly", |world| world.leads() == [1, 1, 2]).await;
    let load = Load::start(&world);
    let what_if = WhatIf { joining: Some("na-4".to_owned()), drained: None };
    let foreseen = world.node(1).rebalance(what_if).await.expect("foreseen").forecast;
    assert_eq!(foreseen.moves.len(), 3, "{foreseen:?}");
    assert!(!world.node(1).topology().region.members.contains_key(&NodeId(4)), "it was only thought of");
    world.node(1).set_rebalancing(Some(true), Some(64 << 10)).await.expect("held up");

    world.join(4, 2).await;
    load.follow(&world);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(world.node(4).inner.shards.all().is_empty(), "it was given something");
    // The log is small here, and the system group has hardly any entries: nobody may keep them for late followers.
    let is_reused = |number| world.node(number).log().statistics().segments_recycled_total > 0;
    assert!((1..=3).all(is_reused), "old segments are held up");
    let shown = world.node(4).rebalance(WhatIf::default()).await.expect("shown");
    assert!(shown.status.region.rebalancing.paused);
    assert_eq!(shown.forecast, foreseen);

    world.node(4).set_rebalancing(Some(false), None).await.expect("going on");
    world.until("spread over four", |world| world.settled() && world.leads() == [1, 1, 1, 1]).await;
    let status = world.node(1).status().await;
    for (shard, leader) in foreseen.leaders {
        assert_eq!(status.groups[&GroupName::Shard(shard)].leader, Some(leader));
    }
    assert_eq!(world.node(1).inner.rpc.bulk().bytes_per_s_max(), 64 << 10, "the bound stays");
    let rest = world.node(1).rebalance(WhatIf::default()).await.expect("shown");
    assert!(rest.forecast.moves.is_empty() && rest.coming.is_empty() && rest.leads.is_empty(), "{rest:?}");
    load.check(&world).await;
}

#[tokio::test(start_paused = true)]
async fn the_leader_of_the_system_group_says_how_many_nodes_there_should_be() {
    let world = World::founded(51, 3).await;
    world.until("led evenly", |world| world.leads() == [1, 1, 2]).await;
    assert_eq!(world.node(1).status().await.advice, None, "nothing was judged yet");
    judge_everywhere(&world).await;
    // Nobody measures processors in virtual time.
    let situation = Situation { nodes: 3, replicas: 3, busy_permille: None, settled: true };
    let unknown = Advice { wanted: 3, situation, reason: Reason::Settling };
    assert_eq!(world.node(2).status().await.advice, Some(unknown));
    for number in 1..=3 {
        world.node(number).inner.load.set(900);
    }
    judge_everywhere(&world).await;
    let advice = world.node(3).status().await.advice.expect("judged");
    assert_eq!((advice.wanted, advice.reason), (4, Reason::Busy));
}

/// As if five minutes had passed.
async fn judge_everywhere(world: &World) {
    for number in 1..=3 {
        world.node(number).inner.judge(&mut Some(Judging::default())).await;
    }
}
