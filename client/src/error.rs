//! Why a call failed, and what to do.

use crate::{Session, retry::Trouble};
use bytes::Bytes;
use sojourn_proto::sessions::{detail_of, v1};
use std::time::Duration;
use tonic::{Code, Status};

/// Why a call failed. Texts never show ids.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// Treat the caller as logged out. An update never creates: what was destroyed stays so.
    #[error("the session is gone: it was destroyed, has expired, or never existed")]
    Gone,
    /// Another request wrote meanwhile: merge with the record that came with this and write over its version.
    #[error("the session was changed meanwhile; merge with the current record and write over its version")]
    Conflict {
        /// The record as it is.
        current: Box<Session>,
    },
    /// Choose another id, or let Sojourn mint one.
    #[error("a session with this id lives; use another id")]
    Exists,
    /// Store less in it: the largest fields are named.
    #[error(
        "the session would have {bytes} bytes, the namespace allows {bytes_max}: shrink or move its largest fields"
    )]
    TooLarge {
        /// The size that it would have.
        bytes: u64,
        /// What is allowed.
        bytes_max: u64,
        /// The largest fields' names (cut at 64 bytes) and sizes, at most five, largest first.
        largest: Vec<(Bytes, u64)>,
    },
    /// Let the user log in again.
    #[error("the user's sessions were revoked after this login began; log in again")]
    Revoked {
        /// The user's revocation epoch now.
        revocation_epoch: u64,
    },
    /// The cookie is forged, or of another namespace: treat the caller as logged out.
    #[error("the id was never minted for this namespace")]
    ForgedId,
    /// Wrong namespace or password.
    #[error("{0}")]
    Locked(String),
    /// The node refuses the call as it is: the text says how to mend it.
    #[error("{text}")]
    Refused {
        /// Why.
        reason: Reason,
        /// The node's text.
        text: String,
    },
    /// No node gave an answer before the deadline. A write may have been applied or not; it was not applied twice.
    #[error("no node answered within {deadline_ms} ms, {tries} tries, at last: {last}")]
    Unavailable {
        /// The call's deadline.
        deadline_ms: u64,
        /// How often it was tried.
        tries: u32,
        /// What was heard last.
        last: String,
    },
}

/// Why a node refused a call that must be mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Something in it makes no sense.
    Malformed,
    /// An id is empty or longer than 512 bytes.
    BadId,
    /// The namespace takes minted ids only.
    ForeignId,
    /// The session is a set or a sorted set of a Redis client.
    WrongKind,
    /// The id was destroyed and the namespace does not use it again.
    Destroyed,
    /// Old and new id lie in different slots.
    CrossSlot,
    /// The namespace holds as many sessions as it may.
    NamespaceFull,
    /// A token that no node gave out.
    BadToken,
    /// Something that this version of the crate does not know.
    Other,
}

/// What one try told.
pub(crate) enum Tried {
    /// Trying again makes sense.
    Trouble(Trouble, String),
    /// It does not.
    Final(Error, Meaning),
}

/// What a final error means to the crate itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Plain,
    /// The record of a conflict lacks its fields.
    CurrentIsCut,
    /// The client's idea of the node's clock is wrong; this is what it shows.
    ClockIs(u64),
}

impl Tried {
    pub(crate) fn of(status: &Status) -> Self {
        let text = status.message().to_owned();
        let Some(detail) = detail_of(status) else { return Self::without_detail(status, text) };
        if detail.retryable {
            let advised = Duration::from_millis(detail.retry_after_ms);
            return Self::Trouble(Trouble::Later { advised }, text);
        }
        let refused = |reason| Error::Refused { reason, text: text.clone() };
        let reason = detail.reason();
        let meaning = match reason {
            v1::Reason::Conflict if detail.current_is_cut => Meaning::CurrentIsCut,
            v1::Reason::ClocksApart => Meaning::ClockIs(detail.now_ms),
            _ => Meaning::Plain,
        };
        let error = match reason {
            v1::Reason::Gone => Error::Gone,
            v1::Reason::Conflict => Error::Conflict { current: Box::new(detail.current.unwrap_or_default().into()) },
            v1::Reason::Exists => Error::Exists,
            v1::Reason::TooLarge => {
                let largest = detail.largest.into_iter().map(|v1::LargeField { name, bytes }| (name, bytes));
                Error::TooLarge { bytes: detail.bytes, bytes_max: detail.bytes_max, largest: largest.collect() }
            }
            v1::Reason::Revoked => Error::Revoked { revocation_epoch: detail.revocation_epoch },
            v1::Reason::ForgedId => Error::ForgedId,
            v1::Reason::Locked => Error::Locked(text),
            v1::Reason::Malformed => refused(Reason::Malformed),
            v1::Reason::BadId => refused(Reason::BadId),
            v1::Reason::ForeignId => refused(Reason::ForeignId),
            v1::Reason::WrongKind => refused(Reason::WrongKind),
            v1::Reason::Destroyed => refused(Reason::Destroyed),
            v1::Reason::CrossSlot => refused(Reason::CrossSlot),
            v1::Reason::NamespaceFull => refused(Reason::NamespaceFull),
            v1::Reason::BadToken => refused(Reason::BadToken),
            v1::Reason::Unspecified
            | v1::Reason::ClocksApart
            | v1::Reason::RequestReused
            | v1::Reason::NoLeader
            | v1::Reason::NotCopied
            | v1::Reason::DiskFull
            | v1::Reason::Overloaded
            | v1::Reason::NotServing
            | v1::Reason::Deadline => refused(Reason::Other),
        };
        Self::Final(error, meaning)
    }

    /// A status that no handler made: of the transport, or of something between.
    fn without_detail(status: &Status, text: String) -> Self {
        match status.code() {
            Code::Unavailable
            | Code::Unknown
            | Code::Cancelled
            | Code::Internal
            | Code::DeadlineExceeded
            | Code::Aborted => Self::Trouble(Trouble::Unreachable, first_cause(status).unwrap_or(text)),
            _other => Self::Final(Error::Refused { reason: Reason::Other, text }, Meaning::Plain),
        }
    }
}

/// What the system said, where the transport only says that it cannot connect.
fn first_cause(status: &Status) -> Option<String> {
    let mut cause = std::error::Error::source(status)?;
    while let Some(next) = cause.source() {
        cause = next;
    }
    Some(cause.to_string())
}
