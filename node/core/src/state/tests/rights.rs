//! The right to act for a home goes from one region to another, as the control group says, seen late or not at all.

use super::*;
use crate::{
    Record, ShardId,
    control::{Cause, ControlCommand, ControlState, Phase, Report, Step, Successors},
    feed::{FeedBounds, FeedCursor, FeedId},
    session::Version,
    state::{Believed, Right},
    stream::{Absorbed, Piece, Source, Span},
};
use std::collections::BTreeSet;

pub(super) const NA: RegionId = RegionId(0);
pub(super) const EU: RegionId = RegionId(1);
pub(super) const AP: RegionId = RegionId(2);
pub(super) const ALL: FeedBounds = FeedBounds { entries_max: usize::MAX, bytes_max: u64::MAX };

pub(super) fn promise(home: RegionId, epoch: u32) -> Op {
    Op::Promise { home, epoch, holders: BTreeSet::from([home]) }
}

pub(super) fn tell(state: &mut State, from: RegionId, believed: Believed, piece: Piece) -> Outcome {
    let as_of = match &piece {
        Piece::Changes { records, .. } => records.iter().map(|(_, record)| record.written).max().unwrap_or(0),
        Piece::Page { .. } | Piece::Held { .. } | Piece::Bounded { .. } => T,
    };
    tell_as_of(state, as_of, (from, believed), piece)
}

fn tell_as_of(state: &mut State, as_of: u64, (from, believed): (RegionId, Believed), piece: Piece) -> Outcome {
    let source = Source { region: from, shard: ShardId(0) };
    let absorbed = Box::new(Absorbed { source, as_of, believed, piece });
    let bars = state.bars(&absorbed).map(Outcome::Refused);
    let outcome = run(state, T, "absorb", Op::Absorb { absorbed });
    assert!(bars.is_none_or(|bars| bars == outcome));
    outcome
}

pub(super) fn cursor(index: u64) -> FeedCursor {
    FeedCursor { feed: FeedId(1), index }
}

/// A whole copy of what `from` orders, taken in at once.
pub(super) fn copy(from: &State, to: &mut State, replaces: bool) -> Outcome {
    let span = Span::all_after(None);
    let page = from.copy_page(&span, ALL);
    let source = Source { region: from.region(), shard: ShardId(0) };
    let begin = to.progress(source).cursor.unwrap_or(cursor(0));
    let records = page.records.into_iter().map(|(key, record)| (key, (*record).clone())).collect();
    let piece =
        Piece::Page { asked: u64::MAX, begin, span, homes: page.homes, replaces, records, elsewhere: page.elsewhere };
    tell(to, from.region(), from.acts(), piece)
}

/// The next changes of `from`, one for one.
pub(super) fn changes(from: u64, effects: &[Effect]) -> Piece {
    let records = effects.iter().map(|effect| (effect.key.clone(), (*effect.record).clone())).collect();
    Piece::Changes {
        after: cursor(from),
        next: cursor(from + effects.len() as u64),
        records,
        turned: crate::SlotSet::default(),
    }
}

pub(super) fn does(state: &mut State, stamp: u64, id: &str, op: Op) -> Vec<Effect> {
    let mut effects = Vec::new();
    let command = Command { request: Request::default(), key: key(id), rules: rules(), touched: None, op };
    let outcome = state.apply(stamp, command, &mut effects);
    assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
    effects.retain(|effect| effect.told);
    effects
}

pub(super) fn fenced(home: RegionId, epoch: u32) -> Outcome {
    Outcome::Refused(Refusal::Fenced { home, epoch })
}

pub(super) fn held(from: &State, home: RegionId, epoch: u32, since: u64) -> Piece {
    let page = from.held_page(home, since, &Span::all_after(None), ALL);
    assert_eq!(page.until, None);
    let records = page.records.into_iter().map(|(key, record)| (key, (*record).clone())).collect();
    Piece::Held { asked: u64::MAX, home, epoch, records }
}

pub(super) fn records(state: &State) -> BTreeMap<Key, Record> {
    state.records(None).map(|(key, record)| (key.clone(), (**record).clone())).collect()
}

