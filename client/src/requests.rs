//! Names of writes, so that a node recognises one that is repeated.

use parking_lot::Mutex;
use sojourn_proto::sessions::v1::RequestId;
use std::collections::BTreeSet;

/// The writes that a client has under way.
pub(crate) struct Requests {
    origin: u64,
    under_way: Mutex<UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    last: u64,
    open: BTreeSet<u64>,
}

impl Requests {
    /// Names of a client that drew `origin`.
    pub fn new(origin: u64) -> Self {
        Self { origin: origin.max(1), under_way: Mutex::default() }
    }

    /// Names a write. It may be sent again until the ticket is dropped.
    pub fn begin(&self) -> Ticket<'_> {
        let mut under_way = self.under_way.lock();
        under_way.last += 1;
        let sequence = under_way.last;
        under_way.open.insert(sequence);
        let settled = under_way.open.first().copied().unwrap_or(sequence);
        Ticket { requests: self, id: RequestId { origin: self.origin, sequence, settled } }
    }
}

/// A write under way.
pub(crate) struct Ticket<'a> {
    requests: &'a Requests,
    /// Its name.
    pub id: RequestId,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.requests.under_way.lock().open.remove(&self.id.sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_never_settled() {
        let requests = Requests::new(0);
        let first = requests.begin();
        let second = requests.begin();
        assert_eq!((first.id.origin, first.id.sequence, second.id.sequence, second.id.settled), (1, 1, 2, 1));
        drop(first);
        let third = requests.begin();
        assert_eq!((third.id.sequence, third.id.settled), (3, 2));
    }
}
