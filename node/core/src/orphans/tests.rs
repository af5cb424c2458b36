//! Two regions go apart, each with sessions of its own making, and come together again.

mod shards;

use super::*;
use crate::{
    Body, Command, Condition, Expiry, Fields, Incarnation, Key, Kind, NamespaceId, Op, RegionId, Request, State, Used,
    Version,
    ids::NEVER,
    policy::Policy,
    state::{Effect, Right},
};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The epoch that the home had, and the one that was drawn when others took over.
const OLD: u32 = 2;
const NEW: u32 = 5;
const NOW: Stamp = 500;

fn record(incarnation: Stamp, version: (u32, u64), life: Life) -> Record {
    let (epoch, sequence) = version;
    let fields = Fields::value(format!("{epoch}.{sequence}").into_bytes().into());
    Record {
        incarnation: Incarnation { stamp: incarnation, region: RegionId(0) },
        version: Version { epoch, home_epoch: 0, sequence },
        home: RegionId(0),
        kind: Kind::String,
        life,
        written: 1,
        idle_timeout_ms: 10,
        idle_deadline: NEVER,
        absolute_deadline: 1_000,
        owner: None,
        body: Body::Hot(if life == Life::Live { fields } else { Fields::new() }),
        used: Used::default(),
    }
}

fn dead(expired: bool) -> Life {
    Life::Dead { at: 1, collect_at: 1_000, expired }
}

fn small_records() -> Vec<Record> {
    let mut records = Vec::new();
    for incarnation in [1, 2] {
        for life in [Life::Live, dead(false), dead(true)] {
            for version in [(OLD, 1), (OLD, 2), (NEW, 1), (NEW, 2)] {
                for (home, absolute_deadline, idle_deadline) in [(0, 1_000, 600), (0, 1_000, 700), (1, 100, 600)] {
                    let home = RegionId(home);
                    records.push(Record {
                        home,
                        absolute_deadline,
                        idle_deadline,
                        ..record(incarnation, version, life)
                    });
                }
            }
        }
    }
    records
}

/// What holds of any three records, those included that no correct region has.
fn check(orphan: Orphan<'_>) -> Settled {
    let Orphan { mine, current, .. } = orphan;
    let settled = settle(orphan, NEW, NOW);
    assert_eq!(settled, settle(orphan, NEW, NOW));
    let Some(after) = settled.record().or(current) else {
        assert!(mine.life == Life::Live && mine.absolute_deadline <= NOW, "only what has ended may vanish");
        return settled;
    };
    if mine.life != Life::Live || mine.absolute_deadline > NOW {
        assert_eq!(merge(after, mine).record, *after, "the copies meet again and nothing changes");
    }
    if let Some(current) = current {
        assert_eq!(merge(after, current).record, *after, "so do those elsewhere");
        let ended = current.life != Life::Live && current.incarnation == after.incarnation;
        assert!(!ended || after.life != Life::Live, "what was destroyed lives again");
    }
    settled
}

#[test]
fn settling_agrees_with_merging_over_all_small_cases() {
    let (records, mut tally, mut looked_at) = (small_records(), Tally::default(), 0);
    for mine in &records {
        for current in records.iter().map(Some).chain([None]) {
            for base in records.iter().step_by(5).map(Some).chain([None]) {
                tally.count(&check(Orphan { mine, base, current }));
                looked_at += 1;
            }
        }
    }
    assert_eq!(tally.total(), looked_at);
    let Tally { already_applied, merged, fast_forwarded, journaled } = tally;
    assert!([already_applied, merged, fast_forwarded, journaled].iter().all(|count| *count > 1_000), "{tally:?}");
}

#[derive(Clone, Debug)]
enum Deed {
    Create,
    Set(u8),
    Patch(u8),
    Touch,
    Destroy,
    Expire,
}

fn any_deeds() -> impl Strategy<Value = Vec<(u8, Deed)>> {
    let deed = prop_oneof![
        2 => Just(Deed::Create),
        2 => any::<u8>().prop_map(Deed::Set),
        3 => any::<u8>().prop_map(Deed::Patch),
        2 => Just(Deed::Touch),
        1 => Just(Deed::Destroy),
        1 => Just(Deed::Expire),
    ];
    proptest::collection::vec((0_u8..3, deed), 0..12)
}

