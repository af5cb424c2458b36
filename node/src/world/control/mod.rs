//! The control group as a node reaches it: one Raft group across regions that keeps [`ControlState`].

mod agreement;

pub use agreement::{Agreement, NotAgreed};
