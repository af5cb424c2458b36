//! Who acts for whom, as shards log it and snapshots say it.

use super::{command, holds, key};
use crate::wire::encode;
use sojourn_core::{
    Body, Fields, Incarnation, Kind, Life, Op, Outcome, Record, Refusal, RegionId, ShardId, SlotSet, State, Used,
    Version,
    feed::{FeedCursor, FeedId},
    orphans::{Orphaned, Tally},
    state::{Believed, Lacking, Meta},
    stream::{Absorbed, Copying, Piece, Progress, Source, Span},
    tombstones::{Return, Swept},
};
use std::collections::BTreeSet;

const HOME: RegionId = RegionId(3);
const SOURCE: Source = Source { region: RegionId(1), shard: ShardId(2) };

fn record() -> Record {
    Record {
        incarnation: Incarnation { stamp: 5, region: HOME },
        version: Version { epoch: 7, home_epoch: 1, sequence: 300 },
        home: HOME,
        kind: Kind::String,
        life: Life::Live,
        written: 9,
        idle_timeout_ms: 60_000,
        idle_deadline: 70_000,
        absolute_deadline: u64::MAX,
        owner: None,
        body: Body::Hot(Fields::value(Box::from(*b"v"))),
        used: Used::default(),
    }
}

fn absorb(piece: Piece) -> Op {
    let believed = Believed::from([(HOME, 7)]);
    Op::Absorb { absorbed: Box::new(Absorbed { source: SOURCE, as_of: 9, believed, piece }) }
}

fn rights() -> Vec<Op> {
    let holders = BTreeSet::from([HOME, RegionId(9)]);
    vec![
        Op::Promise { home: HOME, epoch: 300, holders },
        Op::Assume { home: HOME, epoch: 300 },
        Op::CaughtUp { home: HOME, epoch: 300 },
        Op::Adopt { mode_version: 4 },
        Op::Release { to: HOME },
        Op::Swept { known: Swept { epoch: 300, through: 9 } },
        Op::Settle { by: RegionId(5), home: HOME, epoch: 300, how: Return::Copy, orphans: Vec::new() },
    ]
}

#[test]
fn what_shards_log_of_rights_survives() {
    let begin = FeedCursor { feed: FeedId(8), index: 4 };
    let (span, homes) = (Span::all_after(Some(key("a"))), Believed::from([(HOME, 7), (RegionId(1), 2)]));
    let records = || vec![(key("s"), record())];
    let page =
        Piece::Page { asked: 300, begin, span, homes, replaces: true, records: records(), elsewhere: vec![key("t")] };
    rights().into_iter().for_each(|op| holds(&command(op)));
    holds(&command(absorb(page)));
    holds(&command(absorb(Piece::Bounded { slots: SlotSet::of_slots([key("t").slot()]) })));
    holds(&command(absorb(Piece::Held { asked: 300, home: HOME, epoch: 7, records: records() })));
    holds(&Outcome::Refused(Refusal::Fenced { home: HOME, epoch: 7 }));
    let orphans = vec![Orphaned { key: key("s"), mine: record(), base: Some(record()) }];
    holds(&command(Op::Settle { by: RegionId(5), home: HOME, epoch: 7, how: Return::Merge, orphans }));
    holds(&Outcome::Settled(Tally { already_applied: 1, merged: 2, fast_forwarded: 3, journaled: 300 }));
}

#[test]
fn a_snapshot_says_who_acts() {
    let mut meta = State::new(HOME, 7).meta();
    holds(&meta);
    meta.adopted = Some(4);
    (meta.swept, meta.swept_at) = (Swept { epoch: 7, through: 9 }, 11);
    let slots = SlotSet::of_slots([key("a").slot()]);
    let copying = Some(Copying { begin: FeedCursor::default(), after: Some(key("a")), held: 8, slots: slots.clone() });
    meta.followed.insert(SOURCE, Progress { cursor: None, slots: slots.clone(), as_of: 9, held: 7, copying });
    meta.unfollowed.insert(HOME, Lacking { slots, held: 300 });
    for (former, missing_since) in [(None, Some(5)), (Some(BTreeSet::from([HOME])), None)] {
        let right = meta.rights.entry(RegionId(1)).or_default();
        (right.epoch, right.former, right.missing_since) = (9, former, missing_since);
        holds(&meta);
    }
    holds(&Meta::default());
}

#[test]
fn tags_of_rights_are_pinned() {
    let encoded: Vec<Vec<u8>> = rights().iter().map(encode).collect();
    let expected: [&[u8]; 7] = [
        &[39, 3, 172, 2, 2, 3, 9],
        &[40, 3, 172, 2],
        &[41, 3, 172, 2],
        &[42, 4],
        &[44, 3],
        &[45, 172, 2, 9],
        &[43, 5, 3, 172, 2, 1, 0],
    ];
    assert_eq!(encoded, expected);
    assert_eq!(encode(&Refusal::Fenced { home: HOME, epoch: 7 }), [18, 3, 7]);
}
