//! What callers ask, checked: the other side of each request.

use super::{
    Malformed, WATCHED_IDS_MAX,
    session::{boxed, expiry, fields, filter, owner_text, request},
    v1,
};
use sojourn_core::{Expiry, Fields, Owner, Projection, Request, Slot, Stamp, Version, query::Filter};
use std::{collections::BTreeMap, time::Duration};

/// An owner as a caller states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerGiven {
    /// The user; empty for nobody.
    pub user: Box<[u8]>,
    /// The user's revocation epoch when the login began; `None` to read it now.
    pub revocation_epoch: Option<u64>,
    /// Labels.
    pub labels: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

impl OwnerGiven {
    /// The owner of a login that read `revocation_epoch`.
    pub fn at_epoch(self, revocation_epoch: u64) -> Owner {
        let Self { user, revocation_epoch: _, labels } = self;
        Owner { user, revocation_epoch, labels }
    }
}

/// See `CreateRequest`.
#[derive(Clone, PartialEq)]
pub struct Create {
    /// Its name, if it may be repeated.
    pub request: Option<Request>,
    /// The application's own id; `None` to mint one.
    pub id: Option<Box<[u8]>>,
    /// All fields.
    pub fields: Fields,
    /// When it ends.
    pub expiry: Expiry,
    /// Whose it is.
    pub owner: Option<OwnerGiven>,
    /// When the request was first made.
    pub made_at: Option<Stamp>,
    /// Where a minted id goes; `None` for anywhere.
    pub slot: Option<Slot>,
}

/// See `GetRequest`.
#[derive(Clone, PartialEq, Eq)]
pub struct Get {
    /// Which.
    pub id: Box<[u8]>,
    /// How much of it.
    pub projection: Projection,
    /// The caller's last token of it, as it came.
    pub token: Option<Box<str>>,
}

/// What `Put` and `Patch` have in common.
#[derive(Clone, PartialEq)]
pub struct Update {
    /// Its name, if it may be repeated.
    pub request: Option<Request>,
    /// Which session.
    pub id: Box<[u8]>,
    /// Only over this version.
    pub if_version: Option<Version>,
    /// When it ends.
    pub expiry: Expiry,
    /// Whose it is; `None` leaves that.
    pub owner: Option<OwnerGiven>,
}

/// See `PutRequest`.
#[derive(Clone, PartialEq)]
pub struct Put {
    /// Which, and on what condition.
    pub update: Update,
    /// All fields from now on.
    pub fields: Fields,
}

/// See `PatchRequest`.
#[derive(Clone, PartialEq)]
pub struct Patch {
    /// Which, and on what condition.
    pub update: Update,
    /// Fields to set.
    pub set: Fields,
    /// Fields to remove.
    pub remove: Vec<Box<[u8]>>,
}

/// See `TouchRequest` and `DestroyRequest`.
#[derive(Clone, PartialEq, Eq)]
pub struct One {
    /// Its name, if it may be repeated.
    pub request: Option<Request>,
    /// Which session.
    pub id: Box<[u8]>,
}

/// See `RenameRequest`.
#[derive(Clone, PartialEq, Eq)]
pub struct Rename {
    /// Its name, if it may be repeated.
    pub request: Option<Request>,
    /// The old id.
    pub id: Box<[u8]>,
    /// The new one; `None` to mint it.
    pub new_id: Option<Box<[u8]>>,
    /// When the request was first made.
    pub made_at: Option<Stamp>,
}

/// See `ReadUserRequest` and `RevokeRequest`.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Who; not empty.
    pub user: Box<[u8]>,
}

/// See `ListRequest` and `CountRequest`.
pub struct List {
    /// Which sessions, at this time.
    pub filter: Box<dyn FnOnce(Stamp) -> Filter + Send>,
    /// Sessions to look at per page.
    pub page_size: u64,
    /// Where to go on; empty to begin.
    pub page_token: Box<[u8]>,
}

