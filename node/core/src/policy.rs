//! Namespaces and their policy: replicated state of the region, read by gateways.

use crate::{command::Rules, ids::NamespaceId};
use std::collections::BTreeMap;

/// How writes to an id whose session was destroyed are met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterDestroy {
    /// As Redis does: a `SET` creates a new session.
    #[default]
    Create,
    /// Refused while the tombstone stands.
    Refuse,
}

/// How field values of strings are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldsFormat {
    /// Opaque bytes.
    #[default]
    Opaque,
    /// JSON objects: user, labels and redacted fields are looked for by path.
    Json,
}

/// Where sessions are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// Wherever a copy is fresh enough for the caller.
    #[default]
    Anywhere,
    /// At home only.
    Home,
}

/// One namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its number, never used again.
    pub id: NamespaceId,
    /// Its name, as in `AUTH name password`.
    pub name: String,
    /// What holds in it.
    pub policy: Policy,
}

/// Whether a namespace may be called so: 1 to 64 of `a-z A-Z 0-9 _ -`.
pub(crate) fn is_namespace_name(name: &str) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    (1..=64).contains(&name.len()) && letters
}

/// A namespace's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The idle timeout of sessions created without one; 0 for none.
    pub idle_timeout_ms: u64,
    /// The longest idle timeout that a client may set; 0 for no cap.
    pub idle_timeout_ms_max: u64,
    /// The absolute lifetime of sessions with minted ids, from login.
    pub absolute_ms: u64,
    /// The cap for sessions with foreign ids, moved on by every write.
    pub foreign_absolute_ms: u64,
    /// Log a touch only when the logged deadline is older than this; 0 for every time, `u64::MAX` for never; `None` for a
    /// tenth of the session's idle timeout, at most a minute.
    pub touch_interval_ms: Option<u64>,
    /// Whether ids that Sojourn did not mint are accepted.
    pub foreign_ids: bool,
    /// What a `SET` over a destroyed session does.
    pub after_destroy: AfterDestroy,
    /// Warn about sessions above this size.
    pub size_warn_bytes: u64,
    /// Report sessions above this size as errors, but keep them.
    pub size_error_bytes: u64,
    /// Refuse sessions above this size.
    pub size_bytes_max: u64,
    /// Refuse to create above this many live sessions; 0 for no limit.
    pub sessions_max: u64,
    /// Refuse to create above this many bytes of live fields; 0 for no limit.
    pub bytes_max: u64,
    /// The key derivation of the password that `AUTH` needs; empty for none, and then only the loopback is let in.
    pub password_hash: String,
    /// The number that `SELECT` chooses it by.
    pub database: Option<u32>,
    /// How string values are read.
    pub fields: FieldsFormat,
    /// Where in a JSON value the user is, such as `passport.user`.
    pub user_path: String,
    /// Labels and where in a JSON value each is.
    pub label_paths: BTreeMap<String, String>,
    /// Fields (JSON paths where `fields` is JSON) that are never stored.
    pub redact: Vec<String>,
    /// How many more regions a write waits for before it is acknowledged (`ack = "geo"`); 0 for none.
    pub ack_regions: u16,
    /// Where sessions are read.
    pub reads: Reads,
    /// How long a read waits for a copy that has not reached what its caller has seen, before it goes home.
    pub wait_fresh_ms: u64,
    /// Whether sessions get another home when they are mostly used from there: see [`crate::travel`].
    pub travel: bool,
}

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
const KIB: u64 = 1024;

/// See [`Policy::wait_fresh_ms`].
const WAIT_FRESH_MS: u64 = 50;

/// How long tombstones are kept at least, so that a retry of a slow request still finds what happened.
pub const TOMBSTONE_MS_MIN: u64 = 5 * MINUTE_MS;

impl Default for Policy {
    fn default() -> Self {
        Self {
            idle_timeout_ms: 0,
            idle_timeout_ms_max: 0,
            absolute_ms: 30 * DAY_MS,
            foreign_absolute_ms: 400 * DAY_MS,
            touch_interval_ms: None,
            foreign_ids: true,
            after_destroy: AfterDestroy::Create,
            size_warn_bytes: 50 * KIB,
            size_error_bytes: 100 * KIB,
            size_bytes_max: KIB * KIB,
            sessions_max: 0,
            bytes_max: 0,
            password_hash: String::new(),
            database: None,
            fields: FieldsFormat::Opaque,
            user_path: String::new(),
            label_paths: BTreeMap::new(),
            redact: Vec::new(),
            ack_regions: 0,
            reads: Reads::Anywhere,
            wait_fresh_ms: WAIT_FRESH_MS,
            travel: false,
        }
    }
}

impl Policy {
    /// What decides a write; `minted` tells ids of ours from foreign ones. A minted id is used once, whatever the policy says.
    pub fn rules(&self, minted: bool) -> Rules {
        let refuse = minted || self.after_destroy == AfterDestroy::Refuse;
        let absolute_ms = if minted { self.absolute_ms } else { self.foreign_absolute_ms };
        Rules {
            idle_timeout_ms: self.idle_timeout_ms,
            idle_timeout_ms_max: self.idle_timeout_ms_max,
            absolute_ms,
            absolute_moves: !minted,
            size_bytes_max: self.size_bytes_max,
            refuse_after_destroy: refuse,
            tombstone_ms: if refuse { absolute_ms } else { TOMBSTONE_MS_MIN },
        }
    }

    /// How much later than logged a touch must be before it is logged, for a session of this idle timeout.
    pub fn touch_interval_ms(&self, idle_timeout_ms: u64) -> u64 {
        touch_interval_ms(self.touch_interval_ms, idle_timeout_ms)
    }
}

/// Sessions that live at most this long have exact deadlines: no touch of theirs waits in memory.
pub const EXACT_LIFETIME_MS_MAX: u64 = MINUTE_MS;

/// See [`Policy::touch_interval_ms`].
pub fn touch_interval_ms(policy: Option<u64>, idle_timeout_ms: u64) -> u64 {
    if idle_timeout_ms <= EXACT_LIFETIME_MS_MAX {
        return 0;
    }
    policy.unwrap_or_else(|| (idle_timeout_ms / 10).min(MINUTE_MS))
}
