//! Sorted sets: ranges by rank, by score and by name.

use super::{
    numbers::score_border,
    sorted::{in_order, tell_scored},
};
use crate::gateway::resp::{
    call::Call,
    error::{Error, SYNTAX},
    plan::{Plan, Planned, tell_count},
    reply::Reply,
    table::{ONE_KEY, Spec, command, flag::*},
};
use sojourn_core::{Kind, Op, Projection};

pub const COMMANDS: &[Spec] = &[
    command("zrange", -4, zrange).flags(READONLY).keys(ONE_KEY).docs(
        "sorted-set",
        "1.2.0",
        "key start stop [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
        "Returns members within a range.",
    ),
    command("zrevrange", -4, zrevrange).flags(READONLY).keys(ONE_KEY).docs(
        "sorted-set",
        "1.2.0",
        "key start stop [WITHSCORES]",
        "Returns members within a range of ranks, highest score first.",
    ),
    command("zrangebyscore", -4, zrangebyscore).flags(READONLY).keys(ONE_KEY).docs(
        "sorted-set",
        "1.0.5",
        "key min max [WITHSCORES] [LIMIT offset count]",
        "Returns members within a range of scores.",
    ),
    command("zrevrangebyscore", -4, zrevrangebyscore).flags(READONLY).keys(ONE_KEY).docs(
        "sorted-set",
        "2.2.0",
        "key max min [WITHSCORES] [LIMIT offset count]",
        "Returns members within a range of scores, highest first.",
    ),
    command("zrangebylex", -4, zrangebylex).flags(READONLY).keys(ONE_KEY).docs(
        "sorted-set",
        "2.8.9",
        "key min max [LIMIT offset count]",
        "Returns members within a range of names.",
    ),
    command("zcount", 4, zcount).flags(READONLY | FAST).keys(ONE_KEY).docs(
        "sorted-set",
        "2.0.0",
        "key min max",
        "Counts members within a range of scores.",
    ),
    command("zremrangebyscore", 4, zremrangebyscore).flags(WRITE).keys(ONE_KEY).docs(
        "sorted-set",
        "1.2.0",
        "key min max",
        "Removes members within a range of scores.",
    ),
    command("zremrangebyrank", 4, zremrangebyrank).flags(WRITE).keys(ONE_KEY).docs(
        "sorted-set",
        "2.0.0",
        "key start stop",
        "Removes members within a range of ranks.",
    ),
];

/// What to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Name,
}

/// A border of a range of names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Border {
    Lowest,
    Highest,
    At(Box<[u8]>),
    Beyond(Box<[u8]>),
}

/// Which members.
#[derive(Debug)]
enum Range {
    Ranks(i64, i64),
    Scores((f64, bool), (f64, bool)),
    Names(Border, Border),
}

/// A whole request.
struct Wanted {
    range: Range,
    reversed: bool,
    limit: Option<(i64, i64)>,
    with_scores: bool,
}

fn zrange(call: &mut Call<'_>) -> Planned {
    read(call, None, None)
}

fn zrevrange(call: &mut Call<'_>) -> Planned {
    read(call, Some(By::Rank), Some(true))
}

fn zrangebyscore(call: &mut Call<'_>) -> Planned {
    read(call, Some(By::Score), Some(false))
}

fn zrevrangebyscore(call: &mut Call<'_>) -> Planned {
    read(call, Some(By::Score), Some(true))
}

fn zrangebylex(call: &mut Call<'_>) -> Planned {
    read(call, Some(By::Name), Some(false))
}

