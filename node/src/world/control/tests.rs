//! Worlds of three regions in one process, in virtual time: they meet, agree, lose each other and their nodes.

use super::{Answer, Question, *};
use crate::{
    engine::{EngineKind, StorageOptions},
    env::{
        Env, Plants,
        simulated::{SimulatedDisk, Virtual},
    },
    log::{Log, LogOptions},
    peers::{AbroadIdentity, RpcOptions, Service, simulated::SimulatedNetwork},
    raft::{GroupOptions, simulate},
    region::{NodeOptions, admin::Admin},
    shard::ProposerOptions,
    world::{Neighbour, contacts::run_contact, guide},
};
use sojourn_core::{
    control::{Cause, ControlRefusal, Phase},
    region::{Addresses, Member},
};
use tokio::time::Instant;

const WORLD: u128 = 7;
const NAMES: [&str; 3] = ["na", "eu", "apac"];
const NODES_PER_REGION: u64 = 3;
const LEASE_MS: u64 = 2_000;

/// Nodes have numbers that no other region has, so that all are on one network: region 1 has 11, 12 and 13.
fn numbers(region: u16) -> impl Iterator<Item = u64> {
    (1..=NODES_PER_REGION).map(move |node| u64::from(region) * 10 + node)
}

fn region_of(number: u64) -> u16 {
    u16::try_from(number / 10).expect("a region")
}

fn abroad(number: u64) -> NodeId {
    AbroadRoster::number(RegionId(region_of(number)), NodeId(number))
}

struct Running {
    node: RegionNode,
    control: Control,
    _contacts: Arc<Contacts>,
}

/// The regions that run, by the numbers of their nodes.
struct World {
    network: SimulatedNetwork,
    seams: Arc<Virtual>,
    regions: Vec<u16>,
    failover: FailoverMode,
    disks: BTreeMap<u64, SimulatedDisk>,
    running: BTreeMap<u64, Running>,
}

struct Door(Doorway);

impl Service for Door {
    fn handle(&self, from: NodeId, number: u8, body: Bytes, reply: Reply) {
        if let Some((_, reply)) = self.0.handle(from, number, body, reply) {
            reply.refuse("not for the control group");
        }
    }
    fn lost(&self, peer: NodeId) {
        self.0.lost(peer);
    }
}

impl World {
    fn new(seed: u64, failover: FailoverMode) -> Self {
        simulate(seed);
        let seams = Arc::new(Virtual::start());
        let (network, regions) = (SimulatedNetwork::default(), vec![0, 1, 2]);
        Self { network, seams, regions, failover, disks: BTreeMap::new(), running: BTreeMap::new() }
    }

    /// A world of all three regions, of which all nodes know.
    async fn founded(seed: u64, failover: FailoverMode) -> Self {
        let mut world = Self::new(seed, failover);
        for number in world.regions.clone().into_iter().flat_map(numbers) {
            world.start(number).await;
        }
        world.until("all know of all regions", |world| world.all(|state| state.regions.len() == 3)).await;
        world
    }

    async fn start(&mut self, number: u64) {
        let disk = self.disks.entry(number).or_insert_with(|| SimulatedDisk::new(number)).reopen();
        let env = Env {
            clock: self.seams.clone(),
            disk: Arc::new(disk),
            spawn: self.seams.clone(),
            random: self.seams.clone(),
            plants: Plants::default(),
        };
        let rpc = |number: NodeId| {
            let rpc = Rpc::new(env.clone(), Arc::new(self.network.node(number)), RpcOptions::default());
            self.network.attach(number, Some(rpc.receiver()));
            rpc
        };
        let log = LogOptions { segment_bytes: 256 << 10, log_bytes_max: 16 << 20, ..LogOptions::new("/data/log") };
        // A log that fails belongs to a node whose power was cut.
        let log = Log::open(&env, log, Arc::new(|_| {})).await.expect("a log");
        let node = RegionNode::start(env.clone(), log, rpc(NodeId(number)), options_of(number)).await.expect("a node");
        let rpc = rpc(abroad(number));
        let contacts = self.contacts(number);
        let founding = ControlOptions { failover: self.failover, lease_ms: LEASE_MS };
        let control = Control::new(node.clone(), rpc.clone(), &contacts, founding);
        rpc.serve(Arc::new(Door(control.doorway())));
        for other in contacts.others() {
            let enquiry = Arc::new(self.network.node(NodeId(number)));
            drop(spawn(run_contact(node.clone(), Arc::downgrade(&contacts), other, enquiry)));
        }
        let (founded, starting) = (node.clone(), control.clone());
        drop(spawn(async move {
            let world = founded.founded().await;
            starting.start(world).await;
        }));
        self.running.insert(number, Running { node, control, _contacts: contacts });
    }

