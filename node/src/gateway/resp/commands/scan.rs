//! Walks over a namespace: `SCAN`, `KEYS`, `FLUSHDB`; and the scans of one session's fields.
//!
//! Sessions are walked in the order of slots, whatever shards hold them: a cursor is a place in that order and means the
//! same on every node, before and after slots moved.

use crate::gateway::resp::{
    REPLY_BYTES_MAX,
    call::Call,
    error::{self, Error, SYNTAX},
    plan::{Finish, Plan, Planned, unexpected},
    quota,
    reply::{Reply, double_text},
    server::Server,
    session::Room,
    table::{ONE_KEY, Spec, command, flag::*},
};
use crate::region::{backend::Read, sweep::Sweep};
use sojourn_core::{
    Answer, Command, Key, Kind, NamespaceId, Op, Outcome, Projection, Query, Request, ShardId, Slot, SlotTable, glob,
    ids::SLOTS,
    query::{Cursor, Filter, Line},
};
use std::{sync::Arc, time::Duration};

pub const COMMANDS: &[Spec] = &[
    command("scan", -2, scan).flags(READONLY).docs(
        "generic",
        "2.8.0",
        "cursor [MATCH pattern] [COUNT count] [TYPE type]",
        "Returns some keys and where to go on.",
    ),
    command("keys", 2, keys).flags(READONLY).docs("generic", "1.0.0", "pattern", "Returns all keys that match."),
    command("hscan", -3, hscan).flags(READONLY).keys(ONE_KEY).docs(
        "hash",
        "2.8.0",
        "key cursor [MATCH pattern] [COUNT count]",
        "Returns the fields of a hash that match.",
    ),
    command("sscan", -3, sscan).flags(READONLY).keys(ONE_KEY).docs(
        "set",
        "2.8.0",
        "key cursor [MATCH pattern] [COUNT count]",
        "Returns the members of a set that match.",
    ),
    command("zscan", -3, zscan).flags(READONLY).keys(ONE_KEY).docs(
        "sorted-set",
        "2.8.0",
        "key cursor [MATCH pattern] [COUNT count]",
        "Returns the members of a sorted set that match.",
    ),
];

/// Sessions looked at by one read.
const PAGE_COUNT_MAX: u64 = 1_000;

/// Reads of one `SCAN`: it answers with what it has rather than walk many empty shards.
const READS_MAX: usize = 64;

/// Before slots are looked for again that a shard does not serve.
const SLOTS_PAUSE: Duration = Duration::from_millis(5);

/// Sessions destroyed by one entry of the log.
const CLEAR_COUNT: u64 = 1_000;

/// The options of all scans.
struct Options {
    cursor: u64,
    pattern: Option<Box<[u8]>>,
    count: u64,
    /// Nothing can match an unknown type.
    kind: Option<Option<Kind>>,
}

fn options(call: &Call<'_>, at: usize, typed: bool) -> Result<Options, Error> {
    let bad_cursor = Error::new("ERR invalid cursor");
    let cursor = std::str::from_utf8(call.args.at(at)).ok().and_then(|text| text.parse().ok()).ok_or(bad_cursor)?;
    let mut options = Options { cursor, pattern: None, count: 10, kind: None };
    let mut at = at + 1;
    while at < call.args.len() {
        let Some(value) = call.args.get(at + 1) else { return Err(SYNTAX) };
        if call.args.is(at, "count") {
            options.count = match call.integer(at + 1)? {
                count if count < 1 => return Err(SYNTAX),
                count => count.unsigned_abs(),
            };
        } else if call.args.is(at, "match") {
            options.pattern = (value != b"*").then(|| value.into());
        } else if call.args.is(at, "type") && typed {
            options.kind = Some(kind_of(value));
        } else {
            return Err(SYNTAX);
        }
        at += 2;
    }
    Ok(options)
}

fn kind_of(name: &[u8]) -> Option<Kind> {
    let kinds = [Kind::String, Kind::Hash, Kind::Set, Kind::SortedSet];
    kinds.into_iter().find(|kind| name.eq_ignore_ascii_case(super::keys::kind_name(*kind).as_bytes()))
}