/// Three regions with one session of the first, of which the others know up to two different writes.
pub(super) fn parted() -> (State, State, State, Vec<Effect>) {
    let [mut na, mut eu, mut ap] = [NA, EU, AP].map(|region| State::new(region, 1 + u32::from(region.0)));
    run(&mut na, T, "s", set("old", Expiry::Default));
    copy(&na, &mut eu, false);
    copy(&na, &mut ap, false);
    let told = [("s", "one"), ("t", "two"), ("s", "three")];
    let told =
        (1..).zip(told).flat_map(|(after, (id, value))| does(&mut na, T + after, id, set(value, Expiry::Default)));
    let effects: Vec<Effect> = told.collect();
    assert_eq!(effects.len(), 3);
    assert_eq!(tell(&mut eu, NA, na.acts(), changes(0, &effects[..2])), Outcome::Count(2));
    assert_eq!(tell(&mut ap, NA, na.acts(), changes(0, &effects[..1])), Outcome::Count(1));
    for (state, region) in [(&mut eu, EU), (&mut ap, AP)] {
        let progress = state.progress(Source { region: NA, shard: ShardId(0) });
        assert_eq!(progress.held, if region == EU { T + 2 } else { T + 1 });
        assert_eq!(run(state, T, "any", promise(NA, 5)), Outcome::Done);
    }
    (na, eu, ap, effects)
}

#[test]
fn a_promise_that_is_repeated_or_comes_late_and_a_right_that_is_too_old_change_nothing() {
    let mut state = State::new(NA, 3);
    for epoch in [2, 3] {
        run(&mut state, T, "promise", promise(NA, epoch));
        assert_eq!(state.acts_for(NA), Some(3), "it acts under this epoch");
    }
    run(&mut state, T, "promise", promise(NA, 5));
    assert_eq!((state.acts_for(NA), state.promised(NA)), (None, 5));
    assert_eq!(run(&mut state, T, "assume", Op::Assume { home: NA, epoch: 4 }), fenced(NA, 5));
    assert_eq!(state.acts_for(NA), None);
    run(&mut state, T, "assume", Op::Assume { home: NA, epoch: 5 });
    let before = state.rights().clone();
    for epoch in [3, 4, 5] {
        run(&mut state, T, "promise", promise(NA, epoch));
    }
    assert_eq!((state.acts_for(NA), state.rights()), (Some(5), &before));
}

#[test]
fn who_has_promised_takes_in_what_the_next_one_holds_and_nothing_else() {
    let (na, mut eu, mut ap, effects) = parted();
    let former = Some(BTreeSet::from([NA]));
    assert_eq!(eu.rights()[&NA], Right { epoch: 5, acts: false, former, missing_since: Some(T + 2) });
    assert_eq!(ap.rights()[&NA].missing_since, Some(T + 1));
    // What the lost region goes on to tell is an orphan of its.
    let before = records(&eu);
    assert_eq!(tell(&mut eu, NA, na.acts(), changes(2, &effects[2..])), fenced(NA, 5));
    assert_eq!(copy(&na, &mut ap, false), fenced(NA, 5));
    assert_eq!((records(&eu), eu.progress(Source { region: NA, shard: ShardId(0) }).held), (before, T + 2));
    // Whoever is named takes in what others hold; here that is nothing more.
    assert_eq!(tell(&mut eu, AP, Believed::new(), held(&ap, NA, 4, 0)), fenced(NA, 5));
    assert_eq!(tell(&mut eu, AP, Believed::new(), held(&ap, NA, 5, T + 2)), Outcome::Count(0));
    assert_eq!(run(&mut eu, T + 3, "s", set("eu", Expiry::Default)), Outcome::Refused(Refusal::Elsewhere { home: NA }));
    assert_eq!(run(&mut eu, T + 3, "any", Op::CaughtUp { home: NA, epoch: 5 }), Outcome::Done);
    assert_eq!(run(&mut eu, T + 3, "any", Op::Assume { home: NA, epoch: 5 }), Outcome::Done);
    // From now on it tells, and is believed; what lies between comes in one piece.
    let told = does(&mut eu, T + 3, "s", set("eu", Expiry::Default));
    assert_eq!(told[0].record.version, Version { epoch: 5, ..told[0].record.version });
    assert_eq!(told[0].record.home, NA);
    assert_eq!(tell(&mut ap, EU, Believed::new(), held(&eu, NA, 5, T + 1)), Outcome::Count(2));
    assert_eq!(value(&ap, T + 3, "s").as_deref(), Some("eu"));
    assert_eq!(value(&ap, T + 3, "t").as_deref(), Some("two"));
    assert_eq!(run(&mut ap, T + 3, "any", Op::CaughtUp { home: NA, epoch: 5 }), Outcome::Done);
    assert_eq!(ap.rights()[&NA].missing_since, None);
    // The old one cannot say any more what there is.
    let elsewhere = Piece::Page {
        asked: u64::MAX,
        begin: cursor(9),
        span: Span::all_after(None),
        homes: na.acts(),
        replaces: false,
        records: Vec::new(),
        elsewhere: Vec::new(),
    };
    assert_eq!(tell(&mut ap, NA, na.acts(), elsewhere), Outcome::Count(0));
    assert_eq!(ap.record_count(), 2);
}

