//! Shows what Sojourn survives and how fast it is.

pub mod process;
pub mod resp;
