//! Renames between shards, with steps lost, repeated and late.

use super::*;
use crate::{View, command::MoveStep, state::ANSWER_MS_MAX};

/// The old id's shard and the new id's.
struct Two {
    old: State,
    new: State,
}

impl Two {
    fn new() -> Self {
        let mut old = State::new(RegionId(0), 1);
        run(&mut old, T, "from", create(Expiry::After { ms: 5_000_000 }));
        Self { old, new: State::new(RegionId(0), 1) }
    }

    fn depart(&mut self, replace: bool) -> Box<View> {
        match run(&mut self.old, T + 1, "from", Op::Move { step: MoveStep::Depart { to: key("to"), replace } }) {
            Outcome::Record(Some(view)) => view,
            other => panic!("{other:?}"),
        }
    }

    fn arrive(&mut self, stamp: u64, replace: bool, view: &View) -> Outcome {
        let step = MoveStep::Arrive { from: key("from"), replace, view: Box::new(view.clone()) };
        run(&mut self.new, stamp, "to", Op::Move { step })
    }

    fn settle(&mut self, view: &View, arrived: bool) {
        let step = MoveStep::Settle { version: view.version, arrived };
        assert_eq!(run(&mut self.old, T + 3, "from", Op::Move { step }), Outcome::Count(1));
    }

    fn put_away(&mut self, view: &View) {
        let forget = MoveStep::Forget { from: key("from"), version: view.version };
        run(&mut self.new, T + 4, "to", Op::Move { step: forget });
        run(&mut self.old, T + 5, "from", Op::Move { step: MoveStep::Close { version: view.version } });
    }
}

#[test]
fn a_session_moves_and_never_lives_under_both_ids() {
    let mut two = Two::new();
    let before = get(&two.old, T, "from").expect("it lives");
    let view = two.depart(true);
    assert_eq!((get(&two.old, T + 1, "from"), get(&two.new, T + 1, "to")), (None, None));
    assert_eq!(two.arrive(T + 2, true, &view), Outcome::Count(1));
    let after = get(&two.new, T + 2, "to").expect("it lives on");
    assert_eq!(
        (after.fields, after.idle_deadline, after.incarnation),
        (before.fields, before.idle_deadline, before.incarnation)
    );
    two.settle(&view, true);
    two.put_away(&view);
    assert!(two.old.meta().moves.departures.is_empty());
    assert_eq!(get(&two.old, T + 6, "from"), None);
}

#[test]
fn steps_that_are_repeated_or_late_change_nothing() {
    let mut two = Two::new();
    let view = two.depart(true);
    assert_eq!(two.arrive(T + 2, true, &view), Outcome::Count(1));
    run(&mut two.new, T + 3, "to", Op::Destroy);
    assert_eq!(two.arrive(T + 4, true, &view), Outcome::Count(1), "a leader that resumes");
    assert_eq!(get(&two.new, T + 4, "to"), None, "what was destroyed stays so");
    two.settle(&view, true);
    two.put_away(&view);
    let records: Vec<_> = two.new.records(None).map(|(key, record)| (key.clone(), (**record).clone())).collect();
    two.new = State::restore(two.new.meta(), records);
    assert_eq!(two.arrive(T + 5, true, &view), Outcome::Count(1), "a step that was held up on its way");
    assert_eq!(get(&two.new, T + 5, "to"), None);
    run(&mut two.new, T + 5 + ANSWER_MS_MAX, "x", Op::Move { step: MoveStep::Close { version: view.version } });
    assert!(two.new.meta().moves.arrivals.is_empty(), "and then it is forgotten");
    assert!(two.new.meta().moves.closed.is_empty());
}

#[test]
fn a_session_that_may_not_arrive_gets_its_old_id_back() {
    let mut two = Two::new();
    run(&mut two.new, T, "to", set("taken", Expiry::Default));
    let view = two.depart(false);
    assert_eq!(two.arrive(T + 2, false, &view), Outcome::Count(0));
    run(&mut two.new, T + 2, "to", Op::Destroy);
    assert_eq!(two.arrive(T + 2, false, &view), Outcome::Count(0), "it was told already");
    two.settle(&view, false);
    let back = get(&two.old, T + 3, "from").expect("as before");
    assert_eq!((&back.fields, back.idle_deadline), (&view.fields, view.idle_deadline));
    assert!(back.incarnation > view.incarnation, "over its own tombstone");
    two.put_away(&view);
    assert!(two.old.meta().moves.departures.is_empty());
}

#[test]
fn one_id_makes_one_move_at_a_time_and_a_missing_one_none() {
    let mut two = Two::new();
    two.depart(true);
    let depart = Op::Move { step: MoveStep::Depart { to: key("to"), replace: true } };
    assert_eq!(run(&mut two.old, T + 2, "from", depart.clone()), Outcome::Refused(Refusal::Missing));
    run(&mut two.old, T + 2, "from", create(Expiry::Default));
    assert_eq!(run(&mut two.old, T + 2, "from", depart), Outcome::Refused(Refusal::Busy));
}
