//! What somebody outside asks who keeps a copy of a shard: what changed after a cursor, or, where the feed does not reach back
//! to it, the shard itself, page by page.
//!
//! A cursor is (shard, feed, index). Who begins takes [`Sessions::feed_end`] first and the pages of [`Sessions::copy_page`] then, into
//! an empty copy, and follows from that cursor: what changed while he copied comes again, and merging it again changes nothing.
//! A tombstone that a replica has forgotten is no change, so a copy may know it for longer.

use super::{Sessions, cold::lost};
use sojourn_core::{
    Body, Effect, Key, Record, RegionId, Slot, SlotSet, SlotTable, Stamp,
    digest::SlotDigest,
    feed::{FeedBounds, FeedCursor, FeedId, Followed},
    state::{Believed, ColdSession},
    stream::{CopyPage, HeldPage, Span},
};
use std::{collections::BTreeSet, io, sync::Arc};

impl Sessions {
    /// Says which feed this is; until then no cursor fits it.
    pub fn name_feed(&self, id: FeedId) {
        self.feed.lock().name(id);
    }

    /// What changed after `cursor`, as far as this replica has applied the log, with all fields.
    ///
    /// # Errors
    /// The engine does not give back what it has.
    pub async fn follow(&self, cursor: FeedCursor, bounds: FeedBounds) -> io::Result<Followed> {
        let mut followed = self.followed(cursor, bounds);
        if let Followed::Changes { entries, .. } = &mut followed {
            for effects in entries.iter_mut().map(|entry| &mut entry.effects) {
                for effect in std::mem::take(effects) {
                    // A session that was only used since its fields went to disk is told with them all the same.
                    let record =
                        if effect.record.is_cold() { self.whole(&effect.key).await? } else { Some(effect.record) };
                    effects.extend(record.map(|record| Effect { record, ..effect }));
                }
            }
        }
        Ok(followed)
    }

    /// Whether the feed reaches back to `cursor`.
    pub fn reaches(&self, cursor: FeedCursor) -> bool {
        let nothing = FeedBounds { entries_max: 0, bytes_max: 0 };
        matches!(self.followed(cursor, nothing), Followed::Changes { .. })
    }

    fn followed(&self, cursor: FeedCursor, bounds: FeedBounds) -> Followed {
        let feed = self.feed.lock();
        let followed = feed.follow(cursor, bounds);
        if matches!(followed, Followed::CursorTooOld) && self.denies_gaps() {
            return Followed::Changes { entries: Vec::new(), next: feed.end() };
        }
        followed
    }

    /// The record under `key` as it is, with its fields.
    pub(super) async fn whole(&self, key: &Key) -> io::Result<Option<Arc<Record>>> {
        loop {
            let Some(record) = self.state.read().record_or_aside(key).cloned() else { return Ok(None) };
            if !record.is_cold() {
                return Ok(Some(record));
            }
            let (incarnation, version) = (record.incarnation, record.version);
            let cold = ColdSession { key: key.clone(), incarnation, version };
            let _as_it_is = self.shelf.replaced.read().await;
            let fetched = self.fetch(std::slice::from_ref(&cold)).await?.pop().flatten();
            if self.state.read().is_still(&cold) {
                return fetched
                    .map_or_else(|| Err(lost()), |fields| Ok(Some(Arc::new(record.with_body(Body::Hot(fields))))));
            }
        }
    }

    /// The cursor of somebody who knows this replica's records as they are, or as they were a moment ago.
    pub fn feed_end(&self) -> FeedCursor {
        self.feed.lock().end()
    }

    /// The slots that are served where the region's table is `table`, and up to which index others may have been.
    pub fn served(&self, table: &SlotTable) -> (SlotSet, u64) {
        // In this order: see where the state changes.
        let served = self.state.read().served(table, self.shard);
        (served, self.feed.lock().turned())
    }

    /// The slots that were let go or taken in after one entry and up to another.
    pub fn turns(&self, after: u64, until: u64) -> SlotSet {
        self.feed.lock().turns(after, until)
    }

    /// Up to which index other slots may have been served than since then.
    pub fn turned(&self) -> u64 {
        self.feed.lock().turned()
    }

    /// What there is of a span, with all fields: see [`State::copy_page`](sojourn_core::State::copy_page).
    ///
    /// # Errors
    /// The engine does not give back what it has.
    pub async fn copy_page(&self, span: &Span, bounds: FeedBounds) -> io::Result<CopyPage> {
        let page = self.state.read().copy_page(span, bounds);
        let mut records = Vec::with_capacity(page.records.len());
        for (key, record) in page.records {
            let record = if record.is_cold() { self.whole(&key).await? } else { Some(record) };
            records.extend(record.map(|record| (key, record)));
        }
        Ok(CopyPage { records, ..page })
    }

    /// What there is of a home, with all fields: see [`State::held_page`](sojourn_core::State::held_page).
    ///
    /// # Errors
    /// The engine does not give back what it has.
    pub async fn held_page(
        &self,
        home: RegionId,
        since: Stamp,
        span: &Span,
        bounds: FeedBounds,
    ) -> io::Result<HeldPage> {
        let page = self.state.read().held_page(home, since, span, bounds);
        let mut records = Vec::with_capacity(page.records.len());
        for (key, record) in page.records {
            let record = if record.is_cold() { self.whole(&key).await? } else { Some(record) };
            records.extend(record.map(|record| (key, record)));
        }
        Ok(HeldPage { records, ..page })
    }

    /// The sessions that entries after this one changed, by what is told of them; `None` where the feed does not know, and for no entry at
    /// all.
    pub fn changed_after(&self, index: u64) -> Option<BTreeSet<Key>> {
        (index > 0).then(|| self.feed.lock().changed_after(index)).flatten()
    }

    /// See [`State::digests`](sojourn_core::State::digests).
    pub fn digests(&self, first: Slot, last: Slot) -> Vec<SlotDigest> {
        self.state.read().digests(first, last)
    }

    /// See [`State::differing`](sojourn_core::State::differing).
    pub fn differing(&self, homes: &Believed, digests: &[SlotDigest]) -> Vec<Slot> {
        self.state.read().differing(homes, digests)
    }

    /// See [`State::copy_reach`](sojourn_core::State::copy_reach).
    pub fn copy_reach(&self, span: &Span, count: usize) -> Option<Key> {
        self.state.read().copy_reach(span, count)
    }
}
