//! The calls.

use super::{door::Entered, is_set, topology};
use crate::api::{Api, Room};
use futures::{
    Stream, StreamExt,
    future::{self, BoxFuture},
    stream::{self, BoxStream},
};
use sojourn_proto::sessions::{
    Failure, Malformed,
    calls::{List, Nothing, Watch},
    v1::{self, sessions_server::Sessions},
};
use std::sync::Arc;
use tokio::sync::watch;
use tonic::{Request, Response, Status, async_trait};

/// The `Sessions` service of one node.
pub struct SessionsService {
    api: Arc<Api>,
    closing: watch::Receiver<bool>,
}

type Answer<T> = Result<Response<T>, Status>;

impl SessionsService {
    /// Answers by `api`; streams end when `closing` is set.
    pub fn new(api: Arc<Api>, closing: watch::Receiver<bool>) -> Self {
        Self { api, closing }
    }

    /// Decode, ask, encode.
    async fn answer<Q, C, A, R>(
        &self,
        mut request: Request<Q>,
        ask: impl for<'a> FnOnce(&'a Api, &'a Room<'a>, C) -> BoxFuture<'a, Result<A, Failure>> + Send,
    ) -> Answer<R>
    where
        Q: Send,
        C: TryFrom<Q, Error = Malformed> + Send,
        A: Send,
        R: From<A>,
    {
        let entered = Entered::take(request.extensions_mut())?;
        let call = C::try_from(request.into_inner()).map_err(Failure::from)?;
        let room = entered.room()?;
        Ok(Response::new(entered.in_time(ask(&self.api, &room, call)).await?.into()))
    }

    /// The stream until it ends or the node stops, which is told at its end.
    fn until_closed<T: Send + 'static>(
        &self,
        stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> BoxStream<'static, Result<T, Status>> {
        let closing = self.closing.clone();
        let farewell = stream::once(async move { *closing.borrow() })
            .filter_map(|is_closing| future::ready(is_closing.then(|| Err(Failure::Stopping.into()))));
        stream.take_until(is_set(self.closing.clone())).chain(farewell).boxed()
    }
}

#[async_trait]
impl Sessions for SessionsService {
    type ListStream = BoxStream<'static, Result<v1::ListResponse, Status>>;
    type WatchStream = BoxStream<'static, Result<v1::WatchResponse, Status>>;

    async fn create(&self, request: Request<v1::CreateRequest>) -> Answer<v1::CreateResponse> {
        self.answer(request, |api, room, call| Box::pin(api.create(room, call))).await
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Answer<v1::GetResponse> {
        self.answer(request, |api, room, call| Box::pin(api.get(room, call))).await
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Answer<v1::WriteResponse> {
        self.answer(request, |api, room, call| Box::pin(api.put(room, call))).await
    }

    async fn patch(&self, request: Request<v1::PatchRequest>) -> Answer<v1::WriteResponse> {
        self.answer(request, |api, room, call| Box::pin(api.patch(room, call))).await
    }

    async fn touch(&self, request: Request<v1::TouchRequest>) -> Answer<v1::WriteResponse> {
        self.answer(request, |api, room, call| Box::pin(api.touch(room, call))).await
    }

    async fn rename(&self, request: Request<v1::RenameRequest>) -> Answer<v1::RenameResponse> {
        self.answer(request, |api, room, call| Box::pin(api.rename(room, call))).await
    }

    async fn destroy(&self, request: Request<v1::DestroyRequest>) -> Answer<v1::DestroyResponse> {
        self.answer(request, |api, room, call| Box::pin(api.destroy(room, call))).await
    }

    async fn read_user(&self, request: Request<v1::ReadUserRequest>) -> Answer<v1::ReadUserResponse> {
        self.answer(request, |api, room, call| Box::pin(api.read_user(room, call))).await
    }

    async fn revoke(&self, request: Request<v1::RevokeRequest>) -> Answer<v1::RevokeResponse> {
        self.answer(request, |api, room, call| Box::pin(api.revoke(room, call))).await
    }

    async fn count(&self, request: Request<v1::CountRequest>) -> Answer<v1::CountResponse> {
        self.answer(request, |api, room, call| Box::pin(api.count(room, call))).await
    }

    async fn clear(&self, request: Request<v1::ClearRequest>) -> Answer<v1::ClearResponse> {
        self.answer(request, |api, room, call| Box::pin(api.clear(room, call))).await
    }

    async fn list(&self, mut request: Request<v1::ListRequest>) -> Answer<Self::ListStream> {
        let entered = Entered::take(request.extensions_mut())?;
        let call = List::try_from(request.into_inner()).map_err(Failure::from)?;
        let room = entered.room()?;
        let pages = self.api.list(&room, call)?;
        let stream = stream::unfold(pages, async |mut pages| {
            let page = pages.next().await?;
            Some((page.map(v1::ListResponse::from).map_err(Status::from), pages))
        });
        Ok(Response::new(self.until_closed(stream)))
    }

    async fn watch(&self, mut request: Request<v1::WatchRequest>) -> Answer<Self::WatchStream> {
        let entered = Entered::take(request.extensions_mut())?;
        let call = Watch::try_from(request.into_inner()).map_err(Failure::from)?;
        let room = entered.room()?;
        let watcher = self.api.watch(&room, call)?;
        let stream = stream::unfold(watcher, async |mut watcher| {
            let news = watcher.next().await;
            Some((Ok(v1::WatchResponse::from(news)), watcher))
        });
        Ok(Response::new(self.until_closed(stream)))
    }

    async fn topology(&self, request: Request<v1::TopologyRequest>) -> Answer<v1::TopologyResponse> {
        self.answer(request, |api, _room, Nothing| Box::pin(future::ready(Ok(topology::Known(api.topology()))))).await
    }
}
