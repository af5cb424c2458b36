//! `EVAL` and its kin: only the scripts of [`lua`](super::lua), as what they mean.

use super::{
    expire::{self, Unit},
    lua::{self, Script},
    need_subcommand,
};
use crate::gateway::resp::{
    call::Call,
    edge,
    error::{Error, NOT_INTEGER, SYNTAX},
    plan::{self, Finish, Plan, Planned, Results, tell_count, unexpected},
    reply::Reply,
    server::Server,
    table::{Keys, Spec, command, flag::*},
};
use sojourn_core::{Answer, Command, Condition, Expiry, Key, Kind, Op, Outcome, Projection, Request, Rules, View};
use std::{collections::BTreeMap, sync::Arc};

const MOVING: Keys = Keys { first: 0, last: 0, step: 0 };

pub const COMMANDS: &[Spec] = &[
    command("eval", -3, eval).flags(NOSCRIPT | MOVABLEKEYS | WRITE).keys(MOVING).docs(
        "scripting",
        "2.6.0",
        "script numkeys [key [key ...]] [arg [arg ...]]",
        "Does what a known script means; there is no Lua.",
    ),
    command("evalsha", -3, evalsha).flags(NOSCRIPT | MOVABLEKEYS | WRITE).keys(MOVING).docs(
        "scripting",
        "2.6.0",
        "sha1 numkeys [key [key ...]] [arg [arg ...]]",
        "Does what a known script means; there is no Lua.",
    ),
    command("script", -2, need_subcommand)
        .docs("scripting", "2.6.0", "subcommand", "Looks at known scripts.")
        .subcommands(SCRIPT),
];

const SCRIPT: &[Spec] = &[
    command("script|load", 3, load).flags(NOSCRIPT | STALE).docs(
        "scripting",
        "2.6.0",
        "script",
        "Returns the SHA of a script, if it is a known one.",
    ),
    command("script|exists", -3, exists).flags(NOSCRIPT).docs(
        "scripting",
        "2.6.0",
        "sha1 [sha1 ...]",
        "Tells which scripts EVALSHA knows at this node.",
    ),
    command("script|flush", -2, flush).flags(NOSCRIPT).docs(
        "scripting",
        "2.6.0",
        "[ASYNC|SYNC]",
        "Forgets the scripts that were loaded.",
    ),
    command("script|kill", 2, kill).flags(NOSCRIPT).docs("scripting", "2.6.0", "", "Says that no script runs."),
];

const UNKNOWN: Error = Error::new(
    "ERR Sojourn runs no Lua: it knows the lock scripts of the usual clients (compare and delete, compare and expire, set \
     if absent) and conditional increments, and this is none of them",
);
const NO_SCRIPT: Error = Error::new("NOSCRIPT No matching script. Please use EVAL.");

/// Scripts that clients loaded, by their SHA: their texts differ from those of the table in what does not matter.
#[derive(Debug, Default)]
pub struct Loaded(parking_lot::Mutex<BTreeMap<String, Script>>);

impl Loaded {
    /// Texts that are remembered.
    const TEXTS_MAX: usize = 1_000;

    fn add(&self, text: &[u8], script: Script) -> String {
        let sha = lua::sha(text);
        let mut loaded = self.0.lock();
        if loaded.len() >= Self::TEXTS_MAX {
            loaded.clear();
        }
        loaded.insert(sha.clone(), script);
        sha
    }

    fn get(&self, sha: &[u8]) -> Option<Script> {
        let sha = String::from_utf8_lossy(sha).to_ascii_lowercase();
        lua::of_sha(&sha).or_else(|| self.0.lock().get(&sha).copied())
    }
}

fn load(call: &mut Call<'_>) -> Planned {
    let script = lua::of_text(call.args.at(2)).ok_or(UNKNOWN)?;
    let sha = call.server.scripts.add(call.args.at(2), script);
    call.reply.bulk(sha.as_bytes());
    Ok(Plan::Done)
}

fn exists(call: &mut Call<'_>) -> Planned {
    let shas = call.args.from(2);
    call.reply.array(shas.len());
    for sha in shas.iter() {
        call.reply.flag(call.server.scripts.get(sha).is_some());
    }
    Ok(Plan::Done)
}

