//! Why a call failed: a text for people, a reason and advice for programs.

use super::{Malformed, session::session, v1};
use bytes::Bytes;
use prost::Message;
use sojourn_core::{KeyError, Refusal, Stamp, View};
use tonic::{Code, Status};

/// The most bytes of an [`v1::ErrorDetail`]: details travel in a header, and some clients take no more than 8 KiB of those,
/// base64 included.
pub const DETAIL_BYTES_MAX: usize = 5 * 1024;

/// The most bytes of a field's name in a detail.
const NAME_BYTES_MAX: usize = 64;

/// The type in front of a detail, as gRPC's richer error model wants it.
const DETAIL_TYPE: &str = "type.googleapis.com/sojourn.sessions.v1.ErrorDetail";

/// Why a call failed. Texts never show ids.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The request is not understood.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// No id.
    #[error("{0}")]
    BadId(#[from] KeyError),
    /// The form of a minted id without its MAC.
    #[error(
        "the id has the form of a minted one but was never minted for this namespace; treat the caller as logged out"
    )]
    ForgedId,
    /// The namespace takes minted ids only.
    #[error("this namespace takes minted ids only: leave the id out and use the one that is answered")]
    ForeignId,
    /// No such namespace for this caller.
    #[error(
        "no namespace of that name is open to this caller: send its name as `sojourn-namespace` and its password as \
         `sojourn-password`; one without a password is open to the node's own machine only"
    )]
    Locked,
    /// The operation was refused.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The same, of a conflict: the session's id is needed to show the record.
    #[error("the session was changed meanwhile; read the current record that came with this and try again")]
    Conflict {
        /// The id that the caller sent.
        id: Box<[u8]>,
        /// The record as it is.
        current: Box<View>,
    },
    /// The namespace is full.
    #[error("the namespace {namespace} holds as many sessions or bytes as its policy allows; raise it or end some")]
    NamespaceFull {
        /// Its name.
        namespace: String,
    },
    /// A token that no node gave out.
    #[error("the {0} token is none that was given out by this version; begin anew without it")]
    BadToken(&'static str),
    /// A `made_at_ms` that cannot be.
    #[error("made_at_ms is {apart_ms} ms from the node's clock: count from the `now_ms` that `Topology` answers")]
    ClocksApart {
        /// By how much.
        apart_ms: u64,
        /// The node's clock.
        now: Stamp,
    },
    /// No leader answered.
    #[error(
        "shard {shard} has no leader that answers; repeat the request, with the same request id, in {retry_after_ms} ms"
    )]
    NoLeader {
        /// Which.
        shard: u32,
        /// When trying again makes sense.
        retry_after_ms: u64,
    },
    /// The region that keeps the session does not answer.
    #[error(
        "region {region} keeps the session and does not answer; repeat the request, with the same request id, in \
         {retry_after_ms} ms"
    )]
    HomeAway {
        /// Which.
        region: u16,
        /// When trying again makes sense.
        retry_after_ms: u64,
    },
    /// The write is on the disks of its region, and fewer other regions have it than its namespace wants.
    #[error(
        "the write is on the disks of its region, but only {reached} other regions have it yet, fewer than its namespace \
         wants; repeat it, with the same request id, in {retry_after_ms} ms"
    )]
    NotCopied {
        /// How many others have it.
        reached: u16,
        /// When trying again makes sense.
        retry_after_ms: u64,
    },
    /// The right to write the session is in doubt, or changes hands.
    #[error(
        "nobody may write the sessions of region {region} now; repeat the request, with the same request id, in \
         {retry_after_ms} ms"
    )]
    NotActing {
        /// Which.
        region: u16,
        /// When trying again makes sense.
        retry_after_ms: u64,
    },
    /// No room.
    #[error("no room on the disks of a quorum: writes are refused until there is some, reads go on")]
    DiskFull,
    /// Too much to do.
    #[error("the node has {requests_max} requests under way and takes no more; try again shortly")]
    Overloaded {
        /// The bound.
        requests_max: u64,
    },
    /// The node has not caught up.
    #[error("the node is starting; ask another one or try again shortly")]
    Loading,
    /// The node stops.
    #[error("the node is stopping; go on at another one")]
    Stopping,
    /// The caller's deadline came first.
    #[error("the deadline came before the answer; the write may have happened: repeat it with the same request id")]
    Deadline,
    /// The answer that is remembered for this request is of another operation.
    #[error("this request id was used for another operation; use a new sequence for each write")]
    RequestReused,
}

/// When callers are advised to try again.
const FULL_RETRY_MS: u64 = 1_000;
const OVERLOADED_RETRY_MS: u64 = 50;
const LOADING_RETRY_MS: u64 = 200;

impl Failure {
    fn code(&self) -> Code {
        match self {
            Self::Malformed(_) | Self::BadId(_) | Self::ForgedId | Self::ForeignId => Code::InvalidArgument,
            Self::BadToken(_) | Self::ClocksApart { .. } | Self::RequestReused => Code::InvalidArgument,
            Self::Locked => Code::Unauthenticated,
            Self::Conflict { .. } => Code::Aborted,
            Self::NamespaceFull { .. } | Self::DiskFull | Self::Overloaded { .. } => Code::ResourceExhausted,
            Self::NoLeader { .. } | Self::HomeAway { .. } | Self::NotCopied { .. } | Self::NotActing { .. } => {
                Code::Unavailable
            }
            Self::Loading | Self::Stopping => Code::Unavailable,
            Self::Deadline => Code::DeadlineExceeded,
            Self::Refused(refusal) => match refusal {
                Refusal::Exists | Refusal::Busy => Code::AlreadyExists,
                Refusal::Missing | Refusal::Gone => Code::NotFound,
                Refusal::Conflict { .. } => Code::Aborted,
                Refusal::NotHere
                | Refusal::Elsewhere { .. }
                | Refusal::Fenced { .. }
                | Refusal::SlotMoved { .. }
                | Refusal::Slot(_) => Code::Unavailable,
                Refusal::CrossSlot => Code::InvalidArgument,
                Refusal::TooLarge { .. } => Code::ResourceExhausted,
                Refusal::WrongKind
                | Refusal::NotInteger
                | Refusal::NotFloat
                | Refusal::HashNotInteger
                | Refusal::HashNotFloat
                | Refusal::Overflow
                | Refusal::NotFinite
                | Refusal::Revoked { .. }
                | Refusal::Destroyed => Code::FailedPrecondition,
            },
        }
    }

