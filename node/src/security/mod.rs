//! Who may come in.

pub mod password;
