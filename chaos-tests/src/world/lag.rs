//! How far the copies of other regions are behind: from a write's acknowledgement in one region until another one shows it,
//! without the one-way delay.
//!
//! Every region is written to at a steady rate. Beside that probes write a session in one region and read it in another until
//! they see it; each read counts from its beginning to its end, so a probe is late rather than early.

use super::{Plan, Row, asker::Asker, report::at};
use crate::{
    load::{Confirm, Going, Keys, Operation, Steady, Target, Values, steady},
    process::{Region, World},
    resp::Reply,
};
use anyhow::{Context, ensure};
use futures::future::try_join_all;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// Connections of each region's load: so many that a write hardly ever waits for one.
const CONNECTIONS: usize = 64;

const VALUE_BYTES: usize = 1024;

/// Probes from each region to each other one.
const PROBES_PER_PAIR: usize = 2;

/// Sessions that one probe writes in turn, so that several shards are probed.
const SESSIONS_PER_PROBE: u64 = 4;

/// How long before a copy can be there a probe begins to look for it, and how often it looks.
const EARLY: Duration = Duration::from_millis(5);
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A write that is not seen for so long is lost.
const SEEN_MAX: Duration = Duration::from_secs(30);

pub(super) fn run(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let world = plan.start()?;
    let mut rows = Vec::new();
    for writes_per_s in &plan.lag_writes_per_s {
        let measured = under_load(plan, &world, *writes_per_s).with_context(|| world.tails());
        rows.extend(measured?);
    }
    Ok(rows)
}

fn under_load(plan: &Plan, world: &World, writes_per_s: f64) -> anyhow::Result<Vec<Row>> {
    let loads = world.regions().iter().zip(0..).map(|(region, number)| begin(plan, (region, number), writes_per_s));
    let loads: Vec<Going> = loads.collect::<anyhow::Result<_>>()?;
    std::thread::sleep(plan.warm_up);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let until = Instant::now() + plan.measured;
    let (from, probed) = (Instant::now(), runtime.block_on(probe_all(plan, world, until)));
    let mut written_ms = Vec::new();
    for load in loads {
        let done = load.end()?;
        let then = done.iter().filter(|one| (from..until).contains(&one.due));
        written_ms.extend(then.map(|one| one.took.as_secs_f64() * 1e3));
    }
    let mut lags_ms = probed?;
    let (probes, rate) = (lags_ms.len(), format!("{writes_per_s:.0} writes/s in each region"));
    let part = |values: &mut Vec<f64>, part| at(values, part).context("nothing was measured");
    let took = part(&mut written_ms, 0.99)?;
    Ok(vec![
        Row::new("lag", format!("lag above the delay p50, {rate}"), part(&mut lags_ms, 0.5)?, "ms"),
        Row::new("lag", format!("lag above the delay p99, {rate}"), part(&mut lags_ms, 0.99)?, "ms")
            .wanted(100.0)
            .note(format!("{probes} probes; those writes took p99 {took:.2} ms")),
    ])
}

fn begin(plan: &Plan, (region, number): (&Region, u64), operations_per_s: f64) -> anyhow::Result<Going> {
    let target = Target::Resp { addresses: region.resp_addresses(), confirm: Confirm::None };
    // Each region has sessions of its own: those of another one would be written there.
    let keys = Keys::Between { first: number * plan.sessions, count: plan.sessions };
    let values = Values::new(VALUE_BYTES);
    steady(&target, &Steady { operation: Operation::Update, keys, values, connections: CONNECTIONS, operations_per_s })
}

async fn probe_all(plan: &Plan, world: &World, until: Instant) -> anyhow::Result<Vec<f64>> {
    let addresses: Vec<Vec<SocketAddr>> = world.regions().iter().map(Region::resp_addresses).collect();
    let pairs = (0..addresses.len()).flat_map(|from| (0..addresses.len()).map(move |to| (from, to)));
    let probes = pairs.filter(|(from, to)| from != to).flat_map(|pair| (0..PROBES_PER_PAIR).map(move |n| (pair, n)));
    let probes = probes.map(|((from, to), number)| {
        let at = |region: usize| addresses[region][number % addresses[region].len()];
        probe((at(from), at(to)), format!("probe:{from}:{to}:{number}"), plan.delay, until)
    });
    Ok(try_join_all(probes).await?.into_iter().flatten().collect())
}

/// Lags in ms of one session's writes.
async fn probe(
    (from, to): (SocketAddr, SocketAddr),
    session: String,
    delay: Duration,
    until: Instant,
) -> anyhow::Result<Vec<f64>> {
    let (mut writer, mut reader, mut lags_ms) = (Asker::new(from), Asker::new(to), Vec::new());
    for number in 0_u64.. {
        // One at least, however slow the machine is.
        if Instant::now() >= until && !lags_ms.is_empty() {
            break;
        }
        let (session, value) = (format!("{session}:{}", number % SESSIONS_PER_PROBE), number.to_string());
        let written = writer.until_answered(&[b"SET", session.as_bytes(), value.as_bytes(), b"EX", b"3600"]).await?;
        ensure!(written == Reply::Status("OK".to_owned()), "{session} cannot be written: {written:?}");
        let acknowledged = Instant::now();
        sleep(delay.saturating_sub(EARLY)).await;
        loop {
            let read = reader.ask(&[b"GET", session.as_bytes()]).await?;
            if read == Reply::Bytes(Some(value.clone().into_bytes())) {
                break;
            }
            ensure!(acknowledged.elapsed() < SEEN_MAX, "{session} is not seen in another region: {read:?}");
            sleep(LOOK_EVERY).await;
        }
        // What is not known at all is asked for elsewhere, which is no copy's doing.
        if number >= SESSIONS_PER_PROBE {
            lags_ms.push(acknowledged.elapsed().as_secs_f64() * 1e3 - delay.as_secs_f64() * 1e3);
        }
    }
    Ok(lags_ms)
}
