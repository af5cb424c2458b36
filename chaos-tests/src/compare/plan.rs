//! What is measured, how long, and how often.

use crate::{
    load::{Distribution, Operation},
    peers::Store,
};
use std::{path::PathBuf, time::Duration};

/// A part of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// That each store syncs what it acknowledges.
    Syncs,
    /// Operations per second and latencies.
    Rates,
    /// How long no write is acknowledged after a leader was killed.
    Failover,
    /// Memory per session.
    Memory,
    /// How long a node with many sessions takes to start.
    Restart,
    /// What writes notice of a node that joins.
    Join,
}

impl Part {
    /// All parts, in the order in which they run.
    pub const ALL: [Self; 6] = [Self::Syncs, Self::Rates, Self::Failover, Self::Memory, Self::Restart, Self::Join];
}

/// One kind of load, sent to every store in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The operation.
    pub operation: Operation,
    /// The size of a value.
    pub value_bytes: usize,
    /// How many connections.
    pub connections: usize,
    /// How often each session is asked for.
    pub distribution: Distribution,
    /// How many sessions there are.
    pub sessions: u64,
}

/// The load of the headline figures; the others differ from it in one way each.
const HEADLINE: Workload = Workload {
    operation: Operation::Update,
    value_bytes: 1024,
    connections: 64,
    distribution: Distribution::Uniform,
    sessions: 50_000,
};

impl Workload {
    /// Whether this is the load that ratios are taken from.
    pub fn is_headline(&self) -> bool {
        Self { operation: HEADLINE.operation, sessions: HEADLINE.sessions, ..*self } == HEADLINE
    }

    /// What makes it differ from the headline's, in a few words.
    pub fn name(&self) -> String {
        let distribution = match self.distribution {
            Distribution::Uniform => "",
            Distribution::Zipf => ", zipf",
        };
        let kib = self.value_bytes as f64 / 1024.0;
        format!("{} {kib} KiB, {} connections{distribution}", self.operation.name(), self.connections)
    }
}

/// All that is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// By whom.
    pub stores: Vec<Store>,
    /// What.
    pub parts: Vec<Part>,
    /// Which loads.
    pub workloads: Vec<Workload>,
    /// How often each store has its turn.
    pub rounds: usize,
    /// What is not measured of each turn.
    pub warm_up: Duration,
    /// What is.
    pub measured: Duration,
    /// How often a leader is killed.
    pub kills: usize,
    /// How many sessions are held where memory, a restart and a joining node are measured.
    pub sessions_held: u64,
    /// Writes that are counted one by one where syncs are verified.
    pub verified_writes: u64,
    /// Where data goes: the disk that all share.
    pub place: PathBuf,
}

impl Plan {
    /// The headline figures, in about two minutes.
    pub fn quick(place: PathBuf) -> Self {
        let workloads =
            [Operation::Update, Operation::Get].map(|operation| Workload { operation, sessions: 5_000, ..HEADLINE });
        Self {
            stores: Store::ALL.to_vec(),
            parts: vec![Part::Syncs, Part::Rates, Part::Failover],
            workloads: workloads.to_vec(),
            rounds: 3,
            warm_up: Duration::from_millis(300),
            measured: Duration::from_millis(1500),
            kills: 3,
            sessions_held: 100_000,
            verified_writes: 200,
            place,
        }
    }

    /// Everything.
    pub fn full(place: PathBuf) -> Self {
        let mut workloads = Vec::new();
        for operation in [Operation::Create, Operation::Update, Operation::Get] {
            let headline = Workload { operation, ..HEADLINE };
            workloads.push(headline);
            workloads.extend([1, 256].map(|connections| Workload { connections, ..headline }));
            workloads.extend([512, 2048, 10_240, 51_200].map(|value_bytes| Workload { value_bytes, ..headline }));
            if operation != Operation::Create {
                workloads.push(Workload { distribution: Distribution::Zipf, ..headline });
            }
        }
        Self {
            parts: Part::ALL.to_vec(),
            workloads,
            warm_up: Duration::from_secs(1),
            measured: Duration::from_secs(5),
            kills: 10,
            sessions_held: 1_000_000,
            verified_writes: 1_000,
            ..Self::quick(place)
        }
    }

    /// A few seconds, to see that everything works.
    pub fn smoke(place: PathBuf) -> Self {
        Self {
            parts: Part::ALL.to_vec(),
            rounds: 1,
            warm_up: Duration::from_millis(50),
            measured: Duration::from_secs(1),
            kills: 1,
            sessions_held: 2_000,
            verified_writes: 20,
            workloads: [Operation::Create, Operation::Update, Operation::Get]
                .map(|operation| Workload { operation, connections: 8, sessions: 200, ..HEADLINE })
                .to_vec(),
            ..Self::quick(place)
        }
    }
}
