//! This node's replica of the control group, where its region has named it to vote, and how a region comes into the world.

use super::{
    Inner, NotAgreed,
    calls::{Answer, Question},
    machine::Group,
};
use crate::{
    raft::{Agreed, RunningGroup},
    region::backend::Backend,
};
use futures::future::join_all;
use sojourn_core::{
    NodeId, RegionId,
    control::{ControlCommand, ControlState, Phase},
    region::{Delegate, RegionState},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    mem::Discriminant,
    sync::{Arc, Weak},
    time::Duration,
};

/// How often a node looks whether its part is as it should be, when nothing wakes it.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long another region's voter may take to say what it knows.
const CENSUS_TIMEOUT: Duration = Duration::from_secs(2);

/// What a replica saw the regions do.
#[derive(Default)]
pub(super) struct Seen {
    states: BTreeMap<RegionId, (u32, Option<u64>, Discriminant<Phase>)>,
    /// When each region changed last, or was seen first.
    pub changed_ms: BTreeMap<RegionId, u64>,
    /// When each home changed hands last.
    pub passed_ms: BTreeMap<RegionId, u64>,
    voters: BTreeSet<NodeId>,
    /// When the voters changed last, or were seen first.
    pub voters_ms: u64,
}

impl Seen {
    /// Notes at `now_ms` what has changed.
    pub fn note(&mut self, state: &ControlState, voters: &BTreeSet<NodeId>, now_ms: u64) {
        if self.voters != *voters {
            (self.voters, self.voters_ms) = (voters.clone(), now_ms);
        }
        for region in state.regions.values() {
            let now = (region.epoch, region.adopted, std::mem::discriminant(&region.phase));
            let before = self.states.insert(region.id, now);
            if before != Some(now) {
                self.changed_ms.insert(region.id, now_ms);
            }
            if before.is_some_and(|(epoch, _, phase)| (epoch, phase) != (now.0, now.2)) {
                self.passed_ms.insert(region.id, now_ms);
            }
        }
    }
}

/// Plays this node's part until it is gone.
pub(super) async fn run_part(control: Weak<Inner>) {
    while let Some(inner) = control.upgrade().filter(|inner| !inner.is_stopping()) {
        let (heard, seen) = (inner.known.heard(), inner.known.version());
        if let Err(error) = inner.play().await
            && !inner.is_stopping()
        {
            inner.node.give_up(&error);
        }
        drop(inner);
        // What came meanwhile wakes at once.
        let _news = tokio::time::timeout(LOOK_EVERY, heard.later_than(seen)).await;
    }
}

/// Takes in what a replica applies, until it is gone.
async fn run_learning(control: Weak<Inner>, group: Weak<Group>) {
    while let Some((inner, group)) = control.upgrade().zip(group.upgrade()) {
        let mut agreed = group.machine().watch();
        let state = agreed.latest();
        inner.seen.lock().note(&state, &group.figures().voters, inner.now_ms());
        inner.known.learn(state, inner.mark());
        drop((inner, group));
        let _changed = tokio::time::timeout(LOOK_EVERY, agreed.changed()).await;
    }
}

impl Inner {
    async fn play(self: &Arc<Self>) -> io::Result<()> {
        let region = self.node.region();
        let Some(delegate) = region.delegate else { return Ok(()) };
        self.known.tell(Some(delegate.mark));
        let speaks = delegate.voter == self.node.identity().2;
        if self.group().is_none() && (speaks || self.node.holds_control()) {
            self.start_group().await?;
        }
        let Some(group) = self.group() else { return Ok(()) };
        if !speaks {
            return self.let_go(&group).await;
        }
        match self.known.latest() {
            Some(known) => self.introduce(&region, delegate, &known).await,
            None => self.found(&group).await?,
        }
        Ok(())
    }

