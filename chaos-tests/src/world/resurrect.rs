//! Whether destroyed sessions come back: each is destroyed through some region while others save and touch it, and ways between
//! regions are cut and healed all the time.
//!
//! A save (`SET ... XX`) and a touch (`EXPIRE`) never create. So none that is sent after the destroy was acknowledged may
//! succeed, the region that destroyed may not find the session any more, and once all is healed nobody may.

use super::{Plan, Row, asker::Asker};
use crate::{
    process::{Region, World, wait_until},
    resp::Reply,
};
use anyhow::{Context, anyhow, bail};
use futures::{
    future::{join_all, try_join_all},
    stream::{self, StreamExt, TryStreamExt},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::{
    cell::Cell,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// Sessions that are raced for at the same time.
const AT_ONCE: usize = 96;

/// How many save and touch each session.
const SAVERS: usize = 2;

/// How long a session lives before it is destroyed, at most: from younger than its copies to older.
const AGE_MAX_MS: u64 = 400;

/// Between two saves.
const PAUSE: Duration = Duration::from_millis(10);

/// How many saves each saver sends after the destroy was acknowledged.
const LATE_SAVES: usize = 3;

/// How long healed regions may take to have heard of everything.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// What became of one session, or of all.
#[derive(Clone, Copy, Debug, Default)]
struct Raced {
    destroyed: u64,
    saves: u64,
    unanswered: u64,
    /// Saves that were sent after the destroy was acknowledged and succeeded.
    late_saves: u64,
    /// Sessions that the region that destroyed them still found.
    found_at_once: u64,
    /// Sessions that some region found in the end.
    found_in_the_end: u64,
}

impl std::iter::Sum for Raced {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            destroyed: sum.destroyed + one.destroyed,
            saves: sum.saves + one.saves,
            unanswered: sum.unanswered + one.unanswered,
            late_saves: sum.late_saves + one.late_saves,
            found_at_once: sum.found_at_once + one.found_at_once,
            found_in_the_end: sum.found_in_the_end + one.found_in_the_end,
        })
    }
}

pub(super) fn run(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let world = plan.start()?;
    let (stop, began) = (AtomicBool::new(false), Instant::now());
    let (raced, cuts) = thread::scope(|scope| {
        let cutting = scope.spawn(|| cut_and_heal(&world, &stop));
        let raced = race_all(plan, &world);
        stop.store(true, Ordering::Relaxed);
        let cuts = cutting.join().map_err(|_| anyhow!("the thread that cuts panicked"))??;
        Ok::<_, anyhow::Error>((raced.with_context(|| world.tails())?, cuts))
    })?;
    let seconds = began.elapsed().as_secs_f64();
    world.heal();
    let found_in_the_end = audit(plan, &world).with_context(|| world.tails())?;
    let Raced { destroyed, saves, unanswered, late_saves, found_at_once, .. } = raced;
    let note = format!(
        "{saves} saves and touches succeeded before, {unanswered} were not answered; {cuts} cuts in {seconds:.0} s; \
         {late_saves} succeeded after a destroy, {found_at_once} sessions were found at once after, {found_in_the_end} in the end"
    );
    let back = (late_saves + found_at_once + found_in_the_end) as f64;
    Ok(vec![
        Row::new("resurrect", format!("destroyed sessions that came back, of {destroyed}"), back, "")
            .wanted(0.0)
            .note(note),
    ])
}

/// Cuts ways at random until told to stop; how many.
fn cut_and_heal(world: &World, stop: &AtomicBool) -> anyhow::Result<u64> {
    let (mut random, mut cuts) = (SmallRng::seed_from_u64(7), 0);
    let regions = world.regions().len();
    while !stop.load(Ordering::Relaxed) {
        let from = random.random_range(0..regions);
        let to = (from + random.random_range(1..regions)) % regions;
        world.cut(from, to, random.random())?;
        cuts += 1;
        // One in eight is so long that connections break and streams begin anew.
        let long = random.random_range(0..8) == 0;
        thread::sleep(Duration::from_millis(if long { 4_000 } else { random.random_range(50..800) }));
        world.heal();
        thread::sleep(Duration::from_millis(random.random_range(50..500)));
    }
    Ok(cuts)
}

