//! What is done to regions: the ways between them are cut and delayed, whole regions are lost and come back, and single nodes suffer
//! what they suffer in a region that is alone. Drawn from the seed, overlapping, and taken back after a while.

use super::Regions;
use crate::sim::{
    faults as region_faults,
    plan::{Losses, Plan},
    world::{End, World},
};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use sojourn_core::NodeId;
use sojourn_node::{
    peers::simulated::{SimulatedNetwork, Weather},
    raft,
};
use std::{sync::Arc, time::Duration};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Two regions cannot reach each other.
    Part,
    /// One region does not reach another, which reaches it.
    OneWay,
    /// A region is cut off from all others.
    Isolate,
    /// All machines of a region lose power.
    Lose,
    /// All processes of a region are killed.
    Restart,
    /// Frames between regions are slow, lost and held back.
    Storm,
    /// A node loses power.
    Crash,
    /// A node's process is killed.
    Kill,
    /// A node is stopped for a while.
    Stop,
    /// The nodes of a region are cut off from each other, one of them from all others.
    Split,
    /// A disk is full.
    FullDisk,
    /// A leader is asked to hand over.
    Transfer,
    /// A wall clock jumps.
    ClockJump,
}

/// Every kind, as often as it is chosen.
pub const MIX: [Fault; 19] = [
    Fault::Part,
    Fault::Part,
    Fault::OneWay,
    Fault::OneWay,
    Fault::Isolate,
    Fault::Isolate,
    Fault::Lose,
    Fault::Lose,
    Fault::Restart,
    Fault::Storm,
    Fault::Storm,
    Fault::Crash,
    Fault::Kill,
    Fault::Kill,
    Fault::Stop,
    Fault::Split,
    Fault::Transfer,
    Fault::FullDisk,
    Fault::ClockJump,
];

/// How much longer than others long runs do harm, and regions in them are apart: longer than tombstones of some sessions stand.
const LONG: u32 = 4;

/// How much longer harm is done where others act for lost regions.
const MET: u32 = 3;

/// The network between regions on an ordinary day: how far they are apart is drawn once a run.
pub fn calm(regions: &Regions, rng: &mut StdRng) {
    regions.wan.heal();
    regions.wan.set_weather(fair(rng));
}

fn fair(rng: &mut StdRng) -> Weather {
    let delay_us_min = rng.random_range(2_000..40_000);
    Weather { delay_us_min, delay_us_max: delay_us_min + rng.random_range(1_000..60_000), ..Weather::default() }
}

/// How long harm is done.
pub fn lasting(plan: &Plan) -> Duration {
    match plan.losses() {
        Losses::Unmet if plan.is_long() => plan.faults * LONG,
        Losses::Unmet => plan.faults,
        Losses::Automatic | Losses::Person => plan.faults * MET,
    }
}

/// Does harm until it is over.
pub async fn run(regions: &Arc<Regions>, rng: &mut StdRng, over: Duration) {
    // Where regions are lost for so long that others act for them, these have to get that far.
    let pause_ms_max = if regions.plan.losses() == Losses::Unmet { 1_200 } else { 4_000 };
    while regions.history.ledger.now() < over {
        tokio::time::sleep(Duration::from_millis(rng.random_range(100..pause_ms_max))).await;
        let preferred = preferred(&regions.plan).choose(rng).filter(|_| rng.random_ratio(2, 3));
        let Some(fault) = preferred.or_else(|| MIX.choose(rng)).copied() else { return };
        fire(regions, fault, rng);
    }
}

/// The faults that bring out a planted bug.
fn preferred(plan: &Plan) -> &'static [Fault] {
    use Fault::{ClockJump, Isolate, Kill, Lose, OneWay, Part, Restart, Storm, Transfer};
    match plan.stress {
        Some("cursor-apart-from-data") => &[Kill, Kill, Restart],
        Some("pieces-in-any-order") => &[Kill, Restart, Storm],
        Some("page-drops-beyond-its-span") => &[Restart, Lose],
        Some("answers-when-deposed") => &[Transfer, Transfer, Transfer, OneWay, Storm],
        Some("stale-copies-answer") => &[Part, OneWay, Isolate],
        // Nothing that keeps others from taking over, or those who are dazed from acting.
        Some("lease-from-receipt") => &[ClockJump],
        Some("revokes-by-wall-clock") => &[ClockJump, ClockJump, Part, OneWay],
        _ => &[],
    }
}

