//! Round trips, cuts and noise.

mod control;
mod rights;
mod slots;

use super::{NESTED_MAX, Wire, WireError, decode_all, encode};
use proptest::prelude::*;
use sojourn_core::{
    Command, Fields, Incarnation, Key, Kind, NamespaceId, NodeId, Op, Outcome, Owner, Projection, Query, Refusal,
    RegionId, Request, SlotTable, Version, View,
    command::{Condition, Expiry, MoveStep},
    control::{ControlCommand, ControlState},
    mint::MintKey,
    policy::Policy,
    query::Filter,
    region::{Addresses, Member, RegionCommand, RegionState},
};
use std::{collections::BTreeMap, fmt::Debug};

fn bytes(text: &str) -> Box<[u8]> {
    text.as_bytes().into()
}

fn key(id: &str) -> Key {
    Key::new(NamespaceId(7), id.as_bytes()).expect("a good id")
}

fn fields() -> Fields {
    Fields::from_pairs([(bytes("a"), bytes("1")), (bytes("b"), bytes(""))])
}

fn owner() -> Option<Box<Owner>> {
    let labels = BTreeMap::from([(bytes("role"), bytes("admin"))]);
    Some(Box::new(Owner { user: bytes("u7"), revocation_epoch: 3, labels }))
}

fn view() -> View {
    View {
        kind: Kind::Hash,
        incarnation: Incarnation { stamp: 5, region: RegionId(2) },
        version: Version { epoch: 1, home_epoch: 2, sequence: u64::MAX },
        home: RegionId(3),
        written: 9,
        idle_timeout_ms: 60_000,
        idle_deadline: 70_000,
        absolute_deadline: u64::MAX,
        owner: owner(),
        field_count: 2,
        bytes: 7,
        fields: fields(),
    }
}

fn command(op: Op) -> Command {
    let request = Request { origin: 1, sequence: 300, settled: 299 };
    Command { request, key: key("sess:{x}1"), rules: Policy::default().rules(false), touched: Some(12), op }
}

fn commands() -> Vec<Command> {
    let set = Op::Set {
        value: bytes("v"),
        expiry: Expiry::After { ms: 5 },
        condition: Condition::IfAbsent,
        get: true,
        owner: owner(),
    };
    let ops = vec![
        Op::Create { kind: Kind::Set, fields: fields(), expiry: Expiry::Keep, absolute_deadline: Some(4), owner: None },
        Op::Patch {
            set: fields(),
            remove: vec![bytes("x")],
            if_version: Some(Version::default()),
            expiry: Expiry::Never,
            owner: owner(),
        },
        Op::Increment { by: i64::MIN },
        Op::Extend { version: Version::default(), deadline: 9 },
        Op::Move { step: MoveStep::Arrive { from: key("old"), replace: true, view: Box::new(view()) } },
        Op::Move { step: MoveStep::Depart { to: key("new"), replace: false } },
        Op::IncrementFloat { by: -0.5 },
        Op::SortedAdd { members: vec![(bytes("m"), f64::INFINITY)], rules: Default::default() },
        Op::SortedRemoveByScore { low: (1.0, true), high: (2.0, false) },
        Op::Exec {
            watched: vec![(key("w"), None)],
            steps: vec![(key("s"), set.clone()), (key("t"), Op::Read { projection: Projection::Summary })],
        },
        set,
    ];
    ops.into_iter().map(command).collect()
}

/// The value survives, no proper beginning of it is taken for one, and nothing after it is ignored.
fn holds<T: Wire + PartialEq + Debug>(value: &T) {
    let whole = encode(value);
    assert_eq!(decode_all::<T>(&whole).as_ref(), Ok(value));
    for cut in 0..whole.len() {
        assert!(decode_all::<T>(&whole[..cut]).is_err(), "{cut} of {} bytes of {value:?}", whole.len());
    }
    let mut longer = whole;
    longer.push(0);
    assert_eq!(decode_all::<T>(&longer), Err(WireError::Trailing(1)));
}

