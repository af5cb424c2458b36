//! A region in one process and in virtual time, with everything that can go wrong drawn from a seed.
//!
//! The nodes are real: proposer, log format, state machine, openraft adapter, read path and retries. Their disk, network,
//! clocks and the order of their tasks are simulated, so that one seed is one run. `plan` says what a run is made of, `world`
//! keeps the machines, `boot` brings up what runs on them, `workload` and `client` ask, `operator` changes who is in the region,
//! `follower` copies it from outside, `faults` do harm, `ledger` writes down what happened, `settling` waits until all is quiet,
//! `reference` and `oracles` judge it. `regions` runs several of them as one world, `seat` says which one a region is. Start at
//! [`run_seed`].

mod boot;
mod client;
mod clock;
mod coverage;
mod faults;
mod follower;
mod ledger;
mod operator;
mod oracles;
mod pinned;
mod plan;
mod prove;
mod reference;
mod regions;
mod runner;
mod seat;
mod settling;
mod trace;
mod workload;
mod world;

pub use plan::Plan;
pub use runner::{SimArgs, run};

use client::{Client, Part};
use coverage::Coverage;
use ledger::Violation;
use rand::{Rng, SeedableRng, rngs::StdRng};
use seat::Seat;
use sojourn_node::raft;
use std::{cell::RefCell, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};
use world::{Death, End, World};

/// Clients of a run, by what they are there for.
const CLIENTS: [(Part, u64); 4] = [(Part::Both, 6), (Part::Reader, 2), (Part::Repeater, 2), (Part::Traveller, 2)];

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was run.
    pub plan: Plan,
    /// Promises that were broken, first the ones noticed first.
    pub violations: Vec<Violation>,
    /// What was reached.
    pub coverage: Coverage,
    /// The hash over all events, and how many there were.
    pub trace: (u64, u64),
    /// Virtual time.
    pub lasted: Duration,
}

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Makes panics of simulated nodes findings of their run instead of noise.
fn catch_panics() {
    std::panic::set_hook(Box::new(|panic| PANICS.with(|panics| panics.borrow_mut().push(panic.to_string()))));
}

/// Runs one plan on the calling thread, which must not have run another.
///
/// # Errors
/// The runtime cannot be built.
pub fn run_seed(plan: &Plan) -> std::io::Result<Report> {
    raft::simulate(plan.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let mut report =
        runtime.block_on(async { if plan.regions > 1 { regions::play(plan).await } else { play(plan).await } });
    drop(runtime);
    let panics = PANICS.with(|panics| std::mem::take(&mut *panics.borrow_mut()));
    report.violations.extend(panics.into_iter().map(|what| Violation { oracle: "panics", what }));
    Ok(report)
}

async fn play(plan: &Plan) -> Report {
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let (deaths, dying) = mpsc::unbounded_channel();
    let seat = Seat::alone(plan.nodes, world::SHARDS);
    let world = Arc::new(World::new(plan, seat, &mut rng, deaths));
    faults::calm(&world);
    drop(raft::spawn(restart_the_dead(world.clone(), dying, StdRng::seed_from_u64(rng.random()))));
    drop(raft::spawn(watch_clocks(world.clone())));
    for machine in 0..world.machines.len() {
        faults::restart(&world, machine, Duration::from_millis(rng.random_range(0..50)));
    }
    let cells = workload::cells(&mut rng);
    let (end, ending) = watch::channel(false);
    let parts = CLIENTS.into_iter().flat_map(|(part, count)| (0..count).map(move |_| part));
    let clients =
        (1..).zip(parts).map(|(number, part)| Client::new(world.clone(), number, part, cells.clone(), &mut rng));
    let clients: Vec<_> =
        clients.collect::<Vec<_>>().into_iter().map(|client| raft::spawn(client.run(ending.clone()))).collect();
    let follower = follower::Copies::default();
    let follower = follower.follow(world.clone(), StdRng::seed_from_u64(rng.random()), ending.clone());
    let follower = raft::spawn(follower);
    let slots: Vec<_> = cells.iter().flat_map(|cell| &cell.keys).map(|key| key.slot()).collect();
    let operator =
        world.plan.operated().then(|| operator::run(world.clone(), StdRng::seed_from_u64(rng.random()), slots));
    let operator = operator.map(raft::spawn);
    faults::run(world.clone(), rng).await;
    world.ledger.note(format_args!("HEAL"));
    settling::heal(&world).await;
    let members = settling::content(&world, operator).await;
    end.send_replace(true);
    for client in clients {
        // A client that panicked is a finding of its own.
        let _panicked = client.await;
    }
    // One that panicked is a finding of its own, and so is what it lacks.
    let mut copies = follower.await.unwrap_or_default();
    let views = settling::views_of_the_settled(&world, &cells, &members, &mut copies).await;
    let holders = world::shards().map(|shard| (shard, world.holders(shard))).collect();
    let slots = world.slots();
    world.ledger.with(|book| {
        let (found, coverage) = oracles::audit(&world, book, &cells, oracles::Seen { views, copies, holders, slots });
        book.violations.extend(found);
        book.coverage.merge(&coverage);
        world.count_disks(&mut book.coverage);
    });
    let lasted = world.ledger.now();
    world.ledger.with(|book| Report {
        plan: plan.clone(),
        violations: std::mem::take(&mut book.violations),
        coverage: std::mem::take(&mut book.coverage),
        trace: book.trace.sum(),
        lasted,
    })
}

/// Starts processes again that ended by themselves, as an init system does.
async fn restart_the_dead(world: Arc<World>, mut dying: mpsc::UnboundedReceiver<Death>, mut rng: StdRng) {
    while let Some(death) = dying.recv().await {
        if world.is_current(death) {
            world.end(death.0, End::Process);
            world.ledger.count("processes that ended themselves");
            faults::restart(&world, death.0, Duration::from_millis(rng.random_range(50..800)));
        }
    }
}

async fn watch_clocks(world: Arc<World>) {
    loop {
        world.observe_clocks();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
