//! `MULTI` and `WATCH`. What `EXEC` does is in [`crate::gateway::resp`]'s `exec`.

use crate::gateway::resp::{
    call::Call,
    error::Error,
    plan::{self, Finish, Plan, Planned, unexpected},
    table::{ALL_KEYS, Spec, command, flag::*},
};
use sojourn_core::{Answer, Key, Projection, Version};
use std::sync::Arc;

const ALWAYS: u32 = NOSCRIPT | LOADING | STALE | FAST;

pub const COMMANDS: &[Spec] = &[
    command("multi", 1, multi).flags(ALWAYS).docs("transactions", "1.2.0", "", "Begins to collect commands."),
    command("exec", 1, exec).flags(NOSCRIPT | LOADING | STALE).docs(
        "transactions",
        "1.2.0",
        "",
        "Runs the collected commands: at once where their keys allow it, else in order.",
    ),
    command("discard", 1, discard).flags(ALWAYS).docs("transactions", "2.0.0", "", "Forgets the collected commands."),
    command("watch", -2, watch).flags(ALWAYS | MANY | BARRIER).keys(ALL_KEYS).docs(
        "transactions",
        "2.2.0",
        "key [key ...]",
        "Lets the next EXEC do nothing if a key changes until then.",
    ),
    command("unwatch", 1, unwatch).flags(ALWAYS).docs("transactions", "2.2.0", "", "Forgets the watched keys."),
];

/// The most keys that a connection watches.
const WATCHED_MAX: usize = 65_536;

fn multi(call: &mut Call<'_>) -> Planned {
    if call.session.transaction.is_some() {
        return Err(Error::new("ERR MULTI calls can not be nested"));
    }
    call.session.transaction = Some(Box::default());
    call.session.client.details.lock().queued = Some(0);
    call.reply.ok();
    Ok(Plan::Done)
}

fn exec(_: &mut Call<'_>) -> Planned {
    Ok(Plan::Exec)
}

fn discard(call: &mut Call<'_>) -> Planned {
    if call.session.transaction.is_none() {
        return Err(Error::new("ERR DISCARD without MULTI"));
    }
    call.session.end_transaction();
    call.reply.ok();
    Ok(Plan::Done)
}

fn watch(call: &mut Call<'_>) -> Planned {
    if call.session.transaction.is_some() {
        return Err(Error::new("ERR WATCH inside MULTI is not allowed"));
    }
    let keys = call.keys_from(1)?;
    if call.session.watched.len() + keys.len() > WATCHED_MAX {
        return Err(Error::new("ERR too many watched keys"));
    }
    let server = Arc::clone(call.server);
    Ok(Plan::task(async move {
        let reads = keys.iter().map(|key| plan::get(key.clone(), Projection::Summary)).collect();
        let mut seen: Vec<(Key, Option<Version>)> = Vec::with_capacity(keys.len());
        for (key, answer) in keys.into_iter().zip(server.backend.read(reads).await) {
            let Answer::Record(view) = answer? else { return unexpected() };
            seen.push((key, view.map(|view| view.version)));
        }
        let finish: Finish = Box::new(move |session, reply| {
            for (key, version) in seen {
                // What was seen first counts.
                if !session.watched.iter().any(|(watched, _)| *watched == key) {
                    session.watched.push((key, version));
                }
            }
            reply.ok();
            Ok(())
        });
        Ok(finish)
    }))
}

fn unwatch(call: &mut Call<'_>) -> Planned {
    call.session.watched.clear();
    call.reply.ok();
    Ok(Plan::Done)
}