fn flush(call: &mut Call<'_>) -> Planned {
    match call.args.len() {
        2 => {}
        3 if call.args.is(2, "async") || call.args.is(2, "sync") => {}
        _ => return Err(Error::new("ERR SCRIPT FLUSH only support SYNC|ASYNC option")),
    }
    call.server.scripts.0.lock().clear();
    call.reply.ok();
    Ok(Plan::Done)
}

fn kill(_: &mut Call<'_>) -> Planned {
    Err(Error::new("NOTBUSY No scripts in execution right now."))
}

fn eval(call: &mut Call<'_>) -> Planned {
    check_keys(call)?;
    let script = lua::of_text(call.args.at(1)).ok_or(UNKNOWN)?;
    call.server.scripts.add(call.args.at(1), script);
    run(call, script)
}

fn evalsha(call: &mut Call<'_>) -> Planned {
    check_keys(call)?;
    let script = call.server.scripts.get(call.args.at(1)).ok_or(NO_SCRIPT)?;
    run(call, script)
}

fn check_keys(call: &Call<'_>) -> Result<(), Error> {
    let count = call.integer(2)?;
    if count < 0 {
        return Err(Error::new("ERR Number of keys can't be negative"));
    }
    if usize::try_from(count).is_ok_and(|count| count > call.args.len() - 3) {
        return Err(Error::new("ERR Number of keys can't be greater than number of args"));
    }
    Ok(())
}

/// Where `ARGV[1]` is, with one key.
const FIRST: usize = 4;

fn run(call: &mut Call<'_>, script: Script) -> Planned {
    if call.integer(2)? != 1 {
        return Err(Error::new("ERR Sojourn knows this script with one key only"));
    }
    if call.args.len() < FIRST + script.arguments() {
        return Err(Error::new("ERR the script needs more arguments"));
    }
    let value = call.args.at(FIRST);
    match script {
        Script::CompareDelete => write(call, Op::CompareDelete { value: value.into() }, tell_count),
        Script::CompareExpireMs => compare_expire(call, Unit::MILLISECONDS),
        Script::CompareExpireSeconds => compare_expire(call, Unit::SECONDS),
        Script::CompareExtend => extend(call),
        Script::AcquireMs => {
            let expiry = expire::positive(call, FIRST + 1, Unit::MILLISECONDS)?;
            write(call, acquire(call, expiry)?, tell_count)
        }
        Script::AddSeconds => {
            let expiry = expire::positive(call, FIRST + 1, Unit::SECONDS)?;
            write(call, acquire(call, expiry)?, tell_ok_or_null)
        }
        Script::AcquireOrExtend => acquire_or_extend(call),
        Script::Increment => write(call, Op::Increment { by: call.integer(FIRST)? }, tell_count),
        Script::IncrementPresent => increment_present(call),
    }
}

