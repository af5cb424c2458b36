//! Two regions: slots go from shard to shard in both while their sessions are used from both.

use crate::{
    region::{Region, SOON},
    travel::Counter,
};
use sojourn_client::{NewSession, SessionId};
use sojourn_core::{ShardId, Slot, region::RegionCommand};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Moves a slot to the next shard of its region, and waits until that serves it and the other one has let it go.
async fn shift(region: &Region, slot: Slot, shards: u32) {
    let from = region.state().slots.shard(slot);
    let to = ShardId((from.0 + 1) % shards);
    region.change(RegionCommand::MoveSlots { from, to, first: slot, last: slot }).await;
    region.until(|state| state.slots.shard(slot) == to && state.slot_moves.wanted.is_empty()).await;
}

#[tokio::test]
async fn slots_move_in_both_regions_while_their_sessions_are_used_from_both() {
    let [na, eu] = Region::start_two("shifts").await;
    let connect = async |region: &Region| region.builder("default").deadline(SOON).connect().await.expect("connected");
    let clients = [connect(&na).await, connect(&eu).await];
    let ids = ["{shifts}na", "{shifts}eu", "{shifts}ended", "stays"].map(SessionId::new);
    let slot = Slot::of(ids[0].expose());
    for (id, home) in ids.iter().zip([0, 1, 0, 1]) {
        let new = NewSession::new().id(id.clone()).field("count", "0");
        clients[home].create(new).await.expect("created");
    }

    let (ends, total) = (Arc::new(AtomicBool::new(false)), [0, 1].map(|_| Arc::new(AtomicU64::new(0))));
    let counters = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(client, session)| {
        let (client, counted, others) = (clients[client].clone(), ids[session].clone(), vec![ids[3].clone()]);
        tokio::spawn(Counter { client, counted, others, ends: ends.clone(), total: total[session].clone() }.run())
    });
    for turn in 0..4 {
        let began = Instant::now();
        let before = total.each_ref().map(|total| total.load(Ordering::Relaxed));
        if turn % 2 == 0 {
            tokio::join!(shift(&na, slot, 4), shift(&eu, slot, 3));
        } else {
            shift(&na, slot, 4).await;
            shift(&eu, slot, 3).await;
        }
        if turn == 1 {
            assert_eq!(clients[1].destroy(&ids[2]).await, Ok(true));
        }
        while total.iter().zip(before).any(|(total, before)| total.load(Ordering::Relaxed) < before + 10) {
            assert!(began.elapsed() < SOON, "it is counted on");
            // What clients are told is no event of ours.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    ends.store(true, Ordering::Relaxed);
    for counter in counters {
        counter.await.expect("no counter fails");
    }

    for client in &clients {
        for (id, total) in ids.iter().zip(&total) {
            let total = total.load(Ordering::Relaxed).to_string();
            let began = Instant::now();
            while client.get(id).await.expect("read").expect("it lives").text("count") != Some(&*total) {
                assert!(began.elapsed() < SOON, "all counts arrive");
            }
        }
        assert_eq!(client.get(&ids[2]).await, Ok(None));
    }
    // Each follows whoever serves the slot in the other one: a copy is there again without being asked for.
    for (region, id) in [(&na, &ids[1]), (&eu, &ids[0])] {
        let began = Instant::now();
        while !region.has_copy(id.expose()) {
            assert!(began.elapsed() < SOON, "the copy comes in time");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!((na.mended(), eu.mended()), (0, 0), "no copy differed");
}
