//! The quiet before and after the faults: sessions are made and copied everywhere, and later all copies have to be equal again.

use super::{
    Records, Regions, faults, person,
    workload::{Nature, Session, rules},
};
use crate::sim::{faults as region_faults, plan::Losses, world::World};
use rand::rngs::StdRng;
use sojourn_core::{
    Body, Command, Condition, Expiry, Life, NamespaceId, Op, Record, Request, ShardId, Stamp,
    control::{ControlCommand, Residency, WorldPolicy},
    policy::Policy,
    region::RegionState,
};
use sojourn_node::{region::backend::Backend, shard::Sessions, world::control::Agreement};
use std::{sync::Arc, time::Duration};

/// How long a world may take to begin, in virtual time.
const BEGIN_WITHIN: Duration = Duration::from_secs(40);

/// How long after the heal and the last write copies may differ, in virtual time.
const CONVERGED_WITHIN: Duration = Duration::from_secs(30);

/// How long after the heal regions may be away that others act for, in virtual time.
const HOMES_SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// How often copies are compared.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Makes the sessions that there are in the beginning, and waits until every region has them. Returns whether all went well.
pub async fn begin(regions: &Arc<Regions>) -> bool {
    let beginning = async {
        let waits = regions.plan.losses() != Losses::Unmet && !regions.plan.loses_early();
        while waits && person::unmet(regions).is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        while regions.plan.waits_for_others() && !wait_for_others(regions).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for session in regions.catalog.all() {
            if let Some(home) = session.home {
                while !make(&regions.all[home], &session).await {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        while difference(regions).is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let begun = tokio::time::timeout(BEGIN_WITHIN, beginning).await.is_ok();
    if !begun {
        let unmet = person::unmet(regions).filter(|_| regions.plan.losses() != Losses::Unmet);
        let what = unmet.or_else(|| difference(regions)).unwrap_or_else(|| "sessions are not made".to_owned());
        let what = format!("no world within {BEGIN_WITHIN:?}: {what}");
        regions.history.ledger.violation("progress", what);
    }
    begun
}

/// Has all writes wait for another region; whether every node knows that they do.
async fn wait_for_others(regions: &Regions) -> bool {
    let waits = |region: &RegionState| {
        region.namespaces.get(&NamespaceId(0)).is_some_and(|namespace| namespace.policy.ack_regions == ACK_REGIONS)
    };
    let nodes = regions.all.iter().flat_map(|world| (0..world.machines.len()).map(|machine| world.running(machine)));
    if nodes.flatten().all(|running| waits(&running.node.region())) {
        return true;
    }
    let Some(running) = regions.all[0].running(0) else { return false };
    let (Some(control), Some(known)) =
        (running.control.clone(), running.node.region().namespaces.get(&NamespaceId(0)).cloned())
    else {
        return false;
    };
    let policy = Policy { ack_regions: ACK_REGIONS, ..known.policy };
    let policy = Box::new(WorldPolicy { policy, residency: Residency::Anywhere });
    let command = ControlCommand::SetNamespace { name: known.name, over: None, policy };
    // What was not agreed on is tried again.
    let _agreed = running.life.spawn(async move { control.propose(command).await }).await;
    false
}

/// For how many regions writes wait, where they do.
const ACK_REGIONS: u16 = 1;

async fn make(world: &Arc<World>, session: &Session) -> bool {
    let Some(running) = world.running(0) else { return false };
    let op = match session.nature {
        Nature::Counter => Op::Set {
            value: Box::from(&b"0"[..]),
            expiry: Expiry::Never,
            condition: Condition::IfAbsent,
            get: false,
            owner: None,
        },
        Nature::Register | Nature::Minted | Nature::Fresh | Nature::Owned | Nature::Contested | Nature::Brief => {
            Op::Set {
                value: Box::default(),
                expiry: Expiry::Never,
                condition: Condition::Always,
                get: false,
                owner: None,
            }
        }
    };
    let (key, rules) = (session.key.clone(), rules(session.nature));
    let command = Command { request: Request::default(), key, rules, touched: None, op };
    let node = running.node.clone();
    let written = running.life.spawn(async move { node.write(vec![command]).await }).await;
    written.is_ok_and(|results| results.iter().all(Result::is_ok))
}

/// Takes all faults back and starts what is down.
pub async fn heal(regions: &Arc<Regions>, rng: &mut StdRng) {
    faults::calm(regions, rng);
    for world in &regions.all {
        region_faults::calm(world);
        for machine in 0..world.machines.len() {
            world.disk(machine).set_capacity_bytes(u64::MAX);
            world.start(machine).await;
        }
    }
}

/// Waits until every region acts for itself again.
pub async fn settle_homes(regions: &Arc<Regions>) {
    let settling = async {
        while !person::is_content(regions) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if tokio::time::timeout(HOMES_SETTLED_WITHIN, settling).await.is_err() {
        let what = person::discontent(regions).unwrap_or_default();
        let text = format!("not every region acts for itself {HOMES_SETTLED_WITHIN:?} after the heal: {what}");
        regions.history.ledger.violation("progress", text);
    }
}

/// Waits until all replicas of every region are level and all regions have the same.
pub async fn converge(regions: &Arc<Regions>) {
    let converging = async {
        while regions.all.iter().any(|world| !world.is_level()) || differing(regions).is_some() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let differing = || differing(regions);
    if tokio::time::timeout(CONVERGED_WITHIN, converging).await.is_err() {
        let what = match regions.all.iter().find(|world| !world.is_level()) {
            Some(world) => format!("the replicas of {} are not level", world.seat.name),
            None => differing().unwrap_or_else(|| "restless".to_owned()),
        };
        let text = format!("copies are not equal {CONVERGED_WITHIN:?} after the heal: {what}");
        regions.history.ledger.violation("converged", text);
    }
}

/// What regions do not have alike, or do not know that they have, or still move, in words.
fn differing(regions: &Regions) -> Option<String> {
    let restless = |world: &World| behind(world).or_else(|| moving(world));
    difference(regions).or_else(|| regions.all.iter().find_map(|world| restless(world)))
}

/// Slots of a region that are on their way, in words.
fn moving(world: &World) -> Option<String> {
    let region = world.region()?;
    let (number, wanted) = region.slot_moves.current()?;
    Some(format!("move {number} of {} does not end: {wanted:?}", world.seat.name))
}

/// A shard of a region that may lack something in slots that came to it, in words.
fn behind(world: &World) -> Option<String> {
    world.shards().into_iter().find_map(|shard| {
        let (behind, _) = latest(world, shard)?.audit(|state| state.lags_behind().next())?;
        Some(format!("{shard:?} of {} does not know that it has what region {} told", world.seat.name, behind.0))
    })
}

/// The replica of a shard that has applied most, if it runs.
fn latest(world: &World, shard: ShardId) -> Option<Arc<Sessions>> {
    let holders = world.holders(shard).into_iter();
    let latest = holders.max_by_key(|number| world.ledger.with(|book| book.next(*number, shard.0 + 1)))?;
    world.running(latest)?.node.sessions(shard)
}

/// What regions do not have alike, in words.
pub fn difference(regions: &Regions) -> Option<String> {
    let pictures: Option<Vec<(Records, Stamp)>> = regions.all.iter().map(|world| picture(world)).collect();
    let Some(pictures) = pictures else { return Some("a region does not serve".to_owned()) };
    let (first, first_now) = pictures.first()?;
    for (number, (other, other_now)) in pictures.iter().enumerate().skip(1) {
        let now = *first_now.max(other_now);
        for key in first.keys().chain(other.keys()) {
            let (ours, theirs) = (first.get(key), other.get(key));
            if !alike(ours, theirs, now) {
                return Some(format!("{key:?}: {ours:?} in region 0, {theirs:?} in region {number}"));
            }
        }
    }
    None
}

/// Whether two regions have the same; a tombstone that is due may be gone in one of them.
fn alike(ours: Option<&Record>, theirs: Option<&Record>, now: Stamp) -> bool {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => ours == theirs,
        (Some(one), None) | (None, Some(one)) => {
            matches!(one.life, Life::Dead { collect_at, .. } if collect_at <= now + DUE_SLACK_MS)
        }
        (None, None) => true,
    }
}

/// How far the clocks of regions are apart at most.
const DUE_SLACK_MS: u64 = 120_000;

/// What a region has, by the replica of each shard that has applied most; none if a shard has no running replica.
fn picture(world: &World) -> Option<(Records, Stamp)> {
    let (mut records, mut now) = (Records::new(), 0);
    for shard in world.shards() {
        latest(world, shard)?.audit(|state| {
            now = now.max(state.last_stamp());
            records.extend(state.records(None).map(|(key, record)| (key.clone(), whole(record))));
        });
    }
    Some((records, now))
}

/// A record as it is compared: fields that are on disk only are compared by number and size.
fn whole(record: &Record) -> Record {
    record.with_body(Body::Cold { bytes: record.body_bytes(), field_count: record.field_count() })
}

/// The records of a region in the end.
pub fn records(world: &World) -> Records {
    picture(world).map(|(records, _)| records).unwrap_or_default()
}
