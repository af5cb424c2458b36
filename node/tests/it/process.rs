//! A node in a process of its own, for what can only be measured from outside.

use crate::wire;
use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const SOJOURN: &str = env!("CARGO_BIN_EXE_sojourn");

/// How long a node may take to start on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A region of one node; it ends with this value.
pub struct Process {
    child: Child,
    /// Where it takes Redis clients.
    pub resp: SocketAddr,
    /// Where its administration is.
    pub http: SocketAddr,
    /// Where it takes gRPC clients.
    grpc: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Process {
    /// Starts it and waits until it answers.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more flags.
    pub async fn start_with(flags: &[&str]) -> Self {
        let mut program = Command::new(SOJOURN);
        program.stderr(Stdio::null());
        Self::start_by(program, flags).await
    }

    /// The same by a program that becomes `sojourn`.
    async fn start_by(mut program: Command, flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        // Bound together, so that they differ; free again before the node takes them.
        let listeners: Vec<TcpListener> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        let [peers, resp, grpc, http] = [0, 1, 2, 3].map(|at: usize| listeners[at].local_addr().expect("an address"));
        drop(listeners);
        let child = program
            .arg("serve")
            .args(["--node-data-dir", &directory.path().display().to_string()])
            .args(["--region-founders", &format!("1:alone={peers}/{resp}/{grpc}/{http}")])
            .args(["--listen-peers", &peers.to_string(), "--listen-resp", &resp.to_string()])
            .args(["--listen-grpc", &grpc.to_string(), "--listen-http", &http.to_string()])
            .args(flags)
            .stdout(Stdio::null())
            .spawn()
            .expect("sojourn starts");
        let process = Self { child, resp, http, grpc, _directory: directory };
        process.until_ready().await;
        process
    }

    async fn until_ready(&self) {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            assert!(Instant::now() < deadline, "the node does not answer");
            if tokio::net::TcpStream::connect(self.resp).await.is_ok() {
                let mut client = wire::Client::connect(self.resp).await;
                if client.ask("SET ready yes").await == "+OK" {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// How many files it has open.
    fn open_files(&self) -> usize {
        let open = std::fs::read_dir(Path::new("/proc").join(self.child.id().to_string()).join("fd"));
        open.expect("the node runs").count()
    }

    /// The bytes of memory that it has resident.
    pub fn memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(Path::new("/proc").join(self.child.id().to_string()).join("status"));
        let status = status.expect("the node runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
    }
}

/// Whoever reads the lines may have gone, and the disk that they are written to may be full, as that of the sessions may be.
#[tokio::test]
async fn a_node_whose_log_lines_nobody_takes_keeps_sessions() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a device without room");
    let (reader, pipe) = std::io::pipe().expect("a pipe");
    drop(reader);
    for log in [Stdio::from(full), Stdio::from(pipe)] {
        let mut program = Command::new(SOJOURN);
        program.stderr(log);
        let node = Process::start_by(program, &["--log-level", "debug"]).await;
        let mut client = wire::Client::connect(node.resp).await;
        client.expect("GET ready", r"$3\r\nyes").await;
    }
}

/// Connections are files: those who open as many as they can must leave the node what its log and its engine need.
#[tokio::test]
async fn a_node_keeps_files_for_itself_whoever_connects() {
    const OPEN_FILES_MAX: usize = 300;
    let mut program = Command::new("sh");
    program.args(["-c", &format!("ulimit -n {OPEN_FILES_MAX} && exec \"$0\" \"$@\""), SOJOURN]).stderr(Stdio::null());
    let node = Process::start_by(program, &[]).await;
    let mut first = wire::Client::connect(node.resp).await;
    first.expect("PING", "+PONG").await;
    let mut crowd = Vec::new();
    for (address, count) in [(node.resp, 150), (node.grpc, 80), (node.http, 80)] {
        for _ in 0..count {
            crowd.push(tokio::net::TcpStream::connect(address).await.expect("at least in the queue"));
        }
    }
    let mut late = wire::Client::connect(node.resp).await;
    assert_eq!(wire::shown(&late.reply().await), "-ERR max number of clients reached");
    assert!(node.open_files() < OPEN_FILES_MAX * 2 / 3, "{} files are open", node.open_files());
    first.expect("SET still v", "+OK").await;
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
