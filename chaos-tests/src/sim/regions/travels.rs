//! Somebody who gives sessions other homes while all goes on.

use super::Regions;
use rand::{Rng, rngs::StdRng};
use sojourn_core::RegionId;
use sojourn_node::region::travel::{Moved, NotMoved};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// The longest pause between two moves, in ms.
const PAUSE_MS_MAX: u64 = 400;

/// Moves one session after the other until told to end.
pub async fn run(regions: Arc<Regions>, mut rng: StdRng, end: watch::Receiver<bool>) {
    while !*end.borrow() {
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..=PAUSE_MS_MAX))).await;
        let Some(session) = regions.catalog.to_read(&mut rng) else { continue };
        let (asked, to) = (rng.random_range(0..regions.all.len()), rng.random_range(0..regions.plan.regions));
        let world = &regions.all[asked];
        let Some(running) = world.running(rng.random_range(0..world.machines.len())) else { continue };
        let (node, key) = (running.node.clone(), session.key);
        regions.history.ledger.note(format_args!("region {asked} is asked to move {key:?} to region {to}"));
        let moved = running.life.spawn(async move { node.move_session(key, RegionId(to)).await });
        drop(running);
        regions.history.ledger.count(match moved.await {
            Ok(Ok(Moved::Arrived)) => "sessions moved",
            Ok(Ok(Moved::AtHome)) => "sessions at home already",
            Ok(Err(NotMoved::Busy)) => "sessions too busy to move",
            Ok(Err(NotMoved::Gone)) => "no session to move",
            Ok(Err(_)) | Err(_) => "sessions not seen to arrive",
        });
    }
}
