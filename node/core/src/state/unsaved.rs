//! What the engine does not have yet, coalesced: however often a session changed, it is written once.

use super::{Event, State};
use crate::{ids::Key, session::Record};
use std::{collections::BTreeMap, sync::Arc};

/// What became of one session since the engine was last given its changes.
#[derive(Clone, Debug)]
pub struct Change {
    /// The record as it is now; `None` if its tombstone was collected.
    pub record: Option<Arc<Record>>,
    /// Whether its fields changed, too: then they are in memory.
    pub body: bool,
}

/// Changes in the order of keys.
pub type Changes = BTreeMap<Key, Change>;

/// Which part of a record a change touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Times, version, owner.
    Head,
    /// The fields.
    Body,
}

impl Part {
    pub(super) fn of(event: Event) -> Self {
        match event {
            Event::Expire | Event::Touched | Event::Persist => Self::Head,
            Event::Set | Event::Changed(_) | Event::Del | Event::Expired | Event::RenameFrom | Event::RenameTo => {
                Self::Body
            }
        }
    }
}

/// About what an unsaved change costs beside the fields, in bytes.
const CHANGE_BYTES: u64 = 256;

#[derive(Debug, Default)]
pub(super) struct Unsaved {
    changes: Changes,
    bytes: u64,
    /// Being written: the engine has them only when it says so.
    saving: Arc<Changes>,
}

impl Change {
    fn bytes(&self) -> u64 {
        let body = if self.body { self.record.as_ref().map_or(0, |record| record.body_bytes()) } else { 0 };
        CHANGE_BYTES + body
    }
}

impl Unsaved {
    pub(super) fn note(&mut self, key: &Key, record: Option<&Arc<Record>>, part: Part) {
        let mut change = Change { record: record.cloned(), body: part == Part::Body };
        if let Some(earlier) = self.changes.get_mut(key) {
            change.body |= earlier.body;
            self.bytes -= earlier.bytes();
            self.bytes += change.bytes();
            *earlier = change;
        } else {
            self.bytes += change.bytes();
            self.changes.insert(key.clone(), change);
        }
    }

    /// Whether the engine has what is under `key` as it is.
    pub(super) fn has_saved(&self, key: &Key) -> bool {
        !self.changes.contains_key(key) && !self.saving.contains_key(key)
    }
}

impl State {
    /// About how many bytes the engine does not have yet, those being written not counted.
    pub fn unsaved_bytes(&self) -> u64 {
        self.unsaved.bytes
    }

    /// What the engine does not have yet. Until [`State::saved`] or [`State::not_saved`] is called, these sessions stay in
    /// memory; nothing may be under way from before.
    pub fn take_unsaved(&mut self) -> Arc<Changes> {
        self.unsaved.bytes = 0;
        self.unsaved.saving = Arc::new(std::mem::take(&mut self.unsaved.changes));
        self.unsaved.saving.clone()
    }

    /// The engine has what was taken last; it is returned, for dropping it may take long.
    pub fn saved(&mut self) -> Arc<Changes> {
        std::mem::take(&mut self.unsaved.saving)
    }

    /// The engine does not have what was taken last: it is unsaved again, but for what changed meanwhile.
    pub fn not_saved(&mut self) {
        let saving = std::mem::take(&mut self.unsaved.saving);
        for (key, earlier) in saving.iter() {
            match self.unsaved.changes.get_mut(key) {
                Some(later) => {
                    self.unsaved.bytes -= later.bytes();
                    later.body |= earlier.body;
                    self.unsaved.bytes += later.bytes();
                }
                None => {
                    self.unsaved.bytes += earlier.bytes();
                    self.unsaved.changes.insert(key.clone(), earlier.clone());
                }
            }
        }
    }
}
