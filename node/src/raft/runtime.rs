//! openraft's runtime: tokio, with randomness and the order of tasks under the simulation's control.
//!
//! In a real node this is tokio and the thread's generator. In the simulation, which runs everything on one thread,
//! [`super::simulate`] replaces the generator by a seeded one and lets it delay tasks by a few turns, so that one seed is
//! one schedule.

use super::{
    simulated::{is_simulated, simulated_u64, spawn},
    watch::Watch,
};
use openraft_rt::{AsyncRuntime, Instant, OptionalSend};
use openraft_rt_tokio::{TokioInstant, TokioMpsc, TokioMutex, TokioOneshot, TokioRuntime};
use rand_openraft::{RngExt, SeedableRng, rngs::SmallRng};
use std::{future::Future, sync::OnceLock, time::Duration};

/// Groups look at their clocks fifty times a second. All groups of a node do so together, since each time a thread has to wake
/// costs more than what it finds.
const WAKE_EVERY: Duration = Duration::from_millis(20);

/// From where on that is counted.
static BEGUN: OnceLock<TokioInstant> = OnceLock::new();

/// The deadline, or the next time at which the groups of this node wake after it.
fn together(deadline: TokioInstant) -> TokioInstant {
    let begun = *BEGUN.get_or_init(TokioInstant::now);
    let every_us = WAKE_EVERY.as_micros();
    let late_us = (deadline - begun).as_micros() % every_us;
    let wait_us = if late_us == 0 { 0 } else { every_us - late_us };
    deadline + Duration::from_micros(u64::try_from(wait_us).unwrap_or_default())
}

/// The runtime of all Raft groups.
#[derive(Debug)]
pub struct Runtime(TokioRuntime);

impl AsyncRuntime for Runtime {
    type JoinError = tokio::task::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = tokio::task::JoinHandle<T>;
    type Sleep = tokio::time::Sleep;
    type Instant = TokioInstant;
    type TimeoutError = tokio::time::error::Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = tokio::time::Timeout<T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = TokioMpsc;
    type Watch = Watch;
    type Oneshot = TokioOneshot;
    type Mutex<T: OptionalSend + 'static> = TokioMutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        tokio::time::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        // What is simulated is one process, and its nodes are not to do everything at once.
        TokioRuntime::sleep_until(if is_simulated() { deadline } else { together(deadline) })
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        tokio::time::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        join_error.is_panic()
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        let seed = simulated_u64().unwrap_or_else(|| rand_openraft::rng().random());
        SmallRng::seed_from_u64(seed)
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_of_one_span_are_met_together_and_none_early() {
        let begun = *BEGUN.get_or_init(TokioInstant::now);
        for wait_us in [1, 19_999, 20_000, 20_001, 1_234_567] {
            let deadline = begun + Duration::from_micros(wait_us);
            let met = together(deadline);
            assert!(met >= deadline && met - deadline < WAKE_EVERY);
            assert_eq!((met - begun).as_micros() % WAKE_EVERY.as_micros(), 0);
        }
    }
}
