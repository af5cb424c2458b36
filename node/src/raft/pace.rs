//! How soon each follower of a group is sent what its leader has logged.
//!
//! A quorum needs some of the followers, not all. As many as it takes are sent every entry at once; the others get what has
//! gathered in a moment, in one append: one message each way, one sync and one turn of their Raft core for several entries. Whoever
//! answers sooner is among the hurried ones: one that lags behind changes places with one that does not. Until that shows, an
//! entry waits for the gathering at most.
//!
//! Who catches up is sent one append after the other, so that what it missed never stands before new entries of other groups: the
//! nodes of both ends keep one log for all of theirs. A learner, whom nobody waits for, is also sent no more in a second than
//! the region wants to spend on moving replicas.

use super::types::{LogId, StoredMembership, Types, payload_bytes};
use crate::peers::Throttle;
use futures::{Stream, StreamExt, stream::BoxStream};
use openraft::raft::AppendEntriesRequest;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, Sleep, sleep, sleep_until},
};

/// How long entries gather for a follower that the quorum can do without.
const GATHER: Duration = Duration::from_millis(10);

/// An append with so many entries is one of a follower that catches up: it does not wait for more.
const GATHERED_ENTRIES_MAX: usize = 32;

/// How long a hurried follower may owe an answer that another one has given before they change places.
const OWED_MAX: Duration = Duration::from_millis(5);

/// The followers of one group, as far as its leader hurries them.
#[derive(Default)]
pub(super) struct Pace {
    followers: Mutex<Followers>,
    /// Others are hurried than before.
    changed: Notify,
    /// Somebody owes less than before.
    settled: Notify,
}

#[derive(Default)]
struct Followers {
    /// How many are hurried.
    hurried: usize,
    /// Voters, those first that are hurried.
    order: VecDeque<u64>,
    /// When what each has not answered yet was sent, in the order of the entries; as many as may be under way to one follower.
    owed: BTreeMap<u64, VecDeque<(u64, Instant)>>,
}

impl Pace {
    /// Takes note of who votes in the group of `own`. Which follower is hurried first depends on `turn`, so that the groups of
    /// a node do not all hurry the same one.
    pub fn learn(&self, own: u64, turn: u32, membership: &StoredMembership) {
        let configs = membership.get_joint_config();
        let mut voters: BTreeSet<u64> = configs.iter().flatten().copied().collect();
        voters.remove(&own);
        // Of two configurations both need a quorum.
        let hurried = if configs.len() > 1 { voters.len() } else { voters.len().div_ceil(2) };
        let mut followers = self.followers.lock();
        followers.order.retain(|follower| voters.contains(follower));
        let mut new: VecDeque<u64> = voters.into_iter().filter(|voter| !followers.order.contains(voter)).collect();
        let turns = turn as usize % new.len().max(1);
        new.rotate_left(turns);
        followers.order.extend(new);
        followers.hurried = hurried;
        drop(followers);
        self.changed.notify_waiters();
    }

    fn hurries(&self, follower: u64) -> bool {
        let followers = self.followers.lock();
        followers.order.iter().take(followers.hurried).any(|hurried| *hurried == follower)
    }

    fn votes(&self, follower: u64) -> bool {
        self.followers.lock().order.contains(&follower)
    }

    fn owes(&self, follower: u64, index: u64) -> bool {
        let followers = self.followers.lock();
        let oldest = followers.owed.get(&follower).and_then(VecDeque::front);
        oldest.is_some_and(|(sent, _)| *sent <= index)
    }

    /// The follower was sent entries up to this one. Where a stream begins anew it is sent some of them again.
    pub fn sent(&self, follower: u64, index: u64) {
        let mut followers = self.followers.lock();
        let owed = followers.owed.entry(follower).or_default();
        while owed.back().is_some_and(|(sent, _)| *sent >= index) {
            owed.pop_back();
        }
        owed.push_back((index, Instant::now()));
    }

    /// The follower has logged the entries up to this one.
    pub fn answered(&self, follower: u64, index: u64) {
        let mut followers = self.followers.lock();
        if let Some(owed) = followers.owed.get_mut(&follower) {
            while owed.front().is_some_and(|(sent, _)| *sent <= index) {
                owed.pop_front();
            }
        }
        let late = |hurried: &u64| {
            let oldest = followers.owed.get(hurried).and_then(VecDeque::front);
            oldest.is_some_and(|(sent, at)| *sent <= index && at.elapsed() >= OWED_MAX)
        };
        let late = followers.order.iter().take(followers.hurried).position(late);
        let place = followers.order.iter().position(|other| *other == follower);
        if let Some((late, place)) = late.zip(place).filter(|(_, place)| *place >= followers.hurried) {
            followers.order.swap(late, place);
            self.changed.notify_waiters();
        }
        drop(followers);
        self.settled.notify_waiters();
    }

