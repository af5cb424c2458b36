//! Changes of hands: who acted for which home and when, by what the control group logged, replayed as its rules have it.

use super::Regions;
use sojourn_core::{
    RegionId, ShardId, Slot, Stamp,
    control::{Cause, ControlCommand, ControlOutcome, ControlState, EPOCH_ALONE, Gap, Phase, Region, Step},
    orphans::Tally,
};
use sojourn_node::region::counsel::CONTROL_GROUP;
use sojourn_proto::wire::decode_all;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Somebody else acts for a home, or its region does again.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Whose sessions.
    pub home: RegionId,
    /// The epoch from then on.
    pub epoch: u32,
    /// Who acts.
    pub acting: BTreeSet<RegionId>,
    /// Who acted before.
    pub former: BTreeSet<RegionId>,
    /// Who had said how far it was.
    pub answered: BTreeSet<RegionId>,
    /// What may be missing of each shard that wrote for the home since it last served, as it is reported.
    pub cut: BTreeMap<(RegionId, ShardId), Gap>,
}

/// A region has settled what it wrote for a home.
#[derive(Clone, Debug)]
pub struct Reconciled {
    /// Which.
    pub by: RegionId,
    /// Whose sessions.
    pub home: RegionId,
    /// The epoch under which others acted for them then.
    pub epoch: u32,
    /// What became of it, as it is reported.
    pub orphans: Tally,
    /// The cut that it went by.
    pub cut: BTreeMap<(RegionId, ShardId), Gap>,
}

/// All of it.
#[derive(Default)]
pub struct Hands {
    /// The world in the end.
    pub world: ControlState,
    /// In order.
    pub openings: Vec<Opening>,
    /// In order.
    pub reconciled: Vec<Reconciled>,
    /// How often each fence was agreed on.
    pub fences: BTreeMap<&'static str, u64>,
    /// By home and epoch.
    reigns: BTreeMap<(RegionId, u32), Region>,
}

impl Hands {
    /// Who may order sessions of a home under an epoch; nobody, if no such epoch was given to anybody.
    pub fn acting(&self, home: RegionId, slot: Slot, epoch: u32) -> Option<RegionId> {
        if epoch == EPOCH_ALONE {
            return Some(home);
        }
        self.reigns.get(&(home, epoch))?.acting(slot)
    }

    /// The first change of hands of a home after somebody acted under `epoch`.
    pub fn next_opening(&self, home: RegionId, epoch: u32) -> Option<&Opening> {
        self.openings.iter().find(|opening| opening.home == home && opening.epoch > epoch)
    }

    /// The last epoch before `epoch` under which a region acted for a home.
    pub fn last_acted(&self, by: RegionId, home: RegionId, epoch: u32) -> Option<u32> {
        let reigns = self.reigns.range((home, 0)..(home, epoch)).rev();
        reigns
            .map(|((_, epoch), region)| (*epoch, region))
            .find(|(_, region)| region.holders().contains(&by))
            .map(|(epoch, _)| epoch)
    }

    /// Whether a home was ever acted for by others.
    pub fn has_changed(&self, home: RegionId) -> bool {
        self.openings.iter().any(|opening| opening.home == home)
    }

    /// Whether what a shard ordered with this stamp may be missing where others began to act after it.
    pub fn is_cut(&self, by: &By) -> bool {
        self.next_opening(by.home, by.epoch).is_some_and(|opening| {
            let gap = opening.cut.get(&(by.region, by.shard));
            !opening.answered.contains(&by.region) && gap.is_none_or(|gap| by.is_beyond(gap))
        })
    }

