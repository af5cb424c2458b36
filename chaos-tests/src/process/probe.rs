//! Asking a server how it is, until it is as it should be.

use anyhow::bail;
use std::time::{Duration, Instant};

/// Between two probes of a server that is not ready: short beside the times that are measured with them.
const PROBE_EVERY: Duration = Duration::from_millis(5);

/// Probes until `holds`.
///
/// # Errors
/// It did not hold in time.
pub fn wait_until(what: &str, timeout: Duration, mut holds: impl FnMut() -> bool) -> anyhow::Result<Duration> {
    let started = Instant::now();
    while !holds() {
        if started.elapsed() > timeout {
            bail!("waited {timeout:?} in vain for {what}");
        }
        std::thread::sleep(PROBE_EVERY);
    }
    Ok(started.elapsed())
}
