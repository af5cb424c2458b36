//! Strings: sessions with the single field `""`.

use super::{
    expire::{self, Unit},
    numbers,
};
use crate::gateway::resp::{
    call::Call,
    edge,
    error::{self, Error, SYNTAX},
    plan::{Plan, Planned, Results, tell_bytes, tell_count, tell_ok, unexpected},
    reply::Reply,
    table::{ALL_KEYS, KEY_VALUES, ONE_KEY, Spec, command, flag::*},
};
use sojourn_core::{Command, Condition, Expiry, Key, Kind, Op, Outcome, Projection, Request, View};

const WRITES: u32 = WRITE | DENYOOM;

pub const COMMANDS: &[Spec] = &[
    command("get", 2, get).flags(READONLY | FAST).keys(ONE_KEY).docs("string", "1.0.0", "key", "Returns the value of a key."),
    command("set", -3, set).flags(WRITES).keys(ONE_KEY).docs(
        "string",
        "1.0.0",
        "key value [NX|XX] [GET] [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|KEEPTTL]",
        "Sets the value of a key, and when it ends.",
    ),
    command("setex", 4, setex).flags(WRITES).keys(ONE_KEY).docs(
        "string",
        "2.0.0",
        "key seconds value",
        "Sets the value of a key that ends after some seconds.",
    ),
    command("psetex", 4, psetex).flags(WRITES).keys(ONE_KEY).docs(
        "string",
        "2.6.0",
        "key milliseconds value",
        "Sets the value of a key that ends after some milliseconds.",
    ),
    command("setnx", 3, setnx).flags(WRITES | FAST).keys(ONE_KEY).docs(
        "string",
        "1.0.0",
        "key value",
        "Sets the value of a key only if there is none.",
    ),
    command("getset", 3, getset).flags(WRITES | FAST).keys(ONE_KEY).docs(
        "string",
        "1.0.0",
        "key value",
        "Returns the value of a key after setting another.",
    ),
    command("getdel", 2, getdel).flags(WRITE | FAST).keys(ONE_KEY).docs(
        "string",
        "6.2.0",
        "key",
        "Returns the value of a key after destroying it.",
    ),
    command("getex", -2, getex).flags(WRITE | FAST).keys(ONE_KEY).docs(
        "string",
        "6.2.0",
        "key [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|PERSIST]",
        "Returns the value of a key after setting when it ends.",
    ),
    command("mget", -2, mget).flags(READONLY | FAST | MANY).keys(ALL_KEYS).docs(
        "string",
        "1.0.0",
        "key [key ...]",
        "Returns the values of several keys.",
    ),
    command("mset", -3, mset).flags(WRITES | MANY).keys(KEY_VALUES).docs(
        "string",
        "1.0.1",
        "key value [key value ...]",
        "Sets the values of several keys, each for itself.",
    ),
    command("msetnx", -3, msetnx).flags(WRITES | MANY).keys(KEY_VALUES).docs(
        "string",
        "1.0.1",
        "key value [key value ...]",
        "Sets the values of keys of one slot only if none of them has one.",
    ),
    command("append", 3, append).flags(WRITES | FAST).keys(ONE_KEY).docs(
        "string",
        "2.0.0",
        "key value",
        "Appends to the value of a key.",
    ),
    command("strlen", 2, strlen).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "string",
        "2.2.0",
        "key",
        "Returns the length of a value.",
    ),
    command("getrange", 4, getrange).flags(READONLY).keys(ONE_KEY).docs(
        "string",
        "2.4.0",
        "key start end",
        "Returns a part of a value.",
    ),
    command("substr", 4, getrange).flags(READONLY).keys(ONE_KEY).docs(
        "string",
        "1.0.0",
        "key start end",
        "Returns a part of a value.",
    ),
    command("setrange", 4, setrange).flags(WRITES).keys(ONE_KEY).docs(
        "string",
        "2.2.0",
        "key offset value",
        "Overwrites a part of a value.",
    ),
    command("incr", 2, incr).flags(WRITES | FAST).keys(ONE_KEY).docs(
        "string",
        "1.0.0",
        "key",
        "Adds one to the integer of a key.",
    ),
    command("decr", 2, decr).flags(WRITES | FAST).keys(ONE_KEY).docs(
        "string",
        "1.0.0",
        "key",
        "Takes one from the integer of a key.",
    ),
    command("incrby", 3, incrby).flags(WRITES | FAST).keys(ONE_KEY).docs(
        "string",
        "1.0.0",
        "key increment",
        "Adds to the integer of a key.",
    ),
    command("decrby", 3, decrby).flags(WRITES | FAST).keys(ONE_KEY).docs(
        "string",
        "1.0.0",
        "key decrement",
        "Takes from the integer of a key.",
    ),
    command("incrbyfloat", 3, incrbyfloat).flags(WRITES | FAST).keys(ONE_KEY).docs(
        "string",
        "2.6.0",
        "key increment",
        "Adds to the float of a key.",
    ),
];

