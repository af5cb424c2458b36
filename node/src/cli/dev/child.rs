//! One node of the world as a process: started, signalled, heard.

use super::plan::{Plan, PlannedNode};
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use std::{fs, path::Path, process::ExitStatus, process::Stdio};
use tokio::{net::UnixDatagram, process::Child, process::Command, sync::mpsc};

/// Starts the node; what it writes goes to its log file.
///
/// # Errors
/// The binary cannot be started or the log file not written.
pub fn start(plan: &Plan, node: &PlannedNode) -> anyhow::Result<Child> {
    let path = plan.log_file(node);
    let log = fs::OpenOptions::new().create(true).append(true).open(&path);
    let log = log.with_context(|| format!("cannot write {}", path.display()))?;
    let program = std::env::current_exe().context("cannot find this program's file")?;
    Command::new(program)
        .args(plan.arguments(node, std::process::id()))
        .envs(plan.environment())
        .env("NOTIFY_SOCKET", plan.notify_socket(node))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // A group of its own: Ctrl-C in the terminal is for us, and we end the nodes in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", node.name))
}

/// Sends a signal to a child that was not waited for yet.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended just now, which shows when it is waited for.
        let _ended = kill_process(pid, signal);
    }
}

/// Tells `ready` the node's number in the plan whenever the node says that it is ready, as to systemd.
///
/// # Errors
/// The socket cannot be made.
pub fn hear(path: &Path, index: usize, ready: mpsc::Sender<usize>) -> anyhow::Result<()> {
    let _none = fs::remove_file(path);
    let socket = UnixDatagram::bind(path)
        .with_context(|| format!("cannot listen on {}; a shorter --data-dir may help", path.display()))?;
    tokio::spawn(async move {
        let mut message = [0; 256];
        while let Ok(length) = socket.recv(&mut message).await {
            let is_ready = message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1");
            if is_ready && ready.send(index).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// How a process ended, for people.
pub fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(0), _) => "ended by itself".to_owned(),
        (Some(code), _) => format!("failed with exit code {code}"),
        (None, Some(9)) => "was killed".to_owned(),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The last lines that a node wrote.
pub fn last_words(log_file: &Path, lines_max: usize) -> String {
    let text = fs::read(log_file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(lines_max);
    lines[from..].iter().map(|line| format!("    {line}\n")).collect()
}
