//! What load is sent to, and a connection to it.

use super::{etcd::EtcdConnection, keys::KEY_BYTES, nats::NatsConnection, resp::RespConnection};
use std::net::SocketAddr;

/// What every operation does to one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Writes a session that was not there.
    Create,
    /// Replaces a session that is there.
    Update,
    /// Reads a session that is there.
    Get,
}

impl Operation {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Get => "get",
        }
    }
}

/// What a Redis is asked after every write, in the same packet, before the write counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// Nothing: what answers a write has it.
    None,
    /// `WAIT 1`: one replica has received it.
    Received,
    /// `WAITAOF 1 1`: this server and one replica have synced it.
    Synced,
}

/// Where load goes. Connections are spread evenly over the addresses.
#[derive(Clone, Debug)]
pub enum Target {
    /// Redis's protocol.
    Resp {
        /// Where.
        addresses: Vec<SocketAddr>,
        /// What makes a write done.
        confirm: Confirm,
    },
    /// etcd's API over gRPC.
    Etcd {
        /// Where.
        addresses: Vec<SocketAddr>,
    },
    /// A JetStream key-value bucket over NATS's protocol.
    Nats {
        /// Where.
        addresses: Vec<SocketAddr>,
    },
}

impl Target {
    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        match self {
            Self::Resp { addresses, .. } | Self::Etcd { addresses } | Self::Nats { addresses } => addresses,
        }
    }

    /// The same, at one address.
    #[must_use]
    pub fn only(&self, address: SocketAddr) -> Self {
        let addresses = vec![address];
        match self {
            Self::Resp { confirm, .. } => Self::Resp { addresses, confirm: *confirm },
            Self::Etcd { .. } => Self::Etcd { addresses },
            Self::Nats { .. } => Self::Nats { addresses },
        }
    }
}

/// A server cannot answer now, and says so: the same may be asked again. Happens when a leader is looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused for now: {0}")]
pub struct Refused(pub String);

/// One connection of a load, which waits for each answer before it asks again.
pub enum Connection {
    /// See [`Target::Resp`].
    Resp(RespConnection),
    /// See [`Target::Etcd`].
    Etcd(EtcdConnection),
    /// See [`Target::Nats`].
    Nats(NatsConnection),
}

impl Connection {
    /// Connection `number` of a load.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn open(target: &Target, number: usize) -> anyhow::Result<Self> {
        let address = target.addresses()[number % target.addresses().len()];
        Ok(match target {
            Target::Resp { confirm, .. } => Self::Resp(RespConnection::open(address, *confirm).await?),
            Target::Etcd { .. } => Self::Etcd(EtcdConnection::open(address).await?),
            Target::Nats { .. } => Self::Nats(NatsConnection::open(address).await?),
        })
    }

    /// Does one operation; `value` matters to writes.
    ///
    /// # Errors
    /// The connection broke, the server refused, or a session that is read is not there.
    pub async fn perform(&mut self, operation: Operation, key: &[u8; KEY_BYTES], value: &[u8]) -> anyhow::Result<()> {
        let write = operation != Operation::Get;
        match self {
            Self::Resp(connection) if write => connection.set(key, value).await,
            Self::Resp(connection) => connection.get(key).await,
            Self::Etcd(connection) if write => connection.put(key, value).await,
            Self::Etcd(connection) => connection.get(key).await,
            Self::Nats(connection) if write => connection.put(key, value).await,
            Self::Nats(connection) => connection.get(key).await,
        }
    }
}