#[test]
fn a_region_that_returns_orders_nothing_and_has_the_copy_of_others_in_place_of_its_own() {
    let (mut na, mut eu, ..) = parted();
    does(&mut na, T + 4, "u", set("alone", Expiry::Default));
    run(&mut eu, T + 3, "any", Op::Assume { home: NA, epoch: 5 });
    does(&mut eu, T + 3, "s", Op::Destroy);
    run(&mut na, T + 9, "any", promise(NA, 5));
    assert_eq!(na.acts_for(NA), None);
    for (id, op) in [("s", patch("a", "1")), ("new", set("v", Expiry::Default)), ("new", create(Expiry::Default))] {
        assert_eq!(run(&mut na, T + 9, id, op), fenced(NA, 5), "{id}");
    }
    assert!(na.due(NEVER, 10).is_empty());
    // It is told nothing of its own sessions before what it wrote itself is settled.
    let told = does(&mut eu, T + 5, "t", set("eu", Expiry::Default));
    copy(&State::new(EU, 2), &mut na, false);
    assert_eq!(tell(&mut na, EU, Believed::from([(EU, 2)]), changes(0, &told)), fenced(NA, 5));
    assert_eq!(copy(&eu, &mut na, false), Outcome::Count(2), "what it ordered itself stays");
    assert_eq!(value(&na, T + 5, "u").as_deref(), Some("alone"));
    assert!(matches!(copy(&eu, &mut na, true), Outcome::Count(_)));
    assert_eq!(records(&na), records(&eu));
    // And it takes over again.
    run(&mut eu, T + 9, "any", promise(NA, 6));
    run(&mut na, T + 9, "any", Op::Assume { home: NA, epoch: 6 });
    assert_eq!(does(&mut na, T + 10, "t", set("na", Expiry::Default))[0].record.version.epoch, 6);
    assert_eq!(run(&mut na, T + 10, "any", Op::Assume { home: NA, epoch: 5 }), fenced(NA, 6));
}

#[test]
fn a_session_that_left_after_the_heir_had_answered_has_stayed() {
    let (mut na, mut eu, mut ap, _) = parted();
    let left = |state: &State| {
        let record = (**state.record(&key("s")).expect("it lives")).clone();
        crate::travel::release(&record, AP, 1, 99, T + 5).expect("it goes")
    };
    let released = left(&na);
    let piece = || Piece::Changes {
        after: cursor(1),
        next: cursor(2),
        records: vec![(key("s"), released.clone())],
        turned: crate::SlotSet::default(),
    };
    assert_eq!(tell(&mut ap, NA, na.acts(), piece()), fenced(NA, 5), "the new home has promised, too");
    copy(&State::new(AP, 3), &mut eu, false);
    let piece = Piece::Changes {
        after: cursor(0),
        next: cursor(1),
        records: vec![(key("s"), released.clone())],
        turned: crate::SlotSet::default(),
    };
    assert_eq!(tell(&mut eu, AP, ap.acts(), piece.clone()), fenced(NA, 5), "it may be decided yet");
    run(&mut eu, T + 5, "any", Op::Assume { home: NA, epoch: 5 });
    assert_eq!(tell(&mut eu, AP, ap.acts(), piece), Outcome::Count(0));
    assert_eq!(eu.record(&key("s")).expect("it lives").home, NA);
    run(&mut na, T + 9, "any", promise(NA, 5));
}

