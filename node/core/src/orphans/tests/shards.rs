//! The same between two shards: one acts for the other's home, settles what that one wrote alone, and gives it its copy.

use super::*;
use crate::{
    Outcome, Refusal, ShardId,
    feed::{FeedBounds, FeedCursor, FeedId},
    state::{Believed, Conflict, JOURNAL, ORPHANS_PER_APPLY_MAX},
    stream::{Absorbed, Piece, Source, Span},
    tombstones::Return,
};
use std::collections::BTreeSet;

const HOME: RegionId = RegionId(0);
const HEIR: RegionId = RegionId(1);
const ALL: FeedBounds = FeedBounds { entries_max: usize::MAX, bytes_max: u64::MAX };

fn run(state: &mut State, request: u64, op: Op) -> Outcome {
    let request = Request { origin: request, sequence: 1, settled: 0 };
    let rules = Policy::default().rules(false);
    let stamp = state.last_stamp();
    state.apply(stamp, Command { request, key: key(0), rules, touched: None, op }, &mut Vec::new())
}

fn copy(from: &State, to: &mut State, replaces: bool) {
    let span = Span::all_after(None);
    let page = from.copy_page(&span, ALL);
    let records = page.records.into_iter().map(|(key, record)| (key, (*record).clone())).collect();
    let begin = FeedCursor { feed: FeedId(1), index: 1 };
    let piece =
        Piece::Page { asked: u64::MAX, begin, span, homes: page.homes, replaces, records, elsewhere: page.elsewhere };
    let source = Source { region: from.region(), shard: ShardId(0) };
    let absorbed = Absorbed { source, as_of: 1, believed: from.acts(), piece };
    assert!(matches!(run(to, 0, Op::Absorb { absorbed: Box::new(absorbed) }), Outcome::Count(_)));
}

/// Two shards that went apart after `before`: the home that acts alone, and the one that acts for it.
fn parted(before: &[(u8, Deed)], alone: &[(u8, Deed)], elsewhere: &[(u8, Deed)]) -> (State, State, Stamp) {
    let (mut home, mut heir) = (State::new(HOME, OLD), State::new(HEIR, OLD + 1));
    act(&mut home, before);
    copy(&home, &mut heir, false);
    let cut = home.last_stamp();
    let promise = Op::Promise { home: HOME, epoch: NEW, holders: BTreeSet::from([HOME]) };
    assert_eq!(run(&mut heir, 0, promise.clone()), Outcome::Done);
    assert_eq!(run(&mut heir, 0, Op::Assume { home: HOME, epoch: NEW }), Outcome::Done);
    act(&mut home, alone);
    act(&mut heir, elsewhere);
    assert_eq!(run(&mut home, 0, promise), Outcome::Done);
    (home, heir, cut)
}

/// What the home sends, page by page.
fn orphans(home: &State, cut: Stamp, count: usize) -> Vec<Vec<Orphaned>> {
    let (mut pages, mut span) = (Vec::new(), Span::all_after(None));
    loop {
        let page = home.held_page(HOME, cut, &span, FeedBounds { entries_max: count, ..ALL });
        let mine = page.records.into_iter().map(|(key, record)| (key, (*record).clone()));
        pages.push(mine.map(|(key, mine)| Orphaned { key, mine, base: None }).collect());
        let Some(after) = page.until else { return pages };
        span = Span::all_after(Some(after));
    }
}

fn tally(outcome: Outcome) -> Tally {
    let Outcome::Settled(tally) = outcome else { panic!("{outcome:?}") };
    tally
}

fn sessions(state: &State) -> BTreeMap<Key, Record> {
    records(state).into_iter().filter(|(key, _)| key.namespace() != JOURNAL).collect()
}

