//! A value that some wait for changes of, as tokio's watch channel, which wakes those who wait in an order that no seed reaches:
//! here they wait in one queue.

use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// Wakes all who wait when it is dropped.
struct Queue(Arc<Notify>);

impl Drop for Queue {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

/// The side that tells.
pub struct News<T> {
    // Before the queue, so that who is woken by its end finds it gone.
    told: watch::Sender<T>,
    waiting: Queue,
}

/// The side that hears every change, or the last of several.
#[derive(Clone)]
pub struct Heard<T> {
    told: watch::Receiver<T>,
    waiting: Arc<Notify>,
}

/// Nobody tells any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody tells any more")]
pub struct Silent;

impl<T> News<T> {
    /// Begins with `value`.
    pub fn new(value: T) -> Self {
        Self { told: watch::Sender::new(value), waiting: Queue(Arc::default()) }
    }

    /// Changes the value if `modify` says that it did.
    pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) {
        if self.told.send_if_modified(modify) {
            self.waiting.0.notify_waiters();
        }
    }

    /// For one more who waits.
    pub fn subscribe(&self) -> Heard<T> {
        Heard { told: self.told.subscribe(), waiting: self.waiting.0.clone() }
    }
}

impl<T> Heard<T> {
    /// The value now. To be let go soon: nothing is told meanwhile.
    pub fn borrow(&self) -> watch::Ref<'_, T> {
        self.told.borrow()
    }

    /// The same; the next change is one of it.
    pub fn borrow_and_update(&mut self) -> watch::Ref<'_, T> {
        self.told.borrow_and_update()
    }

    /// Completes when the value has changed since it was borrowed with [`Heard::borrow_and_update`], or this completed last.
    ///
    /// # Errors
    /// Nobody tells any more.
    pub async fn changed(&mut self) -> Result<(), Silent> {
        loop {
            let told = self.waiting.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            match self.told.has_changed() {
                Ok(true) => {
                    self.told.mark_unchanged();
                    return Ok(());
                }
                Ok(false) => told.await,
                Err(_) => return Err(Silent),
            }
        }
    }

    /// Completes when the value is as `holds` wants it.
    ///
    /// # Errors
    /// Nobody tells any more.
    pub async fn wait_for(&mut self, holds: impl Fn(&T) -> bool) -> Result<(), Silent> {
        while !holds(&self.told.borrow_and_update()) {
            self.changed().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: std::time::Duration = std::time::Duration::from_secs(10);

    #[tokio::test]
    async fn those_who_wait_hear_in_the_order_in_which_they_came_and_that_it_is_over() {
        let news = News::new(0);
        let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let waiting: Vec<_> = (0..20)
            .map(|number| {
                let (mut heard, order) = (news.subscribe(), order.clone());
                tokio::spawn(async move {
                    heard.wait_for(|value| *value == 1).await.expect("told");
                    order.lock().push(number);
                    heard.changed().await
                })
            })
            .collect();
        tokio::task::yield_now().await;
        news.send_if_modified(|value| std::mem::replace(value, 1) != 1);
        tokio::task::yield_now().await;
        drop(news);
        for ended in waiting {
            let heard = tokio::time::timeout(SOON, ended).await.expect("in time");
            assert_eq!(heard.expect("no panic"), Err(Silent));
        }
        assert_eq!(*order.lock(), (0..20).collect::<Vec<_>>());
    }
}
