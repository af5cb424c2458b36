//! Memory per session: 512 bytes each, with a lifetime.

use super::{Plan, rates::fill};
use crate::peers::{Running, Store};
use serde::Serialize;

const VALUE_BYTES: usize = 512;

/// What one store needs for a session.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// Which store.
    pub store: &'static str,
    /// How many sessions it held.
    pub sessions: u64,
    /// Resident bytes of one server that the sessions added, per session.
    pub bytes_per_session: f64,
    /// Sessions written per second meanwhile.
    pub creates_per_s: f64,
}

pub(super) fn run(plan: &Plan, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Vec<Memory>> {
    let in_memory = |store: &&Store| matches!(store, Store::Sojourn | Store::RedisAlone);
    plan.stores.iter().filter(in_memory).map(|store| measure(*store, plan, tell)).collect()
}

fn measure(store: Store, plan: &Plan, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Memory> {
    let running = store.start(&plan.place, false)?;
    let before = resident_bytes(&running)?;
    let filled = fill(&running, VALUE_BYTES, 0, plan.sessions_held)?;
    let added = resident_bytes(&running)? - before;
    let servers = running.processes().len() as f64;
    let memory = Memory {
        store: store.name(),
        sessions: plan.sessions_held,
        bytes_per_session: added / servers / plan.sessions_held as f64,
        creates_per_s: filled.rate(),
    };
    tell(&format!(
        "{}: {:.0} bytes of memory per session of {VALUE_BYTES} bytes, at {} sessions",
        memory.store, memory.bytes_per_session, memory.sessions
    ));
    Ok(memory)
}

fn resident_bytes(running: &Running) -> anyhow::Result<f64> {
    Ok(running.usage()?.resident_bytes as f64)
}
