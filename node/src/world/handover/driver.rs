//! Does for a region what follows from what the world agrees on.

use super::{
    chores::Chores,
    plan::{Duty, plan},
    report::{reaches, report},
};
use crate::{
    peers::{CallError, Lane, Rpc},
    region::{
        RegionNode,
        abroad::Reach,
        backend::{Backend, Unavailable},
        standing::Standing,
    },
    shard::NotProposed,
    world::{
        calls::{self, Held, HeldOf},
        contacts::Contacts,
        control::{Agreement, NotAgreed},
        follow::sources,
        packing,
    },
};
use futures::future::BoxFuture;
use sojourn_core::{
    Command, Key, NamespaceId, Op, Outcome, RegionId, Request, ShardId, SlotSet, Stamp,
    control::{self, ControlCommand, ControlRefusal, ControlState, FailoverMode, Handover, Region, Step},
    policy::Policy,
    state::Believed,
    stream::{Absorbed, Piece, Source, Span},
};
use sojourn_proto::wire::encode;
use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// How often a node looks whether it has become the one that acts for its region.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Before what could not be done is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// Before what was done is looked at again: what the world agreed on by it has to come.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// How often shards are asked where nothing seems to be left to do.
const IDLE_EVERY: Duration = Duration::from_secs(5);

