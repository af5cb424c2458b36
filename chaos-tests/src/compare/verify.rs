//! That each store syncs what it acknowledges: a comparison with one that does not would be none.
//!
//! Writes that come one after another cannot share a sync. So a store that answered N of them must have synced each on as many of its
//! servers as it claims, be it now on the one and now on the other. Then 64 at a time tell how many writes share a sync.

use super::Plan;
use crate::{
    load::{Keys, Load, Operation, Stop, Values, run as run_load},
    peers::{Running, Store},
};
use anyhow::{Context, ensure};
use serde::Serialize;

/// How one store syncs.
#[derive(Clone, Debug, Serialize)]
pub struct Syncs {
    /// Which store.
    pub store: &'static str,
    /// Writes that came one after another.
    pub writes: u64,
    /// Syncs of each server meanwhile, most first.
    pub syncs_per_server: Vec<u64>,
    /// Syncs of all servers per write, with 64 connections.
    pub syncs_per_write_at_64: f64,
}

pub(super) fn run(plan: &Plan, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Vec<Syncs>> {
    plan.stores.iter().map(|store| verify(*store, plan, tell)).collect()
}

fn verify(store: Store, plan: &Plan, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Syncs> {
    let running = store.start(&plan.place, true)?;
    let writes = plan.verified_writes;
    // The first writes may open files.
    count(&running, 0..10, 1)?;
    let mut syncs = count(&running, 10..10 + writes, 1)?;
    syncs.sort_unstable_by(|left, right| right.cmp(left));
    ensure!(
        holds(&syncs, writes, store.syncing_servers_min()),
        "{} acknowledged {writes} writes one after another, and its servers synced {syncs:?} times: it does not keep what it \
         acknowledges, so there is nothing to compare",
        store.name(),
    );
    let first = 10 + writes;
    let together = writes * 10;
    let shared: u64 = count(&running, first..first + together, 64)?.iter().sum();
    let syncs_per_write_at_64 = shared as f64 / together as f64;
    tell(&format!(
        "{}: {writes} writes one by one took {syncs:?} syncs; 64 at a time, {syncs_per_write_at_64:.2} a write",
        store.name()
    ));
    Ok(Syncs { store: store.name(), writes, syncs_per_server: syncs, syncs_per_write_at_64 })
}

/// Whether servers that synced so often can have synced each of these writes on as many of them. A second sync of one server for the
/// same write makes up for none of another.
fn holds(syncs: &[u64], writes: u64, servers_min: usize) -> bool {
    let useful: u64 = syncs.iter().map(|syncs| (*syncs).min(writes)).sum();
    useful >= writes * servers_min as u64
}

/// Syncs of each server while the sessions of a range are written.
fn count(running: &Running, sessions: std::ops::Range<u64>, connections: usize) -> anyhow::Result<Vec<u64>> {
    let before = running.syncs();
    let load = Load {
        operation: Operation::Create,
        keys: Keys::Counting(sessions.start),
        values: Values::new(1024),
        connections,
        stop: Stop::Operations(sessions.end - sessions.start),
    };
    run_load(&running.target, &load, || {})
        .with_context(|| format!("{}:\n{}", running.store.name(), running.tails()))?;
    let after = running.syncs();
    ensure!(before.len() == after.len(), "a server of {} ended", running.store.name());
    Ok(after.iter().zip(&before).map(|(after, before)| after - before).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_write_is_synced_on_as_many_servers_as_a_store_claims() {
        assert!(holds(&[200, 200, 0], 200, 2));
        assert!(holds(&[273, 162, 89], 200, 2), "now on the one, now on the other");
        assert!(!holds(&[200, 199, 0], 200, 2));
        assert!(!holds(&[900, 90, 90], 200, 2), "one that syncs often makes up for no other");
        assert!(holds(&[200], 200, 1) && !holds(&[199], 200, 1));
    }
}
