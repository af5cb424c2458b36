//! What is done to the machines: drawn from the seed, overlapping, and taken back after a while.

use super::world::{End, World};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use sojourn_node::{
    env::simulated::SyncDelay,
    peers::simulated::Weather,
    raft,
    region::{admin::Admin, status::GroupName},
};
use std::{sync::Arc, time::Duration};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A machine loses power.
    Crash,
    /// A process is killed.
    Kill,
    /// All machines lose power at once.
    PowerCut,
    /// All disks take long to sync, and amid that all machines lose power at once.
    Blackout,
    /// A process is stopped for a while, longer than an election takes.
    Stop,
    /// A node is cut off from all others.
    Isolate,
    /// A leader is cut off from all others for longer than an election takes, while clients still reach it.
    Depose,
    /// A node can send or receive only.
    OneWay,
    /// Two nodes cannot reach each other; others reach both.
    Pair,
    /// Frames are slow, lost and held back everywhere.
    Weather,
    /// A disk takes long to sync.
    SlowDisk,
    /// A sync fails.
    FailedSync,
    /// A disk is full.
    FullDisk,
    /// A wall clock jumps.
    ClockJump,
    /// A leader is asked to hand over.
    Transfer,
}

/// Every kind, as often as it is chosen.
const MIX: [Fault; 27] = [
    Fault::Crash,
    Fault::Crash,
    Fault::Crash,
    Fault::Kill,
    Fault::Kill,
    Fault::PowerCut,
    Fault::PowerCut,
    Fault::Blackout,
    Fault::Stop,
    Fault::Stop,
    Fault::Isolate,
    Fault::Isolate,
    Fault::Depose,
    Fault::Depose,
    Fault::OneWay,
    Fault::Pair,
    Fault::Weather,
    Fault::Weather,
    Fault::SlowDisk,
    Fault::SlowDisk,
    Fault::FailedSync,
    Fault::FailedSync,
    Fault::FullDisk,
    Fault::ClockJump,
    Fault::ClockJump,
    Fault::Transfer,
    Fault::Transfer,
];

/// Faults that have a machine as their object, whose role is counted.
pub const ON_ONE: [Fault; 11] = [
    Fault::Crash,
    Fault::Kill,
    Fault::Stop,
    Fault::Isolate,
    Fault::OneWay,
    Fault::Pair,
    Fault::SlowDisk,
    Fault::FailedSync,
    Fault::FullDisk,
    Fault::ClockJump,
    Fault::Transfer,
];

/// The network and the disks on an ordinary day.
pub fn calm(world: &World) {
    world.network.heal();
    world.network.set_weather(Weather { delay_us_min: 100, delay_us_max: 2_000, ..Weather::default() });
    for number in 0..world.machines.len() {
        world.stop(number, false);
        world.disk(number).clear_faults();
        world.disk(number).set_sync_delay(Some(syncs_take(200, 3_000)));
    }
}

/// Syncs that take from `low_us` to `high_us`.
fn syncs_take(low_us: u64, high_us: u64) -> SyncDelay {
    Arc::new(move |_| {
        let took_us = low_us + raft::simulated_u64().unwrap_or(0) % (high_us - low_us);
        Box::pin(tokio::time::sleep(Duration::from_micros(took_us)))
    })
}

/// Does harm for as long as the plan says.
pub async fn run(world: Arc<World>, mut rng: StdRng) {
    let end = world.ledger.now() + world.plan.faults;
    while world.ledger.now() < end {
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..1_500))).await;
        let preferred = world.plan.preferred().choose(&mut rng).filter(|_| rng.random_ratio(2, 3));
        let Some(fault) = preferred.or_else(|| MIX.choose(&mut rng)).copied() else { return };
        let mut machine = rng.random_range(0..world.machines.len());
        let mut lasts = Duration::from_millis(rng.random_range(20..2_500));
        if fault == Fault::Depose {
            lasts += Duration::from_millis(1_000);
            let leaders: Vec<usize> =
                (0..world.machines.len()).filter(|number| world.role(*number) == "leader").collect();
            machine = leaders.choose(&mut rng).copied().unwrap_or(machine);
        }
        fire(&world, fault, machine, lasts, &mut rng);
    }
}

