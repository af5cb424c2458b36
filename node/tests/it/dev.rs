//! `sojourn dev` and the admin commands as people type them: real processes, killed for real.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

const SOJOURN: &str = env!("CARGO_BIN_EXE_sojourn");

/// How long something that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `sojourn dev`.
pub struct World<'a> {
    process: Child,
    pub base_port: u16,
    data_dir: &'a Path,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl<'a> World<'a> {
    /// Starts a world of one region and waits until it says how to use it.
    fn start(base_port: u16, data_dir: &'a Path) -> Self {
        Self::start_with(base_port, data_dir, &["--regions", "na"])
    }

    /// As [`World::start`], with more arguments.
    pub fn start_with(base_port: u16, data_dir: &'a Path, more: &[&str]) -> Self {
        let mut command = Command::new(SOJOURN);
        command.args(["dev", "--base-port", &base_port.to_string(), "--data-dir"]).arg(data_dir).args(more);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("started");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| line == "Ctrl-C ends all of it.");
        assert!(ready, "dev ended before it was ready");
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, base_port, data_dir }
    }

    /// Runs `sojourn` with these arguments against this world.
    pub fn run(&self, arguments: &[&str]) -> Said {
        let nodes = [2, 12, 22].map(|port| format!("127.0.0.1:{}", self.base_port + port)).join(",");
        let mut command = Command::new(SOJOURN);
        command.args(arguments).env("SOJOURN_NODE", nodes).env("SOJOURN_NAMESPACE_PASSWORD", "secret");
        said(&mut command)
    }

    /// As [`World::run`], for what must succeed and answers JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        let said = self.run(&[arguments, &["-o", "json"]].concat());
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        serde_json::from_str(&said.out).expect("JSON")
    }

    /// `sojourn dev <act>`.
    pub fn dev(&self, act: &[&str]) -> Said {
        said(Command::new(SOJOURN).arg("dev").args(act).arg("--data-dir").arg(self.data_dir))
    }

    /// The processes of its nodes.
    fn pids(&self) -> Vec<i32> {
        let status = self.dev(&["status", "-o", "json"]);
        let nodes: Value = serde_json::from_str(&status.out).expect("JSON");
        let pids = nodes.as_array().expect("nodes").iter().filter_map(|node| node["pid"].as_i64());
        pids.map(|pid| i32::try_from(pid).expect("a pid")).collect()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("signalled");
    }

    /// Sends one inline command to a node as a Redis client would; the first line of what it answers.
    fn redis(&self, node: u16, line: &str) -> String {
        self.redis_at(10 * node + 1, line)
    }

    /// As [`World::redis`], to the port that is so far from the first.
    pub fn redis_at(&self, port: u16, line: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.base_port + port)).expect("connected");
        stream.write_all(format!("{line}\r\n").as_bytes()).expect("written");
        let mut lines = BufReader::new(stream).lines().map(|line| line.expect("answered"));
        let first = lines.next().expect("answered");
        match first.strip_prefix('$').filter(|length| *length != "-1") {
            Some(_length) => lines.next().expect("a value"),
            None => first,
        }
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        // Only a test that failed leaves it running.
        let _ended = self.process.kill();
        let _waited = self.process.wait();
    }
}

