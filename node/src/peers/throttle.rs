//! A bound on what a node sends in bulk.

use crate::env::Env;
use parking_lot::Mutex;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Lets through so many bytes a second; everything at first.
pub struct Throttle {
    env: Env,
    bytes_per_s_max: AtomicU64,
    /// When what was let through last is paid for, on the boot clock.
    paid_at: Mutex<Duration>,
}

impl Throttle {
    pub(crate) fn new(env: Env) -> Self {
        Self { env, bytes_per_s_max: AtomicU64::new(0), paid_at: Mutex::default() }
    }

    /// Bytes a second from now on; 0 for as fast as it goes. Who waits already waits as long as it was told.
    pub fn limit(&self, bytes_per_s_max: u64) {
        self.bytes_per_s_max.store(bytes_per_s_max, Ordering::Relaxed);
    }

    /// See [`Throttle::limit`].
    pub fn bytes_per_s_max(&self) -> u64 {
        self.bytes_per_s_max.load(Ordering::Relaxed)
    }

    /// Waits until `bytes` may be sent. Those who wait at once are let through one after the other.
    pub async fn pass(&self, bytes: usize) {
        let bytes_per_s_max = self.bytes_per_s_max();
        if bytes_per_s_max == 0 {
            return;
        }
        let wait = {
            let (now, mut paid_at) = (self.env.clock.boot(), self.paid_at.lock());
            let from = now.max(*paid_at);
            *paid_at = from + Duration::from_secs_f64(bytes as f64 / bytes_per_s_max as f64);
            from - now
        };
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::RealEnv;
    use std::time::Instant;

    #[tokio::test]
    async fn so_many_bytes_a_second_pass_and_no_more() {
        let throttle = Throttle::new(RealEnv::current());
        let began = Instant::now();
        throttle.pass(usize::MAX).await;
        throttle.limit(1_000);
        throttle.pass(100).await;
        assert!(began.elapsed() < Duration::from_millis(90), "nobody has to wait for the first");
        tokio::join!(throttle.pass(50), throttle.pass(50));
        assert!(began.elapsed() >= Duration::from_millis(150), "the second goes after the first, the third after both");
        throttle.limit(0);
        let began = Instant::now();
        throttle.pass(1 << 30).await;
        assert!(began.elapsed() < Duration::from_millis(50));
    }
}
