//! Keeps a node's leases running.
//!
//! Every node asks for itself and for all shards that it leads: it is the region that holds a lease, and each shard minds by its
//! own log under which epoch it acts. Nodes that lead nothing ask too, so that whoever leads next need not wait.

use crate::{
    region::RegionNode,
    world::control::{Agreement, NotAgreed},
};
use futures::future::join_all;
use sojourn_core::{
    RegionId,
    control::{ControlState, FailoverMode, Grant},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};

/// A lease is asked for so many times before it is over.
const RENEWALS_PER_LEASE: u32 = 3;

/// For how many of these turns an answer is waited for: where ways are long it comes after the next one is due, and the lease that it
/// brings still has a third to run.
const TURNS_WAITED_MAX: u32 = 2;

/// How soon a node asks again that was refused, or whom nobody answered.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// How long a node that has just started and needs no leases waits for the answer whether its region still acts.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often a node that needs no leases looks whether it does.
const IDLE: Duration = Duration::from_secs(1);

/// Renews the leases of this node while `is_wanted`.
pub(super) async fn run_renewals(node: RegionNode, agreement: Arc<dyn Agreement>, is_wanted: impl Fn() -> bool) {
    let (mut world, leases) = (agreement.watch(), node.leases());
    if node.may_be_fenced() {
        leases.doubt(PATIENCE);
    }
    while is_wanted() {
        let known = world.borrow_and_update().clone();
        let pause = match known {
            Some(known) if known.failover.mode == FailoverMode::Automatic || leases.is_in_doubt() => {
                renew(&*agreement, &node, &known).await
            }
            Some(_) | None => IDLE,
        };
        // Who acts for whom may have changed; a world that is gone wakes nobody.
        let _changed = timeout(pause, world.changed()).await;
    }
}

/// Asks for all leases that this region needs. How long to wait then.
async fn renew(agreement: &dyn Agreement, node: &RegionNode, world: &ControlState) -> Duration {
    let ((here, ..), leases, plants) = (node.identity(), node.leases(), node.env().plants);
    let every = Duration::from_millis(world.failover.lease_ms) / RENEWALS_PER_LEASE;
    let began = Instant::now();
    let acts = world.regions.values().filter(|home| home.holders().contains(&here));
    let asked = acts.map(|home| async move {
        let sent_ms = leases.now_ms();
        let ask = || agreement.renew(home.id, home.epoch, world.version);
        // Once more when the next turn is due: the first one may have gone where nobody answers yet.
        let answer = async {
            let mut first = std::pin::pin!(ask());
            match timeout(every, &mut first).await {
                Ok(answer) => answer,
                Err(_late) => tokio::select! {
                    biased;
                    answer = &mut first => answer,
                    answer = ask() => answer,
                },
            }
        };
        match timeout(every * TURNS_WAITED_MAX, answer).await {
            Ok(Ok(Grant::Lease { ms })) => {
                let since_ms = if plants.lease_from_receipt { leases.now_ms() } else { sent_ms };
                leases.renewed(home.id, home.epoch, since_ms, ms);
            }
            Ok(Ok(Grant::NoneNeeded)) if home.id == here => leases.trust(),
            Ok(Ok(Grant::NoneNeeded)) => {}
            Ok(Err(error)) => {
                if matches!(error, NotAgreed::Refused(_)) && leases.is_in_doubt() {
                    // Somebody answers: what has changed comes.
                    leases.doubt(PATIENCE);
                }
                log(home.id, &error);
                return false;
            }
            Err(_late) => return false,
        }
        true
    });
    let granted = join_all(asked).await.into_iter().all(|granted| granted);
    // What the answers took is of the lease, too.
    if granted { every.saturating_sub(began.elapsed()) } else { ASK_AGAIN_AFTER.min(every) }
}

fn log(home: RegionId, error: &NotAgreed) {
    tracing::debug!(home = home.0, reason = %error, "a lease was not renewed");
}
