//! Several regions in one process and in virtual time, joined by a wide-area network that delays, loses and cuts.
//!
//! Each region is a [`World`](super::world::World) of its own with real nodes; their streams, contacts and calls between regions are
//! the real ones too. `workload` says which sessions there are, `client` asks for them in every region, `faults` part regions and
//! lose them whole, `losses` does so until others act for them, `person` decides over regions, `travels` gives sessions other homes, `shifts` gives slots other shards, `history` writes down what clients were told, `settling` waits until all copies are equal, `reference` replays
//! what every region ordered, `oracles` judge, and `story` is what a failing run is read by. Start at [`play`].

mod client;
mod faults;
mod hands;
mod history;
mod losses;
mod oracles;
mod person;
mod reference;
mod settling;
mod shifts;
mod story;
mod travels;
mod workload;

use super::{
    Report, faults as region_faults,
    plan::{Losses, Plan},
    restart_the_dead,
    seat::{Abroad, Seat},
    watch_clocks,
    world::World,
};
use client::Client;
use history::History;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use sojourn_core::{NodeId, RegionId, control::FailoverMode, feed::FeedBounds, lease::LEASE_MS_DEFAULT, mint::MintKey};
use sojourn_node::{
    peers::{AbroadRoster, simulated::SimulatedNetwork},
    raft,
    world::{Neighbour, StreamBounds, control::ControlOptions},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};
use workload::Catalog;

/// Names of regions, in the order of their numbers.
const NAMES: [&str; 5] = ["na", "eu", "apac", "sa", "af"];

/// All regions of a world under simulation.
pub struct Regions {
    /// What the run is made of.
    pub plan: Plan,
    /// The regions, in the order of their numbers.
    pub all: Vec<Arc<World>>,
    /// The network between them.
    pub wan: SimulatedNetwork,
    /// What clients asked and were told.
    pub history: History,
    /// The sessions.
    pub catalog: Catalog,
    /// How long leases last, in ms, where there are some.
    pub lease_ms: u64,
}

impl Regions {
    /// Regions whose machines are off. Processes of theirs that end by themselves are started again.
    fn new(plan: &Plan, rng: &mut StdRng) -> Self {
        let wan = SimulatedNetwork::far();
        let mint_key = MintKey::new([7; 32]);
        let page = FeedBounds { entries_max: rng.random_range(2..12), bytes_max: 20_000 };
        let batch = FeedBounds { entries_max: rng.random_range(1..40), bytes_max: 40_000 };
        let bounds = StreamBounds { batch, page, page_reach: rng.random_range(4..24) };
        let founding = founding(plan, rng);
        // Most of what can go wrong between regions needs replicas in one of them only.
        let large = rng.random_range(0..plan.regions);
        let sizes =
            (0..plan.regions).map(|region| if region == large { 3 } else { *[1, 1, 3].choose(rng).unwrap_or(&3) });
        let sizes: Vec<u64> = sizes.collect();
        let neighbour = |region: u16| {
            let nodes = (1..=sizes.get(usize::from(region)).copied().unwrap_or(0)).map(NodeId);
            let entrances = nodes.map(|node| AbroadRoster::number(RegionId(region), node).0.to_string()).collect();
            (RegionId(region), Neighbour { name: name_of(region).to_owned(), entrances })
        };
        let regions = (0..plan.regions).zip(sizes.iter().copied()).map(|(region, nodes)| {
            let neighbours = (0..plan.regions).filter(|other| *other != region).map(neighbour).collect();
            let abroad = Abroad { network: wan.clone(), neighbours, bounds, mint_key: mint_key.clone(), founding };
            let seat = Seat {
                region: RegionId(region),
                name: name_of(region).to_owned(),
                nodes,
                shards: rng.random_range(1..=2),
                abroad: Some(Arc::new(abroad)),
            };
            let (deaths, dying) = mpsc::unbounded_channel();
            let world = Arc::new(World::new(plan, seat, rng, deaths));
            drop(raft::spawn(restart_the_dead(world.clone(), dying, StdRng::seed_from_u64(rng.random()))));
            drop(raft::spawn(watch_clocks(world.clone())));
            world
        });
        let all = regions.collect();
        let catalog = Catalog::new(plan.regions, mint_key, plan.logs_in_slowly());
        let history = History::new(plan.print);
        Self { plan: plan.clone(), all, wan, history, catalog, lease_ms: founding.lease_ms }
    }

    /// The numbers by which the nodes of a region are known to others.
    pub fn numbers(&self, region: usize) -> Vec<NodeId> {
        let world = &self.all[region];
        world.machines.iter().map(|machine| AbroadRoster::number(world.seat.region, machine.id)).collect()
    }
}

