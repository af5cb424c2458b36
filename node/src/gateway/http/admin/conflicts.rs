//! The journal: what a region wrote that lost against what others wrote meanwhile.
//!
//! Every region has a copy of every entry, so any node of any region answers for the world.

use super::{
    super::{
        Node,
        api::{Conflict, Conflicts, ListConflicts, Place},
    },
    Refused, namespaces,
    sessions::{Body, begin, cursor, here, other_version, read, region_name, shards, stand_in},
};
use crate::notation::{escape, unescape};
use axum::{Json, extract::State};
use sojourn_core::{
    Answer, Key, NamespaceId, Projection, Query, ShardId,
    ids::NEVER,
    query::{Cursor, Filter, Line},
    state::{self, JOURNAL},
};
use std::time::Duration;

/// Entries of a page, if the caller does not say, and at most.
const LIMIT: u64 = 100;
const LIMIT_MAX: u64 = 1_000;

/// After so many bytes of entries a page ends: each has two sessions in it.
const PAGE_BYTES_MAX: u64 = 4 << 20;

/// Entries that one page looks at, matching or not: then it answers with what it has.
const LOOKED_MAX: u64 = 2_000;

/// Entries that one shard is asked for at a time.
const AT_ONCE: u64 = 32;

pub async fn list(State(node): State<Node>, body: Body<ListConflicts>) -> Result<Json<Conflicts>, Refused> {
    let Json(ListConflicts { namespace, user, limit, from, show_ids, values }) = body?;
    let namespace = namespace.map(|name| namespaces::find(&node, &name)).transpose()?.map(|namespace| namespace.id);
    let wanted = Wanted { namespace, user: user.map(|user| unescape(&user)) };
    let limit = limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let shards: Vec<ShardId> = shards(&node).into_iter().collect();
    let first = from.or(shards.first().map(|shard| begin(*shard)));
    let mut page = Conflicts { conflicts: Vec::new(), now: node.backend.now_ms(), next: first };
    let (mut looked, mut bytes) = (0, 0);
    while let Some(place) = page.next {
        let left = limit.saturating_sub(page.conflicts.len() as u64);
        if left == 0 || looked >= LOOKED_MAX || bytes >= PAGE_BYTES_MAX {
            break;
        }
        let shard = ShardId(place.shard);
        let (lines, next) = lines(&node, place, left.min(AT_ONCE)).await?;
        let after = shards.iter().find(|other| **other > shard).map(|shard| begin(*shard));
        page.next = next.map(|cursor| here(shard, cursor)).or(after);
        for line in lines {
            let key = Key::new(JOURNAL, &line.id)?;
            if bytes >= PAGE_BYTES_MAX {
                page.next = Some(here(shard, position(&key, &line)));
                break;
            }
            looked += 1;
            bytes += line.view.bytes;
            let found = entry(&node, shard, key).await?.filter(|conflict| wanted.takes(conflict));
            page.conflicts.extend(found.map(|conflict| shown(&node, &conflict, show_ids, values)));
        }
    }
    Ok(Json(page))
}

/// How many entries there are, if all shards answer within `patience`.
pub(super) async fn count(node: &Node, patience: Duration) -> Option<u64> {
    let counted = async {
        let mut entries = 0;
        for shard in shards(node) {
            let query = Query::Count { namespace: JOURNAL, filter: Filter::default() };
            let Ok(Answer::Total { sessions, .. }) = read(node, Some(shard), query).await else { return None };
            entries += sessions;
        }
        Some(entries)
    };
    tokio::time::timeout(patience, counted).await.ok().flatten()
}

/// Which entries are asked for.
struct Wanted {
    namespace: Option<NamespaceId>,
    user: Option<Vec<u8>>,
}

impl Wanted {
    fn takes(&self, state::Conflict { key, mine, theirs, .. }: &state::Conflict) -> bool {
        let mut owners = std::iter::once(mine).chain(theirs).filter_map(|side| side.owner.as_deref());
        self.namespace.is_none_or(|namespace| key.namespace() == namespace)
            && self.user.as_ref().is_none_or(|user| owners.any(|owner| *owner.user == **user))
    }
}

/// Entries of a shard without what is in them, the earliest first: all are kept for the same time.
async fn lines(node: &Node, place: Place, count: u64) -> Result<(Vec<Line>, Option<Cursor>), Refused> {
    let filter = Filter { expiring_before: Some(NEVER), ..Filter::default() };
    let query = Query::Scan { namespace: JOURNAL, filter, from: cursor(place), count, until: None };
    match read(node, Some(ShardId(place.shard)), query).await? {
        Answer::Page { lines, next } => Ok((lines, next)),
        _other => Err(other_version()),
    }
}

/// Where a line is in the order in which they come.
fn position(key: &Key, line: &Line) -> Cursor {
    let deadline = line.view.idle_deadline.min(line.view.absolute_deadline);
    Cursor { deadline, slot: key.slot().number(), hash: key.hash() }
}

/// What an entry says; none if it has ended meanwhile.
async fn entry(node: &Node, shard: ShardId, key: Key) -> Result<Option<state::Conflict>, Refused> {
    let query = Query::Get { key, projection: Projection::Whole };
    match read(node, Some(shard), query).await? {
        Answer::Record(view) => Ok(view.and_then(|view| state::Conflict::from_fields(&view.fields))),
        _other => Err(other_version()),
    }
}

fn shown(node: &Node, conflict: &state::Conflict, show_ids: bool, values: bool) -> Conflict {
    let region = node.backend.topology().region.clone();
    let (namespace, id) = (conflict.key.namespace(), conflict.key.id());
    let name = region.namespaces.get(&namespace).map_or_else(|| namespace.0.to_string(), |known| known.name.clone());
    let session = if show_ids { escape(id) } else { stand_in(&region.mint_key, namespace, id) };
    Conflict::of(conflict, (name, session), values, |region| region_name(node, region))
}
