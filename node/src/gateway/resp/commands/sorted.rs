//! Sorted sets: what changes them, and what looks at single members.

use super::numbers;
use crate::gateway::resp::{
    call::Call,
    error::{Error, SYNTAX},
    plan::{Plan, Planned, Results, tell_count, unexpected},
    reply::{Protocol, Reply},
    table::{ONE_KEY, Spec, command, flag::*},
};
use sojourn_core::{Condition, Kind, Op, Outcome, Projection, Refusal, View, command::ScoreRules};

const WRITES: u32 = WRITE | DENYOOM | FAST;

pub const COMMANDS: &[Spec] = &[
    command("zadd", -4, zadd).flags(WRITES).keys(ONE_KEY).docs(
        "sorted-set",
        "1.2.0",
        "key [NX|XX] [GT|LT] [CH] [INCR] score member [score member ...]",
        "Adds members with scores, or changes their scores.",
    ),
    command("zincrby", 4, zincrby).flags(WRITES).keys(ONE_KEY).docs(
        "sorted-set",
        "1.2.0",
        "key increment member",
        "Adds to the score of a member.",
    ),
    command("zrem", -3, zrem).flags(WRITE | FAST).keys(ONE_KEY).docs(
        "sorted-set",
        "1.2.0",
        "key member [member ...]",
        "Removes members; an empty sorted set is destroyed.",
    ),
    command("zscore", 3, zscore).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "sorted-set",
        "1.2.0",
        "key member",
        "Returns the score of a member.",
    ),
    command("zmscore", -3, zmscore).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "sorted-set",
        "6.2.0",
        "key member [member ...]",
        "Returns the scores of members.",
    ),
    command("zcard", 2, zcard).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "sorted-set",
        "1.2.0",
        "key",
        "Counts the members of a sorted set.",
    ),
    command("zrank", 3, zrank).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "sorted-set",
        "2.0.0",
        "key member",
        "Returns a member's place from the lowest score.",
    ),
    command("zrevrank", 3, zrevrank).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "sorted-set",
        "2.0.0",
        "key member",
        "Returns a member's place from the highest score.",
    ),
    command("zpopmin", -2, zpopmin).flags(WRITE | FAST).keys(ONE_KEY).docs(
        "sorted-set",
        "5.0.0",
        "key [count]",
        "Removes and returns the members with the lowest scores.",
    ),
    command("zpopmax", -2, zpopmax).flags(WRITE | FAST).keys(ONE_KEY).docs(
        "sorted-set",
        "5.0.0",
        "key [count]",
        "Removes and returns the members with the highest scores.",
    ),
];

/// The score that a field's value holds.
pub fn score_of(value: &[u8]) -> f64 {
    f64::from_bits(value.try_into().map_or(0, u64::from_be_bytes))
}

