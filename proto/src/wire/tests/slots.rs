//! Every step of a slot's move, and all that a shard may have to do with it.

use super::*;
use sojourn_core::{
    Answer, ShardId, Slot,
    placement::GroupName,
    query::SlotsFrom,
    region::{RegionOutcome, RegionRefusal},
    slots::{Contents, Hold, SlotMove, SlotRefusal, SlotStep},
    state::{Arrival, Belongings, Departure, SlotAnswer, SlotPage},
};
use std::collections::BTreeSet;

#[test]
fn moves_of_slots_survive_and_their_format_is_pinned() {
    let moved = SlotMove { number: 300, from: ShardId(1), to: ShardId(2) };
    let contents = Contents { digest: 7, sequence: 8, stamp: 9, rights: 300 };
    let steps = [
        SlotStep::Leave(moved),
        SlotStep::Freeze { number: 300 },
        SlotStep::Thaw { number: 300 },
        SlotStep::Drop { number: 300 },
        SlotStep::Arrive(moved),
        SlotStep::Adopt { number: 300, contents },
        SlotStep::Abandon { number: 300 },
    ];
    for (tag, step) in (0..).zip(&steps) {
        holds(step);
        assert_eq!(encode(step)[..3], [tag, 172, 2]);
    }
    let holdings = [
        Hold::Away { settled: 5 },
        Hold::Serving { settled: 5 },
        Hold::Leaving { to: moved, settled: 5 },
        Hold::Frozen { to: moved, contents },
        Hold::Arriving { from: moved, settled: 5 },
    ];
    for (tag, hold) in (0..).zip(&holdings) {
        holds(hold);
        assert_eq!(encode(hold)[0], tag);
    }
    assert_eq!(encode(&holdings[2]), [2, 172, 2, 1, 2, 5]);
    let unlike = [SlotRefusal::Differs, SlotRefusal::Unsettled, SlotRefusal::RightsDiffer];
    [SlotRefusal::OutOfPlace, SlotRefusal::Settled { settled: 5 }].iter().chain(&unlike).for_each(holds);
}

#[test]
fn what_goes_with_a_slot_survives() {
    let slot = |number| Slot::new(number).expect("a slot");
    let moved = SlotMove { number: 300, from: ShardId(1), to: ShardId(2) };
    let version = Version { epoch: 1, home_epoch: 0, sequence: 4 };
    let departure =
        Departure { to: key("new"), replace: true, rules: command(Op::Touch).rules, version, since: 9, view: None };
    let belongings = Belongings {
        sequence: 8,
        stamp: 9,
        answers: vec![SlotAnswer { origin: 7, settled: 1, sequence: 2, outcome: Outcome::Count(3) }],
        departures: vec![(key("old"), departure)],
        arrivals: vec![(key("from"), Arrival { version, arrived: true, slot: slot(5) }, Some(6))],
        revocations: vec![(NamespaceId(7), bytes("ann"), 2)],
        held: [(RegionId(3), 300)].into(),
    };
    let page = SlotPage {
        holds: vec![(slot(5), Some(Hold::Arriving { from: moved, settled: 1 })), (slot(6), None)],
        as_of: 9,
        rights: 300,
        after: Some(key("a")),
        until: None,
        records: Vec::new(),
        others: vec![key("b")],
        belongings: vec![(slot(5), belongings)],
    };
    holds(&Op::TakeSlots { number: 300, page: Box::new(page.clone()) });
    holds(&Op::Slot { slot: slot(5), step: SlotStep::Leave(moved) });
    holds(&Answer::Slots(Box::new(page)));
    holds(&Answer::SlotMoved { to: Some(ShardId(2)) });
    let copy = Some(SlotsFrom { since: 4, after: Some(key("a")) });
    holds(&Query::Slots { slots: BTreeSet::from([slot(5)]), copy });
    for refusal in [Refusal::SlotMoved { to: None }, Refusal::Slot(SlotRefusal::Differs)] {
        holds(&Outcome::Refused(refusal));
    }
    let mut region = RegionState {
        placement: BTreeMap::from([(GroupName::Shard(ShardId(1)), BTreeSet::new())]),
        ..RegionState::default()
    };
    region.placement.insert(GroupName::Shard(ShardId(0)), BTreeSet::new());
    let wanted = RegionCommand::MoveSlots { from: ShardId(0), to: ShardId(1), first: slot(5), last: slot(7) };
    holds(&wanted);
    assert_eq!(region.apply(wanted), RegionOutcome::SlotMove(1));
    holds(&region);
    let slots = BTreeSet::from([slot(5), slot(6)]);
    for command in [
        RegionCommand::ServeSlots { number: 1, slots: slots.clone() },
        RegionCommand::CloseSlots { number: 1, slots },
        RegionCommand::GiveSlotsUp { number: 1 },
    ] {
        holds(&command);
        region.apply(command);
        holds(&region);
    }
    holds(&RegionRefusal::SlotElsewhere { slot: 5, shard: ShardId(1) });
}
