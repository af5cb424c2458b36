//! Whole regions against the rules: cuts, slow answers, changes of the control leader, losses during losses, returns.
//!
//! Two things must hold. No write of a home is acknowledged under an epoch after one was under a later epoch: nobody acts
//! beside or after its successor. And whoever begins to act holds every write that waited for one more region, unless the
//! state says that it may not. Rules can be left out.

use super::*;
use crate::{
    control::{Acting, Reach, WorldPolicy},
    ids::{NamespaceId, ShardId, Slot},
    lease::Lease,
    policy::Policy,
};
use std::mem;

/// Short leases, so that much happens in few acts.
const SHORT_MS: u64 = 2_000;

/// Rules that can be left out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plants {
    pub wait_skipped: bool,
    pub lease_from_answer: bool,
    pub geo_without_quorum: bool,
    pub promise_forgotten: bool,
    pub last_holders_only: bool,
    pub epoch_ignored: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Act {
    Tick {
        ms: u64,
    },
    /// These can reach nobody; all others can.
    Cut {
        away: Vec<u16>,
    },
    Lead {
        region: u16,
    },
    Renew {
        region: u16,
        home: u16,
    },
    /// Whoever believes to act writes, and waits for `with` where that is given.
    Write {
        with: Option<u16>,
    },
    Plan,
    /// Does what the handover of `home` needs of `region`.
    Help {
        region: u16,
        home: u16,
    },
    /// A person gives a region up.
    Force {
        region: u16,
    },
    /// For so long all live on: they learn (but for the deaf), renew, write, and do what handovers need of them.
    Run {
        ms: u64,
        deaf: Option<u16>,
        with: Option<u16>,
    },
}

/// What happens in which world.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub regions: u16,
    /// Whether leases are in use. If not, a person gives regions up, which may go on beside those who act for them.
    pub leased: bool,
    /// The region that is answered late, and how late, in ms.
    pub slow: (u16, u64),
    pub acts: Vec<Act>,
}

/// A write: its home and its number.
type Write = (RegionId, u64);

#[derive(Default)]
struct Actor {
    cut: bool,
    /// The version of the agreed state that it knows.
    seen: u64,
    /// Who acts for each home and under which epoch, as it knows.
    view: BTreeMap<RegionId, (RegionId, u32)>,
    leases: BTreeMap<RegionId, Lease>,
    /// For each home the epoch below which it writes and acknowledges nothing.
    promised: BTreeMap<RegionId, u32>,
    /// How many of each region's changes it holds.
    held: BTreeMap<RegionId, usize>,
}

impl Actor {
    fn promise(&mut self, home: RegionId, epoch: u32) {
        let promised = self.promised.entry(home).or_default();
        *promised = epoch.max(*promised);
    }

    fn has_promised(&self, home: RegionId, epoch: u32) -> bool {
        self.promised.get(&home).is_some_and(|promised| *promised > epoch)
    }
}

/// An answer to a request for a lease on its way: holder, home, epoch, when it was sent.
type Granted = (RegionId, RegionId, u32, u64);

pub(super) struct World {
    plants: Plants,
    leased: bool,
    slow: (u16, u64),
    now_ms: u64,
    leader: RegionId,
    state: ControlState,
    observed: Observed,
    actors: BTreeMap<RegionId, Actor>,
    in_flight: Vec<Granted>,
    /// What each region wrote, in order.
    feeds: BTreeMap<RegionId, Vec<Write>>,
    next_write: u64,
    /// The epoch of the last acknowledged write of each home.
    acknowledged: BTreeMap<RegionId, u32>,
    /// Writes that were acknowledged by one more region.
    geo: Vec<Write>,
    /// How often somebody began to act.
    pub opened: usize,
}

