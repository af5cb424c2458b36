//! Sessions go from home to home, and have one at any time.

use super::*;
use crate::{
    ShardId,
    feed::{FeedBounds, FeedCursor, FeedId},
    stream::{Absorbed, Piece, Source, Span},
};

/// Three regions that tell each other all they order, later or sooner.
struct World {
    states: Vec<State>,
    /// What each has told.
    told: Vec<Vec<Effect>>,
    /// How much of what each has told each has taken in.
    taken: BTreeMap<(usize, usize), usize>,
    stamp: u64,
}

fn cursor(index: usize) -> FeedCursor {
    FeedCursor { feed: FeedId(1), index: index as u64 }
}

impl World {
    /// Each begins with an empty copy of the others.
    fn new(epochs: [u32; 3]) -> Self {
        let states = (0..).zip(epochs).map(|(region, epoch)| State::new(RegionId(region), epoch)).collect();
        let mut world = Self { states, told: vec![Vec::new(); 3], taken: BTreeMap::new(), stamp: T };
        for (by, from) in world.pairs() {
            let span = Span::all_after(None);
            let (homes, elsewhere) = (world.states[from].acts(), Vec::new());
            let begin = cursor(0);
            world.take(
                by,
                from,
                Piece::Page { asked: u64::MAX, begin, span, homes, replaces: false, records: Vec::new(), elsewhere },
            );
        }
        world
    }

    fn pairs(&self) -> Vec<(usize, usize)> {
        (0..9).map(|pair| (pair / 3, pair % 3)).filter(|(by, from)| by != from).collect()
    }

    fn take(&mut self, by: usize, from: usize, piece: Piece) {
        let source = Source { region: RegionId(from as u16), shard: ShardId(0) };
        let absorbed = Absorbed { source, as_of: T, believed: self.states[from].acts(), piece };
        let outcome = self.does(by, "absorb", Op::Absorb { absorbed: Box::new(absorbed) });
        assert!(matches!(outcome, Outcome::Count(_)), "{outcome:?}");
    }

    fn pull(&mut self, by: usize, from: usize, count: usize) {
        let begun = self.taken.get(&(by, from)).copied().unwrap_or(0);
        let some: Vec<Effect> = self.told[from].iter().skip(begun).take(count).cloned().collect();
        let end = begun + some.len();
        let records = some.into_iter().map(|effect| (effect.key, (*effect.record).clone())).collect();
        self.take(
            by,
            from,
            Piece::Changes { after: cursor(begun), next: cursor(end), records, turned: crate::SlotSet::default() },
        );
        self.taken.insert((by, from), end);
    }

    fn does(&mut self, region: usize, id: &str, op: Op) -> Outcome {
        self.stamp += 1;
        let mut effects = Vec::new();
        let command = Command { request: Request::default(), key: key(id), rules: rules(), touched: None, op };
        let outcome = self.states[region].apply(self.stamp, command, &mut effects);
        effects.retain(|effect| effect.told);
        self.told[region].extend(effects);
        outcome
    }

    fn orderers(&self) -> Vec<usize> {
        let orders = |state: &State| state.record(&key("s")).is_some_and(|record| state.orders(record));
        (0..3).filter(|region| orders(&self.states[*region])).collect()
    }
}

proptest! {
    #[test]
    fn a_session_that_travels_has_one_home_and_keeps_what_was_written(
        epochs in proptest::sample::subsequence(vec![1_u32, 2, 3, 4, 5], 3).prop_shuffle(),
        acts in proptest::collection::vec((0_usize..3, 0_usize..3, 0_u8..3, 1_usize..4), 0..60),
    ) {
        let mut world = World::new([epochs[0], epochs[1], epochs[2]]);
        world.does(0, "s", set("0", Expiry::Default));
        let mut last = 0;
        for (number, (one, other, what, count)) in (1..).zip(acts) {
            match what {
                0 if one != other => world.pull(one, other, count),
                1 => {
                    let to = RegionId(other as u16);
                    let outcome = world.does(one, "s", Op::Release { to });
                    let refused = matches!(outcome, Outcome::Refused(_) | Outcome::Nothing);
                    prop_assert!(refused || world.states[one].home_elsewhere(&key("s")) == Some(to));
                }
                _write => {
                    // One that has not heard of the session would make another.
                    if world.states[one].record(&key("s")).is_some()
                        && world.does(one, "s", set(&number.to_string(), Expiry::Default)) == Outcome::Done
                    {
                        last = number;
                    }
                }
            }
            prop_assert!(world.orderers().len() <= 1);
        }
        for _round in 0..4 {
            world.pairs().into_iter().for_each(|(by, from)| world.pull(by, from, usize::MAX));
        }
        prop_assert_eq!(world.orderers().len(), 1);
        for state in &world.states {
            prop_assert_eq!(value(state, T, "s"), Some(last.to_string()));
        }
    }
}

