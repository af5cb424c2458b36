//! Renames between shards: carries a session from the log of one to that of the other.
//!
//! Whoever asked carries it as far as it gets; what a crash left, the leader of the old id's shard finds and goes on with.
//! Every step may be repeated: see `sojourn_core::state::moves`.

use super::{
    backend::{Backend, Read, Unavailable},
    node::{Inner, RegionNode},
};
use crate::raft::spawn;
use sojourn_core::{
    Answer, Command, Key, Op, Outcome, Projection, Query, Refusal, Request, Rules, Stamp, Version, command::MoveStep,
    state::Departure,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::time::Instant;

/// How often a leader looks for sessions that were left on their way.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long whoever asked may take before the leader goes on by itself. By the time that passes here: stamps stand still where a
/// wall clock went back.
const LEFT_AFTER: Duration = Duration::from_secs(10);

/// Sessions that one look goes on with.
const RESUMED_MAX: usize = 64;

/// Gives a session an id in another shard. Answers as [`Op::Rename`] does. Without an answer it may have happened, or will
/// by and by.
///
/// # Errors
/// A shard does not answer.
pub async fn rename(
    backend: &Arc<dyn Backend>,
    rules: Rules,
    from: Key,
    to: Key,
    replace: bool,
) -> Result<Outcome, Unavailable> {
    if !replace && lives(backend, &to).await? {
        return Ok(if lives(backend, &from).await? { Outcome::Count(0) } else { Outcome::Refused(Refusal::Missing) });
    }
    let depart = MoveStep::Depart { to: to.clone(), replace };
    match step(backend, rules, &from, depart).await? {
        Outcome::Record(Some(view)) => {
            let (version, arriving) = (view.version, MoveStep::Arrive { from: from.clone(), replace, view });
            let outcome = step(backend, rules, &to, arriving).await?;
            settle(backend, rules, &from, version, &outcome).await?;
            let backend = backend.clone();
            // The leader puts away what this does not.
            drop(spawn(async move { put_away(&backend, rules, &from, &to, version).await }));
            Ok(outcome)
        }
        other => Ok(other),
    }
}

/// Drops the body, or gives it back to the old id.
async fn settle(
    backend: &Arc<dyn Backend>,
    rules: Rules,
    from: &Key,
    version: Version,
    outcome: &Outcome,
) -> Result<(), Unavailable> {
    let arrived = *outcome == Outcome::Count(1);
    step(backend, rules, from, MoveStep::Settle { version, arrived }).await.map(drop)
}

/// Removes the notes of a settled move: first that of the arrival, for which the other stands.
async fn put_away(
    backend: &Arc<dyn Backend>,
    rules: Rules,
    from: &Key,
    to: &Key,
    version: Version,
) -> Result<(), Unavailable> {
    step(backend, rules, to, MoveStep::Forget { from: from.clone(), version }).await?;
    step(backend, rules, from, MoveStep::Close { version }).await.map(drop)
}

/// Goes on with a session that was left on its way.
async fn resume(backend: &Arc<dyn Backend>, from: Key, departure: Departure) -> Result<(), Unavailable> {
    let Departure { to, replace, rules, version, view, .. } = departure;
    if let Some(view) = view {
        let outcome = step(backend, rules, &to, MoveStep::Arrive { from: from.clone(), replace, view }).await?;
        settle(backend, rules, &from, version, &outcome).await?;
    }
    put_away(backend, rules, &from, &to, version).await
}

/// Looks for sessions that were left on their way, at the shards that this node leads.
pub(super) async fn run_moves(node: Weak<Inner>) {
    // When each was first seen on its way; as many as one look finds.
    let mut seen: BTreeMap<(Key, Version), Instant> = BTreeMap::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(inner) = node.upgrade() else { return };
        if inner.env.plants.rename_is_not_resumed {
            return;
        }
        let shards = inner.shards.all().into_iter().map(|(_, shard)| shard).filter(|shard| shard.leads());
        let found: Vec<_> =
            shards.flat_map(|shard| shard.group.machine().departures(Stamp::MAX, RESUMED_MAX)).collect();
        let now = Instant::now();
        let name = |(from, departure): &(Key, Departure)| (from.clone(), departure.version);
        let since = |name: (Key, Version)| (seen.get(&name).copied().unwrap_or(now), name);
        seen = found.iter().map(name).map(since).map(|(at, name)| (name, at)).collect();
        let is_left = |one: &(Key, Departure)| seen.get(&name(one)).is_some_and(|at| now >= *at + LEFT_AFTER);
        let left: Vec<_> = found.into_iter().filter(is_left).collect();
        let backend: Arc<dyn Backend> = Arc::new(RegionNode { inner });
        for (from, departure) in left {
            // What does not get through is found again.
            let _later = resume(&backend, from, departure).await;
        }
    }
}

async fn lives(backend: &Arc<dyn Backend>, key: &Key) -> Result<bool, Unavailable> {
    let query = Query::Get { key: key.clone(), projection: Projection::Summary };
    let answer = backend.read(vec![Read { shard: None, query }]).await.pop();
    answer.unwrap_or(Err(Unavailable::Loading)).map(|answer| answer != Answer::Record(None))
}

async fn step(backend: &Arc<dyn Backend>, rules: Rules, key: &Key, step: MoveStep) -> Result<Outcome, Unavailable> {
    let (request, key) = (Request::default(), key.clone());
    let command = Command { request, key, rules, touched: None, op: Op::Move { step } };
    backend.write(vec![command]).await.pop().unwrap_or(Err(Unavailable::Loading))
}