fn race_all(plan: &Plan, world: &World) -> anyhow::Result<Raced> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let addresses: Vec<Vec<SocketAddr>> = world.regions().iter().map(Region::resp_addresses).collect();
    let addresses = &addresses;
    let races = stream::iter(0..plan.destroys).map(|number| race(addresses, number));
    let raced: Vec<Raced> = runtime.block_on(races.buffer_unordered(AT_ONCE).try_collect())?;
    Ok(raced.into_iter().sum())
}

fn id(number: u64) -> String {
    format!("sess:{number}")
}

/// One session from its creation until some time after its end.
async fn race(addresses: &[Vec<SocketAddr>], number: u64) -> anyhow::Result<Raced> {
    let mut random = SmallRng::seed_from_u64(number);
    let mut at = || {
        let region = &addresses[random.random_range(0..addresses.len())];
        region[random.random_range(0..region.len())]
    };
    let id = id(number);
    let (mut creator, mut destroyer) = (Asker::new(at()), Asker::new(at()));
    let savers: Vec<Asker> = (0..SAVERS).map(|_| Asker::new(at())).collect();
    creator.until_answered(&[b"SET", id.as_bytes(), b"first", b"EX", b"3600"]).await?;
    let destroyed = Cell::new(false);
    let age = Duration::from_millis(random.random_range(0..AGE_MAX_MS));
    let ending = async {
        sleep(age).await;
        let ended = destroyer.until_answered(&[b"DEL", id.as_bytes()]).await;
        // Savers stop in any case.
        destroyed.set(true);
        ended?;
        // One that is asked for at home may not be answered while a way is cut.
        let found = destroyer.ask(&[b"GET", id.as_bytes()]).await;
        Ok::<_, anyhow::Error>(u64::from(matches!(found, Ok(Reply::Bytes(Some(_))))))
    };
    let saving = join_all(savers.into_iter().map(|saver| save(saver, &id, &destroyed)));
    let (found_at_once, saved) = tokio::join!(ending, saving);
    Ok(Raced { destroyed: 1, found_at_once: found_at_once?, ..saved.into_iter().sum() })
}

/// Saves and touches in turn until some time after the end.
async fn save(mut saver: Asker, id: &str, destroyed: &Cell<bool>) -> Raced {
    let (mut raced, mut late) = (Raced::default(), 0);
    for turn in 0_u64.. {
        let was_destroyed = destroyed.get();
        late += usize::from(was_destroyed);
        if late > LATE_SAVES {
            break;
        }
        let value = turn.to_string();
        let asked: &[&[u8]] = if turn % 2 == 0 {
            &[b"SET", id.as_bytes(), value.as_bytes(), b"XX", b"EX", b"3600"]
        } else {
            &[b"EXPIRE", id.as_bytes(), b"3000"]
        };
        match saver.ask(asked).await {
            Ok(Reply::Status(_) | Reply::Number(1)) if was_destroyed => raced.late_saves += 1,
            Ok(Reply::Status(_) | Reply::Number(1)) => raced.saves += 1,
            Ok(Reply::Error(_)) | Err(_) => raced.unanswered += 1,
            Ok(_missing) => {}
        }
        sleep(PAUSE).await;
    }
    raced
}

/// How many sessions are found in any region once all have heard of everything.
fn audit(plan: &Plan, world: &World) -> anyhow::Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut found = 0;
    for region in world.regions() {
        let node = region.nodes().first().context("a region has nodes")?;
        let mut client = node.connect()?;
        let what = format!("{} to let all sessions go", region.name());
        // If it does not, what is left is found below.
        let _settled =
            wait_until(&what, SETTLE_MAX, || client.say("DBSIZE").is_ok_and(|known| known == Reply::Number(0)));
        let lookers = (0..AT_ONCE as u64).map(|looker| find(node.resp, (looker..plan.destroys).step_by(AT_ONCE)));
        found += runtime.block_on(try_join_all(lookers))?.into_iter().sum::<u64>();
    }
    Ok(found)
}

/// How many of these sessions a node finds.
async fn find(node: SocketAddr, numbers: impl Iterator<Item = u64>) -> anyhow::Result<u64> {
    let (mut looker, mut found) = (Asker::new(node), 0);
    for number in numbers {
        match looker.until_answered(&[b"GET", id(number).as_bytes()]).await? {
            Reply::Bytes(None) => {}
            Reply::Bytes(Some(_)) => found += 1,
            other => bail!("{} cannot be looked for: {other:?}", id(number)),
        }
    }
    Ok(found)
}
