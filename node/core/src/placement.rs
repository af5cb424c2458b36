//! Where replicas and leads should be, and the next single step there: plans, no actions.
//!
//! Two plans work hand in hand. What each group should have as voters is agreed state, planned by [`plan_place`] and changed
//! one group at a time. The leader of a group brings the group there by [`plan_step`], which looks only at the group as it
//! is: so a crash at any point leaves a group that the next leader goes on with.

use crate::{
    ids::{NodeId, ShardId},
    region::{Member, RegionState},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
};

/// A Raft group of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupName {
    /// The one that keeps members, slots and namespaces.
    System,
    /// One that keeps sessions.
    Shard(ShardId),
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Shard(shard) => write!(f, "{}", shard.0),
        }
    }
}

/// The voters of each group.
pub type Placement = BTreeMap<GroupName, BTreeSet<NodeId>>;

/// The voters that the system group is founded with: all founders, at most five, an odd number where there are three.
pub fn system_founders(founders: impl IntoIterator<Item = NodeId>) -> BTreeSet<NodeId> {
    let founders: BTreeSet<NodeId> = founders.into_iter().collect();
    let count = match founders.len() {
        few @ 0..=3 => few,
        4 => 3,
        _ => 5,
    };
    founders.into_iter().take(count).collect()
}

/// Where the groups of a new region are.
pub fn found(members: &BTreeMap<NodeId, Member>, shards: impl Iterator<Item = ShardId>, replicas: u32) -> Placement {
    let mut placement = Placement::from([(GroupName::System, system_founders(members.keys().copied()))]);
    for shard in shards {
        let voters = (0..replicas).fold(BTreeSet::new(), |mut voters, _| {
            voters.extend(least_loaded(members.keys().copied(), &placement, &voters));
            voters
        });
        placement.insert(GroupName::Shard(shard), voters);
    }
    placement
}

/// How many shards each node should hold.
fn loads(placement: &Placement) -> BTreeMap<NodeId, usize> {
    let mut loads = BTreeMap::new();
    let shards = placement.iter().filter(|(group, _)| **group != GroupName::System);
    for node in shards.flat_map(|(_, voters)| voters) {
        *loads.entry(*node).or_default() += 1;
    }
    loads
}

fn least_loaded(
    nodes: impl Iterator<Item = NodeId>,
    placement: &Placement,
    except: &BTreeSet<NodeId>,
) -> Option<NodeId> {
    let loads = loads(placement);
    nodes.filter(|node| !except.contains(node)).min_by_key(|node| (loads.get(node).copied().unwrap_or(0), *node))
}

/// The next change of the voters that a group should have; `None` when all is as it should be.
///
/// What a removed or draining node held goes to others first. Groups grow only where a group is `settled`: it has the voters
/// that it should have, and nothing else is under way. Replicas are evened out one after the other, when all groups are
/// settled: nobody waits for that, and several snapshots at once would be noticed. While an operator holds it up, only what
/// is missing is replaced.
pub fn plan_place(region: &RegionState, settled: &BTreeSet<GroupName>) -> Option<(GroupName, BTreeSet<NodeId>)> {
    let takers: BTreeSet<NodeId> =
        region.members.values().filter(|member| member.disk.is_some() && !member.draining).map(|m| m.id).collect();
    let placement = &region.placement;
    let urgent = placement.iter().find_map(|(group, voters)| {
        let gone = voters.iter().find(|voter| !region.members.contains_key(voter));
        let drains = |voter: &&NodeId| region.members.get(voter).is_some_and(|member| member.draining);
        let leaving = voters.iter().find(drains).filter(|_| !region.rebalancing.paused);
        let taker = least_loaded(takers.iter().copied(), placement, voters);
        let leaver = gone.or(leaving.filter(|_| taker.is_some()))?;
        let rest = voters.iter().copied().filter(|voter| voter != leaver);
        let voters: BTreeSet<NodeId> = rest.chain(taker).collect();
        // The last replica stays, whatever became of its node: its data may come back.
        (!voters.is_empty()).then_some((*group, voters))
    });
    urgent.or_else(|| {
        let mut ready = placement.iter().filter(|(group, _)| settled.contains(group));
        let all_settled = ready.clone().count() == placement.len();
        ready.find_map(|(group, voters)| plan_size(*group, voters, region, &takers)).or_else(|| {
            let mut groups = placement.iter().filter(|_| all_settled && !region.rebalancing.paused);
            groups.find_map(|(group, voters)| plan_even(*group, voters, placement, &takers))
        })
    })
}

