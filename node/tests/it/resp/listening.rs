//! Publish and subscribe, keyspace events and SCAN from a node that leads nothing, through changes of leaders; and what
//! transactions hold then.

use crate::{
    region::{NODES, Region},
    wire::{Client, bulk, parts, shown},
};
use sojourn_core::Slot;
use std::collections::BTreeSet;

/// Moves all leads away from a node by stopping and starting it; returns its number.
async fn node_without_leads(region: &mut Region) -> usize {
    const NODE: usize = 2;
    region.stop_node(NODE).await;
    region.start_node(NODE).await;
    assert!(region.leaders().iter().all(|(_, leader)| *leader != NODE), "a node that came back leads nothing yet");
    NODE
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leads_nothing_tells_everything() {
    let mut region = Region::start().await;
    let follower = node_without_leads(&mut region).await;
    clusters_have_primaries_and_replicas_apart(&region, follower).await;
    messages_and_events_arrive(&region, follower).await;
    events_and_scans_go_on_through_a_change_of_leaders(&mut region, follower).await;
    region.stop().await;
}

/// Clients ask replicas for `READONLY` and primaries not, so no node may be told as both.
async fn clusters_have_primaries_and_replicas_apart(region: &Region, follower: usize) {
    let mut client = Client::connect(region.resp(follower)).await;
    let slots = client.call(&[b"CLUSTER", b"SLOTS"]).await;
    let (mut primaries, mut replicas) = (BTreeSet::new(), BTreeSet::new());
    for range in parts(&slots) {
        let mut nodes = parts(range).split_off(2).into_iter().map(|node| shown(parts(node)[1]));
        primaries.extend(nodes.next());
        replicas.extend(nodes);
    }
    assert!(!primaries.is_empty() && primaries.is_disjoint(&replicas), "{primaries:?} and {replicas:?}");
    assert_eq!(primaries.len() + replicas.len(), NODES, "one leads nothing");
}

async fn next(client: &mut Client) -> String {
    shown(&client.reply().await)
}

async fn messages_and_events_arrive(region: &Region, follower: usize) {
    let mut listener = Client::connect(region.resp(follower)).await;
    listener.expect("SUBSCRIBE news", r"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1").await;
    listener.expect("PSUBSCRIBE __keyevent@0__:*", r"*3\r\n$10\r\npsubscribe\r\n$16\r\n__keyevent@0__:*\r\n:2").await;
    // RESP2: nothing but subscriptions now.
    assert!(listener.ask("GET x").await.starts_with("-ERR Can\\'t execute \\'get\\'"));
    listener.expect("PING", r"*2\r\n$4\r\npong\r\n$0").await;
    let mut speaker = Client::connect(region.resp(0)).await;
    // Nobody listens at this node, but the message goes to all.
    speaker.expect("PUBLISH news hello", ":0").await;
    assert_eq!(next(&mut listener).await, r"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello");
    let steps = [
        ("SET ev v", "set"),
        ("EXPIRE ev 100", "expire"),
        ("PERSIST ev", "persist"),
        ("APPEND ev w", "append"),
        ("DEL ev", "del"),
        ("HSET ev f v g w", "hset"),
        ("HDEL ev f", "hdel"),
        ("HDEL ev g", "del"),
    ];
    for (command, event) in steps {
        speaker.ask(command).await;
        let told = next(&mut listener).await;
        assert!(told.contains(&format!("__keyevent@0__:{event}")) && told.ends_with(r"$2\r\nev"), "{command}: {told}");
    }
    // Told when the logged expiry is applied, not when somebody looks.
    speaker.ask("SET ev v PX 50").await;
    assert!(next(&mut listener).await.contains(":set"));
    assert!(next(&mut listener).await.contains(":expired"));
    listener.expect("PUNSUBSCRIBE", r"*3\r\n$12\r\npunsubscribe\r\n$16\r\n__keyevent@0__:*\r\n:1").await;
    listener.expect("UNSUBSCRIBE", r"*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:0").await;
    listener.expect("GET nothing", "$-1").await;
}

async fn events_and_scans_go_on_through_a_change_of_leaders(region: &mut Region, follower: usize) {
    const KEYS: usize = 300;
    let mut client = Client::connect(region.resp(follower)).await;
    let all: BTreeSet<String> = (0..KEYS).map(|number| format!("scanned:{number}")).collect();
    let words: Vec<&[u8]> = all.iter().flat_map(|key| [key.as_bytes(), b"v"]).collect();
    assert_eq!(client.call(&[&[b"MSET".as_slice()], words.as_slice()].concat()).await, b"+OK\r\n");
    let mut listener = Client::connect(region.resp(follower)).await;
    listener.ask("PSUBSCRIBE __keyevent@0__:set").await;
    let mut seen = BTreeSet::new();
    let (mut cursor, mut pages) = (scan(&mut client, "0", &mut seen).await, 1);
    let mut changed = false;
    while cursor != "0" {
        if pages == 3 {
            // A cursor means the same at every node and under every leader.
            region.stop_node(0).await;
            changed = true;
        }
        let mut other = Client::connect(region.resp(1 + pages % 2)).await;
        cursor = scan(&mut other, &cursor, &mut seen).await;
        pages += 1;
    }
    assert!(changed && seen.is_superset(&all), "seen {} of {KEYS} in {pages} pages", seen.len());
    client.expect("SET after v", "+OK").await;
    // What was told before the leader changed may still be on its way.
    while !next(&mut listener).await.ends_with(r"__keyevent@0__:set\r\n$5\r\nafter") {}
    region.start_node(0).await;
}

async fn scan(client: &mut Client, cursor: &str, seen: &mut BTreeSet<String>) -> String {
    let reply = client.call(&[b"SCAN", cursor.as_bytes(), b"COUNT", b"20", b"MATCH", b"scanned:*"]).await;
    let [next, keys] = parts(&reply)[..] else { panic!("no scan: {}", shown(&reply)) };
    seen.extend(parts(keys).into_iter().map(|key| String::from_utf8(bulk(key).to_vec()).expect("text")));
    String::from_utf8(bulk(next).to_vec()).expect("a cursor")
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_hold_at_every_node_and_through_a_change_of_leaders() {
    let mut region = Region::start().await;
    let mut clients = Vec::new();
    for at in 0..NODES {
        clients.push(Client::connect(region.resp(at)).await);
    }
    watched_keys_stop_exec(&mut clients).await;
    keys_of_several_shards_run_in_order(&mut clients[1]).await;
    // What was watched before the leader went is checked by the next one.
    clients[1].expect("SET {w}1 a", "+OK").await;
    clients[1].expect("WATCH {w}1", "+OK").await;
    clients[2].expect("WATCH {w}1", "+OK").await;
    region.stop_node(0).await;
    for at in [1, 2] {
        clients[at].expect("MULTI", "+OK").await;
        clients[at].expect("INCR {w}2", "+QUEUED").await;
        clients[at].expect("SET {w}1 b", "+QUEUED").await;
    }
    clients[1].expect("EXEC", r"*2\r\n:1\r\n+OK").await;
    clients[2].expect("EXEC", "*-1").await;
    clients[2].expect("GET {w}2", r"$1\r\n1").await;
    region.stop().await;
}

async fn watched_keys_stop_exec(clients: &mut [Client]) {
    clients[0].expect("SET {x}w 1", "+OK").await;
    clients[0].expect("WATCH {x}w", "+OK").await;
    clients[2].expect("SET {x}w 2", "+OK").await;
    clients[0].expect("MULTI", "+OK").await;
    clients[0].expect("SET {x}w 3", "+QUEUED").await;
    clients[0].expect("EXEC", "*-1").await;
    clients[1].expect("GET {x}w", r"$1\r\n2").await;
    clients[0].expect("WATCH {x}w", "+OK").await;
    clients[0].expect("MULTI", "+OK").await;
    clients[0].expect("SET elsewhere 3", "+QUEUED").await;
    clients[0].expect("EXEC", "-CROSSSLOT Keys in request don\\'t hash to the same slot").await;
}

async fn keys_of_several_shards_run_in_order(client: &mut Client) {
    let keys = ["order:1", "order:2", "order:3", "order:4", "order:5"];
    let slots: BTreeSet<u16> = keys.iter().map(|key| Slot::of(key.as_bytes()).number() / 4_096).collect();
    assert!(slots.len() > 1, "the keys lie in several shards");
    client.expect("MULTI", "+OK").await;
    for key in keys {
        client.expect(&format!("SET {key} v"), "+QUEUED").await;
        client.expect(&format!("GET {key}"), "+QUEUED").await;
    }
    client.expect("EXEC", &format!("*10{}", r"\r\n+OK\r\n$1\r\nv".repeat(5))).await;
}
