//! Gives the sessions of this region away while the world agrees that it is drained.
//!
//! The leader of each shard does it, a batch after the other: an entry gives some sessions away (`Op::Release`, as for one that
//! is moved by command), and the next one waits until they have arrived, so that never more than a batch of a shard is on its
//! way. Where each goes is said by `sojourn_core::draining`. All that is remembered is how far the walk is, which goes with the
//! lead: whoever leads next begins anew, and finds what is left.

use super::{abroad::Ways, node::Inner, shards::Shard};
use crate::{
    raft::spawn,
    shard::{Bundle, NotProposed},
};
use parking_lot::Mutex;
use sojourn_core::{
    Command, Key, Op, Outcome, Refusal, RegionId, Request, control::ControlState, draining::destination,
    policy::Policy, state::HomePlace,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Sessions of a shard that are on their way at a time.
const BATCH_SESSIONS_MAX: usize = 128;

/// After so many bytes of fields an entry gives no more sessions away: other regions are told what is in them.
const ENTRY_BYTES_MAX: u64 = 1 << 20;

/// How long a batch may take to arrive. What has left arrives in any case; the next batch is tried a moment later then.
const ARRIVE_MAX: Duration = Duration::from_secs(8);

/// How far a shard is with giving its sessions away.
#[derive(Default)]
pub(super) struct Drains {
    /// Where the next batch begins; none for the beginning.
    place: Mutex<Option<HomePlace>>,
    under_way: AtomicBool,
}

impl Inner {
    /// Begins to give the sessions of a shard away that this node leads, if they should leave and it is not under way.
    pub(super) fn give_away(self: &Arc<Self>, held: &Arc<Shard>) {
        let drained = self.ways.get().and_then(|ways| ways.drained());
        if drained.is_none() || held.drains.under_way.swap(true, Ordering::Relaxed) {
            return;
        }
        let (node, held) = (Arc::downgrade(self), held.clone());
        drop(spawn(async move {
            if let Err(error) = empty(&node, &held).await {
                tracing::debug!(reason = %error, "sessions of a region that is drained are left for the next time");
            }
            held.drains.under_way.store(false, Ordering::Relaxed);
        }));
    }

    /// Gives a batch away and waits until it has arrived. Says how many sessions have left.
    async fn give_batch_away(&self, ways: &Ways, held: &Shard, batch: Vec<Leaving>) -> Result<usize, NotProposed> {
        let (mut left, mut last) = (0, BTreeMap::new());
        for entry in batch.chunk_by(|one, next| one.entry == next.entry) {
            for Leaving { key, to, .. } in self.release(held, entry).await? {
                left += 1;
                // A region hears of a shard's entries in their order.
                last.insert(to, key);
            }
        }
        let deadline = Instant::now() + ARRIVE_MAX;
        for (to, key) in last {
            ways.arrived(held, to, &key, deadline).await?;
        }
        Ok(left)
    }

    /// Gives sessions away in one entry. Where answers may be asked for again it is found out whether they are, and those
    /// sessions are tried once more; says which have left.
    async fn release(&self, held: &Shard, leaving: &[Leaving]) -> Result<Vec<Leaving>, NotProposed> {
        let (mut left, mut busy) = (Vec::new(), Vec::new());
        for (leaving, outcome) in leaving.iter().zip(self.write_release(held, leaving).await?) {
            match outcome {
                Outcome::Written { .. } => left.push(leaving.clone()),
                Outcome::Refused(Refusal::Busy) => busy.push(leaving.clone()),
                // It has ended, or somebody else orders it by now.
                _gone => {}
            }
        }
        if !busy.is_empty() {
            let keys: Vec<Key> = busy.iter().map(|leaving| leaving.key.clone()).collect();
            self.settle_all(held, &keys).await?;
            let outcomes = self.write_release(held, &busy).await?;
            let written =
                busy.into_iter().zip(outcomes).filter(|(_, outcome)| matches!(outcome, Outcome::Written { .. }));
            left.extend(written.map(|(leaving, _)| leaving));
        }
        Ok(left)
    }

    async fn write_release(&self, held: &Shard, leaving: &[Leaving]) -> Result<Vec<Outcome>, NotProposed> {
        let (request, rules) = (Request::default(), Policy::default().rules(false));
        let command = |Leaving { key, to, .. }: &Leaving| {
            let (key, op) = (key.clone(), Op::Release { to: *to });
            Command { request, key, rules, touched: None, op }
        };
        let commands: Vec<Command> = leaving.iter().map(command).collect();
        held.write(&self.system.machine().now(), Bundle::new(&commands)).await
    }
}

/// Gives sessions of a shard away until none is left that can go, the draining ends, or another one leads.
async fn empty(node: &Weak<Inner>, held: &Shard) -> Result<(), NotProposed> {
    while held.leads() {
        let Some(inner) = node.upgrade() else { return Ok(()) };
        let Some(ways) = inner.ways.get() else { return Ok(()) };
        let Some(world) = ways.drained() else { return Ok(()) };
        let (batch, more) = next_batch(ways, &world, held);
        let left = inner.give_batch_away(ways, held, batch).await?;
        // Those that cannot leave yet are tried again after a pause.
        if left == 0 && !more {
            return Ok(());
        }
    }
    Ok(())
}

/// A session that is to leave.
#[derive(Clone, Debug, PartialEq)]
struct Leaving {
    key: Key,
    to: RegionId,
    /// Which of a batch's entries gives it away.
    entry: u64,
}

/// The next sessions that should leave, and whether there are more after these. After the last one the walk begins anew.
fn next_batch(ways: &Ways, world: &ControlState, held: &Shard) -> (Vec<Leaving>, bool) {
    let goes = |namespace, used_from| destination(world, ways.here, namespace, used_from).ok();
    let mut place = held.drains.place.lock();
    let (page, next) = held.group.machine().audit(|state| {
        state.of_home(ways.here, *place, BATCH_SESSIONS_MAX, |namespace| goes(namespace, None).is_some())
    });
    *place = next;
    let mut bytes = 0;
    let leaving = page.into_iter().filter_map(|(key, record)| {
        let entry = bytes / ENTRY_BYTES_MAX;
        bytes += record.body_bytes();
        let to = goes(key.namespace(), held.uses.mostly_from(&key))?;
        Some(Leaving { key, to, entry })
    });
    (leaving.collect(), next.is_some())
}
