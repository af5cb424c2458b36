//! Retries are applied once, whatever dies meanwhile.

use crate::{
    raw::{self, bytes, request},
    region::Region,
};
use sojourn_client::{Client, Error, Filter, NewSession, Put, SessionId};
use sojourn_core::policy::Policy;
use sojourn_proto::sessions::{detail_of, v1};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Counts in one session until told to stop, alone, so that there is never a conflict unless a write was applied twice; answers
/// how often it was acknowledged.
async fn count_up(client: Client, id: SessionId, stop: Arc<AtomicBool>) -> u64 {
    let mut count = 0;
    let mut version = client.get(&id).await.expect("read").expect("it lives").version;
    while !stop.load(Ordering::Relaxed) {
        let next = Put::new().field("count", (count + 1).to_string()).if_version(version);
        version = client.put(&id, next).await.expect("acknowledged in time and applied once").version;
        count += 1;
    }
    count
}

#[tokio::test]
async fn every_acknowledged_count_is_found_while_nodes_die_and_return() {
    let mut region = Region::start("counting", 4).await;
    region.namespace("c", Policy::default()).await;
    let client = region.builder("c").deadline(crate::region::SOON).connect().await.expect("connected");
    let stop = Arc::new(AtomicBool::new(false));
    let mut counters = Vec::new();
    for _ in 0..8 {
        let id = client.create(NewSession::new().field("count", "0")).await.expect("created").id;
        counters.push((id.clone(), tokio::spawn(count_up(client.clone(), id, stop.clone()))));
    }
    for shard in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let leader = region.leader(shard);
        region.kill(leader);
        tokio::time::sleep(Duration::from_millis(700)).await;
        region.revive(leader).await;
        region.until_ready().await;
    }
    stop.store(true, Ordering::Relaxed);
    for (id, counter) in counters {
        let count = counter.await.expect("no conflict");
        let session = client.get(&id).await.expect("read").expect("it lives");
        assert_eq!(session.text("count"), Some(&*count.to_string()));
        assert!(count > 0);
    }
}

#[tokio::test]
async fn a_repeated_create_is_the_same_session_through_every_node_and_leader() {
    let mut region = Region::start("repeated", 1).await;
    region.namespace("r", Policy::default()).await;
    let client = region.builder("r").connect().await.expect("connected");
    let topology = raw::client(&region, 0).await.topology(request("r", v1::TopologyRequest {})).await;
    let create = v1::CreateRequest {
        request: Some(v1::RequestId { origin: 5, sequence: 1, settled: 1 }),
        fields: vec![v1::Field { name: bytes("a"), value: bytes("1") }],
        made_at_ms: Some(topology.expect("a map").into_inner().now_ms),
        ..Default::default()
    };
    let mut answers = Vec::new();
    for node in 0..3 {
        answers.push(raw::client(&region, node).await.create(request("r", create.clone())).await.expect("created"));
    }
    let leader = region.leader(0);
    region.kill(leader);
    let living = (leader + 1) % 3;
    let deadline = Instant::now() + crate::region::SOON;
    let after = loop {
        match raw::client(&region, living).await.create(request("r", create.clone())).await {
            Ok(answer) => break answer,
            Err(status) => {
                let advice = detail_of(&status).expect("a detail");
                assert!(advice.retryable && Instant::now() < deadline, "{status}");
                tokio::time::sleep(Duration::from_millis(advice.retry_after_ms)).await;
            }
        }
    };
    answers.push(after);
    let first = answers[0].get_ref().clone();
    assert!(answers.iter().all(|answer| *answer.get_ref() == first));
    assert_eq!(client.count(Filter::all()).await.expect("counted").sessions, 1);

    // Renaming once and again is the same too.
    let rename = v1::RenameRequest {
        request: Some(v1::RequestId { origin: 5, sequence: 2, settled: 2 }),
        id: first.id,
        ..Default::default()
    };
    let mut node = raw::client(&region, living).await;
    let renamed = node.rename(request("r", rename.clone())).await.expect("renamed").into_inner();
    let again = node.rename(request("r", rename)).await.expect("the same answer").into_inner();
    assert_eq!(renamed, again);
    // What was settled is not applied late.
    let late = node.create(request("r", create)).await;
    assert!(late.is_err() || client.count(Filter::all()).await.expect("counted").sessions == 1);
}

#[tokio::test]
async fn without_a_quorum_calls_end_by_their_deadline_and_go_on_when_it_is_back() {
    let mut region = Region::start("quorum", 1).await;
    region.namespace("q", Policy::default()).await;
    let client = region.builder("q").deadline(Duration::from_secs(1)).connect().await.expect("connected");
    let id = client.create(NewSession::new().field("a", "1")).await.expect("created").id;
    let leader = region.leader(0);
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    region.kill(one);
    region.kill(other);
    let begun = Instant::now();
    let ended = client.put(&id, Put::new().field("a", "2")).await;
    assert!(matches!(ended, Err(Error::Unavailable { .. })), "{ended:?}");
    assert!(begun.elapsed() < Duration::from_secs(3), "it took {:?}", begun.elapsed());

    let mut message = request("q", v1::TouchRequest { request: None, id: bytes("any") });
    message.set_timeout(Duration::from_millis(600));
    let status = raw::client(&region, leader).await.touch(message).await.expect_err("no quorum");
    let detail = detail_of(&status).expect("a detail, in time");
    assert!(detail.retryable && detail.reason() == v1::Reason::Deadline, "{status}");

    region.revive(one).await;
    let patient = region.builder("q").deadline(crate::region::SOON).connect().await.expect("connected");
    patient.put(&id, Put::new().field("a", "3")).await.expect("written");
    assert_eq!(patient.get(&id).await.expect("read").expect("it lives").text("a"), Some("3"));
}