fn plan_size(
    group: GroupName,
    voters: &BTreeSet<NodeId>,
    region: &RegionState,
    takers: &BTreeSet<NodeId>,
) -> Option<(GroupName, BTreeSet<NodeId>)> {
    let wanted = region.replicas as usize;
    let mut voters = voters.clone();
    if voters.len() < wanted {
        voters.insert(least_loaded(takers.iter().copied(), &region.placement, &voters)?);
        return Some((group, voters));
    }
    // The system group may have been founded with more.
    if voters.len() > wanted && group != GroupName::System {
        let loads = loads(&region.placement);
        let most = voters.iter().copied().max_by_key(|voter| loads.get(voter).copied().unwrap_or(0))?;
        voters.remove(&most);
        return Some((group, voters));
    }
    None
}

fn plan_even(
    group: GroupName,
    voters: &BTreeSet<NodeId>,
    placement: &Placement,
    takers: &BTreeSet<NodeId>,
) -> Option<(GroupName, BTreeSet<NodeId>)> {
    if group == GroupName::System {
        return None;
    }
    let loads = loads(placement);
    let load = |node: &NodeId| loads.get(node).copied().unwrap_or(0);
    let busiest = voters.iter().copied().max_by_key(load)?;
    let taker = least_loaded(takers.iter().copied(), placement, voters)?;
    if load(&busiest) < load(&taker) + 2 {
        return None;
    }
    Some((group, voters.iter().copied().filter(|voter| *voter != busiest).chain([taker]).collect()))
}

/// A group as its leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupView {
    /// The leader.
    pub leader: NodeId,
    /// Who votes; between two sets of voters, both.
    pub voters: BTreeSet<NodeId>,
    /// Between two sets of voters: the one to come.
    pub coming: Option<BTreeSet<NodeId>>,
    /// Who has a copy and no vote.
    pub learners: BTreeSet<NodeId>,
    /// Whether the last change is not committed yet.
    pub pending: bool,
    /// Replicas that answer, the leader among them.
    pub alive: BTreeSet<NodeId>,
    /// Replicas that answer and lack little.
    pub caught_up: BTreeSet<NodeId>,
}

/// One change of a group, to be done by its leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Starts sending entries, or a snapshot, to a node that has no vote.
    AddLearner(NodeId),
    /// Changes who votes, by way of both sets.
    ChangeVoters(BTreeSet<NodeId>),
    /// Stops sending to a node that has no vote.
    RemoveLearner(NodeId),
    /// Gives the lead away, because the leader is about to lose its vote.
    Transfer(NodeId),
}

/// The next step of a group to the `voters` that it should have, with copies also at `learners`; `None` when it is there, or
/// when something has to happen first: a change to be committed, a learner to catch up, voters to come back.
pub fn plan_step(view: &GroupView, voters: &BTreeSet<NodeId>, learners: &BTreeSet<NodeId>) -> Option<Step> {
    if view.pending {
        return None;
    }
    if let Some(coming) = &view.coming {
        return Some(Step::ChangeVoters(coming.clone()));
    }
    let wanted: BTreeSet<NodeId> = voters.union(learners).copied().collect();
    let missing = wanted.iter().find(|node| !view.voters.contains(node) && !view.learners.contains(node));
    if let Some(node) = missing {
        return Some(Step::AddLearner(*node));
    }
    plan_voters(view, voters)
        .or_else(|| view.learners.difference(&wanted).next().map(|node| Step::RemoveLearner(*node)))
}

