//! A connection for Redis commands, one after the other, opened again when it breaks.

use crate::resp::{Reply, decode, encode};
use anyhow::{Context, bail};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long an answer may take: longer than nodes try.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) struct Asker {
    address: SocketAddr,
    stream: Option<TcpStream>,
    input: Vec<u8>,
}

impl Asker {
    /// One that connects when it asks.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, input: Vec::new() }
    }

    /// What the node answers, refusals included.
    ///
    /// # Errors
    /// No answer, or none in time; what was asked may have been done.
    pub async fn ask(&mut self, arguments: &[&[u8]]) -> anyhow::Result<Reply> {
        let answer = timeout(ANSWER_TIMEOUT, self.exchange(arguments)).await;
        let answer = answer.map_err(|_| anyhow::anyhow!("no answer for {ANSWER_TIMEOUT:?}")).and_then(|answer| answer);
        if answer.is_err() {
            // What is left of it would be taken for the next answer.
            self.stream = None;
        }
        answer
    }

    async fn exchange(&mut self, arguments: &[&[u8]]) -> anyhow::Result<Reply> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address).await;
            let stream = stream.with_context(|| format!("cannot connect to {}", self.address))?;
            stream.set_nodelay(true)?;
            self.input.clear();
            self.stream = Some(stream);
        }
        let Some(stream) = &mut self.stream else { bail!("not connected") };
        let mut out = Vec::new();
        encode(arguments, &mut out);
        stream.write_all(&out).await?;
        loop {
            if let Some((reply, length)) = decode(&self.input)? {
                self.input.drain(..length);
                return Ok(reply);
            }
            if stream.read_buf(&mut self.input).await? == 0 {
                bail!("{} closed the connection", self.address);
            }
        }
    }
}
