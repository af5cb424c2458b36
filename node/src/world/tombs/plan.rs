//! What the shards of the world say about how far tombstones are known.

use crate::world::calls::Survey;
use sojourn_core::{
    RegionId, ShardId, SlotTable,
    control::ControlState,
    feed::FeedId,
    stream::Source,
    tombstones::{Feed, Progress, Swept},
};
use std::collections::{BTreeMap, BTreeSet};

/// The shards of each region.
pub(super) type Surveys = BTreeMap<RegionId, Survey>;

/// Why nothing can be found out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::world) enum Unfit {
    #[error("region {} does not act for itself, or has not settled what was written meanwhile", .0.0)]
    NotItself(RegionId),
    #[error("not all shards of region {} are known", .0.0)]
    Unheard(RegionId),
    #[error("shard {} of region {} does not act for its own region alone under the epoch of the world, or lacks something", .1.0, .0.0)]
    Unsettled(RegionId, ShardId),
    #[error("the right to act has changed hands meanwhile, slots have moved, or a feed has begun anew")]
    Changed,
}

/// What will be known everywhere once everybody has what all shards have told, as they are after these surveys.
///
/// # Errors
/// Somebody may have tombstones that are in nobody's changes: see [`Swept`].
pub(super) fn begin(world: &ControlState, surveys: &Surveys) -> Result<Swept, Unfit> {
    for region in world.regions.values() {
        if !region.is_at_rest() {
            return Err(Unfit::NotItself(region.id));
        }
        let survey = surveys.get(&region.id).ok_or(Unfit::Unheard(region.id))?;
        if shards(&survey.slots) != survey.shards.keys().copied().collect() {
            return Err(Unfit::Unheard(region.id));
        }
        for (shard, standing) in &survey.shards {
            let acts = standing.rights.iter().filter(|(_, right)| right.acts).map(|(home, right)| (*home, right.epoch));
            let lacks = standing.rights.values().any(|right| !right.acts && right.missing_since.is_some());
            if lacks || standing.is_parted || !standing.lags_behind.is_empty() || !acts.eq([(region.id, region.epoch)])
            {
                return Err(Unfit::Unsettled(region.id, *shard));
            }
        }
    }
    let stamps = surveys.values().flat_map(|survey| survey.shards.values()).map(|standing| standing.stamp);
    let through = stamps.min().unwrap_or(0).saturating_sub(1);
    Ok(Swept { epoch: world.last_epoch, through })
}

fn shards(slots: &SlotTable) -> BTreeSet<ShardId> {
    slots.ranges().into_iter().map(|(_, _, shard)| shard).collect()
}

/// Which feeds the indexes of these surveys are of, and up to which of them the shards have served other slots than since then.
pub(super) fn feeds(surveys: &Surveys) -> BTreeMap<Feed, (FeedId, u64)> {
    let shards = surveys.iter().flat_map(|(region, survey)| survey.shards.iter().map(|shard| (*region, shard)));
    shards.map(|(region, (shard, standing))| ((region, *shard), (standing.feed, standing.turned))).collect()
}

/// How far everybody is.
pub(super) fn progress(surveys: &Surveys) -> Progress {
    let mut progress = Progress::default();
    for (reader, survey) in surveys {
        let heads = survey.shards.iter().map(|(shard, standing)| ((*reader, *shard), standing.index));
        progress.heads.extend(heads);
        let cursors = progress.cursors.entry(*reader).or_default();
        for (source, told) in surveys.iter().filter(|(source, _)| *source != reader) {
            for (shard, from) in overlaps(&survey.slots, &told.slots) {
                let taken = taken(survey, shard, (*source, from), told);
                let least: &mut u64 = cursors.entry((*source, from)).or_insert(taken);
                *least = taken.min(*least);
            }
        }
    }
    progress
}

/// Up to which index one shard has all of another region's; 0 if that is not known.
fn taken(survey: &Survey, shard: ShardId, (region, from): Feed, told: &Survey) -> u64 {
    let taken = survey.shards.get(&shard).and_then(|standing| standing.taken.get(&Source { region, shard: from }));
    let feed = told.shards.get(&from).map(|standing| standing.feed);
    taken.filter(|cursor| Some(cursor.feed) == feed).map_or(0, |cursor| cursor.index)
}

/// The shards of two regions that share slots.
fn overlaps(ours: &SlotTable, theirs: &SlotTable) -> BTreeSet<(ShardId, ShardId)> {
    let theirs = theirs.ranges();
    let shared = ours.ranges().into_iter().flat_map(|(first, last, shard)| {
        let overlapping = theirs.iter().filter(move |(from, until, _)| first.max(*from) <= last.min(*until));
        overlapping.map(move |(_, _, other)| (shard, *other))
    });
    shared.collect()
}
