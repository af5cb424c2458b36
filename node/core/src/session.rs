//! A session's record: what a replica keeps of it, alive or destroyed.

use crate::ids::{RegionId, Stamp};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

pub use crate::fields::Fields;

/// Orders the bodies of one incarnation: compared field by field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The highest region epoch that the session was ever written under.
    pub epoch: u32,
    /// Raised whenever the session changes home.
    pub home_epoch: u32,
    /// Counted per slot inside the state machine.
    pub sequence: u64,
}

/// Tells a session from an earlier one under the same id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Incarnation {
    /// `max(stamp of the creation, replaced incarnation + 1)`.
    pub stamp: Stamp,
    /// Where it was created.
    pub region: RegionId,
}

/// What shape of value a session shows to Redis clients. All are field maps underneath.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One field with the empty name.
    String,
    /// Named fields: the form that applications of the client crate use.
    #[default]
    Hash,
    /// Members are field names, values are empty.
    Set,
    /// Members are field names, values are scores: 8 bytes, `f64` big-endian bits.
    SortedSet,
}

/// Who a session belongs to, for the index.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The user (principal), empty if nobody.
    pub user: Box<[u8]>,
    /// The user's revocation epoch that the login read.
    pub revocation_epoch: u64,
    /// Labels that the application set.
    pub labels: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

/// Whether a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    /// It does, until a deadline.
    Live,
    /// Ended for good: a tombstone, kept until `collect_at`.
    Dead {
        /// The stamp of the destroy or expiry.
        at: Stamp,
        /// When the tombstone may go.
        collect_at: Stamp,
        /// Whether a deadline ended it rather than somebody.
        expired: bool,
    },
}

/// A session's fields, or the note that they are on disk only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// In memory.
    Hot(Fields),
    /// In the engine only: the shell warms it before a command or a query needs it.
    Cold {
        /// The size of the fields, as [`Fields::bytes`] counts.
        bytes: u64,
        /// How many there are.
        field_count: u64,
    },
}

/// Whether a session was used since the hand that looks for cold ones came by.
///
/// A note of this replica for itself and no part of the session: equal to any other, and not copied.
#[derive(Debug, Default)]
pub struct Used(AtomicBool);

impl Used {
    /// It was.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was, until now.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Clone for Used {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Used {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Used {}

/// One session as a replica keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which session under this id.
    pub incarnation: Incarnation,
    /// Which body of it.
    pub version: Version,
    /// The region that orders its writes.
    pub home: RegionId,
    /// Its shape.
    pub kind: Kind,
    /// Alive or a tombstone.
    pub life: Life,
    /// The stamp of the last logged change of any sort, touches included.
    pub written: Stamp,
    /// How long it may stay unused, in ms; 0 where the client set no expiry (a TTL of −1 to Redis clients).
    pub idle_timeout_ms: u64,
    /// When it ends unless touched; [`crate::ids::NEVER`] where only the absolute deadline counts.
    pub idle_deadline: Stamp,
    /// When it ends whatever happens.
    pub absolute_deadline: Stamp,
    /// Who it belongs to; boxed because most sessions of Redis clients have none.
    pub owner: Option<Box<Owner>>,
    /// Its fields; empty in a tombstone.
    pub body: Body,
    /// Whether this replica used it lately.
    pub used: Used,
}

impl Record {
    /// The earlier of both deadlines.
    pub fn deadline(&self) -> Stamp {
        self.idle_deadline.min(self.absolute_deadline)
    }

    /// Whether it is alive at `now`.
    pub fn is_live(&self, now: Stamp) -> bool {
        matches!(self.life, Life::Live) && now < self.deadline()
    }

    /// The same record with another body; the body it has is not copied.
    pub fn with_body(&self, body: Body) -> Self {
        let Self { incarnation, version, home, kind, life, written, idle_timeout_ms, .. } = *self;
        let Self { idle_deadline, absolute_deadline, .. } = *self;
        let (owner, used) = (self.owner.clone(), Used::default());
        Self {
            incarnation,
            version,
            home,
            kind,
            life,
            written,
            idle_timeout_ms,
            idle_deadline,
            absolute_deadline,
            owner,
            body,
            used,
        }
    }

    /// The size of its fields in bytes, hot or cold.
    pub fn body_bytes(&self) -> u64 {
        match &self.body {
            Body::Hot(fields) => fields.bytes(),
            Body::Cold { bytes, .. } => *bytes,
        }
    }

    /// What its fields cost in memory, in bytes: nothing while they are cold.
    pub fn hot_bytes(&self) -> u64 {
        match &self.body {
            Body::Hot(fields) => fields.memory_bytes(),
            Body::Cold { .. } => 0,
        }
    }

    /// Whether its fields are on disk only.
    pub fn is_cold(&self) -> bool {
        matches!(self.body, Body::Cold { .. })
    }

    /// How many fields it has, hot or cold.
    pub fn field_count(&self) -> u64 {
        match &self.body {
            Body::Hot(fields) => fields.len() as u64,
            Body::Cold { field_count, .. } => *field_count,
        }
    }
}
