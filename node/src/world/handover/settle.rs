//! Settles what this region wrote while others acted for it, and what it wrote for a home that it acted for when it was lost.
//!
//! The sessions of that home stand still meanwhile: this region orders none of them, and believes nobody about them. So whoever
//! coordinates next finds the same ones and asks the same: each session has a request of its own, named by what it is, and is counted
//! once.

use super::driver::{Driver, Undone};
use crate::region::{backend::Backend, held::Told, standing::Standing};
use sha2::{Digest, Sha256};
use sojourn_core::{
    Command, Key, Op, Outcome, Record, RegionId, Request, ShardId,
    control::{Region, Step},
    orphans::{Orphaned, Tally},
    policy::Policy,
    state::Believed,
    stream::Span,
    tombstones::{CLOCK_SLACK_MS, Return, plan_return},
};
use sojourn_proto::wire::encode;
use std::collections::BTreeMap;

/// How often one session is asked for in a row that was refused: fields of the one that the others have may be on disk only. While
/// nobody acts yet, all begins anew.
const ATTEMPTS_MAX: usize = 8;

impl Driver {
    /// Has `acting` settle what this region wrote for a home after the cut, and says so. What became of it is taken in afterwards only:
    /// until then whoever coordinates finds the same sessions.
    pub(super) async fn settle(
        &self,
        home: &Region,
        acting: RegionId,
        shards: &BTreeMap<ShardId, Standing>,
    ) -> Result<(), Undone> {
        let (here, ..) = self.node.identity();
        let policies =
            self.node.region().namespaces.values().map(|namespace| namespace.policy.foreign_absolute_ms).min();
        // Others have acted, and destroyed sessions of the home, since who wrote them last was fenced at the earliest.
        let fenced_at = home.cut.values().map(|gap| gap.stamp.saturating_add(gap.ms)).min();
        let how = fenced_at.map(|at| plan_return(at, self.node.now_ms(), policies.unwrap_or(0)));
        if how == Some(Return::Copy) {
            tracing::error!(
                "this region was away for longer than others remember what was destroyed, so its sessions may not come back: \
                 begin its nodes anew with empty data directories"
            );
            return Err(Undone::AwayTooLong);
        }
        let mut orphans = Tally::default();
        // The planted bug: nobody hears of them.
        let drops = self.node.env().plants.drops_orphans;
        for (shard, standing) in shards.iter().filter(|_| !drops) {
            let told = cut(home, here, (*shard, standing));
            self.settle_shard((home.id, home.epoch), acting, (*shard, told), &mut orphans).await?;
        }
        tracing::info!(home = home.id.0, ?orphans, "what only this region had written is settled");
        self.step(home.id, home.epoch, Step::Settled { by: here, orphans }).await
    }

    /// Takes in from `acting` what became of the sessions of this region, and says so.
    pub(super) async fn reconcile(
        &self,
        own: &Region,
        acting: RegionId,
        shards: &BTreeMap<ShardId, Standing>,
    ) -> Result<(), Undone> {
        for (shard, standing) in shards {
            // Those who act stamp by their own clocks.
            let since = cut(own, own.id, (*shard, standing)).stamp.saturating_sub(CLOCK_SLACK_MS);
            self.pull((own.id, own.epoch), acting, (*shard, standing.stamp), since, &Believed::new()).await?;
        }
        self.step(own.id, own.epoch, Step::Reconciled).await
    }

    async fn settle_shard(
        &self,
        home: (RegionId, u32),
        acting: RegionId,
        (shard, told): (ShardId, Told),
        orphans: &mut Tally,
    ) -> Result<(), Undone> {
        let mut span = Span::all_after(None);
        loop {
            let (records, until) = self.node.held(shard, home.0, told, span).await?;
            let mut left: Vec<(Key, Record)> = records.into_iter().filter(|(_, mine)| is_orphan(mine, home)).collect();
            for _attempt in 0..ATTEMPTS_MAX {
                if !left.is_empty() {
                    left = self.settle_page(home, acting, left, orphans).await?;
                }
            }
            if !left.is_empty() {
                return Err(Undone::NotYet(acting));
            }
            match until {
                Some(until) => span = Span::all_after(Some(until)),
                None => return Ok(()),
            }
        }
    }

