//! A region of simulated machines, alone or one of several: started, crashed and started again.

use super::{
    boot::{self, NotStarted, Opened, Parts, Seams},
    clock::MachineClock,
    coverage::Coverage,
    ledger::{Eyes, Ledger},
    plan::Plan,
    seat::{Joined, Seat},
};
use parking_lot::Mutex;
use rand::{Rng, rngs::StdRng};
use sojourn_core::{NodeId, ShardId, SlotTable, region::RegionState};
use sojourn_node::{
    engine::StorageOptions,
    env::{Env, simulated::SimulatedDisk},
    log::GroupId,
    peers::simulated::SimulatedNetwork,
    raft::{GroupOptions, Life},
    region::{Ended, NodeOptions, RegionNode, backend::Backend, status::GroupName},
    shard::ProposerOptions,
    world::control::Control,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// Shards of a region that is alone.
pub const SHARDS: u32 = 2;

/// The group of what the region agrees on; shard `n` is group `n + 1`.
pub const SYSTEM_GROUP: GroupId = 0;

/// A process ended by itself: which machine's, and which of its lives.
pub type Death = (usize, u64);

/// A region under simulation.
pub struct World {
    /// What the run is made of.
    pub plan: Plan,
    /// Which region it is.
    pub seat: Seat,
    /// The network of all.
    pub network: SimulatedNetwork,
    /// The machines: those of the founders, then one that joins, if the plan has an operator.
    pub machines: Vec<Arc<Machine>>,
    /// What happened.
    pub ledger: Ledger,
    snapshot_entries: u64,
    unsaved_age_max: Duration,
    memory_bytes_max: u64,
    deaths: mpsc::UnboundedSender<Death>,
}

/// One machine, on or off.
pub struct Machine {
    /// The node's number.
    pub id: NodeId,
    /// Its clocks.
    pub clock: Arc<MachineClock>,
    state: Mutex<State>,
}

/// Whether a machine may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It belongs to the region, or is let in when it comes.
    Invited,
    /// Nobody has asked it to come yet.
    Spare,
    /// It belongs to the region and stays down for now.
    Held,
    /// The region has told it that it was removed.
    Retired,
}

struct State {
    standing: Standing,
    disk: SimulatedDisk,
    lives: u64,
    life: Option<Life>,
    node: Option<RegionNode>,
    /// What it has of other regions, as long as it runs.
    joined: Option<Joined>,
    /// Faults of the disk that had happened when the life began.
    faults_before: u64,
}

/// A node that serves.
#[derive(Clone)]
pub struct Running {
    /// What its work belongs to.
    pub life: Life,
    /// The node.
    pub node: RegionNode,
    /// Its part in what all regions agree on, if there are several.
    pub control: Option<Control>,
}

/// How a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process only: the machine keeps what it has in memory.
    Process,
    /// The machine: what was not synced may be lost.
    Power,
}

impl World {
    /// Machines that are off, with empty disks; deaths of their processes are told to `deaths`.
    pub fn new(plan: &Plan, seat: Seat, rng: &mut StdRng, deaths: mpsc::UnboundedSender<Death>) -> Self {
        let machines = (1..=seat.nodes + u64::from(plan.operated())).map(|number| {
            let clock = MachineClock::new(rng.random_range(-200..=200), rng.random_range(-500..=500));
            let disk = SimulatedDisk::new(rng.random());
            let standing = if number <= seat.nodes { Standing::Invited } else { Standing::Spare };
            let state = State { standing, disk, lives: 0, life: None, node: None, joined: None, faults_before: 0 };
            Arc::new(Machine { id: NodeId(number), clock: Arc::new(clock), state: Mutex::new(state) })
        });
        Self {
            plan: plan.clone(),
            network: SimulatedNetwork::default(),
            machines: machines.collect(),
            ledger: Ledger::new(plan.print, seat.label()),
            seat,
            snapshot_entries: rng.random_range(15..=120),
            unsaved_age_max: Duration::from_millis(rng.random_range(200..4_000)),
            memory_bytes_max: [40_000, 120_000, u64::MAX][rng.random_range(0..3)],
            deaths,
        }
    }

    /// Switches a machine on, or starts its process again; does nothing while one runs.
    pub async fn start(&self, number: usize) {
        let machine = &self.machines[number];
        let (life, disk) = {
            let mut state = machine.state.lock();
            if state.life.is_some() || state.standing != Standing::Invited {
                return;
            }
            state.lives += 1;
            let death = (number, state.lives);
            let deaths = self.deaths.clone();
            // The world may be gone already.
            let on_halt = Box::new(move |_: &str| deaths.send(death).unwrap_or(()));
            let life = Life::new(Arc::new(Eyes { ledger: self.ledger.clone(), node: number, on_halt }));
            state.life = Some(life.clone());
            state.disk = state.disk.reopen();
            state.faults_before = faults(&state.disk);
            (life, state.disk.clone())
        };
        machine.clock.node_starts();
        self.observe_clocks();
        self.ledger.starts(number);
        let started = life.spawn(boot::open(self.parts(number, &life, disk))).await;
        if life.has_ended() {
            return;
        }
        match started {
            Ok(Ok(Opened { node, joined })) => {
                drop(life.spawn(self.watch(number, node.clone())));
                {
                    let mut state = machine.state.lock();
                    (state.node, state.joined) = (Some(node), joined);
                }
                machine.clock.node_is_up();
                self.ledger.note(format_args!("node {number} is up"));
            }
            Ok(Err(error)) => self.on_not_started(number, &error),
            Err(error) => self.ledger.violation("recovery", format!("node {number} died at its start: {error}")),
        }
    }

