//! What this region's own shards hold of a home, for the node that settles it.

use super::{
    calls,
    node::{Inner, RegionNode},
};
use crate::{peers::Lane, shard::NotProposed};
use sojourn_core::{Key, Record, RegionId, ShardId, Stamp, feed::FeedBounds, stream::Span};
use sojourn_proto::{wire::encode, wire_struct};
use std::{sync::Arc, time::Duration};

/// How long a leader may take to give a page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(3);

/// What one page holds.
const PAGE: FeedBounds = FeedBounds { entries_max: 256, bytes_max: 512 << 10 };

/// Records, and the last key that the page speaks of: none if it is the last one.
pub type HeldRecords = (Vec<(Key, Record)>, Option<Key>);

/// Up to where others hold what a shard logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Up to this stamp, but for the last of several entries that have it, maybe.
    pub stamp: Stamp,
    /// Up to this index; 0 where only the stamp is known.
    pub index: u64,
}

wire_struct!(Told { stamp, index });

/// Asks a shard for a page: home, what others hold, span.
pub(super) type Wanted = (RegionId, (Told, Span));

impl RegionNode {
    /// A page of what a shard of this region holds of a home, as far as others may lack it: they hold what was `told`.
    ///
    /// # Errors
    /// The shard's leader does not answer.
    pub async fn held(
        &self,
        shard: ShardId,
        home: RegionId,
        told: Told,
        span: Span,
    ) -> Result<HeldRecords, NotProposed> {
        let (inner, wanted) = (&self.inner, (home, (told, span)));
        let lead = inner.find_leader(shard).await.ok_or(NotProposed::NotLeader)?;
        if lead.node == inner.options.node {
            return inner.held_here(shard, &wanted).await;
        }
        let body = encode(&(shard, wanted));
        let answer = inner.rpc.call(lead.node, Lane::Bulk, calls::HELD, &[&body], PAGE_TIMEOUT).await;
        inner.forwarded(shard, lead, answer)
    }
}

impl Inner {
    /// The same, of a shard that this node leads.
    ///
    /// # Errors
    /// It does not lead it.
    pub(super) async fn held_here(
        &self,
        shard: ShardId,
        (home, (told, span)): &Wanted,
    ) -> Result<HeldRecords, NotProposed> {
        let held = self.shards.get(shard).ok_or(NotProposed::NotLeader)?;
        if !held.reads.confirm().await {
            return Err(NotProposed::NotLeader);
        }
        let sessions = held.group.machine();
        let page = sessions.held_page(*home, told.stamp, span, PAGE).await.map_err(|error| {
            tracing::error!(%error, "a session cannot be read from the engine");
            NotProposed::Stopped
        })?;
        let mut records = page.records;
        // Asked after the page: what has changed since counts as untold.
        if let Some(changed) = sessions.changed_after(told.index) {
            records.retain(|(key, record)| record.written > told.stamp || changed.contains(key));
        }
        Ok((records.into_iter().map(|(key, record)| (key, Arc::unwrap_or_clone(record))).collect(), page.until))
    }
}
