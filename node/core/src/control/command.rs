//! What can be asked of the control group and what it answers.

use super::{Cause, FailoverMode, Report, Successors, WorldPolicy};
use crate::{
    ids::{NamespaceId, NodeId, RegionId, Stamp},
    lease::{LEASE_MS_MAX, LEASE_MS_MIN},
    orphans::Tally,
    policy::Namespace,
    routing::Coordinates,
};
use std::collections::{BTreeMap, BTreeSet};

/// A change of what the world agrees on.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlCommand {
    /// The first entry of a world. Refused if there is another.
    Found {
        /// Drawn at random, not 0.
        world: u128,
    },
    /// Adds a region, or answers the number of the one with this mark. Answers `Region`.
    Join {
        /// The number that it was founded under. Refused if another region has it.
        region: RegionId,
        /// Drawn when the region was founded: a region that asks again is told from another one of its name.
        mark: u128,
        /// Its name: 1 to 32 of `a-z 0-9 -`.
        name: String,
        /// Where its nodes can be met, each as `host:port`.
        entrances: BTreeSet<String>,
        /// Where on the globe it is.
        place: Option<Coordinates>,
        /// The node that votes for it in the control group.
        voter: Option<NodeId>,
    },
    /// Changes what is known of a region.
    Amend {
        /// Which.
        region: RegionId,
        /// Where its nodes can be met.
        entrances: BTreeSet<String>,
        /// Where on the globe it is.
        place: Option<Coordinates>,
        /// Who should act for it if it is lost, first choice first; the nearest if none of these can.
        heirs: Vec<RegionId>,
        /// The node that votes for it in the control group.
        voter: Option<NodeId>,
    },
    /// Starts or stops moving homes away from a region. It acts for those that it still has.
    Drain {
        /// Which.
        region: RegionId,
        /// Whether to.
        draining: bool,
    },
    /// Says who decides over losses, and how long leases last.
    SetFailover {
        /// Who.
        mode: FailoverMode,
        /// Leases, in ms.
        lease_ms: u64,
    },
    /// Every shard of a region has logged that it writes as this mode wants it. Refused if that has changed meanwhile.
    Adopt {
        /// Which.
        region: RegionId,
        /// The version of the mode that they logged.
        mode_version: u64,
    },
    /// Replaces the routing table. Refused if it has changed since `over`.
    SetRouting {
        /// The version that it had.
        over: u64,
        /// Country codes.
        countries: BTreeMap<String, RegionId>,
        /// For all others; `None` for the region that was asked.
        fallback: Option<RegionId>,
    },
    /// Creates a namespace. Answers `Namespace`.
    CreateNamespace {
        /// Its name: 1 to 64 of `a-z A-Z 0-9 _ -`.
        name: String,
        /// What holds in it.
        policy: Box<WorldPolicy>,
    },
    /// Takes in a namespace that a region had before it joined, under its number. Answers `Namespace`.
    BringNamespace {
        /// What it had.
        namespace: Box<Namespace>,
    },
    /// Replaces a namespace's policy. Refused if it has changed since `over`. Answers `Namespace`.
    SetNamespace {
        /// Which.
        name: String,
        /// The version that it had; `None` for any.
        over: Option<u64>,
        /// What holds from now on.
        policy: Box<WorldPolicy>,
    },
    /// Forgets a namespace; the default one cannot go. Answers `Namespace`.
    DropNamespace {
        /// Which.
        name: String,
    },
    /// Takes from a region the right to act, for its own home and for others. Each of these gets a new epoch.
    Fence {
        /// Which.
        region: RegionId,
        /// Why, and by whom.
        cause: Cause,
        /// The proposer's wall clock.
        at: Stamp,
    },
    /// Gives a region that has returned and was reconciled the right to act for its home again, under a new epoch.
    Failback {
        /// Which.
        region: RegionId,
        /// The proposer's wall clock.
        at: Stamp,
    },
    /// A step of the handover of a home. Refused under another epoch than the home's.
    Handover {
        /// Whose sessions.
        home: RegionId,
        /// The epoch that whoever asks knows.
        epoch: u32,
        /// What happened.
        step: Step,
    },
}

/// What happened to the right to act for a home. Told by the control leader, or by the region that is named.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The control leader has seen the fence, and for so long by its boot clock no lease was granted to any of those who acted.
    Waited {
        /// See [`crate::lease::Grants::quiet_ms`], the shortest.
        quiet_ms: u64,
    },
    /// How far a region holds what those wrote who acted. It has logged in all its shards that it neither writes for the home
    /// under an earlier epoch nor takes in what they wrote under one, except from those who act next.
    Report {
        /// Which.
        region: RegionId,
        /// How far.
        report: Report,
    },
    /// Names those who shall act.
    Name {
        /// Who, for which slots.
        successors: Successors,
    },
    /// One of those has taken in all that the furthest reports have.
    Ready {
        /// Which.
        region: RegionId,
    },
    /// A region that was not asked before has logged what a report says, and those who act have taken in all it holds.
    Absorbed {
        /// Which.
        from: RegionId,
    },
    /// A person says that writes may be lost that waited for another region.
    GoOn,
    /// The home itself is back, and knows that others act.
    Return,
    /// A region, the home itself or one that acted for it and was lost, has settled what it wrote last and others did not have.
    Settled {
        /// Which.
        by: RegionId,
        /// What became of that.
        orphans: Tally,
    },
    /// The home has settled that, and holds what others wrote since, so that it may take over again.
    Reconciled,
}

