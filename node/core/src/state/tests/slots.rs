//! A slot on its way between two shards, and one shard that has it all along: nobody can tell them apart.

use super::*;
use crate::{
    ShardId, Slot,
    query::SlotsFrom,
    slots::{Hold, Next, SlotMove, SlotStep, Wish, plan},
    state::{SlotPage, index::Index},
};
use std::collections::BTreeSet;

fn slot() -> Slot {
    key("{a}1").slot()
}

/// Ids in the slot that moves, and one that stays.
const IDS: [&str; 5] = ["{a}1", "{a}2", "{a}3", "{a}4", "stays"];

/// Two shards, one that is told all that both do, and whoever moves the slot to and fro.
struct Shards {
    both: [State; 2],
    alone: State,
    moved: SlotMove,
    /// What was sent to whom, and may come again.
    sent: Vec<(usize, Op)>,
    asked: Vec<Command>,
    stamp: u64,
    whole: bool,
    wish: Wish,
}

fn restored(state: &State) -> State {
    let all = state.records.iter().chain(&state.slots.aside);
    State::restore(state.meta(), all.map(|(key, record)| (key.clone(), (**record).clone())))
}

impl Shards {
    fn new() -> Self {
        let [one, other, alone] = [(); 3].map(|()| State::new(RegionId(0), 1));
        let moved = SlotMove { number: 1, from: ShardId(0), to: ShardId(1) };
        let wish = Wish::Move { lag_max: 0 };
        Self { both: [one, other], alone, moved, sent: vec![], asked: vec![], stamp: T, whole: false, wish }
    }

    fn hold(&self, at: usize) -> Hold {
        let first = if at == 0 { Hold::Serving { settled: 0 } } else { Hold::Away { settled: 0 } };
        self.both[at].holds().get(&slot()).copied().unwrap_or(first)
    }

    /// Who serves a key: the slot that stays is the first shard's.
    fn serving(&self, key: &Key) -> Option<usize> {
        if key.slot() != slot() {
            return Some(0);
        }
        let served: Vec<usize> = [0, 1].into_iter().filter(|at| self.hold(*at).serves()).collect();
        assert!(served.len() < 2, "two owners: {:?} {:?}", self.hold(0), self.hold(1));
        served.first().copied()
    }

    fn ask(&mut self, command: Command) {
        self.stamp += 1;
        let mut keys = Vec::new();
        command.push_keys(&mut keys);
        let serving: BTreeSet<Option<usize>> = keys.into_iter().map(|key| self.serving(key)).collect();
        let Some(at) = serving.first().copied().flatten().filter(|_| serving.len() == 1) else {
            // Nobody asks the second shard for what never moved.
            let asked = if command.key.slot() == slot() { 2 } else { 1 };
            for state in self.both.iter_mut().filter(|state| !state.holds().is_empty()).take(asked) {
                let outcome = state.apply(self.stamp, command.clone(), &mut Vec::new());
                if !matches!(outcome, Outcome::Refused(Refusal::SlotMoved { .. })) {
                    // It was answered before.
                    assert_eq!(outcome, self.alone.apply(self.stamp, command.clone(), &mut Vec::new()));
                }
            }
            return;
        };
        let outcome = self.both[at].apply(self.stamp, command.clone(), &mut Vec::new());
        assert_eq!(outcome, self.alone.apply(self.stamp, command.clone(), &mut Vec::new()), "{command:?}");
        self.asked.push(command);
    }

    fn write(&mut self, id: usize, op: Op, sequence: u64) {
        let open = self.asked.len().saturating_sub(8);
        let settled = self.asked[open..].iter().map(|command| command.request.sequence).min().unwrap_or(0);
        let request = Request { origin: 7, sequence, settled };
        self.ask(Command { request, key: key(IDS[id % IDS.len()]), rules: rules(), touched: None, op });
    }

    fn page(&self, at: usize, copy: Option<SlotsFrom>) -> SlotPage {
        let query = Query::Slots { slots: BTreeSet::from([slot()]), copy };
        match self.both[at].query(self.stamp, &|_, _| None, &query).0 {
            Answer::Slots(page) => *page,
            other => panic!("{other:?}"),
        }
    }

    fn tell(&mut self, at: usize, op: Op) -> Outcome {
        self.stamp += 1;
        let outcome = run(&mut self.both[at], self.stamp, "anywhere", op.clone());
        self.sent.push((at, op));
        outcome
    }

