//! One direction between two regions: how it is, and what it has carried.

use super::transit::Meter;
use parking_lot::Mutex;
use rand::Rng;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

/// How one direction between two regions is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// How long bytes take.
    pub delay: Duration,
    /// By how much that varies, up or down. Order is kept all the same, as TCP keeps it.
    pub jitter: Duration,
    /// The most bytes in a second, all connections together; none for no limit.
    pub bytes_per_s_max: Option<u64>,
    /// Whether nothing arrives.
    pub cut: bool,
}

/// How long a cut may hold bytes before their connection breaks: as long as a node's TCP waits for what it sent to arrive.
pub(super) const HELD_MAX: Duration = Duration::from_secs(3);

/// What connections are told of their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub link: Link,
    /// How often all connections were broken so far.
    pub breaks: u64,
}

/// A link with all that uses it.
#[derive(Default)]
pub(super) struct Way {
    told: watch::Sender<Told>,
    /// What the limit is used for, by all connections together.
    pub meter: Mutex<Meter>,
    connections: AtomicU64,
    bytes_total: AtomicU64,
}

impl Way {
    pub fn change(&self, change: impl FnOnce(&mut Link)) {
        self.told.send_modify(|told| change(&mut told.link));
    }

    pub fn break_connections(&self) {
        self.told.send_modify(|told| told.breaks += 1);
    }

    pub fn watch(&self) -> watch::Receiver<Told> {
        self.told.subscribe()
    }

    pub fn figures(&self) -> (Link, u64, u64) {
        let link = self.told.borrow().link;
        (link, self.connections.load(Ordering::Relaxed), self.bytes_total.load(Ordering::Relaxed))
    }

    pub fn count(&self, bytes: usize) {
        self.bytes_total.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts a connection until the value is dropped.
    pub fn connected(&self) -> Connected<'_> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connected(self)
    }

    /// Waits as long as one word takes to get across; `false` if it does not.
    pub async fn cross(&self) -> bool {
        let mut told = self.watch();
        let link = told.borrow().link;
        sleep(link.draw_delay()).await;
        // The sender lives as long as this.
        matches!(timeout(HELD_MAX, told.wait_for(|told| !told.link.cut)).await, Ok(Ok(_)))
    }

    /// Completes when nothing has passed in either direction for so long that a connection which says nothing breaks too.
    pub async fn until_parted(&self, back: &Self) {
        let (mut there, mut here) = (self.watch(), back.watch());
        let mut parted_since: Option<Instant> = None;
        loop {
            let parted = there.borrow_and_update().link.cut && here.borrow_and_update().link.cut;
            parted_since = parted.then(|| parted_since.unwrap_or_else(Instant::now));
            let breaks_at = async {
                match parted_since {
                    Some(since) => tokio::time::sleep_until(since + HELD_MAX).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = breaks_at => return,
                changed = there.changed() => if changed.is_err() { return },
                changed = here.changed() => if changed.is_err() { return },
            }
        }
    }
}

impl Link {
    /// How long the next bytes take.
    pub fn draw_delay(&self) -> Duration {
        if self.jitter.is_zero() {
            return self.delay;
        }
        let spread = rand::rng().random_range(0.0..=2.0);
        (self.delay + self.jitter.mul_f64(spread)).saturating_sub(self.jitter)
    }
}

/// See [`Way::connected`].
pub(super) struct Connected<'a>(&'a Way);

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