impl World {
    pub fn new(history: &History, plants: Plants) -> Self {
        let History { regions, leased, slow, acts: _ } = *history;
        let mut state = automatic(regions, SHORT_MS);
        if !leased {
            state.apply(ControlCommand::SetFailover { mode: FailoverMode::Operator, lease_ms: SHORT_MS });
        }
        let policy =
            Box::new(WorldPolicy { policy: Policy { ack_regions: 1, ..Policy::default() }, ..WorldPolicy::default() });
        state.apply(ControlCommand::SetNamespace { name: "default".into(), over: None, policy });
        let leader = RegionId(0);
        let grants = Grants::new(0);
        let (heard_ms, changed_ms, passed_ms) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let observed = Observed { now_ms: 0, wall: 0, grants, heard_ms, changed_ms, passed_ms };
        let actors = (0..regions).map(|region| (RegionId(region), Actor::default())).collect();
        let (in_flight, geo) = (Vec::new(), Vec::new());
        let mut world = Self {
            plants,
            leased,
            slow,
            now_ms: 1_000,
            leader,
            state,
            observed,
            actors,
            in_flight,
            feeds: (0..regions).map(|region| (RegionId(region), Vec::new())).collect(),
            next_write: 0,
            acknowledged: BTreeMap::new(),
            geo,
            opened: 0,
        };
        (0..regions).for_each(|region| world.learn(RegionId(region)));
        world
    }

    /// Machines' boot clocks have nothing to do with each other.
    fn clock_ms(&self, region: RegionId) -> u64 {
        self.now_ms + 1_000_000 * u64::from(region.0)
    }

    fn is_up(&self, region: RegionId) -> bool {
        !self.actors[&region].cut
    }

    fn leads(&self) -> bool {
        let up = self.actors.values().filter(|actor| !actor.cut).count();
        self.is_up(self.leader) && 2 * up > self.actors.len()
    }

    fn heard(&mut self, region: RegionId) {
        let now_ms = self.clock_ms(self.leader);
        self.observed.heard_ms.insert(region, now_ms);
    }

    fn apply(&mut self, command: ControlCommand) -> Result<bool, String> {
        let before = self.state.clone();
        let done = !matches!(self.state.apply(command), ControlOutcome::Refused(_));
        let now_ms = self.clock_ms(self.leader);
        for (id, region) in &self.state.regions {
            if region.phase != before.regions[id].phase {
                self.observed.changed_ms.insert(*id, now_ms);
                self.observed.passed_ms.insert(*id, now_ms);
            }
            let was = before.acting_for(*id, Slot::of(b"s"), NamespaceId(0));
            if let Some(acting) = self.acting(*id).filter(|acting| was != Some(*acting)) {
                self.opened += 1;
                let known = self.known(acting.region, *id);
                if let Some(lost) = self.geo.iter().find(|write| write.0 == *id && !known.contains(write)) {
                    return Err(format!("{acting:?} lacks {lost:?}"));
                }
            }
        }
        Ok(done)
    }

    /// Who acts for a home and may answer for what waited for other regions.
    fn acting(&self, home: RegionId) -> Option<Acting> {
        self.state.acting_for(home, Slot::of(b"s"), NamespaceId(0))
    }

    fn learn(&mut self, region: RegionId) {
        let acting = self.state.regions.values().filter_map(|home| {
            let acting = self.state.acting(home.id, Slot::of(b"s"))?;
            Some((home.id, (acting.region, acting.epoch)))
        });
        let view = acting.collect();
        let actor = self.actors.entry(region).or_default();
        (actor.seen, actor.view) = (self.state.version, view);
        self.heard(region);
    }

    fn pull(&mut self, by: RegionId, from: RegionId, writer: RegionId) {
        let there = self.actors[&from].held.get(&writer).copied().unwrap_or_default();
        let held = self.actors.entry(by).or_default().held.entry(writer).or_default();
        *held = there.max(*held);
    }

    fn push(&mut self, region: RegionId, write: Write) {
        let feed = self.feeds.entry(region).or_default();
        feed.push(write);
        self.actors.entry(region).or_default().held.insert(region, feed.len());
    }

    /// The writes of a home that a region knows.
    fn known(&self, region: RegionId, home: RegionId) -> BTreeSet<Write> {
        let feeds = self.actors[&region].held.iter().flat_map(|(writer, count)| &self.feeds[writer][..*count]);
        feeds.filter(|write| write.0 == home).copied().collect()
    }

