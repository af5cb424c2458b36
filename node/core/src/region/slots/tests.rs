use super::*;
use crate::region::RegionCommand;

const FROM: ShardId = ShardId(0);
const TO: ShardId = ShardId(1);

fn slot(number: u16) -> Slot {
    Slot::new(number).expect("a slot")
}

fn set(numbers: &[u16]) -> BTreeSet<Slot> {
    numbers.iter().map(|number| slot(*number)).collect()
}

fn region() -> RegionState {
    let shards = [FROM, TO].map(|shard| (GroupName::Shard(shard), BTreeSet::new()));
    RegionState { slots: SlotTable::even(2), placement: shards.into(), ..RegionState::default() }
}

fn wanted(from: ShardId, to: ShardId, first: u16, last: u16) -> RegionCommand {
    RegionCommand::MoveSlots { from, to, first: slot(first), last: slot(last) }
}

#[test]
fn the_table_follows_what_has_moved_and_a_move_is_over_when_nothing_is_left() {
    let mut region = region();
    assert_eq!(region.apply(wanted(FROM, TO, 5, 7)), RegionOutcome::SlotMove(1));
    assert_eq!(region.slots, SlotTable::even(2), "it is only wanted");
    region.apply(RegionCommand::ServeSlots { number: 1, slots: set(&[5, 6, 99]) });
    let held = |region: &RegionState| [5, 6, 7, 99].map(|number| region.slots.shard(slot(number)));
    assert_eq!((held(&region), region.slot_moves.changes), ([TO, TO, FROM, FROM], 1));
    region.apply(RegionCommand::ServeSlots { number: 1, slots: set(&[5]) });
    assert_eq!(region.slot_moves.changes, 1, "it was known");
    region.apply(RegionCommand::CloseSlots { number: 1, slots: set(&[5, 6]) });
    assert_eq!(region.slot_moves.current().map(|(number, wanted)| (number, wanted.left.clone())), Some((1, set(&[7]))));
    assert_eq!(region.apply(RegionCommand::GiveSlotsUp { number: 1 }), RegionOutcome::Done);
    region.apply(RegionCommand::CloseSlots { number: 1, slots: set(&[7]) });
    assert_eq!(region.slot_moves.current(), None);
    let late = region.clone();
    region.apply(RegionCommand::ServeSlots { number: 1, slots: set(&[7]) });
    assert_eq!(region, late, "what comes late changes nothing");
    assert_eq!(region.apply(wanted(TO, FROM, 5, 6)), RegionOutcome::SlotMove(2));
}

#[test]
fn slots_that_stayed_go_by_another_move_unless_they_were_to_stay() {
    let mut region = region();
    region.apply(wanted(FROM, TO, 5, 7));
    region.apply(RegionCommand::ServeSlots { number: 1, slots: set(&[5]) });
    region.apply(RegionCommand::CloseSlots { number: 1, slots: set(&[5, 6]) });
    let left = |region: &RegionState| {
        let wanted = region.slot_moves.wanted.iter();
        wanted.map(|(number, wanted)| (*number, wanted.slots, wanted.left.clone())).collect::<Vec<_>>()
    };
    assert_eq!(left(&region), [(1, 3, set(&[7])), (2, 1, set(&[6]))]);
    region.apply(RegionCommand::CloseSlots { number: 1, slots: set(&[7]) });
    assert_eq!(left(&region), [(2, 1, set(&[6])), (3, 1, set(&[7]))]);
    for number in [2, 3] {
        region.apply(RegionCommand::GiveSlotsUp { number });
        region.apply(RegionCommand::CloseSlots { number, slots: set(&[6, 7]) });
    }
    assert_eq!(left(&region), []);
}

#[test]
fn what_cannot_be_moved_is_refused_with_the_reason() {
    let mut region = region();
    region.apply(wanted(FROM, TO, 5, 7));
    let refusals = [
        (wanted(FROM, TO, 7, 8), RegionRefusal::SlotMoves { slot: 7 }),
        (wanted(TO, FROM, 8, 8), RegionRefusal::SlotElsewhere { slot: 8, shard: FROM }),
        (wanted(FROM, ShardId(9), 8, 8), RegionRefusal::UnknownShard(ShardId(9))),
        (wanted(FROM, FROM, 8, 8), RegionRefusal::NoSlots),
        (wanted(FROM, TO, 9, 8), RegionRefusal::NoSlots),
        (RegionCommand::GiveSlotsUp { number: 9 }, RegionRefusal::UnknownSlotMove(9)),
    ];
    for (command, refusal) in refusals {
        assert_eq!(region.apply(command.clone()), RegionOutcome::Refused(refusal), "{command:?}");
    }
    region.apply(wanted(FROM, TO, 8, 8_190));
    region.apply(wanted(FROM, TO, 0, 3));
    assert_eq!(region.apply(wanted(FROM, TO, 4, 4)), RegionOutcome::SlotMove(4));
    let last = region.apply(wanted(FROM, TO, 8_191, 8_191));
    assert_eq!(last, RegionOutcome::Refused(RegionRefusal::LastSlots(FROM)));
}

#[test]
fn a_region_joins_a_world_and_gives_its_vote_to_another_node_while_slots_are_on_their_way() {
    let mut region = region();
    let join = |region: &mut RegionState, name: &str| {
        let (name, addresses) = (name.to_owned(), crate::region::Addresses::default());
        match region.apply(RegionCommand::AddMember { name, addresses, disk: Some(1) }) {
            RegionOutcome::Node(node) => node,
            outcome => panic!("{outcome:?}"),
        }
    };
    let [one, other] = ["na-1", "na-2"].map(|name| join(&mut region, name));
    region.apply(wanted(FROM, TO, 5, 7));
    let first = RegionCommand::Delegate { over: None, voter: one, mark: 9 };
    assert_eq!(region.apply(first), RegionOutcome::Done);
    let next = RegionCommand::Delegate { over: Some(one), voter: other, mark: 0 };
    assert_eq!(region.apply(next), RegionOutcome::Done);
    assert_eq!(region.delegate, Some(crate::region::Delegate { voter: other, mark: 9 }));
    assert_eq!(region.apply(wanted(FROM, TO, 9, 9)), RegionOutcome::SlotMove(2));
}
