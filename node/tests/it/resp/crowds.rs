//! Many connections, and subscribers that do not read: bounded in memory, and of no effect on others.

use crate::{process::Process, wire::Client};
use std::time::{Duration, Instant};

/// Idle connections to one node.
const IDLE: usize = 10_000;

/// What a connection may take of the node's memory once it has been served and waits.
const IDLE_BYTES_MAX: u64 = 12 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_and_deaf_subscribers_cost_little() {
    sojourn_node::env::raise_open_files();
    let node = Process::start().await;
    ten_thousand_idle_connections_are_served(&node).await;
    a_subscriber_that_does_not_read_is_cut(&node).await;
}

async fn ten_thousand_idle_connections_are_served(node: &Process) {
    let before = node.memory_bytes();
    let mut idle = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        let mut client = Client::connect(node.resp).await;
        client.expect("PING", "+PONG").await;
        idle.push(client);
    }
    let each = node.memory_bytes().saturating_sub(before) / IDLE as u64;
    assert!(each <= IDLE_BYTES_MAX, "an idle connection takes {each} bytes");
    let mut busy = Client::connect(node.resp).await;
    busy.expect("SET among v", "+OK").await;
    busy.expect("GET among", r"$1\r\nv").await;
    let clients = busy.ask("INFO clients").await;
    assert!(clients.contains(&format!("connected_clients:{}\\r", IDLE + 1)), "{clients}");
    idle[IDLE / 2].expect("GET among", r"$1\r\nv").await;
    drop(idle);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !busy.ask("INFO clients").await.contains("connected_clients:1\\r") {
        assert!(Instant::now() < deadline, "connections that were closed are still counted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn a_subscriber_that_does_not_read_is_cut(node: &Process) {
    let mut deaf = Client::connect(node.resp).await;
    deaf.ask("SUBSCRIBE loud").await;
    let mut listener = Client::connect(node.resp).await;
    listener.ask("SUBSCRIBE loud").await;
    let mut speaker = Client::connect(node.resp).await;
    let before = node.memory_bytes();
    let message = vec![b'x'; 1_000_000];
    // More than may wait for a subscriber and than sockets hold.
    for _ in 0..100 {
        speaker.call(&[b"PUBLISH", b"loud", &message]).await;
        listener.reply().await;
    }
    speaker.expect("PUBSUB NUMSUB loud", r"*2\r\n$4\r\nloud\r\n:1").await;
    let grown = node.memory_bytes().saturating_sub(before) >> 20;
    assert!(grown < 160, "the node grew by {grown} MiB");
}
