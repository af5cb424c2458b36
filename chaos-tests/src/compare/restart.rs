//! How long a node that holds many sessions takes from its start until it answers, after it was killed with SIGKILL.

use super::{Plan, rates::fill};
use crate::{
    load::{KEY_BYTES, write_key},
    peers::{Servers, Store},
    resp::Reply,
};
use anyhow::{bail, ensure};
use serde::Serialize;
use std::time::Instant;

const VALUE_BYTES: usize = 512;

/// The node that is restarted.
const NODE: usize = 0;

/// One restart.
#[derive(Clone, Debug, Serialize)]
pub struct Restart {
    /// How many sessions the node held.
    pub sessions: u64,
    /// From its start until it is ready and has answered a read.
    pub seconds: f64,
}

pub(super) fn run(plan: &Plan, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Restart> {
    let mut running = Store::Sojourn.start(&plan.place, false)?;
    fill(&running, VALUE_BYTES, 0, plan.sessions_held)?;
    let Servers::Region(region) = &mut running.servers else { bail!("Sojourn runs as a region") };
    region.kill(NODE)?;
    let started = Instant::now();
    region.start_node(NODE)?;
    region.wait_ready()?;
    let mut key = [0; KEY_BYTES];
    write_key(plan.sessions_held / 2, &mut key);
    let read = region.nodes()[NODE].connect()?.call(&[b"GET", &key])?;
    ensure!(matches!(read, Reply::Bytes(Some(_))), "a session is gone after the restart: {read:?}");
    let restart = Restart { sessions: plan.sessions_held, seconds: started.elapsed().as_secs_f64() };
    tell(&format!(
        "sojourn: a node with {} sessions answers {:.2} s after its start",
        restart.sessions, restart.seconds
    ));
    Ok(restart)
}
