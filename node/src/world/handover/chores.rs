//! Duties that take long, such as to take in what another region holds: they go on beside all others, and are given up when they are
//! not to be done any more. Else a region that is asked how far it is would answer when it is through with them, and have no leases
//! until then.

use super::plan::Duty;
use futures::future::BoxFuture;
use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

/// What is under way. Nothing of it goes on but while this is waited for.
pub(super) struct Chores<'a, E> {
    running: Vec<(Duty, BoxFuture<'a, Result<(), E>>)>,
}

impl<E> Default for Chores<'_, E> {
    fn default() -> Self {
        Self { running: Vec::new() }
    }
}

impl<'a, E> Chores<'a, E> {
    /// Goes on with those of `wanted` that are under way, begins the others, and gives up what is not wanted.
    pub fn become_those(&mut self, wanted: Vec<Duty>, begin: impl Fn(Duty) -> BoxFuture<'a, Result<(), E>>) {
        self.running.retain(|(duty, _)| wanted.contains(duty));
        for duty in wanted {
            if !self.running.iter().any(|(running, _)| *running == duty) {
                let work = begin(duty.clone());
                self.running.push((duty, work));
            }
        }
    }

    /// The next that ends, and how; for ever if there is none.
    pub async fn next(&mut self) -> (Duty, Result<(), E>) {
        poll_fn(|context| {
            let ended =
                self.running.iter_mut().enumerate().find_map(|(at, (_, work))| match work.as_mut().poll(context) {
                    Poll::Ready(done) => Some((at, done)),
                    Poll::Pending => None,
                });
            match ended {
                Some((at, done)) => Poll::Ready((self.running.remove(at).0, done)),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Goes on with them until `work` is done; says what ended meanwhile.
    pub async fn beside<T>(&mut self, work: impl Future<Output = T>) -> (T, Vec<(Duty, Result<(), E>)>) {
        let (mut work, mut ended) = (pin!(work), Vec::new());
        loop {
            tokio::select! {
                biased;
                done = &mut work => return (done, ended),
                end = self.next() => ended.push(end),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use sojourn_core::RegionId;
    use std::{
        cell::RefCell,
        collections::{BTreeMap, VecDeque},
        rc::Rc,
    };
    use tokio::sync::oneshot;

    fn level(home: u16) -> Duty {
        Duty::Level { home: RegionId(home), epoch: 7, acting: RegionId(9) }
    }

    #[tokio::test]
    async fn what_is_wanted_goes_on_and_what_is_not_is_given_up() {
        let ends: Rc<RefCell<BTreeMap<u16, VecDeque<oneshot::Sender<Result<(), &str>>>>>> = Rc::default();
        let begun = ends.clone();
        let begin = move |duty: Duty| {
            let Duty::Level { home, .. } = duty else { unreachable!("no other is begun") };
            let (end, ended) = oneshot::channel();
            begun.borrow_mut().entry(home.0).or_default().push_back(end);
            async move { ended.await.unwrap_or(Err("nobody ends it")) }.boxed()
        };
        let mut chores = Chores::default();
        chores.become_those(vec![level(1), level(2)], &begin);
        chores.become_those(vec![level(2), level(3)], &begin);
        let counts =
            |ends: &RefCell<BTreeMap<u16, VecDeque<_>>>| ends.borrow().values().map(VecDeque::len).collect::<Vec<_>>();
        assert_eq!(counts(&ends), [1, 1, 1], "what is under way is not begun again");
        let is_gone = |home: u16| ends.borrow()[&home][0].is_closed();
        assert_eq!([1, 2, 3].map(is_gone), [true, false, false]);
        assert!(chores.next().now_or_never().is_none());
        let end = |home: u16, how| {
            let ended = ends.borrow_mut().get_mut(&home).and_then(VecDeque::pop_front).map(|end| end.send(how));
            assert_eq!(ended, Some(Ok(())), "somebody waits for it");
        };
        end(3, Err("not now"));
        assert_eq!(chores.next().await, (level(3), Err("not now")));
        end(2, Ok(()));
        let (done, ended) = chores.beside(async { tokio::task::yield_now().await }).await;
        assert_eq!((done, ended), ((), vec![(level(2), Ok(()))]));
        chores.become_those(vec![level(3)], &begin);
        assert_eq!(counts(&ends), [1, 0, 1], "it is tried again");
    }
}
