//! What a node tells about itself: logs, and to whoever started it that it is ready.

mod logs;
pub mod notify;

pub use logs::{LogFormat, LogOptions, init_logs};
