//! What can be asked of a session whatever its kind.

use super::{across, expire, need_subcommand, scan};
use crate::gateway::resp::{
    call::Call,
    error::{self, Error, SYNTAX},
    plan::{self, Finish, Plan, Planned, Results, tell_count, tell_ok},
    reply::Reply,
    table::{ALL_KEYS, ONE_KEY, SECOND_KEY, Spec, TWO_KEYS, command, flag::*},
};
use sojourn_core::{Answer, Kind, Op, Outcome, Projection, Query, View, query::Filter};
use std::sync::Arc;

pub const COMMANDS: &[Spec] = &[
    command("del", -2, del).flags(WRITE | MANY).keys(ALL_KEYS).docs(
        "generic",
        "1.0.0",
        "key [key ...]",
        "Destroys keys.",
    ),
    command("unlink", -2, del).flags(WRITE | FAST | MANY).keys(ALL_KEYS).docs(
        "generic",
        "4.0.0",
        "key [key ...]",
        "Destroys keys.",
    ),
    command("exists", -2, exists).flags(READONLY | FAST | MANY).keys(ALL_KEYS).docs(
        "generic",
        "1.0.0",
        "key [key ...]",
        "Counts keys that exist.",
    ),
    command("touch", -2, exists).flags(READONLY | FAST | MANY).keys(ALL_KEYS).docs(
        "generic",
        "3.2.1",
        "key [key ...]",
        "Counts keys that exist; moves no deadline, as in Redis.",
    ),
    command("type", 2, kind).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "generic",
        "1.0.0",
        "key",
        "Returns the kind of value of a key.",
    ),
    command("rename", 3, rename).flags(WRITE).keys(TWO_KEYS).docs(
        "generic",
        "1.0.0",
        "key newkey",
        "Gives a key another name and keeps when it ends.",
    ),
    command("renamenx", 3, renamenx).flags(WRITE | FAST).keys(TWO_KEYS).docs(
        "generic",
        "1.0.0",
        "key newkey",
        "Gives a key another name if that is free.",
    ),
    command("copy", -3, copy).flags(WRITE | DENYOOM).keys(TWO_KEYS).docs(
        "generic",
        "6.2.0",
        "source destination [DB destination-db] [REPLACE]",
        "Copies a key to another name.",
    ),
    command("randomkey", 1, randomkey).flags(READONLY).docs("generic", "1.0.0", "", "Returns any key."),
    command("dbsize", 1, dbsize).flags(READONLY | FAST).docs(
        "server",
        "1.0.0",
        "",
        "Counts the keys of the namespace.",
    ),
    command("flushdb", -1, flush).flags(WRITE).docs(
        "server",
        "1.0.0",
        "[ASYNC|SYNC]",
        "Destroys all keys of the namespace.",
    ),
    command("flushall", -1, flush).flags(WRITE).docs(
        "server",
        "1.0.0",
        "[ASYNC|SYNC]",
        "Destroys all keys of the namespace; others are not touched.",
    ),
    command("object", -2, need_subcommand)
        .docs("generic", "2.2.3", "subcommand", "Looks at how a value is kept.")
        .subcommands(OBJECT),
    command("memory", -2, need_subcommand)
        .docs("server", "4.0.0", "subcommand", "Looks at what memory is used for.")
        .subcommands(MEMORY),
];

const OBJECT: &[Spec] = &[
    command("object|encoding", 3, encoding).flags(READONLY).keys(SECOND_KEY).docs(
        "generic",
        "2.2.3",
        "key",
        "Returns the encoding that Redis would give the value.",
    ),
    command("object|idletime", 3, idletime).flags(READONLY).keys(SECOND_KEY).docs(
        "generic",
        "2.2.3",
        "key",
        "Returns the seconds since a key was last written.",
    ),
    command("object|freq", 3, freq).flags(READONLY).keys(SECOND_KEY).docs(
        "generic",
        "4.0.0",
        "key",
        "Is refused: no access frequency is kept.",
    ),
    command("object|refcount", 3, refcount).flags(READONLY).keys(SECOND_KEY).docs(
        "generic",
        "2.2.3",
        "key",
        "Returns 1 for a key that exists.",
    ),
    command("object|help", 2, object_help).docs("generic", "6.2.0", "", "Tells the subcommands."),
];

const MEMORY: &[Spec] = &[
    command("memory|usage", -3, memory_usage).flags(READONLY).keys(SECOND_KEY).docs(
        "server",
        "4.0.0",
        "key [SAMPLES count]",
        "Estimates the bytes that a key takes.",
    ),
    command("memory|doctor", 2, memory_doctor).docs("server", "4.0.0", "", "Says that there is nothing to say."),
    command("memory|help", 2, memory_help).docs("server", "4.0.0", "", "Tells the subcommands."),
];

fn del(call: &mut Call<'_>) -> Planned {
    if call.args.len() == 2 {
        return call.write(Op::Destroy, tell_count);
    }
    let keys = call.keys_from(1)?.into_iter();
    let commands: Result<Vec<_>, Error> = keys.map(|key| call.command(key, Op::Destroy)).collect();
    Ok(Plan::writes(commands?, |reply, results| {
        let mut count = 0;
        while !results.is_empty() {
            count += results.count()?;
        }
        reply.integer(count);
        Ok(())
    }))
}

