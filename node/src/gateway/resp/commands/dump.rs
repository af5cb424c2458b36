//! `DUMP` and `RESTORE`: values in and out in the form that Redis servers exchange.

use super::expire::Unit;
use crate::gateway::resp::{
    call::Call,
    edge,
    error::{self, Error, SYNTAX},
    plan::{Plan, Planned, tell_ok},
    rdb,
    table::{ONE_KEY, Spec, command, flag::*},
};
use sojourn_core::{Condition, Expiry, Fields, Kind, Op, Outcome, Projection, Refusal};

pub const COMMANDS: &[Spec] = &[
    command("dump", 2, dump).flags(READONLY).keys(ONE_KEY).docs(
        "generic",
        "2.6.0",
        "key",
        "Returns the serialised form of a value.",
    ),
    command("restore", -4, restore).flags(WRITE | DENYOOM).keys(ONE_KEY).docs(
        "generic",
        "2.6.0",
        "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
        "Creates a key from the serialised form of a value.",
    ),
];

fn dump(call: &mut Call<'_>) -> Planned {
    Ok(Plan::view(call.key(1)?, Projection::Whole, |reply, view| {
        match view {
            Some(view) => reply.bulk(&rdb::dump(view.kind, &view.fields)),
            None => reply.null(),
        }
        Ok(())
    }))
}

fn restore(call: &mut Call<'_>) -> Planned {
    let (mut replace, mut absolute, mut at) = (false, false, 4);
    while at < call.args.len() {
        if call.args.is(at, "replace") {
            replace = true;
        } else if call.args.is(at, "absttl") {
            absolute = true;
        } else if (call.args.is(at, "idletime") || call.args.is(at, "freq")) && call.args.get(at + 1).is_some() {
            // Hints for an eviction that there is not.
            at += 1;
            if call.integer(at)? < 0 {
                return Err(Error::new("ERR Invalid IDLETIME value, must be >= 0"));
            }
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    let expiry = expiry(call, absolute)?;
    let (kind, fields) = rdb::restore(call.args.at(3)).map_err(|error| Error::from(format!("ERR {error}")))?;
    match kind {
        Kind::String => restore_string(call, &fields, expiry, replace),
        Kind::Hash => {
            let fields = edge::hash_fields(call.server, call.room()?, fields.iter())?;
            call.write(Op::Restore { kind, fields, expiry, replace }, tell_ok)
        }
        Kind::Set | Kind::SortedSet => call.write(Op::Restore { kind, fields, expiry, replace }, tell_ok),
    }
}

fn expiry(call: &Call<'_>, absolute: bool) -> Result<Expiry, Error> {
    let unit = if absolute { Unit::AT_MILLISECONDS } else { Unit::MILLISECONDS };
    match call.integer(2)? {
        0 => Ok(Expiry::Default),
        ms if ms < 0 => Err(Error::new("ERR Invalid TTL value, must be >= 0")),
        ms => unit.expiry(ms, call.server.backend.now_ms()).ok_or_else(|| error::invalid_expire("restore")),
    }
}

/// What the namespace reads out of values it reads out of these too.
fn restore_string(call: &mut Call<'_>, fields: &Fields, expiry: Expiry, replace: bool) -> Planned {
    let (value, owner) = edge::string_value(call.server, call.room()?, fields.get(b"").unwrap_or_default())?;
    if owner.is_none() {
        let (kind, fields) = (Kind::String, Fields::value(value));
        return call.write(Op::Restore { kind, fields, expiry, replace }, tell_ok);
    }
    let condition = if replace { Condition::Always } else { Condition::IfAbsent };
    call.write(Op::Set { value, expiry, condition, get: false, owner }, |reply, results| match results.outcome()? {
        Outcome::Nothing => Err(Refusal::Busy.into()),
        _ => {
            reply.ok();
            Ok(())
        }
    })
}
