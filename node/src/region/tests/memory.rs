//! A region of three nodes whose sessions do not fit in memory, over real engines and logs.

use super::super::{
    NodeOptions, RegionNode,
    backend::{Backend, Read},
};
use crate::{
    engine::{EngineKind, StorageOptions},
    env::{RealEnv, memory_bytes},
    log::{Log, LogOptions},
    peers::{Rpc, RpcOptions, simulated::SimulatedNetwork},
    raft::GroupOptions,
    shard::ProposerOptions,
};
use sojourn_core::{
    Answer, Body, Command, Expiry, Fields, Key, Kind, NamespaceId, NodeId, Op, Outcome, Projection, Query, Refusal,
    RegionId, Request, ShardId,
    command::ExpireCondition,
    feed::{FeedBounds, Followed},
    policy::Policy,
    region::{Addresses, Member},
};
use std::{path::Path, process, time::Duration};

const NODES: u64 = 3;

/// What the fields of one node's sessions may take.
const MEMORY_BYTES_MAX: u64 = 24 << 20;

/// Fields of one session: two values of noise.
const VALUE_BYTES: usize = 16_000;

/// Five times the bound.
const SESSIONS: u64 = 5 * MEMORY_BYTES_MAX / (2 * VALUE_BYTES as u64);

/// What a node may hold beyond the bound while the engine catches up, besides the rounding of what a field costs.
const SLACK_BYTES: u64 = MEMORY_BYTES_MAX / 4;

async fn start(network: &SimulatedNetwork, directory: &Path, id: NodeId, memory_bytes_max: u64) -> RegionNode {
    let env = RealEnv::current();
    let directory = directory.join(id.0.to_string());
    let log_options = LogOptions {
        segment_bytes: 16 << 20,
        segments_ahead: 1,
        cache_bytes_max: 1 << 20,
        ..LogOptions::new(directory.join("log"))
    };
    let log = Log::open(&env, log_options, std::sync::Arc::new(|failure| panic!("{failure}"))).await.expect("a log");
    let rpc = Rpc::new(env.clone(), std::sync::Arc::new(network.node(id)), RpcOptions::default());
    network.attach(id, Some(rpc.receiver()));
    let founders = (1..=NODES).map(|id| Member {
        id: NodeId(id),
        name: format!("na-{id}"),
        addresses: Addresses::default(),
        draining: false,
        disk: None,
    });
    let group = GroupOptions {
        // The machine that runs tests is busy.
        election_min: Duration::from_millis(1000),
        election_max: Duration::from_millis(2000),
        unsaved_bytes_max: 512 << 10,
        unsaved_age_max: Duration::from_millis(500),
        keep_entries: 1000,
        ..GroupOptions::default()
    };
    let storage = StorageOptions { kind: EngineKind::Fjall, directory: directory.join("engine"), memory_bytes_max };
    let options = NodeOptions {
        world: 1,
        region: RegionId(0),
        region_name: "na".to_owned(),
        coordinates: None,
        node: id,
        disk: u128::from(id.0),
        addresses: Addresses::default(),
        founder: true,
        founders: founders.collect(),
        mint_key: None,
        shard_count: 2,
        replicas: 3,
        storage,
        snapshots: directory.join("snapshots"),
        group,
        proposer: ProposerOptions::default(),
    };
    RegionNode::start(env, log, rpc, options).await.expect("a node")
}

fn key(number: u64) -> Key {
    Key::new(NamespaceId(0), format!("sess:{number}").as_bytes()).expect("a good id")
}

fn noise(number: u64) -> Box<[u8]> {
    let mut word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let bytes = (0..VALUE_BYTES).map(|_| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word as u8
    });
    bytes.collect()
}

fn command(number: u64, op: Op) -> Command {
    let rules = Policy::default().rules(false);
    Command { request: Request::default(), key: key(number), rules, touched: None, op }
}

fn create(number: u64) -> Command {
    let fields = Fields::from_pairs([(b"a"[..].into(), noise(number)), (b"b"[..].into(), noise(number + 1))]);
    let op = Op::Create { kind: Kind::Hash, fields, expiry: Expiry::Default, absolute_deadline: None, owner: None };
    command(number, op)
}

fn patch(number: u64, text: &str) -> Command {
    let set = Fields::from_pairs([(b"c"[..].into(), text.as_bytes().into())]);
    command(number, Op::Patch { set, remove: Vec::new(), if_version: None, expiry: Expiry::Keep, owner: None })
}