/// Members with their scores, lowest score first, equal ones by name.
pub fn in_order(view: &View) -> Vec<(&[u8], f64)> {
    let mut members: Vec<_> = view.fields.iter().map(|(member, value)| (member, score_of(value))).collect();
    // The fields come in the order of their names and the sort keeps it. No score is NaN.
    members.sort_by(|(_, a), (_, b)| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    members
}

fn zadd(call: &mut Call<'_>) -> Planned {
    let (mut new, mut known, mut increment, mut at) = (false, false, false, 2);
    let mut rules = ScoreRules::default();
    while let Some(word) = call.args.get(at) {
        match word.to_ascii_lowercase().as_slice() {
            b"nx" => new = true,
            b"xx" => known = true,
            b"gt" => rules.only_greater = true,
            b"lt" => rules.only_less = true,
            b"ch" => rules.count_changed = true,
            b"incr" => increment = true,
            _ => break,
        }
        at += 1;
    }
    let pairs = call.args.from(at);
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    if new && known {
        return Err(Error::new("ERR XX and NX options at the same time are not compatible"));
    }
    if rules.only_greater && (new || rules.only_less) || rules.only_less && new {
        return Err(Error::new("ERR GT, LT, and/or NX options at the same time are not compatible"));
    }
    if increment && pairs.len() > 2 {
        return Err(Error::new("ERR INCR option supports a single increment-element pair"));
    }
    rules.condition = match (new, known) {
        (true, _) => Condition::IfAbsent,
        (_, true) => Condition::IfPresent,
        (false, false) => Condition::Always,
    };
    // Adding zero takes the sign off a negative zero: Redis shows none.
    let pair = |at| Ok((pairs.at(at + 1).into(), numbers::float(pairs.at(at))? + 0.0));
    let mut members: Vec<(Box<[u8]>, f64)> = (0..pairs.len()).step_by(2).map(pair).collect::<Result<_, Error>>()?;
    match members.pop() {
        Some((member, by)) if increment => call.write(Op::SortedIncrement { member, by, rules }, tell_score),
        last => {
            members.extend(last);
            call.write(Op::SortedAdd { members, rules }, tell_count)
        }
    }
}

fn zincrby(call: &mut Call<'_>) -> Planned {
    let by = numbers::float(call.args.at(2))?;
    let rules = ScoreRules::default();
    call.write(Op::SortedIncrement { member: call.args.at(3).into(), by, rules }, tell_score)
}

fn tell_score(reply: &mut Reply, results: &mut Results<'_, Outcome>) -> Result<(), Error> {
    match results.next_raw() {
        Some(Ok(Outcome::Score(score))) => reply.double(score),
        Some(Ok(Outcome::Nothing)) => reply.null(),
        Some(Ok(Outcome::Refused(Refusal::NotFinite))) => {
            return Err(Error::new("ERR resulting score is not a number (NaN)"));
        }
        Some(Ok(Outcome::Refused(refusal))) => return Err(refusal.into()),
        Some(Err(unavailable)) => return Err(unavailable.into()),
        Some(Ok(_)) | None => return unexpected(),
    }
    Ok(())
}

fn members(call: &Call<'_>) -> Vec<Box<[u8]>> {
    call.args.from(2).iter().map(Into::into).collect()
}

fn zrem(call: &mut Call<'_>) -> Planned {
    call.write(Op::SortedRemove { members: members(call) }, tell_count)
}

fn tell_member_score(reply: &mut Reply, view: Option<&View>, member: &[u8]) {
    match view.and_then(|view| view.fields.get(member)) {
        Some(value) => reply.double(score_of(value)),
        None => reply.null(),
    }
}

fn zscore(call: &mut Call<'_>) -> Planned {
    let member: Box<[u8]> = call.args.at(2).into();
    let projection = Projection::Fields(vec![member.clone()]);
    Ok(Plan::view_of(Kind::SortedSet, call.key(1)?, projection, move |reply, view| {
        tell_member_score(reply, view.as_deref(), &member);
        Ok(())
    }))
}

fn zmscore(call: &mut Call<'_>) -> Planned {
    let members = members(call);
    let projection = Projection::Fields(members.clone());
    Ok(Plan::view_of(Kind::SortedSet, call.key(1)?, projection, move |reply, view| {
        reply.array(members.len());
        members.iter().for_each(|member| tell_member_score(reply, view.as_deref(), member));
        Ok(())
    }))
}

fn zcard(call: &mut Call<'_>) -> Planned {
    Ok(Plan::view_of(Kind::SortedSet, call.key(1)?, Projection::Summary, |reply, view| {
        reply.count(view.map_or(0, |view| view.field_count));
        Ok(())
    }))
}

fn zrank(call: &mut Call<'_>) -> Planned {
    rank(call, false)
}

fn zrevrank(call: &mut Call<'_>) -> Planned {
    rank(call, true)
}

fn rank(call: &mut Call<'_>, from_top: bool) -> Planned {
    let member: Box<[u8]> = call.args.at(2).into();
    Ok(Plan::view_of(Kind::SortedSet, call.key(1)?, Projection::Whole, move |reply, view| {
        let members = view.as_deref().map(in_order).unwrap_or_default();
        match members.iter().position(|(other, _)| *other == &*member) {
            Some(at) if from_top => reply.count((members.len() - 1 - at) as u64),
            Some(at) => reply.count(at as u64),
            None => reply.null(),
        }
        Ok(())
    }))
}

fn zpopmin(call: &mut Call<'_>) -> Planned {
    pop(call, false)
}

fn zpopmax(call: &mut Call<'_>) -> Planned {
    pop(call, true)
}

fn pop(call: &mut Call<'_>, highest: bool) -> Planned {
    let counted = match call.args.len() {
        2 => None,
        3 => {
            let positive = Error::new("ERR value is out of range, must be positive");
            Some(call.integer(2).ok().and_then(|count| u64::try_from(count).ok()).ok_or(positive)?)
        }
        _ => return Err(SYNTAX),
    };
    call.write(Op::SortedPop { count: counted.unwrap_or(1), highest }, move |reply, results| {
        let members = match results.outcome()? {
            Outcome::Scored(members) => members,
            Outcome::Nothing => Vec::new(),
            _ => return unexpected(),
        };
        tell_scored(reply, members.iter().map(|(member, score)| (&**member, *score)), counted.is_some());
        Ok(())
    })
}

/// Tells members with their scores: RESP3 clients get pairs, where `nested`.
pub fn tell_scored<'a>(reply: &mut Reply, members: impl ExactSizeIterator<Item = (&'a [u8], f64)>, nested: bool) {
    let nested = nested && reply.protocol() == Protocol::Resp3;
    reply.array(if nested { members.len() } else { members.len() * 2 });
    for (member, score) in members {
        if nested {
            reply.array(2);
        }
        reply.bulk(member);
        reply.double(score);
    }
}
