//! Calls that go to every shard: revoking a user, counting, clearing a namespace.

use super::{Api, Room};
use crate::region::{
    backend::Unavailable,
    sweep::{Sweep, Swept},
};
use futures::future::join_all;
use sojourn_core::{Answer, Command, Key, Op, Outcome, Query, Request, Slot, mint::id_in, state::ENDED_PER_APPLY_MAX};
use sojourn_proto::sessions::{
    Failure,
    answers::{Cleared, Revoked, Total},
    calls::{List, Nothing, User},
};
use std::time::Duration;

/// How far the clocks of leaders may be ahead of this node's: what was created before a call is seen by it.
const CLOCKS_APART_MS: u64 = 1_000;

/// How long to wait before shards that could not acknowledge are asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

impl Api {
    /// Ends all sessions of a user whose login read a lower epoch than this call gives out, and keeps on until every shard of
    /// every region has acknowledged that: whoever calls bounds it in time.
    ///
    /// # Errors
    /// The epochs so far cannot be read; then nothing was revoked.
    pub async fn revoke(&self, room: &Room<'_>, call: User) -> Result<Revoked, Failure> {
        let User { user } = call;
        let epochs = self.read_everywhere(&Query::RevocationEpoch { namespace: room.id(), user: user.clone() }).await?;
        let highest = epochs.iter().map(|answer| if let Answer::Epoch(epoch) = answer { *epoch } else { 0 }).max();
        let mut epoch = highest.unwrap_or(0).saturating_add(1);
        let mut destroyed = 0;
        loop {
            let op = Op::Revoke { user: user.clone(), epoch, count_max: ENDED_PER_APPLY_MAX };
            let sweep = Sweep { namespace: room.id(), rules: room.rules(true), op: op.clone() };
            let (here, abroad) = tokio::join!(self.revoke_here(room, &op), self.revoke_abroad(&sweep));
            destroyed += here?;
            match abroad {
                Ok(more) => {
                    let shards = u32::try_from(self.shards().len()).unwrap_or(u32::MAX);
                    return Ok(Revoked { epoch, destroyed: destroyed + more, shards });
                }
                Err(higher) => epoch = higher.saturating_add(1),
            }
        }
    }

    /// Revokes in this region, until every shard has acknowledged it; says how many sessions were ended.
    async fn revoke_here(&self, room: &Room<'_>, op: &Op) -> Result<u64, Failure> {
        let mut destroyed = 0;
        loop {
            let changes = self.backend.region().slot_moves.changes;
            destroyed += self.revoke_in_shards(room, op).await?;
            // A key says which shard is meant: it may have meant another one meanwhile.
            if self.backend.region().slot_moves.changes == changes {
                return Ok(destroyed);
            }
        }
    }

