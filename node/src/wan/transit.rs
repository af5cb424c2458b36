//! Bytes on their way from one end of a link to the other. Pure: time is an argument.

use bytes::{Buf, Bytes};
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// The most bytes that one direction of a connection holds: what a window of TCP is, here large enough for 40 MiB a second
/// over 200 ms. Its sender waits for room.
const IN_TRANSIT_BYTES_MAX: usize = 8 << 20;

/// How long bytes may wait in front of a limited link before their senders do.
const QUEUE_MAX: Duration = Duration::from_millis(100);

/// The most bytes that are taken at once.
const TAKEN_BYTES_MAX: u64 = 64 << 10;

/// One direction of a connection: bytes in order, each not before it is due, and the end after the last of them.
#[derive(Debug, Default)]
pub(super) struct Transit {
    on_the_way: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    ends: Option<Instant>,
    last_due: Option<Instant>,
}

impl Transit {
    /// Whether more may come.
    pub fn has_room(&self) -> bool {
        self.ends.is_none() && self.bytes < IN_TRANSIT_BYTES_MAX
    }

    /// Takes bytes that are due then, or with those before them if that is later.
    pub fn push(&mut self, due: Instant, bytes: Bytes) {
        let due = self.in_order(due);
        self.bytes += bytes.len();
        self.on_the_way.push_back((due, bytes));
    }

    /// Nothing comes after what is on its way.
    pub fn end(&mut self, due: Instant) {
        self.ends = Some(self.in_order(due));
    }

    /// When the next bytes, or the end, are due.
    pub fn due(&self) -> Option<Instant> {
        self.on_the_way.front().map(|(due, _)| *due).or(self.ends)
    }

    /// The next bytes, due or not; none if only the end is left.
    pub fn front(&mut self) -> Option<&mut Bytes> {
        self.on_the_way.front_mut().map(|(_, bytes)| bytes)
    }

    /// So many of the next bytes have arrived, and were taken from the front.
    pub fn arrived(&mut self, count: usize) {
        self.bytes -= count;
        if self.on_the_way.front().is_some_and(|(_, bytes)| !bytes.has_remaining()) {
            self.on_the_way.pop_front();
        }
    }

    fn in_order(&mut self, due: Instant) -> Instant {
        let due = self.last_due.map_or(due, |last| last.max(due));
        self.last_due = Some(due);
        due
    }
}

/// What a limited link is busy with.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// When it has sent all that it took.
    free_at: Option<Instant>,
}

impl Meter {
    /// When the last of `bytes` has left, if they come now.
    pub fn pass(&mut self, now: Instant, bytes: u64, bytes_per_s_max: Option<u64>) -> Instant {
        let Some(per_s) = bytes_per_s_max else {
            self.free_at = None;
            return now;
        };
        let begins = self.free_at.map_or(now, |free_at| free_at.max(now));
        let left = begins + Duration::from_secs_f64(bytes as f64 / per_s.max(1) as f64);
        self.free_at = Some(left);
        left
    }

    /// From when on it takes more: what waits in front of it is bounded.
    pub fn open_at(&self) -> Option<Instant> {
        self.free_at.and_then(|free_at| free_at.checked_sub(QUEUE_MAX))
    }

    /// The most bytes that are taken at once under a limit, so that a slow link is not taken for long by one sender.
    pub fn bytes_at_once(bytes_per_s_max: Option<u64>) -> usize {
        let in_queue = bytes_per_s_max.map_or(TAKEN_BYTES_MAX, |per_s| per_s / 10);
        // It fits.
        in_queue.clamp(1, TAKEN_BYTES_MAX) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// What has arrived at `now`.
    fn take(transit: &mut Transit, now: Instant) -> Vec<u8> {
        let mut out = Vec::new();
        while transit.due().is_some_and(|due| due <= now)
            && let Some(bytes) = transit.front()
        {
            let taken = bytes.split_to(bytes.len());
            out.extend_from_slice(&taken);
            transit.arrived(taken.len());
        }
        out
    }

    #[test]
    fn bytes_arrive_when_they_are_due_and_never_out_of_order() {
        let (mut transit, at) = (Transit::default(), Instant::now());
        transit.push(at + 80 * MS, Bytes::from_static(b"first "));
        transit.push(at + 60 * MS, Bytes::from_static(b"second "));
        transit.push(at + 90 * MS, Bytes::from_static(b"third"));
        assert_eq!(take(&mut transit, at + 79 * MS), b"");
        assert_eq!(take(&mut transit, at + 80 * MS), b"first second ");
        transit.end(at + 85 * MS);
        assert_eq!(transit.due(), Some(at + 90 * MS));
        assert_eq!(take(&mut transit, at + 90 * MS), b"third");
        assert_eq!((transit.due(), transit.front()), (Some(at + 90 * MS), None), "the end comes last");
    }

    #[test]
    fn what_is_on_its_way_is_bounded_and_makes_room_as_it_arrives() {
        let (mut transit, at) = (Transit::default(), Instant::now());
        transit.push(at, Bytes::from(vec![0; IN_TRANSIT_BYTES_MAX - 1]));
        assert!(transit.has_room());
        transit.push(at, Bytes::from_static(b"x"));
        assert!(!transit.has_room());
        let front = transit.front().expect("bytes");
        front.advance(10);
        transit.arrived(10);
        assert!(transit.has_room());
        transit.end(at);
        assert!(!transit.has_room(), "nothing comes after the end");
    }

    #[test]
    fn a_limit_holds_over_all_that_pass_and_makes_senders_wait() {
        let (mut meter, at) = (Meter::default(), Instant::now());
        let limit = Some(1_000);
        assert_eq!(meter.pass(at, 50, limit), at + 50 * MS);
        assert!(meter.open_at().is_none_or(|open| open <= at), "a short queue");
        assert_eq!(meter.pass(at + 10 * MS, 150, limit), at + 200 * MS);
        assert_eq!(meter.open_at(), Some(at + 100 * MS));
        assert_eq!(meter.pass(at + 300 * MS, 10, limit), at + 310 * MS, "an idle link saves nothing up");
        assert_eq!(meter.pass(at + 300 * MS, 1_000_000, None), at + 300 * MS);
        assert_eq!(meter.open_at(), None, "no limit, no queue");
        assert_eq!(Meter::bytes_at_once(Some(5)), 1);
    }
}
