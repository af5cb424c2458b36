//! Sessions of a home are counted, and found page by page while they change.

use super::*;
use std::collections::BTreeSet;

const NAMESPACES: u32 = 3;
const HERE: RegionId = RegionId(0);

fn key_of(namespace: u32, number: u8) -> Key {
    Key::new(NamespaceId(namespace), format!("s{number}").as_bytes()).expect("a good id")
}

fn does(state: &mut State, stamp: u64, key: Key, op: Op) -> Outcome {
    let command = Command { request: Request::default(), key, rules: rules(), touched: None, op };
    state.apply(stamp, command, &mut Vec::new())
}

/// What happens to a session between two pages.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Written(u64),
    Destroyed,
    Leaves,
}

fn any_change() -> impl Strategy<Value = (u32, u8, Happens)> {
    let happens = prop_oneof![
        4 => (1_u64..9).prop_map(Happens::Written),
        1 => Just(Happens::Destroyed),
        1 => Just(Happens::Leaves),
    ];
    (0..NAMESPACES, 0_u8..12, happens)
}

fn happen(state: &mut State, stamp: u64, (namespace, number, happens): (u32, u8, Happens)) {
    let op = match happens {
        Happens::Written(days) => set("v", Expiry::After { ms: days * 24 * 60 * 60_000 }),
        Happens::Destroyed => Op::Destroy,
        Happens::Leaves => Op::Release { to: RegionId(1) },
    };
    // Some are of what is not there, or is elsewhere by now.
    drop(does(state, stamp, key_of(namespace, number), op));
}

fn at_home(state: &State, wanted: &BTreeSet<u32>) -> BTreeSet<Key> {
    let keys = (0..NAMESPACES).flat_map(|namespace| (0..12).map(move |number| key_of(namespace, number)));
    let here = |key: &Key| {
        state.record(key).is_some_and(|record| record.home == HERE && record.life == Life::Live)
            && wanted.contains(&key.namespace().0)
    };
    keys.filter(here).collect()
}

proptest! {
    #[test]
    fn whoever_stays_at_home_all_along_is_found(
        before in proptest::collection::vec(any_change(), 0..60),
        between in proptest::collection::vec(any_change(), 0..60),
        wanted in proptest::collection::btree_set(0..NAMESPACES, 0..4),
        max in 1_usize..5,
    ) {
        let (mut state, mut stamp) = (State::new(HERE, 1), T);
        for change in before {
            stamp += 1;
            happen(&mut state, stamp, change);
        }
        let (mut stayed, mut found, mut from) = (at_home(&state, &wanted), BTreeSet::new(), None);
        let mut between = between.into_iter();
        // As many pages as there can be records, and those that are met again later.
        for _page in 0..200 {
            let (page, next) = state.of_home(HERE, from, max, |namespace| wanted.contains(&namespace.0));
            prop_assert!(page.len() <= max);
            for (key, record) in page {
                prop_assert!(record.home == HERE && record.life == Life::Live && wanted.contains(&key.namespace().0));
                found.insert(key);
            }
            from = next;
            if from.is_none() {
                break;
            }
            for (namespace, number, happens) in between.by_ref().take(2) {
                stamp += 1;
                // Later than all before: one whose deadline is shortened may go to a place that was passed.
                let happens = if let Happens::Written(_) = happens { Happens::Written(100) } else { happens };
                happen(&mut state, stamp, (namespace, number, happens));
            }
            stayed = &stayed & &at_home(&state, &wanted);
        }
        prop_assert_eq!(from, None);
        prop_assert!(stayed.is_subset(&found));
        let counted: u64 = state.homes().get(&HERE).into_iter().flatten().map(|(_, count)| count).sum();
        prop_assert_eq!(counted, at_home(&state, &(0..NAMESPACES).collect()).len() as u64);
    }
}