    async fn revoke_in_shards(&self, room: &Room<'_>, op: &Op) -> Result<u64, Failure> {
        let mut pending = self.addresses(room)?;
        let mut destroyed = 0;
        while !pending.is_empty() {
            let outcomes = self.write_to(room, &pending, true, op).await;
            let mut failed = None;
            let mut left = Vec::new();
            for (address, outcome) in pending.into_iter().zip(outcomes) {
                match outcome.map(|outcome| count(&outcome)) {
                    Ok(ended) => {
                        destroyed += ended;
                        if ended >= ENDED_PER_APPLY_MAX {
                            left.push(address);
                        }
                    }
                    Err(error) => {
                        failed = Some(error);
                        left.push(address);
                    }
                }
            }
            pending = left;
            if let Some(error) = failed {
                tracing::warn!(%error, shards_pending = pending.len(), "a revocation is not acknowledged everywhere yet");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        Ok(destroyed)
    }

    /// Revokes in all other regions, side by side, until each has acknowledged it; says how many sessions were ended.
    ///
    /// # Errors
    /// The user's epoch in one of them, if it is as high already.
    async fn revoke_abroad(&self, sweep: &Sweep) -> Result<u64, u64> {
        let swept = self.backend.regions_abroad().into_iter().map(async |region| {
            loop {
                match self.backend.sweep_abroad(region, sweep.clone()).await {
                    Ok(Swept::Ended(ended)) => return Ok(ended),
                    Ok(Swept::EpochTooLow { highest }) => return Err(highest),
                    Err(error) => {
                        tracing::warn!(%error, region = region.0, "a revocation is not acknowledged everywhere yet");
                        tokio::time::sleep(RETRY_PAUSE).await;
                    }
                }
            }
        });
        let mut ended = 0;
        let mut highest = None;
        for one in join_all(swept).await {
            match one {
                Ok(more) => ended += more,
                Err(higher) => highest = highest.max(Some(higher)),
            }
        }
        highest.map_or(Ok(ended), Err)
    }

    /// How many sessions there are.
    ///
    /// # Errors
    /// A shard does not answer.
    pub async fn count(&self, room: &Room<'_>, call: List) -> Result<Total, Failure> {
        let filter = (call.filter)(self.backend.now_ms());
        let answers = self.read_everywhere(&Query::Count { namespace: room.id(), filter }).await?;
        let sum = answers.into_iter().fold(Total::default(), |sum, answer| match answer {
            Answer::Total { sessions, bytes } => Total { sessions: sum.sessions + sessions, bytes: sum.bytes + bytes },
            Answer::Record(_)
            | Answer::Seen { .. }
            | Answer::Elsewhere(_)
            | Answer::Page { .. }
            | Answer::Epoch(_)
            | Answer::SlotMoved { .. }
            | Answer::Slots(_) => sum,
        });
        Ok(sum)
    }

    /// Ends all sessions of the namespace that were created before this call.
    ///
    /// # Errors
    /// A shard does not answer; some sessions may have been ended.
    pub async fn clear(&self, room: &Room<'_>, _call: Nothing) -> Result<Cleared, Failure> {
        let before = self.backend.now_ms().saturating_add(CLOCKS_APART_MS);
        let op = Op::Clear { namespace: room.id(), before, count_max: ENDED_PER_APPLY_MAX };
        let mut destroyed = 0;
        loop {
            let changes = self.backend.region().slot_moves.changes;
            destroyed += self.clear_shards(room, &op).await?;
            // What went from one shard to another meanwhile may have been in neither.
            if self.backend.region().slot_moves.changes == changes {
                break;
            }
        }
        for region in self.backend.regions_abroad() {
            let sweep = Sweep { namespace: room.id(), rules: room.rules(false), op: op.clone() };
            if let Swept::Ended(ended) = self.backend.sweep_abroad(region, sweep).await? {
                destroyed += ended;
            }
        }
        Ok(Cleared(destroyed))
    }

    async fn clear_shards(&self, room: &Room<'_>, op: &Op) -> Result<u64, Failure> {
        let mut pending = self.addresses(room)?;
        let mut destroyed = 0;
        while !pending.is_empty() {
            let outcomes = self.write_to(room, &pending, false, op).await;
            let mut left = Vec::new();
            for (address, outcome) in pending.into_iter().zip(outcomes) {
                let ended = count(&outcome?);
                destroyed += ended;
                if ended >= ENDED_PER_APPLY_MAX {
                    left.push(address);
                }
            }
            pending = left;
        }
        Ok(destroyed)
    }

    /// A key in each shard.
    fn addresses(&self, room: &Room<'_>) -> Result<Vec<Key>, Failure> {
        let slots = self.shards().into_values().filter_map(Slot::new);
        slots.map(|slot| Ok(Key::new(room.id(), &id_in(slot))?)).collect()
    }

    async fn write_to(
        &self,
        room: &Room<'_>,
        addresses: &[Key],
        is_minted: bool,
        op: &Op,
    ) -> Vec<Result<Outcome, Unavailable>> {
        let command = |key: &Key| {
            let rules = room.rules(is_minted);
            Command { request: Request::default(), key: key.clone(), rules, touched: None, op: op.clone() }
        };
        self.backend.write(addresses.iter().map(command).collect()).await
    }
}

fn count(outcome: &Outcome) -> u64 {
    if let Outcome::Count(count) = outcome { u64::try_from(*count).unwrap_or(0) } else { 0 }
}
