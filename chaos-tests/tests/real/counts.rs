//! The client crate against real nodes: visits are counted while a leader is killed and every node restarts.

use crate::app::{PROGRESS_TIMEOUT, hurt, while_visited};
use anyhow::{Context, ensure};
use sojourn_chaos_tests::process::{Region, RegionOptions};
use sojourn_client::{Client, Error, NewSession, Put, Session, SessionId};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

/// Sessions, and how many count in each at the same time.
const SESSIONS: usize = 3;
const VISITORS_PER_SESSION: usize = 2;

/// How long a visitor looks at an answer, at most.
const READING_TIME: Duration = Duration::from_millis(10);

#[test]
fn every_count_that_the_client_crate_was_told_is_found_once() -> anyhow::Result<()> {
    let _alone = crate::alone();
    let mut region = Region::start(&RegionOptions::default())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let addresses: Vec<String> = region.nodes().iter().map(|node| node.grpc.to_string()).collect();
    let connect = || runtime.block_on(Client::builder(addresses.clone()).deadline(PROGRESS_TIMEOUT).connect());
    let client = connect()?;
    let create = || runtime.block_on(client.create(NewSession::new().field("visits", "0"))).map(|created| created.id);
    let ids = (0..SESSIONS).map(|_| create()).collect::<Result<Vec<SessionId>, Error>>()?;

    let acknowledged: Vec<AtomicU64> = (0..SESSIONS * VISITORS_PER_SESSION).map(|_| AtomicU64::new(0)).collect();
    let id_of = |visitor: usize| &ids[visitor % SESSIONS];
    let visit = |visitor: usize, stop: &AtomicBool| {
        // A connection each, as processes have.
        let client = connect()?;
        runtime.block_on(count(&client, id_of(visitor), &acknowledged[visitor], stop))
    };
    while_visited(&acknowledged, visit, |traffic| {
        let victim = region.lead("any")?.node;
        hurt(&mut region, victim, &[0, 1, 2], traffic)
    })?;

    for (number, id) in ids.iter().enumerate() {
        let session = runtime.block_on(client.get(id))?.context("a session that was counted in is gone")?;
        let told: u64 =
            acknowledged.iter().skip(number).step_by(SESSIONS).map(|told| told.load(Ordering::Relaxed)).sum();
        ensure!(visits(&session) == told, "{told} visits were acknowledged, {} are found", visits(&session));
    }
    Ok(())
}

/// Counts in a session that others count in, too, until `stop`. Every call is answered however long nodes are away.
async fn count(client: &Client, id: &SessionId, acknowledged: &AtomicU64, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut session = client.get(id).await?.context("the session is gone")?;
    while !stop.load(Ordering::Relaxed) {
        let next = (visits(&session) + 1).to_string();
        match client.put(id, Put::new().field("visits", &next).if_version(session.version)).await {
            Ok(written) => {
                acknowledged.fetch_add(1, Ordering::Relaxed);
                session.version = written.version;
                session.fields.insert("visits".into(), next.into());
                // Whoever has won is first to know, and would win against the same one again and again.
                tokio::time::sleep(READING_TIME.mul_f64(rand::random())).await;
            }
            Err(Error::Conflict { current }) => session = *current,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn visits(session: &Session) -> u64 {
    session.text("visits").and_then(|text| text.parse().ok()).unwrap_or_default()
}
