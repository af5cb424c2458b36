//! Redis's protocol: `SET key value EX seconds` as session stores send it, `GET key`.

use super::{
    keys::KEY_BYTES,
    target::{Confirm, Refused},
};
use crate::resp::{Glance, encode, glance};
use anyhow::{Context, bail, ensure};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A day, as sessions have it.
const LIFETIME_S: &[u8] = b"86400";

/// How long a replica may take before a write counts as failed.
const CONFIRM_MS: &[u8] = b"5000";

/// A connection that asks one thing after another.
pub struct RespConnection {
    stream: TcpStream,
    out: Vec<u8>,
    input: Vec<u8>,
    confirm: Confirm,
}

impl RespConnection {
    /// Connects.
    pub async fn open(address: SocketAddr, confirm: Confirm) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, out: Vec::with_capacity(64 << 10), input: Vec::with_capacity(64 << 10), confirm })
    }

    /// Writes a session.
    pub async fn set(&mut self, key: &[u8; KEY_BYTES], value: &[u8]) -> anyhow::Result<()> {
        self.out.clear();
        encode(&[b"SET", key, value, b"EX", LIFETIME_S], &mut self.out);
        match self.confirm {
            Confirm::None => {}
            Confirm::Received => encode(&[b"WAIT", b"1", CONFIRM_MS], &mut self.out),
            Confirm::Synced => encode(&[b"WAITAOF", b"1", b"1", CONFIRM_MS], &mut self.out),
        }
        self.stream.write_all(&self.out).await?;
        self.answer(|reply| ensure_is(reply, reply == Glance::Ok)).await?;
        match self.confirm {
            Confirm::None => Ok(()),
            Confirm::Received => self.replicas().await,
            Confirm::Synced => {
                // An array of two: synced here, and by how many replicas.
                self.answer(|reply| ensure_is(reply, reply == Glance::Array(2))).await?;
                self.answer(|reply| ensure_is(reply, reply == Glance::Number(1))).await?;
                self.replicas().await
            }
        }
    }

    async fn replicas(&mut self) -> anyhow::Result<()> {
        self.answer(|reply| ensure_is(reply, matches!(reply, Glance::Number(count) if count >= 1))).await
    }

    /// Reads a session.
    pub async fn get(&mut self, key: &[u8; KEY_BYTES]) -> anyhow::Result<()> {
        self.out.clear();
        encode(&[b"GET", key], &mut self.out);
        self.stream.write_all(&self.out).await?;
        self.answer(|reply| ensure_is(reply, matches!(reply, Glance::Bytes(_)))).await
    }

    /// Waits for one reply, looks at it and forgets it.
    async fn answer(&mut self, look: impl Fn(Glance<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        loop {
            if let Some((reply, length)) = glance(&self.input)? {
                let looked = look(reply);
                self.input.drain(..length);
                return looked;
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                bail!("the server closed the connection");
            }
        }
    }
}

fn ensure_is(reply: Glance<'_>, expected: bool) -> anyhow::Result<()> {
    if let Glance::Error(text) = reply {
        let text = String::from_utf8_lossy(text).into_owned();
        let for_now = ["CLUSTERDOWN", "TRYAGAIN", "LOADING", "MASTERDOWN"].iter().any(|code| text.starts_with(code));
        return Err(if for_now { Refused(text).into() } else { anyhow::anyhow!("refused: {text}") });
    }
    ensure!(expected, "an unexpected reply: {reply:?}");
    Ok(())
}
