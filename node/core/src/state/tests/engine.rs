//! A state whose fields come and go: to everybody but its memory it is the state that keeps them all.

use super::{T, any_history, bytes, key, patch, replay, run, set};
use crate::{Body, Command, Expiry, Fields, Key, Record, RegionId, Request, Rules, State, policy::Policy};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

/// An engine in memory: what the state gave it, heads and fields.
#[derive(Default)]
struct Shelf {
    heads: BTreeMap<Key, Record>,
    bodies: BTreeMap<Key, Fields>,
}

impl Shelf {
    fn save(&mut self, state: &mut State) {
        for (key, change) in state.take_unsaved().iter() {
            let Some(record) = &change.record else {
                self.heads.remove(key);
                self.bodies.remove(key);
                continue;
            };
            if let (Body::Hot(fields), true) = (&record.body, change.body) {
                self.bodies.insert(key.clone(), fields.clone());
            }
            let body = Body::Cold { bytes: record.body_bytes(), field_count: record.field_count() };
            self.heads.insert(key.clone(), Record { body, ..(**record).clone() });
        }
        state.saved();
    }

    fn warm(&self, state: &mut State, command: &Command) {
        for session in state.cold_for_commands([command]) {
            state.warm(&session, self.bodies[&session.key].clone());
        }
        assert_eq!(state.cold_for_commands([command]), []);
    }

    fn record(&self, key: &Key) -> Record {
        Record { body: Body::Hot(self.bodies[key].clone()), ..self.heads[key].clone() }
    }
}

fn chill(state: &mut State) {
    // Twice round, for those that were used.
    state.cool(u64::MAX, 2 * state.record_count() + 2);
}

proptest! {
    #[test]
    fn going_cold_changes_no_outcome_and_loses_nothing(history in any_history(), save_every in 1_usize..4) {
        let (kept, outcomes, _) = replay(&history);
        let (mut state, mut shelf) = (State::new(RegionId(0), 1), Shelf::default());
        for (step, (stamp, command)) in history.into_iter().enumerate() {
            shelf.warm(&mut state, &command);
            prop_assert_eq!(&state.apply(stamp, command, &mut Vec::new()), &outcomes[step]);
            if step % save_every == 0 {
                shelf.save(&mut state);
            }
            chill(&mut state);
        }
        shelf.save(&mut state);
        chill(&mut state);
        prop_assert_eq!(state.hot_bytes(), 0);
        prop_assert_eq!(state.meta(), kept.meta());
        prop_assert_eq!(state.record_count(), shelf.heads.len());
        for (key, record) in kept.records(None) {
            prop_assert_eq!(&**record, &shelf.record(key));
        }
        let again = State::restore(state.meta(), shelf.heads.clone());
        prop_assert_eq!(&again.index, &kept.index);
    }
}

#[test]
fn what_could_not_be_saved_is_unsaved_again_and_later_changes_win() {
    let mut state = State::new(RegionId(0), 1);
    run(&mut state, T, "a", set("1", Expiry::Default));
    run(&mut state, T, "b", set("1", Expiry::Default));
    let taken = state.take_unsaved();
    assert_eq!((taken.len(), state.unsaved_bytes()), (2, 0));
    chill(&mut state);
    assert_eq!(state.cold_count(), 0, "nothing that is not durable goes cold");
    run(&mut state, T, "b", set("2", Expiry::Default));
    state.not_saved();
    let taken = state.take_unsaved();
    let value = |id: &str| match &taken[&key(id)].record.as_ref().expect("a record").body {
        Body::Hot(fields) => fields.get(b"").map(<[u8]>::to_vec),
        Body::Cold { .. } => None,
    };
    assert_eq!((value("a").as_deref(), value("b").as_deref()), (Some(&b"1"[..]), Some(&b"2"[..])));
    assert!(taken.values().all(|change| change.body));
}

#[test]
fn the_hand_passes_what_was_used_lately() {
    let mut state = State::new(RegionId(0), 1);
    for number in 0..100 {
        run(&mut state, T, &format!("id{number}"), set(&"x".repeat(100), Expiry::Default));
    }
    state.take_unsaved();
    state.saved();
    assert_eq!(state.cool(u64::MAX, 100), 0, "all were just written");
    run(&mut state, T, "id7", crate::Op::Touch);
    state.take_unsaved();
    state.saved();
    let all = state.hot_bytes();
    assert!(state.cool(all / 2, 1000) >= all / 2);
    assert!(!state.record(&key("id7")).expect("a record").is_cold());
}

#[test]
fn fields_that_were_fetched_for_an_earlier_body_are_not_believed() {
    let mut state = State::new(RegionId(0), 1);
    run(&mut state, T, "s", set("old", Expiry::Default));
    state.take_unsaved();
    state.saved();
    chill(&mut state);
    let rules: Rules = Policy::default().rules(false);
    let command = |op| Command { request: Request::default(), key: key("s"), rules, touched: None, op };
    let needs = state.cold_for_commands([&command(patch("a", "1"))]);
    assert_eq!(needs.len(), 1);
    assert_eq!(state.cold_for_commands([&command(set("new", Expiry::Default))]), [], "an overwrite needs no fields");
    run(&mut state, T, "s", set("new", Expiry::Default));
    state.take_unsaved();
    state.saved();
    chill(&mut state);
    state.warm(&needs[0], Fields::value(bytes("old")));
    assert!(state.record(&key("s")).expect("a record").is_cold());
    let record: &Arc<Record> = state.record(&key("s")).expect("a record");
    assert_eq!(record.body_bytes(), 5);
}

#[test]
fn what_is_held_stays_however_little_memory_there_is() {
    let mut state = State::new(RegionId(0), 1);
    for id in ["a", "b"] {
        run(&mut state, T, id, set("1", Expiry::Default));
    }
    state.take_unsaved();
    state.saved();
    state.hold([key("a")]);
    chill(&mut state);
    assert_eq!([key("a"), key("b")].map(|key| state.record(&key).expect("a record").is_cold()), [false, true]);
    state.release();
    chill(&mut state);
    assert_eq!(state.cold_count(), 2);
}