    pub fn act(&mut self, act: Act) -> Result<(), String> {
        self.answer();
        match act {
            Act::Tick { ms } => self.now_ms += ms,
            Act::Cut { away } => {
                self.actors.iter_mut().for_each(|(region, actor)| actor.cut = away.contains(&region.0));
                let up = self.actors.keys().copied().find(|region| self.is_up(*region));
                if let Some(next) = up.filter(|_| !self.is_up(self.leader)) {
                    self.lead(next);
                }
            }
            Act::Lead { region } if self.is_up(RegionId(region)) => self.lead(RegionId(region)),
            Act::Renew { region, home } => self.renew(RegionId(region), RegionId(home)),
            Act::Write { with } => {
                for (region, home) in self.pairs() {
                    self.write(region, home, with.map(RegionId))?;
                }
            }
            Act::Plan if self.leads() => return self.plan(),
            Act::Help { region, home } if self.leads() && self.is_up(RegionId(region)) => {
                self.heard(RegionId(region));
                return self.help(RegionId(region), RegionId(home));
            }
            Act::Force { region } if self.leads() && !self.leased => {
                let cause = Cause::Operator { force: true };
                self.apply(ControlCommand::Fence { region: RegionId(region), cause, at: 0 })?;
            }
            Act::Run { ms, deaf, with } => {
                for _ in 0..ms / 500 {
                    self.live(deaf.map(RegionId), with)?;
                }
            }
            Act::Lead { .. } | Act::Plan | Act::Help { .. } | Act::Force { .. } => {}
        }
        Ok(())
    }

    fn live(&mut self, deaf: Option<RegionId>, with: Option<u16>) -> Result<(), String> {
        self.now_ms += 500;
        for (region, home) in self.pairs() {
            if self.leads() && self.is_up(region) && deaf != Some(region) {
                self.learn(region);
            }
            self.renew(region, home);
        }
        for _ in 0..4 {
            self.act(Act::Plan)?;
            for (region, home) in self.pairs() {
                if deaf != Some(region) {
                    self.act(Act::Help { region: region.0, home: home.0 })?;
                }
            }
        }
        self.act(Act::Write { with })
    }

    fn lead(&mut self, region: RegionId) {
        self.leader = region;
        self.observed.grants = Grants::new(self.clock_ms(region));
        self.observed.heard_ms.clear();
        self.observed.changed_ms.clear();
        self.observed.passed_ms.clear();
    }

    /// Every region with every home.
    fn pairs(&self) -> Vec<(RegionId, RegionId)> {
        let regions = || self.actors.keys().copied();
        regions().flat_map(|region| regions().map(move |home| (region, home))).collect()
    }

    fn renew(&mut self, region: RegionId, home: RegionId) {
        let Some((_, epoch)) = self.actors[&region].view.get(&home).copied() else { return };
        if !self.leads() || !self.is_up(region) {
            return;
        }
        self.heard(region);
        if self.state.grant(home, epoch, region, self.actors[&region].seen).is_ok() || self.plants.epoch_ignored {
            let (now_ms, sent_ms) = (self.clock_ms(self.leader), self.clock_ms(region));
            self.observed.grants.note(home, region, now_ms);
            self.in_flight.push((region, home, epoch, sent_ms));
        }
    }

    /// Answers arrive that have been on their way for long enough.
    fn answer(&mut self) {
        let (slow, late_ms) = self.slow;
        let (arrived, later) = mem::take(&mut self.in_flight).into_iter().partition(|(region, _, _, sent_ms)| {
            self.clock_ms(*region) >= sent_ms + if region.0 == slow { late_ms } else { 0 }
        });
        self.in_flight = later;
        for (region, home, epoch, sent_ms) in arrived {
            if self.is_up(region) {
                let counted_ms = if self.plants.lease_from_answer { self.clock_ms(region) } else { sent_ms };
                let lease = self.actors.entry(region).or_default().leases.entry(home).or_default();
                *lease = lease.renewed(epoch, counted_ms, SHORT_MS);
            }
        }
    }

    fn write(&mut self, region: RegionId, home: RegionId, with: Option<RegionId>) -> Result<(), String> {
        let (actor, now_ms) = (&self.actors[&region], self.clock_ms(region));
        let Some((acting, epoch)) = actor.view.get(&home).copied() else { return Ok(()) };
        let lease = actor.leases.get(&home).copied().unwrap_or_default();
        let valid = lease.is_valid(epoch, now_ms) || !self.leased;
        if acting != region || actor.has_promised(home, epoch) || !valid {
            return Ok(());
        }
        self.next_write += 1;
        let write = (home, self.next_write);
        self.push(region, write);
        if let Some(with) = with {
            if with == region || !self.is_up(with) || !self.is_up(region) {
                return Ok(());
            }
            self.pull(with, region, region);
            if self.actors[&with].has_promised(home, epoch) && !self.plants.promise_forgotten {
                return Ok(());
            }
            self.geo.push(write);
            if let Some(acting) = self.acting(home).filter(|acting| acting.region != region)
                && !self.known(acting.region, home).contains(&write)
            {
                return Err(format!("{with:?} acknowledges for {home:?} under {epoch} what {acting:?} does not know"));
            }
        }
        let last = self.acknowledged.entry(home).or_default();
        if *last > epoch && self.leased {
            return Err(format!("{region:?} acknowledges for {home:?} under {epoch}, after {last}"));
        }
        *last = epoch.max(*last);
        Ok(())
    }

