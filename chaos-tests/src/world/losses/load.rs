//! Writes that go on while a region is lost: each session has one client, which writes one number after the other.

use super::told::{Told, Write, now_ms};
use crate::{process::wait_until, resp::Reply, world::asker::Asker};
use anyhow::{Context, anyhow, bail};
use futures::future::{BoxFuture, join_all};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::time::sleep;

/// Sessions of each home that are written through each region.
const SESSIONS_PER_PAIR: usize = 4;

/// Sessions of the region that is lost which are destroyed through each region, one after the other.
const DOOMED_PER_REGION: usize = 32;

/// Between two writes of a session, two destroys, two new sessions, and before what was refused is tried again.
const WRITE_PAUSE: Duration = Duration::from_millis(20);
const DESTROY_PAUSE: Duration = Duration::from_millis(50);
const CREATE_PAUSE: Duration = Duration::from_millis(100);
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// How long new sessions may take until all regions know them.
const FOLLOWED_MAX: Duration = Duration::from_secs(30);

/// How long sessions may take to be written again.
const PROGRESS_MAX: Duration = Duration::from_secs(60);

/// Where a load goes.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Where each region takes Redis clients.
    pub regions: Vec<Vec<SocketAddr>>,
    /// The region that will be lost.
    pub lost: usize,
    /// What tells the ids of this load from those of others.
    pub name: String,
}

#[derive(Default)]
struct Signs {
    /// The region is about to be lost.
    lost: AtomicBool,
    /// All ends.
    stop: AtomicBool,
}

/// A load that goes on in a thread of its own.
pub(super) struct Load {
    signs: Arc<Signs>,
    thread: JoinHandle<anyhow::Result<Vec<Told>>>,
    /// Of each session that is written all the time through a region that stays: what was acknowledged so far.
    acknowledged: Vec<Arc<AtomicU64>>,
}

impl Load {
    /// Creates the sessions, each in its home, then begins.
    pub fn begin(place: Place) -> anyhow::Result<Self> {
        let signs = Arc::new(Signs::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let before = runtime.block_on(place.sessions())?;
        let (writers, acknowledged) = runtime.block_on(writers(&place, &signs))?;
        let mut clients: Vec<BoxFuture<'static, Vec<Told>>> = writers;
        clients.extend(runtime.block_on(enders(&place, &signs))?);
        // A write to a session of which a region has not heard yet would create another one there, with another home.
        let regions = place.regions.len();
        let created = regions * regions * SESSIONS_PER_PAIR + regions * DOOMED_PER_REGION;
        let wanted: Vec<i64> = before.iter().map(|count| count + created as i64).collect();
        wait_until("all regions to know the sessions", FOLLOWED_MAX, || {
            runtime.block_on(place.sessions()).is_ok_and(|count| count == wanted)
        })?;
        clients
            .extend((0..place.regions.len()).map(|via| -> BoxFuture<'static, Vec<Told>> {
                Box::pin(newcomers(place.clone(), via, signs.clone()))
            }));
        let work = move || Ok(runtime.block_on(join_all(clients)).into_iter().flatten().collect());
        let thread = std::thread::Builder::new().name("losses".to_owned()).spawn(work)?;
        Ok(Self { signs, thread, acknowledged })
    }

    /// Says that the region is about to be lost: some clients stop for good, so that what they wrote last stays the last.
    pub fn lose(&self) {
        self.signs.lost.store(true, Ordering::Relaxed);
    }

    /// Waits until every session that is written all the time was written once more.
    pub fn wait_written(&self) -> anyhow::Result<()> {
        let now = || self.acknowledged.iter().map(|count| count.load(Ordering::Relaxed));
        let before: Vec<u64> = now().collect();
        let all = || now().zip(&before).all(|(now, before)| now > *before);
        wait_until("all sessions to be written again", PROGRESS_MAX, || self.thread.is_finished() || all()).map(drop)
    }

    /// Ends it and tells all that was done.
    pub fn end(self) -> anyhow::Result<Vec<Told>> {
        self.signs.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the load panicked"))?
    }
}

