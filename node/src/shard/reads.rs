//! Linearizable reads: one question to a quorum answers for all reads that came before it was asked.

use super::Sessions;
use crate::raft::{RunningGroup, spawn};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};

/// The reads that wait at one shard. Cheap to clone.
#[derive(Clone)]
pub struct Reads {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    waiting: Mutex<Vec<oneshot::Sender<bool>>>,
    arrived: Arc<Notify>,
}

impl Drop for Inner {
    /// Lets the task end, and with it what it holds of the group.
    fn drop(&mut self) {
        self.arrived.notify_one();
    }
}

impl Reads {
    /// Starts answering for `group`. With `unchecked`, a planted bug of simulations, nobody is asked.
    pub fn start(group: Arc<RunningGroup<Sessions>>, unchecked: bool) -> Self {
        let inner = Arc::new(Inner::default());
        let (weak, arrived) = (Arc::downgrade(&inner), inner.arrived.clone());
        drop(spawn(async move {
            // Held only for a moment: whoever waits here must not keep itself alive.
            while let Some(waiting) = weak.upgrade().map(|inner| std::mem::take(&mut *inner.waiting.lock())) {
                if waiting.is_empty() {
                    arrived.notified().await;
                    continue;
                }
                let confirmed = unchecked || matches!(group.confirm_read().await, Ok(true));
                for reader in waiting {
                    // A reader that gave up needs no answer.
                    let _gone = reader.send(confirmed);
                }
            }
        }));
        Self { inner }
    }

    /// Waits until the shard here holds all that was acknowledged before this call; `false` if this node does not lead.
    pub async fn confirm(&self) -> bool {
        let (sender, confirmed) = oneshot::channel();
        let was_empty = {
            let mut waiting = self.inner.waiting.lock();
            waiting.push(sender);
            waiting.len() == 1
        };
        if was_empty {
            self.inner.arrived.notify_one();
        }
        confirmed.await.unwrap_or(false)
    }
}
