//! Finds out which tombstones are known in the whole world, so that this region's shards may forget them.
//!
//! Whoever leads the system group of a region does it, if there is a tombstone that is due: no other region is asked before, and
//! nothing is logged. It asks all regions how their shards stand, again and again, until all have what anybody had told
//! when it began (`plan`, and [`Sweep`] in the core), and has its own shards log which tombstones that proves to be known
//! ([`Swept`]). Every region finds out by itself, so no shard has to believe another one, and none has to know which of them
//! share slots with it. A region that does not answer keeps all others from forgetting anything.
//!
//! A shard whose last entry is older than the tombstones says nothing about them, so it logs one that changes nothing.

mod plan;
#[cfg(test)]
mod tests;

use super::{
    calls::{self, Survey},
    contacts::Contacts,
    control::Agreement,
    handover::command,
    packing,
};
use crate::{
    peers::{CallError, Lane, Rpc},
    region::{
        RegionNode,
        abroad::Reach,
        backend::{Backend, Unavailable},
    },
    shard::NotProposed,
};
use futures::future::try_join_all;
use plan::{Surveys, Unfit, begin, feeds, progress};
use sojourn_core::{
    NamespaceId, Op, Outcome, RegionId, ShardId, Slot, Stamp,
    control::ControlState,
    state::COLLECTED_PER_APPLY_MAX,
    tombstones::{Feed, Sweep, Swept},
};
use sojourn_proto::wire::{WireError, encode};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};
use tokio::time::sleep;

/// How long another region may take to say how its shards stand.
const SURVEY_TIMEOUT: Duration = Duration::from_secs(3);

/// Before all are asked again how far they are.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// How often all are asked for one sweep. Whoever is not so far by then is waited for by the next one.
const ASKED_MAX: usize = 60;

/// How many entries that collect are given to a shard at once.
const COLLECTING_MAX: u64 = 64;

/// How often shards are given some, if tombstones are left.
const COLLECTED_MAX: usize = 16;

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotSwept {
    #[error("the regions of this world have not all met yet")]
    NotFounded,
    #[error("this node knows region {}, and what is agreed on does not", .0.0)]
    NotAgreed(RegionId),
    #[error("no node of region {} is known", .0.0)]
    Unknown(RegionId),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("its words make no sense: {0}")]
    Strange(#[from] WireError),
    #[error(transparent)]
    Shard(#[from] NotProposed),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("a shard answers {0:?}")]
    Refused(Outcome),
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("not all regions have what was told when it began")]
    NotYet,
}

/// What one node needs to look after the tombstones of its region.
pub(super) struct Caretaker {
    pub node: RegionNode,
    pub contacts: Weak<Contacts>,
    pub rpc: Rpc,
    pub agreement: Arc<dyn Agreement>,
    /// How often it looks.
    pub every: Duration,
}

impl Caretaker {
    /// Looks after them whenever this node leads its region's system group, until the node is gone.
    pub async fn run(self) {
        // Not all regions at once.
        let early = self.node.env().random.next_u64() as f64 / u64::MAX as f64;
        sleep(self.every.mul_f64(early)).await;
        while self.contacts.strong_count() > 0 {
            if self.node.is_coordinator()
                && let Err(error) = self.look().await
            {
                tracing::debug!(reason = %error, "tombstones are left for the next time");
            }
            sleep(self.every).await;
        }
    }

    async fn look(&self) -> Result<(), NotSwept> {
        self.collect().await?;
        let shards = self.node.standings().await?;
        let waiting: BTreeMap<ShardId, Stamp> =
            shards.into_iter().filter_map(|(shard, standing)| Some((shard, standing.tombs.waiting?))).collect();
        let Some(latest) = waiting.values().max() else { return Ok(()) };
        let swept = self.sweep(*latest).await;
        let count = if swept.is_ok() { &self.node.sweeps().ended } else { &self.node.sweeps().left };
        count.fetch_add(1, Ordering::Relaxed);
        let known = swept?;
        tracing::debug!(epoch = known.epoch, through = known.through, "tombstones are known everywhere");
        write(&self.node, waiting.into_keys().map(|shard| (shard, 1)), known).await?;
        self.collect().await
    }

    /// Has shards forget what is known everywhere already, where nobody writes.
    async fn collect(&self) -> Result<(), NotSwept> {
        let mut before = u64::MAX;
        for _ in 0..COLLECTED_MAX {
            let shards = self.node.standings().await?;
            let now: u64 = shards.values().map(|standing| standing.tombs.count).sum();
            let left = shards.into_iter().filter(|(_, standing)| standing.tombs.collectable > 0);
            let entries = |count: u64| count.div_ceil(COLLECTED_PER_APPLY_MAX as u64).min(COLLECTING_MAX);
            let left: BTreeMap<ShardId, u64> =
                left.map(|(shard, standing)| (shard, entries(standing.tombs.collectable))).collect();
            // Where others that are not known everywhere stand before them, they wait for those.
            if left.is_empty() || now >= before {
                return Ok(());
            }
            before = now;
            write(&self.node, left, Swept::default()).await?;
        }
        Ok(())
    }

