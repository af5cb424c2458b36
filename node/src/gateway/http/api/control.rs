//! What the world agrees on, in JSON.

use crate::{
    peers::AbroadRoster,
    region::standing::Homes,
    world::control::{Figures, View},
};
use serde::{Deserialize, Serialize};
use sojourn_core::{
    NamespaceId, NodeId, RegionId,
    control::{Cause, ControlState, FailoverMode, Phase, Region, Successors},
    draining::{self, Forecast},
    ids::SLOTS,
    orphans::Tally,
    state::JOURNAL,
};
use std::collections::BTreeMap;

/// `GET /v1/regions`: the world as the node that answers knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Regions {
    /// The region that answers.
    pub here: String,
    /// Raised with each change of what the world agrees on; 0 before anything was, and in a world of one region.
    pub version: u64,
    /// Who decides that a region is lost: `automatic` or `operator`.
    pub failover: String,
    /// How long leases last, in ms.
    pub lease_ms: u64,
    /// The group that keeps it; none if its leader does not answer.
    pub control: Option<ControlGroup>,
    /// Why the world does not take this region in, if it does not.
    pub problem: Option<String>,
    /// Namespaces that are not in the region that answers as they are in the world, and what to do about each.
    #[serde(default)]
    pub contradictions: Vec<String>,
    /// How many conflicts lie in the journal; none if not all shards say so in time.
    #[serde(default)]
    pub conflicts: Option<u64>,
    /// The regions, by number.
    pub regions: Vec<RegionStatus>,
}

/// The control group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlGroup {
    /// Who leads it.
    pub leader: Voter,
    /// In which term.
    pub term: u64,
    /// Who votes.
    pub voters: Vec<Voter>,
}

/// A node of a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voter {
    /// The region.
    pub region: String,
    /// The node's number in it.
    pub node: u64,
}

/// A region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionStatus {
    /// Its number.
    pub id: u16,
    /// Its name.
    pub region: String,
    /// Who acts for it: `serving` (itself), `fenced`, `gathering`, `catching_up` (nobody yet), `open` (others), `returning`
    /// (others still, while it is back).
    pub phase: String,
    /// Under which epoch its sessions are written.
    pub epoch: u32,
    /// Who writes, by ranges of slots; none while that is decided.
    pub acting: Vec<Acts>,
    /// Why that is decided anew, if it is: `lost`, `operator`, `operator_force` or `failback`.
    pub cause: Option<String>,
    /// Since when, in ms since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Regions that have said how far they are, while it is decided.
    pub answered: Vec<String>,
    /// Whether it writes under leases only.
    pub leased: bool,
    /// Whether it was fenced and has not come back.
    pub away: bool,
    /// Whether others have acted for it and what it wrote itself is not settled.
    pub diverged: bool,
    /// Whether homes are being moved away from it.
    pub draining: bool,
    /// How long ago the control leader heard of it; none if that is not known.
    pub silent_ms: Option<u64>,
    /// The node that votes for it.
    pub voter: Option<u64>,
    /// Regions that were not heard when others began to act: writes that waited for another region may be known there only.
    pub unheard: Vec<String>,
    /// What may be missing since it was lost.
    pub cut: Vec<Cut>,
    /// What became of the writes that nobody else had, when it last returned.
    pub orphans: Option<Orphans>,
    /// Regions that wrote for it when they were lost, and what became of what they had written last.
    #[serde(default)]
    pub strays: Vec<Stray>,
    /// How many sessions are at home in it, as the region that answers knows them; none if not all shards say so in time.
    #[serde(default)]
    pub homes: Option<u64>,
    /// What becomes of them, if it is being drained and they are known.
    #[serde(default)]
    pub drain: Option<Draining>,
}

/// What becomes of the sessions of a region that is being drained, or that would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// How many go where; those of a namespace that lets sessions travel go to where they are used from instead.
    pub goes: Vec<Goes>,
    /// How many stay, and why.
    pub stays: Vec<Stays>,
}

/// Sessions that go to another region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goes {
    /// Which.
    pub region: String,
    /// How many.
    pub sessions: u64,
}

/// Sessions that stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stays {
    /// Their namespace; its number where it was dropped since.
    pub namespace: String,
    /// How many.
    pub sessions: u64,
    /// Why: `residency` (no other region may hold them), `no_region` (none that may takes any now) or `not_acting` (others act
    /// for the region).
    pub why: String,
}

/// A range of slots and who writes to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acts {
    /// Who.
    pub region: String,
    /// The first slot.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// A region that acted for another one when it was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stray {
    /// Which.
    pub region: String,
    /// What became of what only it had written; none before it has settled that.
    pub orphans: Option<Orphans>,
}

