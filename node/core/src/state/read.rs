//! Reads: pure, and blind to what is past its deadline.

use super::{State, Usage};
use crate::{
    command::Refusal,
    feed::FeedBounds,
    ids::{Key, NamespaceId, Slot, Stamp},
    query::{Answer, Filter, Projection, Query, SlotsFrom, View},
    session::{Body, Fields, Life, Record},
    token::Token,
};

/// Records and names of records on one page of slots: it is read at once.
const SLOT_ENTRIES_MAX: usize = 4_096;

/// Their bytes, about; one record there is in any case.
const SLOT_PAGE_BYTES: u64 = 256 << 10;

impl View {
    /// What `projection` shows of a record whose idle deadline is known to be `idle_deadline`.
    ///
    /// # Errors
    /// [`Refusal::NotHere`] if fields are asked for that are not in memory.
    pub fn of(record: &Record, projection: &Projection, idle_deadline: Stamp) -> Result<Self, Refusal> {
        let fields = match (&record.body, projection) {
            (_, Projection::Summary) => Fields::new(),
            (Body::Hot(fields), Projection::Whole) => fields.clone(),
            (Body::Hot(fields), Projection::Fields(names)) => {
                let found = names.iter().filter_map(|name| Some((name.clone(), fields.get(name)?.into())));
                Fields::from_pairs(found)
            }
            (Body::Cold { .. }, _) => return Err(Refusal::NotHere),
        };
        let field_count = match &record.body {
            Body::Hot(fields) => fields.len() as u64,
            Body::Cold { field_count, .. } => *field_count,
        };
        Ok(Self {
            kind: record.kind,
            incarnation: record.incarnation,
            version: record.version,
            home: record.home,
            written: record.written,
            idle_timeout_ms: record.idle_timeout_ms,
            idle_deadline,
            absolute_deadline: record.absolute_deadline,
            owner: record.owner.clone(),
            field_count,
            bytes: record.body_bytes(),
            fields,
        })
    }
}

/// What a leader knows of a record's idle deadline beyond the log.
pub type Touched<'a> = &'a dyn Fn(&Key, &Record) -> Option<Stamp>;

impl State {
    /// Answers a read at `now`. `touched` says what the leader knows of idle deadlines beyond the log. Also names the session
    /// that was hidden for its deadline although no expiry is logged yet, for the leader to log it first.
    pub fn query(&self, now: Stamp, touched: Touched<'_>, query: &Query) -> (Answer, Option<Key>) {
        if let Some(moved) = self.moved(query) {
            return (moved, None);
        }
        let answer = match query {
            Query::Get { key, projection } => return self.get(now, touched, key, projection),
            Query::GetAtHome { key, projection } => match self.home_elsewhere(key) {
                Some(home) => Answer::Elsewhere(home),
                None => return self.get_since(now, touched, (key, projection), None),
            },
            Query::GetSince { key, projection, token } => {
                return self.get_since(now, touched, (key, projection), *token);
            }
            Query::Scan { namespace, filter, from, count, until: _ } => {
                self.scan(now, touched, *namespace, filter, *from, *count)
            }
            Query::Count { namespace, filter } => self.count(now, touched, *namespace, filter),
            Query::CountSlot { slot, namespace } => {
                let records = self.of_slot(*slot, *namespace, 0);
                let sessions = records.filter(|(key, record)| self.is_alive(now, touched, key, record));
                Answer::Total { sessions: sessions.count() as u64, bytes: 0 }
            }
            Query::RevocationEpoch { namespace, user } => Answer::Epoch(self.revocation_epoch(*namespace, user)),
            Query::Random { namespace, seed } => self.random(now, touched, *namespace, *seed),
            Query::Slots { slots, copy } => {
                let nothing = SlotsFrom { since: Stamp::MAX, after: None };
                let (SlotsFrom { since, after }, entries_max) = match copy {
                    Some(copy) => (copy, SLOT_ENTRIES_MAX),
                    None => (&nothing, 0),
                };
                let bounds = FeedBounds { entries_max, bytes_max: SLOT_PAGE_BYTES };
                Answer::Slots(Box::new(self.slot_page(slots, *since, after.as_ref(), bounds)))
            }
        };
        (answer, None)
    }

