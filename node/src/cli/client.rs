//! Speaks to a node's administration: small HTTP/1 requests with JSON in and out.

use crate::gateway::http::api::Problem;
use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;
use tokio::net::TcpStream;

/// The nodes of `sojourn dev`.
pub const NODES: &str = "127.0.0.1:7402,127.0.0.1:7412,127.0.0.1:7422";

/// How long a node may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long it may take to answer: longer than what a node waits for its region.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Which nodes to ask.
#[derive(Clone, Debug, clap::Args)]
pub struct NodeArgs {
    /// The node to ask, by its HTTP address; of several, the first that is up
    #[arg(long, global = true, value_name = "HOST:PORT,...", env = "SOJOURN_NODE", default_value = NODES,
          value_delimiter = ',', hide_env_values = true)]
    node: Vec<String>,
}

/// A caller of the administration.
#[derive(Clone, Debug)]
pub struct Client {
    nodes: Vec<String>,
}

impl Client {
    /// Asks these nodes.
    pub fn new(args: &NodeArgs) -> Self {
        Self { nodes: args.node.clone() }
    }

    /// Asks this node.
    pub fn of(node: String) -> Self {
        Self { nodes: vec![node] }
    }

    /// Asks `also` too, when those it was given are down.
    pub fn learn(&mut self, also: impl IntoIterator<Item = String>) {
        for node in also {
            if !self.nodes.contains(&node) {
                self.nodes.push(node);
            }
        }
    }

    /// `GET path`.
    ///
    /// # Errors
    /// No node is up, or the one that is refuses; what to do.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.call(Method::GET, path, None::<&()>).await
    }

    /// `POST path`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// `PATCH path`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        self.call(Method::PATCH, path, Some(body)).await
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.call(Method::DELETE, path, None::<&()>).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<T> {
        let body = body.map(serde_json::to_vec).transpose()?;
        let (node, stream) = self.connect().await?;
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &node);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())))?;
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, exchange(stream, request)).await;
        let answered = answered.with_context(|| format!("node {node} did not answer within {ANSWER_TIMEOUT:?}"))?;
        let (status, bytes) = answered.with_context(|| format!("node {node} broke off; what it did is unknown"))?;
        if status.is_success() {
            return serde_json::from_slice(&bytes)
                .with_context(|| format!("node {node} answers as another version: use its own `sojourn`"));
        }
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(Problem { error, mend }) if mend.is_empty() => bail!("{error}"),
            Ok(Problem { error, mend }) => bail!("{error}\n  {mend}"),
            Err(_) => bail!("node {node} answered {status}: is that the HTTP port of a Sojourn node?"),
        }
    }

    /// A connection to the first node that takes one. Only this is tried again elsewhere: a request that was sent may have
    /// been done.
    async fn connect(&self) -> anyhow::Result<(String, TcpStream)> {
        for node in &self.nodes {
            if let Ok(Ok(stream)) = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(node)).await {
                return Ok((node.clone(), stream));
            }
        }
        bail!(
            "no node answers at {}\n  start a world with `sojourn dev`, or name a running node's HTTP address with --node or \
             SOJOURN_NODE",
            self.nodes.join(", ")
        )
    }
}

async fn exchange(stream: TcpStream, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let bytes = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((status, bytes))
}