    fn take(&mut self, command: ControlCommand) {
        let before = self.world.clone();
        let fence = match &command {
            ControlCommand::Fence { cause, .. } => Some(name(*cause)),
            _ => None,
        };
        let settled = match &command {
            ControlCommand::Handover { home, epoch, step: Step::Settled { by, orphans } } => {
                // Said again by the next who coordinates, it changes nothing.
                let is_first = |region: &Region| *by != *home || region.orphans.is_none();
                before.regions.get(home).is_some_and(is_first).then_some((*by, *home, *epoch, *orphans))
            }
            _ => None,
        };
        if matches!(self.world.apply(command), ControlOutcome::Refused(_)) {
            return;
        }
        if let Some(cause) = fence {
            *self.fences.entry(cause).or_default() += 1;
        }
        if let (Some((by, home, epoch, orphans)), Some(region)) =
            (settled, settled.and_then(|(_, home, ..)| before.regions.get(&home)))
        {
            self.reconciled.push(Reconciled { by, home, epoch, orphans, cut: region.cut.clone() });
        }
        for (home, now) in &self.world.regions {
            if now.handover().is_some() {
                continue;
            }
            let was = before.regions.get(home);
            if let Some(Phase::CatchingUp { handover, .. }) = was.map(|was| &was.phase) {
                let mut cut = was.map(|was| was.cut.clone()).unwrap_or_default();
                cut.extend(handover.gaps());
                self.openings.push(Opening {
                    home: *home,
                    epoch: now.epoch,
                    acting: now.holders(),
                    former: handover.holders.clone(),
                    answered: handover.reports.keys().copied().collect(),
                    cut,
                });
            }
            self.reigns.entry((*home, now.epoch)).or_insert_with(|| now.clone());
        }
    }
}

/// Who ordered something, and when by its log.
#[derive(Clone, Debug)]
pub struct By {
    /// The region.
    pub region: RegionId,
    /// Its shard.
    pub shard: ShardId,
    /// The home that it acted for.
    pub home: RegionId,
    /// The epoch that it acted under.
    pub epoch: u32,
    /// The stamp of the entry.
    pub stamp: Stamp,
    /// Its place in the shard's log: several entries may have one stamp.
    pub index: u64,
    /// When a replica applied it first, in virtual time.
    pub at: Duration,
}

impl By {
    /// Whether it may be missing where this is.
    pub fn is_beyond(&self, gap: &Gap) -> bool {
        (self.stamp, self.index) > (gap.stamp, gap.index)
    }
}

/// Replays what the control group logged, in whatever region it was applied.
///
/// # Errors
/// A hole in its log, two regions that applied different entries, or one that cannot be read.
pub fn replay(regions: &Regions) -> Result<Hands, String> {
    let mut hands = Hands::default();
    commands(regions)?.into_iter().for_each(|(_, command)| hands.take(command));
    Ok(hands)
}

/// What the control group logged, and when the first node applied it.
///
/// # Errors
/// See [`replay`].
pub fn commands(regions: &Regions) -> Result<Vec<(Duration, ControlCommand)>, String> {
    let mut entries = BTreeMap::new();
    for world in &regions.all {
        world.ledger.with(|book| {
            for (index, seen) in book.entries.get(&CONTROL_GROUP).into_iter().flatten() {
                let (payload, at) = entries.entry(*index).or_insert_with(|| (seen.payload.clone(), seen.at));
                if *payload != seen.payload {
                    return Err(format!("{} applied another entry {index} of the control group", world.seat.name));
                }
                *at = seen.at.min(*at);
            }
            Ok(())
        })?;
    }
    let mut commands = Vec::new();
    for (expected, (index, (payload, at))) in (0..).zip(entries) {
        if expected != index {
            return Err(format!("nobody applied entry {expected} of the control group, but {index} was applied"));
        }
        let Some(payload) = payload else { continue };
        let command = payload.get(VERSION_BYTES..).map(decode_all);
        commands.push((at, command.ok_or("an empty entry")?.map_err(|error| error.to_string())?));
    }
    Ok(commands)
}

/// What an entry of the control group begins with.
const VERSION_BYTES: usize = 1;

/// A cause as coverage has it.
fn name(cause: Cause) -> &'static str {
    match cause {
        Cause::Lost => "fences of lost regions",
        Cause::Operator { force: false } => "fences by a person",
        Cause::Operator { force: true } => "fences by a person who gives up a region",
        Cause::Failback => "failbacks",
    }
}