/// What a change of the world answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlOutcome {
    /// It happened.
    Done,
    /// The region's number.
    Region(RegionId),
    /// The namespace's number.
    Namespace(NamespaceId),
    /// Nothing changed, and why.
    Refused(ControlRefusal),
}

/// Why a change of the world was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlRefusal {
    /// It was founded before, or not yet.
    #[error(
        "the world {0:032x} is not the one that was asked for; each region belongs to one world from its founding on"
    )]
    World(u128),
    /// No such region.
    #[error("no region {} in this world; `sojourn region status` lists them", .0.0)]
    UnknownRegion(RegionId),
    /// Another region has the number.
    #[error(
        "region {} of this world is another one, called {name}: two regions were founded under one number, or one was founded \
         anew with empty data directories. Found the one that is new under a `region.id` and a `region.name` of its own",
        region.0
    )]
    RegionNumberTaken {
        /// The number.
        region: RegionId,
        /// Who has it.
        name: String,
    },
    /// Another region has the name.
    #[error("another region is called {0} already; found the new region under another `region.name`")]
    RegionNameTaken(String),
    /// Not a name.
    #[error("{0:?} is no region name: 1 to 32 lower case letters, digits or `-`")]
    BadRegionName(String),
    /// Successors in order of preference are other regions, each once.
    #[error("the heirs of a region are other regions of the world, each named once")]
    BadHeirs,
    /// Leases that are too short to be renewed, or too long to be waited for.
    #[error("leases last {LEASE_MS_MIN} to {LEASE_MS_MAX} ms, not {0} ms")]
    BadLease(u64),
    /// Somebody else changed it meanwhile.
    #[error("it was changed meanwhile and has version {now} now; read it and try again")]
    Changed {
        /// The version that it has.
        now: u64,
    },
    /// No such namespace.
    #[error("no namespace {0}; `sojourn namespace list` shows them")]
    UnknownNamespace(String),
    /// There is one of that name.
    #[error("the namespace {0} exists; change it with `sojourn namespace set`")]
    NamespaceExists(String),
    /// Not a name.
    #[error("{0:?} is no namespace name: 1 to 64 letters, digits, `_` or `-`")]
    BadNamespaceName(String),
    /// Sessions know their namespace by its number.
    #[error("the namespace number {} was given out in this world before", .0.0)]
    NamespaceNumberUsed(NamespaceId),
    /// Two namespaces cannot answer to one number.
    #[error("the namespace {owner} already has database {database}")]
    DatabaseTaken {
        /// The number for `SELECT`.
        database: u32,
        /// Who has it.
        owner: String,
    },
    /// The default namespace stays.
    #[error("the default namespace cannot be dropped")]
    DefaultNamespace,
    /// Writes that wait for more regions than may hold them would never be acknowledged.
    #[error("writes would wait for {more} more regions, but {others} others may hold them; name more in `residency`")]
    AckBeyondResidency {
        /// For how many.
        more: u16,
        /// How many there could be.
        others: u64,
    },
    /// Who asks does not act for the home, or under another epoch.
    #[error("region {} is written under epoch {epoch}, and not by who asked", home.0)]
    NotActing {
        /// Whose sessions.
        home: RegionId,
        /// The epoch.
        epoch: u32,
    },
    /// The step does not fit the phase that the home is in.
    #[error("region {} is in another phase; `sojourn region status` shows it", .0.0)]
    Phase(RegionId),
    /// Not without a person.
    #[error(
        "region {} cannot be failed over without a person: that needs `failover = \"automatic\"`, three regions, its own \
         consent to leases and more than half of the regions. `sojourn region failover {} --force` decides it", .0.0, .0.0
    )]
    NotAutomatic(RegionId),
    /// Leases that were granted may still run, or somebody writes without one and was not given up.
    #[error(
        "region {} may still be writing: its lease is not over, or it needs none. Wait, or, if it is certainly down, \
         `sojourn region failover {} --force`", .0.0, .0.0
    )]
    MayStillWrite(RegionId),
    /// Who is named did not answer, is away itself, or has writes that nobody has looked at.
    #[error("region {} cannot act for another now: it has not answered, or is being recovered itself", .0.0)]
    NotAble(RegionId),
    /// Fewer than half of the regions answered.
    #[error("only {answered} of {regions} regions answered; more than half must")]
    NoQuorum {
        /// How many did.
        answered: u64,
        /// How many there are.
        regions: u64,
    },
    /// What the region wrote after the cut was not looked at.
    #[error("region {} is not reconciled yet; `sojourn region status` shows how far it is", .0.0)]
    NotReconciled(RegionId),
    /// After four billion changes of hands.
    #[error("no epoch is left to draw")]
    EpochsExhausted,
}