fn fire(world: &Arc<World>, fault: Fault, machine: usize, lasts: Duration, rng: &mut StdRng) {
    let role = world.role(machine);
    world.ledger.note(format_args!("FAULT {fault:?} on node {machine} ({role}) for {lasts:?}"));
    world.ledger.count(format!("{fault:?}"));
    if ON_ONE.contains(&fault) {
        world.ledger.count(format!("{fault:?} of a {role}"));
    }
    let undo: Box<dyn FnOnce(&World) + Send> = match fault {
        Fault::Crash | Fault::Kill => {
            let how = if fault == Fault::Crash { End::Power } else { End::Process };
            world.end(machine, how);
            return restart(world, machine, lasts);
        }
        Fault::PowerCut => {
            cut_power(world, lasts, rng);
            return;
        }
        Fault::Blackout => {
            drop(raft::spawn(black_out(world.clone(), lasts, StdRng::seed_from_u64(rng.random()))));
            return;
        }
        Fault::Stop => {
            world.stop(machine, true);
            Box::new(move |world| {
                world.stop(machine, false);
            })
        }
        Fault::Isolate | Fault::Depose | Fault::OneWay | Fault::Pair => cut(world, fault, machine, rng),
        Fault::Weather => {
            let weather = Weather {
                delay_us_min: 100,
                delay_us_max: rng.random_range(2_000..80_000),
                lose_one_in: rng.random_range(5..100),
                stall_one_in: rng.random_range(5..100),
            };
            world.network.set_weather(weather);
            Box::new(|world| {
                let weather = Weather { delay_us_min: 100, delay_us_max: 2_000, ..Weather::default() };
                world.network.set_weather(weather);
            })
        }
        Fault::SlowDisk => {
            world.disk(machine).set_sync_delay(Some(syncs_take(5_000, 400_000)));
            Box::new(move |world| world.disk(machine).set_sync_delay(Some(syncs_take(200, 3_000))))
        }
        Fault::FailedSync => {
            world.disk(machine).fail_sync(rng.random_range(1..4));
            return;
        }
        Fault::FullDisk => {
            let disk = world.disk(machine);
            disk.set_capacity_bytes(disk.used_bytes() + rng.random_range(0..60_000));
            Box::new(move |world| world.disk(machine).set_capacity_bytes(u64::MAX))
        }
        Fault::ClockJump => {
            let by_ms: i64 = *[-3_600_000, -30_000, -2_000, 1_500, 30_000, 3_600_000].choose(rng).unwrap_or(&1_000);
            world.machines[machine].clock.jump(by_ms);
            return;
        }
        Fault::Transfer => return transfer(world, machine, rng),
    };
    let world = world.clone();
    drop(raft::spawn(async move {
        tokio::time::sleep(lasts).await;
        undo(&world);
    }));
}

fn cut_power(world: &Arc<World>, lasts: Duration, rng: &mut StdRng) {
    for number in 0..world.machines.len() {
        world.end(number, End::Power);
        restart(world, number, lasts + Duration::from_millis(rng.random_range(0..300)));
    }
}

/// What a quorum has written and not synced is lost; whoever acknowledged it must not have.
async fn black_out(world: Arc<World>, lasts: Duration, mut rng: StdRng) {
    let set = |delay: SyncDelay| {
        (0..world.machines.len()).for_each(|number| world.disk(number).set_sync_delay(Some(delay.clone())));
    };
    set(syncs_take(50_000, 800_000));
    tokio::time::sleep(Duration::from_millis(rng.random_range(50..500))).await;
    // Not after the heal.
    if world.ledger.now() < world.plan.faults {
        cut_power(&world, lasts, &mut rng);
    }
    set(syncs_take(200, 3_000));
}

fn cut(world: &Arc<World>, fault: Fault, machine: usize, rng: &mut StdRng) -> Box<dyn FnOnce(&World) + Send> {
    let id = world.machines[machine].id;
    let others: Vec<_> = world.machines.iter().map(|machine| machine.id).filter(|other| *other != id).collect();
    let (out, back) = match fault {
        Fault::OneWay if rng.random() => (true, false),
        Fault::OneWay => (false, true),
        _ => (true, true),
    };
    let hit = if fault == Fault::Pair { others.choose(rng).into_iter().copied().collect() } else { others };
    let set = move |world: &World, cut: bool| {
        for other in &hit {
            if out {
                world.network.cut(id, *other, cut);
            }
            if back {
                world.network.cut(*other, id, cut);
            }
        }
    };
    set(world, true);
    Box::new(move |world| set(world, false))
}

/// Starts a machine again after a while.
pub fn restart(world: &Arc<World>, machine: usize, after: Duration) {
    let world = world.clone();
    drop(raft::spawn(async move {
        tokio::time::sleep(after).await;
        world.start(machine).await;
    }));
}

/// Asks the leaders on a machine to hand over to another.
pub fn transfer(world: &Arc<World>, machine: usize, rng: &mut StdRng) {
    let Some(running) = world.running(machine) else { return };
    let target = world.machines[rng.random_range(0..world.machines.len())].id;
    for group in world.shards().map(GroupName::Shard).chain([GroupName::System]) {
        let node = running.node.clone();
        // It may well fail: the target may be down.
        drop(running.life.spawn(async move { node.transfer_leader(group, target).await }));
    }
}
