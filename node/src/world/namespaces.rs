//! Keeps the namespaces of this region as the world agrees on them.
//!
//! Whoever leads the system group of the region brings what it had of its own into the world, takes over what the world has, and
//! destroys the sessions of what the world has dropped. All of it follows from agreed state, so any next leader goes on.

use super::{
    Contacts,
    control::{Agreement, NotAgreed},
};
use crate::region::{
    RegionNode,
    backend::{Backend, Unavailable},
    sweep::Sweep,
};
use sojourn_core::{
    NamespaceId, Op,
    control::ControlState,
    ids::NEVER,
    policy::Policy,
    region::{Contradiction, RegionCommand, RegionState},
    state::ENDED_PER_APPLY_MAX,
};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::time::timeout;

/// How often a node looks whether it has become the one that does it, when the world does not wake it.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Why something is left for the next time.
#[derive(Debug, thiserror::Error)]
enum Undone {
    #[error(transparent)]
    NotAgreed(#[from] NotAgreed),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Does what is to be done whenever this node leads its region's system group, until `contacts` are dropped.
pub(super) async fn run_namespaces(node: RegionNode, contacts: Weak<Contacts>, agreement: Arc<dyn Agreement>) {
    let mut world = agreement.watch();
    let mut done: Option<(Arc<RegionState>, Arc<ControlState>)> = None;
    let mut said = Vec::new();
    while contacts.strong_count() > 0 {
        let (known, region) = (world.borrow_and_update().clone(), node.region());
        let is_done = |known: &Arc<ControlState>| {
            let same = |(then, of): &(Arc<RegionState>, Arc<ControlState>)| {
                Arc::ptr_eq(then, &region) && Arc::ptr_eq(of, known)
            };
            done.as_ref().is_some_and(same)
        };
        match known.filter(|_| node.is_coordinator()) {
            Some(known) if !is_done(&known) => {
                done = match round(&node, &*agreement, &region, &known).await {
                    Ok(false) => {
                        complain(&mut said, region.contradictions(&known));
                        Some((region, known))
                    }
                    Ok(true) => None,
                    Err(error) => {
                        tracing::debug!(reason = %error, "namespaces are brought in line with the world's later");
                        None
                    }
                };
            }
            Some(_) => {}
            // Whoever takes over looks at once.
            None => done = None,
        }
        if let Ok(Err(_gone)) = timeout(LOOK_EVERY, world.changed()).await {
            return;
        }
    }
}

/// Does what is to be done now; whether there was anything.
async fn round(
    node: &RegionNode,
    agreement: &dyn Agreement,
    region: &RegionState,
    world: &ControlState,
) -> Result<bool, Undone> {
    // First, so that it is not kept out as what contradicts the world.
    if let Some(command) = region.next_to_bring(world) {
        // Not the command: it may have a password's hash.
        tracing::info!("bringing what this region had of its own into the world");
        agreement.propose(command).await?;
        return Ok(true);
    }
    let adoption = region.next_adoption(world);
    let mut any = adoption.is_some();
    if let Some(command) = adoption {
        node.change_region(command).await?;
        tracing::info!(version = world.version, "took over the namespaces that the world agrees on");
    }
    for id in node.region().adopted.dropped.clone() {
        any = true;
        destroy(node, id).await?;
    }
    Ok(any)
}

/// Destroys the sessions of a namespace that is gone, as far as this region writes them.
async fn destroy(node: &RegionNode, namespace: NamespaceId) -> Result<(), Undone> {
    let op = Op::Clear { namespace, before: NEVER, count_max: ENDED_PER_APPLY_MAX };
    let swept = node.sweep(Sweep { namespace, rules: Policy::default().rules(false), op }).await?;
    tracing::info!(namespace = namespace.0, ?swept, "destroyed the sessions of a namespace that the world has dropped");
    node.change_region(RegionCommand::ForgetNamespace { id: namespace }).await?;
    Ok(())
}

/// Says what a person has to decide, once.
fn complain(said: &mut Vec<Contradiction>, now: Vec<Contradiction>) {
    for contradiction in now.iter().filter(|contradiction| !said.contains(contradiction)) {
        tracing::error!(reason = %contradiction, "a namespace of this region is not as it is in the world");
    }
    *said = now;
}
