//! `COMMAND`: the table of commands, for clients that route by it and for `redis-cli`'s help.

use super::{all, find_subcommand};
use crate::gateway::resp::{
    args::Args,
    call::{self, Call},
    error::Error,
    plan::{Plan, Planned},
    reply::Reply,
    table::{
        NO_KEYS, Spec, command,
        flag::{self, *},
    },
};
use sojourn_core::glob;

pub const COMMANDS: &[Spec] = &[command("command", -1, command_all)
    .flags(LOADING | STALE)
    .docs("server", "2.8.13", "", "Describes all commands.")
    .subcommands(SUBCOMMANDS)];

const SUBCOMMANDS: &[Spec] = &[
    command("command|count", 2, count).flags(LOADING | STALE).docs("server", "2.8.13", "", "Counts the commands."),
    command("command|docs", -2, docs).flags(LOADING | STALE).docs(
        "server",
        "7.0.0",
        "[command-name [command-name ...]]",
        "Returns what people read about commands.",
    ),
    command("command|info", -2, info).flags(LOADING | STALE).docs(
        "server",
        "2.8.13",
        "[command-name [command-name ...]]",
        "Describes commands.",
    ),
    command("command|list", -2, list).flags(LOADING | STALE).docs(
        "server",
        "7.0.0",
        "[FILTERBY MODULE module-name|ACLCAT category|PATTERN pattern]",
        "Returns the names of commands.",
    ),
    command("command|getkeys", -3, get_keys).flags(LOADING | STALE).docs(
        "server",
        "2.8.13",
        "command [arg [arg ...]]",
        "Returns the keys of a command.",
    ),
    command("command|help", 2, command_help).flags(LOADING | STALE).docs(
        "server",
        "5.0.0",
        "",
        "Tells the subcommands.",
    ),
];

fn command_all(call: &mut Call<'_>) -> Planned {
    call.reply.array(all().count());
    all().for_each(|spec| tell_info(call.reply, spec));
    Ok(Plan::Done)
}

fn count(call: &mut Call<'_>) -> Planned {
    call.reply.count(all().count() as u64);
    Ok(Plan::Done)
}

/// The command or subcommand (`config|get`) of this name.
fn named(name: &[u8]) -> Option<&'static Spec> {
    let mut words = name.splitn(2, |byte| *byte == b'|');
    let (_, spec) = super::find(words.next()?)?;
    match words.next() {
        Some(word) => find_subcommand(spec, word).map(|(_, spec)| spec),
        None => Some(spec),
    }
}

fn info(call: &mut Call<'_>) -> Planned {
    let names = call.args.from(2);
    if names.is_empty() {
        return command_all(call);
    }
    call.reply.array(names.len());
    for name in names.iter() {
        match named(name) {
            Some(spec) => tell_info(call.reply, spec),
            None => call.reply.null(),
        }
    }
    Ok(Plan::Done)
}

/// One command in the ten parts of Redis 7.
fn tell_info(reply: &mut Reply, spec: &Spec) {
    reply.array(10);
    reply.bulk(spec.name.as_bytes());
    reply.integer(spec.arity.into());
    let flags: Vec<&str> = flag::NAMES.iter().filter(|(flag, _)| spec.has(*flag)).map(|(_, name)| *name).collect();
    tell_words(reply, flags.into_iter());
    for place in [spec.keys.first, spec.keys.last, spec.keys.step] {
        reply.integer(place.into());
    }
    tell_words(reply, categories(spec));
    // Tips for proxies: there are none.
    reply.array(0);
    tell_key_places(reply, spec);
    reply.array(spec.subcommands.len());
    spec.subcommands.iter().for_each(|subcommand| tell_info(reply, subcommand));
}

fn tell_words<'a>(reply: &mut Reply, words: impl Iterator<Item = &'a str>) {
    let words: Vec<&str> = words.collect();
    reply.set(words.len());
    words.iter().for_each(|word| reply.simple(word));
}

/// The categories of access that a command belongs to.
fn categories(spec: &Spec) -> impl Iterator<Item = &'static str> {
    let group = match spec.group {
        "generic" => "@keyspace",
        "string" => "@string",
        "hash" => "@hash",
        "set" => "@set",
        "sorted-set" => "@sortedset",
        "connection" => "@connection",
        "transactions" => "@transaction",
        "scripting" => "@scripting",
        _ => "",
    };
    let categories = [
        (spec.has(WRITE), "@write"),
        (spec.has(READONLY), "@read"),
        (!group.is_empty(), group),
        (spec.has(PUBSUB), "@pubsub"),
        (spec.has(ADMIN), "@admin"),
        (spec.has(ADMIN), "@dangerous"),
        (spec.has(FAST), "@fast"),
        (!spec.has(FAST), "@slow"),
    ];
    categories.into_iter().filter(|(belongs, _)| *belongs).map(|(_, name)| name)
}

/// Where the keys are, in the words of Redis 7's key specifications.
fn tell_key_places(reply: &mut Reply, spec: &Spec) {
    if spec.keys == NO_KEYS {
        return reply.array(0);
    }
    reply.array(1);
    reply.map(3);
    reply.bulk(b"flags");
    let access = if spec.has(WRITE) { "RW" } else { "RO" };
    tell_words(reply, [access, if spec.has(WRITE) { "update" } else { "access" }].into_iter());
    reply.bulk(b"begin_search");
    tell_place(reply, b"index", &[("index", spec.keys.first)]);
    reply.bulk(b"find_keys");
    // Counted from the first key, but from the end where negative.
    let last = if spec.keys.last < 0 { spec.keys.last } else { spec.keys.last - spec.keys.first };
    tell_place(reply, b"range", &[("lastkey", last), ("keystep", spec.keys.step), ("limit", 0)]);
}