    /// A start may fail only for what was done to the disk in the meantime.
    fn on_not_started(&self, number: usize, error: &NotStarted) {
        let (excused, death) = {
            let state = self.machines[number].state.lock();
            (faults(&state.disk) > state.faults_before, (number, state.lives))
        };
        self.ledger.note(format_args!("node {number} did not start: {error}"));
        if excused {
            self.ledger.count("starts failed by the disk");
        } else {
            self.ledger.violation("recovery", format!("node {number} refuses to start: {error}"));
        }
        // Nobody restarts what nobody watches any more.
        let _gone = self.deaths.send(death);
    }

    /// Ends a node. Returns whether one ran.
    pub fn end(&self, number: usize, how: End) -> bool {
        let machine = &self.machines[number];
        let mut state = machine.state.lock();
        let Some(life) = state.life.take() else { return false };
        self.network.attach(machine.id, None);
        self.seat.leave(machine.id);
        life.end();
        let node = (state.node.take(), state.joined.take());
        state.disk = match how {
            End::Process => state.disk.kill(),
            End::Power => state.disk.crash(),
        };
        drop(state);
        drop(node);
        machine.clock.node_ends();
        self.ledger.note(format_args!("node {number} ends: {how:?}"));
        true
    }

    /// Ends the process of a node that says it cannot go on, as `sojourn serve` does.
    fn watch(&self, number: usize, node: RegionNode) -> impl Future<Output = ()> + Send + use<> {
        let (machine, ledger, deaths) = (self.machines[number].clone(), self.ledger.clone(), self.deaths.clone());
        let death = (number, machine.state.lock().lives);
        async move {
            match node.ended().await {
                Ended::Removed => {
                    ledger.count("removed nodes that heard of it");
                    machine.state.lock().standing = Standing::Retired;
                }
                Ended::Disk(_) => {}
                Ended::Refused(refusal) => ledger.violation("membership", format!("node {number} ends: {refusal}")),
            }
            // Nobody restarts what nobody watches any more.
            let _gone = deaths.send(death);
        }
    }

