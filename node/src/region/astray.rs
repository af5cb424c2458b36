//! Requests that met a shard which does not serve their slot: they go where the slot is, or wait until it has arrived.
//!
//! A node routes by the slot table as it knows it, which may be old, and no table knows of a slot that is on its way. The
//! shards know: one that does not serve a slot changes nothing, and names the other one while it can.

use super::{
    RegionNode,
    abroad::Reach,
    backend::{Backend, REQUEST_TIMEOUT, Unavailable},
    moves::rename,
    node::Inner,
};
use sojourn_core::{Answer, Command, Key, Op, Outcome, Query, Refusal, ShardId, region::RegionState};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Before a slot that was served nowhere is asked for again: it is frozen for a few such times.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// The wait for one request's slots.
struct Patience {
    until: Instant,
    tries: u32,
}

impl Patience {
    fn new() -> Self {
        Self { until: Instant::now() + REQUEST_TIMEOUT, tries: 0 }
    }

    /// Waits a moment, but not before the first try: the shard that was named may serve by now.
    ///
    /// # Errors
    /// It took too long.
    async fn wait(&mut self, shard: ShardId) -> Result<(), Unavailable> {
        if Instant::now() >= self.until {
            let retry_after_ms = u64::try_from(ASK_AGAIN_AFTER.as_millis()).unwrap_or(u64::MAX);
            return Err(Unavailable::NoLeader { shard: shard.0, retry_after_ms });
        }
        if self.tries > 0 {
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
        }
        self.tries += 1;
        Ok(())
    }
}

/// Where a command goes next.
enum Way {
    To(ShardId),
    /// Its sessions are in several shards by now.
    Apart,
}

impl Inner {
    /// Has those of `commands` done elsewhere that `shard` does not serve, under the names that they have.
    pub(super) async fn write_astray(
        self: &Arc<Self>,
        (shard, reach): (ShardId, Reach),
        commands: &[Command],
        outcomes: &mut [Outcome],
    ) -> Result<(), Unavailable> {
        let mut patience = Patience::new();
        loop {
            let region = self.system.machine().now();
            let mut parts: BTreeMap<ShardId, Vec<usize>> = BTreeMap::new();
            for (at, command) in commands.iter().enumerate() {
                let Some(Outcome::Refused(Refusal::SlotMoved { to })) = outcomes.get(at) else { continue };
                match way(&region, command, *to) {
                    Way::To(shard) => parts.entry(shard).or_default().push(at),
                    Way::Apart => outcomes[at] = self.apart(command).await?,
                }
            }
            if parts.is_empty() {
                return Ok(());
            }
            patience.wait(shard).await?;
            for (shard, positions) in parts {
                let part: Vec<Command> = positions.iter().map(|at| commands[*at].clone()).collect();
                let written = self.write_named(shard, reach, &part).await?;
                for (at, outcome) in positions.into_iter().zip(written) {
                    outcomes[at] = outcome;
                }
            }
        }
    }

    /// Does what was meant for one shard when its sessions were in one.
    async fn apart(self: &Arc<Self>, command: &Command) -> Result<Outcome, Unavailable> {
        match &command.op {
            Op::Rename { to, replace } => {
                let backend: Arc<dyn Backend> = Arc::new(RegionNode { inner: self.clone() });
                let (from, to) = (command.key.clone(), to.clone());
                Box::pin(rename(&backend, command.rules, from, to, *replace)).await
            }
            _several => Ok(Outcome::Refused(Refusal::CrossSlot)),
        }
    }

    /// Asks elsewhere for what `shard` does not serve; a listing is told so, since whoever lists knows which slots it wants.
    pub(super) async fn read_astray(
        self: &Arc<Self>,
        shard: ShardId,
        queries: &[Query],
        answers: &mut [Answer],
    ) -> Result<(), Unavailable> {
        let mut patience = Patience::new();
        loop {
            let region = self.system.machine().now();
            let mut parts: BTreeMap<ShardId, Vec<usize>> = BTreeMap::new();
            for (at, query) in queries.iter().enumerate() {
                let Some(Answer::SlotMoved { to }) = answers.get(at) else { continue };
                let slot = match query {
                    Query::CountSlot { slot, .. } => Some(*slot),
                    query => query.key().map(Key::slot),
                };
                let Some(slot) = slot else { continue };
                parts.entry(to.unwrap_or_else(|| region.slots.shard(slot))).or_default().push(at);
            }
            if parts.is_empty() {
                return Ok(());
            }
            patience.wait(shard).await?;
            for (shard, positions) in parts {
                let part = positions.iter().map(|at| queries[*at].clone()).collect();
                let read = self.read_shard(shard, part).await?;
                for (at, answer) in positions.into_iter().zip(read) {
                    answers[at] = answer;
                }
            }
        }
    }
}

/// By what the shard said, and else by the table.
fn way(region: &RegionState, command: &Command, named: Option<ShardId>) -> Way {
    let mut keys = Vec::new();
    command.push_keys(&mut keys);
    let slot = command.key.slot();
    let shard = region.slots.shard(slot);
    if keys.iter().all(|key| key.slot() == slot) {
        return Way::To(named.unwrap_or(shard));
    }
    let together = |key: &&Key| region.slots.shard(key.slot()) == shard;
    if keys.iter().all(together) { Way::To(shard) } else { Way::Apart }
}
