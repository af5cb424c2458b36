//! A namespace's policy at the edge: what is looked at, refused or taken out before a write is proposed.

use super::{
    args::Args,
    error::{self, Error},
    json, plan,
    server::Server,
    session::Room,
};
use serde_json::Value;
use sojourn_core::{Answer, Fields, Key, Op, Owner, Projection, Rules, mint::Provenance};
use std::sync::atomic::Ordering::Relaxed;

/// What decides a write to `key`.
///
/// # Errors
/// The id is a forged one, or the namespace takes only ids that Sojourn minted and this write would create another.
pub fn rules(room: &Room, key: &Key, op: &Op) -> Result<Rules, Error> {
    match room.mint_key.provenance(room.id, key.id()) {
        Provenance::Minted(_) => Ok(room.minted_rules),
        Provenance::Forged => {
            Err(Error::new("ERR the session id has the form of a minted one but was never minted here"))
        }
        Provenance::Foreign if !room.policy.foreign_ids && creates(op) => {
            Err(Error::new("ERR this namespace takes only session ids that Sojourn minted"))
        }
        Provenance::Foreign => Ok(room.rules),
    }
}

/// Whether a write may bring a session into being.
fn creates(op: &Op) -> bool {
    matches!(
        op,
        Op::Create { .. }
            | Op::Set { .. }
            | Op::Append { .. }
            | Op::SetRange { .. }
            | Op::Increment { .. }
            | Op::IncrementFloat { .. }
            | Op::HashSet { .. }
            | Op::HashIncrement { .. }
            | Op::HashIncrementFloat { .. }
            | Op::SetAdd { .. }
            | Op::SortedAdd { .. }
            | Op::SortedIncrement { .. }
            | Op::Restore { .. }
    )
}

/// A string as it will be stored, and whose it is where the namespace reads that from values.
///
/// # Errors
/// It is larger than the namespace allows.
pub fn string_value(server: &Server, room: &Room, value: &[u8]) -> Result<(Box<[u8]>, Option<Box<Owner>>), Error> {
    let mut document = match room.json {
        true => serde_json::from_slice::<Value>(value).ok(),
        false => None,
    };
    check_size(server, room, value.len(), || match &document {
        Some(document) => json::largest(document),
        None => vec![(Box::default(), value.len() as u64)],
    })?;
    let Some(document) = &mut document else { return Ok((value.into(), room.json.then(Box::default))) };
    let mut owner = json::owner(&room.policy, document);
    owner.revocation_epoch = server.epochs.get(room.id.0, &owner.user);
    let kept = match json::redact(document, &room.policy.redact) {
        true => serde_json::to_vec(document).map_or_else(|_| value.into(), Vec::into_boxed_slice),
        false => value.into(),
    };
    Ok((kept, Some(Box::new(owner))))
}

/// Fields as they will be stored: without those that the namespace never stores.
pub fn hash_fields<'a>(
    server: &Server,
    room: &Room,
    pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
) -> Result<Fields, Error> {
    let bytes = pairs.clone().map(|(name, value)| name.len() + value.len()).sum();
    check_size(server, room, bytes, || {
        json::top(pairs.clone().map(|(name, value)| (name.into(), (name.len() + value.len()) as u64)).collect())
    })?;
    let is_kept = |name: &[u8]| !room.policy.redact.iter().any(|redacted| redacted.as_bytes() == name);
    Ok(Fields::from_pairs(pairs.filter(|(name, _)| is_kept(name)).map(|(name, value)| (name.into(), value.into()))))
}

/// Refuses, reports or warns of values above the namespace's sizes, naming what takes the room.
fn check_size(
    server: &Server,
    room: &Room,
    bytes: usize,
    largest: impl Fn() -> Vec<(Box<[u8]>, u64)>,
) -> Result<(), Error> {
    let (bytes, policy) = (bytes as u64, &room.policy);
    if bytes <= policy.size_warn_bytes.min(policy.size_error_bytes).min(policy.size_bytes_max) {
        return Ok(());
    }
    if bytes > policy.size_bytes_max {
        server.stats.size_refusals.fetch_add(1, Relaxed);
        let refused = error::too_large(bytes, policy.size_bytes_max, &largest());
        report(server, room, bytes, Level::Refused, &largest);
        return Err(refused);
    }
    if bytes > policy.size_error_bytes {
        server.stats.size_errors.fetch_add(1, Relaxed);
        report(server, room, bytes, Level::Error, &largest);
    } else if bytes > policy.size_warn_bytes {
        server.stats.size_warnings.fetch_add(1, Relaxed);
        report(server, room, bytes, Level::Warning, &largest);
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Level {
    Warning,
    Error,
    Refused,
}

/// Logs at most one line a second: the counters count every one.
fn report(server: &Server, room: &Room, bytes: u64, level: Level, largest: impl Fn() -> Vec<(Box<[u8]>, u64)>) {
    if !server.stats.may_log_size() {
        return;
    }
    let largest = largest();
    let names: Vec<_> = largest.iter().map(|(name, bytes)| (String::from_utf8_lossy(name), bytes)).collect();
    let namespace = &room.name;
    match level {
        Level::Warning => tracing::warn!(namespace, bytes, largest = ?names, "a session is large"),
        Level::Error => tracing::error!(namespace, bytes, largest = ?names, "a session is far too large, but kept"),
        Level::Refused => tracing::error!(namespace, bytes, largest = ?names, "a session is too large and was refused"),
    }
}

/// In a namespace that is full, lets only sessions be written that exist.
///
/// # Errors
/// One of `ids` does not, or that cannot be found out.
pub async fn check_all_exist(server: &Server, room: &Room, ids: Args<'_>) -> Result<(), Error> {
    let mut reads = Vec::with_capacity(ids.len());
    for id in ids.iter() {
        reads.push(plan::get(Key::new(room.id, id)?, Projection::Summary));
    }
    for answer in server.backend.read(reads).await {
        if answer? == Answer::Record(None) {
            return Err(format!(
                "OOM the namespace {} is full: its policy allows {} sessions and {} bytes (0 for any number)",
                room.name, room.policy.sessions_max, room.policy.bytes_max
            )
            .into());
        }
    }
    Ok(())
}
