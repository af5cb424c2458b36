//! A region of three is drained while its sessions are read and written in all of them: each visitor goes from region to region
//! with a token, and finds what was written last, wherever the session is by then. A node that gives them away is killed.

use crate::app::PROGRESS_TIMEOUT;
use anyhow::{Context, ensure};
use futures::future::try_join_all;
use sojourn_chaos_tests::{
    process::{Region, Request, World, WorldOptions, wait_until},
    resp::{self, Reply},
};
use sojourn_client::{Client, Error, NewSession, Put, Session, SessionId};
use sojourn_node::gateway::http::api::{
    DrainRegion, DrainWhatIf, Draining, List, Page, RegionStatus, Regions, Session as Shown, Which,
};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

/// The region that is drained, by its position.
const NA: usize = 0;

/// Sessions that are visited meanwhile, that nobody asks for, and that end on the way.
const VISITED: usize = 18;
const IDLE: usize = 400;
const DOOMED: usize = 60;

/// How long all of it may take on a busy machine.
const DRAINED_MAX: Duration = Duration::from_secs(60);

/// How long a question may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a visitor looks at an answer, at most.
const READING_TIME: Duration = Duration::from_millis(20);

#[test]
fn a_region_is_drained_while_its_sessions_are_used_everywhere() -> anyhow::Result<()> {
    let _alone = crate::alone();
    let mut world = World::start(&WorldOptions { delay: Duration::from_millis(10), ..WorldOptions::default() })?;
    world.wait_leased().and_then(|()| drained(&mut world)).with_context(|| world.tails())
}

fn drained(world: &mut World) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let clients: Vec<Client> =
        world.regions().iter().map(|region| runtime.block_on(connect(region))).collect::<Result<_, _>>()?;
    let create = || runtime.block_on(clients[NA].create(NewSession::new().field("visits", "0")));
    let ids: Vec<SessionId> = (0..VISITED).map(|_| create().map(|it| it.id)).collect::<Result<_, _>>()?;
    // Not the one that is killed: what it asked for may be asked again for minutes, as far as anybody knows.
    let mut na = world.regions()[NA].nodes()[1].connect()?;
    for number in 0..IDLE {
        written(&mut na, &format!("SET idle:{number} {number} EX 86400"))?;
    }
    for number in 0..DOOMED {
        written(&mut na, &format!("SET doomed:{number} v EX 86400"))?;
    }
    let all = (VISITED + IDLE + DOOMED) as u64;
    wait_until("all regions to know all", DRAINED_MAX, || homes(world).is_ok_and(|counts| counts == [all; 3]))?;
    foreseen(world, all)?;

    let (stop, acknowledged) = (AtomicBool::new(false), counters());
    std::thread::scope(|scope| {
        let visitors = ids.iter().zip(&acknowledged).map(|(id, told)| visit(&clients, id, told, &stop));
        let visiting = scope.spawn(|| runtime.block_on(try_join_all(visitors)));
        let done = drain_under_visits(world, &acknowledged, || visiting.is_finished());
        stop.store(true, Ordering::Relaxed);
        let visited = visiting.join().map_err(|_| anyhow::anyhow!("a visitor panicked"))?;
        visited.map(drop)?;
        done
    })?;
    for (id, told) in ids.iter().zip(&acknowledged) {
        for client in &clients {
            let session = runtime.block_on(client.get(id))?.context("a session that was counted in is gone")?;
            ensure!(visits(&session) == told.load(Ordering::Relaxed), "{} visits of {told:?}", visits(&session));
        }
    }
    what_was_idle_or_ended_is_so(world)?;
    nothing_idle_is_left_in_it(world)
}

/// Writes, as soon as the region may.
fn written(na: &mut resp::Client, command: &str) -> anyhow::Result<()> {
    wait_until("na to write", PROGRESS_TIMEOUT, || na.say(command).is_ok()).map(drop)
}

async fn connect(region: &Region) -> Result<Client, Error> {
    let addresses: Vec<String> = region.nodes().iter().map(|node| node.grpc.to_string()).collect();
    Client::builder(addresses).deadline(PROGRESS_TIMEOUT).connect().await
}

fn counters() -> Vec<AtomicU64> {
    (0..VISITED).map(|_| AtomicU64::new(0)).collect()
}