fn said(command: &mut Command) -> Said {
    let output = command.output().expect("ran");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "still waiting: {what}");
        // Another process's end is no event of ours.
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_running(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// A first port from which on all that a world needs are free.
fn free_ports() -> u16 {
    free_ports_from(20_000, 100)
}

/// First and last ports that tests of this process have been given: those that run side by side look at the same time.
static GIVEN: Mutex<Vec<(u16, u16)>> = Mutex::new(Vec::new());

/// As [`free_ports`], from `first` on, for worlds that need `span` ports. Below the ports that connections of other tests are
/// given.
pub fn free_ports_from(first: u16, span: u16) -> u16 {
    let bases = 12_000 / span;
    let offset = u16::try_from(std::process::id() % u32::from(bases)).expect("small");
    let mut all = (0..bases).map(|step| first + (step + offset) % bases * span);
    let mut given = GIVEN.lock().expect("nobody panics with it");
    let apart = |base: u16| given.iter().all(|(from, to)| base > *to || base + span <= *from);
    let free = |base: &u16| (0..span - 50).all(|port| TcpListener::bind(("127.0.0.1", base + port)).is_ok());
    let base = all.find(|base| apart(*base) && free(base)).expect("free ports");
    given.push((base, base + span - 1));
    base
}

#[test]
fn a_world_is_started_broken_mended_and_ended() {
    let directory = tempfile::tempdir().expect("a directory");
    let base_port = free_ports();
    let mut world = World::start(base_port, directory.path());

    only_one_world_at_a_time(&world);
    sessions_are_listed_and_ended(&world);
    namespaces_come_and_go(&world);
    a_killed_node_stays_down_until_it_is_started(&world);
    a_node_that_does_not_start_says_why(&world);
    moves_are_shown_and_held_up(&world);
    misuse_is_told_apart_from_failure(&world);

    let pids = world.pids();
    world.signal(Signal::INT);
    assert!(world.process.wait().expect("ended").success());
    assert!(pids.iter().all(|pid| !is_running(*pid)), "a node outlived Ctrl-C");
    drop(world);

    // What was stored is there again; and however the world ends, its nodes end with it.
    let world = World::start(base_port, directory.path());
    assert_eq!(world.json(&["session", "count"])["sessions"], 2);
    let pids = world.pids();
    assert_eq!(pids.len(), 3);
    world.signal(Signal::KILL);
    until("the nodes end with their world", || pids.iter().all(|pid| !is_running(*pid)));
    let status = world.dev(&["status"]);
    assert!(status.code == 1 && status.err.contains("no world runs in"), "{status:?}");
}

fn only_one_world_at_a_time(world: &World<'_>) {
    let again = world.dev(&[]);
    assert!(again.code == 1 && again.err.contains("a world runs in"), "{again:?}");
    let elsewhere = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(SOJOURN);
    command.args(["dev", "--base-port", &world.base_port.to_string(), "--data-dir"]).arg(elsewhere.path());
    let taken = said(&mut command);
    assert!(taken.code == 1 && taken.err.contains("--base-port"), "{taken:?}");
}

fn sessions_are_listed_and_ended(world: &World<'_>) {
    for (node, id) in [(0, "sess:a"), (1, "sess:b"), (2, "sess:c")] {
        assert_eq!(world.redis(node, &format!("SET {id} value EX 3600")), "+OK");
    }
    assert_eq!(world.json(&["session", "count"])["sessions"], 3);
    assert_eq!(world.json(&["session", "count", "--expiring-within", "30m"])["sessions"], 0);
    let listed = world.run(&["session", "list", "--pattern", "sess:*"]);
    assert!(listed.code == 0 && !listed.out.contains("sess:") && listed.out.contains('#'), "{listed:?}");
    let shown = world.json(&["session", "list", "--show-ids", "--pattern", "sess:b"]);
    assert_eq!(shown[0]["id"], "sess:b");
    let shown = world.json(&["session", "get", "sess:a", "--values"]);
    assert_eq!((&shown["fields"][""], &shown["home"]), (&"value".into(), &"na".into()));
    let ttl = world.json(&["session", "ttl", "sess:a", "--set", "10m"])["ttl_ms"].as_u64().expect("a number");
    assert!((500_000..=600_000).contains(&ttl), "{ttl}");
    assert_eq!(world.run(&["session", "destroy", "sess:c"]).code, 0);
    let gone = world.run(&["session", "get", "sess:c"]);
    assert!(gone.code == 1 && gone.err.contains("no session with this id"), "{gone:?}");
    assert_eq!(world.redis(1, "GET sess:c"), "$-1");
}

fn namespaces_come_and_go(world: &World<'_>) {
    let create = ["namespace", "create", "shop", "--idle-timeout", "30m", "--fields", "json", "--user-path", "user"];
    assert_eq!(world.run(&create).code, 0);
    let changed = world.run(&["namespace", "set", "shop", "--touch-interval", "never", "--db", "3", "--password"]);
    assert_eq!(changed.code, 0, "{changed:?}");
    let shop = world.json(&["namespace", "show", "shop"]);
    let settings = &shop["settings"];
    assert_eq!((&settings["idle_timeout"], &settings["touch_interval"]), (&"30m".into(), &"never".into()));
    assert_eq!(shop["has_password"], true);
    assert_eq!(world.json(&["namespace", "list"]).as_array().expect("a list").len(), 2);
    let unknown = world.run(&["namespace", "set", "shap", "--db", "4"]);
    assert!(unknown.code == 1 && unknown.err.contains("shap") && unknown.err.contains("namespace list"), "{unknown:?}");
    assert_eq!(world.run(&["namespace", "drop", "shop"]).code, 0);
    assert_eq!(world.json(&["namespace", "list"]).as_array().expect("a list").len(), 1);
}

fn a_killed_node_stays_down_until_it_is_started(world: &World<'_>) {
    let killed = world.dev(&["kill", "na-0"]);
    assert!(killed.code == 0 && killed.out.contains("na-0 is down"), "{killed:?}");
    assert_eq!(world.pids().len(), 2);
    // The first node that is asked is the one that is down.
    until("the others lead all shards", || world.run(&["cluster", "status"]).out.contains("2 of 3 nodes ready; 1 not"));
    assert_eq!(world.json(&["session", "get", "sess:b"])["id"], "sess:b");
    let started = world.dev(&["start", "na-0"]);
    assert_eq!(started.code, 0, "{started:?}");
    until("the node is back", || world.run(&["cluster", "members"]).out.contains("3 of 3 nodes ready\n"));
    assert_eq!(world.dev(&["stop", "na-1"]).code, 0);
    let status = world.dev(&["status"]);
    assert!(status.out.contains("frozen"), "{status:?}");
    assert_eq!(world.dev(&["cont", "na-1"]).code, 0);
    let moved = until_led_by(world, "na-2");
    assert_eq!(moved, "na-2");
}

fn a_node_that_does_not_start_says_why(world: &World<'_>) {
    let (data, kept) = (world.data_dir.join("na-1"), world.data_dir.join("kept"));
    assert_eq!(world.dev(&["kill", "na-1"]).code, 0);
    std::fs::rename(&data, &kept).expect("moved");
    let refused = world.dev(&["start", "na-1"]);
    assert!(refused.code == 1 && refused.err.contains("another data directory"), "{refused:?}");
    std::fs::remove_dir_all(&data).expect("removed");
    std::fs::rename(&kept, &data).expect("moved back");
    assert_eq!(world.dev(&["start", "na-1"]).code, 0);
    until("the node is back", || world.run(&["cluster", "members"]).out.contains("3 of 3 nodes ready\n"));
}

/// Gives the lead of shard 0 to `node`, once it can take it.
fn until_led_by(world: &World<'_>, node: &str) -> String {
    until("the lead is handed over", || world.run(&["cluster", "transfer-leader", "0", node]).code == 0);
    let groups = world.json(&["cluster", "status"])["groups"].clone();
    let shard = groups.as_array().expect("groups").iter().find(|group| group["group"] == "0").expect("shard 0");
    shard["leader"].as_str().expect("a leader").to_owned()
}

fn moves_are_shown_and_held_up(world: &World<'_>) {
    let [peers, resp, grpc, http] = ["--peers", "--resp", "--grpc", "--http"].map(|flag| [flag, "127.0.0.1:9"]);
    let node = [peers, resp, grpc, http].concat();
    let planned = world.run(&[&["cluster", "add-node", "na-3", "--dry-run"], &node[..]].concat());
    assert!(planned.out.contains("Nothing was changed") && planned.out.contains("to na-3"), "{planned:?}");
    assert_eq!(world.json(&["cluster", "members"])["members"].as_array().expect("a list").len(), 3);
    let drained = world.run(&["cluster", "drain", "na-2", "--dry-run"]);
    assert!(drained.out.contains("the lead from na-2 to na-"), "{drained:?}");
    let held = world.json(&["cluster", "rebalance", "--pause", "--limit", "10MiB"]);
    assert_eq!((&held["paused"], &held["bytes_per_s_max"]), (&true.into(), &(10 << 20).into()));
    assert_eq!(world.json(&["cluster", "rebalance", "--resume", "--limit", "0"])["paused"], false);
    let advice = world.run(&["cluster", "advice"]);
    assert!(advice.code == 0 && advice.out.contains("not judged yet"), "{advice:?}");
}

fn misuse_is_told_apart_from_failure(world: &World<'_>) {
    assert_eq!(world.run(&["session", "list", "--label", "x"]).code, 2);
    assert_eq!(world.run(&["sesion"]).code, 2);
    let unknown = world.run(&["cluster", "drain", "na-9"]);
    assert!(unknown.code == 1 && unknown.err.contains("no node na-9"), "{unknown:?}");
    let refused = world.dev(&["kill", "na-9"]);
    assert!(refused.code == 1 && refused.err.contains("it has na-0, na-1, na-2"), "{refused:?}");
    let nowhere = said(Command::new(SOJOURN).args(["cluster", "status", "--node", "127.0.0.1:1"]));
    assert!(nowhere.code == 1 && nowhere.err.contains("no node answers"), "{nowhere:?}");
}

/// A node of its own; it ends with this value.
struct Founder(Child);

impl Founder {
    /// Founder `number` of three, whose ports follow `base`.
    fn start(number: u16, base: u16, directory: &Path) -> Self {
        let at = |node: u16, port: u16| format!("127.0.0.1:{}", base + 10 * node + port);
        let founders: Vec<String> = (0..3)
            .map(|node| {
                let [grpc, resp, http, peers] = [0, 1, 2, 3].map(|port| at(node, port));
                format!("{}:na-{node}={peers}/{resp}/{grpc}/{http}", node + 1)
            })
            .collect();
        let mut command = Command::new(SOJOURN);
        command.args(["serve", "--node-id", &(number + 1).to_string(), "--region-founders", &founders.join(",")]);
        command.args(["--region-world", "7", "--log-format", "json"]);
        command.arg("--node-data-dir").arg(directory.join(number.to_string()));
        for (flag, port) in [("--listen-grpc", 0), ("--listen-resp", 1), ("--listen-http", 2), ("--listen-peers", 3)] {
            command.args([flag, &at(number, port)]);
        }
        Self(command.stderr(Stdio::null()).spawn().expect("started"))
    }
}

impl Drop for Founder {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// `GET path` without a client library.
pub fn http_get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
fn a_founder_says_what_it_waits_for_and_then_what_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let base = free_ports() + 26;
    let get = |path: &str| http_get(base + 2, path);
    let is = |path: &str, status: &str| get(path).is_some_and(|text| text.starts_with(&format!("HTTP/1.1 {status}")));

    let _lone = Founder::start(0, base, directory.path());
    until("the node lives", || is("/livez", "200"));
    until("it says for whom it waits", || get("/readyz").is_some_and(|text| text.contains("na-2 at 127.0.0.1:")));
    assert!(is("/readyz", "503"));
    let figures = get("/metrics").expect("answered");
    for name in ["sojourn_ready 0", "sojourn_process_open_fds"] {
        assert!(figures.contains(name), "{name} in {figures}");
    }
    let status = get("/v1/status").expect("answered");
    assert!(status.starts_with("HTTP/1.1 503") && status.contains("a majority of the founders"), "{status}");

    let _other = Founder::start(1, base, directory.path());
    until("two of three found the region", || is("/readyz", "200"));
    let figures = get("/metrics").expect("answered");
    for name in ["sojourn_ready 1", "sojourn_log_syncs_total", "sojourn_raft_term{group=\"0\"}"] {
        assert!(figures.contains(name), "{name} in {figures}");
    }
    let lost = get("/v1/nowhere").expect("answered");
    assert!(lost.starts_with("HTTP/1.1 404") && lost.contains("GET / lists"), "{lost}");
}
