//! The laws of merge, over all small cases and over random ones.

use super::merge;
use crate::{Body, Fields, Incarnation, Kind, Life, Owner, Record, RegionId, Used, Version, ids::NEVER};
use proptest::prelude::*;

fn record(incarnation: u64, sequence: u64, life: Life) -> Record {
    let alive = life == Life::Live;
    let body = if alive { Fields::value(sequence.to_string().into_bytes().into()) } else { Fields::new() };
    Record {
        incarnation: Incarnation { stamp: incarnation, region: RegionId(0) },
        version: Version { epoch: 1, home_epoch: 0, sequence },
        home: RegionId(0),
        kind: Kind::String,
        life,
        written: sequence,
        idle_timeout_ms: 10,
        idle_deadline: 50,
        absolute_deadline: 1_000,
        owner: None,
        body: Body::Hot(body),
        used: Used::default(),
    }
}

fn dead(at: u64, collect_at: u64, expired: bool) -> Life {
    Life::Dead { at, collect_at, expired }
}

/// Every combination of few values of all that merging looks at.
fn small_records() -> Vec<Record> {
    let lives = [Life::Live, dead(5, 90, false), dead(6, 80, true), dead(6, 95, true)];
    let mut records = Vec::new();
    for incarnation in [1, 2] {
        for life in lives {
            for (sequence, idle_deadline, written) in [(1, 50, 1), (1, 60, 3), (2, 40, 2), (2, NEVER, 2)] {
                for home in [0, 1] {
                    let home = RegionId(home);
                    records.push(Record { idle_deadline, written, home, ..record(incarnation, sequence, life) });
                }
            }
        }
    }
    // Bodies and owners that no version should have twice.
    let odd = Body::Hot(Fields::value(b"odd"[..].into()));
    records.push(Record { body: odd, ..record(1, 2, Life::Live) });
    records.push(Record { body: Body::Cold { bytes: 3, field_count: 1 }, ..record(1, 2, Life::Live) });
    records.push(Record { owner: Some(Box::new(Owner::default())), ..record(1, 2, Life::Live) });
    records
}

fn joined(left: &Record, right: &Record) -> Record {
    merge(left, right).record
}

#[test]
fn merging_is_commutative_associative_and_idempotent_over_all_small_cases() {
    let records = small_records();
    for one in &records {
        assert_eq!(joined(one, one), *one);
        for two in &records {
            let both = joined(one, two);
            assert_eq!(merge(one, two), merge(two, one));
            assert_eq!(joined(&both, one), both, "what is in it already changes nothing");
            for three in &records {
                assert_eq!(joined(&both, three), joined(one, &joined(two, three)), "{one:?} {two:?} {three:?}");
            }
        }
    }
}

#[test]
fn the_higher_incarnation_wins_and_the_loser_is_told_if_it_lived() {
    let (old, new) = (record(1, 9, Life::Live), record(2, 1, Life::Live));
    let merged = merge(&old, &new);
    assert_eq!((merged.record, merged.superseded), (new.clone(), Some(old)));
    assert_eq!(merge(&record(1, 9, dead(5, 90, false)), &new).superseded, None);
}

#[test]
fn a_destroyed_session_stays_destroyed_whatever_was_written_elsewhere() {
    let (tombstone, written) = (record(1, 1, dead(5, 90, false)), record(1, 7, Life::Live));
    let merged = joined(&tombstone, &written);
    assert_eq!(merged.life, dead(5, 90, false));
    assert_eq!(merged.version, written.version, "versions never go back");
    assert_eq!(merged.body, Body::Hot(Fields::new()));
}

#[test]
fn a_write_may_shorten_the_idle_deadline_and_a_touch_may_not() {
    let touched = Record { idle_deadline: 80, ..record(1, 1, Life::Live) };
    assert_eq!(joined(&touched, &record(1, 1, Life::Live)).idle_deadline, 80);
    let shortened = Record { idle_deadline: 20, ..record(1, 2, Life::Live) };
    assert_eq!(joined(&touched, &shortened).idle_deadline, 20);
}

fn any_record() -> impl Strategy<Value = Record> {
    let life = prop_oneof![
        Just(Life::Live),
        (0_u64..4, 0_u64..4, any::<bool>()).prop_map(|(at, collect_at, expired)| dead(at, collect_at, expired)),
    ];
    let incarnation = (0_u64..2, 0_u16..2);
    let version = (0_u32..2, 0_u32..2, 0_u64..3);
    let times = (0_u64..4, 0_u64..4, prop_oneof![0_u64..4, Just(NEVER)]);
    (life, incarnation, version, times, 0_u16..2, "[ab]{0,2}").prop_map(
        |(life, (stamp, region), (epoch, home_epoch, sequence), (written, absolute, idle_deadline), home, text)| {
            let alive = life == Life::Live;
            let body = if alive { Fields::value(text.as_bytes().into()) } else { Fields::new() };
            let owner = Owner { user: text.into_bytes().into(), ..Owner::default() };
            Record {
                incarnation: Incarnation { stamp, region: RegionId(region) },
                version: Version { epoch, home_epoch, sequence },
                home: RegionId(home),
                written,
                idle_deadline,
                absolute_deadline: absolute,
                owner: (alive && written > 1).then(|| Box::new(owner)),
                body: Body::Hot(body),
                ..record(0, 0, life)
            }
        },
    )
}

proptest! {
    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        one in any_record(), two in any_record(), three in any_record()
    ) {
        prop_assert_eq!(joined(&one, &one), one.clone());
        prop_assert_eq!(merge(&one, &two), merge(&two, &one));
        prop_assert_eq!(joined(&joined(&one, &two), &three), joined(&one, &joined(&two, &three)));
    }
}
