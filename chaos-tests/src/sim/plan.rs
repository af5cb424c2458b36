//! What one run is made of: a seed and the few things that are not drawn from it.

use super::faults::Fault;
use sojourn_node::env::Plants;
use std::{fmt, time::Duration};

/// Who has others act for a region that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Losses {
    /// Nobody, and none is away for long.
    Unmet,
    /// The regions by themselves, under leases.
    Automatic,
    /// Somebody who says so, whether the region is down or not.
    Person,
}

/// One run of the simulation. The same plan gives the same trace.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything else is drawn from it.
    pub seed: u64,
    /// Nodes of the region, where it is alone.
    pub nodes: u64,
    /// Regions of the world.
    pub regions: u16,
    /// How long faults go on, in virtual time.
    pub faults: Duration,
    /// Whether whole regions are lost for so long that others act for them, in some of the runs.
    pub losses: bool,
    /// The planted bug, by name.
    pub plant: Option<&'static str>,
    /// The bug whose circumstances are looked for, by name, whether it is planted or not.
    pub stress: Option<&'static str>,
    /// Whether every event is printed.
    pub print: bool,
}

impl Plan {
    /// The bugs that are planted.
    pub fn plants(&self) -> Plants {
        self.plant.and_then(plant).unwrap_or_default()
    }

    /// Whether an operator changes who is in the region while all goes on.
    pub fn operated(&self) -> bool {
        self.regions == 1 && (self.seed.is_multiple_of(3) || self.moves_slots())
    }

    /// Whether the operator does nothing but move slots.
    pub fn moves_slots(&self) -> bool {
        self.stress == Some("both-owners-after-adopt")
    }

    /// Whether regions are apart for so long that they take each other for lost.
    pub fn is_long(&self) -> bool {
        self.regions > 1 && self.seed.is_multiple_of(40)
    }

    /// Whether sessions get other homes while all goes on.
    pub fn travels(&self) -> bool {
        let preferred = self.stress == Some("epoch-lowered-by-travel");
        self.regions > 1 && (preferred || (!self.seed.is_multiple_of(2) && self.stress.is_none()))
    }

    /// Whether slots go from shard to shard in all regions while all goes on.
    pub fn shifts_slots(&self) -> bool {
        let sometimes = self.stress.is_none() && self.seed % 4 < 2;
        self.regions > 1 && (self.shifts_often() || sometimes)
    }

    /// Whether they do so all the time.
    pub fn shifts_often(&self) -> bool {
        self.stress == Some("turned-slots-stand")
    }

    /// Whether all writes wait for another region.
    pub fn waits_for_others(&self) -> bool {
        let preferred = self.stress == Some("geo-opens-without-quorum");
        self.losses() == Losses::Automatic && (preferred || (self.seed.is_multiple_of(2) && self.stress.is_none()))
    }

    /// Whether whole regions are lost for so long that others act for them, and who sees to it.
    pub fn losses(&self) -> Losses {
        match self.stress {
            _ if self.regions < 2 || self.is_long() => Losses::Unmet,
            Some(bug) if LOSS_PLANTS.contains(&bug) => Losses::Automatic,
            Some(_) => Losses::Unmet,
            None if !self.losses => Losses::Unmet,
            None if self.regions > 2 && self.seed % 3 == 1 => Losses::Automatic,
            None if self.seed % 6 == 5 => Losses::Person,
            None => Losses::Unmet,
        }
    }

    /// Whether a region is lost while the world is being founded, and clients do not wait until it is.
    pub fn loses_early(&self) -> bool {
        // That writes wait for others is agreed on by a world that was founded.
        let may_begin = self.losses() == Losses::Automatic && !self.waits_for_others();
        may_begin && self.stress.is_none() && self.seed % 4 == 3
    }

    /// Whether two regions are lost at once.
    pub fn loses_two(&self) -> bool {
        self.stress == Some("geo-opens-without-quorum")
    }

    /// Whether many a login is slow: the user is revoked before its session is there.
    pub fn logs_in_slowly(&self) -> bool {
        self.stress == Some("revokes-by-wall-clock")
    }

    /// The faults that are preferred.
    pub fn preferred(&self) -> &'static [Fault] {
        use Fault::{Blackout, ClockJump, Crash, Depose, FailedSync, Kill, PowerCut, SlowDisk, Transfer};
        match self.stress {
            Some("acknowledge-before-sync") => &[Blackout],
            Some("keep-torn-tail") => &[SlowDisk, Crash, PowerCut, PowerCut],
            Some("go-on-after-failed-sync") => &[FailedSync, FailedSync, Crash, PowerCut],
            Some("applied-apart-from-data" | "purge-ahead-of-engine") => &[SlowDisk, SlowDisk, Crash, Kill],
            Some("expiry-by-local-clock") => &[ClockJump, Crash],
            Some("read-without-read-index") => &[Depose],
            Some("both-owners-after-adopt") => &[Kill, Depose, Transfer],
            Some("forget-requests-at-snapshot" | "feed-denies-gaps") => &[Kill, Crash, PowerCut, Transfer],
            _ => &[],
        }
    }
}

