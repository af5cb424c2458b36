//! When sessions move, and that they never have two homes.

mod homes;

use super::*;
use crate::{Body, Fields, Incarnation, Kind, Used, ids::NEVER, merge::merge};
use proptest::prelude::*;

const POLICY: TravelPolicy = TravelPolicy { uses_min: 4, times_home: 3, half_life_ms: 1_000 };
const HOME: RegionId = RegionId(0);

fn noted(uses: &[(u16, Stamp)]) -> Uses {
    let mut counted = Uses::default();
    uses.iter().for_each(|(region, now)| counted.note(RegionId(*region), HOME, *now, &POLICY));
    counted
}

#[test]
fn a_session_follows_whoever_uses_it_mostly_from_one_other_region() {
    let from =
        |regions: &[u16]| noted(&regions.iter().map(|region| (*region, 1)).collect::<Vec<_>>()).should_move(&POLICY);
    assert_eq!(from(&[1, 1, 1]), None, "too few");
    assert_eq!(from(&[1, 1, 1, 1]), Some(RegionId(1)));
    assert_eq!(from(&[0, 0, 1, 1, 1, 1, 1]), None, "often used at home");
    assert_eq!(from(&[0, 0, 1, 1, 1, 1, 1, 1]), Some(RegionId(1)));
    assert_eq!(from(&[1, 2].repeat(50)), None, "used from everywhere");
    assert_eq!(from(&[2, 1, 1, 1, 1, 1]), Some(RegionId(1)), "one use from elsewhere changes little");
    let mostly = |uses: &[(u16, Stamp)]| noted(uses).mostly_from();
    assert_eq!((mostly(&[(0, 1)]), mostly(&[(0, 1), (2, 1)])), (None, Some(RegionId(2))), "however little");
}

#[test]
fn what_was_long_ago_counts_less() {
    let at_home: Vec<(u16, Stamp)> = vec![(0, 1); 16];
    let later = |now: Stamp| noted(&[at_home.clone(), vec![(1, now); 6]].concat()).should_move(&POLICY);
    assert_eq!(later(2_000), None);
    assert_eq!(later(2_001), None);
    assert_eq!(later(3_001), Some(RegionId(1)), "sixteen are two after three half-lives");
    assert_eq!(noted(&[(1, 1), (1, 1), (1, 1), (1, 1), (0, NEVER)]).should_move(&POLICY), None);
    assert_eq!(size_of::<Uses>(), 16);
}

proptest! {
    #[test]
    fn every_move_is_paid_for_with_new_uses(uses in proptest::collection::vec((0_u16..3, 0_u64..500), 0..300)) {
        let (mut home, mut counted, mut now, mut since_move) = (HOME, Uses::default(), 1, [0_u32; 3]);
        for (region, pause) in uses {
            now += pause;
            counted.note(RegionId(region), home, now, &POLICY);
            since_move[usize::from(region)] += 1;
            if let Some(to) = counted.should_move(&POLICY) {
                prop_assert!(to != home);
                prop_assert!(since_move[usize::from(to.0)] >= u32::from(POLICY.uses_min));
                (home, counted, since_move) = (to, Uses::default(), [0; 3]);
            }
        }
    }
}

fn record(version: (u32, u32, u64), home: u16) -> Record {
    let (epoch, home_epoch, sequence) = version;
    Record {
        incarnation: Incarnation { stamp: 1, region: HOME },
        version: Version { epoch, home_epoch, sequence },
        home: RegionId(home),
        kind: Kind::Hash,
        life: Life::Live,
        written: 1,
        idle_timeout_ms: 0,
        idle_deadline: NEVER,
        absolute_deadline: 1_000,
        owner: None,
        body: Body::Hot(Fields::new()),
        used: Used::default(),
    }
}

#[test]
fn what_has_ended_does_not_travel() {
    let living = record((3, 0, 9), 0);
    assert_eq!(release(&living, HOME, 3, 10, 5), Err(TravelRefusal::AtHome));
    assert_eq!(release(&living, RegionId(1), 3, 10, 1_000), Err(TravelRefusal::Ended));
    let dead = Record { life: Life::Dead { at: 1, collect_at: 9, expired: false }, ..living };
    assert_eq!(release(&dead, RegionId(1), 3, 10, 5), Err(TravelRefusal::Ended));
}

#[test]
fn the_cut_decides_over_a_session_that_was_on_its_way() {
    let stayed = record((3, 0, 9), 0);
    let released = release(&stayed, RegionId(1), 3, 10, 5).expect("it lives");
    assert!(left_too_late(&stayed, &released, 4), "under an epoch that had passed");
    assert!(!left_too_late(&stayed, &released, 3));
    assert!(!left_too_late(&released, &released, 4), "what was known at the cut stands");
    assert!(!left_too_late(&released, &stayed, 4), "an older copy says nothing");
    assert!(belongs_to_heir(8, 7) && !belongs_to_heir(7, 7));
}

proptest! {
    /// Regions have whatever epochs they have; each hop and each write between must be newer than all before.
    #[test]
    fn versions_only_rise_on_the_way_from_home_to_home(
        epochs in [1_u32..9, 1..9, 1..9], hops in proptest::collection::vec((0_u16..3, 0_u64..4, 0_u64..20), 1..20),
    ) {
        let mut current = record((epochs[0], 0, 1), 0);
        let mut all = vec![current.clone()];
        for (to, writes, sequence) in hops {
            let epoch = epochs[usize::from(current.home.0)];
            // The slot's count of another region may be anywhere.
            if let Ok(released) = release(&current, RegionId(to), epoch, sequence, 5) {
                prop_assert!(released.version > current.version && released.version.epoch >= current.version.epoch);
                prop_assert_eq!(released.version.home_epoch, current.version.home_epoch + 1);
                current = released;
                all.push(current.clone());
            }
            for _ in 0..writes {
                // As `State::apply` counts: the highest epoch, the next sequence.
                let epoch = current.version.epoch.max(epochs[usize::from(current.home.0)]);
                current.version = Version { epoch, sequence: current.version.sequence + 1, ..current.version };
                all.push(current.clone());
            }
        }
        for earlier in &all {
            prop_assert_eq!(merge(earlier, &current).record.home, current.home, "the last home is known by its version");
            prop_assert_eq!(merge(earlier, &current).record, current.clone());
        }
    }
}