/// What may be missing of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The region whose shard it is.
    pub region: String,
    /// The shard.
    pub shard: u32,
    /// Who holds most of it.
    pub at: String,
    /// Entries that are known to be missing.
    pub entries: u64,
    /// From how long a time entries may be missing, in ms.
    pub ms: u64,
    /// When that time began, by the clock of the shard, in ms since the Unix epoch; 0 if nothing was ever heard of it.
    #[serde(default)]
    pub since_ms: u64,
}

/// What became of the writes of a region that nobody else had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphans {
    /// They had arrived after all.
    pub already_applied: u64,
    /// They were merged.
    pub merged: u64,
    /// Nothing had happened since.
    pub fast_forwarded: u64,
    /// They contradict what happened since, and lie in the journal.
    pub journaled: u64,
}

/// `POST /v1/regions/failover`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailOver {
    /// The region's name.
    pub region: String,
    /// That it is down, or may be parted from: its lease is not waited for.
    #[serde(default)]
    pub force: bool,
}

/// `POST /v1/regions/failback`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailBack {
    /// The region's name.
    pub region: String,
}

/// `POST /v1/regions/drain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainRegion {
    /// The region's name.
    pub region: String,
    /// Whether homes shall move away from it.
    pub draining: bool,
}

/// `POST /v1/regions/drain/plan`: what would become of the sessions of a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainWhatIf {
    /// The region's name.
    pub region: String,
}

/// `POST /v1/regions/policy`: what is not said stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossPolicy {
    /// Who decides over losses: `automatic` or `operator`.
    #[serde(default)]
    pub failover: Option<String>,
    /// How long leases last, in ms.
    #[serde(default)]
    pub lease_ms: Option<u64>,
}

/// `automatic` or `operator`.
pub fn mode_name(mode: FailoverMode) -> &'static str {
    match mode {
        FailoverMode::Automatic => "automatic",
        FailoverMode::Operator => "operator",
    }
}

fn name_of(state: &ControlState, region: RegionId) -> String {
    state.regions.get(&region).map_or_else(|| region.0.to_string(), |region| region.name.clone())
}

impl Regions {
    /// The answer of a node of region `here`, which is alone without a `view` of others.
    pub fn new(here: &str, id: RegionId, view: Option<&View>) -> Self {
        let nothing = ControlState::default();
        let state = view.and_then(|view| view.state.as_deref()).unwrap_or(&nothing);
        let figures = view.and_then(|view| view.figures.as_ref());
        let regions = state.regions.values().map(|region| RegionStatus::new(state, region, figures));
        let alone = view.is_none().then(|| RegionStatus::alone(here, id));
        Self {
            here: here.to_owned(),
            version: state.version,
            failover: mode_name(state.failover.mode).to_owned(),
            lease_ms: state.failover.lease_ms,
            control: figures.map(|figures| ControlGroup::new(state, figures)),
            problem: view.and_then(|view| view.complaint.clone()),
            contradictions: Vec::new(),
            conflicts: None,
            regions: alone.into_iter().chain(regions).collect(),
        }
    }

    /// The same with the sessions that are at home in each region, if they are known.
    #[must_use]
    pub fn with_homes(mut self, view: Option<&View>, homes: Option<&Homes>) -> Self {
        let (Some(homes), none) = (homes, BTreeMap::new()) else { return self };
        for region in &mut self.regions {
            let sessions = homes.get(&RegionId(region.id)).unwrap_or(&none);
            region.homes = Some(sessions.values().sum());
            let state = view.and_then(|view| view.state.as_deref()).filter(|_| region.draining);
            region.drain = state.map(|state| Draining::of(state, RegionId(region.id), sessions));
        }
        self
    }
}

impl Draining {
    /// What becomes of the sessions of `from`, of which each namespace has so many.
    pub fn of(state: &ControlState, from: RegionId, sessions: &BTreeMap<NamespaceId, u64>) -> Self {
        let Forecast { goes, stays } = Forecast::of(state, from, sessions);
        let goes = goes.into_iter().map(|(to, sessions)| Goes { region: name_of(state, to), sessions });
        let stays = stays.into_iter().map(|((why, namespace), sessions)| Stays {
            namespace: namespace_name(state, namespace),
            sessions,
            why: match why {
                draining::Stays::Pinned => "residency",
                draining::Stays::NoRegion => "no_region",
                draining::Stays::NotActing => "not_acting",
            }
            .to_owned(),
        });
        Self { goes: goes.collect(), stays: stays.collect() }
    }