impl Signs {
    fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Place {
    fn address(&self, via: usize, number: usize) -> anyhow::Result<SocketAddr> {
        let nodes = &self.regions[via];
        nodes.get(number % nodes.len().max(1)).copied().context("a region has nodes")
    }

    /// How many sessions each region knows.
    async fn sessions(&self) -> anyhow::Result<Vec<i64>> {
        let mut counts = Vec::new();
        for via in 0..self.regions.len() {
            match Asker::new(self.address(via, 0)?).until_answered(&[b"DBSIZE"]).await? {
                Reply::Number(count) => counts.push(count),
                other => bail!("sessions cannot be counted: {other:?}"),
            }
        }
        Ok(counts)
    }

    async fn create(&self, id: String, home: usize, number: usize) -> anyhow::Result<Told> {
        let mut asker = Asker::new(self.address(home, number)?);
        let sent_ms = now_ms();
        asker.until_answered(&[b"SET", id.as_bytes(), b"1", b"EX", b"86400"]).await?;
        let write = Write { number: 1, sent_ms, acknowledged_ms: Some(now_ms()) };
        Ok(Told { id, home, writes: vec![write], end: None })
    }
}

type Clients = (Vec<BoxFuture<'static, Vec<Told>>>, Vec<Arc<AtomicU64>>);

/// Those who write sessions of each home through each region. Every other one stops when the region is lost.
async fn writers(place: &Place, signs: &Arc<Signs>) -> anyhow::Result<Clients> {
    let (mut clients, mut acknowledged): Clients = Default::default();
    let regions = place.regions.len();
    for (home, via) in (0..regions).flat_map(|home| (0..regions).map(move |via| (home, via))) {
        for number in 0..SESSIONS_PER_PAIR {
            let id = format!("{}:{home}:{via}:{number}", place.name);
            let told = place.create(id, home, number).await?;
            let (count, quits) = (Arc::new(AtomicU64::new(0)), number % 2 == 1);
            if via != place.lost && !quits {
                acknowledged.push(count.clone());
            }
            let asker = Asker::new(place.address(via, number)?);
            clients.push(Box::pin(write(asker, told, signs.clone(), quits, count)));
        }
    }
    Ok((clients, acknowledged))
}

async fn write(mut asker: Asker, mut told: Told, signs: Arc<Signs>, quits: bool, count: Arc<AtomicU64>) -> Vec<Told> {
    for number in 2_u64.. {
        if signs.stops() || (quits && signs.is_lost()) {
            break;
        }
        let (value, sent_ms) = (number.to_string(), now_ms());
        let answer = asker.ask(&[b"SET", told.id.as_bytes(), value.as_bytes(), b"EX", b"86400"]).await;
        let acknowledged_ms = matches!(answer, Ok(Reply::Status(_))).then(now_ms);
        told.writes.push(Write { number, sent_ms, acknowledged_ms });
        count.fetch_add(u64::from(acknowledged_ms.is_some()), Ordering::Relaxed);
        sleep(if acknowledged_ms.is_some() { WRITE_PAUSE } else { REFUSED_PAUSE }).await;
    }
    vec![told]
}

/// Those who destroy sessions of the region that is lost, through each region.
async fn enders(place: &Place, signs: &Arc<Signs>) -> anyhow::Result<Vec<BoxFuture<'static, Vec<Told>>>> {
    let mut clients: Vec<BoxFuture<'static, Vec<Told>>> = Vec::new();
    for via in 0..place.regions.len() {
        let doomed = (0..DOOMED_PER_REGION)
            .map(|number| place.create(format!("{}:end:{via}:{number}", place.name), place.lost, number));
        let doomed = futures::future::try_join_all(doomed).await?;
        clients.push(Box::pin(destroy(Asker::new(place.address(via, via)?), doomed, signs.clone())));
    }
    Ok(clients)
}

/// Saves and destroys one after the other until told to stop.
async fn destroy(mut asker: Asker, mut doomed: Vec<Told>, signs: Arc<Signs>) -> Vec<Told> {
    for told in &mut doomed {
        if signs.stops() {
            break;
        }
        // A save that comes too late finds nothing: it never creates.
        let (id, sent_ms) = (told.id.clone(), now_ms());
        let saved = asker.ask(&[b"SET", id.as_bytes(), b"2", b"XX", b"EX", b"86400"]).await;
        let acknowledged_ms = matches!(saved, Ok(Reply::Status(_))).then(now_ms);
        told.writes.push(Write { number: 2, sent_ms, acknowledged_ms });
        let end = told.end.insert(Write { number: 3, sent_ms: now_ms(), acknowledged_ms: None });
        while !signs.stops() {
            if let Ok(Reply::Number(_)) = asker.ask(&[b"DEL", id.as_bytes()]).await {
                end.acknowledged_ms = Some(now_ms());
                break;
            }
            sleep(REFUSED_PAUSE).await;
        }
        sleep(DESTROY_PAUSE).await;
    }
    doomed
}

/// New sessions, one after the other, of which nobody hears again.
async fn newcomers(place: Place, via: usize, signs: Arc<Signs>) -> Vec<Told> {
    let mut all = Vec::new();
    let Ok(address) = place.address(via, via) else { return all };
    let mut asker = Asker::new(address);
    for number in 0_u64.. {
        if signs.stops() {
            break;
        }
        let (id, sent_ms) = (format!("{}:new:{via}:{number}", place.name), now_ms());
        let answer = asker.ask(&[b"SET", id.as_bytes(), b"1", b"EX", b"86400"]).await;
        let acknowledged_ms = matches!(answer, Ok(Reply::Status(_))).then(now_ms);
        all.push(Told { id, home: via, writes: vec![Write { number: 1, sent_ms, acknowledged_ms }], end: None });
        sleep(CREATE_PAUSE).await;
    }
    all
}
