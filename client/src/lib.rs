//! Sessions from Rust: connects to any nodes of a Sojourn region, asks leaders directly, and repeats what failed without doing
//! it twice.
//!
//! ```no_run
//! use sojourn_client::{Client, NewSession, Patch};
//!
//! # async fn example() -> Result<(), sojourn_client::Error> {
//! let client = Client::connect(["127.0.0.1:7400", "127.0.0.1:7410"]).await?;
//! let created = client.create(NewSession::new().field("cart", "3 apples")).await?;
//! client.patch(&created.id, Patch::new().set("theme", "dark")).await?;
//! let session = client.get(&created.id).await?.expect("it was just created");
//! assert_eq!(session.text("cart"), Some("3 apples"));
//! # Ok(())
//! # }
//! ```
//!
//! Every write carries a request id, so that repeating it through another node applies it once. A call takes no longer than
//! its deadline ([`Builder::deadline`]); while it lasts, nodes that do not answer are passed over. What a session's writes
//! promise, and what each error asks for, is said at [`Client`] and [`Error`].

mod client;
mod clock;
mod error;
mod id;
mod listing;
mod map;
mod nodes;
mod requests;
pub mod retry;
mod session;
mod token;
mod watch;
mod write;

pub use client::{Builder, Client};
pub use error::{Error, Reason};
pub use id::SessionId;
pub use listing::{Filter, Listing};
pub use session::{Created, Expiry, Login, Owner, Revoked, Session, Total, Version, Written};
pub use token::{BadToken, Token};
pub use watch::{Change, ChangeKind, Changes, Event};
pub use write::{NewSession, Patch, Put};
