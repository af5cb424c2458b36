//! Hashes: sessions with named fields. Fields are told in the order of their names.

use super::numbers;
use crate::gateway::resp::{
    call::Call,
    edge,
    error::{self, Error},
    plan::{Plan, Planned, tell_bytes, tell_count, tell_ok},
    reply::Reply,
    table::{ONE_KEY, Spec, command, flag::*},
};
use sojourn_core::{Fields, Kind, Op, Projection, View};

const WRITES: u32 = WRITE | DENYOOM | FAST;

pub const COMMANDS: &[Spec] = &[
    command("hset", -4, hset).flags(WRITES).keys(ONE_KEY).docs(
        "hash",
        "2.0.0",
        "key field value [field value ...]",
        "Sets fields of a hash; others stay.",
    ),
    command("hmset", -4, hmset).flags(WRITES).keys(ONE_KEY).docs(
        "hash",
        "2.0.0",
        "key field value [field value ...]",
        "Sets fields of a hash; others stay.",
    ),
    command("hsetnx", 4, hsetnx).flags(WRITES).keys(ONE_KEY).docs(
        "hash",
        "2.0.0",
        "key field value",
        "Sets a field of a hash only if it is new.",
    ),
    command("hget", 3, hget).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "hash",
        "2.0.0",
        "key field",
        "Returns a field of a hash.",
    ),
    command("hmget", -3, hmget).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "hash",
        "2.0.0",
        "key field [field ...]",
        "Returns fields of a hash.",
    ),
    command("hgetall", 2, hgetall).flags(READONLY).keys(ONE_KEY).docs(
        "hash",
        "2.0.0",
        "key",
        "Returns all fields of a hash with their values.",
    ),
    command("hdel", -3, hdel).flags(WRITE | FAST).keys(ONE_KEY).docs(
        "hash",
        "2.0.0",
        "key field [field ...]",
        "Removes fields of a hash; one without fields is destroyed.",
    ),
    command("hexists", 3, hexists).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "hash",
        "2.0.0",
        "key field",
        "Tells whether a hash has a field.",
    ),
    command("hlen", 2, hlen).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "hash",
        "2.0.0",
        "key",
        "Counts the fields of a hash.",
    ),
    command("hkeys", 2, hkeys).flags(READONLY).keys(ONE_KEY).docs(
        "hash",
        "2.0.0",
        "key",
        "Returns the names of the fields.",
    ),
    command("hvals", 2, hvals).flags(READONLY).keys(ONE_KEY).docs(
        "hash",
        "2.0.0",
        "key",
        "Returns the values of the fields.",
    ),
    command("hstrlen", 3, hstrlen).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "hash",
        "3.2.0",
        "key field",
        "Returns the length of a field's value.",
    ),
    command("hincrby", 4, hincrby).flags(WRITES).keys(ONE_KEY).docs(
        "hash",
        "2.0.0",
        "key field increment",
        "Adds to the integer of a field.",
    ),
    command("hincrbyfloat", 4, hincrbyfloat).flags(WRITES).keys(ONE_KEY).docs(
        "hash",
        "2.6.0",
        "key field increment",
        "Adds to the float of a field.",
    ),
];

/// The fields that a request names from its third word on.
fn given(call: &Call<'_>) -> Result<Fields, Error> {
    if !call.args.len().is_multiple_of(2) {
        return Err(error::wrong_arity(call.spec.name));
    }
    let args = call.args;
    let pairs = (2..args.len()).step_by(2).map(move |at| (args.at(at), args.at(at + 1)));
    edge::hash_fields(call.server, call.room()?, pairs)
}

fn hset(call: &mut Call<'_>) -> Planned {
    call.write(Op::HashSet { fields: given(call)?, only_new: false }, tell_count)
}

fn hmset(call: &mut Call<'_>) -> Planned {
    call.write(Op::HashSet { fields: given(call)?, only_new: false }, tell_ok)
}

fn hsetnx(call: &mut Call<'_>) -> Planned {
    call.write(Op::HashSet { fields: given(call)?, only_new: true }, tell_count)
}

fn names(call: &Call<'_>) -> Vec<Box<[u8]>> {
    call.args.from(2).iter().map(Into::into).collect()
}

/// A read of one field; `tell` gets its value.
fn one_field(call: &mut Call<'_>, tell: fn(&mut Reply, Option<&[u8]>)) -> Planned {
    let name: Box<[u8]> = call.args.at(2).into();
    let projection = Projection::Fields(vec![name.clone()]);
    Ok(Plan::view_of(Kind::Hash, call.key(1)?, projection, move |reply, view| {
        tell(reply, view.as_ref().and_then(|view| view.fields.get(&name)));
        Ok(())
    }))
}

fn hget(call: &mut Call<'_>) -> Planned {
    one_field(call, |reply, value| reply.bulk_or_null(value))
}

fn hexists(call: &mut Call<'_>) -> Planned {
    one_field(call, |reply, value| reply.flag(value.is_some()))
}

fn hstrlen(call: &mut Call<'_>) -> Planned {
    one_field(call, |reply, value| reply.count(value.map_or(0, |value| value.len() as u64)))
}

fn hmget(call: &mut Call<'_>) -> Planned {
    let names = names(call);
    let projection = Projection::Fields(names.clone());
    Ok(Plan::view_of(Kind::Hash, call.key(1)?, projection, move |reply, view| {
        reply.array(names.len());
        for name in &names {
            reply.bulk_or_null(view.as_ref().and_then(|view| view.fields.get(name)));
        }
        Ok(())
    }))
}

fn hdel(call: &mut Call<'_>) -> Planned {
    call.write(Op::HashRemove { names: names(call) }, tell_count)
}

fn hlen(call: &mut Call<'_>) -> Planned {
    Ok(Plan::view_of(Kind::Hash, call.key(1)?, Projection::Summary, |reply, view| {
        reply.count(view.map_or(0, |view| view.field_count));
        Ok(())
    }))
}

/// A read of all fields; `head` gets their number, `tell` each.
fn all_fields(call: &mut Call<'_>, head: fn(&mut Reply, usize), tell: fn(&mut Reply, &[u8], &[u8])) -> Planned {
    Ok(Plan::view_of(Kind::Hash, call.key(1)?, Projection::Whole, move |reply, view: Option<Box<View>>| {
        let fields = view.map(|view| view.fields).unwrap_or_default();
        head(reply, fields.len());
        fields.iter().for_each(|(name, value)| tell(reply, name, value));
        Ok(())
    }))
}

fn hgetall(call: &mut Call<'_>) -> Planned {
    all_fields(call, Reply::map, |reply, name, value| {
        reply.bulk(name);
        reply.bulk(value);
    })
}

fn hkeys(call: &mut Call<'_>) -> Planned {
    all_fields(call, Reply::array, |reply, name, _| reply.bulk(name))
}

fn hvals(call: &mut Call<'_>) -> Planned {
    all_fields(call, Reply::array, |reply, _, value| reply.bulk(value))
}

fn hincrby(call: &mut Call<'_>) -> Planned {
    call.write(Op::HashIncrement { name: call.args.at(2).into(), by: call.integer(3)? }, tell_count)
}

fn hincrbyfloat(call: &mut Call<'_>) -> Planned {
    let by = numbers::float(call.args.at(3))?;
    if by.is_infinite() {
        return Err(Error::new("ERR value is NaN or Infinity"));
    }
    call.write(Op::HashIncrementFloat { name: call.args.at(2).into(), by }, tell_bytes)
}
