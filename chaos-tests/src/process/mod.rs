//! Real processes: servers that are started, watched, hurt and always ended.
//!
//! Nothing started here outlives this process: a [`Child`] is killed when it is dropped, and the kernel kills it when this
//! process dies in any other way.

mod binary;
mod child;
mod http;
mod ports;
mod probe;
mod region;
mod usage;
mod world;

pub use binary::{Profile, sojourn_binary, tool, workspace};
pub use child::{Child, Launch};
pub use http::{Request, Response, http_get};
pub use ports::free_addresses;
pub use probe::wait_until;
pub use region::{Lead, Node, Region, RegionOptions};
pub use usage::{Usage, forget_peak, usage};
pub use world::{World, WorldOptions};
