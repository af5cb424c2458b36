//! Ends sessions whose deadline has passed; a leader's task.

use super::{node::Inner, shards::Shard};
use crate::shard::{Bundle, NotProposed};
use sojourn_core::{Command, Key, Op, Request, Stamp, policy::Policy};
use std::{sync::Weak, time::Duration};

/// How often a leader looks for sessions whose deadline has passed, and how many it ends at once.
const EXPIRE_EVERY: Duration = Duration::from_millis(200);
const EXPIRE_COUNT_MAX: usize = 512;

/// Ends sessions whose deadline has passed, at the shards that this node leads.
pub(super) async fn run_expiry(node: Weak<Inner>) {
    loop {
        tokio::time::sleep(EXPIRE_EVERY).await;
        let Some(inner) = node.upgrade() else { return };
        let now = inner.now_ms();
        for shard in inner.shards.all().into_iter().map(|(_, shard)| shard).filter(|shard| shard.leads()) {
            let due = shard.group.machine().due(now, EXPIRE_COUNT_MAX);
            if !due.is_empty() {
                let commands: Vec<Command> =
                    due.into_iter().map(|(key, record)| expire(key, record.version, record.deadline())).collect();
                // What could not be proposed is still due the next time.
                let _later = shard.proposer.write(Bundle::new(&commands)).await;
            }
        }
    }
}

fn expire(key: Key, version: sojourn_core::Version, deadline: Stamp) -> Command {
    let rules = Policy::default().rules(false);
    Command { request: Request::default(), key, rules, touched: None, op: Op::Expire { version, deadline } }
}

impl Inner {
    /// A session that was hidden for its deadline is ended in the log before anybody is told, so that no later leader with a
    /// slower clock shows it again.
    pub(super) async fn log_expiry(&self, shard: &Shard, now: Stamp, keys: &[Key]) -> Result<(), NotProposed> {
        let records = keys.iter().filter_map(|key| Some((key, shard.group.machine().record(key)?)));
        let commands: Vec<Command> = records
            .filter(|(_, record)| record.deadline() <= now)
            .map(|(key, record)| expire(key.clone(), record.version, record.deadline()))
            .collect();
        if commands.is_empty() { Ok(()) } else { shard.proposer.write(Bundle::new(&commands)).await.map(drop) }
    }
}