type Tell = fn(&mut Reply, &mut Results<'_, Outcome>) -> Result<(), Error>;

fn write(call: &Call<'_>, op: Op, tell: Tell) -> Planned {
    Ok(Plan::write(call.command(call.key(3)?, op)?, tell))
}

fn tell_ok_or_null(reply: &mut Reply, results: &mut Results<'_, Outcome>) -> Result<(), Error> {
    match results.outcome()? {
        Outcome::Done => reply.ok(),
        Outcome::Nothing => reply.null(),
        _ => return unexpected(),
    }
    Ok(())
}

fn acquire(call: &Call<'_>, expiry: Expiry) -> Result<Op, Error> {
    let (value, owner) = edge::string_value(call.server, call.room()?, call.args.at(FIRST))?;
    Ok(Op::Set { value, expiry, condition: Condition::IfAbsent, get: false, owner })
}

fn compare_expire(call: &mut Call<'_>, unit: Unit) -> Planned {
    let value = call.args.at(FIRST).into();
    // Redis destroys what is to end in the past.
    let expiry = unit.expiry(call.integer(FIRST + 1)?, call.server.backend.now_ms()).ok_or(NOT_INTEGER)?;
    write(call, Op::CompareExpire { value, expiry }, tell_count)
}

/// What the steps of a script need.
struct Steps {
    server: Arc<Server>,
    rules: Rules,
    key: Key,
}

impl Steps {
    fn new(call: &Call<'_>) -> Result<Self, Error> {
        Ok(Self { server: Arc::clone(call.server), rules: call.room()?.rules, key: call.key(3)? })
    }

    async fn read(&self, projection: Projection) -> Result<Option<Box<View>>, Error> {
        match self.server.backend.read(vec![plan::get(self.key.clone(), projection)]).await.pop() {
            Some(Ok(Answer::Record(view))) => Ok(view),
            Some(Err(unavailable)) => Err(unavailable.into()),
            Some(Ok(_)) | None => unexpected(),
        }
    }

    async fn write(&self, op: Op) -> Result<Outcome, Error> {
        let (key, rules) = (self.key.clone(), self.rules);
        let command = Command { request: Request::default(), key, rules, touched: None, op };
        match self.server.backend.write(vec![command]).await.pop() {
            Some(Ok(Outcome::Refused(refusal))) => Err(refusal.into()),
            Some(Ok(outcome)) => Ok(outcome),
            Some(Err(unavailable)) => Err(unavailable.into()),
            None => unexpected(),
        }
    }
}

/// The time that is left is read first; that the lock is still ours is checked where the deadline is set.
fn extend(call: &mut Call<'_>) -> Planned {
    let steps = Steps::new(call)?;
    let value: Box<[u8]> = call.args.at(FIRST).into();
    let more = u64::try_from(call.integer(FIRST + 1)?).map_err(|_| NOT_INTEGER)?;
    let replaces = call.args.get(FIRST + 2).is_some_and(|word| word != b"0");
    Ok(Plan::task(async move {
        let view = plan::of_kind(Kind::String, steps.read(Projection::Whole).await?)?;
        let view = view.filter(|view| view.fields.get(b"") == Some(&value));
        let deadline = view.as_deref().and_then(expire::deadline);
        let extended = match deadline {
            // Not ours, or without an end: then there is nothing to extend.
            None => Outcome::Count(0),
            Some(deadline) => {
                let left = deadline.saturating_sub(steps.server.backend.now_ms());
                let ms = if replaces { more } else { left.saturating_add(more) };
                let expiry = if ms > 0 { Expiry::After { ms } } else { Expiry::At { ms: 0 } };
                steps.write(Op::CompareExpire { value, expiry }).await?
            }
        };
        let Outcome::Count(count) = extended else { return unexpected() };
        let finish: Finish = Box::new(move |_, reply| {
            reply.integer(count);
            Ok(())
        });
        Ok(finish)
    }))
}

fn acquire_or_extend(call: &mut Call<'_>) -> Planned {
    let steps = Steps::new(call)?;
    let expiry = expire::positive(call, FIRST + 1, Unit::MILLISECONDS)?;
    let value: Box<[u8]> = call.args.at(FIRST).into();
    let acquire = if call.args.at(FIRST + 2) == b"yes" { Some(acquire(call, expiry)?) } else { None };
    Ok(Plan::task(async move {
        let acquired = match acquire {
            Some(op) => steps.write(op).await? == Outcome::Done,
            None => false,
        };
        let held = acquired || steps.write(Op::CompareExpire { value, expiry }).await? == Outcome::Count(1);
        let finish: Finish = Box::new(move |_, reply| {
            if held {
                reply.ok()
            } else {
                reply.null()
            }
            Ok(())
        });
        Ok(finish)
    }))
}

/// How often an integer that is written all the time is tried before giving up.
const ATTEMPTS_MAX: u32 = 16;

fn increment_present(call: &mut Call<'_>) -> Planned {
    let steps = Steps::new(call)?;
    let by = call.integer(FIRST)?;
    Ok(Plan::task(async move {
        let mut sum = None;
        for _ in 0..ATTEMPTS_MAX {
            let Some(view) = steps.read(Projection::Summary).await? else { break };
            let (watched, step) = (vec![(steps.key.clone(), Some(view.version))], Op::Increment { by });
            match steps.write(Op::Exec { watched, steps: vec![(steps.key.clone(), step)] }).await? {
                Outcome::Nothing => continue,
                Outcome::Many(mut outcomes) => sum = outcomes.pop(),
                _ => return unexpected(),
            }
            break;
        }
        let finish: Finish = Box::new(move |_, reply| {
            match sum {
                None => reply.null(),
                Some(Outcome::Count(sum)) => reply.integer(sum),
                Some(Outcome::Refused(refusal)) => return Err(refusal.into()),
                Some(_) => return Err(SYNTAX),
            }
            Ok(())
        });
        Ok(finish)
    }))
}