    /// How many there are.
    pub fn sessions(&self) -> u64 {
        let (goes, stays) = (self.goes.iter().map(|goes| goes.sessions), self.stays.iter().map(|stays| stays.sessions));
        goes.chain(stays).sum()
    }
}

fn namespace_name(state: &ControlState, namespace: NamespaceId) -> String {
    if namespace == JOURNAL {
        return "(the journal of conflicts)".to_owned();
    }
    state.namespaces.get(&namespace).map_or_else(|| namespace.0.to_string(), |known| known.name.clone())
}

impl ControlGroup {
    fn new(state: &ControlState, figures: &Figures) -> Self {
        let voter = |number: &NodeId| Voter {
            region: AbroadRoster::region_of(*number).map_or_else(String::new, |region| name_of(state, region)),
            node: AbroadRoster::node_of(*number).0,
        };
        let voters = figures.voters.iter().map(voter).collect();
        Self { leader: voter(&figures.leader), term: figures.term, voters }
    }
}

impl RegionStatus {
    /// The only region of a world.
    fn alone(name: &str, id: RegionId) -> Self {
        let acting = Acts { region: name.to_owned(), first: 0, last: SLOTS - 1 };
        Self {
            id: id.0,
            region: name.to_owned(),
            phase: "serving".to_owned(),
            epoch: sojourn_core::control::EPOCH_ALONE,
            acting: vec![acting],
            cause: None,
            since_ms: None,
            answered: Vec::new(),
            leased: false,
            away: false,
            diverged: false,
            draining: false,
            silent_ms: None,
            voter: None,
            unheard: Vec::new(),
            cut: Vec::new(),
            orphans: None,
            strays: Vec::new(),
            homes: None,
            drain: None,
        }
    }

    fn new(state: &ControlState, region: &Region, figures: Option<&Figures>) -> Self {
        let name = |region: RegionId| name_of(state, region);
        let handover = region.handover();
        let cut = region.cut.iter().map(|((of, shard), gap)| Cut {
            region: name(*of),
            shard: shard.0,
            at: name(gap.at),
            entries: gap.entries,
            ms: gap.ms,
            since_ms: gap.stamp,
        });
        Self {
            id: region.id.0,
            region: region.name.clone(),
            phase: phase_name(&region.phase).to_owned(),
            epoch: region.epoch,
            acting: acting(state, region),
            cause: handover.map(|handover| cause_name(handover.cause).to_owned()),
            since_ms: handover.map(|handover| handover.since),
            answered: handover.iter().flat_map(|handover| handover.reports.keys().map(|at| name(*at))).collect(),
            leased: state.is_leased(region.id),
            away: region.away,
            diverged: region.diverged,
            draining: region.draining,
            silent_ms: figures.and_then(|figures| figures.silent_ms.get(&region.id).copied()),
            voter: region.voter.map(|voter| voter.0),
            unheard: region.unheard.iter().map(|unheard| name(*unheard)).collect(),
            cut: cut.collect(),
            orphans: region.orphans.map(Orphans::from),
            strays: region
                .strays
                .iter()
                .map(|(stray, tally)| Stray { region: name(*stray), orphans: tally.map(Orphans::from) })
                .collect(),
            homes: None,
            drain: None,
        }
    }
}

impl From<Tally> for Orphans {
    fn from(Tally { already_applied, merged, fast_forwarded, journaled }: Tally) -> Self {
        Self { already_applied, merged, fast_forwarded, journaled }
    }
}

fn acting(state: &ControlState, region: &Region) -> Vec<Acts> {
    let one = Successors::one(region.id);
    let successors = match &region.phase {
        Phase::Serving => &one,
        Phase::Open(successors) | Phase::Returning(successors) => successors,
        Phase::Fenced(_) | Phase::Gathering(_) | Phase::CatchingUp { .. } => return Vec::new(),
    };
    let mut first = 0;
    let acts = successors.ranges().into_iter().map(|(last, region)| {
        let acts = Acts { region: name_of(state, region), first, last: last.number() };
        first = last.number() + 1;
        acts
    });
    acts.collect()
}

fn phase_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Serving => "serving",
        Phase::Fenced(_) => "fenced",
        Phase::Gathering(_) => "gathering",
        Phase::CatchingUp { .. } => "catching_up",
        Phase::Open(_) => "open",
        Phase::Returning(_) => "returning",
    }
}

fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Lost => "lost",
        Cause::Operator { force: false } => "operator",
        Cause::Operator { force: true } => "operator_force",
        Cause::Failback => "failback",
    }
}
