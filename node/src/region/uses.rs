//! Sessions that follow their users by themselves: the leader of a shard counts from which regions the sessions that it orders are
//! used, and gives those away that are used mostly from one other.
//!
//! What is counted is in memory only and goes with the lead. A session that is not let go stays, and its count begins anew.

use super::{
    abroad::Reach,
    node::{Inner, RegionNode},
    shards::Shard,
};
use crate::raft::spawn;
use parking_lot::Mutex;
use sojourn_core::{
    Command, Key, Op, Outcome, Refusal, RegionId, Request, Stamp,
    policy::Policy,
    travel::{TravelPolicy, Uses},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::Semaphore;

/// Sessions of a shard whose uses are counted; with one more, all counts begin anew.
const COUNTED_MAX: usize = 65_536;

/// Sessions that a node sends off at a time; the others are not, until they are used as often again.
const LEAVING_MAX: usize = 16;

/// How often a session is asked to leave whose last answers may be asked for again: they mostly are not after a moment.
const TRIES_MAX: u32 = 5;

/// Between two tries, and before the first: the use that decided it is being answered.
const TRY_PAUSE: Duration = Duration::from_millis(200);

/// From where the sessions of one shard are used.
#[derive(Default)]
pub(super) struct Counts {
    known: Mutex<BTreeMap<Key, Uses>>,
}

impl Counts {
    /// Counts a use from `from` of a session at home in `home`; says where it should go, once.
    fn note(&self, key: &Key, from: RegionId, home: RegionId, now: Stamp) -> Option<RegionId> {
        let policy = TravelPolicy::default();
        let mut known = self.known.lock();
        // Who is used at home only needs no count.
        if from == home && !known.contains_key(key) {
            return None;
        }
        if known.len() >= COUNTED_MAX && !known.contains_key(key) {
            known.clear();
        }
        let uses = known.entry(key.clone()).or_default();
        uses.note(from, home, now, &policy);
        let to = uses.should_move(&policy)?;
        known.remove(key);
        Some(to)
    }

    /// The other region that a session is used from most, as far as that was counted.
    pub(super) fn mostly_from(&self, key: &Key) -> Option<RegionId> {
        self.known.lock().get(key)?.mostly_from()
    }
}

/// Room for sessions that are sent off.
pub(super) struct Leaving(Arc<Semaphore>);

impl Default for Leaving {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LEAVING_MAX)))
    }
}

impl RegionNode {
    /// Counts what another region writes, of sessions that a shard of this node orders.
    pub fn note_writes(&self, from: RegionId, commands: &[Command]) {
        commands.iter().filter(|command| is_use(&command.op)).for_each(|command| self.note_use(from, &command.key));
    }

    /// Counts that another region asked for a session, if a shard of this node orders it.
    pub fn note_use(&self, from: RegionId, key: &Key) {
        let Some(region) = self.inner.agreed() else { return };
        if let Some(held) = self.inner.shards.get(region.slots.shard(key.slot())).filter(|held| held.leads()) {
            self.inner.note_use(&held, from, key);
        }
    }
}

/// Whether a user is behind an operation, and not a region that puts its sessions in order.
fn is_use(op: &Op) -> bool {
    !(op.is_of_shard() || matches!(op, Op::Release { .. } | Op::Settle { .. } | Op::Swept { .. }))
}

impl Inner {
    /// Counts a use of a session that this region orders, where its namespace lets sessions travel.
    pub(super) fn note_use(self: &Arc<Self>, held: &Arc<Shard>, from: RegionId, key: &Key) {
        if self.ways.get().is_none() {
            return;
        }
        let region = self.system.machine().now();
        let travels = region.namespaces.get(&key.namespace()).is_some_and(|namespace| namespace.policy.travel);
        if !travels {
            return;
        }
        let sessions = held.group.machine();
        // Who is acted for by this region stays with it: it comes home with its home.
        let Some(record) = sessions.record(key).filter(|record| record.home == self.options.region) else { return };
        let Some(to) = held.uses.note(key, from, record.home, self.now_ms()) else { return };
        let takes_in = self.ways.get().is_some_and(|ways| ways.takes_in(to, key));
        if let Some(room) = takes_in.then(|| self.leaving.0.clone().try_acquire_owned().ok()).flatten() {
            let (node, key) = (Arc::downgrade(self), key.clone());
            drop(spawn(async move {
                send_off(node, key, to).await;
                drop(room);
            }));
        }
    }
}

/// Gives a session away, if it lets go of it soon.
async fn send_off(node: Weak<Inner>, key: Key, to: RegionId) {
    for _try in 0..TRIES_MAX {
        tokio::time::sleep(TRY_PAUSE).await;
        let Some(inner) = node.upgrade() else { return };
        let (request, rules) = (Request::default(), Policy::default().rules(false));
        let command = Command { request, key: key.clone(), rules, touched: None, op: Op::Release { to } };
        let written = RegionNode { inner }.write_within(Reach::Region, vec![command]).await.pop();
        match written {
            Some(Ok(Outcome::Refused(Refusal::Busy))) | Some(Err(_)) | None => {}
            Some(Ok(_done_or_elsewhere)) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sojourn_core::NamespaceId;

    const NA: RegionId = RegionId(0);
    const EU: RegionId = RegionId(1);

    fn key(number: usize) -> Key {
        Key::new(NamespaceId(0), &number.to_be_bytes()).expect("a key")
    }

    #[test]
    fn a_session_is_sent_off_once_and_counted_anew() {
        let counts = Counts::default();
        let uses = |from, count: usize| (0..count).filter_map(|_| counts.note(&key(1), from, NA, 1)).count();
        assert_eq!(uses(NA, 100), 0);
        let needed = usize::from(TravelPolicy::default().uses_min);
        assert_eq!((uses(EU, needed - 1), uses(EU, 1)), (0, 1));
        assert_eq!(uses(EU, needed - 1), 0, "it was not let go, or came back");
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let counts = Counts::default();
        for number in 0..=COUNTED_MAX {
            counts.note(&key(number), EU, NA, 1);
        }
        assert!(counts.known.lock().len() <= COUNTED_MAX);
    }
}