    /// Finds out what is known everywhere, of the tombstones up to `latest` if all regions answer.
    async fn sweep(&self, latest: Stamp) -> Result<Swept, NotSwept> {
        let world = self.world()?;
        let regions: BTreeSet<RegionId> = world.regions.keys().copied().collect();
        let known = begin(&world, &self.survey_all(&regions, latest).await?)?;
        let mut under_way: Option<(Sweep, BTreeMap<Feed, _>)> = None;
        for _ in 0..ASKED_MAX {
            // Asked after all were past the stamp, so it is among the changes up to here.
            let surveys = self.survey_all(&regions, 0).await?;
            let (now, told) = (progress(&surveys), feeds(&surveys));
            let (sweep, of) = under_way.take().unwrap_or_else(|| (Sweep::begin(now.heads.clone()), told.clone()));
            if of != told || begin(&*self.world()?, &surveys)?.epoch != known.epoch {
                return Err(Unfit::Changed.into());
            }
            match sweep.advance(&regions, &now) {
                Sweep::Done => return Ok(known),
                going_on @ (Sweep::Spreading { .. } | Sweep::Flushing { .. }) => under_way = Some((going_on, of)),
            }
            sleep(ASK_AGAIN_AFTER).await;
        }
        Err(NotSwept::NotYet)
    }

    /// What the world agrees on, if that is about all regions that this node knows.
    fn world(&self) -> Result<Arc<ControlState>, NotSwept> {
        let world = self.agreement.watch().borrow().clone().ok_or(NotSwept::NotFounded)?;
        let others = self.contacts.upgrade().ok_or(NotSwept::NotFounded)?.others();
        match others.into_iter().chain([self.node.identity().0]).find(|region| !world.regions.contains_key(region)) {
            Some(region) => Err(NotSwept::NotAgreed(region)),
            None => Ok(world),
        }
    }

    /// How all shards of these regions stand, once all are past a stamp or have tried to be.
    async fn survey_all(&self, regions: &BTreeSet<RegionId>, past: Stamp) -> Result<Surveys, NotSwept> {
        let surveys = regions.iter().map(async |region| Ok((*region, self.survey_of(*region, past).await?)));
        try_join_all(surveys).await.map(Surveys::from_iter)
    }

    async fn survey_of(&self, region: RegionId, past: Stamp) -> Result<Survey, NotSwept> {
        if region == self.node.identity().0 {
            return survey(&self.node, past).await;
        }
        let contacts = self.contacts.upgrade().ok_or(NotSwept::Unknown(region))?;
        let mut last = NotSwept::Unknown(region);
        for node in contacts.nodes_for(region, Slot::default()) {
            match self.rpc.call(node, Lane::Bulk, calls::SURVEY, &[&encode(&past)], SURVEY_TIMEOUT).await {
                Ok(bytes) => return Ok(packing::unpack(&bytes)?),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }
}

/// How the shards of this region stand. Those that are not past a stamp log an entry before, which takes their own clocks' time:
/// one that is behind may still not be past it.
pub(super) async fn survey(node: &RegionNode, past: Stamp) -> Result<Survey, NotSwept> {
    let slots = node.region().slots.clone();
    let mut shards = node.standings().await?;
    let behind: Vec<ShardId> =
        shards.iter().filter(|(_, standing)| standing.stamp <= past).map(|(shard, _)| *shard).collect();
    if past > 0 && !behind.is_empty() {
        write(node, behind.into_iter().map(|shard| (shard, 1)), Swept::default()).await?;
        shards = node.standings().await?;
    }
    Ok(Survey { slots, shards })
}

/// Has shards of this region log what is known everywhere, each so many times: every entry collects a few tombstones.
async fn write(
    node: &RegionNode,
    shards: impl IntoIterator<Item = (ShardId, u64)>,
    known: Swept,
) -> Result<(), NotSwept> {
    let keys = node.shard_keys(NamespaceId(0));
    let of_shard = |(shard, count): (ShardId, u64)| {
        let key = keys.get(&shard).cloned().into_iter();
        key.flat_map(move |key| (0..count).map(move |_| command(key.clone(), Op::Swept { known })))
    };
    for outcome in node.write_within(Reach::Region, shards.into_iter().flat_map(of_shard).collect()).await {
        match outcome? {
            Outcome::Done => {}
            refused => return Err(NotSwept::Refused(refused)),
        }
    }
    Ok(())
}
