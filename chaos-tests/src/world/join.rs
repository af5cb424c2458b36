//! What writes in a region notice of a node that joins it while two other regions follow: replicas move to it by snapshot.
//!
//! The load is open and steady: a write that has to wait counts from when it was due.

use super::{Plan, Row, bytes::until_followed};
use crate::{
    compare::{Delays, is_spread},
    load::{Confirm, Going, Keys, Operation, Steady, Target, Values, steady},
    process::{World, wait_until},
};
use anyhow::Context;
use std::{
    thread::sleep,
    time::{Duration, Instant},
};

const VALUE_BYTES: usize = 1024;

/// So many that a write hardly ever waits for a connection.
const CONNECTIONS: usize = 64;

/// The most that the slowest writes may take, times what they took before the node came.
const RATIO_WANTED_MAX: f64 = 3.0;

/// The longest that joining may take.
const JOIN_MAX: Duration = Duration::from_secs(600);

pub(super) fn run(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let mut world = plan.start()?;
    fill(plan, &world).with_context(|| world.tails())?;
    let going = begin(plan, &world, Operation::Update, Keys::Between { first: 0, count: plan.sessions })?;
    let watched = watch(plan, &mut world, &going);
    let (done, watched) = (going.end()?, watched.with_context(|| world.tails())?);
    let (begun, added, spread) = watched;
    let (before, joining) = (Delays::of(&done, begun, added)?, Delays::of(&done, added, spread)?);
    let note = format!(
        "{:.0} writes/s through the region's first three nodes, {} sessions; it took {:.1} s",
        plan.operations_per_s,
        plan.sessions,
        (spread - added).as_secs_f64()
    );
    let row = |what: &str, value, unit| Row::new("join", what, value, unit);
    Ok(vec![
        row("write p99 before a node joins its region", before.p99_ms, "ms"),
        row("write p99 while replicas move to it", joining.p99_ms, "ms").note(note),
        row("write p99 while replicas move, times that before", joining.p99_ms / before.p99_ms, "")
            .wanted(RATIO_WANTED_MAX),
    ])
}

/// Creates the sessions, each once, and waits until the other regions have them.
fn fill(plan: &Plan, world: &World) -> anyhow::Result<()> {
    let going = begin(plan, world, Operation::Create, Keys::Counting(0))?;
    sleep(Duration::from_secs_f64(plan.sessions as f64 / plan.operations_per_s));
    let created = going.end()?.len() as u64;
    until_followed(world, created)
}

fn begin(plan: &Plan, world: &World, operation: Operation, keys: Keys) -> anyhow::Result<Going> {
    let region = world.regions().first().context("a world has regions")?;
    let target = Target::Resp { addresses: region.resp_addresses(), confirm: Confirm::None };
    let (values, operations_per_s) = (Values::new(VALUE_BYTES), plan.operations_per_s);
    steady(&target, &Steady { operation, keys, values, connections: CONNECTIONS, operations_per_s })
}

/// From when on was measured, when the node came, and when it had its part.
fn watch(plan: &Plan, world: &mut World, load: &Going) -> anyhow::Result<(Instant, Instant, Instant)> {
    sleep(plan.warm_up);
    let begun = Instant::now();
    sleep(plan.measured);
    let added = Instant::now();
    world.add_node(0)?;
    let region = world.regions().first().context("a world has regions")?;
    wait_until("replicas and leads on the new node", JOIN_MAX, || {
        load.has_failed() || region.status().is_ok_and(|status| is_spread(&status))
    })?;
    Ok((begun, added, Instant::now()))
}
