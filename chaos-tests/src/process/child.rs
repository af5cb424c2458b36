//! A server process that never outlives this one.

use super::{Usage, usage};
use anyhow::{Context, bail};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::{LazyLock, mpsc},
    time::Duration,
};

/// Lines of a log that a failure shows.
const TAIL_LINES: usize = 30;

/// What to start.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Names the process in messages and its log file.
    pub name: String,
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables on top of this process's own.
    pub environment: Vec<(String, String)>,
    /// Where it runs, and where its log goes.
    pub directory: PathBuf,
    /// Whether its syncs are counted (with strace, which slows each of them).
    pub trace_syncs: bool,
}

impl Launch {
    /// Something to start in `directory`, without arguments yet.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>, directory: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: directory.into(),
            trace_syncs: false,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds a variable.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    fn log(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.name))
    }

    fn trace(&self) -> PathBuf {
        self.directory.join(format!("{}.syncs", self.name))
    }

    /// The whole command. `setpriv` asks the kernel to kill the process when its parent dies; strace runs beside the
    /// server, not above it, so that signals reach the server itself.
    fn command(&self) -> io::Result<Command> {
        let mut words: Vec<OsString> = Vec::new();
        if self.trace_syncs {
            let calls = "trace=fsync,fdatasync,sync_file_range,msync";
            words.extend(["strace", "-D", "-f", "-q", "--seccomp-bpf", "-e", calls, "-o"].map(Into::into));
            words.extend([self.trace().into(), "--".into()]);
        }
        words.extend(["setpriv", "--pdeathsig", "KILL", "--"].map(Into::into));
        words.push(self.program.clone().into());
        words.extend(self.arguments.iter().cloned());
        fs::create_dir_all(&self.directory)?;
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(&self.directory).stdin(Stdio::null());
        command.envs(self.environment.iter().cloned()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }
}

type Spawned = mpsc::Sender<io::Result<process::Child>>;

/// The kernel's promise holds for the *thread* that started the process, so one thread that never ends starts all of them.
static SPAWNER: LazyLock<mpsc::Sender<(Command, Spawned)>> = LazyLock::new(|| {
    let (sender, receiver) = mpsc::channel::<(Command, Spawned)>();
    std::thread::spawn(move || {
        for (mut command, spawned) in receiver {
            // Whoever asked may be gone; then the process is dropped unwatched, and dies with this one.
            let _gone = spawned.send(command.spawn());
        }
    });
    sender
});

/// A running process; killed when dropped.
pub struct Child {
    process: process::Child,
    launch: Launch,
}

impl Child {
    /// Starts it.
    ///
    /// # Errors
    /// The program is not there or may not be run.
    pub fn start(launch: Launch) -> anyhow::Result<Self> {
        let (spawned, result) = mpsc::channel();
        SPAWNER.send((launch.command()?, spawned)).context("the thread that starts processes ended")?;
        let process = result.recv()?.with_context(|| {
            format!("cannot start {} ({}): is util-linux's setpriv installed?", launch.name, launch.program.display())
        })?;
        Ok(Self { process, launch })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.launch.name
    }

    /// How it was started, to start it again.
    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// CPU time and memory so far.
    ///
    /// # Errors
    /// The process ended.
    pub fn usage(&self) -> io::Result<Usage> {
        usage(self.id())
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// The process ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = Pid::from_raw(i32::try_from(self.id())?).context("process 0 is nobody")?;
        kill_process(id, signal).with_context(|| format!("cannot signal {}", self.name()))
    }

    /// Ends it at once, as a power cut of the process would.
    ///
    /// # Errors
    /// It could not be waited for.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()?;
        self.process.wait().map(drop)
    }

    /// Asks it to end, and waits.
    ///
    /// # Errors
    /// It did not end in time, or with a failure.
    pub fn terminate(&mut self, timeout: Duration) -> anyhow::Result<()> {
        let id = Pid::from_raw(i32::try_from(self.id())?).context("process 0 is nobody")?;
        let ended = pidfd_open(id, PidfdFlags::empty())?;
        self.signal(Signal::TERM)?;
        let timeout = Timespec { tv_sec: i64::try_from(timeout.as_secs())?, tv_nsec: timeout.subsec_nanos().into() };
        if poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&timeout))? == 0 {
            bail!("{} does not end when asked to:\n{}", self.name(), self.tail());
        }
        let status = self.process.wait()?;
        if !status.success() {
            bail!("{} ended with {status}:\n{}", self.name(), self.tail());
        }
        Ok(())
    }

    /// The last lines of its log.
    pub fn tail(&self) -> String {
        tail(&self.launch.log())
    }

    /// How often it has synced a file since it started, where that is counted.
    pub fn syncs(&self) -> Option<u64> {
        let trace = self.launch.trace_syncs.then(|| fs::read(self.launch.trace()).ok())??;
        // `sync_file_range` is not counted: it promises nothing after a crash.
        let begun =
            |line: &&[u8]| ["fsync(", "fdatasync(", "msync("].iter().any(|call| contains(line, call.as_bytes()));
        Some(trace.split(|byte| *byte == b'\n').filter(begun).count() as u64)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.kill();
        if std::thread::panicking() {
            let shown = format!("--- the end of the log of {}\n{}\n", self.name(), self.tail());
            let _unheard = io::Write::write_all(&mut io::stderr(), shown.as_bytes());
        }
    }
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(directory: &Path, script: &str) -> Launch {
        Launch::new("shell", "sh", directory).arguments(["-c", script])
    }

    #[test]
    fn a_dropped_child_is_gone_and_its_log_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let child = Child::start(shell(directory.path(), "echo hello; exec sleep 600")).expect("started");
        let id = child.id();
        super::super::wait_until("the shell to speak", Duration::from_secs(5), || child.tail().contains("hello"))
            .expect("heard");
        drop(child);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
    }

    #[test]
    fn one_that_ignores_the_request_to_end_is_reported_with_its_log() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut child = Child::start(shell(directory.path(), "trap '' TERM; echo deaf; while :; do sleep 0.01; done"))
            .expect("started");
        super::super::wait_until("the shell to speak", Duration::from_secs(5), || child.tail().contains("deaf"))
            .expect("heard");
        let error = child.terminate(Duration::from_millis(50)).expect_err("deaf").to_string();
        assert!(error.contains("does not end") && error.contains("deaf"), "{error}");
    }
}
