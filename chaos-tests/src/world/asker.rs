//! A connection for Redis commands, one after the other, opened again when it breaks.

use crate::resp::{Reply, decode, encode};
use anyhow::{Context, bail};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

/// How long an answer may take: longer than nodes try.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a node may refuse, and when it is asked again.
const REFUSED_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// A connection to one node.
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

    /// What the node answers once it does not refuse, as it does while a leader is looked for or a way is cut.
    ///
    /// # Errors
    /// It refuses for too long.
    pub async fn until_answered(&mut self, arguments: &[&[u8]]) -> anyhow::Result<Reply> {
        let began = Instant::now();
        loop {
            let refusal = match self.ask(arguments).await {
                Ok(Reply::Error(refusal)) => refusal,
                Ok(reply) => return Ok(reply),
                Err(error) => error.to_string(),
            };
            if began.elapsed() > REFUSED_MAX {
                let asked = String::from_utf8_lossy(&arguments.join(&b' ')).into_owned();
                bail!("`{asked}` is refused for {REFUSED_MAX:?}: {refusal}");
            }
            sleep(PAUSE).await;
        }
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
