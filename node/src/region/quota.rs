//! A namespace's limits on how many sessions it holds and how large they are together.
//!
//! Counting is a read of all shards, so it is done in the background at most once a second while something is written: a
//! limit is met within what one second creates.

use super::backend::{Backend, Read, Topology};
use parking_lot::Mutex;
use sojourn_core::{Answer, NamespaceId, Query, ShardId, policy::Policy, query::Filter};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

/// How old a count may be.
const COUNT_AGE_MAX: Duration = Duration::from_secs(1);

/// What namespaces with limits hold.
#[derive(Debug, Default)]
pub struct Quota(Mutex<HashMap<NamespaceId, Total>>);

#[derive(Debug, Default)]
struct Total {
    sessions: u64,
    bytes: u64,
    read_at: Option<Instant>,
    counting: bool,
}

impl Quota {
    /// Whether nothing may be created in the namespace.
    pub fn is_full(self: &Arc<Self>, backend: &Arc<dyn Backend>, namespace: NamespaceId, policy: &Policy) -> bool {
        if policy.sessions_max == 0 && policy.bytes_max == 0 {
            return false;
        }
        let mut totals = self.0.lock();
        let total = totals.entry(namespace).or_default();
        if !total.counting && total.read_at.is_none_or(|at| at.elapsed() >= COUNT_AGE_MAX) {
            total.counting = true;
            tokio::spawn(count(Arc::clone(self), Arc::clone(backend), namespace));
        }
        policy.sessions_max > 0 && total.sessions >= policy.sessions_max
            || policy.bytes_max > 0 && total.bytes >= policy.bytes_max
    }
}

/// A read of `query` from every shard.
pub fn of_all_shards(backend: &Arc<dyn Backend>, query: &Query) -> Vec<Read> {
    let shards = shards(&backend.topology());
    shards.into_iter().map(|shard| Read { shard: Some(shard), query: query.clone() }).collect()
}

/// All shards that hold a slot.
pub fn shards(topology: &Topology) -> BTreeSet<ShardId> {
    topology.slots().shards().chunk_by(|a, b| a == b).filter_map(|run| run.first()).copied().collect()
}

async fn count(quota: Arc<Quota>, backend: Arc<dyn Backend>, namespace: NamespaceId) {
    let query = Query::Count { namespace, filter: Filter::default() };
    let answers = backend.read(of_all_shards(&backend, &query)).await;
    let mut sum = Some((0, 0));
    for answer in answers {
        sum = match (sum, answer) {
            (Some((all, all_bytes)), Ok(Answer::Total { sessions, bytes })) => {
                Some((all + sessions, all_bytes + bytes))
            }
            _ => None,
        };
    }
    let mut totals = quota.0.lock();
    let total = totals.entry(namespace).or_default();
    total.counting = false;
    total.read_at = Some(Instant::now());
    if let Some((sessions, bytes)) = sum {
        (total.sessions, total.bytes) = (sessions, bytes);
    }
}
