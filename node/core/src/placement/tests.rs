//! Plans reach their goal from wherever they start, and never pass through a group without a majority.

use super::*;
use crate::region::Addresses;

fn nodes(numbers: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
    numbers.into_iter().map(NodeId).collect()
}

fn region(node_count: u64, shard_count: u32) -> RegionState {
    let member = |id| Member {
        id: NodeId(id),
        name: format!("n{id}"),
        addresses: Addresses::default(),
        draining: false,
        disk: Some(u128::from(id)),
    };
    let members: BTreeMap<NodeId, Member> = (1..=node_count).map(|id| (NodeId(id), member(id))).collect();
    let placement = found(&members, (0..shard_count).map(ShardId), 3);
    RegionState { world: 1, members, placement, ..RegionState::default() }
}

fn join(region: &mut RegionState, id: u64) {
    let member = Member { id: NodeId(id), disk: Some(u128::from(id)), ..region.members[&NodeId(1)].clone() };
    region.members.insert(NodeId(id), member);
}

/// Follows the plan to its end, every group being settled at once.
fn settle(region: &mut RegionState) -> usize {
    let all: BTreeSet<GroupName> = region.placement.keys().copied().collect();
    for step in 0..1_000 {
        let Some((group, voters)) = plan_place(region, &all) else { return step };
        assert_ne!(region.placement[&group], voters, "a step that changes nothing");
        region.placement.insert(group, voters);
    }
    panic!("the plan never ends: {:?}", region.placement);
}

fn spread(region: &RegionState) -> Vec<usize> {
    let loads = loads(&region.placement);
    region.members.keys().map(|node| loads.get(node).copied().unwrap_or(0)).collect()
}

#[test]
fn three_nodes_hold_everything_and_lead_two_one_one() {
    let mut region = region(3, 4);
    assert!(region.placement.values().all(|voters| *voters == nodes(1..=3)));
    assert_eq!(settle(&mut region), 0);
    let leaders = plan_leaders(&region.placement, &nodes(1..=3));
    let mut counts = BTreeMap::<NodeId, usize>::new();
    leaders.values().for_each(|node| *counts.entry(*node).or_default() += 1);
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 1, 2]);
}

#[test]
fn a_fourth_node_takes_its_share_and_a_drained_one_gives_everything_away() {
    let mut region = region(3, 4);
    join(&mut region, 4);
    settle(&mut region);
    assert_eq!(spread(&region), [3, 3, 3, 3]);
    region.members.get_mut(&NodeId(2)).expect("a member").draining = true;
    settle(&mut region);
    assert_eq!(spread(&region), [4, 0, 4, 4]);
    assert!(region.placement.values().all(|voters| voters.len() == 3 && !voters.contains(&NodeId(2))));
}

#[test]
fn replicas_are_evened_out_one_after_the_other() {
    let mut region = region(3, 4);
    join(&mut region, 4);
    let all: BTreeSet<GroupName> = region.placement.keys().copied().collect();
    let (group, voters) = plan_place(&region, &all).expect("node 4 takes its share");
    region.placement.insert(group, voters);
    let settled = all.iter().copied().filter(|other| *other != group).collect();
    assert_eq!(plan_place(&region, &settled), None, "one is on its way");
    // What a node loses is not waited with.
    region.members.remove(&NodeId(2));
    assert!(plan_place(&region, &settled).is_some());
}

#[test]
fn leads_are_as_even_as_the_placement_allows() {
    // Shard by shard, node 4 would be left with none.
    let placed = [[1, 2, 4], [1, 3, 4], [2, 3, 4], [1, 2, 3]];
    let shards = (0..).map(|shard| GroupName::Shard(ShardId(shard)));
    let placement: Placement = shards.zip(placed.map(nodes)).collect();
    let leaders = plan_leaders(&placement, &nodes(1..=4));
    assert_eq!(leaders.values().copied().collect::<BTreeSet<_>>(), nodes(1..=4));
    assert!(leaders.iter().all(|(shard, leader)| placement[&GroupName::Shard(*shard)].contains(leader)));
}

