//! What a shard's leader proposes by itself as time passes.
//!
//! Sessions whose deadline has passed are ended, unless the leader knows of a later one, which is logged then. Deadlines that
//! were in memory for long enough are logged, and what is left of a revoked user's sessions is destroyed.

use super::{Bundle, Sessions};
use sojourn_core::{Command, Key, Op, Record, Request, Stamp, policy::Policy, state::ENDED_PER_APPLY_MAX};

/// How many overdue sessions one entry deals with.
const DUE_MAX: usize = 512;

impl Sessions {
    /// What is to be done at `now`, if anything, and whether there is more after that.
    pub(super) fn chores(&self, now: Stamp) -> Option<(Bundle, bool)> {
        let (mut commands, mut keys) = (Vec::new(), self.touches.tend(&self.state));
        let known = self.touches.known();
        let state = self.state.read();
        let due = state.due(now, DUE_MAX);
        let more = due.len() == DUE_MAX;
        for (key, record) in due {
            match known.deadline(now, &key, &record) {
                Some(later) if later > now && record.absolute_deadline > now => keys.push(key),
                Some(_) | None => commands.push(expire(key, &record, now)),
            }
        }
        let leftovers = state.leftovers().next().map(|(namespace, user, epoch)| {
            let op = Op::Revoke { user: user.into(), epoch, count_max: ENDED_PER_APPLY_MAX };
            // Any id will do: it says whose user is meant.
            Key::new(namespace, b"revoke").map(|key| own(key, op))
        });
        let more = more || leftovers.is_some();
        commands.extend(leftovers.and_then(Result::ok));
        let nothing = commands.is_empty() && keys.is_empty();
        (!nothing).then(|| (Bundle::new(&commands).absorbing(&keys), more))
    }
}

/// Ends a session that is overdue at `now` by all that the leader knows.
pub fn expire(key: Key, record: &Record, now: Stamp) -> Command {
    own(key, Op::Expire { version: record.version, deadline: now })
}

/// A command that the leader proposes by itself.
pub(super) fn own(key: Key, op: Op) -> Command {
    let rules = Policy::default().rules(false);
    Command { request: Request::default(), key, rules, touched: None, op }
}
