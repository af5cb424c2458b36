//! A shard's sessions, and the one function that changes them.

use crate::{ids::Key, session::Record};
use std::{collections::BTreeMap, sync::Arc};

/// What happened to a session, for watchers, keyspace events and change streams. Named as Redis names its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A string was set.
    Set,
    /// Something else changed its fields; the name is Redis's event name.
    Changed(&'static str),
    /// Its deadline was moved.
    Expire,
    /// It lost its deadline.
    Persist,
    /// It was destroyed.
    Del,
    /// It expired.
    Expired,
    /// It got another id: this is the old one.
    RenameFrom,
    /// It got this id.
    RenameTo,
}

/// One change that `apply` made.
#[derive(Clone, Debug)]
pub struct Effect {
    /// Which session.
    pub key: Key,
    /// What happened.
    pub event: Event,
    /// The record after it.
    pub record: Arc<Record>,
}

/// A shard's replicated state.
#[derive(Debug, Default)]
pub struct State {
    sessions: BTreeMap<Key, Arc<Record>>,
}

impl State {
    /// The record under `key`, tombstones included.
    pub fn record(&self, key: &Key) -> Option<&Arc<Record>> {
        self.sessions.get(key)
    }
}
