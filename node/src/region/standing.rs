//! How the shards of this region stand to each home, and how far they hold what others told: asked of their leaders, so that
//! one node can answer for the region.

use super::{
    calls,
    node::{Inner, RegionNode},
    shards::Shard,
};
use crate::{peers::Lane, shard::NotProposed};
use futures::future::try_join_all;
use sojourn_core::{
    NamespaceId, RegionId, ShardId, Stamp,
    feed::{FeedCursor, FeedId},
    state::{Right, Tombs},
    stream::{Progress, Source},
};
use sojourn_proto::{wire::encode, wire_struct};
use std::{collections::BTreeMap, time::Duration};

/// How long a leader may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// A shard, as its leader has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// The stamp of its last entry.
    pub stamp: Stamp,
    /// The index of that entry.
    pub index: u64,
    /// Which feed the index is of.
    pub feed: FeedId,
    /// How it stands to each home.
    pub rights: BTreeMap<RegionId, Right>,
    /// The version of the failover mode that it has logged.
    pub adopted: Option<u64>,
    /// How far it has followed other regions' shards.
    pub followed: BTreeMap<Source, Progress>,
    /// Up to which entry it has served other slots than since then.
    pub turned: u64,
    /// Whether some of its slots came from another shard, or went to one.
    pub has_moved: bool,
    /// Whether some of its slots are on their way, so that another shard may know better.
    pub is_parted: bool,
    /// Regions of whose sessions it may lack what their shards told, since some of its slots came by a move, and up to which stamp it holds
    /// all the same what they logged.
    pub lags_behind: BTreeMap<RegionId, Stamp>,
    /// Up to where its log has all of those that it follows now, by its leader's memory: what brings nothing is not logged.
    pub taken: BTreeMap<Source, FeedCursor>,
    /// Its tombstones.
    pub tombs: Tombs,
    /// How many sessions live that are at home in each region, by namespace.
    pub homes: Homes,
}

/// Sessions at home in each region, by namespace.
pub type Homes = BTreeMap<RegionId, BTreeMap<NamespaceId, u64>>;

wire_struct!(Standing {
    stamp,
    index,
    feed,
    rights,
    adopted,
    followed,
    turned,
    has_moved,
    is_parted,
    lags_behind,
    taken,
    tombs,
    homes
});

impl Shard {
    fn standing(&self, now: Stamp) -> Standing {
        // Whatever the shard has told before it had taken that in is in its feed by then.
        let taken = self.copies().map(|copies| copies.taken()).unwrap_or_default();
        // Read before the state: what is told to followers has been applied before.
        let FeedCursor { feed, index } = self.group.machine().feed_end();
        let turned = self.group.machine().turned();
        self.group.machine().audit(|state| Standing {
            stamp: state.last_stamp(),
            index,
            feed,
            rights: state.rights().clone(),
            adopted: state.adopted(),
            followed: state.followed().clone(),
            turned,
            has_moved: !state.holds().is_empty(),
            is_parted: state.is_parted(),
            lags_behind: state.lags_behind().collect(),
            taken,
            tombs: state.tombs(now),
            homes: state.homes(),
        })
    }
}

impl RegionNode {
    /// All shards of the region.
    ///
    /// # Errors
    /// The leader of one does not answer.
    pub async fn standings(&self) -> Result<BTreeMap<ShardId, Standing>, NotProposed> {
        let region = self.inner.system.machine().now();
        let shards: Vec<ShardId> = region.slots.ranges().into_iter().map(|(_, _, shard)| shard).collect();
        let asked = shards.into_iter().map(|shard| async move { Ok((shard, self.inner.standing(shard).await?)) });
        Ok(try_join_all(asked).await?.into_iter().collect())
    }

    /// How many sessions live that are at home in each region, as the copies here show them.
    ///
    /// # Errors
    /// The leader of a shard does not answer.
    pub async fn homes(&self) -> Result<Homes, NotProposed> {
        let mut homes = Homes::new();
        for standing in self.standings().await?.into_values() {
            for (home, namespaces) in standing.homes {
                let of_home = homes.entry(home).or_default();
                namespaces.into_iter().for_each(|(namespace, count)| *of_home.entry(namespace).or_default() += count);
            }
        }
        Ok(homes)
    }

    /// Whether this node leads the system group, and so acts for its region before others.
    pub fn is_coordinator(&self) -> bool {
        self.inner.system.leading_term().is_some()
    }
}

impl Inner {
    async fn standing(&self, shard: ShardId) -> Result<Standing, NotProposed> {
        let lead = self.find_leader(shard).await.ok_or(NotProposed::NotLeader)?;
        if lead.node == self.options.node {
            return self.standing_here(shard).await;
        }
        let answer = self.rpc.call(lead.node, Lane::Fast, calls::STANDING, &[&encode(&shard)], ANSWER_TIMEOUT).await;
        self.forwarded(shard, lead, answer)
    }

    /// A shard that this node leads, with all that was logged before this was asked.
    ///
    /// # Errors
    /// This node does not lead it.
    pub(super) async fn standing_here(&self, shard: ShardId) -> Result<Standing, NotProposed> {
        let held = self.shards.get(shard).ok_or(NotProposed::NotLeader)?;
        if !held.reads.confirm().await {
            return Err(NotProposed::NotLeader);
        }
        Ok(held.standing(self.now_ms()))
    }
}