fn visits(session: &Session) -> u64 {
    session.text("visits").and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Reads and writes a session in one region after the other until told to stop. The token goes along.
async fn visit(clients: &[Client], id: &SessionId, told: &AtomicU64, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut seen = clients[NA].token(id).context("whoever created it has a token")?;
    for client in clients.iter().cycle().skip(1) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        client.resume(id, seen);
        let session = client.get(id).await?.context("a session that is visited is gone")?;
        let before = told.load(Ordering::Relaxed);
        ensure!(visits(&session) == before, "{before} visits were acknowledged, {} are found", visits(&session));
        let next = before + 1;
        match client.put(id, Put::new().field("visits", next.to_string()).if_version(session.version)).await {
            Ok(_) => told.store(next, Ordering::Relaxed),
            // It has got another home since it was read, and with that another version.
            Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        seen = client.token(id).context("whoever wrote it has a token")?;
        tokio::time::sleep(READING_TIME.mul_f64(rand::random())).await;
    }
    Ok(())
}

/// Drains the region, and waits until no home is left in it and every session was visited since.
fn drain_under_visits(world: &mut World, told: &[AtomicU64], failed: impl Fn() -> bool) -> anyhow::Result<()> {
    let now = || told.iter().map(|told| told.load(Ordering::Relaxed)).collect::<Vec<_>>();
    let moved_on = |before: &[u64]| now().iter().zip(before).all(|(now, before)| now > before);
    wait_until("all sessions to be visited", DRAINED_MAX, || failed() || moved_on(&[0; VISITED]))?;
    post(&world.regions()[1], "/v1/regions/drain", &DrainRegion { region: "na".to_owned(), draining: true })?;
    // Whoever leads its shards next goes on.
    world.regions_mut()[NA].kill(0)?;
    // Through every region, at home or not, before and after the session has moved.
    let mut asked = world.regions().iter().cycle();
    for number in 0..DOOMED {
        let mut client = asked.next().context("a world has regions")?.nodes()[1].connect()?;
        let id = format!("doomed:{number}");
        wait_until("the session to end", DRAINED_MAX, || {
            matches!(client.call(&[b"DEL", id.as_bytes()]), Ok(Reply::Number(_)))
        })?;
    }
    // A session that is written without pause leaves when no answer of it may be asked for again, which is a matter of luck.
    wait_until("what is idle to leave", DRAINED_MAX, || {
        failed() || idle_of_na(world).is_ok_and(|left| left.is_empty())
    })
    .with_context(|| format!("{:?} of what is idle is left", idle_of_na(world)))?;
    let before = now();
    wait_until("all sessions to be visited again", DRAINED_MAX, || failed() || moved_on(&before)).map(drop)
}

/// Which sessions that nobody asks for are still at home in `na`, as any region knows.
fn idle_of_na(world: &World) -> anyhow::Result<Vec<String>> {
    let which = Which { pattern: Some("idle:*".to_owned()), ..Which::default() };
    let list = List { which, limit: Some(1_000), from: None, show_ids: true };
    let mut left = Vec::new();
    for region in world.regions() {
        let page: Page = serde_json::from_str(&post(region, "/v1/sessions/list", &list)?)?;
        ensure!(page.sessions.len() == IDLE, "{} lists {} of {IDLE}", region.name(), page.sessions.len());
        left.extend(page.sessions.into_iter().filter(|Shown { home, .. }| home == "na").map(|Shown { id, .. }| id));
    }
    Ok(left)
}

/// How many sessions each region knows to be at home in `na`.
fn homes(world: &World) -> anyhow::Result<Vec<u64>> {
    world.regions().iter().map(|region| na(region)?.homes.context("not all shards say")).collect()
}

fn na(asked: &Region) -> anyhow::Result<RegionStatus> {
    let request = Request { timeout: ASK_TIMEOUT, ..Request::get("/v1/regions") };
    let regions: Regions = serde_json::from_str(&request.send(asked.nodes()[1].http)?.body)?;
    regions.regions.into_iter().next().context("no region")
}

fn post(asked: &Region, path: &str, body: &impl serde::Serialize) -> anyhow::Result<String> {
    let json = serde_json::to_string(body)?;
    let request = Request { method: "POST", json: &json, timeout: ASK_TIMEOUT, ..Request::get(path) };
    let response = request.send(asked.nodes()[1].http)?;
    ensure!(response.status == 200, "{path} is refused: {}", response.body);
    Ok(response.body)
}

/// What would become of them is said, and nothing happens.
fn foreseen(world: &World, all: u64) -> anyhow::Result<()> {
    let said = post(&world.regions()[2], "/v1/regions/drain/plan", &DrainWhatIf { region: "na".to_owned() })?;
    let draining: Draining = serde_json::from_str(&said)?;
    ensure!(draining.stays.is_empty() && draining.sessions() == all, "{draining:?} of {all}");
    ensure!(draining.goes.iter().all(|goes| goes.region != "na"), "{draining:?}");
    let status = na(&world.regions()[1])?;
    ensure!(!status.draining && status.homes == Some(all), "{status:?}");
    Ok(())
}

fn what_was_idle_or_ended_is_so(world: &World) -> anyhow::Result<()> {
    for region in world.regions() {
        let mut client = region.nodes()[2].connect()?;
        for number in 0..IDLE {
            let read = client.say(&format!("GET idle:{number}"))?;
            ensure!(read == Reply::Bytes(Some(number.to_string().into_bytes())), "idle:{number} reads {read:?}");
        }
        for number in 0..DOOMED {
            let read = client.say(&format!("GET doomed:{number}"))?;
            ensure!(read == Reply::Bytes(None), "doomed:{number} lives in {}: {read:?}", region.name());
        }
    }
    let status = na(&world.regions()[1])?;
    let drain = status.drain.as_ref().context("it is drained")?;
    ensure!(status.draining && drain.stays.is_empty() && drain.sessions() <= VISITED as u64, "{status:?}");
    Ok(())
}

/// With all its nodes gone, what was idle is read and written elsewhere at once: nobody has to act for it.
fn nothing_idle_is_left_in_it(world: &mut World) -> anyhow::Result<()> {
    // The first one is down already.
    for position in 1..world.regions()[NA].nodes().len() {
        world.regions_mut()[NA].kill(position)?;
    }
    for region in &world.regions()[1..] {
        let mut client = region.nodes()[0].connect()?;
        for number in 0..IDLE {
            let written = client.say(&format!("SET idle:{number} after XX EX 86400"))?;
            ensure!(written == Reply::Status("OK".to_owned()), "idle:{number} in {}: {written:?}", region.name());
        }
    }
    Ok(())
}
