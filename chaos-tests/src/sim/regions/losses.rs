//! Regions that are lost for so long that others act for them, and come back.

use super::{
    Regions,
    faults::{cut, ways},
};
use crate::sim::{
    faults as region_faults,
    plan::Plan,
    world::{End, World},
};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use sojourn_core::lease::{LEASE_MS_MIN, assumed_ms};
use std::{sync::Arc, time::Duration};

/// How a region is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// All its machines lose power.
    Power,
    /// All its processes are killed.
    Killed,
    /// It is cut off, and goes on.
    CutOff,
    /// The same, and what is on its way waits.
    Silenced,
    /// It hears all others, and they hear nothing of it.
    Mute,
    /// All its processes are stopped, and go on where they were.
    Frozen,
    /// The same. What they had just asked was answered meanwhile, and what others told since then comes late.
    Dazed,
}

const LOSSES: [Loss; 7] =
    [Loss::Power, Loss::Killed, Loss::CutOff, Loss::Silenced, Loss::Mute, Loss::Frozen, Loss::Dazed];

/// How regions are lost in a run; those that bring out the planted bug, if there is one.
fn kinds(plan: &Plan) -> &'static [Loss] {
    match plan.stress {
        // The answer comes long after it was asked for, and before the news that others have taken over.
        Some("lease-from-receipt") => &[Loss::Dazed],
        // Whoever led goes on by the lease that it has granted itself.
        Some("skips-old-lease") => &[Loss::CutOff],
        _ => &LOSSES,
    }
}

/// The longest pause between two losses, in ms.
const PAUSE_MS_MAX: u64 = 900;

/// Until when a region is lost while the world is being founded, in ms since its machines were started.
const EARLY_MS_MAX: u64 = 4_000;

/// How much longer than its leases a region is away at most, in ms: others need about a second to take over.
const LONGER_MS_MAX: u64 = 3_600;

/// How long answers to a region that is to be dazed are on their way at most.
const ANSWERED_WITHIN: Duration = Duration::from_millis(300);

/// How long such a region hears nothing of others once it goes on: long enough to act by what it believes.
const DAZED: Duration = Duration::from_millis(2_000);

/// A lease that lasts longer than it takes to elect another control leader and to take over, about four seconds.
const LEASE_LONG_MS: u64 = 9 * LEASE_MS_MIN;

/// How much longer a region is away then, in ms: others have to act for it while it takes its lease to run.
const TAKEOVER_MS: u64 = 3_000;

/// Whether the bug that is to be brought out shows only where others have taken over before the region hears of it.
fn brings_out_leases(plan: &Plan) -> bool {
    matches!(plan.stress, Some("lease-from-receipt" | "skips-old-lease"))
}

/// How long leases last in a run, in ms.
pub fn lease_ms(plan: &Plan, rng: &mut StdRng) -> u64 {
    if plan.stress == Some("skips-old-lease") {
        // So long that others could take over before the lease is over.
        return LEASE_LONG_MS;
    }
    rng.random_range(LEASE_MS_MIN..=LEASE_MS_MIN + LEASE_MS_MIN / 2)
}

/// Loses a region while the world is being founded.
pub async fn early(regions: Arc<Regions>, mut rng: StdRng) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..EARLY_MS_MAX))).await;
    let region = rng.random_range(0..regions.all.len());
    let loss = *LOSSES.choose(&mut rng).unwrap_or(&Loss::Power);
    let lasts = Duration::from_millis(rng.random_range(400..assumed_ms(regions.lease_ms) + LONGER_MS_MAX));
    regions.history.ledger.note(format_args!("EARLY LOSS of region {region} ({loss:?}) for {lasts:?}"));
    regions.history.ledger.count(format!("regions lost early: {loss:?}"));
    lose(&regions, region, loss, lasts, &mut rng).await;
}

