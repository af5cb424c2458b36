//! Compares the copies of a source with what it has, and takes anew what differs.

use super::{CALL_TIMEOUT, Ended, Follower};
use crate::{
    peers::Lane,
    world::{
        calls::{self, Digests, DigestsOf},
        compare::SLOTS_AT_ONCE,
        packing,
    },
};
use sojourn_core::{NodeId, Slot, SlotSet, digest::SlotDigest, feed::FeedCursor, state::Believed, stream::Source};
use sojourn_proto::wire::encode;
use std::{collections::BTreeSet, sync::atomic::Ordering};

/// Slots that are mended at once; the others come with the next round.
const MENDED_MAX: usize = 64;

impl Follower {
    /// What the source has in these slots, if it says so.
    pub(super) async fn digests(&self, node: NodeId, slots: Vec<(Slot, Slot)>) -> Option<Digests> {
        if slots.is_empty() {
            return None;
        }
        let of = encode(&DigestsOf { shard: self.source.shard, slots });
        let bytes = self.rpc.call(node, Lane::Bulk, calls::DIGESTS, &[&of], CALL_TIMEOUT).await.ok()?;
        packing::unpack::<Option<Digests>>(&bytes).ok()?
    }

    /// Where the copies here differ, if all is in that was changed at the source before it made the digests.
    pub(super) async fn differing(&self, homes: &Believed, digests: &[SlotDigest]) -> BTreeSet<Slot> {
        let mut differing = BTreeSet::new();
        for some in digests.chunks(usize::from(SLOTS_AT_ONCE)) {
            differing.extend(self.led.sessions().differing(homes, some));
            tokio::task::yield_now().await;
        }
        differing
    }

    /// Takes these slots anew.
    pub(super) async fn mend(&self, node: NodeId, begin: FeedCursor, slots: BTreeSet<Slot>) -> Result<(), Ended> {
        let Source { region, shard } = self.source;
        for slot in slots.into_iter().take(MENDED_MAX) {
            let changed = self.copy(node, begin, (None, &SlotSet::of_slots([slot]))).await?;
            if changed > 0 {
                self.mended.fetch_add(changed, Ordering::Relaxed);
                let (region, shard, slot) = (region.0, shard.0, slot.number());
                tracing::warn!(region, shard, slot, changed, "copies differed from what their region has; taken anew");
            }
        }
        Ok(())
    }
}