/// Reads the options; `by` and `reversed` are given by the command's name, or else by options.
fn wanted(call: &Call<'_>, by: Option<By>, reversed: Option<bool>) -> Result<Wanted, Error> {
    let (mut chosen, mut turned) = (by.unwrap_or(By::Rank), reversed.unwrap_or(false));
    let (mut limit, mut with_scores, mut at) = (None, false, 4);
    while at < call.args.len() {
        if call.args.is(at, "withscores") {
            with_scores = true;
        } else if call.args.is(at, "limit") && call.args.get(at + 2).is_some() {
            limit = Some((call.integer(at + 1)?, call.integer(at + 2)?));
            at += 2;
        } else if reversed.is_none() && call.args.is(at, "rev") {
            turned = true;
        } else if by.is_none() && call.args.is(at, "byscore") {
            chosen = By::Score;
        } else if by.is_none() && call.args.is(at, "bylex") {
            chosen = By::Name;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    if limit.is_some() && chosen == By::Rank {
        return Err(Error::new(
            "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        ));
    }
    if with_scores && chosen == By::Name {
        return Err(Error::new("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
    }
    // Reversed ranges of scores and names are given from the top.
    let (low, high) = if turned && chosen != By::Rank { (3, 2) } else { (2, 3) };
    let range = match chosen {
        By::Rank => Range::Ranks(call.integer(2)?, call.integer(3)?),
        By::Score => Range::Scores(score_border(call.args.at(low))?, score_border(call.args.at(high))?),
        By::Name => Range::Names(name_border(call.args.at(low))?, name_border(call.args.at(high))?),
    };
    Ok(Wanted { range, reversed: turned, limit, with_scores })
}

fn name_border(text: &[u8]) -> Result<Border, Error> {
    match text {
        b"-" => Ok(Border::Lowest),
        b"+" => Ok(Border::Highest),
        [b'[', name @ ..] => Ok(Border::At(name.into())),
        [b'(', name @ ..] => Ok(Border::Beyond(name.into())),
        _ => Err(Error::new("ERR min or max not valid string range item")),
    }
}

fn read(call: &mut Call<'_>, by: Option<By>, reversed: Option<bool>) -> Planned {
    let wanted = wanted(call, by, reversed)?;
    Ok(Plan::view_of(Kind::SortedSet, call.key(1)?, Projection::Whole, move |reply, view| {
        let members = view.as_deref().map(in_order).unwrap_or_default();
        tell(reply, &choose(members, &wanted), wanted.with_scores);
        Ok(())
    }))
}

fn tell(reply: &mut Reply, members: &[(&[u8], f64)], with_scores: bool) {
    if with_scores {
        return tell_scored(reply, members.iter().copied(), true);
    }
    reply.array(members.len());
    members.iter().for_each(|(member, _)| reply.bulk(member));
}

fn choose<'a>(mut members: Vec<(&'a [u8], f64)>, wanted: &Wanted) -> Vec<(&'a [u8], f64)> {
    if let Range::Ranks(start, stop) = wanted.range {
        if wanted.reversed {
            members.reverse();
        }
        let ranks = ranks(members.len(), start, stop);
        return members.get(ranks).unwrap_or_default().to_vec();
    }
    members.retain(|(member, score)| holds(&wanted.range, member, *score));
    if wanted.reversed {
        members.reverse();
    }
    let Some((offset, count)) = wanted.limit else { return members };
    let Ok(offset) = usize::try_from(offset) else { return Vec::new() };
    // A negative count means all.
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    members.into_iter().skip(offset).take(count).collect()
}

/// Places `start` to `stop`, inclusive, negative from the end, as a range of indexes.
fn ranks(length: usize, start: i64, stop: i64) -> std::ops::Range<usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let place = |at: i64| if at < 0 { length.saturating_add(at) } else { at };
    let (start, stop) = (place(start).max(0), place(stop).min(length - 1));
    match (usize::try_from(start), usize::try_from(stop + 1)) {
        (Ok(start), Ok(end)) if start < end => start..end,
        _ => 0..0,
    }
}

fn holds(range: &Range, member: &[u8], score: f64) -> bool {
    match range {
        Range::Ranks(..) => true,
        Range::Scores((low, low_out), (high, high_out)) => {
            (score > *low || !low_out && score == *low) && (score < *high || !high_out && score == *high)
        }
        Range::Names(low, high) => {
            let above = match low {
                Border::Lowest => true,
                Border::Highest => false,
                Border::At(name) => member >= &**name,
                Border::Beyond(name) => member > &**name,
            };
            let below = match high {
                Border::Lowest => false,
                Border::Highest => true,
                Border::At(name) => member <= &**name,
                Border::Beyond(name) => member < &**name,
            };
            above && below
        }
    }
}

fn zcount(call: &mut Call<'_>) -> Planned {
    let range = Range::Scores(score_border(call.args.at(2))?, score_border(call.args.at(3))?);
    Ok(Plan::view_of(Kind::SortedSet, call.key(1)?, Projection::Whole, move |reply, view| {
        let members = view.as_deref().map(in_order).unwrap_or_default();
        reply.count(members.iter().filter(|(member, score)| holds(&range, member, *score)).count() as u64);
        Ok(())
    }))
}

fn zremrangebyscore(call: &mut Call<'_>) -> Planned {
    let (low, high) = (score_border(call.args.at(2))?, score_border(call.args.at(3))?);
    call.write(Op::SortedRemoveByScore { low, high }, tell_count)
}

fn zremrangebyrank(call: &mut Call<'_>) -> Planned {
    call.write(Op::SortedRemoveByRank { start: call.integer(2)?, stop: call.integer(3)? }, tell_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_cut_to_what_there_is() {
        for (start, stop, expected) in
            [(0, -1, 0..5), (1, 2, 1..3), (-2, -1, 3..5), (-100, 100, 0..5), (3, 1, 0..0), (5, 9, 0..0), (0, -6, 0..0)]
        {
            assert_eq!(ranks(5, start, stop), expected, "{start} {stop}");
        }
        assert_eq!(ranks(0, 0, -1), 0..0);
        assert_eq!(ranks(5, i64::MIN, i64::MAX), 0..5);
    }

    #[test]
    fn borders_may_be_left_out() {
        let range = Range::Scores((1.0, true), (3.0, false));
        assert!(!holds(&range, b"", 1.0) && holds(&range, b"", 2.0) && holds(&range, b"", 3.0));
        let range = Range::Names(Border::Beyond(b"a".as_slice().into()), Border::Highest);
        assert!(!holds(&range, b"a", 0.0) && holds(&range, b"ab", 0.0));
    }
}
