//! Where addresses are, by a MaxMind DB file: the one that is built in, or one that an operator names.
//!
//! A file is read whole and checked whole before it is used, and again whenever it changes: every record is decoded once, so
//! that no lookup ever meets a damaged one. A new file that does not pass is refused with a line in the log, and the old one
//! goes on.

mod database;

#[cfg(test)]
mod tests;

pub use database::{About, Database};

use crate::env::{Env, FileMark};
use parking_lot::RwLock;
use sojourn_core::routing::Place;
use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::oneshot;

/// How often a file is looked at. It is, because not all file systems tell of changes.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// The largest database file in bytes: the largest that there are to be had take half of it.
pub const DATABASE_BYTES_MAX: u64 = 1 << 30;

/// Why a file cannot be used: which, why, and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeoError {
    /// There is no such file.
    #[error(
        "there is no geo-IP database {file}: correct `geo.database`, or leave it out to use the one that is built in"
    )]
    Missing {
        /// Which.
        file: String,
    },
    /// It cannot be read.
    #[error("cannot read the geo-IP database {file}: {reason}")]
    Unreadable {
        /// Which.
        file: String,
        /// What the system says.
        reason: String,
    },
    /// It is no database, or not all of it is there.
    #[error("the geo-IP database {file} is damaged, or no MaxMind DB file ({reason}): download it again, unpacked")]
    Damaged {
        /// Which.
        file: String,
        /// What does not fit.
        reason: String,
    },
    /// Its records say something else.
    #[error(
        "the geo-IP database {file} is of the type {kind:?}, and no record of it names a country: use a country or city \
         database"
    )]
    NoCountries {
        /// Which.
        file: String,
        /// What it says that it is.
        kind: String,
    },
}

/// The database in use. Shared, and replaced as a whole.
pub struct Geo {
    file: Option<PathBuf>,
    current: RwLock<Arc<Database>>,
}

impl Geo {
    /// The database that is built in.
    ///
    /// # Errors
    /// It is damaged, which is a mistake of the build.
    pub fn built_in() -> Result<Arc<Self>, GeoError> {
        Ok(Arc::new(Self { file: None, current: RwLock::new(Arc::new(Database::built_in()?)) }))
    }

    /// Reads a file, and reads it again whenever it changes, for as long as the result is held.
    ///
    /// # Errors
    /// The file cannot be used.
    pub async fn open(env: &Env, file: &Path) -> Result<Arc<Self>, GeoError> {
        // The mark first: what is written while it is read is then seen as a change.
        let mark = env.disk.mark(file).map_err(|error| unreadable(file, &error));
        let database = load(env, file).await?;
        let geo = Arc::new(Self { file: Some(file.to_owned()), current: RwLock::new(Arc::new(database)) });
        env.spawn("geo-watch", watch(env.clone(), Arc::downgrade(&geo), file.to_owned(), mark));
        Ok(geo)
    }

    /// Where an address is; nothing is known of one that the database lacks.
    pub fn place(&self, address: IpAddr) -> Place {
        self.database().place(address)
    }

    /// The database as it is now.
    pub fn database(&self) -> Arc<Database> {
        self.current.read().clone()
    }

    /// The file that it is read from; none for the one that is built in.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

/// Reads the file again whenever it is another one. Ends when nobody holds the database any more.
async fn watch(env: Env, geo: Weak<Geo>, file: PathBuf, mut seen: Result<FileMark, GeoError>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let mark = env.disk.mark(&file).map_err(|error| unreadable(&file, &error));
        if geo.strong_count() == 0 {
            return;
        }
        if mark == seen {
            continue;
        }
        seen = mark;
        let loaded = match &seen {
            Ok(_) => load(&env, &file).await,
            Err(error) => Err(error.clone()),
        };
        match (loaded, geo.upgrade()) {
            (Ok(database), Some(geo)) => {
                let About { kind, built_ms, networks } = database.about();
                tracing::info!(file = %file.display(), kind, built_ms, networks, "the geo-IP database is read anew");
                *geo.current.write() = Arc::new(database);
            }
            (Err(error), Some(_)) => tracing::warn!(%error, "the geo-IP database in memory goes on"),
            (_, None) => return,
        }
    }
}

/// Reads and checks a file where that holds nobody up.
async fn load(env: &Env, file: &Path) -> Result<Database, GeoError> {
    let (disk, path) = (env.disk.clone(), file.to_owned());
    let (done, loaded) = oneshot::channel();
    let work = async move {
        let bytes = disk.read(&path, DATABASE_BYTES_MAX).map_err(|error| unreadable(&path, &error));
        // Nobody may be waiting any more.
        let _unheard = done.send(bytes.and_then(|bytes| Database::checked(&path.display().to_string(), bytes)));
    };
    env.spawn.spawn_blocking("geo-load", Box::pin(work));
    let interrupted = || unreadable(file, &io::ErrorKind::Interrupted.into());
    loaded.await.unwrap_or_else(|_| Err(interrupted()))
}

fn unreadable(file: &Path, error: &io::Error) -> GeoError {
    let (file, reason) = (file.display().to_string(), error.to_string());
    match error.kind() {
        io::ErrorKind::NotFound => GeoError::Missing { file },
        io::ErrorKind::FileTooLarge => {
            GeoError::Unreadable { file, reason: format!("it is larger than {DATABASE_BYTES_MAX} bytes") }
        }
        _ => GeoError::Unreadable { file, reason },
    }
}
