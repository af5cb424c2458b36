//! Carries changes of hands out: what the world agrees on about who acts for whom becomes what the shards of this region log,
//! and what they hold becomes what the world agrees on.
//!
//! `plan` says what is to be done, by the agreed state and by what the shards have logged; whoever leads the system group of a
//! region does it (`driver`; what takes long goes on beside the rest: `chores`), and the next one goes on. Every node keeps its leases
//! running (`renewals`).
//!
//! A shard logs that it acts only after the world has agreed that its region does. Before that the right could still go to
//! somebody else, under the same epoch.

mod chores;
mod driver;
mod plan;
mod renewals;
mod report;
mod settle;
#[cfg(test)]
mod tests;

use super::{contacts::Contacts, control::Agreement};
use crate::{env::Heard, peers::Rpc, region::RegionNode};
use driver::Driver;
pub(super) use driver::command;
use renewals::run_renewals;
use sojourn_core::control::ControlState;
use std::sync::{Arc, Weak};

/// Starts all that a node does about changes of hands, until `contacts` are dropped.
pub(super) fn start(node: &RegionNode, contacts: &Arc<Contacts>, rpc: &Rpc, agreement: &Arc<dyn Agreement>) {
    let env = node.env().clone();
    let contacts = Arc::downgrade(contacts);
    let wanted = contacts.clone();
    let renewals = run_renewals(node.clone(), agreement.clone(), move || wanted.strong_count() > 0);
    env.spawn("world-renewals", renewals);
    env.spawn("world-openings", run_openings(contacts.clone(), agreement.watch()));
    let driver = Driver { node: node.clone(), contacts, rpc: rpc.clone(), agreement: agreement.clone() };
    env.spawn("world-handovers", driver.run());
}

/// Keeps in mind which regions take new sessions.
async fn run_openings(contacts: Weak<Contacts>, mut world: Heard<Option<Arc<ControlState>>>) {
    loop {
        let known = world.borrow_and_update().clone();
        let Some(contacts) = contacts.upgrade() else { return };
        if let Some(known) = known {
            contacts.see(known);
        }
        drop(contacts);
        if world.changed().await.is_err() {
            return;
        }
    }
}
