//! The commands, one file a family, and the table that they make together.

mod across;
mod cluster;
mod connection;
mod describe;
mod dump;
mod expire;
mod hashes;
mod info;
mod keys;
mod lua;
mod numbers;
mod pubsub;
mod replication;
mod scan;
mod script;
mod server;
mod sets;
mod sorted;
mod sorted_ranges;
mod strings;
mod transactions;
mod watching;

pub use script::Loaded;

use super::{
    call::Call,
    error,
    plan::Planned,
    table::{Spec, command},
};
use std::{collections::HashMap, sync::LazyLock};

static FAMILIES: [&[Spec]; 19] = [
    connection::COMMANDS,
    strings::COMMANDS,
    keys::COMMANDS,
    expire::COMMANDS,
    scan::COMMANDS,
    hashes::COMMANDS,
    sets::COMMANDS,
    sorted::COMMANDS,
    sorted_ranges::COMMANDS,
    transactions::COMMANDS,
    pubsub::COMMANDS,
    script::COMMANDS,
    cluster::COMMANDS,
    dump::COMMANDS,
    server::COMMANDS,
    describe::COMMANDS,
    info::COMMANDS,
    watching::COMMANDS,
    replication::COMMANDS,
];

/// The longest name of a command.
const NAME_BYTES_MAX: usize = 24;

struct Table {
    /// By position: a command is followed by its subcommands.
    all: Vec<&'static Spec>,
    by_name: HashMap<&'static [u8], usize>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut all: Vec<&'static Spec> = Vec::new();
    let mut by_name = HashMap::new();
    for spec in FAMILIES.iter().copied().flatten() {
        by_name.insert(spec.name.as_bytes(), all.len());
        all.push(spec);
        all.extend(spec.subcommands);
    }
    Table { all, by_name }
});

/// The command of this name in any case, and its index.
pub fn find(name: &[u8]) -> Option<(usize, &'static Spec)> {
    let mut buffer = [0; NAME_BYTES_MAX];
    let lower = buffer.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let index = *TABLE.by_name.get(&*lower)?;
    Some((index, TABLE.all[index]))
}

/// The subcommand of this name in any case, and its place among the subcommands.
pub fn find_subcommand(spec: &'static Spec, name: &[u8]) -> Option<(usize, &'static Spec)> {
    let same = |subcommand: &&Spec| {
        let (_, word) = subcommand.name.split_once('|').unwrap_or_default();
        word.as_bytes().eq_ignore_ascii_case(name)
    };
    spec.subcommands.iter().enumerate().find(|(_, subcommand)| same(subcommand))
}

/// All commands, without subcommands.
pub fn all() -> impl Iterator<Item = &'static Spec> {
    FAMILIES.iter().copied().flatten()
}

/// How many commands and subcommands there are.
pub fn count() -> usize {
    TABLE.all.len()
}

/// The names of commands and subcommands by index.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.all.iter().map(|spec| spec.name)
}

/// The name of the command or subcommand with this index.
pub fn name(index: usize) -> Option<&'static str> {
    TABLE.all.get(index).map(|spec| spec.name)
}

/// Stands for a command that there is not.
pub fn unknown() -> &'static Spec {
    static UNKNOWN: Spec = command("unknown", -1, refuse_unknown);
    &UNKNOWN
}

fn refuse_unknown(call: &mut Call<'_>) -> Planned {
    Err(error::unknown_command(call.args))
}

/// Whether a command runs between `MULTI` and `EXEC` rather than being queued.
pub fn runs_in_multi(spec: &Spec) -> bool {
    matches!(spec.name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset")
}

/// Whether a RESP2 connection that has subscriptions may send it.
pub fn runs_subscribed(spec: &Spec) -> bool {
    matches!(spec.name, "subscribe" | "unsubscribe" | "psubscribe" | "punsubscribe" | "ping" | "quit" | "reset")
}

/// The answer of a command that needs a subcommand and got none.
fn need_subcommand(call: &mut Call<'_>) -> Planned {
    Err(error::wrong_arity(call.spec.name))
}

/// A help text, as `X HELP` answers it.
fn help(call: &mut Call<'_>, lines: &[&str]) -> Planned {
    let command = call.spec.name.split('|').next().unwrap_or_default().to_ascii_uppercase();
    call.reply.array(lines.len() + 3);
    call.reply.simple(&format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for line in lines {
        call.reply.simple(line);
    }
    call.reply.simple("HELP");
    call.reply.simple("    Print this help.");
    Ok(super::plan::Plan::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_and_described() {
        for spec in all() {
            let (index, found) = find(spec.name.to_ascii_uppercase().as_bytes()).unwrap();
            assert_eq!(found.name, spec.name);
            assert_eq!(name(index), Some(spec.name));
            assert!(!spec.summary.is_empty() && !spec.group.is_empty(), "{} lacks its docs", spec.name);
            assert!(spec.arity != 0, "{} lacks its arity", spec.name);
            for (at, subcommand) in spec.subcommands.iter().enumerate() {
                assert!(subcommand.name.starts_with(&format!("{}|", spec.name)), "{}", subcommand.name);
                assert_eq!(name(index + 1 + at), Some(subcommand.name));
                assert!(!subcommand.summary.is_empty(), "{} lacks its docs", subcommand.name);
            }
        }
        assert_eq!(TABLE.by_name.len(), all().count(), "a name is used twice");
        assert!(find(b"lpush").is_none());
        assert!(find(&[b'x'; NAME_BYTES_MAX + 1]).is_none());
    }
}