/// What a world is founded with.
fn founding(plan: &Plan, rng: &mut StdRng) -> ControlOptions {
    match plan.losses() {
        Losses::Automatic => {
            ControlOptions { failover: FailoverMode::Automatic, lease_ms: losses::lease_ms(plan, rng) }
        }
        Losses::Person | Losses::Unmet => {
            ControlOptions { failover: FailoverMode::Operator, lease_ms: LEASE_MS_DEFAULT }
        }
    }
}

fn name_of(region: u16) -> &'static str {
    NAMES.get(usize::from(region)).copied().unwrap_or("more")
}

/// Clients in each region; fewer where runs take longer.
fn clients_per_region(plan: &Plan) -> u64 {
    match plan.stress {
        // Somebody has to ask in the moment in which a region acts without being allowed to.
        Some("lease-from-receipt") => 6,
        _ if plan.losses() == Losses::Unmet => 4,
        _ => 2,
    }
}

/// Plays one plan on the calling thread's simulation.
pub async fn play(plan: &Plan) -> Report {
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let regions = Arc::new(Regions::new(plan, &mut rng));
    faults::calm(&regions, &mut rng);
    for world in &regions.all {
        region_faults::calm(world);
        for machine in 0..world.machines.len() {
            region_faults::restart(world, machine, Duration::from_millis(rng.random_range(0..50)));
        }
    }
    // Drawn from the seed alone: what others draw stays as it is.
    let own = |number: u64| StdRng::seed_from_u64(!plan.seed ^ number);
    if plan.loses_early() {
        drop(raft::spawn(losses::early(regions.clone(), own(4))));
    }
    let begun = settling::begin(&regions).await;
    let (end, ending) = watch::channel(false);
    let homes = (0..regions.all.len()).flat_map(|home| (0..clients_per_region(plan)).map(move |_| Some(home)));
    // One that is nowhere at home.
    let clients = (1..).zip(homes.chain([None]));
    let clients: Vec<Client> =
        clients.map(|(number, home)| Client::new(regions.clone(), number, home, &mut rng)).collect();
    let clients: Vec<_> = clients.into_iter().map(|client| raft::spawn(client.run(ending.clone()))).collect();
    if plan.travels() {
        drop(raft::spawn(travels::run(regions.clone(), own(0), ending.clone())));
    }
    if plan.shifts_slots() {
        drop(raft::spawn(shifts::run(regions.clone(), own(3), ending.clone())));
    }
    let over = regions.history.ledger.now() + faults::lasting(plan);
    let (decided, deciding) = watch::channel(false);
    if plan.losses() != Losses::Unmet {
        drop(raft::spawn(losses::run(regions.clone(), own(1), over)));
        drop(raft::spawn(person::run(regions.clone(), own(2), over, deciding)));
    }
    if begun {
        faults::run(&regions, &mut rng, over).await;
    }
    regions.history.ledger.note(format_args!("HEAL"));
    let healed = regions.history.ledger.now();
    settling::heal(&regions, &mut rng).await;
    settling::settle_homes(&regions).await;
    // Clients see the healed world, too.
    tokio::time::sleep(Duration::from_secs(1)).await;
    end.send_replace(true);
    for client in clients {
        // A client that panicked is a finding of its own.
        let _panicked = client.await;
    }
    settling::converge(&regions).await;
    // What was decided before the heal may be agreed on after it: somebody sees to that to the end.
    decided.send_replace(true);
    report(&regions, healed)
}

/// What all ledgers say together.
fn report(regions: &Arc<Regions>, healed: Duration) -> Report {
    let ledger = &regions.history.ledger;
    let lasted = ledger.now();
    ledger.with(|book| book.coverage.add("seconds until all was equal", (lasted - healed).as_secs()));
    let (found, coverage) = oracles::audit(regions);
    let mut report = ledger.with(|book| {
        book.violations.extend(found);
        book.coverage.merge(&coverage);
        Report {
            plan: regions.plan.clone(),
            violations: std::mem::take(&mut book.violations),
            coverage: std::mem::take(&mut book.coverage),
            trace: book.trace.sum(),
            lasted,
        }
    });
    for world in &regions.all {
        world.ledger.with(|book| {
            report.violations.append(&mut book.violations);
            let (hash, events) = book.trace.sum();
            report.trace = (report.trace.0.rotate_left(1) ^ hash, report.trace.1 + events);
            world.count_disks(&mut book.coverage);
            report.coverage.merge(&book.coverage);
        });
    }
    report
}

/// Records by key.
type Records = BTreeMap<sojourn_core::Key, sojourn_core::Record>;