fn fire(regions: &Arc<Regions>, fault: Fault, rng: &mut StdRng) {
    let region = rng.random_range(0..regions.all.len());
    let world = regions.all[region].clone();
    let machine = rng.random_range(0..world.machines.len());
    let mut lasts = Duration::from_millis(rng.random_range(50..3_500));
    if regions.plan.is_long() && matches!(fault, Fault::Part | Fault::OneWay | Fault::Isolate | Fault::Lose) {
        lasts *= LONG;
    }
    regions.history.ledger.note(format_args!("FAULT {fault:?} in region {region}, node {machine}, for {lasts:?}"));
    regions.history.ledger.count(format!("{fault:?}"));
    let undo: Box<dyn FnOnce(&Regions) + Send> = match fault {
        Fault::Part | Fault::OneWay | Fault::Isolate => {
            let (ways, silent) = (ways_hit(regions, fault, region, rng), rng.random());
            cut(regions, &ways, silent, true);
            Box::new(move |regions| cut(regions, &ways, silent, false))
        }
        Fault::Lose | Fault::Restart => {
            let how = if fault == Fault::Lose { End::Power } else { End::Process };
            return end_region(&world, how, lasts, rng);
        }
        Fault::Storm => {
            let weather = Weather {
                delay_us_min: 5_000,
                delay_us_max: rng.random_range(50_000..400_000),
                lose_one_in: rng.random_range(5..60),
                stall_one_in: rng.random_range(10..60),
            };
            regions.wan.set_weather(weather);
            let fair = fair(rng);
            Box::new(move |regions| regions.wan.set_weather(fair))
        }
        Fault::Crash | Fault::Kill => {
            world.end(machine, if fault == Fault::Crash { End::Power } else { End::Process });
            return region_faults::restart(&world, machine, lasts / 2);
        }
        Fault::Stop => {
            world.stop(machine, true);
            Box::new(move |_| {
                world.stop(machine, false);
            })
        }
        Fault::Split => {
            split(&world, machine, true);
            Box::new(move |_| split(&world, machine, false))
        }
        Fault::FullDisk => {
            let disk = world.disk(machine);
            disk.set_capacity_bytes(disk.used_bytes() + rng.random_range(0..60_000));
            Box::new(move |_| world.disk(machine).set_capacity_bytes(u64::MAX))
        }
        Fault::Transfer => return region_faults::transfer(&world, machine, rng),
        Fault::ClockJump => {
            world.machines[machine].clock.jump(*[-30_000, -2_000, 1_500, 30_000].choose(rng).unwrap_or(&1_000));
            return;
        }
    };
    let regions = regions.clone();
    drop(raft::spawn(async move {
        tokio::time::sleep(lasts).await;
        undo(&regions);
    }));
}

/// The ways between nodes that a fault cuts, each from one node to another.
fn ways_hit(regions: &Regions, fault: Fault, region: usize, rng: &mut StdRng) -> Vec<(NodeId, NodeId)> {
    let others: Vec<usize> = (0..regions.all.len()).filter(|other| *other != region).collect();
    let hit = if fault == Fault::Isolate { others } else { others.choose(rng).copied().into_iter().collect() };
    let mut ways = ways(regions, region, hit);
    if fault == Fault::OneWay {
        let own = regions.numbers(region);
        ways.retain(|(from, _)| own.contains(from));
    }
    ways
}

/// All ways between the nodes of a region and those of others.
pub fn ways(regions: &Regions, region: usize, others: impl IntoIterator<Item = usize>) -> Vec<(NodeId, NodeId)> {
    let mut ways = Vec::new();
    for other in others {
        for here in regions.numbers(region) {
            for there in regions.numbers(other) {
                ways.extend([(here, there), (there, here)]);
            }
        }
    }
    ways
}

/// Cuts ways, silently or not, or mends them.
pub fn cut(regions: &Regions, ways: &[(NodeId, NodeId)], silent: bool, cut: bool) {
    let set = if silent { SimulatedNetwork::hush } else { SimulatedNetwork::cut };
    ways.iter().for_each(|(from, to)| set(&regions.wan, *from, *to, cut));
}

fn split(world: &World, machine: usize, cut: bool) {
    let id = world.machines[machine].id;
    for other in world.machines.iter().map(|machine| machine.id).filter(|other| *other != id) {
        world.network.cut(id, other, cut);
        world.network.cut(other, id, cut);
    }
}

fn end_region(world: &Arc<World>, how: End, lasts: Duration, rng: &mut StdRng) {
    for machine in 0..world.machines.len() {
        world.end(machine, how);
        region_faults::restart(world, machine, lasts + Duration::from_millis(rng.random_range(0..300)));
    }
}