    /// That another shard serves what is asked for, if one does.
    fn moved(&self, query: &Query) -> Option<Answer> {
        if self.holds().is_empty() {
            return None;
        }
        let slot = match query {
            Query::Get { key, .. } | Query::GetAtHome { key, .. } | Query::GetSince { key, .. } => key.slot(),
            Query::CountSlot { slot, .. } => *slot,
            Query::Scan { from, until: Some(until), .. } => {
                let first = Slot::new(from.unwrap_or_default().slot)?;
                return (!self.serves_all(first, *until)).then_some(Answer::SlotMoved { to: None });
            }
            Query::Scan { until: None, .. }
            | Query::Count { .. }
            | Query::RevocationEpoch { .. }
            | Query::Random { .. }
            | Query::Slots { .. } => return None,
        };
        (!self.serves(slot)).then(|| Answer::SlotMoved { to: self.served_by(slot) })
    }

    fn get(&self, now: Stamp, touched: Touched<'_>, key: &Key, projection: &Projection) -> (Answer, Option<Key>) {
        let Some(record) = self.record(key).filter(|record| record.life == Life::Live) else {
            return (Answer::Record(None), None);
        };
        if is_overdue(now, touched, key, record) {
            return (Answer::Record(None), self.orders(record).then(|| key.clone()));
        }
        if self.is_revoked(key, record) {
            return (Answer::Record(None), None);
        }
        record.used.set();
        let view = View::of(record, projection, idle_deadline(touched, key, record));
        (Answer::Record(view.ok().map(Box::new)), None)
    }

    fn get_since(
        &self,
        now: Stamp,
        touched: Touched<'_>,
        (key, projection): (&Key, &Projection),
        token: Option<Token>,
    ) -> (Answer, Option<Key>) {
        let (answer, hidden) = self.get(now, touched, key, projection);
        let Answer::Record(view) = answer else { return (answer, hidden) };
        let known = self.record(key).map(|record| {
            let Record { incarnation, version, .. } = **record;
            Token { incarnation, version, ended: view.is_none() }
        });
        // One that is known no more is over.
        let token = known.or_else(|| token.map(Token::ended));
        (Answer::Seen { view, token, age_ms: 0 }, hidden)
    }

    fn count(&self, now: Stamp, touched: Touched<'_>, namespace: NamespaceId, filter: &Filter) -> Answer {
        if *filter == Filter::default() {
            let Usage { sessions, bytes } = self.usage(namespace);
            return Answer::Total { sessions, bytes };
        }
        let (mut sessions, mut bytes, mut from) = (0, 0, None);
        loop {
            let (counted, next) = self.count_page(now, touched, namespace, filter, from);
            sessions += counted.sessions;
            bytes += counted.bytes;
            if next.is_none() {
                return Answer::Total { sessions, bytes };
            }
            from = next;
        }
    }

    /// Whether a reader at `now` may see the record.
    pub fn is_alive(&self, now: Stamp, touched: Touched<'_>, key: &Key, record: &Record) -> bool {
        record.life == Life::Live && !is_overdue(now, touched, key, record) && !self.is_revoked(key, record)
    }
}

/// The idle deadline as far as it is known here.
pub(super) fn idle_deadline(touched: Touched<'_>, key: &Key, record: &Record) -> Stamp {
    touched(key, record)
        .map_or(record.idle_deadline, |later| record.idle_deadline.max(later.min(record.absolute_deadline)))
}

fn is_overdue(now: Stamp, touched: Touched<'_>, key: &Key, record: &Record) -> bool {
    now >= idle_deadline(touched, key, record).min(record.absolute_deadline)
}
