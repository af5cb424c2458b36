//! Three replicas in one process, in virtual time, over the real log, adapter and calls.

mod keeper;

use super::{Applied, GroupOptions, GroupParts, Inbox, Loading, Machine, Proposal, RunningGroup, Unsaved, simulate};
use crate::{
    engine::{FileEngine, Row},
    env::{
        Env, Plants,
        simulated::{SimulatedDisk, Virtual},
    },
    log::{Log, LogOptions},
    peers::{Reply, Rpc, RpcOptions, Service, simulated::SimulatedNetwork},
};
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use sojourn_core::NodeId;
use std::{io, sync::Arc, time::Duration};

/// Keeps every proposal in order.
#[derive(Default)]
struct Lines(Mutex<Vec<Bytes>>);

impl Machine for Lines {
    type Entry = Bytes;
    type Loading = LoadingLines;

    fn read(&self, proposal: &Proposal) -> io::Result<Bytes> {
        Ok(proposal.0.clone())
    }
    fn apply(&self, _index: u64, line: Bytes) -> Result<Applied, Bytes> {
        self.0.lock().push(line);
        Ok(Applied::Nothing)
    }
    fn unsaved_bytes(&self) -> u64 {
        0
    }
    fn take_unsaved(&self) -> Box<dyn Unsaved> {
        Box::new(UnsavedLines(self.0.lock().clone()))
    }
    fn settle(&self, _saved: bool) {}
    fn loading(&self) -> LoadingLines {
        LoadingLines::default()
    }
    async fn adopt(&self, _index: u64, loaded: Vec<Bytes>, commit: BoxFuture<'_, io::Result<()>>) -> io::Result<()> {
        commit.await?;
        *self.0.lock() = loaded;
        Ok(())
    }
}

struct UnsavedLines(Vec<Bytes>);

impl Unsaved for UnsavedLines {
    fn rows(&self) -> Vec<Row> {
        let rows = (1_u64..).zip(&self.0);
        rows.map(|(number, line)| ([&[1], &number.to_be_bytes()[..]].concat(), Some(line.to_vec()))).collect()
    }
}

#[derive(Default)]
struct LoadingLines(Vec<Bytes>);

impl Loading for LoadingLines {
    const KEY_END: &'static [u8] = &[2];
    type Loaded = Vec<Bytes>;

    fn take(&mut self, _key: &[u8], value: &[u8]) -> io::Result<()> {
        self.0.push(Bytes::copy_from_slice(value));
        Ok(())
    }

    fn complete(self) -> Vec<Bytes> {
        self.0
    }
}

struct Door(Inbox);

impl Service for Door {
    fn handle(&self, from: NodeId, service: u8, body: Bytes, reply: Reply) {
        if let Some((_, reply)) = self.0.handle(from, service, body, reply) {
            reply.refuse("only Raft here");
        }
    }
    fn lost(&self, peer: NodeId) {
        self.0.lost(peer);
    }
}

struct Node {
    id: NodeId,
    group: Arc<RunningGroup<Lines>>,
    log: Log,
    _rpc: Rpc,
}

const GROUP: u32 = 1;

async fn start(network: &SimulatedNetwork, disk: &SimulatedDisk, id: u64, snapshot_entries: u64) -> Node {
    let id = NodeId(id);
    let seams = Arc::new(Virtual::start());
    let env = Env {
        clock: seams.clone(),
        disk: Arc::new(disk.clone()),
        spawn: seams.clone(),
        random: seams,
        plants: Plants::default(),
    };
    let options = LogOptions { segment_bytes: 256 << 10, log_bytes_max: 8 << 20, ..LogOptions::new("/log") };
    let on_fatal = Arc::new(|failure| panic!("{failure}"));
    let log = Log::open(&env, options, on_fatal).await.expect("a log");
    let rpc = Rpc::new(env.clone(), Arc::new(network.node(id)), RpcOptions::default());
    let door = Arc::new(Door(Inbox::default()));
    rpc.serve(door.clone());
    network.attach(id, Some(rpc.receiver()));
    let engine = Arc::new(FileEngine::open(env.disk.clone(), "/engine".as_ref()).expect("an engine"));
    let options =
        GroupOptions { snapshot_entries, keep_entries: 5, log_room_bytes_min: 64 << 10, ..GroupOptions::default() };
    let (log_of_group, snapshots) = (log.clone(), "/snapshots".into());
    let parts =
        GroupParts { node: id, group: GROUP, log: log_of_group, rpc: rpc.clone(), env, engine, snapshots, options };
    let group = RunningGroup::start(parts, Arc::new(Lines::default()), &door.0).await.expect("a group");
    Node { id, group, log, _rpc: rpc }
}

impl Node {
    async fn stop(self, network: &SimulatedNetwork) {
        network.attach(self.id, None);
        self.group.raft().shutdown().await.expect("a clean end");
        self.log.close().await;
    }

    fn lines(&self) -> Vec<Bytes> {
        self.group.machine().0.lock().clone()
    }
}

fn line(number: u64) -> Proposal {
    Proposal(Bytes::from(number.to_be_bytes().to_vec()))
}

