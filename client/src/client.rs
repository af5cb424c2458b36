//! The client: one call is tried until it is answered or its deadline comes.

use crate::{
    Created, Error, Filter, Listing, Login, NewSession, Patch, Put, Revoked, Session, SessionId, Total, Written,
    clock::NodeClock,
    error::{Meaning, Tried},
    nodes::Nodes,
    requests::Requests,
    retry::{RetryPolicy, Step, Trouble},
    token::{Token, Tokens},
    watch::Changes,
};
use bytes::Bytes;
use sojourn_core::{Slot, ids::SLOTS};
use sojourn_proto::sessions::{
    CLIENT_ADDRESS_METADATA, NAMESPACE_METADATA, PASSWORD_METADATA, v1, v1::sessions_client::SessionsClient,
};
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tonic::{Request, Response, Status, metadata::AsciiMetadataValue, transport::Channel};

/// How long a call may take when the application does not say.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);

/// What a try waits beyond the time that the node was given.
const ANSWER_MARGIN: Duration = Duration::from_millis(50);

/// A connection to a region. Cheap to clone; all clones share connections.
///
/// Times are in ms since the Unix epoch by the nodes' clocks, sizes in bytes. A write that was answered is on the disks of a
/// quorum; one that ended in [`Error::Unavailable`] may have been applied, but not twice.
///
/// Reads are linearizable in the region that orders the session. Elsewhere they may be up to a second old
/// ([`Session::age_ms`]), but a client never sees less of a session than it has seen before, its own writes included. For
/// users whose requests come to several clients, put [`Client::token`] into the cookie and give it to [`Client::resume`].
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    /// For whom it calls: decides where new sessions are at home.
    on_behalf_of: Option<AsciiMetadataValue>,
}

struct Inner {
    nodes: Nodes,
    options: Builder,
    requests: Requests,
    clock: NodeClock,
    tokens: Tokens,
}

/// How to connect.
#[derive(Clone)]
pub struct Builder {
    addresses: Vec<String>,
    namespace: Option<AsciiMetadataValue>,
    password: Option<AsciiMetadataValue>,
    deadline: Duration,
    retry: RetryPolicy,
}

impl Builder {
    /// Works in this namespace instead of the default one.
    ///
    /// # Errors
    /// A name that no namespace can have.
    pub fn namespace(mut self, name: &str) -> Result<Self, Error> {
        self.namespace = Some(metadata("the namespace's name", name)?);
        Ok(self)
    }

    /// Opens the namespace with its password.
    ///
    /// # Errors
    /// Passwords of other than printable ASCII characters, which metadata cannot carry.
    pub fn password(mut self, password: &str) -> Result<Self, Error> {
        self.password = Some(metadata("the password", password)?);
        Ok(self)
    }

    /// How long a call may take with all its tries; 10 s unless said.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How to try again.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Connects: asks the nodes for the region's map until one answers.
    ///
    /// # Errors
    /// None answers before the deadline, or the namespace is locked.
    pub async fn connect(self) -> Result<Client, Error> {
        let nodes = Nodes::new(self.addresses.clone());
        let requests = Requests::new(rand::random());
        let client = Client {
            inner: Arc::new(Inner {
                nodes,
                options: self,
                requests,
                clock: NodeClock::new(0),
                tokens: Tokens::default(),
            }),
            on_behalf_of: None,
        };
        let topology = client.call(None, v1::TopologyRequest {}, topology).await?;
        client.learn(&topology);
        client.inner.nodes.asked();
        Ok(client)
    }
}

fn metadata(what: &str, text: &str) -> Result<AsciiMetadataValue, Error> {
    let refused = |_| Error::Refused {
        reason: crate::Reason::Malformed,
        text: format!("{what} must be of printable ASCII characters"),
    };
    text.parse().map_err(refused)
}

type Asked<R> = futures::future::BoxFuture<'static, Result<Response<R>, Status>>;