fn key(id: u8) -> Key {
    Key::new(NamespaceId(0), &[b'a' + id]).expect("an id")
}

/// Does it all, a millisecond apart.
fn act(state: &mut State, deeds: &[(u8, Deed)]) -> Vec<Effect> {
    let mut effects = Vec::new();
    for (id, deed) in deeds {
        let (key, stamp) = (key(*id), state.last_stamp() + 1);
        let fields = |value: &u8| Fields::from_pairs([(Box::from([*value]), Box::from([*value]))]);
        let (expiry, owner) = (Expiry::After { ms: 10_000 }, None);
        let op = match deed {
            Deed::Create => Op::Create { kind: Kind::Hash, fields: fields(&0), expiry, absolute_deadline: None, owner },
            Deed::Set(value) => {
                Op::Set { value: Box::from([*value]), expiry, condition: Condition::Always, get: false, owner }
            }
            Deed::Patch(value) => {
                Op::Patch { set: fields(value), remove: Vec::new(), if_version: None, expiry: Expiry::Keep, owner }
            }
            Deed::Touch => Op::Touch,
            Deed::Destroy => Op::Destroy,
            Deed::Expire => {
                let Some(record) = state.record(&key) else { continue };
                Op::Expire { version: record.version, deadline: record.deadline() }
            }
        };
        // Nothing expires by itself before its deadline.
        let stamp = match &op {
            Op::Expire { deadline, .. } => stamp.max(*deadline),
            _other => stamp,
        };
        let rules = Policy::default().rules(false);
        state.apply(stamp, Command { request: Request::default(), key, rules, touched: None, op }, &mut effects);
    }
    effects
}

fn records(state: &State) -> BTreeMap<Key, Record> {
    state.records(None).map(|(key, record)| (key.clone(), (**record).clone())).collect()
}

