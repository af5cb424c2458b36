//! Listings: pages from whatever node, resumed at another one where a node fails.

use crate::{
    Client, Error, Session,
    client::unavailable,
    error::Tried,
    retry::{Step, Trouble},
};
use bytes::Bytes;
use sojourn_proto::sessions::v1;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use tonic::{Status, Streaming};

/// Which sessions to list or count; by default all of the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    user: Option<Bytes>,
    label: Option<(Bytes, Bytes)>,
    expiring_within: Option<Duration>,
    pattern: Option<Bytes>,
}

impl Filter {
    /// All sessions.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only those of this user.
    #[must_use]
    pub fn user(mut self, user: impl AsRef<[u8]>) -> Self {
        self.user = Some(Bytes::copy_from_slice(user.as_ref()));
        self
    }

    /// Only those with this label at this value.
    #[must_use]
    pub fn label(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.label = Some((Bytes::copy_from_slice(name.as_ref()), Bytes::copy_from_slice(value.as_ref())));
        self
    }

    /// Only those that end within this time.
    #[must_use]
    pub fn expiring_within(mut self, time: Duration) -> Self {
        self.expiring_within = Some(time);
        self
    }

    /// Only those whose id matches this glob, in Redis's syntax.
    #[must_use]
    pub fn pattern(mut self, glob: impl AsRef<[u8]>) -> Self {
        self.pattern = Some(Bytes::copy_from_slice(glob.as_ref()));
        self
    }
}

impl From<Filter> for v1::Filter {
    fn from(Filter { user, label, expiring_within, pattern }: Filter) -> Self {
        let label = label.map(|(name, value)| v1::Label { name, value });
        let expiring_within_ms = expiring_within.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        Self { user, label, expiring_within_ms, kind: v1::Kind::Unspecified.into(), pattern }
    }
}

/// A listing on its way: sessions without their fields, in a stable order.
pub struct Listing {
    client: Client,
    filter: Filter,
    page_size: u32,
    page: VecDeque<Session>,
    token: Bytes,
    stream: Option<(String, Streaming<v1::ListResponse>)>,
    ended: bool,
}

impl Listing {
    pub(crate) fn new(client: Client, filter: Filter) -> Self {
        let (page, token) = (VecDeque::new(), Bytes::new());
        Self { client, filter, page_size: 0, page, token, stream: None, ended: false }
    }

    /// Looks at so many sessions per page, 1 to 1000; 100 unless said.
    #[must_use]
    pub fn page_size(mut self, sessions: u32) -> Self {
        self.page_size = sessions;
        self
    }

    /// Goes on where a listing with the same filter was, see [`Listing::token`].
    #[must_use]
    pub fn resume(mut self, token: Bytes) -> Self {
        self.token = token;
        self
    }

    /// Where the page after the one that was last begun starts; empty when that was the last one.
    pub fn token(&self) -> &Bytes {
        &self.token
    }

    /// The next session; `None` at the end.
    ///
    /// # Errors
    /// As every call; a bad token. Calling again goes on after the last page.
    pub async fn next(&mut self) -> Option<Result<Session, Error>> {
        loop {
            if let Some(session) = self.page.pop_front() {
                return Some(Ok(session));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.fetch().await {
                return Some(Err(error));
            }
        }
    }

    /// All sessions that are left.
    ///
    /// # Errors
    /// As [`Listing::next`].
    pub async fn collect(mut self) -> Result<Vec<Session>, Error> {
        let mut sessions = Vec::new();
        while let Some(session) = self.next().await {
            sessions.push(session?);
        }
        Ok(sessions)
    }

    async fn fetch(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + self.client.deadline();
        for tries in 1.. {
            let (trouble, text) = match self.try_fetch().await {
                Ok(()) => return Ok(()),
                Err(Tried::Final(error, _)) => return Err(error),
                Err(Tried::Trouble(trouble, text)) => (trouble, text),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            match self.client.retry().step(tries, self.client.nodes().count(), trouble, left, rand::random()) {
                Step::Again { after } => tokio::time::sleep(after).await,
                Step::GiveUp => return Err(unavailable(self.client.deadline(), tries, text)),
            }
        }
        Ok(())
    }

    async fn try_fetch(&mut self) -> Result<(), Tried> {
        let time = self.client.deadline();
        let (address, mut stream) = match self.stream.take() {
            Some(open) => open,
            None => self.open().await?,
        };
        let failed = |status: &Status| {
            let tried = Tried::of(status);
            if matches!(tried, Tried::Trouble(Trouble::Unreachable, _)) {
                self.client.nodes().failed(&address);
            }
            tried
        };
        match tokio::time::timeout(time, stream.message()).await {
            Ok(Ok(Some(v1::ListResponse { sessions, next_page_token }))) => {
                self.page = sessions.into_iter().map(Session::from).collect();
                self.ended = next_page_token.is_empty();
                self.token = next_page_token;
                self.stream = Some((address, stream));
                Ok(())
            }
            Ok(Ok(None)) => Err(failed(&Status::unavailable("the listing ended early"))),
            Ok(Err(status)) => Err(failed(&status)),
            Err(_) => Err(failed(&Status::unavailable("no page came in time"))),
        }
    }

    async fn open(&self) -> Result<(String, Streaming<v1::ListResponse>), Tried> {
        let unreachable = |text: &str| Tried::Trouble(Trouble::Unreachable, text.to_owned());
        let nodes = self.client.nodes();
        self.client.refresh_if_old();
        let address = nodes.order(None).into_iter().next().ok_or_else(|| unreachable("there is no node to ask"))?;
        let mut client = nodes.client(&address).map_err(|text| unreachable(&text))?;
        let filter = Some(self.filter.clone().into());
        let message = v1::ListRequest { filter, page_size: self.page_size, page_token: self.token.clone() };
        let opened = client.list(self.client.request(message));
        match tokio::time::timeout(self.client.retry().try_time, opened).await {
            Ok(Ok(response)) => Ok((address, response.into_inner())),
            Ok(Err(status)) => {
                let tried = Tried::of(&status);
                if matches!(tried, Tried::Trouble(Trouble::Unreachable, _)) {
                    nodes.failed(&address);
                }
                Err(tried)
            }
            Err(_) => {
                nodes.failed(&address);
                Err(unreachable("no answer in time"))
            }
        }
    }
}
