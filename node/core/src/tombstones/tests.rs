//! When tombstones go; `histories` look for a destroyed session that lives again.

mod histories;
mod world;

use super::*;
use crate::{Body, Fields, Incarnation, Kind, Used, Version, ids::NEVER};

fn record(incarnation: Stamp, life: Life, absolute_deadline: Stamp) -> Record {
    Record {
        incarnation: Incarnation { stamp: incarnation, region: RegionId(0) },
        version: Version { epoch: 1, home_epoch: 0, sequence: 1 },
        home: RegionId(0),
        kind: Kind::Hash,
        life,
        written: incarnation,
        idle_timeout_ms: 0,
        idle_deadline: NEVER,
        absolute_deadline,
        owner: None,
        body: Body::Hot(Fields::new()),
        used: Used::default(),
    }
}

const DAY_MS: u64 = 24 * 60 * 60_000;

#[test]
fn a_tombstone_goes_when_everybody_has_it_or_when_copies_are_refused_everywhere() {
    let dead = Life::Dead { at: 1_000, collect_at: 5_000, expired: false };
    let tombstone = record(1, dead, DAY_MS);
    assert!(!may_collect(&tombstone, true, true, 4_999), "a retry must still find it");
    assert!(may_collect(&tombstone, true, false, 5_000));
    assert!(!may_collect(&tombstone, false, true, DAY_MS), "another region's clock may be behind");
    assert!(may_collect(&tombstone, false, true, DAY_MS + CLOCK_SLACK_MS));
    assert!(!may_collect(&tombstone, false, false, NEVER), "somebody else may have gone on with the session");
    let living = record(1, Life::Live, DAY_MS);
    assert!(!may_collect(&living, true, true, NEVER));
    assert!(is_admissible(&living, None, DAY_MS - 1) && !is_admissible(&living, None, DAY_MS));
    assert!(is_admissible(&tombstone, None, NEVER));
    let later = record(2, Life::Live, DAY_MS);
    assert!(is_admissible(&later, Some(&living), DAY_MS), "the one that it replaced must not live on");
    assert!(!is_admissible(&living, Some(&later), DAY_MS) && !is_admissible(&living, Some(&living), DAY_MS));
}

#[test]
fn who_was_away_for_as_long_as_tombstones_stand_begins_anew() {
    let left = 100 * DAY_MS;
    assert_eq!(plan_return(left, left + DAY_MS, 2 * DAY_MS), Return::Merge);
    assert_eq!(plan_return(left, left + 2 * DAY_MS - CLOCK_SLACK_MS - 1, 2 * DAY_MS), Return::Merge);
    assert_eq!(plan_return(left, left + 2 * DAY_MS - CLOCK_SLACK_MS, 2 * DAY_MS), Return::Copy);
}

#[test]
fn what_is_known_everywhere_was_made_by_then_and_under_no_later_epoch() {
    let dead = |at| record(1, Life::Dead { at, collect_at: 5_000, expired: false }, DAY_MS);
    let covers = |epoch, through, tombstone: &Record| Swept { epoch, through }.covers(tombstone);
    assert!(covers(1, 1_000, &dead(1_000)) && covers(2, 1_000, &dead(900)));
    assert!(!covers(1, 999, &dead(1_000)), "made after the sweep began, for all that is known");
    assert!(!covers(0, 9_000, &dead(1_000)), "made by somebody who acts since");
    assert!(!covers(9, 9_000, &record(1, Life::Live, DAY_MS)));
    assert!(!Swept::default().covers(&dead(1)), "nothing is known at first");
}

#[test]
fn a_sweep_ends_when_all_have_the_tombstones_and_all_that_was_told_before() {
    let [na, eu] = [RegionId(0), RegionId(1)];
    let [of_na, of_eu] = [(na, ShardId(0)), (eu, ShardId(0))];
    let regions = BTreeSet::from([na, eu]);
    let progress = |eu_has: u64, na_has: u64, eu_head: u64| Progress {
        heads: BTreeMap::from([(of_na, 9), (of_eu, eu_head)]),
        cursors: BTreeMap::from([(na, BTreeMap::from([(of_eu, na_has)])), (eu, BTreeMap::from([(of_na, eu_has)]))]),
    };
    let begun = || Sweep::begin([(of_na, 8)].into());
    let sweep = begun().advance(&regions, &progress(7, 20, 20));
    assert_eq!(sweep, begun());
    let unheard = Progress { heads: BTreeMap::from([(of_na, 9)]), ..progress(8, 0, 0) };
    assert_eq!(sweep.clone().advance(&regions, &unheard), sweep, "nobody knows what it told");
    let sweep = sweep.advance(&regions, &progress(8, 5, 20));
    assert_eq!(sweep, Sweep::Flushing { through: BTreeMap::from([(of_na, 9), (of_eu, 20)]) });
    let sweep = sweep.advance(&regions, &progress(8, 20, 30));
    assert!(matches!(sweep, Sweep::Flushing { .. }), "eu has not seen change 9");
    assert_eq!(sweep.advance(&regions, &progress(9, 20, 30)), Sweep::Done);
}
