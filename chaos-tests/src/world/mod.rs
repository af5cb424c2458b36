//! Measures a world of three regions on this machine: `chaos-tests world`.
//!
//! Three regions of three nodes, 80 ms from each other one way. Every figure stands beside the value that is wanted; clocks are
//! one machine's, so that times of different regions can be compared.

mod asker;
mod bytes;
mod join;
mod lag;
mod losses;
mod lost;
mod plan;
mod reads;
mod report;
mod resurrect;
mod revoke;
mod writes;

pub use plan::{Figure, Plan};
pub use report::{Report, Row};

use anyhow::Context;
use clap::Parser;
use std::{
    io::{Write, stderr, stdout},
    path::PathBuf,
};

/// Measures a world of three regions with 80 ms between them.
#[derive(Debug, Parser)]
pub struct WorldArgs {
    /// The headline figures in about six minutes.
    #[arg(long, conflicts_with = "smoke")]
    quick: bool,
    /// Two minutes, to see that everything works; its figures mean nothing.
    #[arg(long)]
    smoke: bool,
    /// Only these figures.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Figure>,
    /// How many sessions are destroyed in races, instead of the plan's number.
    #[arg(long, value_name = "COUNT")]
    destroys: Option<u64>,
    /// How often a region is lost and comes back, instead of the plan's number.
    #[arg(long, value_name = "COUNT")]
    region_losses: Option<usize>,
    /// Where to write everything as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the data goes: a directory on the disk that is measured.
    #[arg(long, value_name = "DIRECTORY", default_value_os_t = std::env::temp_dir())]
    place: PathBuf,
}

/// Measures and prints.
///
/// # Errors
/// A world does not start, or gives an answer that it must not give.
pub fn run(args: &WorldArgs) -> anyhow::Result<()> {
    let mut plan = match (args.quick, args.smoke) {
        (_, true) => Plan::smoke(args.place.clone()),
        (true, _) => Plan::quick(args.place.clone()),
        _ => Plan::full(args.place.clone()),
    };
    if !args.only.is_empty() {
        plan.figures.clone_from(&args.only);
    }
    plan.destroys = args.destroys.unwrap_or(plan.destroys);
    plan.region_losses = args.region_losses.unwrap_or(plan.region_losses);
    anyhow::ensure!(args.smoke || !cfg!(debug_assertions), "a debug build is no measure: run with `--release`");
    let report = measure(&plan, &mut |line| {
        // Nobody may be reading.
        let _unread = writeln!(stderr(), "{line}");
    })?;
    writeln!(stdout(), "{report}")?;
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Runs a plan and tells what it measures as it goes.
///
/// # Errors
/// See [`run`].
pub fn measure(plan: &Plan, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Report> {
    let mut report = Report { delay_ms: plan.delay.as_secs_f64() * 1e3, ..Report::default() };
    for figure in &plan.figures {
        tell(&format!("{}: {}", figure.name(), figure.about()));
        let rows = match figure {
            Figure::Lag => lag::run(plan),
            Figure::Writes => writes::run(plan),
            Figure::Reads => reads::run(plan),
            Figure::Bytes => bytes::run(plan),
            Figure::Lost => lost::run(plan),
            Figure::Revoke => revoke::run(plan),
            Figure::Resurrect => resurrect::run(plan),
            Figure::Geo => losses::geo(plan),
            Figure::Cut => losses::cut(plan),
            Figure::Join => join::run(plan),
        };
        for row in rows.with_context(|| format!("cannot measure {}", figure.name()))? {
            tell(&format!("{}: {row}", figure.name()));
            report.rows.push(row);
        }
    }
    Ok(report)
}