/// One of the service's calls.
macro_rules! ask {
    ($name:ident, $request:ty => $response:ty) => {
        fn $name(mut client: SessionsClient<Channel>, request: Request<$request>) -> Asked<$response> {
            Box::pin(async move { client.$name(request).await })
        }
    };
}

ask!(create, v1::CreateRequest => v1::CreateResponse);
ask!(get, v1::GetRequest => v1::GetResponse);
ask!(put, v1::PutRequest => v1::WriteResponse);
ask!(patch, v1::PatchRequest => v1::WriteResponse);
ask!(touch, v1::TouchRequest => v1::WriteResponse);
ask!(rename, v1::RenameRequest => v1::RenameResponse);
ask!(destroy, v1::DestroyRequest => v1::DestroyResponse);
ask!(read_user, v1::ReadUserRequest => v1::ReadUserResponse);
ask!(revoke, v1::RevokeRequest => v1::RevokeResponse);
ask!(count, v1::CountRequest => v1::CountResponse);
ask!(clear, v1::ClearRequest => v1::ClearResponse);
ask!(topology, v1::TopologyRequest => v1::TopologyResponse);

impl Client {
    /// Connects to a region by the addresses (`host:port`) of any of its nodes, in the default namespace. The others are
    /// found through them.
    ///
    /// # Errors
    /// No node answers within 10 s.
    pub async fn connect<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Result<Self, Error> {
        Self::builder(addresses).connect().await
    }

    /// Connects in another way.
    pub fn builder<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Builder {
        Builder {
            addresses: addresses.into_iter().map(A::into).collect(),
            namespace: None,
            password: None,
            deadline: DEADLINE_DEFAULT,
            retry: RetryPolicy::default(),
        }
    }

    /// The same client for one of the application's own, at `address`: sessions that it creates are at home in the region that
    /// is right for that address. Connections are shared.
    #[must_use]
    pub fn on_behalf_of(&self, address: IpAddr) -> Self {
        // An address is printable.
        Self { inner: self.inner.clone(), on_behalf_of: address.to_string().parse().ok() }
    }

    /// Creates a session.
    ///
    /// # Errors
    /// [`Error::Exists`] for an id of the application's own that is in use, [`Error::TooLarge`], [`Error::Revoked`].
    pub async fn create(&self, session: NewSession) -> Result<Created, Error> {
        let ticket = self.inner.requests.begin();
        let slot = match session.foreign_id() {
            Some(id) => Slot::of(id.expose()),
            None => Slot::new(rand::random_range(0..SLOTS)).unwrap_or_default(),
        };
        let message = |now_ms| session.clone().into_wire(ticket.id, now_ms, slot.number());
        match self.once(Some(slot), message(self.inner.clock.now_ms()), create).await {
            // The machine slept, or a clock was set: nothing was created.
            Err((_, Meaning::ClockIs(now_ms))) => {
                self.inner.clock.set(now_ms);
                Ok(self.created(self.call(Some(slot), message(now_ms), create).await?))
            }
            created => Ok(self.created(created.map_err(|(error, _)| error)?)),
        }
    }

    fn created(&self, answer: v1::CreateResponse) -> Created {
        self.inner.tokens.hear(&SessionId::from_wire(answer.id.clone()), &answer.token);
        answer.into()
    }

    /// What this client has seen of a session, for the cookie; none if nothing, or too long ago.
    pub fn token(&self, id: &SessionId) -> Option<Token> {
        self.inner.tokens.get(id)
    }

    /// Goes on where another client has seen a session: reads show no less of it from now on.
    pub fn resume(&self, id: &SessionId, seen: Token) {
        self.inner.tokens.see(id, seen);
    }

    /// Reads a session with all its fields; `None` if none lives.
    ///
    /// # Errors
    /// [`Error::ForgedId`] for ids that look minted and are not.
    pub async fn get(&self, id: &SessionId) -> Result<Option<Session>, Error> {
        self.read(id, Vec::new(), false).await
    }