fn scan(call: &mut Call<'_>) -> Planned {
    let Options { cursor, pattern, count, kind } = options(call, 1, true)?;
    let (server, namespace) = (Arc::clone(call.server), call.room()?.id);
    let from = match cursor {
        0 => Some(Cursor::default()),
        number => Cursor::from_number(number),
    };
    let nothing = kind == Some(None) || from.is_none();
    let filter = Filter { kind: kind.flatten(), pattern, ..Filter::default() };
    Ok(Plan::task(async move {
        let (lines, next) = match from.filter(|_| !nothing) {
            Some(from) => page(&server, namespace, &filter, from, count).await?,
            None => (Vec::new(), None),
        };
        let finish: Finish = Box::new(move |_, reply| {
            reply.array(2);
            reply.bulk(next.map_or(0, Cursor::to_number).to_string().as_bytes());
            reply.array(lines.len());
            lines.iter().for_each(|line| reply.bulk(&line.id));
            Ok(())
        });
        Ok(finish)
    }))
}

/// Some sessions at or after `from`, and where to go on.
async fn page(
    server: &Server,
    namespace: NamespaceId,
    filter: &Filter,
    from: Cursor,
    count: u64,
) -> Result<(Vec<Line>, Option<Cursor>), Error> {
    let mut lines: Vec<Line> = Vec::new();
    let mut next = Some(from);
    for _ in 0..READS_MAX {
        let Some(from) = next else { break };
        let left = count.saturating_sub(lines.len() as u64).min(PAGE_COUNT_MAX);
        if left == 0 {
            break;
        }
        let (shard, last) = run_of(server.topology().slots(), from.slot);
        let until = Slot::new(last);
        let query = Query::Scan { namespace, filter: filter.clone(), from: Some(from), count: left, until };
        let answer = server.backend.read(vec![Read { shard: Some(shard), query }]).await.pop();
        let (found, shard_next) = match answer.transpose()? {
            Some(Answer::Page { lines, next }) => (lines, next),
            Some(Answer::SlotMoved { .. }) => {
                // The slots are looked for anew.
                tokio::time::sleep(SLOTS_PAUSE).await;
                continue;
            }
            Some(_) | None => return unexpected(),
        };
        // The shard may hold slots after the run; they come when the walk is there.
        lines.extend(found.into_iter().filter(|line| Slot::of(&line.id).number() <= last));
        next = match shard_next {
            Some(cursor) if cursor.slot <= last => {
                // The shard looked at as many as were asked for, whether or not they matched.
                next = Some(cursor);
                break;
            }
            Some(_) | None if last + 1 < SLOTS => Some(Cursor { slot: last + 1, ..Cursor::default() }),
            Some(_) | None => None,
        };
    }
    Ok((lines, next))
}

/// The shard of `slot`, and the last slot from there on that it holds without a gap.
fn run_of(table: &SlotTable, slot: u16) -> (ShardId, u16) {
    let shards = table.shards();
    let start = usize::from(slot).min(shards.len().saturating_sub(1));
    let shard = shards[start];
    let length = shards[start..].iter().take_while(|other| **other == shard).count();
    (shard, u16::try_from(start + length - 1).unwrap_or(SLOTS - 1))
}

fn keys(call: &mut Call<'_>) -> Planned {
    let (server, namespace) = (Arc::clone(call.server), call.room()?.id);
    let pattern = Some(call.args.at(1)).filter(|pattern| *pattern != b"*").map(Into::into);
    let filter = Filter { pattern, ..Filter::default() };
    Ok(Plan::task(async move {
        let mut found = Reply::default();
        let (mut next, mut count) = (Some(Cursor::default()), 0);
        while let Some(from) = next {
            let (lines, after) = page(&server, namespace, &filter, from, PAGE_COUNT_MAX).await?;
            count += lines.len();
            lines.iter().for_each(|line| found.bulk(&line.id));
            if found.len() > REPLY_BYTES_MAX {
                return Err(error::REPLY_TOO_LONG);
            }
            next = after;
        }
        let finish: Finish = Box::new(move |_, reply| {
            reply.array(count);
            reply.append(found.as_bytes());
            Ok(())
        });
        Ok(finish)
    }))
}

/// Destroys all sessions of a namespace, shard by shard.
pub async fn clear(server: Arc<Server>, room: Arc<Room>) -> Result<Finish, Error> {
    // Sessions created from now on stay; the leaders' clocks may be a little apart.
    const CLOCKS_APART_MS: u64 = 1_000;
    let before = server.backend.now_ms() + CLOCKS_APART_MS;
    loop {
        let changes = server.backend.region().slot_moves.changes;
        clear_shards(&server, &room, before).await?;
        // What went from one shard to another meanwhile may have been in neither.
        if server.backend.region().slot_moves.changes == changes {
            break;
        }
    }
    for region in server.backend.regions_abroad() {
        let op = Op::Clear { namespace: room.id, before, count_max: CLEAR_COUNT };
        server.backend.sweep_abroad(region, Sweep { namespace: room.id, rules: room.rules, op }).await?;
    }
    Ok(Box::new(|_, reply| {
        reply.ok();
        Ok(())
    }))
}

