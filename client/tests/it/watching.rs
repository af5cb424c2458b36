//! Watching, also from a node that leads nothing, through a leader's death and through the watched node's death.

use crate::{
    raw,
    region::{Region, SOON, client},
};
use bytes::Bytes;
use sojourn_client::{ChangeKind, Changes, Client, Event, NewSession, Patch, SessionId};
use sojourn_core::policy::Policy;
use sojourn_proto::sessions::v1;
use std::collections::BTreeSet;
use tonic::Streaming;

async fn next(changes: &mut Changes) -> Event {
    tokio::time::timeout(SOON, changes.next()).await.expect("in time").expect("an event")
}

async fn change(changes: &mut Changes) -> (SessionId, ChangeKind) {
    match next(changes).await {
        Event::Changed(change) => (change.id, change.kind),
        other => panic!("no change but {other:?}"),
    }
}

#[tokio::test]
async fn changes_are_told_in_order_and_to_their_namespace_only() {
    let (client, other) = (client("watched", Policy::default()).await, client("unwatched", Policy::default()).await);
    let mut changes = client.watch();
    assert_eq!(next(&mut changes).await, Event::Started);
    other.create(NewSession::new()).await.expect("created");
    let id = client.create(NewSession::new().user("u7")).await.expect("created").id;
    client.patch(&id, Patch::new().set("a", "1")).await.expect("patched");
    let renamed = client.rename(&id).await.expect("renamed").id;
    client.destroy(&renamed).await.expect("destroyed");
    for expected in [
        (id.clone(), ChangeKind::Written),
        (id.clone(), ChangeKind::Written),
        (id, ChangeKind::RenamedAway),
        (renamed.clone(), ChangeKind::RenamedTo),
        (renamed, ChangeKind::Destroyed),
    ] {
        assert_eq!(change(&mut changes).await, expected);
    }
}

#[tokio::test]
async fn a_watch_may_name_its_sessions() {
    let client = client("named", Policy::default()).await;
    let ours = client.create(NewSession::new()).await.expect("created").id;
    let mut changes = client.watch_only([&ours]);
    assert_eq!(next(&mut changes).await, Event::Started);
    client.create(NewSession::new()).await.expect("created");
    client.touch(&ours).await.expect("touched");
    client.destroy(&ours).await.expect("destroyed");
    loop {
        let (id, kind) = change(&mut changes).await;
        assert_eq!(id, ours);
        if kind == ChangeKind::Destroyed {
            break;
        }
    }
}

type Stream = Streaming<v1::WatchResponse>;

/// Watches one node, and only that.
async fn watch_at(region: &Region, node: usize, resume_token: Bytes) -> Stream {
    let message = v1::WatchRequest { resume_token, ..Default::default() };
    raw::client(region, node).await.watch(raw::request("w", message)).await.expect("a stream").into_inner()
}

async fn message(stream: &mut Stream) -> v1::WatchResponse {
    tokio::time::timeout(SOON, stream.message()).await.expect("in time").expect("a message").expect("not the end")
}

async fn write(client: &Client, count: usize) -> BTreeSet<Bytes> {
    let written = futures::future::join_all((0..count).map(|_| client.create(NewSession::new()))).await;
    written.into_iter().map(|created| Bytes::copy_from_slice(created.expect("created").id.expose())).collect()
}

/// Takes messages until all of these were told, each once and nothing else, and answers the last token.
async fn told_once(stream: &mut Stream, written: BTreeSet<Bytes>) -> Bytes {
    let mut left = written;
    loop {
        let v1::WatchResponse { changes, lagged, resume_token } = message(stream).await;
        assert!(!lagged, "nothing was missed");
        for change in changes {
            assert!(left.remove(&change.id), "a change came twice, or one that was not awaited");
        }
        if left.is_empty() {
            return resume_token;
        }
    }
}

#[tokio::test]
async fn a_watch_goes_on_through_the_death_of_leaders_and_of_its_own_node() {
    let mut region = Region::start("watching", 2).await;
    region.namespace("w", Policy::default()).await;
    let client = region.builder("w").connect().await.expect("connected");
    let leader = region.leader(0);
    // Two shards have two leaders at most.
    let follower = (0..3).find(|node| (0..2).all(|shard| region.leader(shard) != *node)).expect("one leads nothing");
    let mut watched = watch_at(&region, follower, Bytes::new()).await;
    let begun = message(&mut watched).await;
    assert!(!begun.lagged && begun.changes.is_empty() && !begun.resume_token.is_empty());
    // Somebody watches at another node too.
    let other = (0..3).find(|node| *node != follower && *node != leader).expect("a third");
    let mut beside = watch_at(&region, other, Bytes::new()).await;
    message(&mut beside).await;
    let token = told_once(&mut watched, write(&client, 20).await).await;

    // What the follower told resumes there, and only what came after it is told.
    let more = write(&client, 20).await;
    let mut resumed = watch_at(&region, other, token.clone()).await;
    told_once(&mut resumed, more.clone()).await;
    told_once(&mut watched, more).await;

    // A node that did not listen meanwhile cannot know, and says so.
    let lagged = message(&mut watch_at(&region, leader, token).await).await;
    assert!(lagged.lagged && lagged.changes.is_empty());

    // The leader dies; on the follower nothing is missed.
    let mut moved = client.watch();
    assert_eq!(next(&mut moved).await, Event::Started);
    region.kill(leader);
    let last = write(&client, 20).await;
    told_once(&mut watched, last.clone()).await;

    // The client's watch was on any node: it tells everything, or that it lagged, and goes on in either case.
    let id = client.create(NewSession::new()).await.expect("created").id;
    let (mut left, mut lagged) = (last, false);
    loop {
        match next(&mut moved).await {
            Event::Changed(change) if change.id == id => break,
            Event::Changed(change) => drop(left.remove(change.id.expose())),
            Event::Lagged => lagged = true,
            Event::Started => panic!("a watch starts once"),
        }
    }
    assert!(lagged || left.is_empty());
}
