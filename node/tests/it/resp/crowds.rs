//! Many connections, and subscribers that do not read: bounded in memory, and of no effect on others.

use crate::{region::Region, wire::Client};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sojourn_node::env::memory_bytes;
use std::time::{Duration, Instant};

/// Idle connections to one node.
const IDLE: usize = 10_000;

/// Both ends of a connection are in this process, with all that the runtime keeps of them.
const IDLE_BYTES_MAX: u64 = 16 << 10;

/// Lets this process open both ends of that many connections; false where the machine forbids it.
fn raise_open_files() -> bool {
    const WANTED: u64 = 2 * IDLE as u64 + 1_000;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < WANTED) {
        let maximum = limit.maximum.map(|maximum| maximum.max(WANTED));
        return setrlimit(Resource::Nofile, Rlimit { current: Some(WANTED), maximum }).is_ok();
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_and_deaf_subscribers_cost_little() {
    assert!(raise_open_files(), "cannot raise the limit of open files: run as a user who may");
    let region = Region::start().await;
    ten_thousand_idle_connections_are_served(&region).await;
    a_subscriber_that_does_not_read_is_cut(&region).await;
    region.stop().await;
}

async fn ten_thousand_idle_connections_are_served(region: &Region) {
    let before = memory_bytes();
    let mut idle = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        let mut client = Client::connect(region.resp(0)).await;
        client.expect("PING", "+PONG").await;
        idle.push(client);
    }
    let each = memory_bytes().saturating_sub(before) / IDLE as u64;
    assert!(each <= IDLE_BYTES_MAX, "an idle connection takes {each} bytes");
    let mut busy = Client::connect(region.resp(0)).await;
    busy.expect("SET among v", "+OK").await;
    busy.expect("GET among", r"$1\r\nv").await;
    let clients = busy.ask("INFO clients").await;
    assert!(clients.contains(&format!("connected_clients:{}", IDLE + 1)), "{clients}");
    idle[IDLE / 2].expect("GET among", r"$1\r\nv").await;
    // Ends of connections that go away at once are all noticed.
    drop(idle);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !busy.ask("INFO clients").await.contains("connected_clients:1\\r") {
        assert!(Instant::now() < deadline, "connections that were closed are still counted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn a_subscriber_that_does_not_read_is_cut(region: &Region) {
    let mut deaf = Client::connect(region.resp(1)).await;
    deaf.ask("SUBSCRIBE loud").await;
    let mut listener = Client::connect(region.resp(1)).await;
    listener.ask("SUBSCRIBE loud").await;
    let mut speaker = Client::connect(region.resp(1)).await;
    let before = memory_bytes();
    let message = vec![b'x'; 1_000_000];
    for _ in 0..100 {
        speaker.call(&[b"PUBLISH", b"loud", &message]).await;
        listener.reply().await;
    }
    speaker.expect("PUBSUB NUMSUB loud", r"*2\r\n$4\r\nloud\r\n:1").await;
    let grown = memory_bytes().saturating_sub(before);
    assert!(grown < 160 << 20, "the process grew by {grown} bytes");
}