fn plan_voters(view: &GroupView, wanted: &BTreeSet<NodeId>) -> Option<Step> {
    let ready = wanted.intersection(&view.learners).find(|node| view.caught_up.contains(node)).copied();
    let complete = wanted.is_subset(&view.voters);
    let mut leavers: Vec<NodeId> = view.voters.difference(wanted).copied().collect();
    // The dead go first, the leader last.
    leavers.sort_by_key(|node| (*node == view.leader, view.alive.contains(node)));
    let leaver = leavers.first().copied();
    let may_leave = complete || (ready.is_some() && view.voters.len() >= wanted.len());
    if may_leave && leaver == Some(view.leader) {
        let heir = wanted.intersection(&view.voters).find(|node| view.caught_up.contains(node));
        if let Some(heir) = heir {
            return Some(Step::Transfer(*heir));
        }
    }
    let leaver = leaver.filter(|node| may_leave && *node != view.leader);
    if ready.is_none() && leaver.is_none() {
        return None;
    }
    let voters: BTreeSet<NodeId> =
        view.voters.iter().copied().filter(|node| Some(*node) != leaver).chain(ready).collect();
    let alive = voters.intersection(&view.alive).count();
    (alive > voters.len() / 2).then_some(Step::ChangeVoters(voters))
}

/// Who should lead each shard, of those in `able`: as even as the placement allows, and the same wherever it is asked.
pub fn plan_leaders(placement: &Placement, able: &BTreeSet<NodeId>) -> BTreeMap<ShardId, NodeId> {
    let candidates = placement.iter().filter_map(|(group, voters)| match group {
        GroupName::System => None,
        GroupName::Shard(shard) => Some((*shard, voters.intersection(able).copied().collect::<Vec<_>>())),
    });
    let mut candidates: Vec<(ShardId, Vec<NodeId>)> = candidates.collect();
    // Those with least choice first.
    candidates.sort_by_key(|(shard, nodes)| (nodes.len(), *shard));
    let mut leads: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut leaders = BTreeMap::new();
    for (shard, nodes) in candidates {
        let leader = nodes.iter().min_by_key(|node| (leads.get(node).copied().unwrap_or(0), **node));
        if let Some(leader) = leader {
            *leads.entry(*leader).or_default() += 1;
            leaders.insert(shard, *leader);
        }
    }
    while let Some(path) = shift(placement, able, &leaders) {
        leaders.extend(path);
    }
    leaders
}

/// Leads to pass on, each to the next node, so that one with two more leads than another has one less: what choosing shard by
/// shard cannot see. `None` if all is as even as the placement allows. An augmenting path, found breadth first.
fn shift(
    placement: &Placement,
    able: &BTreeSet<NodeId>,
    leaders: &BTreeMap<ShardId, NodeId>,
) -> Option<Vec<(ShardId, NodeId)>> {
    let leads = |node: &NodeId| leaders.values().filter(|leader| *leader == node).count();
    let mut nodes: Vec<NodeId> = able.iter().copied().collect();
    nodes.sort_by_key(|node| (std::cmp::Reverse(leads(node)), *node));
    for from in nodes {
        // How each node was reached: by which shard.
        let mut reached: BTreeMap<NodeId, Option<ShardId>> = BTreeMap::from([(from, None)]);
        let mut frontier = VecDeque::from([from]);
        while let Some(node) = frontier.pop_front() {
            if leads(&from) >= leads(&node) + 2 {
                return Some(path_to(node, &reached, leaders));
            }
            for (shard, _) in leaders.iter().filter(|(_, leader)| **leader == node) {
                let heirs = placement.get(&GroupName::Shard(*shard)).into_iter().flatten();
                for heir in heirs.filter(|heir| able.contains(heir)) {
                    if !reached.contains_key(heir) {
                        reached.insert(*heir, Some(*shard));
                        frontier.push_back(*heir);
                    }
                }
            }
        }
    }
    None
}

fn path_to(
    end: NodeId,
    reached: &BTreeMap<NodeId, Option<ShardId>>,
    leaders: &BTreeMap<ShardId, NodeId>,
) -> Vec<(ShardId, NodeId)> {
    let (mut path, mut node) = (Vec::new(), end);
    while let Some(Some(shard)) = reached.get(&node) {
        path.push((*shard, node));
        let Some(before) = leaders.get(shard) else { break };
        node = *before;
    }
    path
}

#[cfg(test)]
mod tests;