fn tell_place(reply: &mut Reply, kind: &[u8], numbers: &[(&str, i32)]) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind);
    reply.bulk(b"spec");
    reply.map(numbers.len());
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        reply.integer((*number).into());
    }
}

fn docs(call: &mut Call<'_>) -> Planned {
    let names = call.args.from(2);
    let specs: Vec<&Spec> = match names.is_empty() {
        true => all().collect(),
        false => names.iter().filter_map(named).collect(),
    };
    call.reply.map(specs.len());
    specs.into_iter().for_each(|spec| tell_docs(call.reply, spec));
    Ok(Plan::Done)
}

fn tell_docs(reply: &mut Reply, spec: &Spec) {
    let arguments = arguments(spec.syntax);
    reply.bulk(spec.name.as_bytes());
    reply.map(3 + usize::from(!arguments.is_empty()) + usize::from(!spec.subcommands.is_empty()));
    for (name, text) in [("summary", spec.summary), ("since", spec.since), ("group", spec.group)] {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        reply.array(arguments.len());
        arguments.into_iter().for_each(|argument| tell_argument(reply, argument));
    }
    if !spec.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(spec.subcommands.len());
        spec.subcommands.iter().for_each(|subcommand| tell_docs(reply, subcommand));
    }
}

/// One part of a command's syntax: what stands in brackets is optional.
fn tell_argument(reply: &mut Reply, argument: &str) {
    let inner = argument.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    reply.map(2 + usize::from(inner.is_some()));
    reply.bulk(b"name");
    reply.bulk(inner.unwrap_or(argument).as_bytes());
    reply.bulk(b"type");
    reply.bulk(b"string");
    if inner.is_some() {
        reply.bulk(b"flags");
        tell_words(reply, ["optional"].into_iter());
    }
}

/// The parts of a command's syntax: words, and brackets with all that is in them.
fn arguments(syntax: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut begin) = (0_usize, 0);
    for (at, letter) in syntax.char_indices() {
        match letter {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 => {
                parts.push(&syntax[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&syntax[begin..]);
    parts.retain(|part| !part.is_empty());
    parts
}

fn list(call: &mut Call<'_>) -> Planned {
    let filter = call.args.at(3).to_ascii_lowercase();
    let wanted = call.args.at(4);
    let chosen: Vec<&Spec> = match (call.args.len(), call.args.is(2, "filterby"), filter.as_slice()) {
        (2, ..) => all().collect(),
        (5, true, b"module") => Vec::new(),
        (5, true, b"aclcat") => {
            let same = |category: &str| category.as_bytes()[1..].eq_ignore_ascii_case(wanted);
            all().filter(|spec| categories(spec).any(same)).collect()
        }
        (5, true, b"pattern") => all().filter(|spec| glob::matches(wanted, spec.name.as_bytes())).collect(),
        _ => return Err(crate::gateway::resp::error::SYNTAX),
    };
    call.reply.array(chosen.len());
    chosen.iter().for_each(|spec| call.reply.bulk(spec.name.as_bytes()));
    Ok(Plan::Done)
}

fn get_keys(call: &mut Call<'_>) -> Planned {
    let request: Args<'_> = call.args.from(2);
    if super::find(request.at(0)).is_none() {
        return Err(Error::new("ERR Invalid command specified"));
    }
    let Ok((_, spec)) = call::find(request) else {
        return Err(Error::new("ERR Invalid number of arguments specified for command"));
    };
    let keys = spec.keys_of(request);
    if keys.is_empty() {
        return Err(Error::new("ERR The command has no key arguments"));
    }
    call.reply.array(keys.len());
    keys.iter().for_each(|key| call.reply.bulk(key));
    Ok(Plan::Done)
}

fn command_help(call: &mut Call<'_>) -> Planned {
    super::help(
        call,
        &[
            "(no subcommand)",
            "    Return details about all commands.",
            "COUNT",
            "    Return the total number of commands in this server.",
            "DOCS [<command-name> ...]",
            "    Return documentation details about commands.",
            "GETKEYS <full-command>",
            "    Return the keys from a full command.",
            "INFO [<command-name> ...]",
            "    Return details about multiple commands.",
            "LIST [FILTERBY (MODULE <module-name>|ACLCAT <cat>|PATTERN <pattern>)]",
            "    Return a list of all commands in this server.",
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_falls_into_parts() {
        assert_eq!(arguments("key [key ...]"), ["key", "[key ...]"]);
        assert_eq!(arguments("cursor [MATCH pattern] [a [b]]"), ["cursor", "[MATCH pattern]", "[a [b]]"]);
        assert_eq!(arguments(""), [""; 0]);
    }

    #[test]
    fn subcommands_are_found_by_their_full_name() {
        assert_eq!(named(b"CONFIG|get").map(|spec| spec.name), Some("config|get"));
        assert_eq!(named(b"get").map(|spec| spec.name), Some("get"));
        assert!(named(b"config|nosuch").is_none() && named(b"nosuch").is_none() && named(b"").is_none());
    }
}
