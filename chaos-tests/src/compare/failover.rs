//! How long no write is acknowledged after the leader's process was killed with SIGKILL.
//!
//! The survivors are asked to write at once and again until one of them has; a try that is not answered soon is given up, as
//! a patient client would, since it may have gone to the dead leader.

use super::{Plan, rates::median};
use crate::{
    load::{Connection, KEY_BYTES, Operation, Target, etcd_status, write_key},
    peers::{Running, Servers, Store},
    process::Child,
};
use anyhow::{Context, bail};
use futures::future::{join_all, select_ok};
use rustix::process::Signal;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

/// The first try that takes longer than this is begun anew; each later one may take twice as long as that before it.
const TRY_TIMEOUT: Duration = Duration::from_millis(100);

/// Between a refused try and the next.
const PAUSE: Duration = Duration::from_millis(5);

/// No store is waited for longer.
const GAP_MAX: Duration = Duration::from_secs(30);

/// Keys that are tried to find one for each shard.
const KEYS_TRIED: u64 = 32;

/// How long one store's writes stood still.
#[derive(Clone, Debug, Serialize)]
pub struct Failover {
    /// Which store.
    pub store: &'static str,
    /// The middle of all.
    pub median_s: f64,
    /// The longest.
    pub max_s: f64,
    /// All.
    pub gaps_s: Vec<f64>,
}

pub(super) fn run(plan: &Plan, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Vec<Failover>> {
    let with_leader = |store: &&Store| matches!(store, Store::Sojourn | Store::Etcd);
    plan.stores.iter().filter(with_leader).map(|store| measure(*store, plan, tell)).collect()
}

fn measure(store: Store, plan: &Plan, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Failover> {
    let mut running = store.start(&plan.place, false)?;
    let mut gaps_s = Vec::new();
    for _ in 0..plan.kills {
        let victim = victim(&running)?;
        let gap = runtime()?.block_on(gap(&running, &victim)).with_context(|| running.tails())?;
        gaps_s.push(gap.as_secs_f64());
        running.restart(victim.position)?;
    }
    let failover = Failover {
        store: store.name(),
        median_s: median(gaps_s.clone()),
        max_s: gaps_s.iter().copied().fold(0.0, f64::max),
        gaps_s,
    };
    tell(&format!(
        "{}: no write for {:.3} s after the leader was killed (median of {}, longest {:.3} s)",
        failover.store, failover.median_s, plan.kills, failover.max_s
    ));
    Ok(failover)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Whom to kill, and a session of each shard that it leads.
struct Victim {
    position: usize,
    sessions: Vec<u64>,
}

fn victim(running: &Running) -> anyhow::Result<Victim> {
    match &running.servers {
        Servers::Region(region) => {
            let mut led: BTreeMap<usize, BTreeMap<i64, u64>> = BTreeMap::new();
            for session in 0..KEYS_TRIED {
                let mut key = [0; KEY_BYTES];
                write_key(session, &mut key);
                let lead = region.lead(std::str::from_utf8(&key)?)?;
                led.entry(lead.node).or_default().insert(lead.first_slot, session);
            }
            // The one that leads most: its loss is felt most.
            let (position, shards) = led.into_iter().max_by_key(|(_, shards)| shards.len()).context("nobody leads")?;
            Ok(Victim { position, sessions: shards.into_values().collect() })
        }
        Servers::Processes(_) => {
            let statuses = runtime()?.block_on(join_all(running.target.addresses().iter().map(|at| etcd_status(*at))));
            let leads = |status: &anyhow::Result<_>| {
                status.as_ref().is_ok_and(|status: &crate::load::EtcdStatus| status.leader == Some(status.member))
            };
            let position = statuses.iter().position(leads).context("no member leads")?;
            Ok(Victim { position, sessions: vec![0] })
        }
    }
}

async fn gap(running: &Running, victim: &Victim) -> anyhow::Result<Duration> {
    let survivors: Vec<SocketAddr> = running.target.addresses().to_vec();
    let survivors = survivors.iter().enumerate().filter(|(position, _)| *position != victim.position);
    let survivors: Vec<Target> = survivors.map(|(_, address)| running.target.only(*address)).collect();
    let mut writers = Vec::new();
    for session in &victim.sessions {
        let mut own = Vec::new();
        for survivor in &survivors {
            let mut writer = Writer::open(survivor, *session).await?;
            writer.write().await?;
            own.push(writer);
        }
        writers.push(own);
    }
    let child: &Child = running.processes()[victim.position];
    let killed = Instant::now();
    child.signal(Signal::KILL)?;
    let first_of = |writers: Vec<Writer>| select_ok(writers.into_iter().map(|writer| Box::pin(writer.write_at_last())));
    let all = join_all(writers.into_iter().map(first_of));
    let written: Result<Vec<_>, _> =
        timeout(GAP_MAX, all).await.context("no write for too long")?.into_iter().collect();
    written?;
    Ok(killed.elapsed())
}

/// Writes one session again and again.
struct Writer {
    target: Target,
    key: [u8; KEY_BYTES],
    connection: Option<Connection>,
}

impl Writer {
    async fn open(target: &Target, session: u64) -> anyhow::Result<Self> {
        let mut key = [0; KEY_BYTES];
        write_key(session, &mut key);
        Ok(Self { target: target.clone(), key, connection: Some(Connection::open(target, 0).await?) })
    }

    async fn write(&mut self) -> anyhow::Result<()> {
        let Some(connection) = &mut self.connection else { bail!("not connected") };
        connection.perform(Operation::Update, &self.key, b"after the leader").await
    }

    async fn write_at_last(mut self) -> anyhow::Result<()> {
        let mut patience = TRY_TIMEOUT;
        loop {
            if self.connection.is_none() {
                self.connection = Connection::open(&self.target, 0).await.ok();
            }
            match timeout(patience, self.write()).await {
                Ok(Ok(())) => return Ok(()),
                // What is left of an unfinished exchange would be read as the next answer.
                Ok(Err(_)) => self.connection = None,
                Err(_) => (self.connection, patience) = (None, patience * 2),
            }
            sleep(PAUSE).await;
        }
    }
}
