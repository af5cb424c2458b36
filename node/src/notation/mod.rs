//! How operators write and read durations, sizes, bytes and policies: one notation for flags, tables and JSON.

mod bytes;
mod duration;
mod policy;
mod settings;
mod size;

pub use bytes::{escape, unescape};
pub use duration::{about, parse_duration, show_duration};
pub use policy::{Setting, SettingError, change};
pub use settings::SETTINGS;
pub use size::{about_bytes, parse_size, show_size};