/// How often a busy machine may fail to answer in time.
const TRIES: usize = 12;

async fn write(node: &RegionNode, commands: Vec<Command>) {
    for _ in 0..TRIES {
        let outcomes = node.write(commands.clone()).await;
        if outcomes.iter().any(Result::is_err) {
            continue;
        }
        for outcome in outcomes {
            // An earlier try may have created it.
            let written = matches!(
                outcome,
                Ok(Outcome::Written { .. } | Outcome::Refused(Refusal::Exists) | Outcome::Count(_) | Outcome::Nothing)
            );
            assert!(written, "{outcome:?}");
        }
        return;
    }
    panic!("the region does not answer");
}

async fn read(node: &RegionNode, number: u64) -> Answer {
    for _ in 0..TRIES {
        let answer = node.read(vec![Read { shard: None, query: get(number) }]).await.pop();
        if let Some(Ok(answer)) = answer {
            return answer;
        }
    }
    panic!("the region does not answer");
}

fn get(number: u64) -> Query {
    Query::Get { key: key(number), projection: Projection::Whole }
}

/// Checks that the sessions are whole, and have been patched with `text` if there was one.
fn check(number: u64, answer: &Answer, text: Option<&str>) {
    let Answer::Record(Some(view)) = answer else { panic!("session {number}: {answer:?}") };
    assert_eq!(view.fields.get(b"a"), Some(&*noise(number)));
    assert_eq!(view.fields.get(b"b"), Some(&*noise(number + 1)));
    assert_eq!(view.fields.get(b"c"), text.map(str::as_bytes));
}

/// Asks replicas themselves, whoever leads.
async fn check_replica(node: &RegionNode, number: u64, text: Option<&str>) {
    let shard = node.topology().slots().shard(key(number).slot());
    let sessions = node.sessions(shard).expect("a replica");
    let (answer, _) = sessions.query(node.now_ms(), &get(number)).await.expect("read");
    check(number, &answer, text);
}

/// A session that gets another deadline while its fields are on disk only is told with them.
async fn followers_are_told_whole_sessions(node: &RegionNode) {
    let bounds = FeedBounds { entries_max: 100, bytes_max: 1 << 20 };
    let cold = |number: &u64| {
        let sessions = node.sessions(node.topology().slots().shard(key(*number).slot())).expect("a replica");
        sessions.record(&key(*number)).expect("a session").is_cold()
    };
    let number = (0..SESSIONS).find(cold).expect("most are on disk only");
    let sessions = node.sessions(node.topology().slots().shard(key(number).slot())).expect("a replica");
    let cursor = sessions.feed_end();
    let expiry = Expiry::After { ms: 3_600_000 };
    write(node, vec![command(number, Op::SetExpiry { expiry, condition: ExpireCondition::Always })]).await;
    let record = loop {
        let fed = sessions.fed();
        tokio::pin!(fed);
        fed.as_mut().enable();
        let Followed::Changes { entries, .. } = sessions.follow(cursor, bounds).await.expect("followed") else {
            panic!("the cursor is of this moment")
        };
        let mut effects = entries.into_iter().flat_map(|entry| entry.effects);
        match effects.find(|effect| effect.key == key(number)) {
            Some(effect) => break effect.record,
            // This replica applies it a moment later than the leader.
            None => fed.await,
        }
    };
    assert!(
        matches!(&record.body, Body::Hot(fields) if fields.get(b"a") == Some(&*noise(number))),
        "without its fields"
    );
}

fn hot_bytes(node: &RegionNode) -> u64 {
    (0..2).map(|shard| node.sessions(ShardId(shard)).expect("a replica").hot_bytes()).sum()
}

