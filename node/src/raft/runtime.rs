//! openraft's runtime: tokio, with randomness and the order of tasks under the simulation's control.
//!
//! In a real node this is tokio and the thread's generator. In the simulation, which runs everything on one thread,
//! [`simulate`] replaces the generator by a seeded one and lets it delay tasks by a few turns, so that one seed is one
//! schedule.

use openraft_rt::{AsyncRuntime, OptionalSend};
use openraft_rt_tokio::{TokioInstant, TokioMpsc, TokioMutex, TokioOneshot, TokioRuntime, TokioWatch};
use rand_openraft::{RngExt, SeedableRng, rngs::SmallRng};
use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

thread_local! {
    static SEEDED: RefCell<Option<SmallRng>> = const { RefCell::new(None) };
}

/// Simulation only: from now on this thread's randomness and task order follow `seed`.
pub fn simulate(seed: u64) {
    SEEDED.with(|rng| *rng.borrow_mut() = Some(SmallRng::seed_from_u64(seed)));
}

/// The next number of the simulation's generator, if this thread simulates.
pub fn simulated_u64() -> Option<u64> {
    SEEDED.with(|rng| rng.borrow_mut().as_mut().map(RngExt::random))
}

/// The runtime of all Raft groups.
#[derive(Debug)]
pub struct Runtime(TokioRuntime);

/// How often, one time in so many, a simulated task is put off when it could run.
const PUT_OFF_ONE_IN: u64 = 8;

/// A task whose turns the simulation may put off.
struct Scheduled<F>(Pin<Box<F>>);

impl<F: Future> Future for Scheduled<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if simulated_u64().is_some_and(|number| number % PUT_OFF_ONE_IN == 0) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.0.as_mut().poll(context)
    }
}

impl AsyncRuntime for Runtime {
    type JoinError = tokio::task::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = tokio::task::JoinHandle<T>;
    type Sleep = tokio::time::Sleep;
    type Instant = TokioInstant;
    type TimeoutError = tokio::time::error::Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = tokio::time::Timeout<T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = TokioMpsc;
    type Watch = TokioWatch;
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
        TokioRuntime::sleep_until(deadline)
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

/// Spawns onto tokio; under the simulation the task's turns follow the seed.
pub fn spawn<T>(future: T) -> tokio::task::JoinHandle<T::Output>
where
    T: Future + Send + 'static,
    T::Output: Send + 'static,
{
    if simulated_u64().is_some() { tokio::spawn(Scheduled(Box::pin(future))) } else { tokio::spawn(future) }
}
