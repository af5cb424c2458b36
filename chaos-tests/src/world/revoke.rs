//! How long it takes to log a user out everywhere, with all regions up, and whether the user is out then.

use super::{Plan, Row, report::at};
use crate::process::World;
use anyhow::Context;
use futures::stream::{self, StreamExt, TryStreamExt};
use sojourn_client::{Client, NewSession};
use std::time::Instant;

/// Users that are logged out at the same time.
const AT_ONCE: usize = 8;

pub(super) fn run(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let world = plan.start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let revoked = runtime.block_on(revoke_all(plan, &world)).with_context(|| world.tails())?;
    let (mut took_ms, left): (Vec<f64>, Vec<usize>) = revoked.into_iter().unzip();
    let left: usize = left.into_iter().sum();
    let note = format!("{} users with a session in each region, through each region in turn", plan.revocations);
    // A way there and back, and 200 ms.
    let wanted_ms = 2e3 * plan.delay.as_secs_f64() + 200.0;
    let mut part = |part| at(&mut took_ms, part).context("nobody was logged out");
    Ok(vec![
        Row::new("revoke", "a user is revoked in all regions p50", part(0.5)?, "ms"),
        Row::new("revoke", "a user is revoked in all regions p99", part(0.99)?, "ms").wanted(wanted_ms).note(note),
        Row::new("revoke", "sessions of revoked users that were found after", left as f64, "").wanted(0.0),
    ])
}

/// For each user how long it took, and how many sessions were found after.
async fn revoke_all(plan: &Plan, world: &World) -> anyhow::Result<Vec<(f64, usize)>> {
    let mut clients = Vec::new();
    for region in world.regions() {
        let addresses: Vec<String> = region.nodes().iter().map(|node| node.grpc.to_string()).collect();
        clients.push(Client::connect(addresses).await?);
    }
    let clients = &clients;
    let users = stream::iter(0..plan.revocations).map(|number| revoke(clients, number));
    users.buffer_unordered(AT_ONCE).try_collect().await
}

async fn revoke(clients: &[Client], number: usize) -> anyhow::Result<(f64, usize)> {
    let user = format!("user-{number}");
    let mut sessions = Vec::new();
    for client in clients {
        sessions.push(client.create(NewSession::new().user(&user).field("views", "1")).await?.id);
    }
    let asked = Instant::now();
    clients[number % clients.len()].revoke(&user).await?;
    let took_ms = asked.elapsed().as_secs_f64() * 1e3;
    let mut left = 0;
    for client in clients {
        for session in &sessions {
            left += usize::from(client.get(session).await?.is_some());
        }
    }
    Ok((took_ms, left))
}