    /// Does what is next; whether the move is over.
    fn drive(&mut self) -> bool {
        let [from, to] = [self.moved.from, self.moved.to].map(|shard| shard.0 as usize);
        let lag = self.whole.then_some(0);
        match plan(self.moved, self.hold(from), self.hold(to), lag, self.wish) {
            Next::AtSource(step) => {
                // What changes until the slot is frozen is copied then.
                self.whole &= !matches!(step, SlotStep::Freeze { .. });
                self.tell(from, Op::Slot { slot: slot(), step });
            }
            Next::AtTarget(step) => {
                let outcome = self.tell(to, Op::Slot { slot: slot(), step });
                self.whole &= outcome == Outcome::Done;
            }
            Next::Copy => {
                let page = self.page(from, Some(SlotsFrom { since: 0, after: None }));
                let op = Op::TakeSlots { number: self.moved.number, page: Box::new(page) };
                self.whole = self.tell(to, op) == Outcome::Done;
            }
            Next::Over(owner) => {
                let (number, to) = (self.moved.number + 1, ShardId(1 - owner.0));
                self.moved = SlotMove { number, from: owner, to };
                self.whole = false;
                self.wish = Wish::Move { lag_max: 0 };
                return true;
            }
        }
        false
    }

    fn check(&self) {
        for id in IDS {
            if let Some(at) = self.serving(&key(id)) {
                assert_eq!(get(&self.both[at], self.stamp, id), get(&self.alone, self.stamp, id), "{id}");
            }
        }
        for state in &self.both {
            assert_eq!(state.index, Index::of(&state.records));
            assert!(state.records.keys().all(|key| state.serves(key.slot())));
        }
    }
}

fn ops() -> impl Strategy<Value = Op> {
    let owner = |user: &str| Owner { user: bytes(user), revocation_epoch: 0, labels: BTreeMap::new() };
    let create = Op::Create {
        kind: Kind::Hash,
        fields: Fields::from_pairs([(bytes("a"), bytes("1"))]),
        expiry: Expiry::After { ms: 50 },
        absolute_deadline: None,
        owner: Some(Box::new(owner("ann"))),
    };
    prop_oneof![
        Just(set("v", Expiry::After { ms: 30 })),
        Just(set("w", Expiry::Default)),
        Just(create),
        Just(patch("b", "2")),
        Just(Op::Touch),
        Just(Op::Destroy),
        Just(Op::Increment { by: 1 }),
        Just(Op::Read { projection: Projection::Whole }),
        Just(Op::Rename { to: key("{a}4"), replace: true }),
    ]
}

#[derive(Clone, Debug)]
enum Action {
    Write(usize, Op),
    Again(usize),
    Drive,
    Late(usize),
    Restart(usize),
    GiveUp,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        8 => (0..IDS.len(), ops()).prop_map(|(id, op)| Action::Write(id, op)),
        2 => (0..4_usize).prop_map(Action::Again),
        8 => Just(Action::Drive),
        2 => any::<usize>().prop_map(Action::Late),
        1 => (0..2_usize).prop_map(Action::Restart),
        1 => Just(Action::GiveUp),
    ];
    proptest::collection::vec(action, 1..120)
}

proptest! {
    #[test]
    fn nobody_can_tell_a_slot_that_moves_from_one_that_stays(actions in actions()) {
        let mut shards = Shards::new();
        for (sequence, action) in (1..).zip(actions) {
            match action {
                Action::Write(id, op) => shards.write(id, op, sequence),
                Action::Again(back) => {
                    let at = shards.asked.len().checked_sub(back + 1);
                    if let Some(command) = at.and_then(|at| shards.asked.get(at).cloned()) {
                        shards.ask(command);
                    }
                }
                Action::Drive => drop(shards.drive()),
                Action::Late(which) if !shards.sent.is_empty() => {
                    let (at, op) = shards.sent[which % shards.sent.len()].clone();
                    shards.stamp += 1;
                    run(&mut shards.both[at], shards.stamp, "anywhere", op);
                    shards.whole = false;
                }
                Action::Late(_) => {}
                Action::Restart(at) => shards.both[at] = restored(&shards.both[at]),
                Action::GiveUp => shards.wish = Wish::GiveUp,
            }
            shards.check();
        }
        prop_assert!((0..32).any(|_| shards.drive()), "a move that somebody goes on with ends");
        shards.check();
        let total = |state: &State| state.usage(NAMESPACE);
        let (one, other, alone) = (total(&shards.both[0]), total(&shards.both[1]), total(&shards.alone));
        prop_assert_eq!((one.sessions + other.sessions, one.bytes + other.bytes), (alone.sessions, alone.bytes));
    }
}

