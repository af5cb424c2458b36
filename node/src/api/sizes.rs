//! What is never stored, and what is reported for its size before the state machine has a word.

use super::Room;
use parking_lot::Mutex;
use sojourn_core::Fields;
use std::time::{Duration, Instant};

/// How often sizes are logged at most.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Fields that a report names.
const LARGEST_NAMED_MAX: usize = 5;

/// Reports of sizes, few enough to be read.
#[derive(Default)]
pub(super) struct Sizes {
    reported_at: Mutex<Option<Instant>>,
}

impl Sizes {
    /// The fields as they will be stored: without those that the namespace never stores. Reports what is large; what is too
    /// large is refused where all fields are known.
    pub fn kept(&self, room: &Room<'_>, fields: Fields) -> Fields {
        let redact = &room.policy().redact;
        let is_redacted = |name: &[u8]| redact.iter().any(|redacted| redacted.as_bytes() == name);
        let fields = if fields.iter().any(|(name, _)| is_redacted(name)) {
            let kept = fields.iter().filter(|(name, _)| !is_redacted(name));
            Fields::from_pairs(kept.map(|(name, value)| (name.into(), value.into())))
        } else {
            fields
        };
        self.report(room, &fields);
        fields
    }

    fn report(&self, room: &Room<'_>, fields: &Fields) {
        let (policy, bytes) = (room.policy(), fields.bytes());
        if bytes <= policy.size_warn_bytes.min(policy.size_error_bytes).min(policy.size_bytes_max) || !self.may_report()
        {
            return;
        }
        let mut largest: Vec<_> = fields
            .iter()
            .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), name.len() + value.len()))
            .collect();
        largest.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        largest.truncate(LARGEST_NAMED_MAX);
        let namespace = room.name();
        if bytes > policy.size_bytes_max {
            tracing::error!(namespace, bytes, ?largest, "a session is too large and is refused");
        } else if bytes > policy.size_error_bytes {
            tracing::error!(namespace, bytes, ?largest, "a session is far too large, but kept");
        } else {
            tracing::warn!(namespace, bytes, ?largest, "a session is large");
        }
    }

    fn may_report(&self) -> bool {
        let mut reported_at = self.reported_at.lock();
        let may = reported_at.is_none_or(|at| at.elapsed() >= REPORT_EVERY);
        if may {
            *reported_at = Some(Instant::now());
        }
        may
    }
}