/// The state of whoever takes over with these records.
fn successor(region: u16, base: &BTreeMap<Key, Record>, from: &State) -> State {
    let meta = crate::state::Meta {
        region: RegionId(region),
        rights: [0, region].map(|home| (RegionId(home), Right::acting(NEW))).into(),
        last_stamp: from.last_stamp(),
        ..Default::default()
    };
    State::restore(meta, base.clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_that_two_regions_wrote_is_dropped_silently(
        before in any_deeds(), alone in any_deeds(), elsewhere in any_deeds(), cut_known in any::<bool>(),
    ) {
        let mut mine = State::new(RegionId(0), OLD);
        act(&mut mine, &before);
        let base = records(&mine);
        let mut others = successor(1, &base, &mine);
        let orphaned = act(&mut mine, &alone);
        act(&mut others, &elsewhere);
        let changed: BTreeMap<Key, ()> = orphaned.into_iter().map(|effect| (effect.key, ())).collect();
        let (mine, others) = (records(&mine), records(&others));
        let mut tally = Tally::default();
        for key in changed.keys() {
            let (mine, base, current) = (&mine[key], base.get(key), others.get(key));
            let settled = check(Orphan { mine, base: base.filter(|_| cut_known), current });
            tally.count(&settled);
            let after = settled.record().or(current).expect("nothing here is overdue");
            let loser = match &settled {
                Settled::Journaled { loser, .. } => Some(loser),
                Settled::AlreadyApplied | Settled::Merged { .. } | Settled::FastForwarded { .. } => None,
            };
            // Each side's last word, if it was one, is kept, in the journal, or ended by a destroy.
            for side in [Some(mine), current].into_iter().flatten() {
                let written = base.is_none_or(|base| base.version != side.version) && side.life == Life::Live;
                let destroyed = matches!(mine.life, Life::Dead { expired: false, .. }) && mine.incarnation == side.incarnation;
                let kept = (after.version, &after.body) == (side.version, &side.body) || loser == Some(side);
                prop_assert!(!written || destroyed || kept, "{side:?} is lost to {settled:?}");
            }
        }
        prop_assert_eq!(tally.total(), changed.len() as u64);
    }
}

#[test]
fn each_class_has_its_case() {
    let base = record(1, (OLD, 1), Life::Live);
    let mine = record(1, (OLD, 2), Life::Live);
    let theirs = record(1, (NEW, 1), Life::Live);
    let of = |mine: &Record, base: Option<&Record>, current: Option<&Record>| {
        settle(Orphan { mine, base, current }, NEW, NOW)
    };
    assert_eq!(of(&mine, Some(&base), Some(&mine)), Settled::AlreadyApplied, "the cut was nearer than known");
    assert_eq!(of(&mine, Some(&base), Some(&base)), Settled::FastForwarded { record: mine.clone() });
    assert_eq!(of(&mine, None, None), Settled::FastForwarded { record: mine.clone() }, "created after the cut");
    let journaled = Settled::Journaled { record: Some(theirs.clone()), loser: mine.clone() };
    assert_eq!(of(&mine, Some(&base), Some(&theirs)), journaled);
    let touched = Record { idle_deadline: 900, ..Record { idle_deadline: 600, ..base.clone() } };
    let base = Record { idle_deadline: 600, ..base };
    assert_eq!(of(&touched, Some(&base), Some(&base)), Settled::Merged { record: touched.clone() });
    assert_eq!(of(&touched, Some(&base), Some(&theirs)), Settled::AlreadyApplied, "their write says when it ends");
    let destroyed = record(1, (OLD, 2), dead(false));
    let ended = merge(&destroyed, &theirs).record;
    assert_eq!(of(&destroyed, Some(&base), Some(&theirs)), Settled::Merged { record: ended.clone() });
    let expired = record(1, (OLD, 2), dead(true));
    let ended = merge(&expired, &theirs).record;
    assert_eq!(of(&expired, Some(&base), Some(&theirs)), Settled::Journaled { record: Some(ended), loser: theirs });
    let overdue = Record { absolute_deadline: NOW, ..mine };
    assert_eq!(of(&overdue, None, None), Settled::AlreadyApplied);
}

#[test]
fn a_region_that_comes_too_late_brings_nothing_to_life_and_still_ends_what_it_ended() {
    let (base, mine) = (record(1, (OLD, 1), Life::Live), record(1, (OLD, 2), Life::Live));
    let records = small_records();
    let of = |mine: &Record, current: Option<&Record>| retire(Orphan { mine, base: None, current }, NEW, NOW);
    assert_eq!(of(&mine, None), Settled::Journaled { record: None, loser: mine.clone() });
    assert_eq!(of(&mine, Some(&base)), Settled::Journaled { record: Some(base.clone()), loser: mine.clone() });
    assert_eq!(of(&base, Some(&mine)), Settled::AlreadyApplied);
    let destroyed = record(1, (OLD, 2), dead(false));
    assert_eq!(of(&destroyed, Some(&base)), Settled::Merged { record: destroyed.clone() });
    for mine in &records {
        for current in records.iter().map(Some).chain([None]) {
            let settled = of(mine, current);
            let lives = |record: Option<&Record>| record.is_some_and(|record| record.life == Life::Live);
            assert!(lives(current) || !lives(settled.record()), "{settled:?}");
        }
    }
}

#[test]
fn two_regions_that_create_one_id_leave_one_session_and_a_journal_entry() {
    let mine = Record { version: Version { epoch: OLD, ..Version::default() }, ..record(7, (OLD, 1), Life::Live) };
    let theirs = Record {
        incarnation: Incarnation { stamp: 6, region: RegionId(1) },
        home: RegionId(1),
        ..record(6, (NEW, 1), Life::Live)
    };
    let settled = settle(Orphan { mine: &mine, base: None, current: Some(&theirs) }, NEW, NOW);
    assert_eq!(settled, Settled::Journaled { record: Some(mine.clone()), loser: theirs });
    // One of another home from before the cut does not come before ours either.
    let earlier = Record {
        incarnation: Incarnation { stamp: 8, region: RegionId(1) },
        home: RegionId(1),
        ..record(8, (OLD, 1), Life::Live)
    };
    let settled = settle(Orphan { mine: &mine, base: None, current: Some(&earlier) }, NEW, NOW);
    assert_eq!(settled, Settled::Journaled { record: Some(earlier), loser: mine });
}
