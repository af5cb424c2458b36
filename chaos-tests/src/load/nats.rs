//! NATS's text protocol: publishing to a JetStream key-value bucket with acknowledgement, and reading it.
//!
//! See the NATS client protocol, and ADR-8 (key-value) and ADR-31 (direct get) of its architecture records.

use super::target::Refused;
use anyhow::{Context, bail, ensure};
use rand::Rng;
use std::{io::Write, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const BUCKET: &str = "KV_sessions";
const SUBJECTS: &str = "$KV.sessions.";
const DIRECT_GET: &str = "$JS.API.DIRECT.GET.KV_sessions.$KV.sessions.";
const NO_RESPONDERS: &[u8] = b"NATS/1.0 503";
const NO_SUCH_HEAD: &[u8] = b"NATS/1.0 4";

/// A connection that asks one thing after another.
pub struct NatsConnection {
    stream: TcpStream,
    inbox: String,
    out: Vec<u8>,
    input: Vec<u8>,
}

/// What a message was, once it is there whole: its length, and where its payload is.
struct Message {
    payload: std::ops::Range<usize>,
}

impl NatsConnection {
    /// Connects and subscribes to an inbox of its own.
    ///
    /// # Errors
    /// Nobody listens, or it is no NATS.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let inbox = format!("_INBOX.{:016x}", rand::rng().random::<u64>());
        let mut connection = Self { stream, inbox, out: Vec::new(), input: Vec::new() };
        let hello =
            r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"lang":"rust","version":"1"}"#;
        let greeting = format!("CONNECT {hello}\r\nSUB {} 1\r\nPING\r\n", connection.inbox);
        connection.stream.write_all(greeting.as_bytes()).await?;
        while connection.line().await? != "PONG" {}
        Ok(connection)
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        ensure!(self.stream.read_buf(&mut self.input).await? > 0, "the server closed the connection");
        Ok(())
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.input[..end]).into_owned();
                self.input.drain(..end + 2);
                return Ok(line);
            }
            self.fill().await?;
        }
    }

    /// Publishes `payload` to `subject` and waits for the answer, which stays in the buffer until the next request.
    async fn request(&mut self, subject: [&[u8]; 2], payload: &[u8]) -> anyhow::Result<Message> {
        self.input.clear();
        self.out.clear();
        self.out.extend_from_slice(b"PUB ");
        subject.iter().for_each(|part| self.out.extend_from_slice(part));
        write!(self.out, " {} {}\r\n", self.inbox, payload.len())?;
        self.out.extend_from_slice(payload);
        self.out.extend_from_slice(b"\r\n");
        self.stream.write_all(&self.out).await?;
        let mut at = 0;
        loop {
            let Some(end) = self.input[at..].windows(2).position(|pair| pair == b"\r\n").map(|end| at + end) else {
                self.fill().await?;
                continue;
            };
            let line = &self.input[at..end];
            if line.starts_with(b"MSG ") || line.starts_with(b"HMSG ") {
                let last = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
                let length: usize = std::str::from_utf8(last)?.parse()?;
                let payload = end + 2..end + 2 + length;
                while self.input.len() < payload.end + 2 {
                    self.fill().await?;
                }
                return Ok(Message { payload });
            }
            if line.starts_with(b"PING") {
                self.stream.write_all(b"PONG\r\n").await?;
            } else if line.starts_with(b"-ERR") {
                bail!("refused: {}", String::from_utf8_lossy(line));
            }
            at = end + 2;
        }
    }

    /// Asks JetStream's API with JSON.
    ///
    /// # Errors
    /// It refuses, or nobody answers.
    pub async fn ask(&mut self, subject: &str, json: &str) -> anyhow::Result<String> {
        let message = self.request([subject.as_bytes(), b""], json.as_bytes()).await?;
        let answer = String::from_utf8_lossy(&self.input[message.payload]).into_owned();
        ensure!(!answer.as_bytes().starts_with(NO_RESPONDERS), "nobody answers {subject}");
        ensure!(!answer.contains(r#""error":"#), "refused: {answer}");
        Ok(answer)
    }

    /// Writes a session.
    pub(super) async fn put(&mut self, key: &[u8], value: &[u8]) -> anyhow::Result<()> {
        let message = self.request([SUBJECTS.as_bytes(), key], value).await?;
        let answer = &self.input[message.payload];
        if answer.starts_with(NO_RESPONDERS) {
            return Err(Refused("the bucket has no leader".to_owned()).into());
        }
        let kept = answer.starts_with(br#"{"stream":"#);
        ensure!(kept, "not acknowledged: {}", String::from_utf8_lossy(answer));
        Ok(())
    }

    /// Reads a session from any replica: not linearizable.
    pub(super) async fn get(&mut self, key: &[u8]) -> anyhow::Result<()> {
        let message = self.request([DIRECT_GET.as_bytes(), key], b"").await?;
        ensure!(!self.input[message.payload].starts_with(NO_SUCH_HEAD), "a session that was written is not there");
        Ok(())
    }
}

/// Makes the bucket, unless it is there: three replicas, on disk, one value a key. Then writes to it.
///
/// # Errors
/// JetStream is not ready, or refuses.
pub async fn create_bucket(address: SocketAddr) -> anyhow::Result<()> {
    let config = format!(
        r#"{{"name":"{BUCKET}","subjects":["{SUBJECTS}>"],"retention":"limits","storage":"file","num_replicas":3,"max_msgs_per_subject":1,"max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"discard":"new","allow_direct":true,"allow_rollup_hdrs":true,"deny_delete":true}}"#
    );
    let mut connection = NatsConnection::open(address).await?;
    connection.ask(&format!("$JS.API.STREAM.CREATE.{BUCKET}"), &config).await?;
    // The bucket's own leader may not be there yet.
    connection.put(b"ready", b"").await
}
