//! The `Sessions` service: generated messages, and what they mean.
//!
//! Requests become checked [`calls`], [`answers`] become responses, and a [`Failure`] becomes a status with details that
//! programs can read. Conversions take messages apart field by field, so that a new field breaks the build here.

pub mod answers;
pub mod calls;
mod failure;
mod session;

#[cfg(test)]
mod tests;

/// The messages and the service as generated.
pub mod v1 {
    #![allow(missing_docs, clippy::all)]
    tonic::include_proto!("sojourn.sessions.v1");
}

pub use failure::{DETAIL_BYTES_MAX, Failure, detail_of};

/// Metadata: the namespace's name; `default` without it.
pub const NAMESPACE_METADATA: &str = "sojourn-namespace";

/// Metadata: the namespace's password.
pub const PASSWORD_METADATA: &str = "sojourn-password";

/// Metadata: the address of the application's own client, for whom a session is created; the caller's address without it.
pub const CLIENT_ADDRESS_METADATA: &str = "sojourn-client-address";

/// The largest message in either direction, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// The longest user, name of a label and value of a label, in bytes.
pub const OWNER_TEXT_BYTES_MAX: usize = 512;

/// Labels of one session.
pub const LABELS_MAX: usize = 32;

/// Sessions that one watch can name.
pub const WATCHED_IDS_MAX: usize = 1_000;

/// A request that is not understood: what, and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);