    /// Reads only these fields of a session.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get_fields<N: AsRef<[u8]>>(
        &self,
        id: &SessionId,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Option<Session>, Error> {
        let names: Vec<Bytes> = names.into_iter().map(|name| Bytes::copy_from_slice(name.as_ref())).collect();
        let summary = names.is_empty();
        self.read(id, names, summary).await
    }

    async fn read(&self, id: &SessionId, fields: Vec<Bytes>, summary: bool) -> Result<Option<Session>, Error> {
        let token = self.token(id).map_or_else(String::new, |token| token.to_string());
        let message = v1::GetRequest { id: id.to_wire(), fields, summary, token };
        let v1::GetResponse { session, token, age_ms } = self.call(slot_of(id), message, get).await?;
        self.inner.tokens.hear(id, &token);
        Ok(session.map(|session| Session { age_ms, ..Session::from(session) }))
    }

    /// Replaces all fields of a session; never creates one.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Conflict`], [`Error::TooLarge`].
    pub async fn put(&self, id: &SessionId, fields: Put) -> Result<Written, Error> {
        let ticket = self.inner.requests.begin();
        let written = self.once(slot_of(id), fields.into_wire(ticket.id, id), put).await;
        self.updated(id, written).await
    }

    /// Sets and removes fields of a session; never creates one.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn patch(&self, id: &SessionId, fields: Patch) -> Result<Written, Error> {
        let ticket = self.inner.requests.begin();
        let written = self.once(slot_of(id), fields.into_wire(ticket.id, id), patch).await;
        self.updated(id, written).await
    }

    /// Completes a conflict with the fields that did not fit into a status.
    async fn updated(
        &self,
        id: &SessionId,
        written: Result<v1::WriteResponse, (Error, Meaning)>,
    ) -> Result<Written, Error> {
        match written {
            Ok(written) => Ok(self.written(id, written)),
            Err((Error::Conflict { .. }, Meaning::CurrentIsCut)) => match self.get(id).await? {
                Some(current) => Err(Error::Conflict { current: Box::new(current) }),
                None => Err(Error::Gone),
            },
            Err((error, _)) => Err(error),
        }
    }

    fn written(&self, id: &SessionId, answer: v1::WriteResponse) -> Written {
        self.inner.tokens.hear(id, &answer.token);
        answer.into()
    }

    /// Moves a session's idle deadline on by its idle timeout; never past the absolute one.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub async fn touch(&self, id: &SessionId) -> Result<Written, Error> {
        let ticket = self.inner.requests.begin();
        let message = v1::TouchRequest { request: Some(ticket.id), id: id.to_wire() };
        Ok(self.written(id, self.call(slot_of(id), message, touch).await?))
    }

    /// Gives a session a new minted id; the old one is dead at once. Do so at every login: an id that an attacker planted
    /// before it is worth nothing after it.
    ///
    /// # Errors
    /// [`Error::Gone`].
    pub async fn rename(&self, id: &SessionId) -> Result<Created, Error> {
        self.renamed(id, Bytes::new()).await
    }

    /// Gives a session a new id of the application's own, which must hash to the slot of the old one: `{tags}` do.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Exists`], and [`crate::Reason::CrossSlot`].
    pub async fn rename_to(&self, id: &SessionId, new_id: &SessionId) -> Result<Created, Error> {
        self.renamed(id, new_id.to_wire()).await
    }

    async fn renamed(&self, id: &SessionId, new_id: Bytes) -> Result<Created, Error> {
        let ticket = self.inner.requests.begin();
        let made_at_ms = Some(self.inner.clock.now_ms());
        let message = v1::RenameRequest { request: Some(ticket.id), id: id.to_wire(), new_id, made_at_ms };
        let answer = self.call(slot_of(id), message, rename).await?;
        self.inner.tokens.end(id);
        self.inner.tokens.hear(&SessionId::from_wire(answer.id.clone()), &answer.token);
        Ok(answer.into())
    }

    /// Ends a session for good; says whether it lived.
    ///
    /// # Errors
    /// Only those of every call.
    pub async fn destroy(&self, id: &SessionId) -> Result<bool, Error> {
        let ticket = self.inner.requests.begin();
        let message = v1::DestroyRequest { request: Some(ticket.id), id: id.to_wire() };
        let answer = self.call(slot_of(id), message, destroy).await?;
        self.inner.tokens.hear(id, &answer.token);
        self.inner.tokens.end(id);
        Ok(answer.destroyed)
    }

    /// Begins a login, before the password is checked: a session that is created with what this answers does not outlive a
    /// revocation that comes meanwhile.
    ///
    /// # Errors
    /// Only those of every call.
    pub async fn begin_login(&self, user: impl AsRef<[u8]>) -> Result<Login, Error> {
        let user = Bytes::copy_from_slice(user.as_ref());
        let answer = self.call(None, v1::ReadUserRequest { user: user.clone() }, read_user).await?;
        Ok(Login { user, revocation_epoch: answer.revocation_epoch })
    }

    /// Ends all sessions of a user, on every shard of the region, and of logins that began before.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if not every shard has acknowledged before the deadline: call it again.
    pub async fn revoke(&self, user: impl AsRef<[u8]>) -> Result<Revoked, Error> {
        let message = v1::RevokeRequest { user: Bytes::copy_from_slice(user.as_ref()) };
        Ok(self.call_everywhere(message, revoke).await?.into())
    }

    /// Lists the sessions that pass a filter, without their fields, page by page.
    pub fn list(&self, filter: Filter) -> Listing {
        Listing::new(self.clone(), filter)
    }

    /// Counts the sessions that pass a filter.
    ///
    /// # Errors
    /// Only those of every call.
    pub async fn count(&self, filter: Filter) -> Result<Total, Error> {
        Ok(self.call_everywhere(v1::CountRequest { filter: Some(filter.into()) }, count).await?.into())
    }

    /// Ends all sessions of the namespace; says how many.
    ///
    /// # Errors
    /// Only those of every call; some sessions may have been ended.
    pub async fn clear(&self) -> Result<u64, Error> {
        Ok(self.call_everywhere(v1::ClearRequest {}, clear).await?.destroyed)
    }

    /// Watches all sessions of the namespace from now on.
    pub fn watch(&self) -> Changes {
        Changes::new(self.clone(), Vec::new())
    }

    /// Watches these sessions, at most 1000.
    pub fn watch_only<'a>(&self, ids: impl IntoIterator<Item = &'a SessionId>) -> Changes {
        Changes::new(self.clone(), ids.into_iter().map(SessionId::to_wire).collect())
    }

    /// A call without a meaning of its own.
    async fn call<Q: Clone, R>(
        &self,
        slot: Option<Slot>,
        message: Q,
        ask: fn(SessionsClient<Channel>, Request<Q>) -> Asked<R>,
    ) -> Result<R, Error> {
        self.once(slot, message, ask).await.map_err(|(error, _)| error)
    }

    /// A call that goes to every shard and may take as long as it likes: cut short, it would only begin anew.
    async fn call_everywhere<Q: Clone, R>(
        &self,
        message: Q,
        ask: fn(SessionsClient<Channel>, Request<Q>) -> Asked<R>,
    ) -> Result<R, Error> {
        self.within(None, message, ask, self.deadline()).await.map_err(|(error, _)| error)
    }

    /// A call of one session.
    async fn once<Q: Clone, R>(
        &self,
        slot: Option<Slot>,
        message: Q,
        ask: fn(SessionsClient<Channel>, Request<Q>) -> Asked<R>,
    ) -> Result<R, (Error, Meaning)> {
        self.within(slot, message, ask, self.retry().try_time).await
    }

    /// Asks node after node, each for at most `try_time`, until one answers or the deadline comes.
    async fn within<Q: Clone, R>(
        &self,
        slot: Option<Slot>,
        message: Q,
        ask: fn(SessionsClient<Channel>, Request<Q>) -> Asked<R>,
        try_time: Duration,
    ) -> Result<R, (Error, Meaning)> {
        let Inner { nodes, options, .. } = &*self.inner;
        let deadline = Instant::now() + options.deadline;
        let mut last = String::new();
        for tries in 1_u32.. {
            self.refresh_if_old();
            let left = deadline.saturating_duration_since(Instant::now());
            let order = nodes.order(slot);
            let Some(address) = order.first() else { break };
            let time = try_time.min(left);
            let trouble = match self.try_at(address, message.clone(), time, ask).await {
                Ok(answer) => {
                    nodes.answered(address);
                    return Ok(answer);
                }
                Err(Tried::Final(error, meaning)) => return Err((error, meaning)),
                Err(Tried::Trouble(trouble, text)) => {
                    last = format!("{address}: {text}");
                    trouble
                }
            };
            match trouble {
                Trouble::Unreachable => nodes.failed(address),
                Trouble::Later { .. } => nodes.is_outdated(),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match options.retry.step(tries, nodes.count(), trouble, left, rand::random()) {
                Step::Again { after } => tokio::time::sleep(after).await,
                Step::GiveUp => return Err((unavailable(options.deadline, tries, last), Meaning::Plain)),
            }
        }
        Err((unavailable(options.deadline, 0, last), Meaning::Plain))
    }

    async fn try_at<Q, R>(
        &self,
        address: &str,
        message: Q,
        time: Duration,
        ask: fn(SessionsClient<Channel>, Request<Q>) -> Asked<R>,
    ) -> Result<R, Tried> {
        let unreachable = |text| Tried::Trouble(Trouble::Unreachable, text);
        let client = self.inner.nodes.client(address).map_err(unreachable)?;
        let mut request = self.request(message);
        request.set_timeout(time);
        match tokio::time::timeout(time + ANSWER_MARGIN, ask(client, request)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Tried::of(&status)),
            Err(_) => Err(unreachable(format!("no answer within {} ms", time.as_millis()))),
        }
    }

    /// The message with what every call carries.
    pub(crate) fn request<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        let Builder { namespace, password, .. } = &self.inner.options;
        let all = [
            (NAMESPACE_METADATA, namespace),
            (PASSWORD_METADATA, password),
            (CLIENT_ADDRESS_METADATA, &self.on_behalf_of),
        ];
        for (key, value) in all {
            if let Some(value) = value {
                request.metadata_mut().insert(key, value.clone());
            }
        }
        request
    }

    pub(crate) fn nodes(&self) -> &Nodes {
        &self.inner.nodes
    }

    pub(crate) fn retry(&self) -> &RetryPolicy {
        &self.inner.options.retry
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.inner.options.deadline
    }

    /// Asks for the region's map in the background if the one at hand is old.
    pub(crate) fn refresh_if_old(&self) {
        if !self.inner.nodes.should_ask() {
            return;
        }
        let client = self.clone();
        tokio::spawn(async move {
            let time = client.inner.options.retry.try_time;
            for address in client.inner.nodes.order(None) {
                if let Ok(answer) = client.try_at(&address, v1::TopologyRequest {}, time, topology).await {
                    client.learn(&answer);
                    break;
                }
            }
            client.inner.nodes.asked();
        });
    }

    fn learn(&self, topology: &v1::TopologyResponse) {
        self.inner.clock.set(topology.now_ms);
        self.inner.nodes.learn(topology);
    }
}

fn slot_of(id: &SessionId) -> Option<Slot> {
    Some(Slot::of(id.expose()))
}

pub(crate) fn unavailable(deadline: Duration, tries: u32, last: String) -> Error {
    let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
    let last = if last.is_empty() { "there is no node to ask".to_owned() } else { last };
    Error::Unavailable { deadline_ms, tries, last }
}
