//! Listings by index, and operations on many sessions in bounded steps.

use super::*;
use crate::query::{Cursor, Filter};
use std::collections::BTreeSet;

fn login(user: &str, role: &str, epoch: u64, expiry: Expiry) -> Op {
    let labels = BTreeMap::from([(bytes("role"), bytes(role))]);
    let owner = Some(Box::new(Owner { user: bytes(user), revocation_epoch: epoch, labels }));
    Op::Create { kind: Kind::Hash, fields: Fields::new(), expiry, absolute_deadline: None, owner }
}

/// 300 sessions: every third of user u, every fifth an admin; number n ends n + 1 seconds after T.
fn three_hundred() -> State {
    let mut state = State::new(RegionId(0), 1);
    for number in 0..300_u64 {
        let user = if number % 3 == 0 { "u" } else { "w" };
        let role = if number % 5 == 0 { "admin" } else { "guest" };
        let expiry = Expiry::After { ms: (number + 1) * 1_000 };
        run(&mut state, T, &format!("id{number}"), login(user, role, 0, expiry));
    }
    state
}

fn page(state: &State, filter: &Filter, from: Option<Cursor>, count: u64) -> (Vec<Box<[u8]>>, Option<Cursor>) {
    let query = Query::Scan { namespace: NAMESPACE, filter: filter.clone(), from, count, until: None };
    match state.query(T, &|_, _| None, &query).0 {
        Answer::Page { lines, next } => (lines.into_iter().map(|line| line.id).collect(), next),
        other => panic!("{other:?}"),
    }
}

fn list(state: &State, filter: &Filter, count: u64) -> Vec<Box<[u8]>> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let (ids, next) = page(state, filter, from, count);
        assert!(ids.len() as u64 <= count);
        all.extend(ids);
        if next.is_none() {
            return all;
        }
        from = next;
    }
}

fn count(state: &State, filter: &Filter) -> u64 {
    match state.query(T, &|_, _| None, &Query::Count { namespace: NAMESPACE, filter: filter.clone() }).0 {
        Answer::Total { sessions, .. } => sessions,
        other => panic!("{other:?}"),
    }
}

#[test]
fn filters_list_what_passes_once_page_by_page_and_count_the_same() {
    let state = three_hundred();
    let user = Filter { user: Some(bytes("u")), ..Filter::default() };
    let admins = Filter { label: Some((bytes("role"), bytes("admin"))), ..Filter::default() };
    let soon = Filter { expiring_before: Some(T + 50_000), ..Filter::default() };
    let both = Filter { user: Some(bytes("u")), expiring_before: Some(T + 50_000), ..admins.clone() };
    for (filter, expected) in [(user, 100), (admins, 60), (soon, 49), (both, 4)] {
        for count in [1, 7, 1_000] {
            let ids = list(&state, &filter, count);
            assert_eq!(ids.len(), expected, "{filter:?} by {count}");
            assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), expected, "each once");
        }
        assert_eq!(count(&state, &filter), expected as u64, "{filter:?}");
    }
}

#[test]
fn what_ends_soon_is_listed_by_deadline_and_survives_touches_on_the_way() {
    let mut state = three_hundred();
    let soon = Filter { expiring_before: Some(T + 200_000), ..Filter::default() };
    let (first, next) = page(&state, &soon, None, 10);
    let expected: Vec<Box<[u8]>> = (0..10).map(|number| bytes(&format!("id{number}"))).collect();
    assert_eq!(first, expected);
    run(
        &mut state,
        T + 1,
        "id12",
        Op::SetExpiry { expiry: Expiry::After { ms: 150_000 }, condition: Default::default() },
    );
    let (mut rest, mut from) = (BTreeSet::new(), next);
    while from.is_some() {
        let (ids, next) = page(&state, &soon, from, 10);
        rest.extend(ids);
        from = next;
    }
    assert_eq!(rest.len(), 189, "all but the ten of the first page");
    assert!(rest.contains(&bytes("id12")));
}

#[test]
fn a_page_looks_at_few_sessions_however_few_pass() {
    let state = three_hundred();
    let rare = Filter { pattern: Some(bytes("id299")), ..Filter::default() };
    let (ids, next) = page(&state, &rare, None, 20);
    assert!(ids.len() <= 1);
    assert!(next.is_some(), "it gave back control");
    assert_eq!(list(&state, &rare, 20).len(), 1);
}

#[test]
fn a_revoked_user_is_gone_at_once_although_sessions_are_destroyed_step_by_step() {
    let mut state = three_hundred();
    let user = Filter { user: Some(bytes("u")), ..Filter::default() };
    let revoke = Op::Revoke { user: bytes("u"), epoch: 5, count_max: 30 };
    assert_eq!(run(&mut state, T + 1, "x", revoke.clone()), Outcome::Count(30));
    assert_eq!(count(&state, &user), 0);
    assert_eq!(list(&state, &user, 10).len(), 0);
    let left: Vec<String> = (0..300).step_by(3).map(|number| format!("id{number}")).collect();
    let left: Vec<&String> =
        left.iter().filter(|id| state.record(&key(id)).expect("a record").life == Life::Live).collect();
    assert_eq!(left.len(), 70);
    assert!(get(&state, T + 1, left[0]).is_none());
    assert_eq!(run(&mut state, T + 2, left[0], patch("a", "2")), Outcome::Refused(Refusal::Gone));
    assert_eq!(
        run(&mut state, T + 2, left[1], login("u", "guest", 4, Expiry::Default)),
        Outcome::Refused(Refusal::Revoked { epoch: 5 })
    );
    assert!(matches!(
        run(&mut state, T + 2, left[2], login("u", "guest", 5, Expiry::Default)),
        Outcome::Written { .. }
    ));
    let records: Vec<_> = state.records(None).map(|(key, record)| (key.clone(), (**record).clone())).collect();
    let restored = State::restore(state.meta(), records);
    assert_eq!(restored.leftovers().collect::<Vec<_>>(), [(NAMESPACE, &b"u"[..], 5)]);
    for expected in [30, 30, 7, 0] {
        assert_eq!(run(&mut state, T + 3, "x", revoke.clone()), Outcome::Count(expected));
    }
    assert_eq!(state.leftovers().count(), 0);
    assert_eq!(count(&state, &user), 1, "who logged in anew stays");
}

#[test]
fn clearing_ends_so_many_and_no_more_and_walks_no_tombstones() {
    let mut state = three_hundred();
    let clear = |count_max| Op::Clear { namespace: NAMESPACE, before: T + 1, count_max };
    assert_eq!(run(&mut state, T + 5, "x", clear(200)), Outcome::Count(200));
    run(&mut state, T + 6, "new", set("v", Expiry::Default));
    assert_eq!(run(&mut state, T + 7, "x", clear(u64::MAX)), Outcome::Count(100));
    assert!(get(&state, T + 7, "new").is_some(), "created after the clear began");
}

#[test]
fn a_random_session_is_any_of_them() {
    let state = three_hundred();
    let drawn =
        (0..2_000).map(|seed| match state.query(T, &|_, _| None, &Query::Random { namespace: NAMESPACE, seed }).0 {
            Answer::Page { mut lines, .. } => lines.pop().expect("one of them").id,
            other => panic!("{other:?}"),
        });
    assert_eq!(drawn.collect::<BTreeSet<_>>().len(), 300);
    let nobody = Query::Random { namespace: NamespaceId(9), seed: 1 };
    assert_eq!(state.query(T, &|_, _| None, &nobody).0, Answer::Page { lines: Vec::new(), next: None });
}
