//! Where a node keeps what does not have to be in memory: the state of each group as of one log index.
//!
//! The hot path never comes here. Behind it, what entries changed is written in batches, each of which is atomic and
//! represents one applied index; the log is purged only up to there. What memory does not hold is read back from here. An
//! engine knows nothing of sessions: it keeps rows of bytes in the order of their keys, for each group its own.

mod files;
mod fjall;
mod memory;
mod part;
mod readers;
#[cfg(test)]
mod tests;

pub use files::FileEngine;
pub use fjall::FjallEngine;
pub use memory::{Memory, MemoryShare};
pub use part::{EngineKind, Part, Storage, StorageOptions};
pub use readers::{Readers, blocking};

use crate::log::GroupId;
use futures::future::BoxFuture;
use std::io;

/// A key and its new value, or `None` to remove it.
pub type Row = (Vec<u8>, Option<Vec<u8>>);

/// Called with rows in the order of keys.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> io::Result<()>;

/// Rows of bytes for each group. Keys are not empty and begin with a byte below [`KEY_FIRST_BYTE_MAX`].
///
/// Its methods block on the disk; futures complete without a reactor, so both are for threads of their own. An error of
/// kind `StorageFull` leaves everything as it was and may be tried again; after any other the node has to stop.
pub trait Engine: Send + Sync + 'static {
    /// Writes rows, each key at most once, as one: after a crash all are there or none. Durable when it completes.
    fn write(&self, group: GroupId, rows: Vec<Row>) -> BoxFuture<'_, io::Result<()>>;

    /// The values of `keys` as of the last write, in that order.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn read(&self, group: GroupId, keys: &[Vec<u8>]) -> io::Result<Vec<Option<Vec<u8>>>>;

    /// The group's rows as they are now, whatever is written later.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn view(&self, group: GroupId) -> io::Result<Box<dyn View>>;

    /// Begins to replace all rows of a group. Until the replacement is committed, or after it was dropped, the group is as
    /// if nothing had begun.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn replace(&self, group: GroupId) -> io::Result<Box<dyn Replacement>>;

    /// Lets go of the files, for whoever opens them next; later calls fail.
    fn close(&self) {}
}

/// No key begins with this byte or a higher one: engines keep their own notes there.
pub const KEY_FIRST_BYTE_MAX: u8 = 0xf0;

/// A group's rows at one moment.
pub trait View: Send + Sync {
    /// Visits the rows from `from` on and below `to`, in the order of keys.
    ///
    /// # Errors
    /// Whatever the disk or `visit` says.
    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> io::Result<()>;
}

/// New content of a group, on its way.
pub trait Replacement: Send {
    /// Adds a row; keys come in order.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn put(&mut self, key: &[u8], value: &[u8]) -> io::Result<()>;

    /// Takes the place of what the group had: after a crash it has the one or the other. Quick, since the bulk is on the
    /// disk already; durable when it completes.
    fn commit(self: Box<Self>) -> BoxFuture<'static, io::Result<()>>;
}