    /// All shards of the region.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.seat.shards).map(ShardId)
    }

    /// Says from now on whether a machine may run.
    pub fn set_standing(&self, number: usize, standing: Standing) {
        self.machines[number].state.lock().standing = standing;
    }

    /// Whether a machine may run.
    pub fn standing(&self, number: usize) -> Standing {
        self.machines[number].state.lock().standing
    }

    /// What the region agrees on, by the node that has applied most of it.
    pub fn region(&self) -> Option<Arc<RegionState>> {
        let numbers = (0..self.machines.len()).filter(|number| self.standing(*number) == Standing::Invited);
        let latest = numbers.max_by_key(|number| self.ledger.with(|book| book.next(*number, SYSTEM_GROUP)))?;
        Some(self.running(latest)?.node.region())
    }

    /// Which shard holds each slot, as the region agrees.
    pub fn slots(&self) -> SlotTable {
        self.region().map_or_else(|| SlotTable::even(SHARDS), |region| region.slots.clone())
    }

    /// The machines of the region's members.
    pub fn members(&self) -> Vec<usize> {
        let Some(region) = self.region() else { return Vec::new() };
        self.numbers(|node| region.members.contains_key(&node))
    }

    /// The machines that should have a replica of a shard.
    pub fn holders(&self, shard: ShardId) -> Vec<usize> {
        let Some(region) = self.region() else { return Vec::new() };
        let voters = region.placement.get(&GroupName::Shard(shard)).cloned().unwrap_or_default();
        self.numbers(|node| voters.contains(&node))
    }

    fn numbers(&self, test: impl Fn(NodeId) -> bool) -> Vec<usize> {
        (0..self.machines.len()).filter(|number| test(self.machines[*number].id)).collect()
    }

    /// Whether `death` is the end of the life that runs now.
    pub fn is_current(&self, (number, life): Death) -> bool {
        let state = self.machines[number].state.lock();
        state.life.is_some() && state.lives == life
    }

    /// The node of a machine, if it is up.
    pub fn running(&self, number: usize) -> Option<Running> {
        let state = self.machines[number].state.lock();
        let control = state.joined.as_ref().map(|joined| joined.control.clone());
        Some(Running { life: state.life.clone()?, node: state.node.clone()?, control })
    }

    /// The disk of a machine.
    pub fn disk(&self, number: usize) -> SimulatedDisk {
        self.machines[number].state.lock().disk.clone()
    }

    /// Stops a machine's process as SIGSTOP does, or lets it go on. Returns whether one runs.
    pub fn stop(&self, number: usize, stopped: bool) -> bool {
        let life = self.machines[number].state.lock().life.clone();
        life.as_ref().inspect(|life| life.stop(stopped)).is_some()
    }

    /// What a node is at the moment, for the coverage of faults.
    pub fn role(&self, number: usize) -> &'static str {
        let Some(running) = self.running(number) else { return "down" };
        let id = self.machines[number].id;
        let topology = running.node.topology();
        if topology.shards.values().any(|place| place.leader == Some(id)) { "leader" } else { "follower" }
    }

    /// Notes what time the running nodes may believe in.
    pub fn observe_clocks(&self) {
        let bounds: Vec<_> = self.machines.iter().filter_map(|machine| machine.clock.bounds()).collect();
        let latest_ms = bounds.iter().map(|bounds| bounds.high_ms).max();
        let earliest_ms = bounds.iter().map(|bounds| bounds.low_ms).min();
        self.ledger.with(|book| {
            book.latest_ms = book.latest_ms.max(latest_ms.unwrap_or(0));
            book.earliest_ms = earliest_ms.unwrap_or(0);
        });
    }

    /// Whether all replicas have applied all that any replica applied.
    pub fn is_level(&self) -> bool {
        let held_by = |group: GroupId| match group.checked_sub(1) {
            Some(shard) => self.holders(ShardId(shard)),
            None => self.members(),
        };
        let lasts = self.applied();
        lasts.into_iter().all(|(group, last)| {
            let holders = held_by(group);
            self.ledger.with(|book| holders.iter().all(|number| book.next(*number, group) > last))
        })
    }

    /// The last index of each group that any node applied.
    pub fn applied(&self) -> BTreeMap<GroupId, u64> {
        self.ledger.with(|book| {
            let last = book.entries.iter().filter_map(|(group, entries)| Some((*group, *entries.keys().next_back()?)));
            last.collect()
        })
    }

    /// What the disks did to their nodes.
    pub fn count_disks(&self, coverage: &mut Coverage) {
        for number in 0..self.machines.len() {
            let counts = self.disk(number).counts();
            coverage.add("syncs", counts.syncs);
            coverage.add("syncs failed", counts.syncs_failed);
            coverage.add("writes refused by a full disk", counts.full);
            coverage.add("unsynced sectors lost", counts.sectors_lost);
            coverage.add("unsynced names lost", counts.names_lost);
        }
    }

    fn parts(&self, number: usize, life: &Life, disk: SimulatedDisk) -> Parts {
        let machine = &self.machines[number];
        let env = Env {
            clock: machine.clock.clone(),
            disk: Arc::new(disk),
            spawn: Arc::new(Seams),
            random: Arc::new(Seams),
            plants: self.plan.plants(),
        };
        let Seat { nodes, .. } = self.seat;
        let founders = self.machines.iter().map(|machine| machine.id).filter(|id| id.0 <= nodes);
        let founders = founders.map(|id| self.seat.founder(id)).collect();
        let options = NodeOptions {
            world: 7,
            region: self.seat.region,
            region_name: self.seat.name.clone(),
            coordinates: None,
            node: machine.id,
            disk: u128::from(machine.id.0),
            addresses: self.seat.addresses(machine.id),
            founder: machine.id.0 <= nodes,
            replicas: u32::try_from(nodes).unwrap_or(u32::MAX),
            founders,
            mint_key: self.seat.mint_key(),
            shard_count: self.seat.shards,
            storage: StorageOptions {
                memory_bytes_max: self.memory_bytes_max,
                ..StorageOptions::simulated("/data/engine")
            },
            snapshots: "/data/snapshots".into(),
            group: GroupOptions {
                heartbeat: Duration::from_millis(100),
                election_min: Duration::from_millis(300),
                election_max: Duration::from_millis(600),
                snapshot_entries: self.snapshot_entries,
                keep_entries: self.snapshot_entries / 4,
                keep_log_bytes_max: 1 << 20,
                unsaved_bytes_max: 64 << 10,
                unsaved_age_max: self.unsaved_age_max,
                log_room_bytes_min: 48 << 10,
                confirm_timeout: Duration::from_millis(200),
                commit_news_delay: GroupOptions::default().commit_news_delay,
            },
            proposer: ProposerOptions { log_room_bytes_min: 96 << 10, ..ProposerOptions::default() },
        };
        let state = machine.state.lock();
        let death = (number, state.lives);
        let (network, seat, deaths) = (self.network.clone(), self.seat.clone(), self.deaths.clone());
        Parts { env, options, network, seat, life: life.clone(), death, deaths }
    }
}

fn faults(disk: &SimulatedDisk) -> u64 {
    let counts = disk.counts();
    counts.syncs_failed + counts.full
}

/// All shards of a region that is alone.
pub fn shards() -> impl Iterator<Item = ShardId> {
    (0..SHARDS).map(ShardId)
}
