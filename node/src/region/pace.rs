//! How many writes of this node are under way in a shard, and how long its leader may take.
//!
//! Under load an answer takes long because much is in front of it. To ask again then would put more in front of everybody,
//! and to give up would make an error of what is only slow. So a leader that goes on answering what this node asked earlier is
//! waited for, and beyond a bound writes wait here for room, in their order, before they are sent.

use super::backend::REQUEST_TIMEOUT;
use parking_lot::Mutex;
use sojourn_core::ShardId;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

/// Commands of this node that may be under way in one shard: enough to fill several entries of its log, few enough to be
/// answered within a second or two by the slowest machine.
pub const COMMANDS_UNDER_WAY_MAX: u32 = 4_096;

/// Bytes that count as one command: what is under way in one shard is bounded by 64 MiB, too.
const BYTES_PER_COMMAND: usize = 16 << 10;

/// How long a write waits for room.
const ROOM_TIMEOUT: Duration = Duration::from_secs(30);

/// How exactly it is known when something was answered.
const SLICE: Duration = Duration::from_millis(100);

/// The paces of all shards.
#[derive(Default)]
pub struct Paces {
    shards: Mutex<BTreeMap<ShardId, Arc<Pace>>>,
}

impl Paces {
    /// The pace of a shard.
    pub fn of(&self, shard: ShardId) -> Arc<Pace> {
        self.shards.lock().entry(shard).or_default().clone()
    }
}

/// What this node has under way in one shard.
pub struct Pace {
    room: Semaphore,
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    last: u64,
    answered: VecDeque<Slice>,
}

/// What was answered in a short time.
struct Slice {
    began: Instant,
    /// The lowest number.
    lowest: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { room: Semaphore::new(COMMANDS_UNDER_WAY_MAX as usize), asked: Mutex::default() }
    }
}

impl Pace {
    /// Waits for room for so many commands of so many bytes together; `None` if there was none for long.
    pub async fn room(&self, commands: u32, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let worth = u32::try_from(bytes / BYTES_PER_COMMAND).unwrap_or(u32::MAX).max(commands);
        let worth = worth.min(COMMANDS_UNDER_WAY_MAX);
        if let Ok(room) = self.room.try_acquire_many(worth) {
            return Some(room);
        }
        tokio::time::timeout(ROOM_TIMEOUT, self.room.acquire_many(worth)).await.ok()?.ok()
    }

    /// The number of what is asked next.
    pub fn ask(&self) -> u64 {
        let mut asked = self.asked.lock();
        asked.last += 1;
        asked.last
    }

    /// Notes an answer.
    pub fn answered(&self, number: u64) {
        let now = Instant::now();
        let answered = &mut self.asked.lock().answered;
        match answered.back_mut() {
            Some(slice) if now < slice.began + SLICE => slice.lowest = slice.lowest.min(number),
            Some(_) | None => answered.push_back(Slice { began: now, lowest: number }),
        }
        while answered.front().is_some_and(|slice| slice.began + REQUEST_TIMEOUT < now) {
            answered.pop_front();
        }
    }

    /// `since`, or when something that was asked before `number` was answered, if that was later.
    pub fn heard(&self, number: u64, since: Instant) -> Instant {
        let asked = self.asked.lock();
        let earlier = asked.answered.iter().rev().find(|slice| slice.lowest < number);
        earlier.map_or(since, |slice| slice.began.max(since))
    }

    /// Completes once nothing that was asked before `number` was answered for `patience`, from `since` on.
    pub async fn silence(&self, number: u64, since: Instant, patience: Duration) {
        loop {
            let until = self.heard(number, since) + patience;
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_leader_is_waited_for_while_it_answers_what_was_asked_before() {
        let (pace, began) = (Pace::default(), Instant::now());
        let [first, second, third] = [(); 3].map(|()| pace.ask());
        let answers = async {
            for number in [first, third] {
                tokio::time::sleep(SECOND * 3 / 2).await;
                pace.answered(number);
            }
        };
        tokio::join!(answers, async {
            pace.silence(second, began, SECOND * 2).await;
            // What was asked later and is answered sooner says that this one is lost.
            assert_eq!(began.elapsed(), SECOND * 7 / 2);
        });
        pace.silence(first, began, SECOND).await;
        assert_eq!(began.elapsed(), SECOND * 7 / 2, "nothing was asked before it");
    }

    #[tokio::test(start_paused = true)]
    async fn writes_wait_for_room_in_their_order_and_not_for_ever() {
        let pace = Pace::default();
        let most = pace.room(COMMANDS_UNDER_WAY_MAX - 1, 0).await.expect("room");
        let mut large = Box::pin(pace.room(1, 20 << 20));
        assert!(large.as_mut().now_or_never().is_none(), "its bytes count");
        assert!(pace.room(1, 0).now_or_never().is_none(), "it does not overtake");
        drop(most);
        assert!(large.await.is_some());
        let all = pace.room(u32::MAX, usize::MAX).await.expect("the largest fits when nothing else is there");
        let began = Instant::now();
        assert!(pace.room(1, 0).await.is_none());
        assert_eq!(began.elapsed(), ROOM_TIMEOUT);
        drop(all);
    }
}
