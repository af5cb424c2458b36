//! How busy this node is, and, as leader of the system group, how many nodes the region should have: see
//! `sojourn_core::advisor`.

use super::{
    node::Inner,
    status::{GroupStatus, MemberStatus, RegionStatus},
};
use parking_lot::Mutex;
use sojourn_core::{
    advisor::{Advice, Advisor, JUDGE_EVERY_MS, Situation},
    placement::{GroupName, plan_place},
};
use std::{sync::Weak, time::Duration};

/// Over how long a node's load is averaged.
const AVERAGE_OVER: Duration = Duration::from_secs(60);

/// What a node last knew of its load.
#[derive(Default)]
pub(super) struct Load {
    told: Mutex<Told>,
}

#[derive(Clone, Copy, Default)]
struct Told {
    busy_permille: Option<u16>,
    advice: Option<Advice>,
}

impl Load {
    /// The share of its processors that the node used in the last whole minute, in thousandths; `None` in its first.
    pub fn busy_permille(&self) -> Option<u16> {
        self.told.lock().busy_permille
    }

    /// As if it had been measured.
    #[cfg(test)]
    pub fn set(&self, busy_permille: u16) {
        self.told.lock().busy_permille = Some(busy_permille);
    }

    /// What the node last advised as leader of the system group.
    pub fn advice(&self) -> Option<Advice> {
        self.told.lock().advice
    }
}

/// A reading of both clocks: how much time passed, and how much of it was spent.
struct Reading {
    boot: Duration,
    spent: Duration,
}

/// What the leader of the system group remembers.
#[derive(Default)]
pub(super) struct Judging {
    advisor: Advisor,
    /// When it judged last, or began to lead; judged at once if `None`.
    judged: Option<Duration>,
}

/// Measures and judges until the node is gone.
pub(super) async fn run_load(node: Weak<Inner>) {
    let (mut last, mut judging) = (None, None);
    loop {
        let Some(inner) = node.upgrade() else { return };
        inner.measure(&mut last);
        inner.judge(&mut judging).await;
        drop(inner);
        tokio::time::sleep(AVERAGE_OVER).await;
    }
}

impl Inner {
    fn measure(&self, last: &mut Option<Reading>) {
        let Some(spent) = self.env.clock.processor_time() else { return };
        let now = Reading { boot: self.env.clock.boot(), spent };
        if let Some(last) = last {
            let passed = now.boot.saturating_sub(last.boot).as_secs_f64() * self.env.clock.processors() as f64;
            let share = now.spent.saturating_sub(last.spent).as_secs_f64() / passed.max(f64::MIN_POSITIVE);
            self.load.told.lock().busy_permille = Some((share * 1_000.0).clamp(0.0, 1_000.0) as u16);
        }
        *last = Some(now);
    }

    /// As leader of the system group: judges when it is time.
    pub(super) async fn judge(&self, judging: &mut Option<Judging>) {
        if !self.system.raft().is_leader() {
            *judging = None;
            self.load.told.lock().advice = None;
            return;
        }
        let now = self.env.clock.boot();
        let judging = judging.get_or_insert(Judging { judged: Some(now), ..Judging::default() });
        let is_due = |judged| now.saturating_sub(judged) >= Duration::from_millis(JUDGE_EVERY_MS);
        if !judging.judged.is_none_or(is_due) {
            return;
        }
        judging.judged = Some(now);
        let advice = judging.advisor.judge(situation(&self.region_status().await));
        if self.load.advice().map(|told| told.wanted) != Some(advice.wanted) {
            let (nodes, wanted) = (advice.situation.nodes, advice.wanted);
            tracing::info!(nodes, wanted, reason = ?advice.reason, "the number of nodes that is advised");
        }
        self.load.told.lock().advice = Some(advice);
    }
}

fn situation(status: &RegionStatus) -> Situation {
    let RegionStatus { region, members, groups, .. } = status;
    let stays = |member: &&MemberStatus| member.member.disk.is_some() && !member.member.draining;
    let staying = || members.values().filter(stays);
    let busy: Option<Vec<u64>> = staying().map(|member| member.node.as_ref()?.busy_permille.map(u64::from)).collect();
    let mean =
        |busy: Vec<u64>| u16::try_from(busy.iter().sum::<u64>() / (busy.len() as u64).max(1)).unwrap_or(u16::MAX);
    let ready = |member: &MemberStatus| member.node.as_ref().is_some_and(|node| node.ready);
    let rests = |(name, group): (&GroupName, &GroupStatus)| {
        let comes = *name != GroupName::System && !group.learners.is_empty();
        !comes && !group.changing && region.placement.get(name).is_none_or(|voters| *voters == group.voters)
    };
    let placed = plan_place(region, &region.placement.keys().copied().collect()).is_none();
    Situation {
        nodes: u32::try_from(staying().count()).unwrap_or(u32::MAX),
        replicas: region.replicas,
        busy_permille: busy.map(mean),
        settled: placed && members.values().all(ready) && groups.iter().all(rests),
    }
}