impl fmt::Display for Plan {
    /// The command that repeats the run.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, nodes, regions, faults, losses, plant, stress, print: _ } = self;
        write!(f, "cargo run -p sojourn-chaos-tests -- sim --seed {seed} ")?;
        match regions {
            1 => write!(f, "--nodes {nodes}")?,
            _ => write!(f, "--regions {regions}")?,
        }
        write!(f, " --seconds {}{}", faults.as_secs(), if *losses { " --losses" } else { "" })?;
        plant.map_or(Ok(()), |plant| write!(f, " --plant {plant}"))?;
        let stress = stress.filter(|_| plant.is_none());
        stress.map_or(Ok(()), |stress| write!(f, " --stress {stress}"))
    }
}

/// Every bug that can be planted in a region, by name.
pub const PLANTS: [&str; 14] = [
    "acknowledge-before-sync",
    "go-on-after-failed-sync",
    "keep-torn-tail",
    "applied-apart-from-data",
    "update-creates",
    "expiry-by-local-clock",
    "read-without-read-index",
    "forget-requests-at-snapshot",
    "purge-ahead-of-engine",
    "touch-past-absolute",
    "rename-keeps-both",
    "rename-is-not-resumed",
    "feed-denies-gaps",
    "both-owners-after-adopt",
];

/// Every bug that can be planted in a world of several regions, by name.
pub const WORLD_PLANTS: [&str; 10] = [
    "cursor-apart-from-data",
    "page-drops-beyond-its-span",
    "turned-slots-stand",
    "tombstones-by-window",
    "raft-index-as-version",
    "miss-without-asking",
    "stale-copies-answer",
    "forwarded-writes-forgotten",
    "epoch-lowered-by-travel",
    "revokes-by-wall-clock",
];

/// Bugs that need regions for which others act.
pub const LOSS_PLANTS: [&str; 5] =
    ["lease-from-receipt", "skips-old-lease", "fences-by-term-alone", "drops-orphans", "geo-opens-without-quorum"];

/// Bugs that can be planted and are not proven to be noticed: they have to be brought out more often.
pub const RARE_PLANTS: [&str; 2] = ["pieces-in-any-order", "answers-when-deposed"];

/// Whether what is to be brought out happens in worlds of five regions only: where three regions have lost one, all others have
/// answered.
pub fn needs_five(stress: Option<&str>) -> bool {
    stress == Some("geo-opens-without-quorum")
}

/// The switch for the bug called `name`.
pub fn plant(name: &str) -> Option<Plants> {
    let mut plants = Plants::default();
    let switch = match name {
        "acknowledge-before-sync" => &mut plants.acknowledge_before_sync,
        "go-on-after-failed-sync" => &mut plants.go_on_after_failed_sync,
        "keep-torn-tail" => &mut plants.keep_torn_tail,
        "applied-apart-from-data" => &mut plants.applied_apart_from_data,
        "update-creates" => &mut plants.update_creates,
        "expiry-by-local-clock" => &mut plants.expiry_by_local_clock,
        "read-without-read-index" => &mut plants.read_without_read_index,
        "forget-requests-at-snapshot" => &mut plants.forget_requests_at_snapshot,
        "purge-ahead-of-engine" => &mut plants.purge_ahead_of_engine,
        "touch-past-absolute" => &mut plants.touch_past_absolute,
        "rename-keeps-both" => &mut plants.rename_keeps_both,
        "rename-is-not-resumed" => &mut plants.rename_is_not_resumed,
        "feed-denies-gaps" => &mut plants.feed_denies_gaps,
        "both-owners-after-adopt" => &mut plants.both_owners_after_adopt,
        "cursor-apart-from-data" => &mut plants.cursor_apart_from_data,
        "pieces-in-any-order" => &mut plants.pieces_in_any_order,
        "page-drops-beyond-its-span" => &mut plants.page_drops_beyond_its_span,
        "turned-slots-stand" => &mut plants.turned_slots_stand,
        "tombstones-by-window" => &mut plants.tombstones_by_window,
        "raft-index-as-version" => &mut plants.raft_index_as_version,
        "miss-without-asking" => &mut plants.miss_without_asking,
        "stale-copies-answer" => &mut plants.stale_copies_answer,
        "forwarded-writes-forgotten" => &mut plants.forwarded_writes_forgotten,
        "answers-when-deposed" => &mut plants.answers_when_deposed,
        "lease-from-receipt" => &mut plants.lease_from_receipt,
        "skips-old-lease" => &mut plants.skips_old_lease,
        "fences-by-term-alone" => &mut plants.fences_by_term_alone,
        "drops-orphans" => &mut plants.drops_orphans,
        "geo-opens-without-quorum" => &mut plants.geo_opens_without_quorum,
        "epoch-lowered-by-travel" => &mut plants.epoch_lowered_by_travel,
        "revokes-by-wall-clock" => &mut plants.revokes_by_wall_clock,
        _ => return None,
    };
    *switch = true;
    Some(plants)
}