    async fn start_group(self: &Arc<Self>) -> io::Result<()> {
        let parts = self.node.control_parts(self.rpc.clone());
        let group = RunningGroup::start(parts, Arc::new(Agreed::<ControlState>::default()), &self.inbox).await?;
        if self.is_stopping() {
            return group.shut_down().await;
        }
        let learning = run_learning(Arc::downgrade(self), Arc::downgrade(&group));
        self.node.env().spawn("control-learning", learning);
        *self.group.lock() = Some(group);
        Ok(())
    }

    /// As voter of the lowest-numbered region: founds the group with the voters of all others, once each of them has said that
    /// it knows of none.
    async fn found(self: &Arc<Self>, group: &Group) -> io::Result<()> {
        let Some(contacts) = self.contacts.upgrade() else { return Ok(()) };
        let others = contacts.others();
        if others.iter().any(|other| *other < self.here) || group.is_founded().await? {
            return Ok(());
        }
        let Some(voters) = others.iter().map(|other| contacts.voter(*other)).collect::<Option<Vec<NodeId>>>() else {
            return Ok(());
        };
        let asked = voters.iter().map(|voter| self.ask(*voter, &Question::Census, CENSUS_TIMEOUT));
        let unknown = Some(Answer::Census { speaks: true, knows: false });
        if join_all(asked).await.iter().all(|answer| *answer == unknown) {
            tracing::info!(regions = others.len() + 1, "all regions have met: founding the control group");
            group.found(voters.into_iter().chain([self.this])).await?;
        }
        Ok(())
    }

    /// Has the world know of this region what there is to know.
    async fn introduce(self: &Arc<Self>, region: &RegionState, delegate: Delegate, world: &ControlState) {
        let entrances: BTreeSet<String> =
            region.members.values().map(|member| member.addresses.peers.clone()).collect();
        let (place, voter) = (self.node.coordinates(), Some(delegate.voter));
        let known = world.regions.values().find(|known| known.mark == delegate.mark);
        let command = match known {
            Some(known) if (&known.entrances, known.place, known.voter) == (&entrances, place, voter) => return,
            Some(known) => {
                ControlCommand::Amend { region: known.id, entrances, place, heirs: known.heirs.clone(), voter }
            }
            None => {
                let name = region.name.clone();
                ControlCommand::Join { region: self.here, mark: delegate.mark, name, entrances, place, voter }
            }
        };
        match self.propose(command).await {
            Ok(_) => *self.complaint.lock() = None,
            Err(NotAgreed::Refused(refusal)) => {
                let refusal = Some(refusal.to_string());
                let mut complaint = self.complaint.lock();
                if *complaint != refusal {
                    tracing::error!(reason = refusal, "the world does not take this region in");
                    *complaint = refusal;
                }
            }
            // Tried again.
            Err(error) => tracing::debug!(%error, "the world does not hear of this region yet"),
        }
    }

    /// Erases a replica whose region has named another voter, once the leader says that nobody counts on it.
    async fn let_go(self: &Arc<Self>, group: &Arc<Group>) -> io::Result<()> {
        let Ok(Answer::Figures { figures }) = self.ask_leader(Question::Figures, CENSUS_TIMEOUT).await else {
            return Ok(());
        };
        if figures.voters.contains(&self.this) || figures.learners.contains(&self.this) {
            return Ok(());
        }
        tracing::info!("another node speaks for this region in the control group; removing this replica");
        self.end_access();
        *self.group.lock() = None;
        group.erase().await
    }

    /// Stops a replica when the node stops; the lead goes to another region first, if it can.
    pub(super) async fn end_group(&self, group: &Arc<Group>) {
        for heir in group.figures().heirs() {
            match group.transfer_to(heir).await {
                Ok(()) => {
                    tracing::info!(to = heir.0, "handed the lead of the control group over");
                    break;
                }
                Err(error) => tracing::warn!(to = heir.0, %error, "the lead of the control group was not handed over"),
            }
        }
        if let Err(error) = group.shut_down().await {
            tracing::warn!(%error, "the control group did not stop cleanly");
        }
        self.end_access();
    }

    fn end_access(&self) {
        self.inbox.remove(crate::region::counsel::CONTROL_GROUP);
    }
}
