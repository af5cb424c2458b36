//! The running world: starts the nodes, watches them, does what other shells ask, ends them.

use super::{
    child,
    control::{self, Asked, NodeLine, Reply, Request},
    meeting, page,
    plan::{Plan, PlannedNode, Ports},
    wan,
};
use crate::{cli::output, wan::Wan};
use anyhow::bail;
use futures::{
    future::{BoxFuture, FutureExt},
    stream::{FuturesUnordered, StreamExt},
};
use rustix::process::Signal;
use std::{
    io,
    path::Path,
    process::ExitStatus,
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};

/// How long nodes may take to end before they are killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long `dev start` waits for the node to be ready before it says that it is not.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// How many lines of its log are shown of a node that does not start.
const LAST_WORDS: usize = 8;

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Ready,
    /// Frozen; whether it was ready before.
    Frozen {
        was_ready: bool,
    },
    Down {
        ended: String,
    },
}

struct Node {
    planned: PlannedNode,
    state: State,
    pid: Option<u32>,
    starts: u64,
    /// Who waits for it to be ready or down; they are told how it ended, if it did.
    waiting: Vec<oneshot::Sender<Option<String>>>,
}

impl Node {
    fn tell_waiting(&mut self, ended: Option<&str>) {
        for waiting in self.waiting.drain(..) {
            // Whoever asked may have gone.
            let _gone = waiting.send(ended.map(str::to_owned));
        }
    }
}

struct World {
    plan: Plan,
    /// The ways between its regions, if it has several.
    wan: Option<Wan>,
    nodes: Vec<Node>,
    running: FuturesUnordered<BoxFuture<'static, (usize, io::Result<ExitStatus>)>>,
    restarts: FuturesUnordered<BoxFuture<'static, usize>>,
    restart_after: Option<Duration>,
    began: Instant,
    /// Whether its regions have met, once all nodes were ready.
    meeting: FuturesUnordered<BoxFuture<'static, bool>>,
    welcomed: bool,
}

/// Runs the world until SIGINT, SIGTERM or SIGHUP.
///
/// # Errors
/// A node does not start; what it said.
pub async fn run(plan: Plan, wan: Option<Wan>, restart_after: Option<Duration>) -> anyhow::Result<()> {
    let (sender, mut ready) = mpsc::channel(16);
    for (index, node) in plan.nodes.iter().enumerate() {
        child::hear(&plan.notify_socket(node), index, sender.clone())?;
    }
    let mut asked = control::listen(&plan.data_dir)?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut world = World::new(plan, wan, restart_after);
    for index in 0..world.nodes.len() {
        world.start(index)?;
    }
    loop {
        tokio::select! {
            Some((index, ended)) = world.running.next(), if !world.running.is_empty() => world.on_ended(index, ended)?,
            Some(index) = world.restarts.next(), if !world.restarts.is_empty() => world.on_restart(index)?,
            Some(index) = ready.recv() => world.on_ready(index)?,
            Some(met) = world.meeting.next(), if !world.meeting.is_empty() => world.on_met(met)?,
            Some(asked) = asked.recv() => world.on_asked(asked)?,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hang_up.recv() => break,
        }
    }
    output::print("\nEnding the nodes; once more Ctrl-C kills them.\n")?;
    world
        .end(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                () = tokio::time::sleep(STOP_TIMEOUT) => {}
            }
        })
        .await;
    Ok(())
}

impl World {
    fn new(plan: Plan, wan: Option<Wan>, restart_after: Option<Duration>) -> Self {
        let node = |planned: &PlannedNode| Node {
            planned: planned.clone(),
            state: State::Down { ended: "was not started".to_owned() },
            pid: None,
            starts: 0,
            waiting: Vec::new(),
        };
        let nodes = plan.nodes.iter().map(node).collect();
        Self {
            plan,
            wan,
            nodes,
            running: FuturesUnordered::new(),
            restarts: FuturesUnordered::new(),
            restart_after,
            began: Instant::now(),
            meeting: FuturesUnordered::new(),
            welcomed: false,
        }
    }

    fn start(&mut self, index: usize) -> anyhow::Result<()> {
        let node = &mut self.nodes[index];
        let mut child = child::start(&self.plan, &node.planned)?;
        node.pid = child.id();
        node.state = State::Starting;
        node.starts += 1;
        // The process is waited for nowhere else, so a pid here is never another process's.
        self.running.push(async move { (index, child.wait().await) }.boxed());
        Ok(())
    }

