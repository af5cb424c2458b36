//! Sessions: one by its id, many by what they have in common.

use super::{
    super::{
        Node,
        api::{Counted, Destroyed, Find, Found, List, Page, Place, Session, SetTtl, Which},
    },
    Refused, namespaces,
};
use crate::{
    notation::{escape, unescape},
    region::backend::Read,
    world::control::Agreement,
};
use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
};
use sojourn_core::{
    Answer, Command, Key, NamespaceId, Op, Outcome, Projection, Query, RegionId, Request, ShardId,
    command::{ExpireCondition, Expiry},
    mint::{MintKey, Provenance},
    policy::Namespace,
    query::{Cursor, Filter, Line, View},
};
use std::collections::BTreeSet;

pub(super) type Body<T> = Result<Json<T>, JsonRejection>;

/// Sessions of a page, if the caller does not say, and at most.
const LIMIT: u64 = 100;
const LIMIT_MAX: u64 = 1_000;

/// Sessions that one page looks at, matching or not: then it answers with what it has.
const LOOKED_MAX: u64 = 50_000;

pub async fn get(State(node): State<Node>, body: Body<Find>) -> Result<Json<Found>, Refused> {
    let Json(Find { namespace, id, values }) = body?;
    let key = Key::new(namespaces::find(&node, &namespace)?.id, &unescape(&id))?;
    let projection = if values { Projection::Whole } else { Projection::Summary };
    let Answer::Record(view) = read(&node, None, Query::Get { key, projection }).await? else {
        return Err(other_version());
    };
    let now = node.backend.now_ms();
    let shown = |view: Box<View>| Session::of((id, region_name(&node, view.home)), &view, values, now);
    Ok(Json(Found { session: view.map(shown) }))
}

pub async fn destroy(State(node): State<Node>, body: Body<Find>) -> Result<Json<Destroyed>, Refused> {
    let Json(Find { namespace, id, values: _ }) = body?;
    let namespace = namespaces::find(&node, &namespace)?;
    let outcome = write(&node, &namespace, &unescape(&id), "destroyed", Op::Destroy).await?;
    let Outcome::Count(count) = outcome else { return Err(other_version()) };
    Ok(Json(Destroyed { destroyed: count.unsigned_abs() }))
}

pub async fn ttl(State(node): State<Node>, body: Body<SetTtl>) -> Result<Json<Found>, Refused> {
    let Json(SetTtl { namespace, id, ttl_ms }) = body?;
    let at = namespaces::find(&node, &namespace)?;
    let op = Op::SetExpiry { expiry: Expiry::After { ms: ttl_ms.max(1) }, condition: ExpireCondition::Always };
    write(&node, &at, &unescape(&id), "given another deadline", op).await?;
    get(State(node), Ok(Json(Find { namespace, id, values: false }))).await
}

pub async fn count(State(node): State<Node>, body: Body<Which>) -> Result<Json<Counted>, Refused> {
    let Json(which) = body?;
    let namespace = namespaces::find(&node, &which.namespace)?.id;
    let query = Query::Count { namespace, filter: filter(&node, which) };
    let reads = shards(&node).into_iter().map(|shard| Read { shard: Some(shard), query: query.clone() });
    let mut counted = Counted { sessions: 0, bytes: 0 };
    for answer in node.backend.read(reads.collect()).await {
        let Answer::Total { sessions, bytes } = answer? else { return Err(other_version()) };
        counted = Counted { sessions: counted.sessions + sessions, bytes: counted.bytes + bytes };
    }
    Ok(Json(counted))
}

