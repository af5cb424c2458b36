//! What operators watch: every command, slow commands, latencies.

use super::{need_subcommand, server::permissions};
use crate::gateway::resp::{
    call::Call,
    codec,
    error::{self, Error},
    plan::{Plan, Planned},
    stats::{SLOW_MAX, Slow},
    table::{Spec, command, flag::*},
};

const FLAGS: u32 = ADMIN | NOSCRIPT | LOADING | STALE;

pub const COMMANDS: &[Spec] = &[
    command("monitor", 1, monitor).flags(FLAGS | NO_MULTI | BARRIER).docs(
        "server",
        "1.0.0",
        "",
        "Shows every command that this node gets, ids and values hashed.",
    ),
    command("slowlog", -2, need_subcommand)
        .docs("server", "2.2.12", "subcommand", "Looks at commands that took long.")
        .subcommands(SLOWLOG),
    command("latency", -2, need_subcommand)
        .docs("server", "2.8.13", "subcommand", "Looks at latencies: the node's metrics have them.")
        .subcommands(LATENCY),
];

const SLOWLOG: &[Spec] = &[
    command("slowlog|get", -2, slowlog_get).flags(FLAGS).docs(
        "server",
        "2.2.12",
        "[count]",
        "Returns the newest slow commands.",
    ),
    command("slowlog|len", 2, slowlog_len).flags(FLAGS).docs("server", "2.2.12", "", "Counts the slow commands."),
    command("slowlog|reset", 2, slowlog_reset).flags(FLAGS).docs("server", "2.2.12", "", "Forgets the slow commands."),
    command("slowlog|help", 2, slowlog_help).flags(LOADING | STALE).docs(
        "server",
        "6.2.0",
        "",
        "Tells the subcommands.",
    ),
];

const LATENCY: &[Spec] = &[
    command("latency|latest", 2, nothing).flags(FLAGS).docs("server", "2.8.13", "", "Returns nothing."),
    command("latency|history", 3, nothing).flags(FLAGS).docs("server", "2.8.13", "event", "Returns nothing."),
    command("latency|histogram", -2, no_histogram).flags(FLAGS).docs(
        "server",
        "7.0.0",
        "[command [command ...]]",
        "Returns nothing.",
    ),
    command("latency|reset", -2, latency_reset).flags(FLAGS).docs(
        "server",
        "2.8.13",
        "[event [event ...]]",
        "Does nothing.",
    ),
    command("latency|doctor", 2, doctor).flags(FLAGS).docs("server", "2.8.13", "", "Says where to look."),
];

/// The slow commands that `SLOWLOG GET` returns unless told otherwise.
const SLOW_COUNT: usize = 10;

const BAD_COUNT: Error = Error::new("ERR count should be greater than or equal to -1");

fn may_watch(call: &Call<'_>) -> Result<(), Error> {
    if permissions(call)?.watch_others { Ok(()) } else { Err(error::NO_PERMISSION) }
}

fn monitor(call: &mut Call<'_>) -> Planned {
    may_watch(call)?;
    call.session.monitors = true;
    call.session.client.details.lock().monitors = true;
    call.server.hub.monitor(&call.session.client);
    call.reply.ok();
    Ok(Plan::Done)
}

fn slowlog_get(call: &mut Call<'_>) -> Planned {
    may_watch(call)?;
    let count = match call.args.len() {
        2 => SLOW_COUNT,
        3 => match codec::integer(call.args.at(2)) {
            Some(-1) => SLOW_MAX,
            count => count.and_then(|count| usize::try_from(count).ok()).ok_or(BAD_COUNT)?,
        },
        _ => return Err(error::wrong_arity("slowlog|get")),
    };
    let slow = call.server.stats.slow(count);
    call.reply.array(slow.len());
    for Slow { id, at_ms, took, words, peer, name } in &slow {
        call.reply.array(6);
        call.reply.count(*id);
        call.reply.count(at_ms / 1000);
        call.reply.count(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        call.reply.array(words.len());
        words.iter().for_each(|word| call.reply.bulk(word.as_bytes()));
        call.reply.bulk(peer.as_bytes());
        call.reply.bulk(name.as_bytes());
    }
    Ok(Plan::Done)
}

fn slowlog_len(call: &mut Call<'_>) -> Planned {
    may_watch(call)?;
    call.reply.count(call.server.stats.slow_count() as u64);
    Ok(Plan::Done)
}

fn slowlog_reset(call: &mut Call<'_>) -> Planned {
    may_watch(call)?;
    call.server.stats.forget_slow();
    call.reply.ok();
    Ok(Plan::Done)
}

fn slowlog_help(call: &mut Call<'_>) -> Planned {
    super::help(
        call,
        &[
            "GET [<count>]",
            "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
            "LEN",
            "    Return the length of the slowlog.",
            "RESET",
            "    Reset the slowlog.",
        ],
    )
}

fn nothing(call: &mut Call<'_>) -> Planned {
    call.reply.array(0);
    Ok(Plan::Done)
}

fn no_histogram(call: &mut Call<'_>) -> Planned {
    call.reply.map(0);
    Ok(Plan::Done)
}

fn latency_reset(call: &mut Call<'_>) -> Planned {
    call.reply.integer(0);
    Ok(Plan::Done)
}

fn doctor(call: &mut Call<'_>) -> Planned {
    call.reply.verbatim("Latencies are in the node's metrics, slow commands in SLOWLOG GET.\n");
    Ok(Plan::Done)
}