/// See `WatchRequest`.
#[derive(Clone, PartialEq, Eq)]
pub struct Watch {
    /// Only these; empty for all.
    pub ids: Vec<Box<[u8]>>,
    /// Where to go on; empty to begin now.
    pub resume_token: Box<[u8]>,
    /// How often to give a sign of life.
    pub keep_alive: Duration,
}

/// See `ClearRequest` and `TopologyRequest`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nothing;

/// Sessions per page when the caller does not say, and the most.
const PAGE_SIZE_DEFAULT: u32 = 100;
const PAGE_SIZE_MAX: u32 = 1_000;

/// Signs of life when the caller does not say, and what it may say, in ms.
const KEEP_ALIVE_MS_DEFAULT: u32 = 10_000;
const KEEP_ALIVE_MS_MIN: u32 = 100;
const KEEP_ALIVE_MS_MAX: u32 = 60_000;

impl TryFrom<v1::CreateRequest> for Create {
    type Error = Malformed;

    fn try_from(message: v1::CreateRequest) -> Result<Self, Malformed> {
        let v1::CreateRequest { request: name, id, fields: pairs, expiry: ends, owner, made_at_ms, slot } = message;
        let slot = slot.map(|number| {
            let slot = u16::try_from(number).ok().and_then(Slot::new);
            slot.ok_or_else(|| Malformed(format!("slot {number}: slots are numbered 0 to 16383")))
        });
        Ok(Self {
            request: request(name)?,
            id: (!id.is_empty()).then(|| boxed(&id)),
            fields: fields(pairs),
            expiry: expiry(ends, Expiry::Default)?,
            owner: owner.map(OwnerGiven::try_from).transpose()?,
            made_at: made_at_ms,
            slot: slot.transpose()?,
        })
    }
}

impl TryFrom<v1::GetRequest> for Get {
    type Error = Malformed;

    fn try_from(message: v1::GetRequest) -> Result<Self, Malformed> {
        let v1::GetRequest { id, fields, summary, token } = message;
        let projection = match (summary, fields.is_empty()) {
            (true, true) => Projection::Summary,
            (true, false) => return Err(Malformed("a summary has no fields: ask for one or the other".to_owned())),
            (false, true) => Projection::Whole,
            (false, false) => Projection::Fields(fields.iter().map(boxed).collect()),
        };
        Ok(Self { id: boxed(&id), projection, token: (!token.is_empty()).then(|| token.into()) })
    }
}

impl TryFrom<v1::PutRequest> for Put {
    type Error = Malformed;

    fn try_from(message: v1::PutRequest) -> Result<Self, Malformed> {
        let v1::PutRequest { request: name, id, fields: pairs, if_version, expiry: ends, owner } = message;
        let update = Update {
            request: request(name)?,
            id: boxed(&id),
            if_version: if_version.map(Version::from),
            expiry: expiry(ends, Expiry::Keep)?,
            owner: owner.map(OwnerGiven::try_from).transpose()?,
        };
        Ok(Self { update, fields: fields(pairs) })
    }
}

impl TryFrom<v1::PatchRequest> for Patch {
    type Error = Malformed;

    fn try_from(message: v1::PatchRequest) -> Result<Self, Malformed> {
        let v1::PatchRequest { request: name, id, set, remove, if_version, expiry: ends, owner } = message;
        let update = Update {
            request: request(name)?,
            id: boxed(&id),
            if_version: if_version.map(Version::from),
            expiry: expiry(ends, Expiry::Keep)?,
            owner: owner.map(OwnerGiven::try_from).transpose()?,
        };
        Ok(Self { update, set: fields(set), remove: remove.iter().map(boxed).collect() })
    }
}

impl TryFrom<v1::TouchRequest> for One {
    type Error = Malformed;

    fn try_from(v1::TouchRequest { request: name, id }: v1::TouchRequest) -> Result<Self, Malformed> {
        Ok(Self { request: request(name)?, id: boxed(&id) })
    }
}

impl TryFrom<v1::DestroyRequest> for One {
    type Error = Malformed;

