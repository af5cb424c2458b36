//! Shows what Sojourn survives and how fast it is.

pub mod compare;
pub mod load;
pub mod peers;
pub mod process;
pub mod resp;
pub mod sim;
pub mod world;
