//! openraft's watch channels: tokio's, but the simulation wakes those that wait in one order.
//!
//! tokio spreads who waits over several queues by a randomness of its own, which no seed reaches.

use super::simulated::simulated_u64;
use openraft_rt::{
    OptionalSend, OptionalSync,
    watch::{self, RecvError, SendError},
};
use std::sync::Arc;
use tokio::sync::{Notify, watch as tokio_watch};

/// See the room.
#[derive(Debug)]
pub struct Watch;

/// Simulation only: the one queue of all that wait.
#[derive(Clone)]
struct Waiting(Option<Arc<Notify>>);

impl Waiting {
    fn wake(&self) {
        self.0.iter().for_each(|waiting| waiting.notify_waiters());
    }
}

/// The side that sends.
pub struct Sender<T> {
    // Before `waiting`, so that who is woken by its end finds the channel closed.
    inner: tokio_watch::Sender<T>,
    waiting: Waiting,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.wake();
    }
}

/// The side that waits.
pub struct Receiver<T> {
    inner: tokio_watch::Receiver<T>,
    waiting: Option<Arc<Notify>>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), waiting: self.waiting.clone() }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), waiting: self.waiting.clone() }
    }
}

impl watch::Watch for Watch {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = tokio_watch::Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Self::Sender<T>, Self::Receiver<T>) {
        let (sender, receiver) = tokio_watch::channel(init);
        let queue = simulated_u64().map(|_| Arc::new(Notify::new()));
        (Sender { inner: sender, waiting: Waiting(queue.clone()) }, Receiver { inner: receiver, waiting: queue })
    }
}

impl<T: OptionalSend + OptionalSync> watch::WatchSender<Watch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        let sent = self.inner.send(value).map_err(|error| SendError(error.0));
        self.waiting.wake();
        sent
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        let modified = self.inner.send_if_modified(modify);
        if modified {
            self.waiting.wake();
        }
        modified
    }

    fn borrow_watched(&self) -> tokio_watch::Ref<'_, T> {
        self.inner.borrow()
    }

    fn subscribe(&self) -> Receiver<T> {
        Receiver { inner: self.inner.subscribe(), waiting: self.waiting.0.clone() }
    }
}

impl<T: OptionalSend + OptionalSync> watch::WatchReceiver<Watch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        let Some(waiting) = &self.waiting else {
            return self.inner.changed().await.map_err(|_| RecvError(()));
        };
        loop {
            let notified = waiting.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            match self.inner.has_changed() {
                Err(_) => return Err(RecvError(())),
                Ok(true) => {
                    drop(self.inner.borrow_and_update());
                    return Ok(());
                }
                Ok(false) => notified.await,
            }
        }
    }

    fn borrow_watched(&self) -> tokio_watch::Ref<'_, T> {
        self.inner.borrow()
    }

    fn borrow_and_update(&mut self) -> tokio_watch::Ref<'_, T> {
        self.inner.borrow_and_update()
    }
}