#[test]
fn commands_and_outcomes_survive_and_cuts_are_noticed() {
    for command in commands() {
        holds(&command);
    }
    let refusals = [
        Refusal::Gone,
        Refusal::Conflict { current: Box::new(view()) },
        Refusal::TooLarge { bytes: 2, bytes_max: 1, largest: vec![(bytes("a"), 2)] },
    ];
    for refusal in refusals {
        holds(&Outcome::Refused(refusal));
    }
    holds(&Outcome::Many(vec![
        Outcome::Done,
        Outcome::Count(-1),
        Outcome::Record(Some(Box::new(view()))),
        Outcome::Score(0.1),
    ]));
    let filter = Filter { label: Some((bytes("role"), bytes("admin"))), ..Filter::default() };
    holds(&Query::Scan { namespace: NamespaceId(1), filter, from: None, count: 10, until: None });
}

#[test]
fn lists_within_lists_end_before_the_stack_does() {
    let deep = |levels| (0..levels).fold(Outcome::Done, |inner, _| Outcome::Many(vec![inner]));
    holds(&deep(NESTED_MAX));
    assert_eq!(decode_all::<Outcome>(&encode(&deep(NESTED_MAX + 1))), Err(WireError::TooDeep));
    // `Many` with one outcome, a hundred thousand times.
    assert_eq!(decode_all::<Outcome>(&[9, 1].repeat(100_000)), Err(WireError::TooDeep));
}

#[test]
fn region_state_survives_and_cuts_are_noticed() {
    let member =
        Member { id: NodeId(1), name: "na-0".into(), addresses: Addresses::default(), draining: true, disk: Some(7) };
    let found = RegionCommand::Found {
        world: u128::MAX,
        region: RegionId(1),
        name: "na".into(),
        mint_key: MintKey::new([9; 32]),
        shard_count: 4,
        replicas: 3,
        members: vec![member],
    };
    holds(&found);
    let mut state = RegionState::default();
    state.apply(found);
    holds(&state);
    let mut world = ControlState::default();
    world.apply(ControlCommand::CreateNamespace { name: "shop".into(), policy: Box::default() });
    let adopted = state.next_adoption(&world).expect("news");
    holds(&adopted);
    state.apply(adopted);
    holds(&state);
    world.apply(ControlCommand::DropNamespace { name: "shop".into() });
    state.apply(RegionCommand::AdoptNamespaces { version: 9, namespaces: world.namespaces });
    holds(&state);
    holds(&RegionCommand::ForgetNamespace { id: NamespaceId(1) });
    assert_eq!(decode_all::<SlotTable>(&encode(&SlotTable::even(256))), Ok(SlotTable::even(256)));
}

#[test]
fn the_format_is_pinned() {
    let command = command(Op::Increment { by: -3 });
    let expected = [
        1, 172, 2, 171, 2, // request 1, 300, 299
        7, 9, b's', b'e', b's', b's', b':', b'{', b'x', b'}', b'1', // namespace, id
        0, 0, 128, 152, 156, 203, 134, 8, 1, 128, 128, 64, 0, 224, 167, 18, // rules
        1, 12, // touched
        11, 5, // increment, zigzag -3
    ];
    let encoded = encode(&command);
    assert_eq!(encoded[..16], expected[..16]);
    assert_eq!(encoded[encoded.len() - 4..], expected[expected.len() - 4..]);
}

proptest! {
    #[test]
    fn noise_is_never_a_panic(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _outcome = decode_all::<Command>(&noise);
        let _outcome = decode_all::<Outcome>(&noise);
        let _outcome = decode_all::<RegionState>(&noise);
        let _outcome = decode_all::<Vec<Query>>(&noise);
    }

    #[test]
    fn numbers_survive(unsigned in any::<u64>(), signed in any::<i64>(), wide in any::<u128>()) {
        prop_assert_eq!(decode_all::<u64>(&encode(&unsigned)), Ok(unsigned));
        prop_assert_eq!(decode_all::<i64>(&encode(&signed)), Ok(signed));
        prop_assert_eq!(decode_all::<u128>(&encode(&wide)), Ok(wide));
    }
}
