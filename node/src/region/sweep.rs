//! Operations on all of a namespace's sessions in a region, as another region asks for them.

use super::{
    RegionNode,
    abroad::Reach,
    backend::{Backend, Read, Unavailable},
};
use sojourn_core::{
    Answer, Command, Key, NamespaceId, Op, Outcome, Query, Request, Rules, ShardId, Slot, mint::id_in,
    state::ENDED_PER_APPLY_MAX,
};
use std::collections::BTreeMap;

/// An operation on all of a namespace's sessions.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// Which namespace.
    pub namespace: NamespaceId,
    /// What becomes of tombstones.
    pub rules: Rules,
    /// [`Op::Revoke`] or [`Op::Clear`].
    pub op: Op,
}

/// What became of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// It ended so many sessions, and every shard has logged it.
    Ended(u64),
    /// The user's revocation epoch is as high already: a login since may have read it, so a higher one is needed.
    EpochTooLow {
        /// The user's epoch.
        highest: u64,
    },
}

impl RegionNode {
    /// Has the operation done on every shard of this region, again and again until nothing is left to end.
    ///
    /// # Errors
    /// A shard does not answer; some sessions may have been ended.
    pub async fn sweep(&self, sweep: Sweep) -> Result<Swept, Unavailable> {
        let Sweep { namespace, rules, op } = sweep;
        let shards = self.shard_keys(namespace);
        if let Op::Revoke { user, epoch, .. } = &op {
            let highest = self.highest_epoch(shards.keys().copied(), namespace, user).await?;
            // One that is the same was given out by somebody else, or by this revocation before its answer was lost.
            if highest >= *epoch {
                return Ok(Swept::EpochTooLow { highest });
            }
        }
        // As many as this mean that more may be left.
        let count_max = match &op {
            Op::Revoke { count_max, .. } | Op::Clear { count_max, .. } => (*count_max).min(ENDED_PER_APPLY_MAX),
            _other => {
                return Err(Unavailable::Refused("only a revocation and a clearing go to every shard".to_owned()));
            }
        };
        let (mut ended, mut left): (u64, Vec<Key>) = (0, shards.into_values().collect());
        let mut changes = self.region().slot_moves.changes;
        loop {
            if left.is_empty() {
                let now = self.region().slot_moves.changes;
                if now == changes {
                    break;
                }
                // A key says which shard is meant: it may have meant another one meanwhile.
                changes = now;
                left = self.shard_keys(namespace).into_values().collect();
            }
            let request = Request::default();
            let command = |key: &Key| Command { request, key: key.clone(), rules, touched: None, op: op.clone() };
            let outcomes = self.write_within(Reach::Region, left.iter().map(command).collect()).await;
            let mut more = Vec::new();
            for (key, outcome) in left.into_iter().zip(outcomes) {
                let Outcome::Count(count) = outcome? else { continue };
                ended += count.unsigned_abs();
                if count.unsigned_abs() >= count_max {
                    more.push(key);
                }
            }
            left = more;
        }
        Ok(Swept::Ended(ended))
    }

    /// The highest revocation epoch of a user that a shard knows.
    async fn highest_epoch(
        &self,
        shards: impl Iterator<Item = ShardId>,
        namespace: NamespaceId,
        user: &[u8],
    ) -> Result<u64, Unavailable> {
        let query = || Query::RevocationEpoch { namespace, user: user.into() };
        let reads = shards.map(|shard| Read { shard: Some(shard), query: query() }).collect();
        let mut highest = 0;
        for answer in self.read(reads).await {
            if let Answer::Epoch(epoch) = answer? {
                highest = highest.max(epoch);
            }
        }
        Ok(highest)
    }

    /// A key in each shard: any will do to say which shard is meant.
    pub fn shard_keys(&self, namespace: NamespaceId) -> BTreeMap<ShardId, Key> {
        let ranges = self.region().slots.ranges().into_iter();
        let in_range = |(first, _, shard): (u16, u16, ShardId)| {
            Some((shard, Key::new(namespace, &id_in(Slot::new(first)?)).ok()?))
        };
        ranges.filter_map(in_range).collect()
    }
}