    fn plan(&mut self) -> Result<(), String> {
        self.observed.now_ms = self.clock_ms(self.leader);
        let patience = Patience { hold_down_ms: 1_000, ..Patience::default() };
        if self.plants.wait_skipped {
            return self.plan_rashly();
        }
        let Some(command) = plan(&self.state, &self.observed, &patience) else { return Ok(()) };
        self.apply(command).map(|_| ())
    }

    /// As somebody would who takes silence for the end of a lease.
    fn plan_rashly(&mut self) -> Result<(), String> {
        let regions: Vec<Region> = self.state.regions.values().cloned().collect();
        for Region { id, epoch, phase, .. } in regions {
            if matches!(phase, Phase::Fenced(_)) {
                let step = Step::Waited { quiet_ms: u64::MAX };
                self.apply(ControlCommand::Handover { home: id, epoch, step })?;
            } else if !self.is_up(id) {
                self.apply(ControlCommand::Fence { region: id, cause: Cause::Lost, at: 0 })?;
            }
        }
        match plan(&self.state, &self.observed, &Patience::default()) {
            Some(command @ ControlCommand::Handover { .. }) => self.apply(command).map(|_| ()),
            _fence_or_none => Ok(()),
        }
    }

    fn help(&mut self, region: RegionId, home: RegionId) -> Result<(), String> {
        let known = &self.state.regions[&home];
        if known.phase == Phase::Serving && known.unheard.is_empty() {
            return Ok(());
        }
        let Region { epoch, phase, diverged, unheard, .. } = known.clone();
        let tell = |step| ControlCommand::Handover { home, epoch, step };
        match phase {
            Phase::Fenced(handover) | Phase::Gathering(handover) => {
                let actor = self.actors.entry(region).or_default();
                let reach = |count: usize| Reach { stamp: count as u64, index: count as u64, head: 0 };
                let asked = |writer: &RegionId| handover.holders.contains(writer) || !self.plants.last_holders_only;
                let report = actor.held.iter().filter(|(writer, _)| asked(writer));
                let report = report.map(|(writer, count)| ((*writer, ShardId(0)), reach(*count))).collect();
                // It promises first and answers then; what it promised stands, whatever becomes of the answer.
                actor.promise(home, epoch);
                self.apply(tell(Step::Report { region, report }))?;
            }
            Phase::CatchingUp { handover, successors, .. } if successors.regions().contains(&region) => {
                let furthest = handover.furthest();
                if !furthest.values().all(|(at, _)| self.is_up(*at)) {
                    return Ok(());
                }
                for ((writer, _), (at, _)) in &furthest {
                    self.pull(region, *at, *writer);
                }
                self.apply(tell(Step::Ready { region }))?;
                if self.plants.geo_without_quorum {
                    self.apply(tell(Step::GoOn))?;
                }
            }
            Phase::Open(_) if region == home => {
                self.apply(tell(Step::Return))?;
            }
            Phase::Returning(_) if region == home && diverged => {
                self.apply(tell(Step::Settled { by: home, orphans: Default::default() }))?;
                self.apply(tell(Step::Reconciled))?;
            }
            Phase::Returning(_) if region == home => {
                self.apply(ControlCommand::Failback { region: home, at: 0 })?;
            }
            Phase::Serving | Phase::Open(_) | Phase::Returning(_) if unheard.contains(&region) => {
                let holder = self.state.regions[&home].holders().first().copied().unwrap_or_default();
                if self.is_up(holder) {
                    self.actors.entry(region).or_default().promise(home, epoch);
                    let writers: Vec<RegionId> = self.actors[&region].held.keys().copied().collect();
                    writers.into_iter().for_each(|writer| self.pull(holder, region, writer));
                    self.apply(tell(Step::Absorbed { from: region }))?;
                }
            }
            Phase::CatchingUp { .. } | Phase::Serving | Phase::Open(_) | Phase::Returning(_) => {}
        }
        Ok(())
    }
}