#[test]
fn a_source_is_held_as_far_as_its_own_log_whatever_clock_its_sessions_were_written_by() {
    let (mut na, mut eu) = (State::new(NA, 1), State::new(EU, 2));
    let far_ahead = does(&mut eu, T + 1_000, "s", set("v", Expiry::Default));
    copy(&State::new(EU, 2), &mut na, false);
    let told = tell_as_of(&mut na, T + 2, (EU, eu.acts()), changes(0, &far_ahead));
    assert_eq!(told, Outcome::Count(1));
    assert_eq!(na.progress(Source { region: EU, shard: ShardId(0) }).held, T + 2);
}

#[test]
fn who_acted_and_missed_what_others_wrote_after_it_lacks_that() {
    let missing = |holders: &[RegionId]| {
        let (_, mut eu, ..) = parted_acting();
        let holders = holders.iter().copied().collect();
        run(&mut eu, T + 9, "any", Op::Promise { home: NA, epoch: 9, holders });
        eu.rights()[&NA].missing_since
    };
    assert_eq!(missing(&[EU]), None, "it acted last, and knows everything");
    let (_, eu, mut ap, _) = parted_acting();
    assert_eq!([ap.lacks(NA), eu.lacks(NA), ap.lacks(EU)], [true, false, false]);
    run(&mut ap, T + 9, "any", Op::CaughtUp { home: NA, epoch: 5 });
    assert!(!ap.lacks(NA));
    // It was lost, others acted under an epoch of which it never heard, and what they told of it counts no more.
    assert!(missing(&[AP]).is_some());
    assert!(missing(&[]).is_some(), "nobody knows who acted last");
}

/// The same, and the second acts for the first.
pub(super) fn parted_acting() -> (State, State, State, Vec<Effect>) {
    let (na, mut eu, ap, effects) = parted();
    run(&mut eu, T + 3, "any", Op::CaughtUp { home: NA, epoch: 5 });
    run(&mut eu, T + 3, "any", Op::Assume { home: NA, epoch: 5 });
    (na, eu, ap, effects)
}

#[test]
fn a_copy_of_who_acts_no_more_tells_what_it_wrote_or_counts_for_nothing() {
    let held = |state: &State| state.progress(Source { region: NA, shard: ShardId(0) }).held;
    let (mut na, mut eu, mut ap, _) = parted();
    let mut late = State::new(AP, 3);
    run(&mut na, T + 4, "any", promise(NA, 5));
    // Who has not heard of it yet may take it in, as what was written before.
    assert_eq!(copy(&na, &mut late, false), Outcome::Count(2));
    assert_eq!((records(&late), held(&late)), (records(&na), T));
    // Who has promised has no more than before, and says so.
    for (state, until) in [(&mut eu, T + 2), (&mut ap, T + 1)] {
        assert_eq!((copy(&na, state, false), held(state)), (fenced(NA, 5), until));
    }
    run(&mut eu, T + 5, "any", Op::Assume { home: NA, epoch: 5 });
    assert!(matches!(tell(&mut eu, NA, Believed::new(), self::held(&na, NA, 5, T + 2)), Outcome::Count(_)));
    assert_eq!((copy(&na, &mut eu, false), records(&eu)), (Outcome::Count(0), records(&na)), "it has it");
}

#[test]
fn a_home_that_takes_over_again_hears_of_an_id_that_others_have_given_to_another_session() {
    let (mut na, mut eu, _, _) = parted();
    run(&mut eu, T + 5, "any", Op::Assume { home: NA, epoch: 5 });
    does(&mut eu, T + 6, "s", Op::Destroy);
    does(&mut eu, T + 7, "s", set("another", Expiry::Default));
    assert_eq!(eu.record(&key("s")).expect("it lives").home, EU);
    run(&mut na, T + 8, "any", promise(NA, 5));
    assert_eq!(tell(&mut na, EU, Believed::new(), held(&eu, NA, 5, T + 6)), Outcome::Count(1));
    assert_eq!(value(&na, T + 9, "s"), Some("another".to_owned()));
    assert!(!na.orders(na.record(&key("s")).expect("it lives")));
}

