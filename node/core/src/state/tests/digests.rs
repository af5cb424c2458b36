//! Digests: a copy that differs from its source is noticed and mended, one that does not is left alone.

use super::{streams::*, *};
use crate::{
    Body, Record, Slot,
    feed::FeedBounds,
    ids::SLOTS,
    stream::{Piece, Span},
};
use std::collections::BTreeSet;

fn slots() -> (Slot, Slot) {
    (Slot::new(0).expect("a slot"), Slot::new(SLOTS - 1).expect("a slot"))
}

/// Where the follower differs from the source.
fn differing(source: &State, follower: &State) -> Vec<Slot> {
    let (first, last) = slots();
    follower.differing(&source.acts(), &source.digests(first, last))
}

/// The follower with one of its records changed; none leaves it out.
fn with(follower: &State, key: &Key, change: impl FnOnce(Record) -> Option<Record>) -> State {
    let mut records: BTreeMap<Key, Record> =
        follower.records(None).map(|(key, record)| (key.clone(), (**record).clone())).collect();
    let changed = change(records.remove(key).expect("it is there"));
    records.extend(changed.map(|record| (key.clone(), record)));
    State::restore(follower.meta(), records)
}

/// Takes a page of this slot anew, without moving the cursor.
fn mend(source: &State, follower: &mut State, slot: Slot) -> Outcome {
    let begin = follower.progress(SOURCE).cursor.expect("copied before");
    let span = Span { after: None, until: None, slots: crate::SlotSet::of_slots([slot]) };
    let page = source.copy_page(&span, FeedBounds { entries_max: usize::MAX, bytes_max: u64::MAX });
    let records = page.records.into_iter().map(|(key, record)| (key, (*record).clone())).collect();
    let (homes, elsewhere) = (page.homes, page.elsewhere);
    let mended =
        absorb(follower, T, Piece::Page { asked: u64::MAX, begin, span, homes, replaces: false, records, elsewhere });
    assert_eq!(follower.progress(SOURCE).cursor, Some(begin));
    mended
}

proptest! {
    #[test]
    fn a_copy_that_is_the_same_does_not_differ(history in any_history(), begun in 0_usize..40) {
        let (mut source, mut follower) = (State::new(RegionId(0), 1), State::new(RegionId(1), 1));
        let mut effects = Vec::new();
        let begun = begun.min(history.len());
        for (stamp, command) in &history[..begun] {
            source.apply(*stamp, command.clone(), &mut effects);
        }
        let (first, last) = slots();
        let before = source.digests(first, last);
        let begin = effects.len();
        copy(&source, &mut follower, T, begin, 3);
        prop_assert_eq!(differing(&source, &follower), []);
        for (stamp, command) in &history[begun..] {
            source.apply(*stamp, command.clone(), &mut effects);
        }
        absorb(&mut follower, T, changes(begin, effects.len(), &effects[begin..]));
        prop_assert_eq!(differing(&source, &follower), []);
        // Of what was changed since, an earlier digest says nothing.
        let changed: BTreeSet<Slot> = effects[begin..].iter().map(|effect| effect.key.slot()).collect();
        let differing = follower.differing(&source.acts(), &before);
        prop_assert!(differing.iter().all(|slot| !changed.contains(slot)) && differing.is_empty());
    }
}

#[test]
fn what_was_lost_kept_or_flipped_is_noticed_and_mended() {
    let (mut source, mut follower) = (State::new(RegionId(0), 1), State::new(RegionId(1), 1));
    for id in ["a", "b", "gone"] {
        run(&mut source, T, id, create(Expiry::After { ms: 1_000 }));
    }
    copy(&source, &mut follower, T, 1, 10);
    let lived = follower.record(&key("gone")).expect("copied").clone();
    run(&mut source, T, "gone", Op::Destroy);
    copy(&source, &mut follower, T, 2, 10);
    let right = records_of(&follower, RegionId(0));
    assert_eq!(differing(&source, &follower), []);
    let flipped = |key: &str, change: &dyn Fn(&mut Record)| {
        with(&follower, &super::key(key), |mut record| {
            change(&mut record);
            Some(record)
        })
    };
    for (id, mut wrong) in [
        ("a", with(&follower, &key("a"), |_| None)),
        ("gone", with(&follower, &key("gone"), |_| Some((*lived).clone()))),
        ("a", flipped("a", &|record| record.version.sequence -= 1)),
        ("b", flipped("b", &|record| record.body = Body::Hot(Fields::new()))),
        ("b", flipped("b", &|record| record.kind = Kind::Set)),
        ("b", flipped("b", &|record| record.absolute_deadline -= 1)),
    ] {
        let slot = key(id).slot();
        assert_eq!(differing(&source, &wrong), [slot], "{id}");
        assert!(matches!(mend(&source, &mut wrong, slot), Outcome::Count(1)));
        assert_eq!(records_of(&wrong, RegionId(0)), right);
        assert_eq!(differing(&source, &wrong), []);
        assert_eq!(mend(&source, &mut wrong, slot), Outcome::Count(0));
    }
    // How long it may be unused is no difference: a touch may be on its way.
    let touched = flipped("a", &|record| record.idle_deadline += 5);
    assert_eq!(differing(&source, &touched), []);
}