    fn on_ready(&mut self, index: usize) -> anyhow::Result<()> {
        let node = &mut self.nodes[index];
        if node.state != State::Starting {
            return Ok(());
        }
        node.state = State::Ready;
        node.tell_waiting(None);
        let name = node.planned.name.clone();
        if self.welcomed {
            return self.tell(&format!("{name} is ready"));
        }
        if self.meeting.is_empty() && self.nodes.iter().all(|node| node.state == State::Ready) {
            let plan = self.plan.clone();
            self.meeting.push(async move { meeting::met(&plan).await }.boxed());
        }
        Ok(())
    }

    fn on_met(&mut self, met: bool) -> anyhow::Result<()> {
        self.welcomed = true;
        let program = page::shown(Path::new(&std::env::args().next().unwrap_or_else(|| "sojourn".to_owned())));
        if !met {
            self.tell(&page::unmet(&self.plan, &program))?;
        }
        output::print(&page::welcome(&self.plan, &self.lines(), &program, self.began.elapsed()))
    }

    fn on_ended(&mut self, index: usize, ended: io::Result<ExitStatus>) -> anyhow::Result<()> {
        let ended = ended.map_or_else(|error| error.to_string(), child::ending);
        let node = &mut self.nodes[index];
        let (name, pid) = (node.planned.name.clone(), node.pid.take().unwrap_or_default());
        let was_starting = node.state == State::Starting;
        node.state = State::Down { ended: ended.clone() };
        node.tell_waiting(Some(&ended));
        let log_file = self.plan.log_file(&self.nodes[index].planned);
        if was_starting && !self.welcomed {
            bail!("{name} {ended} before the region was ready; {} ends with:\n{}", page::shown(&log_file), {
                child::last_words(&log_file, LAST_WORDS)
            });
        }
        let next = match self.restart_after {
            Some(pause) => {
                self.restarts.push(tokio::time::sleep(pause).map(move |()| index).boxed());
                format!("starts again in {} s", pause.as_secs())
            }
            None => format!("stays down until: sojourn dev start {name}{}", page::at(&self.plan.data_dir)),
        };
        self.tell(&format!("{name} (process {pid}) {ended}; {next}"))
    }

    fn on_restart(&mut self, index: usize) -> anyhow::Result<()> {
        if self.nodes[index].pid.is_some() {
            return Ok(());
        }
        self.tell(&format!("{} starts again", self.nodes[index].planned.name))?;
        self.start(index)
    }

    fn on_asked(&mut self, (request, reply): Asked) -> anyhow::Result<()> {
        let name = match &request {
            Request::Status => {
                // Whoever asked may have gone; so in all that follows.
                let _gone = reply.send(Reply::Nodes(self.lines()));
                return Ok(());
            }
            Request::Wan { ask } => {
                let said = wan::act(self.wan.as_ref(), ask);
                if let Reply::Done(text) = &said {
                    self.tell(text)?;
                }
                let _gone = reply.send(said);
                return Ok(());
            }
            Request::Kill { node } | Request::Stop { node } | Request::Cont { node } | Request::Start { node } => node,
        };
        let Some(index) = self.nodes.iter().position(|node| node.planned.name == *name) else {
            let names: Vec<&str> = self.nodes.iter().map(|node| node.planned.name.as_str()).collect();
            let _gone =
                reply.send(Reply::Refused(format!("no node {name} in this world: it has {}", names.join(", "))));
            return Ok(());
        };
        match (&request, self.nodes[index].pid) {
            (Request::Start { .. }, None) => {
                self.tell(&format!("{name} starts, as asked"))?;
                self.start(index)?;
                self.reply_when_started(index, reply);
            }
            (Request::Start { .. }, Some(pid)) => {
                let _gone = reply.send(Reply::Refused(format!("{name} runs already, as process {pid}")));
            }
            (_, None) => {
                let mend = format!("{name} is down: start it with `sojourn dev start {name}`");
                let _gone = reply.send(Reply::Refused(mend));
            }
            (Request::Kill { .. }, Some(pid)) => {
                child::signal(pid, Signal::KILL);
                self.reply_when_down(index, reply);
            }
            (Request::Stop { .. }, Some(pid)) => {
                let was_ready = self.nodes[index].state == State::Ready;
                if !matches!(self.nodes[index].state, State::Frozen { .. }) {
                    self.nodes[index].state = State::Frozen { was_ready };
                }
                child::signal(pid, Signal::STOP);
                self.tell(&format!("{name} is frozen"))?;
                let at = page::at(&self.plan.data_dir);
                let _gone = reply.send(Reply::Done(format!("{name} is frozen until: sojourn dev cont {name}{at}")));
            }
            (Request::Cont { .. } | Request::Status | Request::Wan { .. }, Some(pid)) => {
                if let State::Frozen { was_ready } = self.nodes[index].state {
                    self.nodes[index].state = if was_ready { State::Ready } else { State::Starting };
                }
                child::signal(pid, Signal::CONT);
                self.tell(&format!("{name} goes on"))?;
                let _gone = reply.send(Reply::Done(format!("{name} goes on")));
            }
        }
        Ok(())
    }

