//! Sessions as applications see them.

use crate::SessionId;
use bytes::Bytes;
use sojourn_proto::sessions::v1;
use std::{collections::BTreeMap, fmt, time::Duration};

/// Orders the bodies of one session. Pass the one you read to a write that must not overwrite what another request wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The highest region epoch that the session was written under.
    pub epoch: u32,
    /// Raised whenever the session changes home.
    pub home_epoch: u32,
    /// Counts writes.
    pub sequence: u64,
}

/// Whose a session is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user; empty for nobody.
    pub user: Bytes,
    /// The user's revocation epoch that the login read; `None` lets the node read it now. See [`Login`].
    pub revocation_epoch: Option<u64>,
    /// What listings can ask for.
    pub labels: BTreeMap<Bytes, Bytes>,
}

/// A login that has begun: what [`crate::Client::begin_login`] read before the password was checked. A session that is created
/// with it is refused if the user was revoked meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: Bytes,
    /// The user's revocation epoch.
    pub revocation_epoch: u64,
}

/// When a session ends unless it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// After this time without use.
    After(Duration),
    /// At this time, in ms since the Unix epoch.
    AtMs(u64),
    /// As the namespace's policy says.
    NamespaceDefault,
    /// Only the absolute deadline counts.
    Never,
}

/// A session. `Debug` shows neither its id nor its values.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Its version.
    pub version: Version,
    /// When it was created, in ms since the Unix epoch, as all times here.
    pub created_at_ms: u64,
    /// When it was last written or touched, as far as that was logged.
    pub written_at_ms: u64,
    /// How long it may stay unused; 0 where only the absolute deadline counts.
    pub idle_timeout_ms: u64,
    /// When it ends unless it is used.
    pub idle_deadline_ms: u64,
    /// When it ends whatever happens.
    pub absolute_deadline_ms: u64,
    /// Whose it is.
    pub owner: Option<Owner>,
    /// How many fields it has.
    pub field_count: u64,
    /// The size of all its fields in bytes.
    pub bytes: u64,
    /// Those fields that were asked for; none in listings.
    pub fields: BTreeMap<Bytes, Bytes>,
    /// How old the copy may be that was read, in ms; 0 where the session's home has answered. Listings do not tell.
    pub age_ms: u64,
}

impl Session {
    /// A field's value.
    pub fn field(&self, name: impl AsRef<[u8]>) -> Option<&Bytes> {
        self.fields.get(name.as_ref())
    }

    /// A field's value, if it is text.
    pub fn text(&self, name: impl AsRef<[u8]>) -> Option<&str> {
        self.field(name).and_then(|value| std::str::from_utf8(value).ok())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("version", &self.version)
            .field("field_count", &self.field_count)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// A session that was created or renamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its id, for the cookie.
    pub id: SessionId,
    /// Its version.
    pub version: Version,
    /// The earlier of its deadlines.
    pub deadline_ms: u64,
}

/// A session that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its version.
    pub version: Version,
    /// The earlier of its deadlines.
    pub deadline_ms: u64,
}

/// A user whose sessions were ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Logins that read a lower epoch have no session any more.
    pub revocation_epoch: u64,
    /// How many sessions were ended; fewer than there were if the call was repeated on the way.
    pub destroyed: u64,
    /// How many shards have acknowledged: all of the region.
    pub shards: u32,
}

/// How many sessions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// How many.
    pub sessions: u64,
    /// The size of their fields.
    pub bytes: u64,
}

impl From<v1::Version> for Version {
    fn from(v1::Version { epoch, home_epoch, sequence }: v1::Version) -> Self {
        Self { epoch, home_epoch, sequence }
    }
}

impl From<Version> for v1::Version {
    fn from(Version { epoch, home_epoch, sequence }: Version) -> Self {
        Self { epoch, home_epoch, sequence }
    }
}

impl From<v1::Owner> for Owner {
    fn from(v1::Owner { user, revocation_epoch, labels }: v1::Owner) -> Self {
        let labels = labels.into_iter().map(|v1::Label { name, value }| (name, value)).collect();
        Self { user, revocation_epoch, labels }
    }
}

impl From<Owner> for v1::Owner {
    fn from(Owner { user, revocation_epoch, labels }: Owner) -> Self {
        let labels = labels.into_iter().map(|(name, value)| v1::Label { name, value }).collect();
        Self { user, revocation_epoch, labels }
    }
}

impl From<Expiry> for v1::Expiry {
    fn from(expiry: Expiry) -> Self {
        use v1::expiry::{NamespaceDefault, Never, When};
        let when = match expiry {
            Expiry::After(time) => When::AfterMs(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            Expiry::AtMs(ms) => When::AtMs(ms),
            Expiry::NamespaceDefault => When::NamespaceDefault(NamespaceDefault {}),
            Expiry::Never => When::Never(Never {}),
        };
        Self { when: Some(when) }
    }
}

impl From<v1::Session> for Session {
    fn from(session: v1::Session) -> Self {
        let v1::Session {
            id,
            kind: _,
            incarnation,
            version,
            written_at_ms,
            idle_timeout_ms,
            idle_deadline_ms,
            absolute_deadline_ms,
            owner,
            field_count,
            bytes,
            fields,
        } = session;
        Self {
            id: SessionId::from_wire(id),
            version: version.unwrap_or_default().into(),
            created_at_ms: incarnation.unwrap_or_default().stamp_ms,
            written_at_ms,
            idle_timeout_ms,
            idle_deadline_ms,
            absolute_deadline_ms,
            owner: owner.map(Owner::from),
            field_count,
            bytes,
            fields: fields.into_iter().map(|v1::Field { name, value }| (name, value)).collect(),
            age_ms: 0,
        }
    }
}

impl From<v1::CreateResponse> for Created {
    fn from(v1::CreateResponse { id, version, deadline_ms, token: _ }: v1::CreateResponse) -> Self {
        Self { id: SessionId::from_wire(id), version: version.unwrap_or_default().into(), deadline_ms }
    }
}

impl From<v1::RenameResponse> for Created {
    fn from(v1::RenameResponse { id, version, deadline_ms, token: _ }: v1::RenameResponse) -> Self {
        Self { id: SessionId::from_wire(id), version: version.unwrap_or_default().into(), deadline_ms }
    }
}

impl From<v1::WriteResponse> for Written {
    fn from(v1::WriteResponse { version, deadline_ms, token: _ }: v1::WriteResponse) -> Self {
        Self { version: version.unwrap_or_default().into(), deadline_ms }
    }
}

impl From<v1::RevokeResponse> for Revoked {
    fn from(v1::RevokeResponse { revocation_epoch, destroyed, shards }: v1::RevokeResponse) -> Self {
        Self { revocation_epoch, destroyed, shards }
    }
}

impl From<v1::CountResponse> for Total {
    fn from(v1::CountResponse { sessions, bytes }: v1::CountResponse) -> Self {
        Self { sessions, bytes }
    }
}