#[test]
fn a_session_that_went_before_anybody_followed_comes_with_the_copy() {
    let (mut from, mut to) = (State::new(RegionId(0), 1), State::new(RegionId(1), 2));
    run(&mut from, T, "s", set("v", Expiry::Default));
    run(&mut from, T + 1, "s", Op::Release { to: RegionId(1) });
    let span = Span::all_after(None);
    let page = from.copy_page(&span, FeedBounds { entries_max: 9, bytes_max: 1 << 20 });
    let records = page.records.into_iter().map(|(key, record)| (key, (*record).clone())).collect();
    let (homes, elsewhere) = (page.homes, page.elsewhere);
    let piece = Piece::Page { asked: u64::MAX, begin: cursor(1), span, homes, replaces: false, records, elsewhere };
    let source = Source { region: RegionId(0), shard: ShardId(0) };
    let absorbed = Absorbed { source, as_of: T, believed: from.acts(), piece };
    assert_eq!(run(&mut to, T, "any", Op::Absorb { absorbed: Box::new(absorbed) }), Outcome::Count(1));
    assert_eq!(run(&mut to, T + 2, "s", set("w", Expiry::Default)), Outcome::Done);
    assert_eq!(value(&to, T + 2, "s").as_deref(), Some("w"));
}

#[test]
fn a_session_does_not_go_while_an_answer_may_be_asked_for_again() {
    let mut state = State::new(RegionId(0), 1);
    let asks = |state: &mut State, sequence, settled| {
        let request = Request { origin: 9, sequence, settled };
        let (key, op) = (key("s"), Op::Increment { by: 1 });
        state.apply(T, Command { request, key, rules: rules(), touched: None, op }, &mut Vec::new())
    };
    assert_eq!(asks(&mut state, 1, 1), Outcome::Count(1));
    let release = || Op::Release { to: RegionId(1) };
    assert_eq!(run(&mut state, T, "s", release()), Outcome::Refused(Refusal::Busy));
    let records: Vec<_> = state.records(None).map(|(key, record)| (key.clone(), (**record).clone())).collect();
    let mut again = State::restore(state.meta(), records);
    assert_eq!(run(&mut again, T, "s", release()), Outcome::Refused(Refusal::Busy));
    assert_eq!((state.askers(key("s").slot()), state.askers(key("other").slot())), (vec![9], vec![]));
    // Whoever asks next says what it has heard; so does a copy of an old request, to which nothing else happens.
    let request = Request { origin: 9, sequence: 0, settled: 2 };
    let late = Command { request, key: key("s"), rules: rules(), touched: None, op: Op::Destroy };
    assert_eq!(state.apply(T, late, &mut Vec::new()), Outcome::Refused(Refusal::Gone));
    assert_eq!(value(&state, T, "s").as_deref(), Some("1"));
    assert!(state.askers(key("s").slot()).is_empty());
    assert_eq!(run(&mut state, T, "s", Op::Release { to: RegionId(0) }), Outcome::Nothing, "it is there");
    let Outcome::Written { version, .. } = run(&mut state, T, "s", release()) else { panic!("it goes") };
    assert_eq!((version.epoch, version.home_epoch), (1, 1));
    assert_eq!(run(&mut state, T, "s", release()), Outcome::Refused(Refusal::Elsewhere { home: RegionId(1) }));
    assert_eq!(run(&mut state, T, "none", release()), Outcome::Refused(Refusal::Gone));
}
