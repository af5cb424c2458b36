//! What writes notice of a fourth node that joins: replicas move to it by snapshot while a steady load goes on.
//!
//! The load is a third of what the region can do, and open: a write that has to wait counts from when it was due.

use super::{Plan, rates::fill};
use crate::{
    load::{Distribution, Done, Going, Keys, Load, Operation, Steady, Stop, Values, run as run_load, steady},
    peers::{Servers, Store},
    process::{Region, Usage, forget_peak, wait_until},
};
use anyhow::{Context, bail};
use serde::Serialize;
use sojourn_node::gateway::http::api::Status;
use std::{
    thread::sleep,
    time::{Duration, Instant},
};

const VALUE_BYTES: usize = 1024;

/// So many that a write hardly ever waits for a connection: whoever sends it does not wait for the others either.
const CONNECTIONS: usize = 256;

/// The steady load's part of what the region can do.
const LOAD_PART: f64 = 1.0 / 3.0;

/// What is not measured of the steady load: its first writes find cold connections.
const SETTLING: Duration = Duration::from_secs(1);

/// How many times as long as other loads the steady one is watched before the node comes: long enough that each shard is
/// written to the engine once.
const BEFORE_TIMES: f64 = 3.0;

/// The longest that joining may take.
const JOIN_MAX: Duration = Duration::from_secs(600);

/// How often it is looked whether the node has joined.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A write that takes longer is counted as delayed, in milliseconds: no snapshot may do that.
const DELAYED_MS: f64 = 50.0;

/// One joining.
#[derive(Clone, Debug, Serialize)]
pub struct Join {
    /// How many sessions the region held.
    pub sessions: u64,
    /// Their size.
    pub value_bytes: usize,
    /// Writes that were due in a second.
    pub writes_per_s: f64,
    /// Writes before the node came.
    pub before: Delays,
    /// Writes from then until replicas and leads were spread over all nodes.
    pub joining: Delays,
    /// How long that took.
    pub seconds: f64,
    /// What the new node's engine then took on the disk.
    pub stored_bytes: u64,
    /// The most that the memory of any of the other nodes grew meanwhile.
    pub grown_bytes_max: u64,
}

/// How long writes took, from when they were due.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Delays {
    /// How many.
    pub writes: usize,
    /// Half took no longer.
    pub p50_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
    /// 999 of 1000 took no longer.
    pub p999_ms: f64,
    /// None took longer.
    pub max_ms: f64,
    /// How many took longer than 50 ms.
    pub over_50_ms: usize,
}