/// Loses one region after the other until the harm is over.
pub async fn run(regions: Arc<Regions>, mut rng: StdRng, over: Duration) {
    // A region that has just come into the world is left alone for three leases.
    tokio::time::sleep(Duration::from_millis(2 * regions.lease_ms.min(2 * LEASE_MS_MIN))).await;
    loop {
        tokio::time::sleep(Duration::from_millis(rng.random_range(100..PAUSE_MS_MAX))).await;
        if regions.history.ledger.now() >= over {
            return;
        }
        let drawn = rng.random_range(0..regions.all.len());
        let region = preferred(&regions).unwrap_or(drawn);
        let loss = *kinds(&regions.plan).choose(&mut rng).unwrap_or(&Loss::Power);
        let least_ms = if brings_out_leases(&regions.plan) { TAKEOVER_MS } else { 0 };
        let lease_ms = regions.lease_ms.min(2 * LEASE_MS_MIN);
        let lasts_ms = assumed_ms(lease_ms) + least_ms + rng.random_range(400..LONGER_MS_MAX);
        let lasts = Duration::from_millis(lasts_ms);
        regions.history.ledger.note(format_args!("LOSS of region {region} ({loss:?}) for {lasts:?}"));
        regions.history.ledger.count(format!("regions lost: {loss:?}"));
        if regions.plan.loses_two() {
            lose_two(&regions, region, lasts, &mut rng).await;
        } else {
            lose(&regions, region, loss, lasts, &mut rng).await;
        }
    }
}

/// Parts a region and another one from all others. Until their leases are over, what one of them acknowledges only the other one has
/// heard of.
async fn lose_two(regions: &Arc<Regions>, region: usize, lasts: Duration, rng: &mut StdRng) {
    let other = (region + rng.random_range(1..regions.all.len())) % regions.all.len();
    let others: Vec<usize> = (0..regions.all.len()).filter(|third| ![region, other].contains(third)).collect();
    let ways = [region, other].map(|lost| ways(regions, lost, others.iter().copied())).concat();
    cut(regions, &ways, false, true);
    tokio::time::sleep(lasts).await;
    cut(regions, &ways, false, false);
}

/// The region whose loss brings out the planted bug, if it is one in particular.
fn preferred(regions: &Regions) -> Option<usize> {
    if regions.plan.stress != Some("skips-old-lease") {
        return None;
    }
    // Whoever leads the control group has granted itself a lease, of which the next leader knows nothing.
    let leads = |world: &Arc<World>| {
        let running = (0..world.machines.len()).filter_map(|machine| world.running(machine));
        running.filter_map(|running| running.control).any(|control| control.leads())
    };
    regions.all.iter().position(leads)
}

async fn lose(regions: &Arc<Regions>, region: usize, loss: Loss, lasts: Duration, rng: &mut StdRng) {
    let world = &regions.all[region];
    match loss {
        Loss::Power | Loss::Killed => {
            let how = if loss == Loss::Power { End::Power } else { End::Process };
            for machine in 0..world.machines.len() {
                world.end(machine, how);
            }
            tokio::time::sleep(lasts).await;
            for machine in 0..world.machines.len() {
                region_faults::restart(world, machine, Duration::from_millis(rng.random_range(0..300)));
            }
        }
        Loss::CutOff | Loss::Silenced | Loss::Mute => {
            let mut ways = ways(regions, region, (0..regions.all.len()).filter(|other| *other != region));
            if loss == Loss::Mute {
                let own = regions.numbers(region);
                ways.retain(|(from, _)| own.contains(from));
            }
            let silent = loss == Loss::Silenced;
            cut(regions, &ways, silent, true);
            tokio::time::sleep(lasts).await;
            cut(regions, &ways, silent, false);
        }
        Loss::Frozen => {
            freeze(world, true);
            tokio::time::sleep(lasts).await;
            freeze(world, false);
        }
        Loss::Dazed => daze(regions, region, lasts).await,
    }
}

async fn daze(regions: &Regions, region: usize, lasts: Duration) {
    let (world, own) = (&regions.all[region], regions.numbers(region));
    let mut ways = ways(regions, region, (0..regions.all.len()).filter(|other| *other != region));
    ways.retain(|(_, to)| own.contains(to));
    // Long enough for every node to ask for its leases.
    cut(regions, &ways, true, true);
    tokio::time::sleep(Duration::from_millis(regions.lease_ms.min(2 * LEASE_MS_MIN) / 3)).await;
    freeze(world, true);
    cut(regions, &ways, true, false);
    tokio::time::sleep(ANSWERED_WITHIN).await;
    cut(regions, &ways, true, true);
    tokio::time::sleep(lasts.saturating_sub(ANSWERED_WITHIN)).await;
    freeze(world, false);
    tokio::time::sleep(DAZED).await;
    cut(regions, &ways, true, false);
}

fn freeze(world: &World, frozen: bool) {
    for machine in 0..world.machines.len() {
        world.stop(machine, frozen);
    }
}