fn conflicts(state: &State) -> Vec<Conflict> {
    let found = state.conflicts(None, usize::MAX).into_iter();
    let conflicts = found.map(|(_, key)| match &state.record(&key).expect("listed").body {
        Body::Hot(fields) => Conflict::from_fields(fields).expect("an entry"),
        Body::Cold { .. } => panic!("nothing is cold here"),
    });
    conflicts.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_was_written_alone_is_settled_once_and_all_agree(
        before in any_deeds(), alone in any_deeds(), elsewhere in any_deeds(), count in 1_usize..4, late in any::<bool>(),
    ) {
        let (mut home, mut heir, cut) = parted(&before, &alone, &elsewhere);
        let how = if late { Return::Copy } else { Return::Merge };
        let (mine, theirs) = (sessions(&home), sessions(&heir));
        let (mut total, mut sum) = (0, 0);
        for (request, page) in (1..).zip(orphans(&home, cut, count)) {
            total += page.len() as u64;
            let settle = || Op::Settle { by: HOME, home: HOME, epoch: NEW, how, orphans: page.clone() };
            let first = run(&mut heir, request, settle());
            let after = records(&heir);
            prop_assert_eq!(&run(&mut heir, request, settle()), &first, "asked again");
            prop_assert_eq!(records(&heir), after);
            sum += tally(first).total();
        }
        prop_assert_eq!(sum, total, "they add up");
        // Both values of what went apart are kept.
        let (journal, settled) = (conflicts(&heir), sessions(&heir));
        for (key, record) in mine.iter().filter(|(_, record)| record.written > cut && record.life == Life::Live) {
            let journaled = journal.iter().any(|conflict| conflict.key == *key && conflict.mine.version == record.version);
            let ended = settled.get(key).is_some_and(|now| now.life != Life::Live && now.incarnation == record.incarnation);
            let lives = settled.get(key).is_some_and(|now| (now.incarnation, now.version) >= (record.incarnation, record.version));
            prop_assert!(journaled || ended || lives, "{key:?} is lost: {record:?}");
            prop_assert!(lives || journaled || ended);
        }
        for (key, record) in &settled {
            let ended = |side: &BTreeMap<Key, Record>| {
                side.get(key).is_some_and(|one| one.life != Life::Live && one.incarnation == record.incarnation)
            };
            prop_assert!(record.life != Life::Live || !(ended(&mine) && ended(&theirs)), "{key:?} lives again");
            prop_assert!(record.life != Life::Live || !ended(&theirs), "{key:?} lives again");
        }
        // Settled once more, as by somebody who has forgotten: nothing changes.
        for page in orphans(&home, cut, ORPHANS_PER_APPLY_MAX) {
            run(&mut heir, 0, Op::Settle { by: HOME, home: HOME, epoch: NEW, how, orphans: page });
        }
        prop_assert_eq!(sessions(&heir), settled);
        prop_assert_eq!(conflicts(&heir).len(), journal.len());
        copy(&heir, &mut home, true);
        let of_home = |state: &State| -> BTreeMap<Key, Record> {
            records(state).into_iter().filter(|(_, record)| record.home == HOME).collect()
        };
        prop_assert_eq!(of_home(&home), of_home(&heir));
        let again = State::restore(heir.meta(), records(&heir));
        prop_assert_eq!(again.meta(), heir.meta());
    }
}

#[test]
fn the_journal_tells_both_values_and_ends_by_itself() {
    let (mine, theirs) = ([(1, Deed::Patch(1))], [(1, Deed::Patch(2)), (1, Deed::Patch(3))]);
    let (home, mut heir, cut) = parted(&[(1, Deed::Create)], &mine, &theirs);
    let pages = orphans(&home, cut, 9);
    let settle = |epoch| Op::Settle { by: HOME, home: HOME, epoch, how: Return::Merge, orphans: pages[0].clone() };
    assert_eq!(run(&mut heir, 0, settle(NEW + 1)), Outcome::Refused(Refusal::Fenced { home: HOME, epoch: NEW }));
    assert_eq!(tally(run(&mut heir, 0, settle(NEW))), Tally { journaled: 1, ..Tally::default() });
    let found = conflicts(&heir);
    let [Conflict { key: of, home: lost, epoch, mine, theirs: Some(theirs), .. }] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!((of, *lost, *epoch), (&key(1), HOME, NEW));
    let value = |fields: &Option<Fields>, name: u8| -> Option<Vec<u8>> {
        fields.as_ref().and_then(|fields| fields.get(&[name]).map(<[u8]>::to_vec))
    };
    assert_eq!(value(&mine.fields, 1), Some(vec![1]));
    assert_eq!((value(&theirs.fields, 1), value(&theirs.fields, 3)), (None, Some(vec![3])));
    let (_, entry) = heir.conflicts(None, 9).remove(0);
    assert_eq!((entry.slot(), entry.namespace()), (key(1).slot(), JOURNAL));
    assert!(heir.namespaces().all(|(namespace, _)| namespace != JOURNAL));
    let deadline = heir.record(&entry).expect("listed").deadline();
    assert!(heir.due(deadline, 9).iter().any(|(due, _)| *due == entry));
    // It goes where the home goes.
    let mut home = home;
    copy(&heir, &mut home, true);
    assert_eq!(conflicts(&home), found);
}

#[test]
fn a_page_that_is_too_large_is_settled_in_part() {
    let (_, mut heir, _) = parted(&[], &[], &[]);
    let orphan = |number: usize| {
        let key = Key::new(NamespaceId(0), format!("id{number}").as_bytes()).expect("an id");
        Orphaned { key, mine: record(1, (OLD, 1), Life::Live), base: None }
    };
    let orphans: Vec<Orphaned> = (0..ORPHANS_PER_APPLY_MAX + 5).map(orphan).collect();
    let op = |orphans| Op::Settle { by: HOME, home: HOME, epoch: NEW, how: Return::Merge, orphans };
    let first = tally(run(&mut heir, 0, op(orphans.clone()))).total();
    assert_eq!(first, ORPHANS_PER_APPLY_MAX as u64);
    assert_eq!(tally(run(&mut heir, 0, op(orphans[ORPHANS_PER_APPLY_MAX..].to_vec()))).total(), 5);
    assert_eq!(run(&mut heir, 0, op(Vec::new())), Outcome::Settled(Tally::default()));
}

#[test]
fn whoever_does_not_act_settles_nothing() {
    let mut other = State::new(HEIR, 3);
    let settle = Op::Settle { by: HOME, home: HOME, epoch: NEW, how: Return::Merge, orphans: Vec::new() };
    assert_eq!(run(&mut other, 0, settle), Outcome::Refused(Refusal::Fenced { home: HOME, epoch: 0 }));
    assert_eq!(other.acts(), Believed::from([(HEIR, 3)]));
}
