//! Somebody who gives slots of every region other shards while all goes on.

use super::Regions;
use rand::{Rng, rngs::StdRng};
use sojourn_core::{ShardId, region::RegionRefusal};
use sojourn_node::region::{
    admin::{Admin, AdminError},
    backend::Backend,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// The longest pause between two wishes, in ms; and where slots move all the time.
const PAUSE_MS_MAX: u64 = 500;
const SHORT_PAUSE_MS_MAX: u64 = 40;

/// Asks for one slot after the other to be moved until told to end.
pub async fn run(regions: Arc<Regions>, mut rng: StdRng, end: watch::Receiver<bool>) {
    let pause_ms_max = if regions.plan.shifts_often() { SHORT_PAUSE_MS_MAX } else { PAUSE_MS_MAX };
    while !*end.borrow() {
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..=pause_ms_max))).await;
        let Some(session) = regions.catalog.to_read(&mut rng) else { continue };
        let number = rng.random_range(0..regions.all.len());
        let world = &regions.all[number];
        let shards = world.seat.shards;
        let machine = rng.random_range(0..world.machines.len());
        let Some(running) = world.running(machine).filter(|_| shards > 1) else { continue };
        let (node, slot) = (running.node.clone(), session.key.slot());
        let from = node.region().slots.shard(slot);
        let to = ShardId((from.0 + rng.random_range(1..shards)) % shards);
        regions.history.ledger.note(format_args!("region {number} is asked to move {slot:?} from {from:?} to {to:?}"));
        let moved = running.life.spawn(node.move_slots(from, to, (slot, slot)));
        drop(running);
        regions.history.ledger.count(match moved.await {
            Ok(Ok(_)) => "slots to be moved",
            Ok(Err(AdminError::Refused(RegionRefusal::SlotMoves { .. }))) => "slots on their way already",
            Ok(Err(_)) | Err(_) => "slots not moved for lack of an answer",
        });
    }
}
