//! Looks for room on the disk again after there was none, so that a full disk needs no restart.

use super::node::Inner;
use std::{sync::Weak, time::Duration};

/// How often the log is asked whether it lacks room.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Makes the log try again to reserve space while its last attempt found none.
pub(super) async fn run_space(node: Weak<Inner>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(inner) = node.upgrade() else { return };
        if inner.log.is_out_of_space() {
            inner.make_room();
            inner.log.retry_space();
        }
    }
}

impl Inner {
    /// Has all groups let go of what they do not need in the log.
    fn make_room(&self) {
        self.system.make_room();
        self.shards.all().iter().for_each(|(_, shard)| shard.group.make_room());
    }
}
