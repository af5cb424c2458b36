//! How another shell speaks to the running world: one line of JSON each way over a Unix socket in its directory.

use super::{
    directory::control_socket,
    wan::{Ask, LinkLine},
};
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::{
    io::{BufRead, BufReader, ErrorKind, Write},
    os::unix::net::UnixStream,
    path::Path,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
    sync::{mpsc, oneshot},
};

/// What can be asked of a running world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Request {
    /// How are the nodes?
    Status,
    /// SIGKILL.
    Kill {
        /// The node's name.
        node: String,
    },
    /// SIGSTOP.
    Stop {
        /// The node's name.
        node: String,
    },
    /// SIGCONT.
    Cont {
        /// The node's name.
        node: String,
    },
    /// Start one that is down.
    Start {
        /// The node's name.
        node: String,
    },
    /// Look at the ways between regions, or change them.
    Wan {
        /// What is asked.
        ask: Ask,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// How the nodes are.
    Nodes(Vec<NodeLine>),
    /// How the ways between regions are.
    Links(Vec<LinkLine>),
    /// It happened; a sentence about it.
    Done(String),
    /// It did not; why, and the mend.
    Refused(String),
}

/// One node as `dev status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLine {
    /// Its name.
    pub node: String,
    /// `starting`, `ready`, `stopped` or `down`.
    pub state: String,
    /// Its process, if there is one.
    pub pid: Option<u32>,
    /// Where Redis clients connect.
    pub resp: String,
    /// Where probes and administration are.
    pub http: String,
    /// Where gRPC clients connect.
    pub grpc: String,
    /// How often it was started.
    pub starts: u64,
    /// How it ended, if it is down.
    pub ended: Option<String>,
}

/// A request and where its reply goes.
pub type Asked = (Request, oneshot::Sender<Reply>);

/// The longest request in bytes.
const REQUEST_BYTES_MAX: u64 = 4_096;

/// Takes requests until dropped.
///
/// # Errors
/// The socket cannot be made.
pub fn listen(data_dir: &Path) -> anyhow::Result<mpsc::Receiver<Asked>> {
    let path = control_socket(data_dir);
    // Ours alone, by the directory's lock: a socket that is there was left by a world that ended.
    let _none = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)
        .with_context(|| format!("cannot listen on {}; a shorter --data-dir may help", path.display()))?;
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, sender.clone()));
        }
    });
    Ok(receiver)
}

async fn converse(stream: tokio::net::UnixStream, asked: mpsc::Sender<Asked>) {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    let mut reading = tokio::io::BufReader::new(reading.take(REQUEST_BYTES_MAX));
    if reading.read_line(&mut line).await.is_err() {
        return;
    }
    let reply = match serde_json::from_str(&line) {
        Ok(request) => ask_world(request, &asked).await,
        Err(error) => Reply::Refused(format!("a request of another version: {error}")),
    };
    if let Ok(mut bytes) = serde_json::to_vec(&reply) {
        bytes.push(b'\n');
        // Whoever asked may have gone.
        let _gone = writing.write_all(&bytes).await;
    }
}

async fn ask_world(request: Request, asked: &mpsc::Sender<Asked>) -> Reply {
    let (sender, reply) = oneshot::channel();
    let sent = asked.send((request, sender)).await;
    match (sent, reply.await) {
        (Ok(()), Ok(reply)) => reply,
        _ => Reply::Refused("the world is ending".to_owned()),
    }
}

/// Asks the world that runs in `data_dir`.
///
/// # Errors
/// None runs there, or it refuses.
pub fn ask(data_dir: &Path, request: &Request) -> anyhow::Result<Reply> {
    let stream = match UnixStream::connect(control_socket(data_dir)) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => bail!(
            "no world runs in {}: start one there with `sojourn dev`, or say which with --data-dir",
            data_dir.display()
        ),
        Err(error) => return Err(error).context("cannot reach the running world"),
    };
    let mut bytes = serde_json::to_vec(request)?;
    bytes.push(b'\n');
    (&stream).write_all(&bytes)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    match serde_json::from_str(&line).context("the world ended before it answered")? {
        Reply::Refused(why) => bail!(why),
        reply => Ok(reply),
    }
}
