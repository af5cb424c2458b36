use super::*;
use crate::{
    placement::found,
    region::{Addresses, Member, RegionCommand, RegionOutcome},
};

fn member(id: u64) -> (NodeId, Member) {
    let (addresses, name, disk) = (Addresses::default(), format!("n{id}"), Some(u128::from(id)));
    (NodeId(id), Member { id: NodeId(id), name, addresses, draining: false, disk })
}

fn region(nodes: u64) -> RegionState {
    let members = (1..=nodes).map(member).collect();
    let placement = found(&members, (0..4).map(ShardId), 3);
    RegionState { world: 1, members, placement, ..RegionState::default() }
}

#[test]
fn what_is_foreseen_is_what_happens() {
    let mut region = region(3);
    assert_eq!(foresee(&region).moves, [], "all is as it should be");
    region.members.extend([member(4)]);
    let foreseen = foresee(&region);
    assert_eq!(foreseen.moves.len(), 3, "of twelve replicas the fourth node takes its share");
    assert_eq!(foreseen.leaders.values().copied().collect::<BTreeSet<_>>().len(), 4, "and a lead");
    let settled = region.placement.keys().copied().collect();
    for PlannedMove { group, from, to } in foreseen.moves {
        assert_eq!(plan_place(&region, &settled), Some((group, to.clone())));
        let over = from.clone();
        assert_eq!(region.apply(RegionCommand::Place { group, over, voters: to }), RegionOutcome::Done);
    }
    assert_eq!(plan_place(&region, &settled), None);
}

#[test]
fn while_it_is_held_up_only_what_is_missing_is_replaced() {
    let mut region = region(4);
    let settled = region.placement.keys().copied().collect();
    let pause = |paused| RegionCommand::SetRebalancing { paused: Some(paused), bytes_per_s_max: None };
    assert_eq!(region.apply(pause(true)), RegionOutcome::Done);
    assert_eq!(region.apply(RegionCommand::DrainMember { id: NodeId(2), draining: true }), RegionOutcome::Done);
    assert_eq!(plan_place(&region, &settled), None, "nobody is drained");
    assert!(!foresee(&region).moves.is_empty(), "but it is shown what would be");

    let mut lost = region.clone();
    assert_eq!(lost.apply(RegionCommand::RemoveMember { id: NodeId(1) }), RegionOutcome::Done);
    let (_, voters) = plan_place(&lost, &settled).expect("what a removed node held is replaced");
    assert!(!voters.contains(&NodeId(1)));

    assert_eq!(region.apply(pause(false)), RegionOutcome::Done);
    assert!(plan_place(&region, &settled).is_some());
}

#[test]
fn settings_change_one_by_one() {
    let mut region = region(3);
    let set = |paused, bytes_per_s_max| RegionCommand::SetRebalancing { paused, bytes_per_s_max };
    region.apply(set(None, Some(7)));
    region.apply(set(Some(true), None));
    assert_eq!(region.rebalancing, Rebalancing { paused: true, bytes_per_s_max: 7 });
    region.apply(set(None, Some(0)));
    assert_eq!(region.rebalancing, Rebalancing { paused: true, bytes_per_s_max: 0 });
}
