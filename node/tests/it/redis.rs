//! A real `redis-server` that is asked the same as Sojourn.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A running server; it ends with this value.
pub struct Redis {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    _directory: tempfile::TempDir,
}

/// How long a server may take to start on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(20);

impl Redis {
    /// Starts one; `None`, with a line that says so, where there is none and nobody insists.
    pub fn start() -> Option<Self> {
        let Some(program) = find("redis-server") else {
            assert!(std::env::var_os("CI").is_none(), "CI needs redis-server: apt-get install redis-server");
            eprintln!("SKIPPED: no redis-server to compare with; apt-get install redis-server");
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let child = Command::new(program)
            .current_dir(directory.path())
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--enable-debug-command", "yes"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts");
        let redis = Self { child, address: ([127, 0, 0, 1], port).into(), _directory: directory };
        let started = Instant::now();
        while std::net::TcpStream::connect(redis.address).is_err() {
            assert!(started.elapsed() < START_TIMEOUT, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program on the path.
pub fn find(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file())
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
