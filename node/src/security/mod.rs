//! Who may come in.

pub mod certificates;
pub mod password;
