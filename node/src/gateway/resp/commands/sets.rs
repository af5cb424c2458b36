//! Sets, as far as indexes of sessions need them.

use crate::gateway::resp::{
    REPLY_BYTES_MAX,
    call::Call,
    error::{self, Error, SYNTAX},
    plan::{Plan, Planned, tell_count, unexpected},
    table::{ONE_KEY, Spec, command, flag::*},
};
use sojourn_core::{Kind, Op, Outcome, Projection};

pub const COMMANDS: &[Spec] = &[
    command("sadd", -3, sadd).flags(WRITE | DENYOOM | FAST).keys(ONE_KEY).docs(
        "set",
        "1.0.0",
        "key member [member ...]",
        "Adds members to a set.",
    ),
    command("srem", -3, srem).flags(WRITE | FAST).keys(ONE_KEY).docs(
        "set",
        "1.0.0",
        "key member [member ...]",
        "Removes members of a set; an empty one is destroyed.",
    ),
    command("smembers", 2, smembers).flags(READONLY).keys(ONE_KEY).docs(
        "set",
        "1.0.0",
        "key",
        "Returns the members of a set.",
    ),
    command("sismember", 3, sismember).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "set",
        "1.0.0",
        "key member",
        "Tells whether a set has a member.",
    ),
    command("smismember", -3, smismember).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "set",
        "6.2.0",
        "key member [member ...]",
        "Tells which members a set has.",
    ),
    command("scard", 2, scard).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "set",
        "1.0.0",
        "key",
        "Counts the members of a set.",
    ),
    command("spop", -2, spop).flags(WRITE | FAST).keys(ONE_KEY).docs(
        "set",
        "1.0.0",
        "key [count]",
        "Removes and returns random members of a set.",
    ),
    command("srandmember", -2, srandmember).flags(READONLY).keys(ONE_KEY).docs(
        "set",
        "1.0.0",
        "key [count]",
        "Returns random members of a set.",
    ),
];

const OUT_OF_RANGE_POSITIVE: Error = Error::new("ERR value is out of range, must be positive");

fn members(call: &Call<'_>) -> Vec<Box<[u8]>> {
    call.args.from(2).iter().map(Into::into).collect()
}

fn sadd(call: &mut Call<'_>) -> Planned {
    call.write(Op::SetAdd { members: members(call) }, tell_count)
}

fn srem(call: &mut Call<'_>) -> Planned {
    call.write(Op::SetRemove { members: members(call) }, tell_count)
}

fn smembers(call: &mut Call<'_>) -> Planned {
    Ok(Plan::view_of(Kind::Set, call.key(1)?, Projection::Whole, |reply, view| {
        let members = view.map(|view| view.fields).unwrap_or_default();
        reply.set(members.len());
        members.iter().for_each(|(member, _)| reply.bulk(member));
        Ok(())
    }))
}

fn sismember(call: &mut Call<'_>) -> Planned {
    let member: Box<[u8]> = call.args.at(2).into();
    let projection = Projection::Fields(vec![member.clone()]);
    Ok(Plan::view_of(Kind::Set, call.key(1)?, projection, move |reply, view| {
        reply.flag(view.is_some_and(|view| view.fields.get(&member).is_some()));
        Ok(())
    }))
}

fn smismember(call: &mut Call<'_>) -> Planned {
    let members = members(call);
    let projection = Projection::Fields(members.clone());
    Ok(Plan::view_of(Kind::Set, call.key(1)?, projection, move |reply, view| {
        reply.array(members.len());
        for member in &members {
            reply.flag(view.as_ref().is_some_and(|view| view.fields.get(member).is_some()));
        }
        Ok(())
    }))
}

fn scard(call: &mut Call<'_>) -> Planned {
    Ok(Plan::view_of(Kind::Set, call.key(1)?, Projection::Summary, |reply, view| {
        reply.count(view.map_or(0, |view| view.field_count));
        Ok(())
    }))
}

fn spop(call: &mut Call<'_>) -> Planned {
    let seed = call.random();
    match call.args.len() {
        2 => call.write(Op::SetPop { count: 1, seed }, |reply, results| {
            match results.outcome()? {
                Outcome::Members(members) => reply.bulk_or_null(members.first().map(|member| &**member)),
                Outcome::Nothing => reply.null(),
                _ => return unexpected(),
            }
            Ok(())
        }),
        3 => {
            let count = u64::try_from(call.integer(2).map_err(|_| OUT_OF_RANGE_POSITIVE)?);
            let count = count.map_err(|_| OUT_OF_RANGE_POSITIVE)?;
            call.write(Op::SetPop { count, seed }, |reply, results| {
                let members = match results.outcome()? {
                    Outcome::Members(members) => members,
                    Outcome::Nothing => Vec::new(),
                    _ => return unexpected(),
                };
                reply.set(members.len());
                members.iter().for_each(|member| reply.bulk(member));
                Ok(())
            })
        }
        _ => Err(SYNTAX),
    }
}

fn srandmember(call: &mut Call<'_>) -> Planned {
    let mut random = Random(call.random());
    let count = match call.args.len() {
        2 => None,
        3 => Some(call.integer(2)?),
        _ => return Err(SYNTAX),
    };
    if count.is_some_and(|count| count < -i64::MAX / 2) {
        return Err(Error::new("ERR value is out of range"));
    }
    Ok(Plan::view_of(Kind::Set, call.key(1)?, Projection::Whole, move |reply, view| {
        let fields = view.map(|view| view.fields).unwrap_or_default();
        let mut members: Vec<&[u8]> = fields.iter().map(|(member, _)| member).collect();
        match count {
            None => reply.bulk_or_null(random.choose(&members)),
            Some(count) if count >= 0 => {
                let count = usize::try_from(count).unwrap_or(usize::MAX).min(members.len());
                random.bring_to_front(&mut members, count);
                reply.array(count);
                members[..count].iter().for_each(|member| reply.bulk(member));
            }
            Some(_) if members.is_empty() => reply.array(0),
            // A negative count allows repetitions.
            Some(count) => {
                let count = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
                reply.array(count);
                for _ in 0..count {
                    reply.bulk(random.choose(&members).unwrap_or_default());
                    if reply.len() > REPLY_BYTES_MAX {
                        return Err(error::REPLY_TOO_LONG);
                    }
                }
            }
        }
        Ok(())
    }))
}

/// SplitMix64: good enough to choose members by.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(mixed ^ (mixed >> 31)) * bound as u128) >> 64) as usize
    }

    fn choose<'a>(&mut self, items: &[&'a [u8]]) -> Option<&'a [u8]> {
        items.get(self.below(items.len())).copied()
    }

    fn bring_to_front(&mut self, items: &mut [&[u8]], count: usize) {
        for at in 0..count {
            let other = at + self.below(items.len() - at);
            items.swap(at, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn choices_stay_within_bounds_and_reach_all() {
        let mut random = Random(7);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[random.below(5)] = true;
        }
        assert_eq!(seen, [true; 5]);
        let mut items: Vec<&[u8]> = vec![b"a", b"b", b"c"];
        random.bring_to_front(&mut items, 3);
        items.sort_unstable();
        assert_eq!(items, [b"a", b"b", b"c"]);
        assert_eq!(random.choose(&[]), None);
    }
}
