//! Threads that wait for the disk so that tasks do not have to.

use crate::env::{Env, Work};
use futures::FutureExt;
use std::{future::Future, io, sync::Arc};
use tokio::sync::{Mutex, mpsc, oneshot};

/// How many reads of cold sessions go on at once.
const READERS: usize = 2;

/// A few threads for short reads. Cheap to clone; they end with the last clone.
#[derive(Clone)]
pub struct Readers {
    // Bounded by those who wait for the answers.
    jobs: mpsc::UnboundedSender<Work>,
}

impl Readers {
    /// Starts the threads.
    pub fn start(env: &Env) -> Self {
        let (jobs, queue) = mpsc::unbounded_channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..READERS {
            env.spawn.spawn_blocking("engine-reader", Box::pin(run(queue.clone())));
        }
        Self { jobs }
    }

    /// Runs `job` on one of the threads.
    ///
    /// # Errors
    /// What the job says.
    pub async fn read<T: Send + 'static>(&self, job: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let (sender, receiver) = oneshot::channel();
        let work = Box::pin(async move {
            // Whoever asked may have given up.
            let _gone = sender.send(job());
        });
        self.jobs.send(work).map_err(|_| ended())?;
        receiver.await.unwrap_or_else(|_| Err(ended()))
    }
}

async fn run(queue: Arc<Mutex<mpsc::UnboundedReceiver<Work>>>) {
    loop {
        let job = queue.lock().await.recv().await;
        let Some(job) = job else { return };
        job.await;
    }
}

/// Runs `work` on a thread of its own and waits for what it says.
///
/// # Errors
/// What `work` says, and its panic.
pub async fn blocking<T: Send + 'static>(
    env: &Env,
    name: &'static str,
    work: impl Future<Output = io::Result<T>> + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    let work = work.map(move |result| {
        // Whoever asked may have given up.
        let _gone = sender.send(result);
    });
    env.spawn.spawn_blocking(name, Box::pin(work));
    receiver.await.unwrap_or_else(|_| Err(ended()))
}

fn ended() -> io::Error {
    io::Error::other("work for the engine ended without a result, which is a bug")
}