    /// What programs are told.
    pub fn detail(&self) -> v1::ErrorDetail {
        use v1::Reason;
        let plain = |reason: Reason| v1::ErrorDetail { reason: reason.into(), ..Default::default() };
        let later =
            |reason: Reason, retry_after_ms| v1::ErrorDetail { retryable: true, retry_after_ms, ..plain(reason) };
        match self {
            Self::Malformed(_) => plain(Reason::Malformed),
            Self::BadId(_) => plain(Reason::BadId),
            Self::ForgedId => plain(Reason::ForgedId),
            Self::ForeignId => plain(Reason::ForeignId),
            Self::Locked => plain(Reason::Locked),
            Self::Conflict { id, current } => conflict(id, current, plain(Reason::Conflict)),
            Self::NamespaceFull { .. } => plain(Reason::NamespaceFull),
            Self::BadToken(_) => plain(Reason::BadToken),
            Self::ClocksApart { now, .. } => v1::ErrorDetail { now_ms: *now, ..plain(Reason::ClocksApart) },
            Self::NoLeader { retry_after_ms, .. }
            | Self::HomeAway { retry_after_ms, .. }
            | Self::NotActing { retry_after_ms, .. } => later(Reason::NoLeader, *retry_after_ms),
            Self::NotCopied { retry_after_ms, .. } => later(Reason::NotCopied, *retry_after_ms),
            Self::DiskFull => later(Reason::DiskFull, FULL_RETRY_MS),
            Self::Overloaded { .. } => later(Reason::Overloaded, OVERLOADED_RETRY_MS),
            Self::Loading | Self::Stopping => later(Reason::NotServing, LOADING_RETRY_MS),
            Self::Deadline => later(Reason::Deadline, 0),
            Self::RequestReused => plain(Reason::RequestReused),
            Self::Refused(refusal) => match refusal {
                Refusal::Exists | Refusal::Busy => plain(Reason::Exists),
                Refusal::Missing | Refusal::Gone => plain(Reason::Gone),
                Refusal::Conflict { current } => conflict(&[], current, plain(Reason::Conflict)),
                Refusal::WrongKind
                | Refusal::NotInteger
                | Refusal::NotFloat
                | Refusal::HashNotInteger
                | Refusal::HashNotFloat
                | Refusal::Overflow
                | Refusal::NotFinite => plain(Reason::WrongKind),
                Refusal::TooLarge { bytes, bytes_max, largest } => v1::ErrorDetail {
                    bytes: *bytes,
                    bytes_max: *bytes_max,
                    largest: largest.iter().map(|(name, bytes)| large(name, *bytes)).collect(),
                    ..plain(Reason::TooLarge)
                },
                Refusal::Revoked { epoch } => v1::ErrorDetail { revocation_epoch: *epoch, ..plain(Reason::Revoked) },
                Refusal::Destroyed => plain(Reason::Destroyed),
                Refusal::CrossSlot => plain(Reason::CrossSlot),
                Refusal::NotHere
                | Refusal::Elsewhere { .. }
                | Refusal::Fenced { .. }
                | Refusal::SlotMoved { .. }
                | Refusal::Slot(_) => later(Reason::NoLeader, OVERLOADED_RETRY_MS),
            },
        }
    }
}

fn large(name: &[u8], bytes: u64) -> v1::LargeField {
    v1::LargeField { name: Bytes::copy_from_slice(&name[..name.len().min(NAME_BYTES_MAX)]), bytes }
}

/// The detail with the current record, without its fields where those are too large for a header.
fn conflict(id: &[u8], current: &View, detail: v1::ErrorDetail) -> v1::ErrorDetail {
    let record = session(Bytes::copy_from_slice(id), current.clone());
    let mut detail = v1::ErrorDetail { current: Some(record), ..detail };
    if detail.encoded_len() > DETAIL_BYTES_MAX {
        detail.current_is_cut = true;
        if let Some(record) = &mut detail.current {
            record.fields.clear();
        }
    }
    if detail.encoded_len() > DETAIL_BYTES_MAX {
        // Many long labels: the version at least.
        if let Some(record) = &mut detail.current {
            record.owner = None;
        }
    }
    detail
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let (code, message) = (failure.code(), failure.to_string());
        let value = Bytes::from(failure.detail().encode_to_vec());
        let details = vec![v1::Detail { type_url: DETAIL_TYPE.to_owned(), value }];
        let status = v1::RpcStatus { code: code.into(), message: message.clone(), details };
        Self::with_details(code, message, Bytes::from(status.encode_to_vec()))
    }
}

/// What a status tells programs, if it is one of ours.
pub fn detail_of(status: &Status) -> Option<v1::ErrorDetail> {
    let v1::RpcStatus { code: _, message: _, details } = v1::RpcStatus::decode(status.details()).ok()?;
    let detail = details.into_iter().find(|detail| detail.type_url == DETAIL_TYPE)?;
    v1::ErrorDetail::decode(detail.value).ok()
}