/// In a process of its own: what is resident is a process's, and other tests would be counted in.
#[test]
fn five_times_the_memory_is_held_read_and_patched_on_every_node() {
    let (_crate, module) = module_path!().split_once("::").expect("a module of a crate");
    let mut alone = process::Command::new(std::env::current_exe().expect("this program"));
    let ran = alone.args(["--ignored", "--exact", &format!("{module}::five_times_the_memory_alone")]).output();
    let ran = ran.expect("it starts");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&ran.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the test above runs it in a process of its own"]
async fn five_times_the_memory_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let network = SimulatedNetwork::default();
    let mut nodes = Vec::new();
    for id in (1..=NODES).map(NodeId) {
        nodes.push(start(&network, directory.path(), id, MEMORY_BYTES_MAX).await);
    }
    for node in &nodes {
        node.until_ready().await;
    }
    let resident = memory_bytes();
    for batch in (0..SESSIONS).collect::<Vec<_>>().chunks(16) {
        write(&nodes[0], batch.iter().map(|number| create(*number)).collect()).await;
    }
    let odd = |number: &u64| number % 7 == 1;
    for batch in (0..SESSIONS).filter(odd).collect::<Vec<_>>().chunks(16) {
        write(&nodes[0], batch.iter().map(|number| patch(*number, "patched")).collect()).await;
    }
    let text = |number: u64| odd(&number).then_some("patched");
    for number in (0..SESSIONS).step_by(5) {
        check(number, &read(&nodes[1], number).await, text(number));
    }
    let all_hot = SESSIONS * 2 * VALUE_BYTES as u64;
    for node in &nodes {
        let settled = async {
            while hot_bytes(node) > MEMORY_BYTES_MAX + SLACK_BYTES {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), settled).await.expect("within the bound");
        for number in (0..SESSIONS).step_by(3) {
            check_replica(node, number, text(number)).await;
        }
        assert!(hot_bytes(node) <= MEMORY_BYTES_MAX + SLACK_BYTES);
    }
    followers_are_told_whole_sessions(&nodes[0]).await;
    let grown = memory_bytes().saturating_sub(resident);
    assert!(grown < NODES * all_hot * 3 / 4, "{grown} bytes more are resident, all fields are {all_hot} on each node");

    // A node that comes back has it all from its engine and the rest of the log.
    let stopped = nodes.remove(2);
    network.attach(NodeId(3), None);
    stopped.shut_down().await;
    drop(stopped);
    write(&nodes[0], vec![patch(2, "while it was away")]).await;
    let back = start(&network, directory.path(), NodeId(3), MEMORY_BYTES_MAX).await;
    let caught_up = async {
        loop {
            let shard = back.topology().slots().shard(key(2).slot());
            let sessions = back.sessions(shard).expect("a replica");
            let (answer, _) = sessions.query(back.now_ms(), &get(2)).await.expect("read");
            if matches!(&answer, Answer::Record(Some(view)) if view.fields.get(b"c").is_some()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), caught_up).await.expect("it catches up");
    for number in (0..SESSIONS).step_by(11).filter(|number| *number != 2) {
        check_replica(&back, number, text(number)).await;
    }
    nodes.push(back);
    for node in nodes {
        node.shut_down().await;
    }
}

/// Sessions that change together, while each of them is read.
const TOGETHER: u64 = 8;

/// Their sessions are the first; the others push them out of what replicas keep for those who follow them.
const ROUNDS: u64 = 4;
const OTHERS: u64 = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_needed_is_admitted_though_not_one_session_may_stay_in_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let network = SimulatedNetwork::default();
    let mut nodes = Vec::new();
    for id in (1..=NODES).map(NodeId) {
        nodes.push(start(&network, directory.path(), id, 1).await);
    }
    for node in &nodes {
        node.until_ready().await;
    }
    for batch in (0..ROUNDS * TOGETHER + OTHERS).collect::<Vec<_>>().chunks(16) {
        write(&nodes[0], batch.iter().map(|number| create(*number)).collect()).await;
    }
    let is_cold = |node: &RegionNode, number: u64| {
        let shard = node.topology().slots().shard(key(number).slot());
        node.sessions(shard).expect("a replica").record(&key(number)).is_some_and(|record| record.is_cold())
    };
    let cold = async {
        while !nodes.iter().all(|node| (0..ROUNDS * TOGETHER).all(|number| is_cold(node, number))) {
            // Room is made when something is applied.
            write(&nodes[0], (0..16).map(|number| command(1_000_000 + number, Op::Destroy)).collect()).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), cold).await.expect("all go cold");
    for round in 0..ROUNDS {
        let together = round * TOGETHER..(round + 1) * TOGETHER;
        let patches = together.clone().map(|number| patch(number, "patched")).collect();
        let reads = together.clone().map(|number| read(&nodes[1], number));
        let both = async { tokio::join!(write(&nodes[2], patches), futures::future::join_all(reads)) };
        tokio::time::timeout(Duration::from_secs(60), both).await.expect("nobody waits for room for ever");
        for number in together {
            check(number, &read(&nodes[0], number).await, Some("patched"));
        }
    }
    for node in nodes {
        node.shut_down().await;
    }
}
