//! How a shard looks in the engine: rows whose keys sort as the sessions do.
//!
//! What a restart needs comes first and is small: one row for the shard itself, one head for each session. The fields are
//! rows of their own behind all heads, read when somebody asks for them. A head is rewritten by a touch, the fields are not.

use crate::{
    engine::Row,
    raft::{Loading, Unsaved, malformed},
};
use sojourn_core::{
    Body, Fields, Key, Record, State,
    state::{Changes, Meta},
};
use sojourn_proto::wire::{FORMAT_VERSION, Wire, WireError, decode_all};
use std::{io, sync::Arc};

/// The shard itself.
const META: u8 = 1;
/// The head of a session: its record without the fields.
const HEAD: u8 = 2;
/// The fields of a session that has any.
const FIELDS: u8 = 3;

fn row_key(tag: u8, key: &Key) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + 8 + 4 + key.id().len());
    bytes.push(tag);
    // Namespace and id follow as they do in the order of keys.
    bytes.extend_from_slice(&key.position().to_be_bytes());
    bytes.extend_from_slice(&key.namespace().0.to_be_bytes());
    bytes.extend_from_slice(key.id());
    bytes
}

/// Where the fields of a session are.
pub(super) fn fields_key(key: &Key) -> Vec<u8> {
    row_key(FIELDS, key)
}

/// Reads fields back.
pub(super) fn fields_of(value: &[u8]) -> io::Result<Fields> {
    decode_all(value).map_err(unreadable)
}

fn unreadable(error: WireError) -> io::Error {
    malformed(&format!("a session in the engine cannot be read ({error})"))
}

fn key_of(bytes: &[u8]) -> io::Result<Key> {
    let (namespace, id) = bytes.get(8..).and_then(<[u8]>::split_first_chunk).ok_or_else(|| malformed("a cut key"))?;
    let namespace = sojourn_core::NamespaceId(u32::from_be_bytes(*namespace));
    Key::new(namespace, id).map_err(|error| malformed(&error.to_string()))
}

/// A record as its head tells it: the fields, if there are any, are elsewhere.
fn put_head(record: &Record, out: &mut Vec<u8>) {
    let cold = Body::Cold { bytes: record.body_bytes(), field_count: record.field_count() };
    let body = if record.field_count() == 0 { Body::Hot(Fields::new()) } else { cold };
    record.with_body(body).put(out);
}

/// What changed in a shard, as of one entry.
pub(super) struct UnsavedSessions {
    pub meta: Meta,
    pub changes: Arc<Changes>,
}

impl Unsaved for UnsavedSessions {
    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::with_capacity(2 * self.changes.len() + 1);
        let mut meta = vec![FORMAT_VERSION];
        self.meta.put(&mut meta);
        rows.push((vec![META], Some(meta)));
        for (key, change) in self.changes.iter() {
            let head = change.record.as_ref().map(|record| {
                let mut head = Vec::with_capacity(64);
                put_head(record, &mut head);
                head
            });
            rows.push((row_key(HEAD, key), head));
            if !change.body {
                continue;
            }
            let fields = change.record.as_ref().and_then(|record| match &record.body {
                Body::Hot(fields) if !fields.is_empty() => Some(sojourn_proto::wire::encode(fields)),
                // Cold fields are those that the engine has.
                Body::Hot(_) | Body::Cold { .. } => None,
            });
            rows.push((fields_key(key), fields));
        }
        rows
    }
}

/// A shard's state on its way from the engine.
#[derive(Default)]
pub struct LoadingSessions {
    meta: Option<Meta>,
    records: Vec<(Key, Record)>,
}

impl Loading for LoadingSessions {
    const KEY_END: &'static [u8] = &[FIELDS];
    /// None if the engine has nothing.
    type Loaded = Option<State>;

    fn take(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        match key.split_first() {
            Some((&META, [])) => match value.split_first() {
                Some((&FORMAT_VERSION, rest)) => {
                    self.meta = Some(decode_all(rest).map_err(unreadable)?);
                    Ok(())
                }
                Some(_) | None => Err(malformed("a shard of another format in the engine")),
            },
            Some((&HEAD, rest)) => {
                self.records.push((key_of(rest)?, decode_all(value).map_err(unreadable)?));
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn complete(self) -> Option<State> {
        self.meta.map(|meta| State::restore(meta, self.records))
    }
}
