//! Operations per second, latencies and CPU, in turn: A B A B, so that what else the machine does meets all alike.

use super::{Plan, plan::Workload};
use crate::{
    load::{Keys, Load, Measured, Operation, Stop, Values, run as run_load},
    peers::{Running, Store},
    process::Usage,
};
use anyhow::Context;
use serde::Serialize;
use std::collections::BTreeMap;

/// Connections that fill a store with sessions.
const FILLING_CONNECTIONS: usize = 256;

/// What one store did under one load: medians of its turns.
#[derive(Clone, Debug, Serialize)]
pub struct Rate {
    /// Which load.
    pub workload: String,
    /// Whether ratios are taken from it.
    pub headline: bool,
    /// The operation's name.
    pub operation: &'static str,
    /// Which store.
    pub store: &'static str,
    /// Operations per second.
    pub operations_per_s: f64,
    /// Half of the operations took no longer.
    pub p50_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
    /// 999 of 1000 took no longer.
    pub p999_ms: f64,
    /// Answers of all turns that asked to try again.
    pub refused: u64,
    /// CPU time of all its servers for one operation.
    pub server_cpu_us: f64,
    /// CPU time of the generator for one operation.
    pub generator_cpu_us: f64,
    /// Memory of all its servers at the end.
    pub resident_mib: f64,
}

/// One turn.
struct Turn {
    measured: Measured,
    used: Usage,
}

pub(super) fn run(plan: &Plan, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Vec<Rate>> {
    let mut rates = Vec::new();
    // Sessions of one size stay for all loads of that size.
    let mut sizes: Vec<(usize, u64)> =
        plan.workloads.iter().map(|workload| (workload.value_bytes, workload.sessions)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for (value_bytes, sessions) in sizes {
        let mut running = Vec::new();
        for store in &plan.stores {
            let store = store.start(&plan.place, false)?;
            fill(&store, value_bytes, 0, sessions)?;
            running.push(store);
        }
        let mut created = sessions;
        let same = |workload: &&Workload| (workload.value_bytes, workload.sessions) == (value_bytes, sessions);
        for workload in plan.workloads.iter().filter(same) {
            rates.extend(compare(&running, workload, plan, &mut created, tell)?);
        }
    }
    Ok(rates)
}

/// Writes sessions `from..to`.
pub(super) fn fill(running: &Running, value_bytes: usize, from: u64, to: u64) -> anyhow::Result<Measured> {
    let load = Load {
        operation: Operation::Create,
        keys: Keys::Counting(from),
        values: Values::new(value_bytes),
        connections: FILLING_CONNECTIONS,
        stop: Stop::Operations(to - from),
    };
    run_load(&running.target, &load, || {}).with_context(|| format!("{}:\n{}", running.store.name(), running.tails()))
}

fn compare(
    running: &[Running],
    workload: &Workload,
    plan: &Plan,
    created: &mut u64,
    tell: &mut dyn FnMut(&str),
) -> anyhow::Result<Vec<Rate>> {
    let mut turns: BTreeMap<Store, Vec<Turn>> = BTreeMap::new();
    for _ in 0..plan.rounds {
        for store in running {
            turns.entry(store.store).or_default().push(turn(store, workload, plan, *created)?);
        }
        // Sessions that are created are new in every round.
        *created += if workload.operation == Operation::Create { CREATED_PER_ROUND } else { 0 };
    }
    let rates: Vec<Rate> = running.iter().map(|store| summary(store.store, workload, &turns[&store.store])).collect();
    for rate in &rates {
        tell(&format!(
            "{}: {}: {:.0}/s, p50 {:.2} ms, p99 {:.2} ms, server CPU {:.1} us, generator {:.1} us, {} refused",
            rate.workload,
            rate.store,
            rate.operations_per_s,
            rate.p50_ms,
            rate.p99_ms,
            rate.server_cpu_us,
            rate.generator_cpu_us,
            rate.refused,
        ));
    }
    Ok(rates)
}

/// More than any store creates in one turn.
const CREATED_PER_ROUND: u64 = 10_000_000;

fn turn(running: &Running, workload: &Workload, plan: &Plan, created: u64) -> anyhow::Result<Turn> {
    let load = Load {
        operation: workload.operation,
        keys: match workload.operation {
            Operation::Create => Keys::Counting(created),
            Operation::Update | Operation::Get => Keys::drawn(workload.sessions, workload.distribution),
        },
        values: Values::new(workload.value_bytes),
        connections: workload.connections,
        stop: Stop::After { warm_up: plan.warm_up, measured: plan.measured },
    };
    let mut before = Ok(Usage::default());
    let name = running.store.name();
    let measured = run_load(&running.target, &load, || before = running.usage())
        .with_context(|| format!("{} of {name}:\n{}", workload.name(), running.tails()))?;
    let (before, after) = (before?, running.usage()?);
    Ok(Turn { measured, used: Usage { cpu: after.cpu.saturating_sub(before.cpu), ..after } })
}

fn summary(store: Store, workload: &Workload, turns: &[Turn]) -> Rate {
    let of = |figure: &dyn Fn(&Turn) -> f64| median(turns.iter().map(figure).collect());
    let micros_each = |turn: &Turn, cpu: std::time::Duration| cpu.as_secs_f64() * 1e6 / turn.measured.operations as f64;
    Rate {
        workload: workload.name(),
        headline: workload.is_headline(),
        operation: workload.operation.name(),
        store: store.name(),
        operations_per_s: of(&|turn| turn.measured.rate()),
        p50_ms: of(&|turn| turn.measured.latency_ms(50.0)),
        p99_ms: of(&|turn| turn.measured.latency_ms(99.0)),
        p999_ms: of(&|turn| turn.measured.latency_ms(99.9)),
        refused: turns.iter().map(|turn| turn.measured.refused).sum(),
        server_cpu_us: of(&|turn| micros_each(turn, turn.used.cpu)),
        generator_cpu_us: of(&|turn| micros_each(turn, turn.measured.generator_cpu)),
        resident_mib: of(&|turn| turn.used.resident_bytes as f64 / f64::from(1 << 20)),
    }
}

/// The middle one; of an even number, the lower of the two.
pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}
