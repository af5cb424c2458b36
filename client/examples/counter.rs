//! Counts visits in one session from many tasks at once: each reads, adds one and writes over the version that it read; a
//! conflict brings the current record to try again with.
//!
//! Run `sojourn dev` first, then `cargo run -p sojourn-client --example counter [host:port ...]`. Kill nodes meanwhile: no
//! count is lost, and none is counted twice.
#![allow(clippy::print_stdout)]

use sojourn_client::{Client, Error, NewSession, Put, Session, SessionId};

const TASKS: u64 = 4;
const VISITS_PER_TASK: u64 = 250;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::connect(addresses()).await?;
    let id = client.create(NewSession::new().field("visits", "0")).await?.id;
    let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(visit(client.clone(), id.clone()))).collect();
    let mut conflicts = 0;
    for task in tasks {
        conflicts += task.await??;
    }
    let session = client.get(&id).await?.ok_or(Error::Gone)?;
    println!("{} visits counted, {} made; {conflicts} conflicts on the way", visits(&session), TASKS * VISITS_PER_TASK);
    anyhow::ensure!(visits(&session) == TASKS * VISITS_PER_TASK, "a visit was lost or counted twice");
    client.destroy(&id).await?;
    Ok(())
}

async fn visit(client: Client, id: SessionId) -> Result<u64, Error> {
    let mut session = client.get(&id).await?.ok_or(Error::Gone)?;
    let (mut made, mut conflicts) = (0, 0);
    while made < VISITS_PER_TASK {
        let next = (visits(&session) + 1).to_string();
        match client.put(&id, Put::new().field("visits", &next).if_version(session.version)).await {
            Ok(written) => {
                made += 1;
                session.version = written.version;
                session.fields.insert("visits".into(), next.into());
            }
            Err(Error::Conflict { current }) => {
                conflicts += 1;
                session = *current;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(conflicts)
}

fn visits(session: &Session) -> u64 {
    session.text("visits").and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn addresses() -> Vec<String> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if given.is_empty() {
        ["127.0.0.1:7400", "127.0.0.1:7410", "127.0.0.1:7420"].map(str::to_owned).into()
    } else {
        given
    }
}
