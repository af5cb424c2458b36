//! Lets callers in before anything of their message is read: a stranger costs the node a few headers, not megabytes.

use super::caller::Caller;
use crate::api::{Api, Room};
use futures::future::BoxFuture;
use sojourn_core::{NamespaceId, region::RegionState};
use sojourn_proto::sessions::Failure;
use std::{
    convert::Infallible,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tonic::{Extensions, Status, body::Body, codegen::http, server::NamedService};
use tower_service::Service;

/// A service behind the check of who calls.
#[derive(Clone)]
pub struct Door<S> {
    service: S,
    api: Arc<Api>,
}

impl<S> Door<S> {
    /// Lets those through to `service` whom `api` knows.
    pub fn new(service: S, api: Arc<Api>) -> Self {
        Self { service, api }
    }
}

impl<S: NamedService> NamedService for Door<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Door<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<S::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        // The one that said it was ready; its copy may not be yet.
        let copy = self.service.clone();
        let mut service = std::mem::replace(&mut self.service, copy);
        let api = self.api.clone();
        Box::pin(async move {
            match Entered::enter(&api, Caller::of(request.headers(), request.extensions())).await {
                Ok(entered) => {
                    request.extensions_mut().insert(entered);
                    service.call(request).await
                }
                Err(failure) => Ok(Status::from(failure).into_http()),
            }
        })
    }
}

/// A caller who is in.
#[derive(Clone)]
pub struct Entered {
    region: Arc<RegionState>,
    namespace: NamespaceId,
    address: Option<IpAddr>,
    deadline: Instant,
}

impl Entered {
    async fn enter(api: &Api, caller: Caller) -> Result<Self, Failure> {
        let deadline = Instant::now() + caller.time;
        let region = api.region();
        let entering = tokio::time::timeout(caller.time, api.enter(&region, &caller.who)).await;
        let namespace = entering.unwrap_or(Err(Failure::Deadline))?.id();
        Ok(Self { region, namespace, address: caller.who.address, deadline })
    }

    /// Takes what the door put there.
    ///
    /// # Errors
    /// The call came past it, which is a bug.
    pub fn take(extensions: &mut Extensions) -> Result<Self, Status> {
        extensions.remove().ok_or_else(|| Status::internal("the call came in without being let in"))
    }

    /// Where the caller works.
    ///
    /// # Errors
    /// None: the region is as it was when the caller came in.
    pub fn room(&self) -> Result<Room<'_>, Failure> {
        Room::of(&self.region, self.namespace, self.address).ok_or(Failure::Locked)
    }

    /// Works on the call for as long as the caller waits.
    ///
    /// # Errors
    /// [`Failure::Deadline`] after that: what was proposed may still be applied.
    pub async fn in_time<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let left: Duration = self.deadline.saturating_duration_since(Instant::now());
        tokio::time::timeout(left, work).await.unwrap_or(Err(Failure::Deadline))
    }
}
