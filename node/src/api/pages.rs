//! Listings across shards, page by page: a token means the same on every node and, but for listings by deadline, after slots
//! moved.

use super::{Api, Room};
use crate::region::backend::{Backend, Read, Unavailable};
use sojourn_core::{
    Answer, NamespaceId, Query, ShardId, Slot, SlotTable,
    ids::SLOTS,
    query::{Cursor, Filter, Line},
};
use sojourn_proto::{
    sessions::{Failure, answers::Page, calls::List},
    wire::{decode_all, encode},
};
use std::{sync::Arc, time::Duration};

/// The version of page tokens.
const TOKEN_FORMAT: u8 = 1;

/// Before slots are looked for again that a shard does not serve; whoever lists bounds how long that may go on.
const SLOTS_PAUSE: Duration = Duration::from_millis(5);

/// A listing on its way.
pub struct Pages {
    backend: Arc<dyn Backend>,
    namespace: NamespaceId,
    filter: Filter,
    page_size: u64,
    next: Option<Place>,
}

/// Where a listing is: at a place of its shard, or of all slots, whatever shards hold them.
type Place = (ShardId, Cursor);

impl Api {
    /// Begins or resumes a listing.
    ///
    /// # Errors
    /// A token that no node gave out.
    pub fn list(&self, room: &Room<'_>, call: List) -> Result<Pages, Failure> {
        let List { filter, page_size, page_token } = call;
        let next = Some(decode_token(&page_token)?);
        let filter = filter(self.backend.now_ms());
        Ok(Pages { backend: Arc::clone(&self.backend), namespace: room.id(), filter, page_size, next })
    }
}

impl Pages {
    /// The next page that has sessions on it, or the last one; `None` after that.
    ///
    /// # Errors
    /// A shard does not answer: the listing can be resumed with the last page's token.
    pub async fn next(&mut self) -> Option<Result<Page, Failure>> {
        loop {
            let place = self.next?;
            match self.look(place).await {
                Ok(lines) if lines.is_empty() && self.next.is_some() => {}
                Ok(lines) => return Some(Ok(Page { lines, next: self.next.map_or_else(Box::default, encode_token) })),
                Err(failure) => {
                    self.next = None;
                    return Some(Err(failure));
                }
            }
        }
    }

    /// Looks at some sessions from a place on, and moves on.
    async fn look(&mut self, (shard, from): Place) -> Result<Vec<Line>, Failure> {
        let region = self.backend.region();
        if is_by_deadline(&self.filter) {
            // Deadlines are in order within a shard: one shard after the other.
            let (lines, next) = self.scan(shard, from, None).await?.unwrap_or_default();
            let shard_after = region.slots.shards().iter().filter(|other| **other > shard).min();
            self.next = next.map(|next| (shard, next)).or(shard_after.map(|after| (*after, Cursor::default())));
            return Ok(lines);
        }
        let (shard, last) = run_of(&region.slots, from.slot);
        let Some((mut lines, next)) = self.scan(shard, from, Slot::new(last)).await? else {
            // The slots are looked for anew.
            return Ok(Vec::new());
        };
        // The shard may hold slots after the run; they come when the walk is there.
        lines.retain(|line| Slot::of(&line.id).number() <= last);
        let run_after = (last + 1 < SLOTS).then_some(Cursor { slot: last + 1, ..Cursor::default() });
        self.next = next.filter(|next| next.slot <= last).or(run_after).map(|next| (ShardId(0), next));
        Ok(lines)
    }

    /// A page of a shard; none, after a moment, if it does not serve all slots up to `until`.
    async fn scan(
        &self,
        shard: ShardId,
        from: Cursor,
        until: Option<Slot>,
    ) -> Result<Option<(Vec<Line>, Option<Cursor>)>, Failure> {
        let (namespace, filter, count) = (self.namespace, self.filter.clone(), self.page_size);
        let query = Query::Scan { namespace, filter, from: Some(from), count, until };
        let answer = self.backend.read(vec![Read { shard: Some(shard), query }]).await.pop();
        match answer.unwrap_or(Err(Unavailable::Loading))? {
            Answer::Page { lines, next } => Ok(Some((lines, next))),
            Answer::SlotMoved { .. } => {
                tokio::time::sleep(SLOTS_PAUSE).await;
                Ok(None)
            }
            Answer::Record(_)
            | Answer::Seen { .. }
            | Answer::Elsewhere(_)
            | Answer::Total { .. }
            | Answer::Epoch(_)
            | Answer::Slots(_) => Err(Failure::Loading),
        }
    }
}

/// Whether shards walk by deadline for this filter.
fn is_by_deadline(filter: &Filter) -> bool {
    filter.expiring_before.is_some() && filter.user.is_none() && filter.label.is_none()
}

/// The shard of `slot` and the last slot of the run of slots that it holds there.
fn run_of(slots: &SlotTable, slot: u16) -> (ShardId, u16) {
    let run = slots.ranges().into_iter().find(|(_, last, _)| slot <= *last);
    run.map_or((ShardId(0), SLOTS - 1), |(_, last, shard)| (shard, last))
}

fn encode_token(place: Place) -> Box<[u8]> {
    let mut token = vec![TOKEN_FORMAT];
    token.extend(encode(&place));
    token.into()
}

fn decode_token(token: &[u8]) -> Result<Place, Failure> {
    match token.split_first() {
        None => Ok((ShardId(0), Cursor::default())),
        Some((&TOKEN_FORMAT, place)) => decode_all(place).map_err(|_| Failure::BadToken("page")),
        Some(_) => Err(Failure::BadToken("page")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_back_and_others_are_refused() {
        let place = (ShardId(3), Cursor { deadline: 1 << 40, slot: 16_383, hash: 77 });
        assert_eq!(decode_token(&encode_token(place)), Ok(place));
        assert_eq!(decode_token(b""), Ok((ShardId(0), Cursor::default())));
        let whole = encode_token(place);
        for bad in [&whole[..whole.len() - 1], b"\x02\0\0\0\0", b"\x01\0\0\0\0\0", &[255; 9]] {
            assert_eq!(decode_token(bad), Err(Failure::BadToken("page")), "{bad:?}");
        }
    }

    #[test]
    fn runs_follow_the_slot_table() {
        let mut shards = SlotTable::even(2).shards().to_vec();
        shards[100] = ShardId(1);
        let table = SlotTable::from_shards(shards).expect("a table");
        assert_eq!(run_of(&table, 0), (ShardId(0), 99));
        assert_eq!(run_of(&table, 100), (ShardId(1), 100));
        assert_eq!(run_of(&table, 101), (ShardId(0), 8_191));
        assert_eq!(run_of(&table, 16_383), (ShardId(1), 16_383));
    }
}