pub async fn list(State(node): State<Node>, body: Body<List>) -> Result<Json<Page>, Refused> {
    let Json(List { which, limit, from, show_ids }) = body?;
    let namespace = namespaces::find(&node, &which.namespace)?.id;
    let limit = limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let filter = filter(&node, which);
    let shards: Vec<ShardId> = shards(&node).into_iter().collect();
    let region = node.backend.topology().region.clone();
    let name = |id: &[u8]| if show_ids { escape(id) } else { stand_in(&region.mint_key, namespace, id) };
    let mut page = Page { sessions: Vec::new(), next: from.or(shards.first().map(|shard| begin(*shard))) };
    let mut looked = 0;
    while let Some(place) = page.next {
        let left = limit.saturating_sub(page.sessions.len() as u64);
        if left == 0 || looked >= LOOKED_MAX {
            break;
        }
        looked += left;
        let shard = ShardId(place.shard);
        let query = Query::Scan { namespace, filter: filter.clone(), from: cursor(place), count: left, until: None };
        let Answer::Page { lines, next } = read(&node, Some(shard), query).await? else { return Err(other_version()) };
        let now = node.backend.now_ms();
        let shown = |Line { id, view }: &Line| Session::of((name(id), region_name(&node, view.home)), view, false, now);
        page.sessions.extend(lines.iter().map(shown));
        let after = shards.iter().find(|other| **other > shard).map(|shard| begin(*shard));
        page.next = next.map(|cursor| here(shard, cursor)).or(after);
    }
    Ok(Json(page))
}

fn filter(node: &Node, which: Which) -> Filter {
    let Which { namespace: _, user, label, expiring_within_ms, pattern } = which;
    let bytes = |text: String| unescape(&text).into_boxed_slice();
    Filter {
        user: user.map(bytes),
        label: label.map(|(name, value)| (bytes(name), bytes(value))),
        expiring_before: expiring_within_ms.map(|ms| node.backend.now_ms().saturating_add(ms)),
        kind: None,
        // A backslash is the glob's own.
        pattern: pattern.map(|pattern| pattern.into_bytes().into()),
    }
}

/// The shards that hold slots.
pub(super) fn shards(node: &Node) -> BTreeSet<ShardId> {
    node.backend.topology().slots().shards().iter().copied().collect()
}

pub(super) fn begin(shard: ShardId) -> Place {
    here(shard, Cursor::default())
}

pub(super) fn here(shard: ShardId, cursor: Cursor) -> Place {
    let Cursor { deadline, slot, hash } = cursor;
    Place { shard: shard.0, deadline, slot, hash }
}

pub(super) fn cursor(place: Place) -> Option<Cursor> {
    let Place { shard: _, deadline, slot, hash } = place;
    Some(Cursor { deadline, slot, hash })
}

pub(super) fn stand_in(mint_key: &MintKey, namespace: NamespaceId, id: &[u8]) -> String {
    format!("#{:016x}", mint_key.stand_in(namespace, id))
}

/// A region's name, as far as this node knows it.
pub(super) fn region_name(node: &Node, region: RegionId) -> String {
    let own = node.backend.region();
    if region == own.region {
        return own.name.clone();
    }
    let world = node.control.as_ref().and_then(|control| control.watch().borrow().clone());
    let name = world.and_then(|world| world.regions.get(&region).map(|region| region.name.clone()));
    name.unwrap_or_else(|| region.0.to_string())
}

pub(super) async fn read(node: &Node, shard: Option<ShardId>, query: Query) -> Result<Answer, Refused> {
    let answer = node.backend.read(vec![Read { shard, query }]).await.pop();
    answer.ok_or_else(other_version)?.map_err(Refused::from)
}

/// Applies an operator's write, audited under what stands for the id.
async fn write(node: &Node, namespace: &Namespace, id: &[u8], what: &str, op: Op) -> Result<Outcome, Refused> {
    let key = Key::new(namespace.id, id)?;
    let mint_key = &node.backend.topology().region.mint_key;
    let minted = matches!(mint_key.provenance(namespace.id, id), Provenance::Minted(_));
    audit(node, namespace, id, what);
    let rules = namespace.policy.rules(minted);
    let command = Command { request: Request::default(), key, rules, touched: None, op };
    match node.backend.write(vec![command]).await.pop().ok_or_else(other_version)?? {
        Outcome::Refused(refusal) => Err(refusal.into()),
        outcome => Ok(outcome),
    }
}

pub(super) fn audit(node: &Node, namespace: &Namespace, id: &[u8], what: &str) {
    let session = stand_in(&node.backend.topology().region.mint_key, namespace.id, id);
    tracing::info!(target: "audit", namespace = namespace.name, session, "a session is {what}");
}

pub(super) fn other_version() -> Refused {
    Refused::new(
        StatusCode::BAD_GATEWAY,
        "a node of another version answered with something else",
        "bring all nodes to the same version",
    )
}
