//! The load generator: the same closed loop for Sojourn and for its peers, and an open one for what goes on beside.
//!
//! One thread drives all connections. It shares the machine with the servers, so it does little per operation: requests are
//! built in place, replies are glanced at, nothing is allocated.

mod drive;
mod etcd;
mod keys;
mod nats;
mod resp;
mod steady;
mod target;
mod values;

pub use drive::{Load, Measured, Stop, run};
pub use etcd::{EtcdStatus, status as etcd_status};
pub use keys::{Distribution, KEY_BYTES, Keys, write_key};
pub use nats::{NatsConnection, create_bucket as create_nats_bucket};
pub use steady::{Done, Going, Steady, steady};
pub use target::{Confirm, Connection, Operation, Refused, Target};
pub use values::Values;