/// Moves the slot from the first shard to the second.
fn carried(shards: &mut Shards) {
    while !shards.drive() {}
}

#[test]
fn a_slot_takes_along_all_that_belongs_to_it() {
    let mut shards = Shards::new();
    shards.write(0, set("v", Expiry::Default), 10);
    shards.write(4, set("v", Expiry::Default), 11);
    shards.write(1, set("x", Expiry::Default), 12);
    shards.write(1, Op::Destroy, 13);
    carried(&mut shards);
    let [source, target] = &shards.both;
    assert_eq!((source.record_count(), target.record_count()), (1, 2), "a tombstone, too");
    assert!(!source.meta().sequences.contains_key(&slot()));
    assert_eq!(target.meta().sequences.get(&slot()), shards.alone.meta().sequences.get(&slot()));
    assert_eq!(target.askers(slot()).len(), 1, "what may be asked again");
    assert!(source.askers(slot()).is_empty());
    assert!(source.slots.aside.is_empty() && target.slots.aside.is_empty());
    shards.check();
}

#[test]
fn what_was_seen_to_be_revoked_stays_so_where_the_revocation_has_not_come_yet() {
    let mut shards = Shards::new();
    let owner = Owner { user: bytes("ann"), revocation_epoch: 0, labels: BTreeMap::new() };
    let fields = Fields::from_pairs([(bytes("a"), bytes("1"))]);
    let create = |owner: &Owner| Op::Create {
        kind: Kind::Hash,
        fields: fields.clone(),
        expiry: Expiry::Default,
        absolute_deadline: None,
        owner: Some(Box::new(owner.clone())),
    };
    shards.write(0, create(&owner), 10);
    // No session is destroyed yet: the epoch alone hides it.
    let revoke = Op::Revoke { user: bytes("ann"), epoch: 1, count_max: 0 };
    run(&mut shards.both[0], T + 5, "anywhere", revoke.clone());
    run(&mut shards.alone, T + 5, "anywhere", revoke);
    carried(&mut shards);
    shards.check();
    assert_eq!(shards.both[1].leftovers().count(), 1, "its new leader destroys it");
}

#[test]
fn a_shard_says_what_it_does_not_serve() {
    let mut shards = Shards::new();
    shards.write(0, set("v", Expiry::Default), 10);
    let scan = |until| {
        let from = Some(crate::query::Cursor::default());
        Query::Scan { namespace: NAMESPACE, filter: Default::default(), from, count: 9, until }
    };
    let ask = |shards: &Shards, query: &Query| shards.both[0].query(T, &|_, _| None, query).0;
    let all = Slot::new(crate::ids::SLOTS - 1);
    assert!(matches!(ask(&shards, &scan(all)), Answer::Page { .. }));
    while !matches!(shards.hold(0), Hold::Frozen { .. }) {
        shards.drive();
    }
    let get = Query::Get { key: key("{a}1"), projection: Projection::Whole };
    assert_eq!(ask(&shards, &get), Answer::SlotMoved { to: Some(ShardId(1)) });
    assert_eq!(ask(&shards, &scan(all)), Answer::SlotMoved { to: None });
    assert_eq!(ask(&shards, &scan(None)), Answer::Page { lines: vec![], next: None }, "what it has it does not serve");
    let clear = Op::Clear { namespace: NAMESPACE, before: NEVER, count_max: 9 };
    assert_eq!(run(&mut shards.both[0], T, "anywhere", clear), Outcome::Refused(Refusal::SlotMoved { to: None }));
    assert!(shards.both[0].due(NEVER, 9).is_empty(), "nothing of it expires meanwhile");
}

#[test]
fn a_page_ends_where_it_is_full_and_what_is_gone_goes_with_it() {
    let mut state = State::new(RegionId(0), 1);
    for number in 0..9 {
        run(&mut state, T + number, &format!("{{a}}{number}"), set("v", Expiry::Default));
    }
    let slots = BTreeSet::from([slot()]);
    let bounds = crate::feed::FeedBounds { entries_max: 4, bytes_max: u64::MAX };
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = state.slot_page(&slots, T + 3, after.as_ref(), bounds);
        found.extend(page.records.into_iter().map(|(key, _)| key));
        match page.until {
            Some(until) => after = Some(until),
            None => break,
        }
    }
    assert_eq!(found.len(), 6, "what was written since");
    assert!(found.is_sorted());
}
