//! What a write says, put together step by step.

use crate::{Expiry, Login, Owner, SessionId, Version};
use bytes::Bytes;
use sojourn_proto::sessions::v1;
use std::{collections::BTreeMap, time::Duration};

fn copied(bytes: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(bytes.as_ref())
}

fn pairs(fields: BTreeMap<Bytes, Bytes>) -> Vec<v1::Field> {
    fields.into_iter().map(|(name, value)| v1::Field { name, value }).collect()
}

/// A session to be created.
#[derive(Clone, Default)]
pub struct NewSession {
    id: Option<SessionId>,
    fields: BTreeMap<Bytes, Bytes>,
    expiry: Option<Expiry>,
    owner: Option<Owner>,
}

impl NewSession {
    /// A session of nobody, without fields, that lives as long as the namespace's policy says, under an id that Sojourn mints.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives it an id of the application's own, of 1 to 512 bytes. Minted ids are safer: nobody can guess or forge them.
    #[must_use]
    pub fn id(mut self, id: SessionId) -> Self {
        self.id = Some(id);
        self
    }

    /// Gives it a field.
    #[must_use]
    pub fn field(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.fields.insert(copied(name), copied(value));
        self
    }

    /// Says how long it may stay unused.
    #[must_use]
    pub fn idle_timeout(self, time: Duration) -> Self {
        self.expiry(Expiry::After(time))
    }

    /// Says when it ends unless it is used.
    #[must_use]
    pub fn expiry(mut self, expiry: Expiry) -> Self {
        self.expiry = Some(expiry);
        self
    }

    /// Says whose it is.
    #[must_use]
    pub fn user(mut self, user: impl AsRef<[u8]>) -> Self {
        self.owner.get_or_insert_default().user = copied(user);
        self
    }

    /// Says whose it is by a login that began before the password was checked.
    #[must_use]
    pub fn login(mut self, login: Login) -> Self {
        let Login { user, revocation_epoch } = login;
        let owner = self.owner.get_or_insert_default();
        (owner.user, owner.revocation_epoch) = (user, Some(revocation_epoch));
        self
    }

    /// Gives it a label that listings can ask for.
    #[must_use]
    pub fn label(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.owner.get_or_insert_default().labels.insert(copied(name), copied(value));
        self
    }

    pub(crate) fn foreign_id(&self) -> Option<&SessionId> {
        self.id.as_ref()
    }

    pub(crate) fn into_wire(self, request: v1::RequestId, made_at_ms: u64, slot: u16) -> v1::CreateRequest {
        let Self { id, fields, expiry, owner } = self;
        v1::CreateRequest {
            request: Some(request),
            id: id.map_or_else(Bytes::new, |id| id.to_wire()),
            fields: pairs(fields),
            expiry: expiry.map(v1::Expiry::from),
            owner: owner.map(v1::Owner::from),
            made_at_ms: Some(made_at_ms),
            slot: Some(slot.into()),
        }
    }
}

/// All fields that a session has from now on.
#[derive(Clone, Default)]
pub struct Put {
    fields: BTreeMap<Bytes, Bytes>,
    if_version: Option<Version>,
    expiry: Option<Expiry>,
    owner: Option<Owner>,
}

impl Put {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a field.
    #[must_use]
    pub fn field(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.fields.insert(copied(name), copied(value));
        self
    }

    /// Only over this version; over another one the write is refused with [`crate::Error::Conflict`].
    #[must_use]
    pub fn if_version(mut self, version: Version) -> Self {
        self.if_version = Some(version);
        self
    }

    /// Sets when the session ends unless it is used; without this it is moved on by its idle timeout.
    #[must_use]
    pub fn expiry(mut self, expiry: Expiry) -> Self {
        self.expiry = Some(expiry);
        self
    }

    /// Changes whose it is.
    #[must_use]
    pub fn owner(mut self, owner: Owner) -> Self {
        self.owner = Some(owner);
        self
    }

    pub(crate) fn into_wire(self, request: v1::RequestId, id: &SessionId) -> v1::PutRequest {
        let Self { fields, if_version, expiry, owner } = self;
        v1::PutRequest {
            request: Some(request),
            id: id.to_wire(),
            fields: pairs(fields),
            if_version: if_version.map(v1::Version::from),
            expiry: expiry.map(v1::Expiry::from),
            owner: owner.map(v1::Owner::from),
        }
    }
}

/// Fields to set and to remove; the others stay as they are, so that two requests that change different fields both hold.
#[derive(Clone, Default)]
pub struct Patch {
    set: BTreeMap<Bytes, Bytes>,
    remove: Vec<Bytes>,
    if_version: Option<Version>,
    expiry: Option<Expiry>,
    owner: Option<Owner>,
}

impl Patch {
    /// Changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a field.
    #[must_use]
    pub fn set(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.set.insert(copied(name), copied(value));
        self
    }

    /// Removes a field, after setting others.
    #[must_use]
    pub fn remove(mut self, name: impl AsRef<[u8]>) -> Self {
        self.remove.push(copied(name));
        self
    }

    /// As [`Put::if_version`].
    #[must_use]
    pub fn if_version(mut self, version: Version) -> Self {
        self.if_version = Some(version);
        self
    }

    /// As [`Put::expiry`].
    #[must_use]
    pub fn expiry(mut self, expiry: Expiry) -> Self {
        self.expiry = Some(expiry);
        self
    }

    /// Changes whose it is.
    #[must_use]
    pub fn owner(mut self, owner: Owner) -> Self {
        self.owner = Some(owner);
        self
    }

    pub(crate) fn into_wire(self, request: v1::RequestId, id: &SessionId) -> v1::PatchRequest {
        let Self { set, remove, if_version, expiry, owner } = self;
        v1::PatchRequest {
            request: Some(request),
            id: id.to_wire(),
            set: pairs(set),
            remove,
            if_version: if_version.map(v1::Version::from),
            expiry: expiry.map(v1::Expiry::from),
            owner: owner.map(v1::Owner::from),
        }
    }
}
