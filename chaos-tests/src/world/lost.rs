//! How soon a lost region's sessions are writable elsewhere: all its nodes are killed at once, and their sessions written
//! through another region until every write was acknowledged.

use super::{Plan, Row, asker::Asker, bytes::until_followed, report::at};
use crate::{
    process::{Request, World, wait_until},
    resp::Reply,
};
use anyhow::{Context, ensure};
use futures::future::join_all;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How long a region may write without hearing of the others.
const LEASE: Duration = Duration::from_secs(10);

/// How long it may take with such a lease.
const SECONDS_WANTED_MAX: f64 = 15.0;

/// How long regions may take to agree on that, once they are up.
const AGREED_MAX: Duration = Duration::from_secs(30);

/// How long one question about it may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Sessions of the region, enough for some in each of its shards.
const SESSIONS: u64 = 32;

/// How long a copy may show less than was written elsewhere: it answers no more once it is a second old.
const STALE_MAX: Duration = Duration::from_secs(2);

/// Before a refused write is tried again.
const PAUSE: Duration = Duration::from_millis(20);

const WHAT: &str = "a region is lost until all its sessions are writable elsewhere";

pub(super) fn run(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let mut seconds = Vec::new();
    for _ in 0..plan.losses {
        let mut world = plan.start()?;
        match lose(plan, &mut world).with_context(|| world.tails())? {
            Ok(took) => seconds.push(took.as_secs_f64()),
            Err(why) => return Ok(vec![Row::not_yet("lost", WHAT, "s", why).wanted(SECONDS_WANTED_MAX)]),
        }
    }
    let note = format!("the longest of {}, lease {} s", plan.losses, LEASE.as_secs());
    Ok(vec![
        Row::new("lost", WHAT, at(&mut seconds, 1.0).context("none was lost")?, "s")
            .wanted(SECONDS_WANTED_MAX)
            .note(note),
    ])
}

fn id(number: u64) -> String {
    format!("sess:{number}")
}

/// Has the regions decide by leases which of them is lost; or why they cannot.
fn decide_by_leases(world: &World) -> Result<(), String> {
    let http = world.regions()[1].nodes()[0].http;
    let json = format!(r#"{{"failover":"automatic","lease_ms":{}}}"#, LEASE.as_millis());
    let request = Request { method: "POST", json: &json, timeout: ASK_TIMEOUT, ..Request::get("/v1/regions/policy") };
    let mut answer = Ok(());
    // If they do not in time, the last answer says why.
    let _in_time = wait_until("the regions to agree on leases", AGREED_MAX, || {
        answer = match request.send(http) {
            Ok(response) if response.status == 200 => Ok(()),
            Ok(response) if response.status == 404 => Err("there is no control group".to_owned()),
            Ok(response) => Err(response.body),
            Err(error) => Err(error.to_string()),
        };
        answer.as_ref().err().is_none_or(|why| why.contains("no control group"))
    });
    answer
}

/// How long it takes until all sessions are written; or why they are not.
fn lose(plan: &Plan, world: &mut World) -> anyhow::Result<Result<Duration, String>> {
    if let Err(why) = decide_by_leases(world) {
        return Ok(Err(why));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut writer = Asker::new(world.regions()[0].nodes()[0].resp);
    for number in 0..SESSIONS {
        let id = id(number);
        runtime.block_on(writer.until_answered(&[b"SET", id.as_bytes(), b"before", b"EX", b"86400"]))?;
    }
    until_followed(world, SESSIONS)?;
    let lost = &mut world.regions_mut()[0];
    let killed = Instant::now();
    for position in 0..lost.nodes().len() {
        lost.kill(position)?;
    }
    let others: Vec<Vec<SocketAddr>> = world.regions()[1..].iter().map(|region| region.resp_addresses()).collect();
    let until = killed + plan.takeover_max;
    let through = |number: u64| others[0][number as usize % others[0].len()];
    let written = runtime.block_on(join_all((0..SESSIONS).map(|number| write(through(number), number, until))));
    if let Some(refusal) = written.into_iter().find_map(Result::err) {
        return Ok(Err(format!("still refused after {:.0} s: {refusal}", plan.takeover_max.as_secs_f64())));
    }
    let took = killed.elapsed();
    // Whoever acts now, it is the same for all regions that are left.
    for (number, region) in (0..SESSIONS).zip(others.iter().cycle()) {
        runtime.block_on(shown(region[0], &id(number)))?;
    }
    Ok(Ok(took))
}

/// Waits until a region shows what was written in another one.
async fn shown(address: SocketAddr, id: &str) -> anyhow::Result<()> {
    let (mut asker, written) = (Asker::new(address), Instant::now());
    loop {
        let read = asker.until_answered(&[b"GET", id.as_bytes()]).await?;
        if read == Reply::Bytes(Some(b"after".to_vec())) {
            return Ok(());
        }
        ensure!(written.elapsed() < STALE_MAX, "{id} was written long ago, and reads {read:?}");
        sleep(PAUSE).await;
    }
}

/// Writes one session until that is acknowledged; the last refusal if it never is.
async fn write(address: SocketAddr, number: u64, until: Instant) -> Result<(), String> {
    let mut asker = Asker::new(address);
    loop {
        let refusal = match asker.ask(&[b"SET", id(number).as_bytes(), b"after", b"EX", b"86400"]).await {
            Ok(Reply::Status(_)) => return Ok(()),
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= until {
            return Err(refusal);
        }
        sleep(PAUSE).await;
    }
}
