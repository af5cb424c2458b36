//! After the faults: waits until the operator is content, the region is where it wants to be, every shard takes writes through
//! every member, and nothing moves any more; then looks at all replicas at one moment.

use super::{
    faults,
    follower::Copies,
    operator,
    oracles::Views,
    workload::Cell,
    world::{self, Standing, World},
};
use sojourn_core::{Command, Expiry, Key, NodeId, Op, Projection, Query, Request, Stamp, placement};
use sojourn_node::{
    raft::GroupFigures,
    region::{
        backend::{Backend, Topology},
        status::GroupName,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::task::JoinHandle;

/// How long a healed region may take until it serves again and all its replicas are equal, in virtual time.
const HEAL_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a healed region may take to grant an operator's wishes, in virtual time.
const WISHES_TIMEOUT: Duration = Duration::from_secs(120);

/// Waits until the operator, if there is one, is content; says who should be a member then.
pub async fn content(world: &World, operator: Option<JoinHandle<BTreeSet<NodeId>>>) -> BTreeSet<NodeId> {
    let Some(operator) = operator else { return operator::founders(world) };
    match tokio::time::timeout(WISHES_TIMEOUT, operator).await {
        Ok(Ok(members)) => members,
        // An operator that panicked is a finding of its own.
        Ok(Err(_)) => BTreeSet::new(),
        Err(_) => {
            let text = format!("an operator's wish was not granted within {WISHES_TIMEOUT:?}: {}", state(world));
            world.ledger.violation("progress", text);
            BTreeSet::new()
        }
    }
}

/// Takes all faults back and starts what is down.
pub async fn heal(world: &Arc<World>) {
    faults::calm(world);
    for machine in 0..world.machines.len() {
        world.start(machine).await;
    }
}

/// What replicas answer once they are level, while nothing is applied: leaders go on by themselves, and what is judged has to
/// be of one moment.
pub async fn views_of_the_settled(
    world: &Arc<World>,
    cells: &[Cell],
    members: &BTreeSet<NodeId>,
    copies: &mut Copies,
) -> Views {
    for _ in 0..SETTLINGS_MAX {
        if !converges(world, cells, members).await {
            let state = misplaced(world, members).unwrap_or_else(|| state(world));
            let text = format!("not equal within {HEAL_TIMEOUT:?} after the heal: {state}");
            world.ledger.violation("progress", text);
            return views(world, cells).await;
        }
        let before = world.applied();
        let views = views(world, cells).await;
        if !copies.catch_up(world).await {
            world.ledger.violation("progress", format!("a follower does not catch up: {}", state(world)));
        }
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

/// Waits until replicas are where they should be, every shard takes a write through every node, and all replicas have applied
/// the same.
async fn converges(world: &Arc<World>, cells: &[Cell], members: &BTreeSet<NodeId>) -> bool {
    let converging = async {
        while misplaced(world, members).is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for machine in world.members() {
            for (number, cell) in cells.iter().enumerate() {
                while !writes(world, machine, number, cell).await {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        while !world.is_level() || is_anything_on_its_way(world) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(HEAL_TIMEOUT, converging).await.is_ok()
}

/// What keeps the region from having the members that it should have and nobody else running, and every group from having the
/// voters that these call for, no copies beside them, and a leader; nothing if it is there.
fn misplaced(world: &World, members: &BTreeSet<NodeId>) -> Option<String> {
    let Some(region) = world.region() else { return Some("nobody knows the region".to_owned()) };
    let all: BTreeSet<GroupName> = region.placement.keys().copied().collect();
    if region.members.keys().ne(members) {
        return Some(format!("its members are {:?}, wanted are {members:?}", region.members.keys()));
    }
    if let Some((number, wanted)) = region.slot_moves.current() {
        return Some(format!("move {number} is not over: {wanted:?}"));
    }
    if let Some((group, voters)) = placement::plan_place(&region, &all) {
        return Some(format!("group {group} should be moved to {voters:?}"));
    }
    let others = (0..world.machines.len()).filter(|number| !members.contains(&world.machines[*number].id));
    if let Some(other) = others.into_iter().find(|number| world.standing(*number) == Standing::Invited) {
        return Some(format!("node {other} is no member and has not heard of it"));
    }
    let running: Vec<_> = world.members().into_iter().filter_map(|number| world.running(number)).collect();
    let held: BTreeMap<NodeId, BTreeMap<GroupName, GroupFigures>> = running
        .iter()
        .map(|running| (running.node.topology().this_node, running.node.node_status().replicas))
        .collect();
    let mut groups = region.placement.iter();
    groups.find_map(|(group, voters)| {
        let copies: BTreeSet<NodeId> =
            held.iter().filter(|(_, replicas)| replicas.contains_key(group)).map(|(node, _)| *node).collect();
        let wanted = if *group == GroupName::System { members } else { voters };
        let mut views = held.iter().filter_map(|(node, replicas)| Some((node, replicas.get(group)?)));
        let leads = views.any(|(node, of)| {
            let learners = wanted.difference(voters);
            of.leader == Some(*node) && of.voters == *voters && !of.changing() && of.learners.iter().eq(learners)
        });
        let text = || format!("group {group} should be at {wanted:?} with the voters {voters:?}, and is at {copies:?}");
        (!leads || copies != *wanted).then(text)
    })
}

/// Whether a session is between two slots: the old id's shard has a note of it.
fn is_anything_on_its_way(world: &World) -> bool {
    let leaves = |shard, number: &usize| {
        let sessions = world.running(*number).and_then(|running| running.node.sessions(shard));
        sessions.is_some_and(|sessions| !sessions.departures(Stamp::MAX, 1).is_empty())
    };
    world::shards().any(|shard| world.holders(shard).iter().any(|number| leaves(shard, number)))
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
    let slots = world.slots();
    for key in cells.iter().flat_map(|cell| &cell.keys) {
        let shard = slots.shard(key.slot());
        for machine in world.holders(shard) {
            let Some(running) = world.running(machine) else { continue };
            let Some(sessions) = running.node.sessions(shard) else { continue };
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
        None => format!("node {number} is down ({:?})", world.standing(number)),
        Some(running) => {
            let topology: Arc<Topology> = running.node.topology();
            let room_bytes = running.node.log().room_bytes();
            let places = topology.shards.values().map(|place| (place.leader, place.term, place.applied, &place.voters));
            let places = places.collect::<Vec<_>>();
            format!("node {number} has {room_bytes} bytes of room; leader, term, applied and voters are {places:?}")
        }
    });
    nodes.collect::<Vec<_>>().join("; ")
}
