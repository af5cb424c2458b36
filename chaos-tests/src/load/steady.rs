//! The open loop: a steady load that asks at fixed times, whatever became of what was asked before.
//!
//! A latency counts from the time at which the operation was due, so a server that stands still is charged for all that
//! waits meanwhile; a closed loop would only ask less and show a single slow answer ("coordinated omission", Gil Tene).

use super::{
    drive::RETRY_PAUSE,
    keys::{KEY_BYTES, Keys, write_key},
    target::{Connection, Operation, Refused, Target},
    values::Values,
};
use anyhow::{Context, anyhow};
use futures::future::try_join_all;
use rand::{SeedableRng, rngs::SmallRng};
use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    task::unconstrained,
};

/// What to send.
#[derive(Clone, Debug)]
pub struct Steady {
    /// The operation.
    pub operation: Operation,
    /// Of which sessions.
    pub keys: Keys,
    /// What is written.
    pub values: Values,
    /// How many connections take turns.
    pub connections: usize,
    /// Operations that are due in a second.
    pub operations_per_s: f64,
}

/// An operation that was done.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// When it should have begun.
    pub due: Instant,
    /// From then until it was answered.
    pub took: Duration,
}

/// A steady load that goes on in threads of its own until it is ended.
pub struct Going {
    end: watch::Sender<bool>,
    load: JoinHandle<anyhow::Result<Vec<Done>>>,
}

impl Going {
    /// Ends the load and tells all that was done, those that are under way included.
    ///
    /// # Errors
    /// Any operation failed for good.
    pub fn end(self) -> anyhow::Result<Vec<Done>> {
        self.end.send_replace(true);
        self.load.join().map_err(|_| anyhow!("the load panicked"))?
    }

    /// Whether an operation failed for good: waiting for the load to do something is of no use then.
    pub fn has_failed(&self) -> bool {
        self.load.is_finished()
    }
}

/// Begins a load.
///
/// # Errors
/// There are no threads left.
pub fn steady(target: &Target, load: &Steady) -> anyhow::Result<Going> {
    let (end, ending) = watch::channel(false);
    let (target, load) = (target.clone(), load.clone());
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run(&target, &load, ending))
    };
    let load = thread::Builder::new().name("steady-load".to_owned()).spawn(work).context("cannot start a thread")?;
    Ok(Going { end, load })
}

async fn run(target: &Target, load: &Steady, ending: watch::Receiver<bool>) -> anyhow::Result<Vec<Done>> {
    let connections = try_join_all((0..load.connections).map(|number| Connection::open(target, number))).await?;
    let (turns, taken): (Vec<_>, Vec<_>) = connections.iter().map(|_| mpsc::unbounded_channel()).unzip();
    let workers = connections.into_iter().zip(taken).zip(0..);
    let workers = workers.map(|((connection, turns), seed)| work(load, connection, turns, seed));
    // Timers of the runtime are a millisecond coarse, which is as much as a write takes.
    let every = Duration::from_secs_f64(1.0 / load.operations_per_s);
    let clock = thread::Builder::new().name("steady-clock".to_owned()).spawn(move || tick(every, &turns, &ending))?;
    // All connections are one task, see the closed loop.
    let done = unconstrained(try_join_all(workers)).await?;
    clock.join().map_err(|_| anyhow!("the clock panicked"))?;
    Ok(done.into_iter().flatten().collect())
}

/// Gives each connection its turns, until the end or until one of them is gone.
fn tick(every: Duration, turns: &[mpsc::UnboundedSender<(u64, Instant)>], ending: &watch::Receiver<bool>) {
    let mut due = Instant::now();
    for (number, turn) in (0..).zip(turns.iter().cycle()) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if *ending.borrow() || turn.send((number, due)).is_err() {
            return;
        }
        due += every;
    }
}

async fn work(
    load: &Steady,
    mut connection: Connection,
    mut turns: mpsc::UnboundedReceiver<(u64, Instant)>,
    seed: u64,
) -> anyhow::Result<Vec<Done>> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut key = [0; KEY_BYTES];
    let mut done = Vec::new();
    while let Some((number, due)) = turns.recv().await {
        let session = load.keys.draw(number, &mut random);
        write_key(session, &mut key);
        let value = load.values.draw(&mut random);
        while let Err(error) = connection.perform(load.operation, &key, value).await {
            if !error.is::<Refused>() {
                return Err(error.context(format!("{} of session {session}", load.operation.name())));
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        done.push(Done { due, took: due.elapsed() });
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Confirm, Distribution};
    use std::{
        io::{Read, Write},
        net::{SocketAddr, TcpListener},
    };

    const STALL: Duration = Duration::from_millis(300);

    /// Answers everything at once, but for one write.
    fn server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut input = [0; 1024];
            for number in 0.. {
                if stream.read(&mut input).expect("a command") == 0 {
                    return;
                }
                thread::sleep(if number == 20 { STALL } else { Duration::ZERO });
                stream.write_all(b"+OK\r\n").expect("a client");
            }
        });
        address
    }

    #[test]
    fn whatever_waits_behind_a_stall_is_charged_for_it() {
        let target = Target::Resp { addresses: vec![server()], confirm: Confirm::None };
        let load = Steady {
            operation: Operation::Update,
            keys: Keys::drawn(10, Distribution::Uniform),
            values: Values::new(100),
            connections: 1,
            operations_per_s: 200.0,
        };
        let going = steady(&target, &load).expect("it begins");
        thread::sleep(3 * STALL);
        let done = going.end().expect("all were answered");
        let late = done.iter().filter(|one| one.took > STALL / 10).count();
        assert!(done.len() > 100, "{} in {:?}", done.len(), 3 * STALL);
        assert!(late > 40, "of 60 that were due in {STALL:?}, {late} were charged for it");
    }
}