#[test]
fn with_three_nodes_a_draining_one_keeps_its_replicas() {
    let mut region = region(3, 4);
    region.members.get_mut(&NodeId(2)).expect("a member").draining = true;
    assert_eq!(settle(&mut region), 0);
    let able = nodes([1, 3]);
    assert!(plan_leaders(&region.placement, &able).values().all(|leader| able.contains(leader)));
}

#[test]
fn a_removed_node_is_replaced_or_at_least_not_waited_for() {
    let mut region = region(3, 4);
    region.members.remove(&NodeId(3));
    settle(&mut region);
    assert!(region.placement.values().all(|voters| *voters == nodes([1, 2])));
    join(&mut region, 4);
    settle(&mut region);
    assert!(region.placement.values().all(|voters| *voters == nodes([1, 2, 4])));
}

#[test]
fn nothing_is_given_to_a_node_that_has_not_come_yet() {
    let mut region = region(3, 4);
    join(&mut region, 4);
    region.members.get_mut(&NodeId(4)).expect("a member").disk = None;
    assert_eq!(settle(&mut region), 0);
}

/// A group that does what it is told, in which everybody not in `dead` answers.
fn carry_out(view: &mut GroupView, step: Step, dead: &BTreeSet<NodeId>) {
    match step {
        Step::AddLearner(node) => assert!(view.learners.insert(node)),
        Step::RemoveLearner(node) => assert!(view.learners.remove(&node)),
        Step::Transfer(node) => {
            assert!(view.voters.contains(&node) && !dead.contains(&node));
            view.leader = node;
        }
        Step::ChangeVoters(voters) => {
            for side in [&view.voters, &voters] {
                assert!(side.difference(dead).count() > side.len() / 2, "no majority of {side:?} without {dead:?}");
            }
            assert!(voters.contains(&view.leader), "the leader lost its vote");
            let removed = view.voters.difference(&voters).copied();
            let learners = view.learners.iter().copied().chain(removed);
            view.learners = learners.filter(|node| !voters.contains(node)).collect();
            view.voters = voters;
        }
    }
    let all: BTreeSet<NodeId> = view.voters.union(&view.learners).copied().collect();
    view.alive = all.difference(dead).copied().collect();
    view.caught_up = view.alive.clone();
}

#[test]
fn every_group_of_up_to_five_nodes_comes_to_every_other_with_a_majority_all_the_way() {
    let subsets = |size_max: u32| {
        (1_u32..32)
            .filter(move |bits| bits.count_ones() <= size_max)
            .map(|bits| nodes((0..5_u32).filter(|bit| bits & 1 << bit != 0).map(|bit| u64::from(bit) + 1)))
    };
    let mut reached = 0;
    for (from, to) in subsets(3).flat_map(|from| subsets(3).map(move |to| (from.clone(), to))) {
        for dead in std::iter::once(BTreeSet::new()).chain((1..=5).map(|node| nodes([node]))) {
            if from.difference(&dead).count() <= from.len() / 2 {
                continue;
            }
            let leader = *from.difference(&dead).next().expect("a living voter");
            let alive: BTreeSet<NodeId> = from.difference(&dead).copied().collect();
            let mut view =
                GroupView { leader, voters: from.clone(), caught_up: alive.clone(), alive, ..GroupView::default() };
            let mut steps = 0;
            while let Some(step) = plan_step(&view, &to, &BTreeSet::new()) {
                carry_out(&mut view, step, &dead);
                steps += 1;
                assert!(steps < 30, "{from:?} to {to:?} without {dead:?} goes in circles: {view:?}");
            }
            if to.is_disjoint(&dead) {
                assert_eq!(view.voters, to, "from {from:?} without {dead:?}");
                assert!(view.learners.is_empty());
                reached += 1;
            }
        }
    }
    assert!(reached > 1_000, "{reached}");
}

#[test]
fn a_change_that_a_crash_left_between_two_sets_is_finished() {
    let coming = Some(nodes([1, 2, 4]));
    let view = GroupView { leader: NodeId(1), voters: nodes(1..=4), coming, ..GroupView::default() };
    assert_eq!(plan_step(&view, &nodes(1..=3), &BTreeSet::new()), Some(Step::ChangeVoters(nodes([1, 2, 4]))));
    assert_eq!(plan_step(&GroupView { pending: true, ..view }, &nodes(1..=3), &BTreeSet::new()), None);
}