#[test]
fn the_same_where_the_other_home_has_changed_hands_too() {
    let (mut na, mut eu, mut ap, _) = parted();
    run(&mut eu, T + 5, "any", Op::Assume { home: NA, epoch: 5 });
    does(&mut eu, T + 6, "s", Op::Destroy);
    does(&mut eu, T + 7, "s", set("another", Expiry::Default));
    for (home, since) in [(NA, T), (EU, T)] {
        run(&mut ap, T + 8, "any", Op::Promise { home, epoch: 9, holders: [EU].into() });
        run(&mut eu, T + 8, "any", Op::Promise { home, epoch: 9, holders: [EU].into() });
        assert_ne!(tell(&mut ap, EU, Believed::new(), held(&eu, home, 9, since)), fenced(home, 9));
        run(&mut ap, T + 9, "any", Op::Assume { home, epoch: 9 });
        run(&mut na, T + 9, "any", Op::Promise { home, epoch: 9, holders: BTreeSet::new() });
    }
    let pull = |na: &mut State, home, believed| tell(na, AP, believed, held(&ap, home, 9, T));
    // Neither home's page tells of it, as long as the other one is to be heard of first.
    for home in [NA, EU] {
        assert_eq!(pull(&mut na, home, Believed::new()), Outcome::Count(0));
    }
    assert_eq!(pull(&mut na, EU, Believed::from([(NA, 9)])), Outcome::Count(1), "what it wrote itself is settled");
    assert_eq!(value(&na, T + 9, "s"), Some("another".to_owned()));
}

/// What happens in a world: a person gives a region up, a handover goes on, a region looks at the agreed state and does as it
/// says, and somebody writes.
#[derive(Clone, Debug)]
enum Act {
    Force(u16),
    Onward(u16, u16),
    Look(u16),
    Write(u16, u8),
    Restart(u16),
}

fn any_acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        1 => (0_u16..3).prop_map(Act::Force),
        6 => (0_u16..3, 0_u16..3).prop_map(|(home, by)| Act::Onward(home, by)),
        4 => (0_u16..3).prop_map(Act::Look),
        4 => (0_u16..3, 0_u8..4).prop_map(|(region, id)| Act::Write(region, id)),
        1 => (0_u16..3).prop_map(Act::Restart),
    ];
    proptest::collection::vec(act, 0..80)
}

fn onward(world: &ControlState, home: RegionId, by: RegionId) -> Option<ControlCommand> {
    let region = &world.regions[&home];
    let step = match &region.phase {
        Phase::Serving => return None,
        Phase::Fenced(_) => Step::Waited { quiet_ms: u64::MAX },
        Phase::Gathering(handover) if 2 * handover.reports.len() <= 3 => {
            Step::Report { region: by, report: Report::new() }
        }
        Phase::Gathering(_) => Step::Name { successors: Successors::one(by) },
        Phase::CatchingUp { successors, .. } => Step::Ready { region: successors.of(crate::Slot::of(b"s")) },
        Phase::Open(_) => Step::Return,
        Phase::Returning(_) if region.diverged && region.orphans.is_none() => {
            Step::Settled { by: home, orphans: Default::default() }
        }
        Phase::Returning(_) if region.diverged => Step::Reconciled,
        Phase::Returning(_) => return Some(ControlCommand::Failback { region: home, at: T }),
    };
    Some(ControlCommand::Handover { home, epoch: region.epoch, step })
}

fn world_of_three() -> (ControlState, Vec<State>) {
    let mut world = ControlState::default();
    world.apply(ControlCommand::Found { world: 7 });
    for number in 0..3 {
        let (region, mark, name) = (RegionId(number), u128::from(number), format!("r{number}"));
        world.apply(ControlCommand::Join { region, mark, name, entrances: BTreeSet::new(), place: None, voter: None });
    }
    let states = world.regions.values().map(|region| State::new(region.id, region.epoch)).collect();
    (world, states)
}