/// Proposes at whoever leads until it is applied there.
async fn write(nodes: &[Node], number: u64) -> usize {
    for _ in 0..10_000 {
        for (position, node) in nodes.iter().enumerate() {
            if node.group.raft().is_leader() {
                let proposed = tokio::time::timeout(Duration::from_secs(1), node.group.propose(line(number))).await;
                if let Ok(Ok(Some(_))) = proposed {
                    return position;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no leader took line {number} in 100 s of virtual time");
}

async fn all_have(nodes: &[Node], number: u64) {
    for _ in 0..10_000 {
        if nodes.iter().all(|node| node.lines().last() == Some(&line(number).0)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not all replicas came to have line {number}");
}

async fn three(seed: u64, snapshot_entries: u64) -> (SimulatedNetwork, Vec<SimulatedDisk>, Vec<Node>) {
    simulate(seed);
    let network = SimulatedNetwork::default();
    let disks: Vec<_> = (1..=3).map(|id| SimulatedDisk::new(seed * 10 + id)).collect();
    let mut nodes = Vec::new();
    for (id, disk) in (1..).zip(&disks) {
        nodes.push(start(&network, disk, id, snapshot_entries).await);
    }
    for node in &nodes {
        node.group.found((1..=3).map(NodeId)).await.expect("founded");
    }
    (network, disks, nodes)
}

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_survives_the_loss_of_the_leader() {
    let (network, disks, mut nodes) = three(1, 1000).await;
    for number in 0..20 {
        write(&nodes, number).await;
    }
    let leader = write(&nodes, 20).await;
    let lost = nodes.remove(leader);
    let id = lost.id;
    lost.stop(&network).await;
    let started = tokio::time::Instant::now();
    let new_leader = write(&nodes, 21).await;
    assert!(started.elapsed() < Duration::from_secs(3), "took {:?}", started.elapsed());
    assert!(nodes[new_leader].group.confirm_read().await.expect("a running group"));
    assert_eq!(nodes[new_leader].lines(), (0..=21).map(|number| line(number).0).collect::<Vec<_>>());
    nodes.push(start(&network, &disks[id.0 as usize - 1], id.0, 1000).await);
    write(&nodes, 22).await;
    all_have(&nodes, 22).await;
    assert_eq!(nodes[2].lines(), nodes[0].lines());
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_away_for_long_is_caught_up_by_snapshot() {
    let (network, disks, mut nodes) = three(2, 20).await;
    write(&nodes, 0).await;
    let away = nodes.remove(2);
    away.stop(&network).await;
    for number in 1..=200 {
        write(&nodes, number).await;
    }
    nodes.push(start(&network, &disks[2], 3, 20).await);
    write(&nodes, 201).await;
    all_have(&nodes, 201).await;
    assert_eq!(nodes[2].lines(), nodes[0].lines());
    let purged = nodes.iter().any(|node| node.log.group(GROUP).state().first_index > Some(100));
    assert!(purged, "the log was never purged: nothing was shown");
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_its_quorum_confirms_no_read() {
    let (network, _disks, nodes) = three(3, 1000).await;
    let leader = write(&nodes, 0).await;
    let id = nodes[leader].id;
    for other in nodes.iter().filter(|node| node.id != id) {
        network.cut(id, other.id, true);
        network.cut(other.id, id, true);
    }
    let confirmed = tokio::time::timeout(Duration::from_secs(5), nodes[leader].group.confirm_read()).await;
    assert!(!matches!(confirmed, Ok(Ok(true))), "{confirmed:?}");
    network.heal();
    write(&nodes, 1).await;
    all_have(&nodes, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_vote_confirms_reads_until_it_is_given_to_another() {
    let (network, _disks, nodes) = three(4, 1000).await;
    let old = write(&nodes, 0).await;
    all_have(&nodes, 0).await;
    let other = (old + 1) % 3;
    let [leader, voter] = [old, other].map(|position| &nodes[position]);
    let vote = voter.group.vote().expect("a vote");
    assert!(leader.group.is_confirmed_by(voter.id, &vote));
    assert!(!leader.group.is_confirmed_by(leader.id, &vote), "one voice counts once");
    assert!(!leader.group.is_confirmed_by(NodeId(9), &vote), "a stranger has no voice");
    assert!(!leader.group.is_confirmed_by(voter.id, &[]), "nothing is no vote");
    assert!(!voter.group.is_confirmed_by(leader.id, &vote), "who does not lead is not confirmed");
    for position in (0..3).filter(|position| *position != old) {
        network.cut(leader.id, nodes[position].id, true);
        network.cut(nodes[position].id, leader.id, true);
    }
    let new = write(&nodes, 1).await;
    assert_ne!(new, old);
    let vote = voter.group.vote().expect("a vote");
    assert!(!leader.group.is_confirmed_by(voter.id, &vote), "it was given to another");
    network.heal();
    all_have(&nodes, 1).await;
}

#[tokio::test(start_paused = true)]
async fn followers_of_an_idle_group_hear_of_a_commit_before_the_next_heartbeat() {
    let (_network, _disks, nodes) = three(5, 1000).await;
    write(&nodes, 0).await;
    all_have(&nodes, 0).await;
    write(&nodes, 1).await;
    let committed = tokio::time::Instant::now();
    all_have(&nodes, 1).await;
    assert!(committed.elapsed() < GroupOptions::default().heartbeat / 2, "took {:?}", committed.elapsed());
}
