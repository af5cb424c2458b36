//! How far a region holds what all shards of the world told.

use crate::region::standing::Standing;
use sojourn_core::{
    RegionId, ShardId, Stamp,
    control::{Reach, Report},
    stream::{Progress, Source},
};
use std::collections::BTreeMap;

/// What a region of these shards reports. Where several of its shards follow one source, as far as the one that is furthest
/// behind.
pub(super) fn report(here: RegionId, shards: &BTreeMap<ShardId, Standing>) -> Report {
    let own = shards.iter().map(|(shard, Standing { stamp, index, .. })| {
        ((here, *shard), Reach { stamp: *stamp, index: *index, head: *index })
    });
    let mut report: Report = own.collect();
    for (Source { region, shard }, reach) in shards.values().flat_map(reaches) {
        let least = report.entry((region, shard)).or_insert(reach);
        let Reach { stamp, index, head } = *least;
        *least = Reach { stamp: stamp.min(reach.stamp), index: index.min(reach.index), head: head.max(reach.head) };
    }
    // Slots of theirs may have gone to shards that are not followed here yet.
    for (region, held) in shards.values().flat_map(|shard| &shard.lags_behind) {
        let theirs = report.iter_mut().filter(|((of, _), _)| of == region);
        theirs.for_each(|(_, reach)| *reach = lagging(*reach, *held));
    }
    report
}

/// How far a shard holds what each other one told with which it shares slots.
pub(super) fn reaches(standing: &Standing) -> impl Iterator<Item = (Source, Reach)> {
    let shared = standing.followed.iter().filter(|(_, progress)| progress.shares_slots());
    shared.map(|(source, progress)| {
        let held = standing.lags_behind.get(&source.region);
        (*source, held.map_or(reach(progress), |held| lagging(reach(progress), *held)))
    })
}

/// What is left of a reach where slots came that lack what was logged after `held`: no index says how far they are.
fn lagging(reach: Reach, held: Stamp) -> Reach {
    Reach { stamp: reach.stamp.min(held), index: 0, ..reach }
}

fn reach(progress: &Progress) -> Reach {
    let index = progress.cursor.map_or(0, |cursor| cursor.index);
    Reach { stamp: progress.held, index, head: index }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sojourn_core::{
        Slot, SlotSet,
        feed::{FeedCursor, FeedId},
    };

    #[test]
    fn what_several_shards_follow_is_held_as_far_as_by_the_last_of_them() {
        let [na, eu] = [RegionId(0), RegionId(1)];
        let followed = |held, index| {
            let cursor = Some(FeedCursor { feed: FeedId(7), index });
            let slots = SlotSet::of_slots([Slot::default()]);
            let progress = Progress { cursor, slots, held, as_of: 99, ..Progress::default() };
            BTreeMap::from([(Source { region: na, shard: ShardId(0) }, progress)])
        };
        let shards = BTreeMap::from([
            (ShardId(0), Standing { stamp: 50, index: 5, followed: followed(40, 4), ..Standing::default() }),
            (ShardId(1), Standing { stamp: 60, index: 6, followed: followed(30, 9), ..Standing::default() }),
        ]);
        let reach = |stamp, index| Reach { stamp, index, head: index };
        let last = Reach { head: 9, ..reach(30, 4) };
        let expected = [((na, 0), last), ((eu, 0), reach(50, 5)), ((eu, 1), reach(60, 6))];
        let expected = expected.map(|((region, shard), reach)| ((region, ShardId(shard)), reach));
        assert_eq!(report(eu, &shards), Report::from(expected));

        let mut parted = shards.clone();
        let last = parted.get_mut(&ShardId(1)).expect("a shard");
        last.lags_behind.insert(na, 20);
        let lacking = |stamp| Reach { index: 0, ..reach(stamp, 9) };
        assert_eq!(report(eu, &parted)[&(na, ShardId(0))], lacking(20), "slots came that lack what na told");
        let held = reaches(&parted[&ShardId(1)]).next();
        assert_eq!(held.map(|(_, reach)| reach), Some(lacking(20)));
        let last = parted.get_mut(&ShardId(1)).expect("a shard");
        last.lags_behind.clear();
        last.followed.values_mut().for_each(|progress| progress.slots = SlotSet::default());
        assert_eq!(report(eu, &parted)[&(na, ShardId(0))], reach(40, 4), "they share no slots any more");
    }
}