fn get(call: &mut Call<'_>) -> Planned {
    Ok(Plan::view_of(Kind::String, call.key(1)?, Projection::Whole, tell_value))
}

fn tell_value(reply: &mut Reply, view: Option<Box<View>>) -> Result<(), Error> {
    reply.bulk_or_null(view.as_ref().and_then(|view| view.fields.get(b"")));
    Ok(())
}

/// The options of `SET` after key and value.
struct SetOptions {
    condition: Condition,
    get: bool,
    expiry: Expiry,
}

fn set_options(call: &Call<'_>) -> Result<SetOptions, Error> {
    let (mut condition, mut get, mut keep) = (Condition::Always, false, false);
    let mut deadline = None;
    let mut at = 3;
    while let Some(word) = call.args.get(at) {
        let timed = || deadline.is_some() || keep;
        if call.args.is(at, "nx") && condition != Condition::IfPresent {
            condition = Condition::IfAbsent;
        } else if call.args.is(at, "xx") && condition != Condition::IfAbsent {
            condition = Condition::IfPresent;
        } else if call.args.is(at, "get") {
            get = true;
        } else if call.args.is(at, "keepttl") && deadline.is_none() {
            keep = true;
        } else if let Some(unit) = Unit::of_option(word).filter(|_| !timed() && call.args.get(at + 1).is_some()) {
            deadline = Some((unit, at + 1));
            at += 1;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    let expiry = match deadline {
        Some((unit, at)) => expire::positive(call, at, unit)?,
        None if keep => Expiry::Keep,
        None => Expiry::Default,
    };
    Ok(SetOptions { condition, get, expiry })
}

fn set(call: &mut Call<'_>) -> Planned {
    let SetOptions { condition, get, expiry } = set_options(call)?;
    let op = set_op(call, call.args.at(2), expiry, condition, get)?;
    if get { call.write(op, tell_bytes) } else { call.write(op, tell_set) }
}

fn set_op(call: &Call<'_>, value: &[u8], expiry: Expiry, condition: Condition, get: bool) -> Result<Op, Error> {
    let (value, owner) = edge::string_value(call.server, call.room()?, value)?;
    Ok(Op::Set { value, expiry, condition, get, owner })
}

fn tell_set(reply: &mut Reply, results: &mut Results<'_, Outcome>) -> Result<(), Error> {
    match results.outcome()? {
        Outcome::Nothing => reply.null(),
        _ => reply.ok(),
    }
    Ok(())
}

fn setex(call: &mut Call<'_>) -> Planned {
    let expiry = expire::positive(call, 2, Unit::SECONDS)?;
    call.write(set_op(call, call.args.at(3), expiry, Condition::Always, false)?, tell_ok)
}

fn psetex(call: &mut Call<'_>) -> Planned {
    let expiry = expire::positive(call, 2, Unit::MILLISECONDS)?;
    call.write(set_op(call, call.args.at(3), expiry, Condition::Always, false)?, tell_ok)
}

fn setnx(call: &mut Call<'_>) -> Planned {
    call.write(set_op(call, call.args.at(2), Expiry::Default, Condition::IfAbsent, false)?, tell_count)
}

fn getset(call: &mut Call<'_>) -> Planned {
    call.write(set_op(call, call.args.at(2), Expiry::Default, Condition::Always, true)?, tell_bytes)
}

fn getdel(call: &mut Call<'_>) -> Planned {
    call.write(Op::GetDelete, tell_bytes)
}

fn getex(call: &mut Call<'_>) -> Planned {
    let expiry = match call.args.len() {
        2 => return get(call),
        3 if call.args.is(2, "persist") => Expiry::Never,
        4 => match Unit::of_option(call.args.at(2)) {
            Some(unit) => expire::positive(call, 3, unit)?,
            None => return Err(SYNTAX),
        },
        _ => return Err(SYNTAX),
    };
    call.write(Op::GetExpire { expiry }, tell_bytes)
}

/// Keys read in one call by `MGET`; the values of all of them may be in memory at once.
const READ_AT_ONCE: usize = crate::gateway::resp::batch::READS_MAX;

fn mget(call: &mut Call<'_>) -> Planned {
    let keys = call.keys_from(1)?;
    let read = |key| crate::gateway::resp::plan::get(key, Projection::Whole);
    if keys.len() <= READ_AT_ONCE {
        return Ok(Plan::reads(keys.into_iter().map(read).collect(), |reply, results| {
            reply.array(results.len());
            while !results.is_empty() {
                tell_string_or_null(reply, results.view()?);
            }
            Ok(())
        }));
    }
    let (server, protocol) = (std::sync::Arc::clone(call.server), call.session.protocol);
    Ok(Plan::task(async move {
        let mut reply = Reply::new(protocol);
        reply.array(keys.len());
        for keys in keys.chunks(READ_AT_ONCE) {
            let answers = server.backend.read(keys.iter().cloned().map(read).collect()).await;
            let mut answers = answers.into_iter();
            let mut results = Results::new(&mut answers, keys.len());
            while !results.is_empty() {
                tell_string_or_null(&mut reply, results.view()?);
            }
            if reply.len() > crate::gateway::resp::REPLY_BYTES_MAX {
                return Err(error::REPLY_TOO_LONG);
            }
        }
        let finish: crate::gateway::resp::plan::Finish = Box::new(move |_, whole| {
            whole.append(reply.as_bytes());
            Ok(())
        });
        Ok(finish)
    }))
}

/// `MGET` answers nil for keys that hold no string.
fn tell_string_or_null(reply: &mut Reply, view: Option<Box<View>>) {
    let value = view.as_ref().filter(|view| view.kind == Kind::String).and_then(|view| view.fields.get(b""));
    reply.bulk_or_null(value);
}

/// The keys and the writes of `MSET` and `MSETNX`.
fn pairs(call: &Call<'_>) -> Result<Vec<(Key, Op)>, Error> {
    if call.args.len().is_multiple_of(2) {
        return Err(error::wrong_arity(call.spec.name));
    }
    let pair = |at| Ok((call.key(at)?, set_op(call, call.args.at(at + 1), Expiry::Default, Condition::Always, false)?));
    (1..call.args.len()).step_by(2).map(pair).collect()
}

fn mset(call: &mut Call<'_>) -> Planned {
    let pairs = pairs(call)?.into_iter();
    let commands: Result<Vec<Command>, Error> = pairs.map(|(key, op)| call.command(key, op)).collect();
    Ok(Plan::writes(commands?, |reply, results| {
        while !results.is_empty() {
            results.outcome()?;
        }
        reply.ok();
        Ok(())
    }))
}

fn msetnx(call: &mut Call<'_>) -> Planned {
    let steps = pairs(call)?;
    let slot = steps.first().map(|(key, _)| key.slot());
    if steps.iter().any(|(key, _)| Some(key.slot()) != slot) {
        return Err(error::CROSS_SLOT);
    }
    let watched = steps.iter().map(|(key, _)| (key.clone(), None)).collect();
    let key = call.key(1)?;
    let rules = call.room()?.rules;
    let command = Command { request: Request::default(), key, rules, touched: None, op: Op::Exec { watched, steps } };
    Ok(Plan::write(command, |reply, results| {
        match results.outcome()? {
            Outcome::Nothing => reply.flag(false),
            Outcome::Many(outcomes) => {
                let refused = outcomes.into_iter().find_map(|outcome| match outcome {
                    Outcome::Refused(refusal) => Some(refusal),
                    _ => None,
                });
                match refused {
                    Some(refusal) => return Err(refusal.into()),
                    None => reply.flag(true),
                }
            }
            _ => return unexpected(),
        }
        Ok(())
    }))
}

fn append(call: &mut Call<'_>) -> Planned {
    call.write(Op::Append { value: call.args.at(2).into() }, tell_count)
}

fn strlen(call: &mut Call<'_>) -> Planned {
    Ok(Plan::view_of(Kind::String, call.key(1)?, Projection::Whole, |reply, view| {
        reply.count(view.as_ref().and_then(|view| view.fields.get(b"")).map_or(0, |value| value.len() as u64));
        Ok(())
    }))
}

fn getrange(call: &mut Call<'_>) -> Planned {
    let (start, end) = (call.integer(2)?, call.integer(3)?);
    Ok(Plan::view_of(Kind::String, call.key(1)?, Projection::Whole, move |reply, view| {
        let value = view.as_ref().and_then(|view| view.fields.get(b"")).unwrap_or_default();
        reply.bulk(part(value, start, end));
        Ok(())
    }))
}

/// Bytes `start` to `end`, both inclusive and negative from the end.
fn part(value: &[u8], start: i64, end: i64) -> &[u8] {
    let length = i64::try_from(value.len()).unwrap_or(i64::MAX);
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    let place = |at: i64| if at < 0 { (length + at).max(0) } else { at };
    let (start, end) = (place(start), place(end).min(length - 1));
    match (usize::try_from(start), usize::try_from(end)) {
        (Ok(start), Ok(end)) if start <= end => value.get(start..=end).unwrap_or_default(),
        _ => &[],
    }
}

fn setrange(call: &mut Call<'_>) -> Planned {
    let offset = u64::try_from(call.integer(2)?).map_err(|_| Error::new("ERR offset is out of range"))?;
    let value = call.args.at(3);
    if value.is_empty() {
        return strlen(call);
    }
    if offset.saturating_add(value.len() as u64) > call.room()?.policy.size_bytes_max {
        return Err(Error::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)"));
    }
    call.write(Op::SetRange { offset, value: value.into() }, tell_count)
}

fn incr(call: &mut Call<'_>) -> Planned {
    call.write(Op::Increment { by: 1 }, tell_count)
}

fn decr(call: &mut Call<'_>) -> Planned {
    call.write(Op::Increment { by: -1 }, tell_count)
}

fn incrby(call: &mut Call<'_>) -> Planned {
    call.write(Op::Increment { by: call.integer(2)? }, tell_count)
}

fn decrby(call: &mut Call<'_>) -> Planned {
    let by = call.integer(2)?.checked_neg().ok_or(Error::new("ERR decrement would overflow"))?;
    call.write(Op::Increment { by }, tell_count)
}

fn incrbyfloat(call: &mut Call<'_>) -> Planned {
    call.write(Op::IncrementFloat { by: numbers::float(call.args.at(2))? }, tell_bytes)
}

#[cfg(test)]
mod tests {
    use super::part;

    #[test]
    fn parts_are_cut_as_redis_does() {
        for (start, end, expected) in [
            (0, -1, "hello"),
            (1, 3, "ell"),
            (-3, -1, "llo"),
            (-100, 100, "hello"),
            (3, 1, ""),
            (10, 20, ""),
            (-1, -3, ""),
            (i64::MIN, i64::MAX, "hello"),
        ] {
            assert_eq!(part(b"hello", start, end), expected.as_bytes(), "{start} {end}");
        }
        assert_eq!(part(b"", 0, -1), b"");
    }
}
