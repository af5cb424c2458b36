//! What writes notice of the other regions: three that follow each other, and one alone that is written to as much in all.
//!
//! The load is a third of what the whole world can do, and open: a write that has to wait counts from when it was due.

use super::{Plan, Row, report::at};
use crate::{
    load::{Confirm, Going, Keys, Load, Operation, Steady, Stop, Target, Values, run as run_load, steady},
    process::{Region, RegionOptions},
};
use anyhow::{Context, anyhow};
use std::{
    thread,
    time::{Duration, Instant},
};

const VALUE_BYTES: usize = 1024;

/// Connections of each region while its saturation is looked for.
const SATURATING_CONNECTIONS: usize = 32;

/// Connections of the steady loads: so many that a write hardly ever waits for one.
const CONNECTIONS: usize = 128;

/// The steady load's part of what the world can do.
const LOAD_PART: f64 = 1.0 / 3.0;

pub(super) fn run(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let world = plan.start()?;
    let regions: Vec<&Region> = world.regions().iter().collect();
    let measured = || {
        let saturation = saturation(plan, &regions)?;
        let total_per_s = saturation * LOAD_PART;
        Ok::<_, anyhow::Error>((saturation, total_per_s, p99_ms(plan, &regions, total_per_s)?))
    };
    let (saturation, total_per_s, together_ms) = measured().with_context(|| world.tails())?;
    drop(world);
    let region = Region::start(&RegionOptions { place: plan.place.clone(), ..RegionOptions::default() })?;
    let alone_ms = p99_ms(plan, &[&region], total_per_s).with_context(|| region.tails())?;
    let load = format!("{total_per_s:.0} writes/s in all");
    Ok(vec![
        Row::new("writes", "saturation of three regions together", saturation, "writes/s"),
        Row::new("writes", format!("write p99 of one region alone, {load}"), alone_ms, "ms"),
        Row::new("writes", format!("write p99 in three regions, {load}"), together_ms, "ms"),
        Row::new("writes", "write p99 with streams, times that of one region alone", together_ms / alone_ms, "")
            .wanted(1.5),
    ])
}

/// Sessions of each region's own: those of another one would be written there.
fn keys(plan: &Plan, region: usize) -> Keys {
    Keys::Between { first: region as u64 * plan.sessions, count: plan.sessions }
}

fn target(region: &Region) -> Target {
    Target::Resp { addresses: region.resp_addresses(), confirm: Confirm::None }
}

/// Writes a second that all regions together can do.
fn saturation(plan: &Plan, regions: &[&Region]) -> anyhow::Result<f64> {
    let load = |region: usize| Load {
        operation: Operation::Update,
        keys: keys(plan, region),
        values: Values::new(VALUE_BYTES),
        connections: SATURATING_CONNECTIONS,
        stop: Stop::After { warm_up: plan.warm_up, measured: plan.measured / 2 },
    };
    let rates = thread::scope(|scope| {
        let loads = regions.iter().enumerate().map(|(number, region)| {
            let (target, load) = (target(region), load(number));
            scope.spawn(move || run_load(&target, &load, || {}).map(|measured| measured.rate()))
        });
        // All of them are begun before the first is waited for.
        let loads: Vec<_> = loads.collect();
        loads.into_iter().map(|load| load.join().map_err(|_| anyhow!("a load panicked"))?).collect::<Vec<_>>()
    });
    rates.into_iter().sum()
}

/// The 99th percentile of writes in all regions, each with an equal part of the load.
fn p99_ms(plan: &Plan, regions: &[&Region], total_per_s: f64) -> anyhow::Result<f64> {
    let loads = regions.iter().enumerate().map(|(number, region)| {
        let load = Steady {
            operation: Operation::Update,
            keys: keys(plan, number),
            values: Values::new(VALUE_BYTES),
            connections: CONNECTIONS,
            operations_per_s: total_per_s / regions.len() as f64,
        };
        steady(&target(region), &load)
    });
    let loads: Vec<Going> = loads.collect::<anyhow::Result<_>>()?;
    thread::sleep(plan.warm_up);
    let from = Instant::now();
    thread::sleep(plan.measured);
    let until = Instant::now();
    let mut took_ms = Vec::new();
    for load in loads {
        let done = load.end()?;
        let then = done.iter().filter(|one| (from..until).contains(&one.due));
        took_ms.extend(then.map(|one| milliseconds(one.took)));
    }
    at(&mut took_ms, 0.99).context("no write was due")
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
