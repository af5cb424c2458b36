//! The types that openraft is told of, and how entries look in the log and between nodes.

use super::Runtime;
use bytes::Bytes;
use openraft::{EmptyNode, Entry, EntryPayload, Membership, vote::RaftLeaderId};
use serde::{Deserialize, Serialize};
use sojourn_core::{Outcome, control::ControlOutcome, region::RegionOutcome};
use std::{fmt, io};

openraft::declare_raft_types!(
    /// One kind of Raft group serves for sessions, for a region's own state and for the world's.
    pub Types:
        D = Proposal,
        R = Applied,
        NodeId = u64,
        Node = EmptyNode,
        AsyncRuntime = Runtime,
);

/// What a leader proposes: encoded once, and never looked into before it is applied.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal(pub Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying an entry answered; never leaves the node.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Applied {
    /// Blank entries and changes of membership.
    #[default]
    Nothing,
    /// One outcome for each command of the entry.
    Sessions(Vec<Outcome>),
    /// A change of what the region agrees on.
    Region(Box<RegionOutcome>),
    /// A change of what the world agrees on.
    Control(Box<ControlOutcome>),
}

// openraft asks for these although responses stay in the process.
impl Serialize for Applied {
    fn serialize<S: serde::Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("outcomes are not serialised"))
    }
}

impl<'de> Deserialize<'de> for Applied {
    fn deserialize<D: serde::Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("outcomes are not serialised"))
    }
}

/// A log position.
pub type LogId = openraft::alias::LogIdOf<Types>;
/// A vote.
pub type Vote = openraft::alias::VoteOf<Types>;
/// Who leads, or would, in which term.
pub type LeaderId = openraft::alias::LeaderIdOf<Types>;
/// A log entry.
pub type LogEntry = openraft::alias::EntryOf<Types>;
/// A committed membership.
pub type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
type CommittedLeaderId = <openraft::alias::LeaderIdOf<Types> as RaftLeaderId>::Committed;

const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// The bytes of an entry: `postcard(log id) | kind | payload`.
pub fn encode_entry(entry: &LogEntry) -> io::Result<Bytes> {
    let mut out = put_entry_head(Vec::with_capacity(32 + payload_bytes(entry)), entry).map_err(io::Error::other)?;
    out.extend_from_slice(payload(entry));
    Ok(out.into())
}

/// Appends all of an entry's bytes but its [`payload`].
pub(super) fn put_entry_head(out: Vec<u8>, entry: &LogEntry) -> postcard::Result<Vec<u8>> {
    let mut out = postcard::to_extend(&entry.log_id, out)?;
    match &entry.payload {
        EntryPayload::Blank => out.push(BLANK),
        EntryPayload::Normal(_) => out.push(NORMAL),
        EntryPayload::Membership(membership) => {
            out.push(MEMBERSHIP);
            out = postcard::to_extend(membership, out)?;
        }
    }
    Ok(out)
}

/// The end of an entry's bytes, as they were proposed.
pub(super) fn payload(entry: &LogEntry) -> &[u8] {
    match &entry.payload {
        EntryPayload::Normal(proposal) => &proposal.0,
        EntryPayload::Blank | EntryPayload::Membership(_) => &[],
    }
}

/// Roughly how large an entry's payload is.
pub fn payload_bytes(entry: &LogEntry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 64,
    }
}

/// Reads back what [`encode_entry`] wrote; a proposal shares `bytes`.
pub fn decode_entry(bytes: &Bytes) -> io::Result<LogEntry> {
    let (log_id, rest): (LogId, &[u8]) = postcard::take_from_bytes(bytes).map_err(io::Error::other)?;
    let (kind, payload) = rest.split_first().ok_or_else(|| malformed("an entry without a kind"))?;
    let payload = match *kind {
        BLANK => EntryPayload::Blank,
        NORMAL => EntryPayload::Normal(Proposal(bytes.slice_ref(payload))),
        MEMBERSHIP => {
            let membership: Membership<u64, EmptyNode> = postcard::from_bytes(payload).map_err(io::Error::other)?;
            EntryPayload::Membership(membership)
        }
        other => return Err(malformed(&format!("an entry of unknown kind {other}"))),
    };
    Ok(Entry::<CommittedLeaderId, _> { log_id, payload })
}

/// An error for bytes that passed their checksum and still make no sense: written by another version.
pub fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what}: was it written by a newer version of Sojourn?"))
}