    /// Asks for some sessions; those that were refused come back.
    async fn settle_page(
        &self,
        (home, epoch): (RegionId, u32),
        acting: RegionId,
        page: Vec<(Key, Record)>,
        orphans: &mut Tally,
    ) -> Result<Vec<(Key, Record)>, Undone> {
        let (here, ..) = self.node.identity();
        let commands = page.iter().map(|(key, mine)| settle_one(here, (home, epoch), key, mine)).collect();
        let mut left = Vec::new();
        for (orphan, outcome) in page.into_iter().zip(self.node.write_at(acting, commands).await) {
            match outcome? {
                Outcome::Settled(tally) => add(orphans, tally),
                Outcome::Refused(_) => left.push(orphan),
                strange => return Err(Undone::Refused(strange)),
            }
        }
        Ok(left)
    }
}

/// Up to where others hold what a shard of region `by` wrote for a home. What a slot brought from another shard was written by that one, under
/// indexes of its own.
fn cut(home: &Region, by: RegionId, (shard, standing): (ShardId, &Standing)) -> Told {
    if standing.has_moved {
        let theirs = home.cut.iter().filter(|((region, _), _)| *region == by);
        let stamp = theirs.map(|(_, gap)| gap.stamp).min().unwrap_or(0);
        return Told { stamp, index: 0 };
    }
    home.cut.get(&(by, shard)).map_or(Told::default(), |gap| Told { stamp: gap.stamp, index: gap.index })
}

/// Whether a record may be what this region wrote itself, where `epoch` is the one under which others act by now: it wrote under those
/// before. What it has taken in of theirs since, conflicts that they noted included, is settled already, and is here when the world has
/// not heard yet that it is.
fn is_orphan(mine: &Record, (home, epoch): (RegionId, u32)) -> bool {
    mine.home == home && mine.version.epoch < epoch
}

/// Settles one session.
fn settle_one(by: RegionId, (home, epoch): (RegionId, u32), key: &Key, mine: &Record) -> Command {
    let orphan = Orphaned { key: key.clone(), mine: mine.clone(), base: None };
    // What was written under a later epoch than this region's last one was written by others; what it wrote itself may be of
    // any before.
    let since = mine.version.epoch.saturating_add(1).min(epoch);
    let op = Op::Settle { by, home, epoch: since, how: Return::Merge, orphans: vec![orphan] };
    let request = Request { origin: origin(by, home, epoch), sequence: name(key, mine), settled: 0 };
    Command { request, key: key.clone(), rules: Policy::default().rules(false), touched: None, op }
}

/// Names this return among all that write to a shard.
fn origin(by: RegionId, home: RegionId, epoch: u32) -> u64 {
    first_bytes(&[b"return", &encode(&(by, (home, epoch)))[..]].concat()).max(1)
}

/// Names an orphan among those of its return.
fn name(key: &Key, mine: &Record) -> u64 {
    first_bytes(&encode(&(key.clone(), mine.version))).max(1)
}

fn first_bytes(bytes: &[u8]) -> u64 {
    let digest = Sha256::digest(bytes);
    digest.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

fn add(sum: &mut Tally, more: Tally) {
    let Tally { already_applied, merged, fast_forwarded, journaled } = more;
    sum.already_applied += already_applied;
    sum.merged += merged;
    sum.fast_forwarded += fast_forwarded;
    sum.journaled += journaled;
}

#[cfg(test)]
mod tests {
    use super::*;
    use sojourn_core::{Body, Fields, Incarnation, Kind, Life, Version, session::Used};

    #[test]
    fn what_others_wrote_is_no_orphan_when_it_is_settled_once_more() {
        let na = RegionId(0);
        let written = |home, epoch| Record {
            incarnation: Incarnation { stamp: 1, region: na },
            version: Version { epoch, home_epoch: 0, sequence: 1 },
            home,
            kind: Kind::Hash,
            life: Life::Live,
            written: 9,
            idle_timeout_ms: 0,
            idle_deadline: u64::MAX,
            absolute_deadline: u64::MAX,
            owner: None,
            body: Body::Hot(Fields::new()),
            used: Used::default(),
        };
        let is_orphan = |home, epoch| is_orphan(&written(home, epoch), (na, 5));
        assert!(is_orphan(na, 2) && is_orphan(na, 4));
        assert!(!is_orphan(na, 5) && !is_orphan(na, 6) && !is_orphan(RegionId(1), 2));
    }
}
