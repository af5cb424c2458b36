//! The quiet before and after the faults: sessions are made and copied everywhere, and later all copies have to be equal again.

use super::{
    Records, Regions, faults,
    workload::{Nature, Session, rules},
};
use crate::sim::{faults as region_faults, world::World};
use rand::rngs::StdRng;
use sojourn_core::{Body, Command, Condition, Expiry, Life, Op, Record, Request, Stamp};
use sojourn_node::region::backend::Backend;
use std::{sync::Arc, time::Duration};

/// How long a world may take to begin, in virtual time.
const BEGIN_WITHIN: Duration = Duration::from_secs(40);

/// How long after the heal and the last write copies may differ, in virtual time.
const CONVERGED_WITHIN: Duration = Duration::from_secs(30);

/// How often copies are compared.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Makes the sessions that there are in the beginning, and waits until every region has them. Returns whether all went well.
pub async fn begin(regions: &Arc<Regions>) -> bool {
    let beginning = async {
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
        let what = format!("no world within {BEGIN_WITHIN:?}: {}", difference(regions).unwrap_or_default());
        regions.history.ledger.violation("progress", what);
    }
    begun
}

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

/// Waits until all replicas of every region are level and all regions have the same.
pub async fn converge(regions: &Arc<Regions>) {
    let converging = async {
        while regions.all.iter().any(|world| !world.is_level()) || difference(regions).is_some() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if tokio::time::timeout(CONVERGED_WITHIN, converging).await.is_err() {
        let what = match regions.all.iter().find(|world| !world.is_level()) {
            Some(world) => format!("the replicas of {} are not level", world.seat.name),
            None => difference(regions).unwrap_or_else(|| "restless".to_owned()),
        };
        let text = format!("copies are not equal {CONVERGED_WITHIN:?} after the heal: {what}");
        regions.history.ledger.violation("converged", text);
    }
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
        let holders = world.holders(shard).into_iter();
        let latest = holders.max_by_key(|number| world.ledger.with(|book| book.next(*number, shard.0 + 1)))?;
        let sessions = world.running(latest)?.node.sessions(shard)?;
        sessions.audit(|state| {
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