impl Delays {
    /// How long those of `done` took that were due in a time.
    ///
    /// # Errors
    /// None was.
    pub(crate) fn of(done: &[Done], from: Instant, until: Instant) -> anyhow::Result<Self> {
        let then = done.iter().filter(|one| (from..until).contains(&one.due));
        let mut took_ms: Vec<f64> = then.map(|one| one.took.as_secs_f64() * 1e3).collect();
        took_ms.sort_unstable_by(f64::total_cmp);
        let last = took_ms.len().checked_sub(1).context("no write was due")?;
        let at = |part: f64| took_ms[(last as f64 * part) as usize];
        Ok(Self {
            writes: took_ms.len(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: at(1.0),
            over_50_ms: took_ms.iter().filter(|took_ms| **took_ms > DELAYED_MS).count(),
        })
    }
}

pub(super) fn run(plan: &Plan, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Join> {
    let mut running = Store::Sojourn.start(&plan.place, false)?;
    fill(&running, VALUE_BYTES, 0, plan.sessions_held)?;
    let load = Load {
        operation: Operation::Update,
        keys: Keys::drawn(plan.sessions_held, Distribution::Uniform),
        values: Values::new(VALUE_BYTES),
        connections: CONNECTIONS,
        stop: Stop::After { warm_up: plan.warm_up, measured: plan.measured },
    };
    let writes_per_s = run_load(&running.target, &load, || {})?.rate() * LOAD_PART;
    let Load { operation, keys, values, connections, .. } = load;
    let load = Steady { operation, keys, values, connections, operations_per_s: writes_per_s };
    let load = steady(&running.target, &load)?;
    let Servers::Region(region) = &mut running.servers else { bail!("Sojourn runs as a region") };
    let joined = watch(region, &load, plan);
    let joined = joined.with_context(|| running.tails());
    // What became of the load says more than what became of the waiting for it.
    let (done, Watched { begun, added, spread, grown_bytes_max, stored_bytes }) = (load.end()?, joined?);
    let join = Join {
        sessions: plan.sessions_held,
        value_bytes: VALUE_BYTES,
        writes_per_s,
        before: Delays::of(&done, begun, added)?,
        joining: Delays::of(&done, added, spread)?,
        seconds: (spread - added).as_secs_f64(),
        stored_bytes,
        grown_bytes_max,
    };
    tell(&format!(
        "sojourn: a node joined in {:.1} s; {:.0} writes/s took p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms, before it p50 \
         {:.1} ms, p99 {:.1} ms, at most {:.1} ms; {} took longer than {DELAYED_MS} ms, {} before it",
        join.seconds,
        join.writes_per_s,
        join.joining.p50_ms,
        join.joining.p99_ms,
        join.joining.max_ms,
        join.before.p50_ms,
        join.before.p99_ms,
        join.before.max_ms,
        join.joining.over_50_ms,
        join.before.over_50_ms,
    ));
    Ok(join)
}

/// When what happened, and what it cost the nodes.
struct Watched {
    begun: Instant,
    added: Instant,
    spread: Instant,
    grown_bytes_max: u64,
    stored_bytes: u64,
}

fn watch(region: &mut Region, load: &Going, plan: &Plan) -> anyhow::Result<Watched> {
    sleep(SETTLING);
    let begun = Instant::now();
    sleep(plan.measured.mul_f64(BEFORE_TIMES));
    let before = forget_peaks(region)?;
    let added = Instant::now();
    let position = region.add_node()?;
    wait_until("replicas and leads on the new node", JOIN_MAX, || {
        // Every node tells of itself for a status: asked without pause, it would be a load of its own.
        sleep(LOOK_EVERY);
        load.has_failed() || region.status().is_ok_and(|status| is_spread(&status))
    })?;
    let spread = Instant::now();
    let after = usages(region)?;
    let grown = before.iter().zip(&after);
    let grown = grown.map(|(before, after)| after.resident_bytes_peak.saturating_sub(before.resident_bytes));
    let grown_bytes_max = grown.max().unwrap_or_default();
    Ok(Watched { begun, added, spread, grown_bytes_max, stored_bytes: region.nodes()[position].stored_bytes()? })
}

fn usages(region: &Region) -> anyhow::Result<Vec<Usage>> {
    region.nodes().iter().map(|node| Ok(node.child()?.usage()?)).collect()
}

/// What the nodes use; their peaks are of what comes after.
fn forget_peaks(region: &Region) -> anyhow::Result<Vec<Usage>> {
    for node in region.nodes() {
        forget_peak(node.child()?.id())?;
    }
    usages(region)
}

/// Whether every shard is where it should be, and replicas and leads are as even as can be.
pub(crate) fn is_spread(status: &Status) -> bool {
    let shards = || status.groups.iter().filter(|group| group.group != "system");
    let settled = shards().all(|group| {
        let votes = group.replicas.iter().filter(|replica| replica.votes).count();
        group.leader.is_some() && !group.changing && votes == 3 && group.replicas.len() == votes
    });
    let even = |counts: &dyn Fn(&str) -> usize| {
        let counts: Vec<usize> = status.members.iter().map(|member| counts(&member.node)).collect();
        counts.iter().max().zip(counts.iter().min()).is_some_and(|(most, least)| most - least <= 1)
    };
    let replicas = |node: &str| shards().filter(|group| group.replicas.iter().any(|one| one.node == node)).count();
    let leads = |node: &str| shards().filter(|group| group.leader.as_deref() == Some(node)).count();
    settled && status.members.iter().all(|member| member.state == "ready") && even(&replicas) && even(&leads)
}
