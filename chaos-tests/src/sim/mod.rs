//! A region in one process and in virtual time, with everything that can go wrong drawn from a seed.
//!
//! The nodes are real: proposer, log format, state machine, openraft adapter, read path and retries. Their disk, network,
//! clocks and the order of their tasks are simulated, so that one seed is one run. `plan` says what a run is made of, `world`
//! keeps the machines, `workload` and `client` ask, `faults` do harm, `ledger` writes down what happened, `reference` and
//! `oracles` judge it. Start at [`run_seed`].

mod client;
mod clock;
mod coverage;
mod faults;
mod ledger;
mod oracles;
mod plan;
mod prove;
mod reference;
mod runner;
mod trace;
mod workload;
mod world;

pub use plan::Plan;
pub use runner::{SimArgs, run};

use client::{Client, Part};
use coverage::Coverage;
use ledger::Violation;
use oracles::Views;
use rand::{Rng, SeedableRng, rngs::StdRng};
use sojourn_core::{Command, Expiry, Key, Op, Projection, Query, Request, SlotTable};
use sojourn_node::{
    raft,
    region::backend::{Backend, Topology},
};
use std::{cell::RefCell, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};
use workload::Cell;
use world::{Death, End, World};

/// Clients of a run, by what they are there for.
const CLIENTS: [(Part, u64); 3] = [(Part::Both, 6), (Part::Reader, 2), (Part::Repeater, 2)];

/// How long a healed region may take until it serves again and all its replicas are equal, in virtual time.
const HEAL_TIMEOUT: Duration = Duration::from_secs(60);

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
    let mut report = runtime.block_on(play(plan));
    drop(runtime);
    let panics = PANICS.with(|panics| std::mem::take(&mut *panics.borrow_mut()));
    report.violations.extend(panics.into_iter().map(|what| Violation { oracle: "panics", what }));
    Ok(report)
}

async fn play(plan: &Plan) -> Report {
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let (deaths, dying) = mpsc::unbounded_channel();
    let world = Arc::new(World::new(plan, &mut rng, deaths));
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
    faults::run(world.clone(), rng).await;
    world.ledger.note(format_args!("HEAL"));
    heal(&world).await;
    end.send_replace(true);
    for client in clients {
        // A client that panicked is a finding of its own.
        let _panicked = client.await;
    }
    let views = settled_views(&world, &cells).await;
    world.ledger.with(|book| {
        let (found, coverage) = oracles::audit(&world, book, &cells, &views);
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

/// Takes all faults back and starts what is down.
async fn heal(world: &Arc<World>) {
    faults::calm(world);
    for machine in 0..world.machines.len() {
        world.start(machine).await;
    }
}

/// What replicas answer once they are level, while nothing is applied: leaders go on by themselves, and what is judged has to
/// be of one moment.
async fn settled_views(world: &Arc<World>, cells: &[Cell]) -> Views {
    for _ in 0..SETTLINGS_MAX {
        if !converges(world, cells).await {
            let text = format!("not equal within {HEAL_TIMEOUT:?} after the heal: {}", state(world));
            world.ledger.violation("progress", text);
            return views(world, cells).await;
        }
        let before = world.applied();
        let views = views(world, cells).await;
        if world.is_level() && world.applied() == before {
            return views;
        }
    }
    world
        .ledger
        .violation("progress", format!("something was applied whenever replicas were looked at: {}", state(world)));
    views(world, cells).await
}

/// How often replicas are looked at before they count as restless.
const SETTLINGS_MAX: usize = 20;

/// Waits until every shard takes a write through every node, and all replicas have applied the same.
async fn converges(world: &Arc<World>, cells: &[Cell]) -> bool {
    let converging = async {
        for machine in 0..world.machines.len() {
            for (number, cell) in cells.iter().enumerate() {
                while !writes(world, machine, number, cell).await {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        while !world.is_level() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(HEAL_TIMEOUT, converging).await.is_ok()
}

async fn writes(world: &World, machine: usize, number: usize, cell: &Cell) -> bool {
    let Some(running) = world.running(machine) else { return false };
    let id = format!("{{cell {number}}}final");
    let Ok(key) = Key::new(sojourn_core::NamespaceId(0), id.as_bytes()) else { return false };
    let op = Op::Set {
        value: Box::default(),
        expiry: Expiry::Never,
        condition: sojourn_core::Condition::Always,
        get: false,
        owner: None,
    };
    let rules = sojourn_core::Rules { refuse_after_destroy: false, ..cell.rules };
    let command = Command { request: Request::default(), key, rules, touched: None, op };
    let node = running.node.clone();
    let written = running.life.spawn(async move { node.write(vec![command]).await }).await;
    written.is_ok_and(|results| results.iter().all(Result::is_ok))
}

/// What every replica answers for every session by itself; cold fields are read from its engine.
async fn views(world: &World, cells: &[Cell]) -> Views {
    let mut views = Views::new();
    let slots = SlotTable::even(world::SHARDS);
    for machine in 0..world.machines.len() {
        for key in cells.iter().flat_map(|cell| &cell.keys) {
            let Some(running) = world.running(machine) else { continue };
            let Some(sessions) = running.node.sessions(slots.shard(key.slot())) else { continue };
            let query = Query::Get { key: key.clone(), projection: Projection::Whole };
            let read = running.life.spawn(async move { sessions.query(0, &query).await }).await;
            match read {
                Ok(Ok((answer, _))) => drop(views.insert((machine, key.clone()), answer)),
                Ok(Err(error)) => world.ledger.violation("replicas", format!("node {machine} cannot read: {error}")),
                // It died meanwhile, which others notice.
                Err(_) => {}
            }
        }
    }
    views
}

/// What a region that does not converge looks like.
fn state(world: &World) -> String {
    let nodes = (0..world.machines.len()).map(|number| match world.running(number) {
        None => format!("node {number} is down"),
        Some(running) => {
            let topology: Arc<Topology> = running.node.topology();
            let room_bytes = running.node.log().room_bytes();
            let places = topology.shards.values().map(|place| (place.leader, place.term, place.applied));
            format!(
                "node {number} has {room_bytes} bytes of room, leader, term and applied are {:?}",
                places.collect::<Vec<_>>()
            )
        }
    });
    nodes.collect::<Vec<_>>().join("; ")
}