    /// The follower does not take what it was sent: it is sent something else.
    pub fn rejected(&self, follower: u64) {
        self.followers.lock().owed.remove(&follower);
        self.settled.notify_waiters();
    }

    /// The follower cannot be reached: others are hurried before it.
    pub fn failed(&self, follower: u64) {
        let mut followers = self.followers.lock();
        followers.owed.remove(&follower);
        if let Some(place) = followers.order.iter().position(|other| *other == follower) {
            followers.order.remove(place);
            followers.order.push_back(follower);
        }
        drop(followers);
        self.changed.notify_waiters();
        self.settled.notify_waiters();
    }
}

/// A stream of appends to one follower, at its pace. News of nothing but a commit waits for the next entries, too: a busy group
/// would else send, and every follower answer, two appends for each entry. openraft asks for no answer to each request of a stream,
/// and makes each of all that there is when it is asked for the next.
pub(super) struct Paced<S> {
    input: futures::stream::Fuse<S>,
    pace: Arc<Pace>,
    follower: u64,
    /// What the nodes of learners are sent passes through it.
    bulk: Arc<Throttle>,
    /// The last entry of an append to a follower that catches up: nothing more before that is answered.
    catches_up_to: Option<u64>,
    /// No entries before that, unless the follower is hurried.
    rests_until: Option<Instant>,
    /// The last entry that the follower was sent in this stream.
    sent: Option<Option<LogId>>,
    held: Option<AppendEntriesRequest<Types>>,
    held_until: Pin<Box<Sleep>>,
    news_delay: Duration,
}

impl<S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static> Paced<S> {
    /// Lets `input` through to `follower`; news of a commit wait for `news_delay` at most.
    pub fn new(input: S, pace: Arc<Pace>, follower: u64, bulk: Arc<Throttle>, news_delay: Duration) -> Self {
        let held_until = Box::pin(sleep(news_delay));
        let (input, catches_up_to, rests_until, sent, held) = (input.fuse(), None, None, None, None);
        Self { input, pace, follower, bulk, catches_up_to, rests_until, sent, held, held_until, news_delay }
    }

    pub fn into_stream(self) -> BoxStream<'static, AppendEntriesRequest<Types>> {
        futures::stream::unfold(self, |mut this| async move { Some((this.next().await?, this)) }).boxed()
    }

    async fn next(&mut self) -> Option<AppendEntriesRequest<Types>> {
        loop {
            self.rest().await;
            let holds = self.held.is_some();
            let request = tokio::select! {
                biased;
                request = self.input.next() => request,
                () = &mut self.held_until, if holds => return self.held.take(),
            };
            let Some(request) = request else { return self.held.take() };
            if request.entries.is_empty() && self.sent == Some(request.prev_log_id) {
                if !holds {
                    self.held_until.as_mut().reset(Instant::now() + self.news_delay);
                }
                self.held = Some(request);
                continue;
            }
            // It was made later, so it says at least as much of the commit.
            self.held = None;
            let last = request.entries.last().map(|entry| entry.log_id);
            self.sent = Some(last.or(request.prev_log_id));
            let catches_up = request.entries.len() >= GATHERED_ENTRIES_MAX;
            self.rests_until = (last.is_some() && !catches_up).then(|| Instant::now() + GATHER);
            self.catches_up_to = last.filter(|_| catches_up).map(|last| last.index);
            if catches_up && !self.pace.votes(self.follower) {
                self.bulk.pass(request.entries.iter().map(payload_bytes).sum()).await;
            }
            if let Some(last) = last {
                self.pace.sent(self.follower, last.index);
            }
            return Some(request);
        }
    }

    /// Waits until the follower may be sent more.
    async fn rest(&mut self) {
        if let Some(index) = self.catches_up_to.take() {
            loop {
                let settled = self.pace.settled.notified();
                if !self.pace.owes(self.follower, index) {
                    return;
                }
                settled.await;
            }
        }
        let Some(until) = self.rests_until.take() else { return };
        let pace = self.pace.clone();
        loop {
            let changed = pace.changed.notified();
            if pace.hurries(self.follower) {
                return;
            }
            tokio::select! {
                biased;
                () = sleep_until(until) => return,
                () = changed => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