proptest! {
    #[test]
    fn for_each_home_and_epoch_one_region_writes_and_no_promise_is_undone(acts in any_acts()) {
        let (mut world, mut states) = world_of_three();
        let (mut stamp, mut wrote) = (T, BTreeMap::<(RegionId, u32), RegionId>::new());
        for act in acts {
            stamp += 1;
            let before: Vec<_> = states.iter().map(|state| state.rights().clone()).collect();
            match act {
                Act::Force(region) => {
                    let cause = Cause::Operator { force: true };
                    world.apply(ControlCommand::Fence { region: RegionId(region), cause, at: stamp });
                }
                Act::Onward(home, by) => {
                    if let Some(command) = onward(&world, RegionId(home), RegionId(by)) {
                        world.apply(command);
                    }
                }
                Act::Look(region) => {
                    for home in world.regions.values() {
                        let acting = world.acting(home.id, crate::Slot::of(b"s"));
                        let op = match acting.filter(|acting| acting.region == RegionId(region)) {
                            Some(acting) => Op::Assume { home: home.id, epoch: acting.epoch },
                            None => promise(home.id, home.epoch),
                        };
                        run(&mut states[usize::from(region)], stamp, "any", op);
                    }
                }
                Act::Write(region, id) => {
                    let state = &mut states[usize::from(region)];
                    let mut effects = Vec::new();
                    let (key, op) = (key(&id.to_string()), set("v", Expiry::Default));
                    let command = Command { request: Request::default(), key, rules: rules(), touched: None, op };
                    state.apply(stamp, command, &mut effects);
                    for Effect { record, told, .. } in effects {
                        prop_assert!(told);
                        let epoch = state.acts_for(record.home).expect("who writes acts");
                        prop_assert!(record.version.epoch >= state.promised(record.home));
                        let first = *wrote.entry((record.home, epoch)).or_insert(RegionId(region));
                        prop_assert_eq!(first, RegionId(region));
                    }
                    // All others hear of it, or refuse to.
                    let all = Piece::Held { asked: u64::MAX, home: NA, epoch: 0, records: Vec::new() };
                    tell(&mut states[usize::from(region + 1) % 3], RegionId(region), Believed::new(), all);
                }
                Act::Restart(region) => {
                    let state = &mut states[usize::from(region)];
                    let again = State::restore(state.meta(), records(state));
                    prop_assert_eq!(again.meta(), state.meta());
                    *state = again;
                }
            }
            for (state, before) in states.iter().zip(before) {
                for (home, old) in before {
                    let now = &state.rights()[&home];
                    prop_assert!(now.epoch >= old.epoch && (now.epoch > old.epoch || now.acts || !old.acts));
                }
            }
            for home in world.regions.keys() {
                let acting: Vec<_> = states.iter().filter_map(|state| state.acts_for(*home)).collect();
                let epochs: BTreeSet<u32> = acting.iter().copied().collect();
                prop_assert_eq!(acting.len(), epochs.len(), "two act for {:?} under one epoch", home);
            }
        }
    }
}

#[test]
fn sessions_of_a_home_are_due_with_whoever_acts_for_it() {
    let (_, mut eu, ..) = parted();
    run(&mut eu, T, "own", set("v", Expiry::After { ms: 100 }));
    let homes = |state: &State| state.due(NEVER, 10).into_iter().map(|(_, record)| record.home).collect::<Vec<_>>();
    let expiring = Op::SetExpiry { expiry: Expiry::After { ms: 100 }, condition: ExpireCondition::Always };
    assert_eq!(homes(&eu), [EU]);
    run(&mut eu, T, "any", Op::Assume { home: NA, epoch: 5 });
    run(&mut eu, T, "s", expiring);
    assert_eq!(homes(&eu), [NA, NA, EU]);
    let clear = Op::Clear { namespace: NAMESPACE, before: NEVER, count_max: 2 };
    assert_eq!(run(&mut eu, T + 1, "any", clear.clone()), Outcome::Count(2));
    run(&mut eu, T + 1, "any", promise(NA, 6));
    assert_eq!(run(&mut eu, T + 1, "any", clear), Outcome::Count(1));
    assert!(homes(&eu).is_empty());
    assert_eq!(eu.adopted(), None);
    for (version, adopted) in [(3, 3), (2, 3), (4, 4)] {
        assert_eq!(run(&mut eu, T, "any", Op::Adopt { mode_version: version }), Outcome::Done);
        assert_eq!(eu.adopted(), Some(adopted));
    }
}