    fn contacts(&self, number: u64) -> Arc<Contacts> {
        let region = region_of(number);
        let name = |region: u16| NAMES[usize::from(region)].to_owned();
        let others = self.regions.iter().filter(|other| **other != region);
        let neighbour = |other: &u16| {
            let entrances = numbers(*other).map(|number| number.to_string()).collect();
            (RegionId(*other), Neighbour { name: name(*other), entrances })
        };
        let neighbours: BTreeMap<_, _> = others.map(neighbour).collect();
        let names = neighbours.iter().map(|(id, neighbour)| (*id, neighbour.name.clone())).collect();
        let roster = Arc::new(AbroadRoster::new(names));
        roster.introduce(AbroadIdentity { world: WORLD, region, region_name: name(region), node: number });
        let own = guide::Region { id: RegionId(region), name: name(region), coordinates: None, open: true };
        Arc::new(Contacts::new(own, neighbours, roster))
    }

    /// Cuts the power of a node.
    async fn crash(&mut self, number: u64) {
        let Some(running) = self.running.remove(&number) else { return };
        for number in [NodeId(number), abroad(number)] {
            self.network.attach(number, None);
        }
        let disk = self.disks[&number].crash();
        self.disks.insert(number, disk);
        running.control.inner.stopping.store(true, Ordering::Relaxed);
        if let Some(group) = running.control.inner.group() {
            let _failed = group.raft().shutdown().await;
        }
        running.node.shut_down().await;
    }

    fn control(&self, number: u64) -> &Control {
        &self.running[&number].control
    }

    fn state(&self, number: u64) -> Option<Arc<ControlState>> {
        self.control(number).watch().borrow().clone()
    }

    /// Whether every running node knows a state of which this holds.
    fn all(&self, test: impl Fn(&ControlState) -> bool) -> bool {
        self.running.keys().all(|number| self.state(*number).is_some_and(|state| test(&state)))
    }

    /// The node that leads the control group.
    fn leader(&self) -> Option<u64> {
        let leads = |control: &Control| control.inner.group().is_some_and(|group| group.leading_term().is_some());
        self.running.iter().find(|(_, running)| leads(&running.control)).map(|(number, _)| *number)
    }

    fn voters(&self) -> std::collections::BTreeSet<NodeId> {
        let group = self.leader().and_then(|leader| self.control(leader).inner.group());
        group.map(|group| group.figures()).filter(|figures| !figures.changing()).map(|it| it.voters).unwrap_or_default()
    }