    fn try_from(v1::DestroyRequest { request: name, id }: v1::DestroyRequest) -> Result<Self, Malformed> {
        Ok(Self { request: request(name)?, id: boxed(&id) })
    }
}

impl TryFrom<v1::RenameRequest> for Rename {
    type Error = Malformed;

    fn try_from(message: v1::RenameRequest) -> Result<Self, Malformed> {
        let v1::RenameRequest { request: name, id, new_id, made_at_ms } = message;
        let new_id = (!new_id.is_empty()).then(|| boxed(&new_id));
        Ok(Self { request: request(name)?, id: boxed(&id), new_id, made_at: made_at_ms })
    }
}

fn user(user: bytes::Bytes) -> Result<User, Malformed> {
    if user.is_empty() {
        return Err(Malformed("no user: sessions without one are not indexed; name one".to_owned()));
    }
    Ok(User { user: owner_text("the user", &user)? })
}

impl TryFrom<v1::ReadUserRequest> for User {
    type Error = Malformed;

    fn try_from(v1::ReadUserRequest { user: name }: v1::ReadUserRequest) -> Result<Self, Malformed> {
        user(name)
    }
}

impl TryFrom<v1::RevokeRequest> for User {
    type Error = Malformed;

    fn try_from(v1::RevokeRequest { user: name }: v1::RevokeRequest) -> Result<Self, Malformed> {
        user(name)
    }
}

impl TryFrom<v1::ListRequest> for List {
    type Error = Malformed;

    fn try_from(message: v1::ListRequest) -> Result<Self, Malformed> {
        let v1::ListRequest { filter: given, page_size, page_token } = message;
        let page_size = match page_size {
            0 => PAGE_SIZE_DEFAULT,
            1..=PAGE_SIZE_MAX => page_size,
            _ => return Err(Malformed(format!("a page of {page_size} sessions: use at most {PAGE_SIZE_MAX}"))),
        };
        let filter = Box::new(filter(given)?);
        Ok(Self { filter, page_size: page_size.into(), page_token: boxed(&page_token) })
    }
}

impl TryFrom<v1::CountRequest> for List {
    type Error = Malformed;

    fn try_from(v1::CountRequest { filter: given }: v1::CountRequest) -> Result<Self, Malformed> {
        Ok(Self { filter: Box::new(filter(given)?), page_size: 1, page_token: Box::default() })
    }
}

impl TryFrom<v1::ClearRequest> for Nothing {
    type Error = Malformed;

    fn try_from(v1::ClearRequest {}: v1::ClearRequest) -> Result<Self, Malformed> {
        Ok(Self)
    }
}

impl TryFrom<v1::TopologyRequest> for Nothing {
    type Error = Malformed;

    fn try_from(v1::TopologyRequest {}: v1::TopologyRequest) -> Result<Self, Malformed> {
        Ok(Self)
    }
}

impl TryFrom<v1::WatchRequest> for Watch {
    type Error = Malformed;

    fn try_from(message: v1::WatchRequest) -> Result<Self, Malformed> {
        let v1::WatchRequest { ids, resume_token, keep_alive_ms } = message;
        if ids.len() > WATCHED_IDS_MAX {
            let count = ids.len();
            return Err(Malformed(format!("{count} ids: watch at most {WATCHED_IDS_MAX}, or all of the namespace")));
        }
        let keep_alive_ms = match keep_alive_ms {
            0 => KEEP_ALIVE_MS_DEFAULT,
            KEEP_ALIVE_MS_MIN..=KEEP_ALIVE_MS_MAX => keep_alive_ms,
            _ => {
                let range = format!("{KEEP_ALIVE_MS_MIN} to {KEEP_ALIVE_MS_MAX}");
                return Err(Malformed(format!("a sign of life every {keep_alive_ms} ms: use {range}")));
            }
        };
        Ok(Self {
            ids: ids.iter().map(boxed).collect(),
            resume_token: boxed(&resume_token),
            keep_alive: Duration::from_millis(keep_alive_ms.into()),
        })
    }
}