    fn reply_when_down(&mut self, index: usize, reply: oneshot::Sender<Reply>) {
        let node = &mut self.nodes[index];
        let (name, at) = (node.planned.name.clone(), page::at(&self.plan.data_dir));
        let (sender, down) = oneshot::channel();
        node.waiting.push(sender);
        tokio::spawn(async move {
            let _told = down.await;
            let _gone = reply.send(Reply::Done(format!("{name} is down until: sojourn dev start {name}{at}")));
        });
    }

    fn reply_when_started(&mut self, index: usize, reply: oneshot::Sender<Reply>) {
        let node = &mut self.nodes[index];
        let (name, http) = (node.planned.name.clone(), node.planned.ports.http);
        let log_file = self.plan.log_file(&node.planned);
        let shown = page::shown(&log_file);
        let (sender, settled) = oneshot::channel();
        node.waiting.push(sender);
        tokio::spawn(async move {
            let said = match tokio::time::timeout(START_TIMEOUT, settled).await {
                Ok(Ok(Some(ended))) => Reply::Refused(format!(
                    "{name} {ended}; its log {shown} ends with:\n{}",
                    child::last_words(&log_file, LAST_WORDS)
                )),
                Ok(_) => Reply::Done(format!("{name} was started; its log is {shown}")),
                Err(_) => Reply::Done(format!(
                    "{name} runs but is not ready yet; `curl http://127.0.0.1:{http}/readyz` says what is missing"
                )),
            };
            let _gone = reply.send(said);
        });
    }

    fn lines(&self) -> Vec<NodeLine> {
        let line = |node: &Node| {
            let Ports { grpc, resp, http, peers: _ } = node.planned.ports;
            let at = |port: u16| format!("127.0.0.1:{port}");
            let (state, ended) = match &node.state {
                State::Starting => ("starting", None),
                State::Ready => ("ready", None),
                State::Frozen { .. } => ("frozen", None),
                State::Down { ended } => ("down", Some(ended.clone())),
            };
            NodeLine {
                node: node.planned.name.clone(),
                state: state.to_owned(),
                pid: node.pid,
                resp: at(resp),
                http: at(http),
                grpc: at(grpc),
                starts: node.starts,
                ended,
            }
        };
        self.nodes.iter().map(line).collect()
    }

    fn tell(&self, what: &str) -> anyhow::Result<()> {
        output::print(&format!("[{:8.1} s] {what}\n", self.began.elapsed().as_secs_f64()))
    }

    /// Asks all nodes to end and waits; kills what is left when `enough` completes.
    async fn end(&mut self, enough: impl Future<Output = ()>) {
        for node in &self.nodes {
            if let Some(pid) = node.pid {
                child::signal(pid, Signal::TERM);
                // A frozen one would never hear it.
                child::signal(pid, Signal::CONT);
            }
        }
        let mut enough = std::pin::pin!(enough);
        loop {
            tokio::select! {
                ended = self.running.next() => match ended {
                    Some((index, _)) => self.nodes[index].pid = None,
                    None => return,
                },
                () = &mut enough => break,
            }
        }
        for pid in self.nodes.iter().filter_map(|node| node.pid) {
            child::signal(pid, Signal::KILL);
        }
        while self.running.next().await.is_some() {}
    }
}
