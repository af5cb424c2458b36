//! What the world agrees on.

use super::{Reader, Wire, WireError};
use crate::{wire_enum, wire_struct};
use sojourn_core::{
    RegionId, Slot,
    control::{
        Acting, Cause, ControlCommand, ControlOutcome, ControlRefusal, ControlState, FailoverMode, FailoverPolicy, Gap,
        Grant, Handover, Phase, Reach, Region, Residency, Routing, Step, Successors, WorldNamespace, WorldPolicy,
    },
    orphans::Tally,
};

impl Wire for Successors {
    /// The last slot of each range and its region.
    fn put(&self, out: &mut Vec<u8>) {
        self.ranges().put(out);
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let ranges: Vec<(Slot, RegionId)> = Wire::take(input)?;
        Self::from_ranges(ranges).ok_or(WireError::Invalid("a region for every slot"))
    }
}

wire_struct!(Tally { already_applied, merged, fast_forwarded, journaled });
wire_struct!(Reach { stamp, index, head });
wire_struct!(Gap { at, index, stamp, entries, ms });
wire_enum!(Cause { 0 => Lost, 1 => Operator { force }, 2 => Failback });
wire_struct!(Handover { cause, since, holders, released, given_up, reports });
wire_enum!(Phase {
    0 => Serving,
    1 => Fenced[handover],
    2 => Gathering[handover],
    3 => CatchingUp { handover, successors, ready },
    4 => Open[successors],
    5 => Returning[successors],
});
wire_struct!(Region {
    id,
    name,
    mark,
    entrances,
    place,
    heirs,
    voter,
    draining,
    adopted,
    epoch,
    lease_ms_max,
    phase,
    away,
    diverged,
    unheard,
    cut,
    orphans,
    strays
});
wire_enum!(FailoverMode { 0 => Automatic, 1 => Operator });
wire_struct!(FailoverPolicy { mode, mode_version, lease_ms });
wire_struct!(Routing { version, countries, fallback });
wire_enum!(Residency { 0 => Anywhere, 1 => Only[regions] });
wire_struct!(WorldPolicy { policy, residency });
wire_struct!(WorldNamespace { id, name, policy, version });
wire_struct!(ControlState {
    world,
    version,
    regions,
    last_epoch,
    last_change_of_hands,
    failover,
    namespaces,
    next_namespace,
    dropped_namespaces,
    routing
});
wire_struct!(Acting { region, epoch });
wire_enum!(Grant { 0 => Lease { ms }, 1 => NoneNeeded });

wire_enum!(ControlCommand {
    0 => Found { world },
    1 => Join { region, mark, name, entrances, place, voter },
    2 => Amend { region, entrances, place, heirs, voter },
    3 => Drain { region, draining },
    4 => SetFailover { mode, lease_ms },
    5 => Adopt { region, mode_version },
    6 => SetRouting { over, countries, fallback },
    7 => CreateNamespace { name, policy },
    8 => SetNamespace { name, over, policy },
    9 => DropNamespace { name },
    10 => Fence { region, cause, at },
    11 => Failback { region, at },
    12 => Handover { home, epoch, step },
    13 => BringNamespace { namespace },
});

wire_enum!(Step {
    0 => Waited { quiet_ms },
    1 => Report { region, report },
    2 => Name { successors },
    3 => Ready { region },
    4 => Absorbed { from },
    5 => GoOn,
    6 => Return,
    7 => Settled { by, orphans },
    8 => Reconciled,
});

wire_enum!(ControlOutcome { 0 => Done, 1 => Region[region], 2 => Namespace[namespace], 3 => Refused[refusal] });

wire_enum!(ControlRefusal {
    0 => World[world],
    1 => UnknownRegion[region],
    2 => RegionNameTaken[name],
    3 => BadRegionName[name],
    4 => BadHeirs,
    5 => BadLease[lease_ms],
    6 => Changed { now },
    7 => UnknownNamespace[name],
    8 => NamespaceExists[name],
    9 => BadNamespaceName[name],
    10 => DatabaseTaken { database, owner },
    11 => DefaultNamespace,
    12 => AckBeyondResidency { more, others },
    13 => NotActing { home, epoch },
    14 => Phase[home],
    15 => NotAutomatic[region],
    16 => MayStillWrite[home],
    17 => NotAble[region],
    18 => NoQuorum { answered, regions },
    19 => NotReconciled[home],
    20 => EpochsExhausted,
    21 => RegionNumberTaken { region, name },
    22 => NamespaceNumberUsed[namespace],
});
