//! What every node does for the membership of its region: shows itself, and brings the groups that it leads to where the
//! region wants them.
//!
//! All of it is derived, again and again, from what is agreed and from how the groups are; nothing is remembered that a crash
//! could lose.

use super::{
    balance::Balance,
    node::{Ended, Inner},
};
use crate::raft::{GroupFigures, Machine, RunningGroup, spawn};
use sojourn_core::{
    NodeId,
    placement::{GroupName, Step, plan_place, plan_step},
    region::{RegionCommand, RegionOutcome, RegionRefusal, RegionState},
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

/// How often a node looks at its groups.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often a node asks whether it is a member at all: who was removed may hear nothing of the region any more.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// How long one step may take: a set of voters that cannot be reached must not hold up the next look for ever.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Looks after membership until the node is gone.
pub(super) async fn run_members(node: Weak<Inner>) {
    let mut balance = Balance::default();
    let mut seen = false;
    let mut asked = Asked::default();
    let mut learnt: Option<Arc<RegionState>> = None;
    loop {
        let Some(inner) = node.upgrade() else { return };
        if inner.is_stopping() {
            return;
        }
        let region = inner.system.machine().now();
        if !learnt.as_ref().is_some_and(|learnt| Arc::ptr_eq(learnt, &region)) {
            inner.rpc.learn(&region);
            inner.rpc.bulk().limit(region.rebalancing.bytes_per_s_max);
            learnt = Some(region.clone());
        }
        inner.ask_whether_removed(&region, &mut asked);
        if region.world != 0 {
            inner.introduce(&region, &mut seen).await;
            inner.name_delegate(&region).await;
            inner.place(&region).await;
            inner.step_all(&region);
            balance.look(&inner).await;
        }
        let mut agreed = inner.system.machine().watch();
        drop((region, inner));
        let _changed = tokio::time::timeout(LOOK_EVERY, agreed.changed()).await;
    }
}

/// Whom this node asked last whether it is a member, and when, on the boot clock.
#[derive(Default)]
struct Asked {
    whom: NodeId,
    at: Option<Duration>,
}

impl Inner {
    /// Asks one member after the other whether this node is one. A node that was removed before its disk had anything of the
    /// region asks the founders that it was told of.
    fn ask_whether_removed(self: &Arc<Self>, region: &RegionState, asked: &mut Asked) {
        let (this, now) = (self.options.node, self.env.clock.boot());
        let is_due = asked.at.is_none_or(|at| now.saturating_sub(at) >= ASK_EVERY);
        if !is_due || self.system.raft().is_leader() {
            return;
        }
        let (world, known): (u128, BTreeSet<NodeId>) = match region.world {
            0 => (self.options.world, self.options.founders.iter().map(|member| member.id).collect()),
            world => (world, region.members.keys().copied().collect()),
        };
        let others = || known.iter().copied().filter(|member| *member != this);
        let Some(peer) = others().find(|member| *member > asked.whom).or_else(|| others().next()) else { return };
        *asked = Asked { whom: peer, at: Some(now) };
        let (answer, node) = (self.is_removed(world, peer), Arc::downgrade(self));
        drop(spawn(async move {
            if answer.await
                && let Some(inner) = node.upgrade()
            {
                inner.end(Ended::Removed);
            }
        }));
    }

    /// Shows the region this node's disk and address where it does not know them.
    async fn introduce(&self, region: &RegionState, seen: &mut bool) {
        let this = self.options.node;
        let Some(member) = region.members.get(&this) else {
            // A joining node reads the log from a time when it was no member yet.
            if *seen {
                self.end(Ended::Removed);
            }
            return;
        };
        *seen = true;
        let command = if member.disk.is_none() {
            RegionCommand::AdmitMember { id: this, disk: self.options.disk }
        } else if member.disk != Some(self.options.disk) {
            return self.end(Ended::Refused(RegionRefusal::DiskChanged(this)));
        } else if member.addresses != self.options.addresses {
            RegionCommand::MoveMember { id: this, addresses: self.options.addresses.clone() }
        } else {
            return;
        };
        // What was not done shows at the next look.
        if let Ok(RegionOutcome::Refused(refusal)) = self.change_once(&command).await {
            self.end(Ended::Refused(refusal));
        }
    }

    /// As leader of the system group: decides where replicas should be.
    async fn place(&self, region: &RegionState) {
        if !self.system.raft().is_leader() {
            return;
        }
        let all = region.placement.keys().copied().collect();
        if plan_place(region, &all).is_none() {
            return;
        }
        let status = self.region_status().await;
        let settled = |group: &GroupName| {
            status.groups.get(group).is_some_and(|group_is| {
                let strangers = *group != GroupName::System && !group_is.learners.is_empty();
                group_is.leader.is_some()
                    && !group_is.changing
                    && !strangers
                    && region.placement.get(group) == Some(&group_is.voters)
            })
        };
        let settled: BTreeSet<GroupName> = region.placement.keys().copied().filter(settled).collect();
        if let Some((group, voters)) = plan_place(region, &settled) {
            tracing::info!(%group, ?voters, "placing a group");
            let over = region.placement.get(&group).cloned().unwrap_or_default();
            // What was not done is planned again.
            let _done = self.change_once(&RegionCommand::Place { group, over, voters }).await;
        }
    }

    /// Takes the next step in each group that this node leads.
    fn step_all(self: &Arc<Self>, region: &RegionState) {
        let nobody = BTreeSet::new();
        let members: BTreeSet<NodeId> = region.members.keys().copied().collect();
        if let Some(voters) = region.placement.get(&GroupName::System) {
            // Every node routes by what the region agrees on, so everybody has a copy.
            let learners: BTreeSet<NodeId> = members.difference(voters).copied().collect();
            self.step(GroupName::System, &self.system, voters, &learners);
        }
        for (shard, held) in self.shards.all() {
            let name = GroupName::Shard(shard);
            if let Some(voters) = region.placement.get(&name) {
                self.step(name, &held.group, voters, &nobody);
            }
        }
    }

    fn step<M: Machine>(
        self: &Arc<Self>,
        name: GroupName,
        group: &Arc<RunningGroup<M>>,
        voters: &BTreeSet<NodeId>,
        learners: &BTreeSet<NodeId>,
    ) {
        if !group.raft().is_leader() {
            return;
        }
        let Some(step) = GroupFigures::view(&group.figures()).and_then(|view| plan_step(&view, voters, learners))
        else {
            return;
        };
        if !self.changing.lock().insert(name) {
            return;
        }
        let (inner, group) = (self.clone(), group.clone());
        drop(spawn(async move {
            inner.take_step(name, &group, step).await;
            inner.changing.lock().remove(&name);
        }));
    }

    async fn take_step<M: Machine>(&self, name: GroupName, group: &RunningGroup<M>, step: Step) {
        let text = format!("{step:?}");
        match tokio::time::timeout(STEP_TIMEOUT, group.change(step)).await {
            Ok(Ok(())) => tracing::info!(group = %name, step = text, "changed who is in a group"),
            Ok(Err(error)) => tracing::debug!(group = %name, step = text, %error, "a change of a group waits"),
            Err(_) => tracing::warn!(group = %name, step = text, "a change of a group takes long; looking again"),
        }
    }
}
