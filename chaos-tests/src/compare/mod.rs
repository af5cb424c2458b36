//! Compares Sojourn with other stores: the same load, the same disk, in turn, every fsync verified.

mod failover;
mod join;
mod memory;
mod plan;
mod rates;
mod ratios;
mod report;
mod restart;
mod verify;

pub use join::Delays;
pub(crate) use join::is_spread;
pub use plan::{Part, Plan};
pub use report::Report;

use anyhow::Context;
use serde::Serialize;

/// A store that takes part.
#[derive(Clone, Debug, Serialize)]
pub struct Participant {
    /// Its name.
    pub name: &'static str,
    /// What runs.
    pub description: &'static str,
    /// What its program says of itself.
    pub version: String,
}

/// Runs a plan and tells what it measures as it goes.
///
/// # Errors
/// A store is missing, gives a wrong answer, or acknowledges what it has not synced.
pub fn compare(plan: &Plan, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Report> {
    let mut report = Report::default();
    for store in &plan.stores {
        let version = store.version().with_context(|| format!("{} cannot be asked for its version", store.name()))?;
        tell(&format!("{}: {version} ({})", store.name(), store.description()));
        report.stores.push(Participant { name: store.name(), description: store.description(), version });
    }
    for part in &plan.parts {
        match part {
            Part::Syncs => report.syncs = verify::run(plan, tell)?,
            Part::Rates => report.rates = rates::run(plan, tell)?,
            Part::Failover => report.failover = failover::run(plan, tell)?,
            Part::Memory => report.memory = memory::run(plan, tell)?,
            Part::Restart => report.restart = Some(restart::run(plan, tell)?),
            Part::Join => report.join = Some(join::run(plan, tell)?),
        }
    }
    report.ratios = ratios::of(&report);
    Ok(report)
}
