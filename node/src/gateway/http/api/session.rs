//! Sessions in JSON.

use crate::notation::escape;
use serde::{Deserialize, Serialize};
use sojourn_core::{Kind, View, ids::NEVER, region::DEFAULT_NAMESPACE_NAME};
use std::collections::BTreeMap;

/// `POST /v1/sessions/get` and `/v1/sessions/destroy`: the id is a credential, so it is in the body and not in the URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Find {
    /// The namespace's name.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The id.
    pub id: String,
    /// Whether to answer the fields too.
    #[serde(default)]
    pub values: bool,
}

/// What `get` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The session, if one lives under that id.
    pub session: Option<Session>,
}

/// What `destroy` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destroyed {
    /// How many sessions were: 1, or 0 if none lived under that id.
    pub destroyed: u64,
}

/// `POST /v1/sessions/move`: gives a session another home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveSession {
    /// The namespace's name.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The id.
    pub id: String,
    /// The region's name.
    pub to: String,
}

/// What `move` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedSession {
    /// Whether it was moved; otherwise it was at home there already.
    pub moved: bool,
}

/// `POST /v1/sessions/ttl`: moves the idle deadline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetTtl {
    /// The namespace's name.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The id.
    pub id: String,
    /// In how long the session shall end.
    pub ttl_ms: u64,
}

/// `POST /v1/sessions/list`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Which.
    #[serde(default)]
    pub which: Which,
    /// How many sessions at most; fewer may come.
    #[serde(default)]
    pub limit: Option<u64>,
    /// Where the last page ended.
    #[serde(default)]
    pub from: Option<Place>,
    /// Ids as they are, instead of what stands for them.
    #[serde(default)]
    pub show_ids: bool,
}

/// `POST /v1/sessions/count`, and which sessions a list shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// The namespace's name.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Only of this user.
    #[serde(default)]
    pub user: Option<String>,
    /// Only with this label at this value.
    #[serde(default)]
    pub label: Option<(String, String)>,
    /// Only those that end within this time unless they are used.
    #[serde(default)]
    pub expiring_within_ms: Option<u64>,
    /// Only ids that match this glob.
    #[serde(default)]
    pub pattern: Option<String>,
}

impl Default for Which {
    /// All sessions of the default namespace.
    fn default() -> Self {
        let namespace = default_namespace();
        Self { namespace, user: None, label: None, expiring_within_ms: None, pattern: None }
    }
}

fn default_namespace() -> String {
    DEFAULT_NAMESPACE_NAME.to_owned()
}

/// What `count` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// How many.
    pub sessions: u64,
    /// The size of their fields.
    pub bytes: u64,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Sessions.
    pub sessions: Vec<Session>,
    /// Where to go on; none at the end.
    pub next: Option<Place>,
}

/// A place in a list, for `from`; what is in it is the node's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The shard.
    pub shard: u32,
    /// The deadline, in a list by deadline.
    #[serde(default)]
    pub deadline: u64,
    /// The slot.
    pub slot: u16,
    /// The hash of the id.
    pub hash: u64,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its id, or `#` and a keyed hash of it where ids are not shown.
    pub id: String,
    /// `string`, `hash`, `set` or `sorted_set`.
    pub kind: String,
    /// Whose it is.
    pub user: Option<String>,
    /// What the application labelled it with.
    pub labels: BTreeMap<String, String>,
    /// When it was created.
    pub created_at: u64,
    /// The last logged change.
    pub written_at: u64,
    /// When it ends unless it is used.
    pub ends_at: u64,
    /// In how long that is.
    pub ttl_ms: u64,
    /// When it ends whatever happens.
    pub ends_at_latest: u64,
    /// How long it may stay unused; none where only the absolute deadline counts.
    pub idle_timeout_ms: Option<u64>,
    /// `epoch.home epoch.sequence`.
    pub version: String,
    /// Its home, as far as the region that answers knows: which orders its writes, unless others act for that.
    pub home: String,
    /// How many fields it has.
    pub field_count: u64,
    /// Their size.
    pub bytes: u64,
    /// The fields, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<BTreeMap<String, String>>,
}

impl Session {
    /// A session called `id` that is at home in the region called `home`, as it is at `now`.
    pub fn of((id, home): (String, String), view: &View, with_fields: bool, now: u64) -> Self {
        let View { kind, incarnation, version, written, idle_timeout_ms, .. } = view;
        let owner = view.owner.as_deref();
        let labels = owner.iter().flat_map(|owner| &owner.labels);
        let ends_at = view.idle_deadline.min(view.absolute_deadline);
        let fields = || view.fields.iter().map(|(name, value)| (escape(name), field(view.kind, value))).collect();
        Self {
            id,
            kind: kind_name(*kind).to_owned(),
            user: owner.filter(|owner| !owner.user.is_empty()).map(|owner| escape(&owner.user)),
            labels: labels.map(|(name, value)| (escape(name), escape(value))).collect(),
            created_at: incarnation.stamp,
            written_at: *written,
            ends_at,
            ttl_ms: ends_at.saturating_sub(now),
            ends_at_latest: view.absolute_deadline,
            idle_timeout_ms: (view.idle_deadline != NEVER && *idle_timeout_ms > 0).then_some(*idle_timeout_ms),
            version: format!("{}.{}.{}", version.epoch, version.home_epoch, version.sequence),
            home,
            field_count: view.field_count,
            bytes: view.bytes,
            fields: with_fields.then(fields),
        }
    }
}

pub(super) fn field(kind: Kind, value: &[u8]) -> String {
    match (kind, value.try_into()) {
        (Kind::SortedSet, Ok(bits)) => f64::from_be_bytes(bits).to_string(),
        (Kind::SortedSet | Kind::String | Kind::Hash | Kind::Set, _) => escape(value),
    }
}

pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::String => "string",
        Kind::Hash => "hash",
        Kind::Set => "set",
        Kind::SortedSet => "sorted_set",
    }
}
