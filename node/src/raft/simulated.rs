//! The simulation's hold on everything that runs: one seed is one order of tasks, and a node stops or dies at once.
//!
//! A real node passes through here too and finds nothing: no seed, no [`Life`].

use super::types::LogEntry;
use crate::log::GroupId;
use parking_lot::Mutex;
use rand_openraft::{RngExt, SeedableRng, rngs::SmallRng};
use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};
use tokio::task::{AbortHandle, JoinHandle};

thread_local! {
    static SEEDED: RefCell<Option<SmallRng>> = const { RefCell::new(None) };
    static CURRENT: RefCell<Option<Life>> = const { RefCell::new(None) };
}

/// Simulation only: from now on this thread's randomness and task order follow `seed`.
pub fn simulate(seed: u64) {
    SEEDED.with(|rng| *rng.borrow_mut() = Some(SmallRng::seed_from_u64(seed)));
}

/// The next number of the simulation's generator, if this thread simulates.
pub fn simulated_u64() -> Option<u64> {
    SEEDED.with(|rng| rng.borrow_mut().as_mut().map(RngExt::random))
}

/// Whether this thread simulates.
pub(super) fn is_simulated() -> bool {
    SEEDED.with(|rng| rng.borrow().is_some())
}

/// Told what a simulated node does that its callers do not see.
pub trait Observer: Send + Sync + 'static {
    /// A replica applied an entry.
    fn applied(&self, group: GroupId, entry: &LogEntry);
    /// A replica's state is from now on that of the snapshot up to `index`.
    fn restored(&self, group: GroupId, index: Option<u64>);
    /// The node cannot go on.
    fn halted(&self, reason: &str);
}

/// All that runs on one simulated node from its start to its end. What a task spawns belongs to the life of the task.
#[derive(Clone)]
pub struct Life {
    inner: Arc<Inner>,
}

struct Inner {
    observer: Arc<dyn Observer>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ended: bool,
    stopped: bool,
    tasks: Vec<AbortHandle>,
    /// How many tasks there were when the finished ones were last forgotten.
    tasks_kept: usize,
    /// Tasks that wanted a turn while stopped.
    parked: Vec<Waker>,
    /// What arrived while stopped.
    held: Vec<Box<dyn FnOnce() + Send>>,
}

impl Life {
    /// A node that starts now.
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        Self { inner: Arc::new(Inner { observer, state: Mutex::default() }) }
    }

    /// Runs `work` as a task of this life.
    pub fn spawn<T>(&self, work: T) -> JoinHandle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        self.enclose(|| spawn(work))
    }

    /// Lets something from outside happen on this node: now, when it goes on again, or never if it has ended.
    pub fn enter(&self, work: impl FnOnce() + Send + 'static) {
        let mut state = self.inner.state.lock();
        if state.stopped && !state.ended {
            state.held.push(Box::new(work));
        } else if !state.ended {
            drop(state);
            self.enclose(work);
        }
    }

    /// Ends all tasks where they are; whatever they were about to do is not done.
    pub fn end(&self) {
        let (tasks, held) = {
            let mut state = self.inner.state.lock();
            state.ended = true;
            (std::mem::take(&mut state.tasks), std::mem::take(&mut state.held))
        };
        tasks.iter().for_each(AbortHandle::abort);
        drop(held);
    }

    /// Whether [`Life::end`] was called.
    pub fn has_ended(&self) -> bool {
        self.inner.state.lock().ended
    }

    /// Stops the node as SIGSTOP does, or lets it go on: time passes, what arrives waits.
    pub fn stop(&self, stopped: bool) {
        let (parked, held) = {
            let mut state = self.inner.state.lock();
            state.stopped = stopped;
            if stopped {
                return;
            }
            (std::mem::take(&mut state.parked), std::mem::take(&mut state.held))
        };
        held.into_iter().for_each(|work| self.enclose(work));
        parked.into_iter().for_each(Waker::wake);
    }

    fn enclose<T>(&self, work: impl FnOnce() -> T) -> T {
        let outer = CURRENT.with(|current| current.replace(Some(self.clone())));
        let result = work();
        CURRENT.with(|current| current.replace(outer));
        result
    }

    fn adopt(&self, task: AbortHandle) {
        let mut state = self.inner.state.lock();
        if state.ended {
            drop(state);
            return task.abort();
        }
        state.tasks.push(task);
        if state.tasks.len() > 2 * state.tasks_kept + 64 {
            state.tasks.retain(|task| !task.is_finished());
            state.tasks_kept = state.tasks.len();
        }
    }

    /// Whether a task may have its turn; if not, and it may have one later, it is woken then.
    fn admits(&self, waker: &Waker) -> bool {
        let mut state = self.inner.state.lock();
        if state.stopped {
            state.parked.push(waker.clone());
        }
        !state.stopped && !state.ended
    }
}

fn current() -> Option<Life> {
    CURRENT.with(|current| current.borrow().clone())
}

/// Tells the simulation that the node that runs now applied an entry.
pub(super) fn applied(group: GroupId, entry: &LogEntry) {
    if let Some(life) = current() {
        life.inner.observer.applied(group, entry);
    }
}

/// Tells the simulation that the node that runs now took over a snapshot.
pub(super) fn restored(group: GroupId, index: Option<u64>) {
    if let Some(life) = current() {
        life.inner.observer.restored(group, index);
    }
}

/// Ends the node, for going on would do harm: the process, or the simulated life, which ends when the caller returns.
pub fn halt(reason: &str) {
    tracing::error!(reason, "the node cannot go on and stops at once");
    match current() {
        Some(life) => {
            life.inner.observer.halted(reason);
            life.end();
        }
        None => std::process::abort(),
    }
}

/// How often, one time in so many, a simulated task is put off when it could run.
const PUT_OFF_ONE_IN: u64 = 8;

/// A task whose turns the simulation may put off, and that belongs to a life.
struct Scheduled<F> {
    life: Option<Life>,
    work: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Scheduled<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if simulated_u64().is_some_and(|number| number % PUT_OFF_ONE_IN == 0) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Self { life, work } = &mut *self;
        let Some(work) = work else { return Poll::Pending };
        match life {
            Some(life) if !life.admits(context.waker()) => Poll::Pending,
            Some(life) => life.enclose(|| work.as_mut().poll(context)),
            None => work.as_mut().poll(context),
        }
    }
}

impl<F> Drop for Scheduled<F> {
    fn drop(&mut self) {
        // What is dropped with a task is dropped on its node.
        if let Some(life) = self.life.take() {
            life.enclose(|| drop(self.work.take()));
        }
    }
}

/// Spawns onto tokio; under the simulation the task's turns follow the seed, and it ends with the node that spawned it.
pub fn spawn<T>(future: T) -> JoinHandle<T::Output>
where
    T: Future + Send + 'static,
    T::Output: Send + 'static,
{
    if simulated_u64().is_none() {
        return tokio::spawn(future);
    }
    let life = current();
    let task = tokio::spawn(Scheduled { life: life.clone(), work: Some(Box::pin(future)) });
    if let Some(life) = life {
        life.adopt(task.abort_handle());
    }
    task
}
