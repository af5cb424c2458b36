//! What applications ask of sessions, above single commands.
//!
//! Protocols decode into these calls and encode what they answer; here is decided what neither they nor the state machine
//! can know: who may enter a namespace, which id is minted, which revocation epoch a login carries, on which shards a user is
//! revoked, how a listing walks across shards.

mod owners;
mod pages;
mod ring;
mod room;
mod sizes;
mod sweeps;
mod watch;
mod writes;

pub use pages::Pages;
pub use room::{Caller, Room};
pub use watch::Watcher;

use crate::{
    region::{
        backend::{Backend, Read, Topology, Unavailable},
        quota::Quota,
    },
    security::password::Passwords,
    world::guide::Guide,
};
use sizes::Sizes;
use sojourn_core::{Answer, Query, ShardId, region::RegionState};
use sojourn_proto::sessions::{Failure, Malformed, answers::Got, calls};
use std::{collections::BTreeMap, sync::Arc};
use watch::Watches;

/// What one node offers to applications.
pub struct Api {
    backend: Arc<dyn Backend>,
    passwords: Passwords,
    quota: Arc<Quota>,
    sizes: Sizes,
    watches: Arc<Watches>,
    guide: Arc<Guide>,
}

impl Api {
    /// Offers what `backend` holds; `guide` says in which region new sessions are at home.
    pub fn new(backend: Arc<dyn Backend>, guide: Arc<Guide>) -> Self {
        let mut key = [0; 32];
        for chunk in key.chunks_mut(size_of::<u64>()) {
            chunk.copy_from_slice(&backend.random_u64().to_le_bytes());
        }
        let watches = Arc::new(Watches::new(Arc::clone(&backend)));
        Self { backend, passwords: Passwords::new(key), quota: Arc::default(), sizes: Sizes::default(), watches, guide }
    }

    /// What the region agrees on now.
    pub fn region(&self) -> Arc<RegionState> {
        self.backend.region()
    }

    /// Who leads what, and the node's time.
    pub fn topology(&self) -> (Arc<Topology>, u64) {
        (self.backend.topology(), self.backend.now_ms())
    }

    /// Reads a session.
    ///
    /// # Errors
    /// Bad ids and tokens, and when the region does not answer.
    pub async fn get(&self, room: &Room<'_>, call: calls::Get) -> Result<Got, Failure> {
        let calls::Get { id, projection, token } = call;
        let key = room.key(&id)?.0;
        let token = token.map(|text| text.parse().map_err(|_| Failure::BadToken("session"))).transpose()?;
        match self.read(None, Query::GetSince { key, projection, token }).await? {
            Answer::Seen { view, token, age_ms } => Ok(Got { id, view, token, age_ms }),
            Answer::Record(_)
            | Answer::Elsewhere(_)
            | Answer::Page { .. }
            | Answer::Total { .. }
            | Answer::Epoch(_)
            | Answer::SlotMoved { .. }
            | Answer::Slots(_) => Err(Failure::Loading),
        }
    }

    async fn read(&self, shard: Option<ShardId>, query: Query) -> Result<Answer, Failure> {
        let answer = self.backend.read(vec![Read { shard, query }]).await.pop();
        Ok(answer.unwrap_or(Err(Unavailable::Loading))?)
    }

    /// The answers of all shards.
    async fn read_everywhere(&self, query: &Query) -> Result<Vec<Answer>, Failure> {
        let shards = self.shards();
        let reads = shards.keys().map(|shard| Read { shard: Some(*shard), query: query.clone() }).collect();
        let answers: Result<Vec<Answer>, Unavailable> = self.backend.read(reads).await.into_iter().collect();
        Ok(answers?)
    }

    /// All shards that hold slots, each with the first of them.
    fn shards(&self) -> BTreeMap<ShardId, u16> {
        // Later ranges first, so that the first range of a shard is what stays.
        let ranges = self.backend.region().slots.ranges();
        ranges.into_iter().rev().map(|(first, _, shard)| (shard, first)).collect()
    }
}

impl From<Unavailable> for Failure {
    fn from(unavailable: Unavailable) -> Self {
        match unavailable {
            Unavailable::NoLeader { shard, retry_after_ms } => Self::NoLeader { shard, retry_after_ms },
            Unavailable::HomeAway { region, retry_after_ms } => Self::HomeAway { region, retry_after_ms },
            Unavailable::NotCopied { reached, retry_after_ms } => Self::NotCopied { reached, retry_after_ms },
            Unavailable::NotActing { region, retry_after_ms } => Self::NotActing { region, retry_after_ms },
            Unavailable::DiskFull => Self::DiskFull,
            Unavailable::Overloaded { requests_max } => Self::Overloaded { requests_max },
            Unavailable::Loading => Self::Loading,
            Unavailable::Undecided(text) | Unavailable::Refused(text) => Self::Malformed(Malformed(text)),
        }
    }
}
