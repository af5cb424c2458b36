//! Ends sessions whose deadline has passed; a leader's task.

use super::{node::Inner, shards::Shard};
use crate::shard::{Bundle, NotProposed, expire};
use sojourn_core::{Key, Outcome, Stamp};
use std::{sync::Weak, time::Duration};

/// How often a leader looks for sessions whose deadline has passed.
const EXPIRE_EVERY: Duration = Duration::from_millis(200);

/// Ends sessions whose deadline has passed, gives away those of a region that is drained, and does what else falls due, at the
/// shards that this node leads.
pub(super) async fn run_expiry(node: Weak<Inner>) {
    loop {
        tokio::time::sleep(EXPIRE_EVERY).await;
        let Some(inner) = node.upgrade() else { return };
        for shard in inner.shards.all().into_iter().map(|(_, shard)| shard).filter(|shard| shard.leads()) {
            // What could not be proposed is still due the next time.
            while let Ok(true) = shard.proposer.tend().await {}
            inner.give_away(&shard);
        }
    }
}

impl Inner {
    /// A session that was hidden for its deadline is ended in the log before anybody is told, so that no later leader with a
    /// slower clock shows it again. Says whether it was: what was written before the deadline and logged since may have moved
    /// that on.
    pub(super) async fn log_expiry(&self, shard: &Shard, now: Stamp, key: &Key) -> Result<bool, NotProposed> {
        let Some(record) = shard.group.machine().record(key).filter(|record| record.deadline() <= now) else {
            return Ok(false);
        };
        let outcomes = shard.proposer.write(Bundle::new(&[expire(key.clone(), &record, now)])).await?;
        Ok(outcomes.first() == Some(&Outcome::Count(1)))
    }
}
