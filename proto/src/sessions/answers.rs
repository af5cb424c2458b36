//! What callers are told: the other side of each response.

use super::{
    session::{session, shared},
    v1,
};
use bytes::Bytes;
use sojourn_core::{Owner, Stamp, Token, Version, View, query::Line};

/// A session was created, or renamed.
#[derive(Clone, PartialEq, Eq)]
pub struct Named {
    /// Its id.
    pub id: Box<[u8]>,
    /// What it is now.
    pub written: Written,
}

/// A session was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// What the caller has seen by now: its version, and which session that is.
    pub token: Token,
    /// The earlier of its deadlines.
    pub deadline: Stamp,
}

/// A session, or none.
#[derive(Clone, PartialEq)]
pub struct Got {
    /// Which was asked for.
    pub id: Box<[u8]>,
    /// What there is.
    pub view: Option<Box<View>>,
    /// What the caller has seen by now; none of a session that nobody knows.
    pub token: Option<Token>,
    /// How old the copy may be that answered; 0 of what its home has answered.
    pub age_ms: u64,
}

/// Whether a session was destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destroyed {
    /// Whether it lived.
    pub destroyed: bool,
    /// What the caller has seen by now; none if nothing lived.
    pub token: Option<Token>,
}

/// A user's revocation epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserEpoch(pub u64);

/// A user was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The user's epoch from now on.
    pub epoch: u64,
    /// Sessions that were ended.
    pub destroyed: u64,
    /// Shards that acknowledged.
    pub shards: u32,
}

/// A page of a listing.
#[derive(Clone, PartialEq)]
pub struct Page {
    /// Sessions without their fields.
    pub lines: Vec<Line>,
    /// Where to go on; empty at the end.
    pub next: Box<[u8]>,
}

/// How many sessions there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// How many.
    pub sessions: u64,
    /// The size of their fields.
    pub bytes: u64,
}

/// How many sessions were ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleared(pub u64);

/// What happened to a session, as watchers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Created or written.
    Written,
    /// Its deadline was moved.
    Touched,
    /// Destroyed.
    Destroyed,
    /// Expired.
    Expired,
    /// Lives under another id.
    RenamedAway,
    /// Lives under this id.
    RenamedTo,
}

/// One change.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    /// Which session.
    pub id: Box<[u8]>,
    /// What happened.
    pub kind: ChangeKind,
    /// Its version after it.
    pub version: Version,
    /// When it ends or did.
    pub deadline: Stamp,
    /// Whose it is, while it lives.
    pub owner: Option<Box<Owner>>,
}

/// What a watcher is told at once.
#[derive(Clone, PartialEq, Eq)]
pub struct News {
    /// Changes; none as a sign of life.
    pub changes: Vec<Change>,
    /// Whether changes before these were missed.
    pub lagged: bool,
    /// Where to go on after this.
    pub resume: Box<[u8]>,
}

impl From<Named> for v1::CreateResponse {
    fn from(Named { id, written: Written { token, deadline } }: Named) -> Self {
        Self { id: shared(id), version: Some(token.version.into()), deadline_ms: deadline, token: token.to_string() }
    }
}

impl From<Named> for v1::RenameResponse {
    fn from(Named { id, written: Written { token, deadline } }: Named) -> Self {
        Self { id: shared(id), version: Some(token.version.into()), deadline_ms: deadline, token: token.to_string() }
    }
}

impl From<Written> for v1::WriteResponse {
    fn from(Written { token, deadline }: Written) -> Self {
        Self { version: Some(token.version.into()), deadline_ms: deadline, token: token.to_string() }
    }
}

impl From<Got> for v1::GetResponse {
    fn from(Got { id, view, token, age_ms }: Got) -> Self {
        Self { session: view.map(|view| session(shared(id), *view)), token: text(token), age_ms }
    }
}

impl From<Destroyed> for v1::DestroyResponse {
    fn from(Destroyed { destroyed, token }: Destroyed) -> Self {
        Self { destroyed, token: text(token) }
    }
}

/// A token as it is told; empty for none.
fn text(token: Option<Token>) -> String {
    token.map_or_else(String::new, |token| token.to_string())
}

impl From<UserEpoch> for v1::ReadUserResponse {
    fn from(UserEpoch(revocation_epoch): UserEpoch) -> Self {
        Self { revocation_epoch }
    }
}

impl From<Revoked> for v1::RevokeResponse {
    fn from(Revoked { epoch, destroyed, shards }: Revoked) -> Self {
        Self { revocation_epoch: epoch, destroyed, shards }
    }
}

impl From<Page> for v1::ListResponse {
    fn from(Page { lines, next }: Page) -> Self {
        let sessions = lines.into_iter().map(|Line { id, view }| session(shared(id), view)).collect();
        Self { sessions, next_page_token: shared(next) }
    }
}

impl From<Total> for v1::CountResponse {
    fn from(Total { sessions, bytes }: Total) -> Self {
        Self { sessions, bytes }
    }
}

impl From<Cleared> for v1::ClearResponse {
    fn from(Cleared(destroyed): Cleared) -> Self {
        Self { destroyed }
    }
}

impl From<ChangeKind> for v1::ChangeKind {
    fn from(kind: ChangeKind) -> Self {
        match kind {
            ChangeKind::Written => Self::Written,
            ChangeKind::Touched => Self::Touched,
            ChangeKind::Destroyed => Self::Destroyed,
            ChangeKind::Expired => Self::Expired,
            ChangeKind::RenamedAway => Self::RenamedAway,
            ChangeKind::RenamedTo => Self::RenamedTo,
        }
    }
}

impl From<Change> for v1::Change {
    fn from(Change { id, kind, version, deadline, owner }: Change) -> Self {
        Self {
            id: Bytes::from(id.into_vec()),
            kind: v1::ChangeKind::from(kind).into(),
            version: Some(version.into()),
            deadline_ms: deadline,
            owner: owner.map(|owner| (*owner).into()),
        }
    }
}

impl From<News> for v1::WatchResponse {
    fn from(News { changes, lagged, resume }: News) -> Self {
        let changes = changes.into_iter().map(v1::Change::from).collect();
        Self { changes, lagged, resume_token: shared(resume) }
    }
}
