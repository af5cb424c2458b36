//! The world's state on its way through a failover, and every command that led there.

use super::*;
use sojourn_core::{
    ShardId, Slot,
    control::{
        Cause, ControlCommand, ControlOutcome, ControlRefusal, ControlState, FailoverMode, Reach, Residency, Step,
        Successors, WorldPolicy,
    },
    orphans::Tally,
    policy::Namespace,
    routing::Coordinates,
};
use std::collections::BTreeSet;

fn founding() -> Vec<ControlCommand> {
    let join = |number: u16, name: &str| ControlCommand::Join {
        region: RegionId(number),
        mark: u128::from(number) + 1,
        name: name.into(),
        entrances: BTreeSet::from([format!("{name}-0:7500")]),
        place: Coordinates::new(-33_869, 151_209),
        voter: Some(NodeId(1)),
    };
    let policy = WorldPolicy {
        policy: Policy { ack_regions: 1, ..Policy::default() },
        residency: Residency::Only([0, 1].map(RegionId).into()),
    };
    let brought = Namespace { id: NamespaceId(7), name: "blog".into(), policy: Policy::default() };
    let mut commands = vec![ControlCommand::Found { world: u128::MAX }, join(0, "na"), join(1, "eu"), join(2, "apac")];
    commands.extend([
        ControlCommand::Amend {
            region: RegionId(0),
            entrances: BTreeSet::new(),
            place: None,
            heirs: vec![RegionId(2), RegionId(1)],
            voter: None,
        },
        ControlCommand::SetFailover { mode: FailoverMode::Automatic, lease_ms: 10_000 },
        ControlCommand::Adopt { region: RegionId(0), mode_version: 1 },
        ControlCommand::SetRouting {
            over: 0,
            countries: BTreeMap::from([("DE".into(), RegionId(1))]),
            fallback: Some(RegionId(0)),
        },
        ControlCommand::CreateNamespace { name: "shop".into(), policy: Box::new(policy) },
        ControlCommand::SetNamespace { name: "shop".into(), over: Some(1), policy: Box::default() },
        ControlCommand::BringNamespace { namespace: Box::new(brought) },
        ControlCommand::CreateNamespace { name: "gone".into(), policy: Box::default() },
        ControlCommand::DropNamespace { name: "gone".into() },
        ControlCommand::Drain { region: RegionId(2), draining: true },
    ]);
    commands
}

/// All that happens to `na` until it serves again.
fn failover(epoch: u32) -> Vec<ControlCommand> {
    let step = |step| ControlCommand::Handover { home: RegionId(0), epoch, step };
    let report = |region, index| {
        let reach = Reach { stamp: 1_000 + index, index, head: index };
        Step::Report { region: RegionId(region), report: BTreeMap::from([((RegionId(0), ShardId(3)), reach)]) }
    };
    let halves = [(8_000, 1), (16_383, 2)].map(|(slot, region)| (Slot::new(slot).expect("a slot"), RegionId(region)));
    let successors = Successors::from_ranges(halves).expect("all slots");
    let mut commands = vec![
        ControlCommand::Fence { region: RegionId(0), cause: Cause::Lost, at: 5_000 },
        step(Step::Waited { quiet_ms: 60_000 }),
        step(report(1, 7)),
        step(report(2, 9)),
        step(Step::Name { successors }),
        step(Step::Ready { region: RegionId(1) }),
        step(Step::Ready { region: RegionId(2) }),
        step(Step::GoOn),
        step(Step::Return),
        step(Step::Settled { by: RegionId(0), orphans: Tally { journaled: 1, ..Tally::default() } }),
        step(Step::Reconciled),
        ControlCommand::Failback { region: RegionId(0), at: 9_000 },
    ];
    let back = |step| ControlCommand::Handover { home: RegionId(0), epoch: epoch + 1, step };
    commands.extend([1, 2, 0].map(|region| back(report(region, 11))));
    commands.push(back(Step::Name { successors: Successors::one(RegionId(0)) }));
    commands.push(back(Step::Ready { region: RegionId(0) }));
    commands
}

#[test]
fn the_world_survives_at_every_step_of_a_failover_and_cuts_are_noticed() {
    let mut state = ControlState::default();
    let found: Vec<ControlCommand> = founding();
    let mut outcomes = Vec::new();
    for command in found {
        holds(&command);
        outcomes.push(state.apply(command));
    }
    for command in failover(state.last_epoch + 1) {
        holds(&command);
        let outcome = state.apply(command.clone());
        assert_eq!(outcome, ControlOutcome::Done, "{command:?}");
        holds(&state);
    }
    assert!(state.regions[&RegionId(0)].orphans.is_some(), "it came all the way round");
    outcomes.iter().for_each(holds);
    for refusal in [
        ControlRefusal::World(7),
        ControlRefusal::RegionNumberTaken { region: RegionId(1), name: "eu".into() },
        ControlRefusal::NoQuorum { answered: 1, regions: 3 },
        ControlRefusal::NotActing { home: RegionId(1), epoch: 9 },
        ControlRefusal::AckBeyondResidency { more: 2, others: 1 },
        ControlRefusal::NamespaceNumberUsed(NamespaceId(7)),
    ] {
        holds(&ControlOutcome::Refused(refusal));
    }
    holds(&ControlCommand::DropNamespace { name: "shop".into() });
    holds(&Step::Absorbed { from: RegionId(3) });
}

#[test]
fn the_format_of_control_is_pinned() {
    let fence = ControlCommand::Fence { region: RegionId(2), cause: Cause::Operator { force: true }, at: 300 };
    assert_eq!(encode(&fence), [10, 2, 1, 1, 172, 2]);
    let step = |step| encode(&ControlCommand::Handover { home: RegionId(1), epoch: 9, step });
    let reach = Reach { stamp: 5, index: 6, head: 7 };
    let report = BTreeMap::from([((RegionId(1), ShardId(2)), reach)]);
    assert_eq!(step(Step::Report { region: RegionId(3), report }), [12, 1, 9, 1, 3, 1, 1, 2, 5, 6, 7]);
    let successors = Successors::one(RegionId(4));
    assert_eq!(step(Step::Name { successors }), [12, 1, 9, 2, 1, 255, 127, 4]);
    assert_eq!(step(Step::Return), [12, 1, 9, 6]);
    let orphans = Tally { already_applied: 1, merged: 2, fast_forwarded: 3, journaled: 4 };
    assert_eq!(step(Step::Settled { by: RegionId(5), orphans }), [12, 1, 9, 7, 5, 1, 2, 3, 4]);
    assert_eq!(step(Step::Reconciled), [12, 1, 9, 8]);
    let mode = ControlCommand::SetFailover { mode: FailoverMode::Automatic, lease_ms: 10_000 };
    assert_eq!(encode(&mode), [4, 0, 144, 78]);
    assert_eq!(encode(&Coordinates::new(-1, 90)), [1, 1, 180, 1]);
    assert_eq!(
        decode_all::<Coordinates>(&[1, 192, 164, 22]),
        Err(WireError::Invalid("a place")),
        "181.408 degrees east"
    );
    assert_eq!(decode_all::<Successors>(&[1, 5, 4]), Err(WireError::Invalid("a region for every slot")));
}

proptest! {
    #[test]
    fn noise_is_no_world(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _outcome = decode_all::<ControlState>(&noise);
        let _outcome = decode_all::<Vec<ControlCommand>>(&noise);
        let _outcome = decode_all::<ControlOutcome>(&noise);
    }
}
