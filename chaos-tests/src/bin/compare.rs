//! Compares Sojourn with Redis, Valkey, etcd and NATS on this machine.
//!
//! `cargo run --release -p sojourn-chaos-tests --bin compare -- --quick`

use anyhow::{Context, ensure};
use clap::Parser;
use sojourn_chaos_tests::{
    compare::{Part, Plan, compare},
    peers::Store,
};
use std::{
    io::{Write, stderr, stdout},
    path::PathBuf,
    time::Duration,
};

/// Compare Sojourn with its peers: the same load on the same disk, every fsync verified.
#[derive(Debug, Parser)]
struct Arguments {
    /// The headline figures in two minutes (what happens without a choice, too).
    #[arg(long, conflicts_with_all = ["full", "smoke"])]
    quick: bool,
    /// All operations, sizes, connections and distributions, and a million sessions.
    #[arg(long, conflicts_with = "smoke")]
    full: bool,
    /// A few seconds, to see that everything works; its figures mean nothing.
    #[arg(long)]
    smoke: bool,
    /// Only these parts.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Only these stores; Sojourn is always one.
    #[arg(long, value_delimiter = ',')]
    stores: Vec<Store>,
    /// Sessions that the loads go to, instead of the plan's number.
    #[arg(long)]
    sessions: Option<u64>,
    /// How often each store has its turn, instead of the plan's number.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds that are measured of each turn, instead of the plan's.
    #[arg(long)]
    seconds: Option<f64>,
    /// Where to write everything as JSON, with the object `ratios`.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the data goes: a directory on the disk that is measured.
    #[arg(long, value_name = "DIRECTORY", default_value_os_t = std::env::temp_dir())]
    place: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let plan = plan(&arguments)?;
    ensure!(arguments.smoke || !cfg!(debug_assertions), "a debug build is no measure: run with `--release`");
    let report = compare(&plan, &mut |line| {
        // Nobody may be reading.
        let _unread = writeln!(stderr(), "{line}");
    })?;
    writeln!(stdout(), "{report}")?;
    if let Some(file) = arguments.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn plan(arguments: &Arguments) -> anyhow::Result<Plan> {
    let place = arguments.place.clone();
    let mut plan = match (arguments.full, arguments.smoke) {
        (true, _) => Plan::full(place),
        (_, true) => Plan::smoke(place),
        _ => Plan::quick(place),
    };
    if !arguments.only.is_empty() {
        plan.parts.clone_from(&arguments.only);
    }
    plan.rounds = arguments.rounds.unwrap_or(plan.rounds);
    plan.measured = arguments.seconds.map_or(plan.measured, Duration::from_secs_f64);
    for workload in &mut plan.workloads {
        workload.sessions = arguments.sessions.unwrap_or(workload.sessions);
    }
    if !arguments.stores.is_empty() {
        plan.stores.retain(|store| *store == Store::Sojourn || arguments.stores.contains(store));
    }
    for missing in plan.stores.iter().filter(|store| store.program().is_none()) {
        writeln!(stderr(), "{} is left out: not installed ({})", missing.name(), missing.installation())?;
    }
    plan.stores.retain(|store| store.program().is_some());
    Ok(plan)
}