async fn clear_shards(server: &Server, room: &Room, before: u64) -> Result<(), Error> {
    let topology = server.topology();
    let keys = quota::shards(&topology).into_iter().map(|shard| key_in(topology.slots(), shard, room.id));
    let mut keys: Vec<Key> = keys.flatten().collect();
    while !keys.is_empty() {
        let op = Op::Clear { namespace: room.id, before, count_max: CLEAR_COUNT };
        let (request, rules) = (Request::default(), room.rules);
        let command = |key: &Key| Command { request, key: key.clone(), rules, touched: None, op: op.clone() };
        let outcomes = server.backend.write(keys.iter().map(command).collect()).await;
        let mut left = Vec::new();
        for (key, outcome) in keys.into_iter().zip(outcomes) {
            match outcome? {
                Outcome::Count(count) if count.unsigned_abs() < CLEAR_COUNT => {}
                Outcome::Count(_) => left.push(key),
                Outcome::Refused(refusal) => return Err(refusal.into()),
                _ => return unexpected(),
            }
        }
        keys = left;
    }
    Ok(())
}

/// Any key that lies in a shard: it only says where to go.
fn key_in(table: &SlotTable, shard: ShardId, namespace: NamespaceId) -> Option<Key> {
    // Every slot has some number below this.
    const NUMBERS: u32 = 1 << 20;
    let mut keys = (0..NUMBERS).filter_map(|number| Key::new(namespace, number.to_string().as_bytes()).ok());
    keys.find(|key| table.shard(key.slot()) == shard)
}

/// A session's fields all come at once: it has at most a megabyte of them.
fn scan_fields(call: &mut Call<'_>, kind: Kind, parts: usize, tell: fn(&mut Reply, &[u8], &[u8])) -> Planned {
    let Options { pattern, .. } = options(call, 2, false)?;
    Ok(Plan::view_of(kind, call.key(1)?, Projection::Whole, move |reply, view| {
        let fields = view.map(|view| view.fields).unwrap_or_default();
        let matches = |name: &[u8]| pattern.as_ref().is_none_or(|pattern| glob::matches(pattern, name));
        let count = fields.iter().filter(|(name, _)| matches(name)).count();
        reply.array(2);
        reply.bulk(b"0");
        reply.array(count * parts);
        fields.iter().filter(|(name, _)| matches(name)).for_each(|(name, value)| tell(reply, name, value));
        Ok(())
    }))
}

fn hscan(call: &mut Call<'_>) -> Planned {
    scan_fields(call, Kind::Hash, 2, |reply, name, value| {
        reply.bulk(name);
        reply.bulk(value);
    })
}

fn sscan(call: &mut Call<'_>) -> Planned {
    scan_fields(call, Kind::Set, 1, |reply, name, _| reply.bulk(name))
}

fn zscan(call: &mut Call<'_>) -> Planned {
    scan_fields(call, Kind::SortedSet, 2, |reply, name, value| {
        reply.bulk(name);
        reply.bulk(double_text(super::sorted::score_of(value)).as_bytes());
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_where_another_shard_begins() {
        let table = SlotTable::even(4);
        assert_eq!(run_of(&table, 0), (ShardId(0), 4_095));
        assert_eq!(run_of(&table, 4_095), (ShardId(0), 4_095));
        assert_eq!(run_of(&table, 16_383), (ShardId(3), 16_383));
        let mut shards = table.shards().to_vec();
        shards[100] = ShardId(9);
        let table = SlotTable::from_shards(shards).unwrap();
        assert_eq!(run_of(&table, 5), (ShardId(0), 99));
        assert_eq!(run_of(&table, 100), (ShardId(9), 100));
    }

    #[test]
    fn every_shard_has_a_key() {
        let table = SlotTable::even(256);
        for shard in 0..256 {
            let key = key_in(&table, ShardId(shard), NamespaceId(0)).unwrap();
            assert_eq!(table.shard(key.slot()), ShardId(shard));
        }
    }
}
