//! What a failing run is read by, where its events are printed: what the world agreed on and when, how each shard stood to the homes,
//! and what became of each session of which a promise was broken, in every shard.

use super::{Regions, hands};
use crate::sim::{
    ledger::{Book, Violation},
    world::World,
};
use sojourn_core::{Command, Op, Record, ShardId, State};
use sojourn_node::{raft::Proposal, shard::decode_entry};
use std::collections::BTreeMap;

/// Prints it to standard error, where events are.
#[allow(clippy::print_stderr)]
pub fn print(regions: &Regions, violations: &[Violation]) {
    if !regions.plan.print {
        return;
    }
    let mut lines = Vec::new();
    for (at, command) in hands::commands(regions).into_iter().flatten() {
        lines.push((at, format!("agreed: {command:?}")));
    }
    let is_told_of = |key: &str| violations.iter().any(|violation| violation.what.contains(key));
    for world in &regions.all {
        for shard in world.shards() {
            world.ledger.with(|book| tell(world, shard, book, &is_told_of, &mut lines));
        }
    }
    lines.sort_by_key(|(at, _)| *at);
    for (at, line) in lines {
        eprintln!("{:>12.6} {line}", at.as_secs_f64());
    }
}

type Lines = Vec<(std::time::Duration, String)>;

/// What a shard logged about homes and about the sessions that are told of.
fn tell(world: &World, shard: ShardId, book: &Book, is_told_of: &impl Fn(&str) -> bool, lines: &mut Lines) {
    let (name, mut state, none) = (&world.seat.name, State::new(world.seat.region, 1), BTreeMap::new());
    for (index, seen) in book.entries.get(&(shard.0 + 1)).unwrap_or(&none) {
        let Some(payload) = &seen.payload else { continue };
        let Ok((stamp, commands)) = decode_entry(&Proposal(payload.clone())) else { return };
        for command in commands {
            let (what, mut effects) = (about(&command), Vec::new());
            let outcome = state.apply(stamp, command, &mut effects);
            let mut say = |what: String| lines.push((seen.at, format!("{name} {shard:?} {index} at {stamp}: {what}")));
            if let Some(what) = what {
                say(format!("{what}: {outcome:?}"));
            }
            for effect in effects {
                let key = format!("{:?}", effect.key);
                if is_told_of(&key) {
                    let told = if effect.told { ", told" } else { "" };
                    say(format!("{key} {:?} {}{told}", effect.event, line(&effect.record)));
                }
            }
        }
    }
}

/// What a command says about homes.
fn about(command: &Command) -> Option<String> {
    match &command.op {
        Op::Settle { by, home, epoch, orphans, .. } => {
            let orphans: Vec<_> = orphans.iter().map(|one| format!("{:?} {}", one.key, line(&one.mine))).collect();
            Some(format!("settles for {} what {} wrote before {epoch}: {}", home.0, by.0, orphans.join(", ")))
        }
        op @ (Op::Promise { .. } | Op::Assume { .. } | Op::CaughtUp { .. }) => Some(format!("{op:?}")),
        _other => None,
    }
}

fn line(record: &Record) -> String {
    let Record { incarnation, version, home, life, written, .. } = record;
    format!("{incarnation:?} {version:?}, home {}, {life:?}, written {written}", home.0)
}
