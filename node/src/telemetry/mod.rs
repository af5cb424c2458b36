//! What a node tells about itself: logs, figures, and to whoever started it that it is ready.

mod logs;
mod metrics;
pub mod notify;

pub use logs::{LogFormat, LogOptions, init_logs};
pub use metrics::{Abroad, Measured, Metrics, text_of_starting_node};