/// How long another region may take to give a page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a duty is left for the next time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undone {
    #[error(transparent)]
    Shard(#[from] NotProposed),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error(transparent)]
    NotAgreed(#[from] NotAgreed),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("its words make no sense: {0}")]
    Strange(#[from] sojourn_proto::wire::WireError),
    #[error("no node of region {} is known", .0.0)]
    Unknown(RegionId),
    #[error("region {} is not so far yet", .0.0)]
    NotYet(RegionId),
    #[error("a shard answers {0:?}")]
    Refused(Outcome),
    #[error("it has changed meanwhile")]
    Overtaken,
    #[error("this region was away for longer than others remember what was destroyed")]
    AwayTooLong,
}

/// What one node needs to act for its region.
pub(in crate::world) struct Driver {
    pub node: RegionNode,
    pub contacts: Weak<Contacts>,
    pub rpc: Rpc,
    pub agreement: Arc<dyn Agreement>,
}

/// What came of looking at what is to be done.
struct Round {
    /// What takes long, and is to go on.
    chores: Vec<Duty>,
    /// How the shards stood.
    shards: BTreeMap<ShardId, Standing>,
    /// Whether anything was done, or why not.
    done: Result<bool, Undone>,
}

impl Driver {
    /// Does what is to be done whenever this node leads its region's system group, until the node is gone.
    pub async fn run(self) {
        let mut world = self.agreement.watch();
        let (mut due, mut chores) = (None, Chores::default());
        while self.contacts.strong_count() > 0 {
            let coordinates = self.node.is_coordinator();
            let is_due = due.is_none_or(|at| at <= Instant::now());
            let known = world.borrow_and_update().clone();
            match known {
                Some(known) if coordinates && is_due => {
                    let (round, ended) = chores.beside(self.round(&known)).await;
                    let pause = match round {
                        // What has ended meanwhile may be seen as undone.
                        Ok(_) if !ended.is_empty() => LOOK_AGAIN_AFTER,
                        Ok(Round { chores: wanted, shards, done }) => {
                            chores.become_those(wanted, |duty| self.begin(duty, &known, &shards));
                            done.map_or(RETRY_AFTER, |any| if any { LOOK_AGAIN_AFTER } else { IDLE_EVERY })
                        }
                        Err(error) => {
                            tracing::debug!(reason = %error, "the duties of the region wait");
                            RETRY_AFTER
                        }
                    };
                    let failed = ended.iter().any(|(_, ended)| ended.is_err());
                    due = Some(Instant::now() + if failed { RETRY_AFTER } else { pause });
                }
                // Whoever takes over looks at once.
                Some(_) | None if !coordinates => (due, chores) = (None, Chores::default()),
                Some(_) | None => {}
            }
            let pause = due.map_or(LOOK_EVERY, |at| at.saturating_duration_since(Instant::now()).min(LOOK_EVERY));
            tokio::select! {
                biased;
                (_, ended) = chores.next() => {
                    let pause = if ended.is_ok() { LOOK_AGAIN_AFTER } else { RETRY_AFTER };
                    let at = Instant::now() + pause;
                    due = Some(due.map_or(at, |due| due.min(at)));
                }
                woken = timeout(pause, world.changed()) => match woken {
                    Ok(Ok(())) => due = None,
                    Ok(Err(_gone)) => return,
                    Err(_elapsed) => {}
                },
            }
        }
    }

    /// Does all that is to be done now and takes no time.
    async fn round(&self, world: &ControlState) -> Result<Round, Undone> {
        let (here, ..) = self.node.identity();
        let shards = self.node.standings().await?;
        let (chores, brief): (Vec<_>, Vec<_>) = plan(world, here, &shards).into_iter().partition(Duty::takes_long);
        let mut done = Ok(!brief.is_empty());
        for duty in brief {
            // One home's duty holds up no other's.
            if let Err(error) = self.fulfil(&duty, world, &shards).await {
                tracing::debug!(?duty, reason = %error, "not done");
                done = Err(error);
            }
        }
        Ok(Round { chores, shards, done })
    }

    /// Begins with what takes long.
    fn begin<'a>(
        &'a self,
        duty: Duty,
        world: &Arc<ControlState>,
        shards: &BTreeMap<ShardId, Standing>,
    ) -> BoxFuture<'a, Result<(), Undone>> {
        let (world, shards) = (world.clone(), shards.clone());
        Box::pin(async move {
            let done = self.fulfil(&duty, &world, &shards).await;
            if let Err(error) = &done {
                tracing::debug!(?duty, reason = %error, "not done");
            }
            done
        })
    }

    async fn fulfil(
        &self,
        duty: &Duty,
        world: &ControlState,
        shards: &BTreeMap<ShardId, Standing>,
    ) -> Result<(), Undone> {
        let (here, ..) = self.node.identity();
        match duty {
            Duty::Adopt { mode_version } => {
                // From then on nothing is answered without a lease: let there be one.
                let own = world.regions.get(&here).ok_or(Undone::Overtaken)?;
                let acts = own.holders().contains(&here);
                let needs = FailoverMode::of_version(*mode_version) == FailoverMode::Automatic && acts;
                if needs && !self.node.leases().is_valid(here, own.epoch) {
                    return Err(Undone::NotYet(here));
                }
                self.log(Op::Adopt { mode_version: *mode_version }).await?;
                self.propose(ControlCommand::Adopt { region: here, mode_version: *mode_version }).await
            }
            Duty::Promise { home, epoch, holders } => {
                tracing::info!(home = home.0, epoch, "the right to act for a region changes hands");
                self.log(Op::Promise { home: *home, epoch: *epoch, holders: holders.clone() }).await
            }
            Duty::Report { home, epoch } => {
                let report = report(here, shards);
                self.step(*home, *epoch, Step::Report { region: here, report }).await
            }
            Duty::CatchUp { home, epoch } => {
                let handover = world.regions.get(home).and_then(|home| home.handover());
                self.catch_up((*home, *epoch), handover.ok_or(Undone::Overtaken)?, shards).await?;
                self.step(*home, *epoch, Step::Ready { region: here }).await
            }
            Duty::Assume { home, epoch } => {
                self.log(Op::Assume { home: *home, epoch: *epoch }).await?;
                // That is what it was ready for.
                self.log(Op::CaughtUp { home: *home, epoch: *epoch }).await?;
                tracing::info!(home = home.0, epoch, "this region acts");
                Ok(())
            }
            Duty::Level { home, epoch, acting } => {
                self.level((*home, *epoch), *acting, shards, &settled(world, here)).await
            }
            Duty::Absorb { home, epoch, from } => {
                for (shard, standing) in shards.iter().filter(|_| *from != here) {
                    // It may hold what is older than all that was told by those who answered.
                    self.pull((*home, *epoch), *from, (*shard, standing.stamp), 0, &Believed::new()).await?;
                }
                tracing::info!(home = home.0, from = from.0, "what a region held that had not been heard is here");
                self.step(*home, *epoch, Step::Absorbed { from: *from }).await
            }
            Duty::Return { epoch } => self.step(here, *epoch, Step::Return).await,
            Duty::Settle { home, acting } => {
                let home = world.regions.get(home).ok_or(Undone::Overtaken)?;
                self.settle(home, *acting, shards).await
            }
            Duty::Reconcile { acting, .. } => {
                let own = world.regions.get(&here).ok_or(Undone::Overtaken)?;
                self.reconcile(own, *acting, shards).await
            }
        }
    }

    /// Takes in what others hold of a home and this region does not.
    async fn catch_up(
        &self,
        home: (RegionId, u32),
        handover: &Handover,
        shards: &BTreeMap<ShardId, Standing>,
    ) -> Result<(), Undone> {
        let (here, ..) = self.node.identity();
        for (shard, standing) in shards {
            for (from, since) in missing(here, standing, handover) {
                self.pull(home, from, (*shard, standing.stamp), since, &Believed::new()).await?;
            }
        }
        Ok(())
    }

    /// Takes in from who acts what may be missing here.
    async fn level(
        &self,
        (home, epoch): (RegionId, u32),
        acting: RegionId,
        shards: &BTreeMap<ShardId, Standing>,
        believed: &Believed,
    ) -> Result<(), Undone> {
        for (shard, standing) in shards {
            let missing = standing.rights.get(&home).and_then(|right| right.missing_since);
            if let Some(since) = missing {
                self.pull((home, epoch), acting, (*shard, standing.stamp), since, believed).await?;
                self.write(*shard, Op::CaughtUp { home, epoch }).await?;
            }
        }
        Ok(())
    }

    /// Takes what `from` holds of a home, as far as it was written at `since` or later, into one of our shards, whose log is at stamp
    /// `asked` or later; it is believed about these homes, too.
    pub(super) async fn pull(
        &self,
        (home, epoch): (RegionId, u32),
        from: RegionId,
        (shard, asked): (ShardId, Stamp),
        since: Stamp,
        believed: &Believed,
    ) -> Result<(), Undone> {
        let contacts = self.contacts.upgrade().ok_or(Undone::Unknown(from))?;
        let whereabouts = contacts.whereabouts(from).ok_or(Undone::Unknown(from))?;
        for (source, slots) in sources(&self.node.region().slots, shard, &whereabouts) {
            let mut after = None;
            loop {
                let span = Span { after: after.take(), until: None, slots: SlotSet::of(slots.iter().copied()) };
                let (records, until) =
                    self.page(&contacts, source, HeldOf { shard: source.shard, home, epoch, since, span }).await?;
                let piece = Piece::Held { asked, home, epoch, records };
                let absorbed = Absorbed { source, as_of: 0, believed: believed.clone(), piece };
                self.write(shard, Op::Absorb { absorbed: Box::new(absorbed) }).await?;
                match until {
                    Some(until) => after = Some(until),
                    None => break,
                }
            }
        }
        Ok(())
    }

    async fn page(
        &self,
        contacts: &Contacts,
        source: Source,
        wanted: HeldOf,
    ) -> Result<(Vec<(Key, sojourn_core::Record)>, Option<Key>), Undone> {
        let first = wanted.span.slots.first().map(|(first, _)| *first).unwrap_or_default();
        let body = encode(&wanted);
        let mut last = Undone::Unknown(source.region);
        for node in contacts.nodes_for(source.region, first) {
            match self.rpc.call(node, Lane::Bulk, calls::HELD, &[&body], PAGE_TIMEOUT).await {
                Ok(bytes) => match packing::unpack(&bytes)? {
                    Held::Page { records, until } => return Ok((records, until)),
                    Held::NotYet => return Err(Undone::NotYet(source.region)),
                    Held::NotLeader => last = Undone::NotYet(source.region),
                },
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// Has all shards log something.
    async fn log(&self, op: Op) -> Result<(), Undone> {
        let keys = self.node.shard_keys(NamespaceId(0)).into_values();
        self.write_all(keys.map(|key| command(key, op.clone())).collect()).await
    }

    /// Has one shard log something.
    async fn write(&self, shard: ShardId, op: Op) -> Result<(), Undone> {
        let key = self.node.shard_keys(NamespaceId(0)).remove(&shard).ok_or(Undone::Overtaken)?;
        self.write_all(vec![command(key, op)]).await
    }

    async fn write_all(&self, commands: Vec<Command>) -> Result<(), Undone> {
        for outcome in self.node.write_within(Reach::Region, commands).await {
            match outcome? {
                Outcome::Done | Outcome::Count(_) => {}
                refused => return Err(Undone::Refused(refused)),
            }
        }
        Ok(())
    }

    pub(super) async fn step(&self, home: RegionId, epoch: u32, step: Step) -> Result<(), Undone> {
        self.propose(ControlCommand::Handover { home, epoch, step }).await
    }

    async fn propose(&self, command: ControlCommand) -> Result<(), Undone> {
        match self.agreement.propose(command).await {
            // It was agreed on before, or something else was: the next round sees what.
            Err(NotAgreed::Refused(ControlRefusal::Phase(_) | ControlRefusal::NotActing { .. })) => Ok(()),
            proposed => proposed.map(|_| ()).map_err(Undone::from),
        }
    }
}

/// A command that a region gives its own shards. The key says which is meant.
pub(in crate::world) fn command(key: Key, op: Op) -> Command {
    let rules = Policy::default().rules(false);
    Command { request: Request::default(), key, rules, touched: None, op }
}

/// This region's own home, if it has settled what it wrote and has not taken over again yet: an id of its own that others have given to a
/// session of another home meanwhile is that one's, whoever tells of it.
fn settled(world: &ControlState, here: RegionId) -> Believed {
    let own = world.regions.get(&here);
    let is_settled = |own: &&Region| own.orphans.is_some() && !own.diverged && !own.holders().contains(&here);
    own.filter(is_settled).map(|own| (here, own.epoch)).into_iter().collect()
}

/// From whom one of our shards has to take what it lacks, and from which stamp on.
fn missing(here: RegionId, standing: &Standing, handover: &Handover) -> BTreeMap<RegionId, Stamp> {
    let mut missing = BTreeMap::new();
    for ((region, shard), (at, furthest)) in handover.furthest() {
        if region == here || at == here {
            continue;
        }
        let theirs = || reaches(standing).filter(|(source, _)| source.region == region);
        let own = theirs().find(|(source, _)| source.shard == shard).map(|(_, reach)| reach);
        // Who follows other shards of that region and not this one shares no slots with it, unless some have gone there just now.
        let behind = standing.lags_behind.get(&region).copied();
        if own.is_none() && behind.is_none() && theirs().next().is_some() {
            continue;
        }
        let unknown = control::Reach { stamp: behind.unwrap_or(0), ..control::Reach::default() };
        let own = own.unwrap_or(unknown);
        if (own.stamp, own.index) < (furthest.stamp, furthest.index) {
            let since: &mut Stamp = missing.entry(at).or_insert(own.stamp);
            *since = own.stamp.min(*since);
        }
    }
    missing
}