fn exists(call: &mut Call<'_>) -> Planned {
    let reads = call.keys_from(1)?.into_iter().map(|key| plan::get(key, Projection::Summary)).collect();
    Ok(Plan::reads(reads, |reply, results| {
        let mut count = 0;
        while !results.is_empty() {
            count += i64::from(results.view()?.is_some());
        }
        reply.integer(count);
        Ok(())
    }))
}

fn kind(call: &mut Call<'_>) -> Planned {
    Ok(Plan::view(call.key(1)?, Projection::Summary, |reply, view| {
        reply.simple(view.map_or("none", |view| kind_name(view.kind)));
        Ok(())
    }))
}

/// The name that `TYPE` gives a kind.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::String => "string",
        Kind::Hash => "hash",
        Kind::Set => "set",
        Kind::SortedSet => "zset",
    }
}

fn rename(call: &mut Call<'_>) -> Planned {
    rename_to(call, true, tell_ok)
}

fn renamenx(call: &mut Call<'_>) -> Planned {
    rename_to(call, false, tell_count)
}

type Tell = fn(&mut Reply, &mut Results<'_, Outcome>) -> Result<(), Error>;

fn rename_to(call: &mut Call<'_>, replace: bool, tell: Tell) -> Planned {
    let (from, to) = (call.key(1)?, call.key(2)?);
    if from == to {
        return Ok(Plan::view(from, Projection::Summary, move |reply, view| {
            match (view, replace) {
                (None, _) => return Err(error::NO_KEY),
                (Some(_), true) => reply.ok(),
                (Some(_), false) => reply.flag(false),
            }
            Ok(())
        }));
    }
    if !in_one_shard(call, &from, &to) {
        let rules = call.room()?.rules;
        return Ok(Plan::task(across::rename(Arc::clone(call.server), rules, from, to, replace)));
    }
    call.write(Op::Rename { to, replace }, tell)
}

fn in_one_shard(call: &Call<'_>, from: &sojourn_core::Key, to: &sojourn_core::Key) -> bool {
    let topology = call.server.topology();
    from.slot() == to.slot() || topology.slots().shard(from.slot()) == topology.slots().shard(to.slot())
}

fn copy(call: &mut Call<'_>) -> Planned {
    let (mut replace, mut at) = (false, 3);
    while at < call.args.len() {
        if call.args.is(at, "replace") {
            replace = true;
        } else if call.args.is(at, "db") && call.args.get(at + 1).is_some() {
            at += 1;
            if call.integer(at)? != i64::from(call.room()?.database()) {
                return Err(Error::new("ERR sessions are not copied between namespaces"));
            }
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    let (from, to) = (call.key(1)?, call.key(2)?);
    if from == to {
        return Err(Error::new("ERR source and destination objects are the same"));
    }
    if !in_one_shard(call, &from, &to) {
        let rules = call.room()?.rules;
        return Ok(Plan::task(across::copy(Arc::clone(call.server), rules, from, to, replace)));
    }
    call.write(Op::Copy { to, replace }, |reply, results| {
        match results.next_raw() {
            // Redis answers 0 where there is nothing to copy.
            Some(Ok(Outcome::Refused(sojourn_core::Refusal::Missing | sojourn_core::Refusal::Gone))) => {
                reply.flag(false)
            }
            Some(Ok(Outcome::Count(count))) => reply.integer(count),
            Some(Ok(Outcome::Refused(refusal))) => return Err(refusal.into()),
            Some(Err(unavailable)) => return Err(unavailable.into()),
            Some(Ok(_)) | None => return plan::unexpected(),
        }
        Ok(())
    })
}

fn randomkey(call: &mut Call<'_>) -> Planned {
    let (server, namespace) = (Arc::clone(call.server), call.room()?.id);
    Ok(Plan::task(async move {
        let seed = server.backend.random_u64();
        let mut reads = crate::gateway::resp::quota::of_all_shards(&server.backend, &Query::Random { namespace, seed });
        let count = reads.len().max(1);
        // Whichever shard comes first gives the key.
        reads.rotate_left(usize::try_from(seed % count as u64).unwrap_or(0));
        let mut found = None;
        for answer in server.backend.read(reads).await {
            if let (Answer::Page { lines, .. }, None) = (answer?, &found) {
                found = lines.into_iter().next().map(|line| line.id);
            }
        }
        let finish: Finish = Box::new(move |_, reply| {
            reply.bulk_or_null(found.as_deref());
            Ok(())
        });
        Ok(finish)
    }))
}

fn dbsize(call: &mut Call<'_>) -> Planned {
    let query = Query::Count { namespace: call.room()?.id, filter: Filter::default() };
    let reads = crate::gateway::resp::quota::of_all_shards(&call.server.backend, &query);
    Ok(Plan::reads(reads, |reply, results| {
        reply.count(results.total()?.0);
        Ok(())
    }))
}

fn flush(call: &mut Call<'_>) -> Planned {
    match call.args.len() {
        1 => {}
        2 if call.args.is(1, "async") || call.args.is(1, "sync") => {}
        _ => return Err(SYNTAX),
    }
    if !super::server::permissions(call)?.flush {
        return Err(error::NO_PERMISSION);
    }
    let room = Arc::clone(call.room()?);
    Ok(Plan::task(scan::clear(Arc::clone(call.server), room)))
}

fn encoding(call: &mut Call<'_>) -> Planned {
    Ok(Plan::view(call.key(2)?, Projection::Whole, |reply, view| {
        match view {
            Some(view) => reply.bulk(encoding_name(&view).as_bytes()),
            None => reply.null(),
        }
        Ok(())
    }))
}

/// The encoding that Redis 7.2 would choose.
fn encoding_name(view: &View) -> &'static str {
    const EMBEDDED_BYTES_MAX: usize = 44;
    const LISTPACK_ENTRIES_MAX: u64 = 128;
    const LISTPACK_ENTRY_BYTES_MAX: usize = 64;
    const INTSET_ENTRIES_MAX: u64 = 512;
    let integer = |text: &[u8]| crate::gateway::resp::codec::integer(text).is_some();
    let longest = || view.fields.iter().map(|(name, value)| name.len().max(value.len())).max().unwrap_or(0);
    let small = || view.field_count <= LISTPACK_ENTRIES_MAX && longest() <= LISTPACK_ENTRY_BYTES_MAX;
    match view.kind {
        Kind::String => match view.fields.get(b"").unwrap_or_default() {
            value if value.len() <= 20 && integer(value) => "int",
            value if value.len() <= EMBEDDED_BYTES_MAX => "embstr",
            _ => "raw",
        },
        Kind::Hash if small() => "listpack",
        Kind::Hash => "hashtable",
        Kind::Set if view.field_count <= INTSET_ENTRIES_MAX && view.fields.iter().all(|(name, _)| integer(name)) => {
            "intset"
        }
        Kind::Set if small() => "listpack",
        Kind::Set => "hashtable",
        Kind::SortedSet if small() => "listpack",
        Kind::SortedSet => "skiplist",
    }
}

fn idletime(call: &mut Call<'_>) -> Planned {
    let now = call.server.backend.now_ms();
    Ok(Plan::view(call.key(2)?, Projection::Summary, move |reply, view| {
        match view {
            Some(view) => reply.count(now.saturating_sub(view.written) / 1000),
            None => reply.null(),
        }
        Ok(())
    }))
}

fn freq(call: &mut Call<'_>) -> Planned {
    Ok(Plan::view(call.key(2)?, Projection::Summary, |reply, view| match view {
        Some(_) => Err(Error::new(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
             between policies at runtime LRU and LFU data will take some time to adjust.",
        )),
        None => {
            reply.null();
            Ok(())
        }
    }))
}

fn refcount(call: &mut Call<'_>) -> Planned {
    Ok(Plan::view(call.key(2)?, Projection::Summary, |reply, view| {
        match view {
            Some(_) => reply.integer(1),
            None => reply.null(),
        }
        Ok(())
    }))
}

fn object_help(call: &mut Call<'_>) -> Planned {
    super::help(
        call,
        &[
            "ENCODING <key>",
            "    Return the encoding that Redis would give the value.",
            "FREQ <key>",
            "    Is refused: no access frequency is kept.",
            "IDLETIME <key>",
            "    Return the seconds since the key was last written.",
            "REFCOUNT <key>",
            "    Return 1 for a key that exists.",
        ],
    )
}

fn memory_usage(call: &mut Call<'_>) -> Planned {
    match call.args.len() {
        3 => {}
        5 if call.args.is(3, "samples") => {
            if call.integer(4)? < 0 {
                return Err(SYNTAX);
            }
        }
        _ => return Err(SYNTAX),
    }
    let key = call.key(2)?;
    let id_bytes = key.id().len() as u64;
    Ok(Plan::view(key, Projection::Summary, move |reply, view| {
        // What a record and its place in the maps take beside the bytes of its fields.
        const RECORD_BYTES: u64 = 256;
        const FIELD_BYTES: u64 = 32;
        match view {
            Some(view) => reply.count(RECORD_BYTES + id_bytes + view.bytes + FIELD_BYTES * view.field_count),
            None => reply.null(),
        }
        Ok(())
    }))
}

fn memory_doctor(call: &mut Call<'_>) -> Planned {
    call.reply.verbatim("Sojourn keeps its own watch over memory: see the node's metrics and its dashboard.");
    Ok(Plan::Done)
}

fn memory_help(call: &mut Call<'_>) -> Planned {
    super::help(
        call,
        &[
            "DOCTOR",
            "    Return where to look.",
            "USAGE <key> [SAMPLES <count>]",
            "    Return an estimate of the bytes that the key takes.",
        ],
    )
}

/// When a copy of a session must end.
pub fn expiry_of(view: &View) -> sojourn_core::Expiry {
    match expire::deadline(view) {
        Some(_) => sojourn_core::Expiry::At { ms: view.idle_deadline },
        None => sojourn_core::Expiry::Never,
    }
}