    async fn until(&self, what: &str, test: impl Fn(&Self) -> bool) {
        for _ in 0..2_000 {
            if test(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let known: Vec<_> = self.running.keys().map(|number| (number, self.state(*number))).collect();
        panic!("never {what}; the nodes know {known:?}");
    }

    /// Cuts or mends all ways of a node to and from the other regions.
    fn part(&self, number: u64, cut: bool) {
        for other in self.regions.iter().filter(|region| **region != region_of(number)).flat_map(|it| numbers(*it)) {
            for (from, to) in [(number, other), (other, number)] {
                self.network.cut(abroad(from), abroad(to), cut);
                self.network.cut(NodeId(from), NodeId(to), cut);
            }
        }
    }
}

fn options_of(number: u64) -> NodeOptions {
    let member = |number: u64| {
        let addresses = Addresses { peers: number.to_string(), ..Addresses::default() };
        Member { id: NodeId(number), name: format!("n{number}"), addresses, draining: false, disk: None }
    };
    let region = region_of(number);
    NodeOptions {
        world: WORLD,
        region: RegionId(region),
        region_name: NAMES[usize::from(region)].to_owned(),
        coordinates: None,
        node: NodeId(number),
        disk: u128::from(number),
        addresses: member(number).addresses,
        founder: true,
        founders: numbers(region).map(member).collect(),
        mint_key: None,
        shard_count: 1,
        replicas: 3,
        storage: StorageOptions {
            kind: EngineKind::Files,
            directory: "/data/engine".into(),
            memory_bytes_max: 64 << 20,
        },
        snapshots: "/data/snapshots".into(),
        group: GroupOptions {
            heartbeat: Duration::from_millis(200),
            election_min: Duration::from_millis(600),
            election_max: Duration::from_millis(1_200),
            log_room_bytes_min: 64 << 10,
            ..GroupOptions::default()
        },
        proposer: ProposerOptions { log_room_bytes_min: 128 << 10, ..ProposerOptions::default() },
    }
}

const NA: RegionId = RegionId(0);

#[tokio::test(start_paused = true)]
async fn what_one_node_has_agreed_on_all_nodes_soon_know() {
    let world = World::founded(1, FailoverMode::Automatic).await;
    let state = world.state(23).expect("known");
    assert_eq!((state.world, state.failover.mode, state.failover.lease_ms), (WORLD, FailoverMode::Automatic, LEASE_MS));
    assert_eq!(state.regions.values().map(|region| &*region.name).collect::<Vec<_>>(), NAMES);
    assert_eq!(world.voters().len(), 3, "one of each region");
    for (number, draining) in [(2, true), (12, false), (23, true)] {
        let command = ControlCommand::Drain { region: NA, draining };
        assert_eq!(world.control(number).propose(command).await, Ok(ControlOutcome::Done));
        let began = Instant::now();
        while !world.all(|state| state.regions[&NA].draining == draining) {
            assert!(began.elapsed() < Duration::from_millis(200), "somebody has not heard");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let unknown = world.control(13).propose(ControlCommand::Drain { region: RegionId(9), draining: true }).await;
    assert_eq!(unknown, Err(NotAgreed::Refused(ControlRefusal::UnknownRegion(RegionId(9)))));
    let (name, entrances) = ("eu".to_owned(), [].into());
    let twin = ControlCommand::Join { region: RegionId(1), mark: 1, name, entrances, place: None, voter: None };
    let refused = world.control(1).propose(twin).await.expect_err("another region under its number").to_string();
    assert!(refused.contains("region 1 of this world is another one, called eu"), "{refused}");
    assert!(refused.contains("`region.id`"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_founded_before_all_regions_have_met_and_a_late_one_joins() {
    let mut world = World::new(2, FailoverMode::Operator);
    for number in numbers(0).chain(numbers(1)) {
        world.start(number).await;
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(world.running.keys().all(|number| world.state(*number).is_none()));
    let command = ControlCommand::Drain { region: NA, draining: true };
    assert_eq!(world.control(2).propose(command).await, Err(NotAgreed::NotFounded));
    // Two of them found a world when they are all that there is; the third comes later.
    for number in numbers(0).chain(numbers(1)) {
        world.crash(number).await;
    }
    world.regions = vec![0, 1];
    for number in numbers(0).chain(numbers(1)) {
        world.start(number).await;
    }
    world.until("two regions agree", |world| world.all(|state| state.regions.len() == 2)).await;
    assert_eq!(world.voters().len(), 2);
    for number in numbers(0).chain(numbers(1)) {
        world.crash(number).await;
    }
    world.regions = vec![0, 1, 2];
    for number in world.regions.clone().into_iter().flat_map(numbers) {
        world.start(number).await;
    }
    world.until("the third has joined", |world| world.all(|state| state.regions.len() == 3)).await;
    world.until("it votes", |world| world.voters().len() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_grants_nothing_and_another_does() {
    let world = World::founded(3, FailoverMode::Automatic).await;
    world.until("somebody leads", |world| world.leader().is_some()).await;
    let old = world.leader().expect("a leader");
    let (home, state) = (RegionId(region_of(old)), world.state(old).expect("known"));
    let (epoch, seen) = (state.regions[&home].epoch, state.version);
    let lease = Ok(Grant::Lease { ms: LEASE_MS });
    assert_eq!(world.control(old).renew(home, epoch, seen).await, lease);
    let held = world.control(old).inner.led.lock().as_ref().map(|led| led.grants.latest_ms(home, home));
    assert_eq!(held, Some(world.control(old).inner.now_ms()), "noted when it was granted");
    let stale = world.control(old).renew(home, epoch + 1, seen).await;
    assert_eq!(stale, Err(NotAgreed::Refused(ControlRefusal::NotActing { home, epoch })));

    world.part(old, true);
    let question = Question::Renew { home, epoch, seen };
    let began = Instant::now();
    let answer = world.control(old).inner.decide(home, question.clone()).await;
    assert!(matches!(answer, Answer::NotLeader { .. }), "it believes to lead, and no quorum says so: {answer:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    let leads = |world: &World, number: u64| {
        world.control(number).inner.group().is_some_and(|group| group.leading_term().is_some())
    };
    let voter = |world: &World| world.running.keys().copied().find(|number| *number != old && leads(world, *number));
    world.until("another leads", |world| voter(world).is_some()).await;
    let other = voter(&world).expect("a leader");
    let (home, at) = (RegionId(region_of(other)), world.state(other).expect("known"));
    assert_eq!(world.control(other).renew(home, at.regions[&home].epoch, at.version).await, lease);
    let answer = world.control(old).inner.decide(home, question).await;
    assert!(matches!(answer, Answer::NotLeader { .. }), "{answer:?}");
    world.part(old, false);
    world.until("the old one follows", |world| !leads(world, old)).await;
    let command = ControlCommand::Drain { region: NA, draining: true };
    assert_eq!(world.control(old).propose(command).await, Ok(ControlOutcome::Done));
}

#[tokio::test(start_paused = true)]
async fn voters_come_back_with_what_was_agreed_and_are_replaced_when_they_are_drained() {
    let mut world = World::founded(4, FailoverMode::Operator).await;
    let drain = |region, draining| ControlCommand::Drain { region: RegionId(region), draining };
    assert_eq!(world.control(22).propose(drain(2, true)).await, Ok(ControlOutcome::Done));
    // The whole world stops, and one voter stays away.
    let all: Vec<u64> = world.running.keys().copied().collect();
    for number in &all {
        world.crash(*number).await;
    }
    let voter = world.disks.keys().copied().find(|number| region_of(*number) == 1).expect("a node of eu");
    for number in all.iter().filter(|number| **number != voter) {
        world.start(*number).await;
    }
    world.until("it is known again", |world| world.all(|state| state.regions[&RegionId(2)].draining)).await;
    assert_eq!(world.control(12).propose(drain(2, false)).await, Ok(ControlOutcome::Done));
    world.until("all have heard", |world| world.all(|state| !state.regions[&RegionId(2)].draining)).await;
    world.start(voter).await;
    world.until("the voter has heard", |world| world.all(|state| !state.regions[&RegionId(2)].draining)).await;

    let named = |world: &World| world.state(1).and_then(|state| state.regions[&NA].voter).expect("named");
    let first = named(&world);
    world.running[&first.0].node.drain(first, true).await.expect("drained");
    world.until("another is named", |world| named(world) != first).await;
    let second = named(&world);
    let wanted = |world: &World| {
        let voters = world.voters();
        voters.len() == 3 && voters.contains(&abroad(second.0)) && !voters.contains(&abroad(first.0))
    };
    world.until("it votes in place of the first", wanted).await;
    world.until("the first has let go", |world| world.control(first.0).inner.group().is_none()).await;
    assert!(!world.running[&first.0].node.holds_control());
    assert_eq!(world.control(first.0).propose(drain(0, true)).await, Ok(ControlOutcome::Done));
    world.until("all have heard", |world| world.all(|state| state.regions[&NA].draining)).await;
}

/// Renews leases for a region as its shards would, for as long as its nodes live.
fn keep_renewing(world: &World, region: u16) {
    let homes: Vec<Control> = numbers(region).map(|number| world.control(number).clone()).collect();
    drop(spawn(async move {
        while homes.iter().any(|control| !control.inner.is_stopping()) {
            for control in homes.iter().filter(|control| !control.inner.is_stopping()) {
                let Some(state) = control.watch().borrow().clone() else { continue };
                let epoch = state.regions[&RegionId(region)].epoch;
                // One that is refused or late is asked for again.
                let _granted = control.renew(RegionId(region), epoch, state.version).await;
            }
            tokio::time::sleep(Duration::from_millis(LEASE_MS / 4)).await;
        }
    }));
}

#[tokio::test(start_paused = true)]
async fn a_region_whose_leases_are_not_renewed_is_fenced_and_the_others_are_asked() {
    let mut world = World::founded(5, FailoverMode::Automatic).await;
    let mode_version = world.state(1).expect("known").failover.mode_version;
    for region in [0, 1, 2] {
        let adopt = ControlCommand::Adopt { region: RegionId(region), mode_version };
        assert_eq!(world.control(11).propose(adopt).await, Ok(ControlOutcome::Done));
        keep_renewing(&world, region);
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(world.all(|state| state.regions.values().all(|region| region.phase == Phase::Serving)), "all renew");
    let before = world.state(1).expect("known").regions[&NA].epoch;
    for number in numbers(0) {
        world.crash(number).await;
    }
    let gathering = |state: &ControlState| match &state.regions[&NA].phase {
        Phase::Gathering(handover) => handover.cause == Cause::Lost,
        _ => false,
    };
    world.until("the others are asked", |world| world.all(gathering)).await;
    let state = world.state(22).expect("known");
    assert!(state.regions[&NA].away && state.regions[&NA].epoch > before);
    assert_eq!(state.regions[&RegionId(1)].phase, Phase::Serving);
}
