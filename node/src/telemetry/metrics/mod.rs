//! Figures for Prometheus: what was asked and how it went, and how the node is at the moment of the scrape.

mod abroad;
mod control;
mod measured;
mod operations;
mod process;
mod scrape;

pub use abroad::Abroad;
pub use measured::Measured;

use crate::{region::RegionNode, world::control::Control};
use abroad::AbroadFigures;
use control::ControlFigures;
use operations::Operations;
use prometheus::{Encoder, Registry, TextEncoder};
use scrape::Scraped;
use std::sync::Arc;

/// The figures of one node.
pub struct Metrics {
    registry: Registry,
    operations: Arc<Operations>,
    scraped: Scraped,
    abroad: Option<AbroadFigures>,
    control: Option<ControlFigures>,
    node: RegionNode,
}

impl Metrics {
    /// The figures of `node`, and of what it knows of other regions and agrees on with them if there are some.
    ///
    /// # Errors
    /// Two figures have one name, which is a bug.
    pub fn new(node: RegionNode, abroad: Option<Abroad>, control: Option<Control>) -> prometheus::Result<Self> {
        let registry = registry()?;
        let operations = Arc::new(Operations::new(&registry)?);
        let scraped = Scraped::new(&registry)?;
        let abroad = abroad.map(|abroad| AbroadFigures::new(&registry, abroad)).transpose()?;
        let control = control.map(|control| ControlFigures::new(&registry, control)).transpose()?;
        Ok(Self { registry, operations, scraped, abroad, control, node })
    }

    /// The node as gateways see it, each call counted and timed.
    pub fn measured(&self) -> Measured {
        Measured::new(Arc::new(self.node.clone()), self.operations.clone())
    }

    /// Where rooms put figures of their own.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// All figures in Prometheus's text format.
    ///
    /// # Errors
    /// A figure cannot be written, which is a bug.
    pub fn text(&self) -> prometheus::Result<String> {
        self.scraped.take(&self.node);
        self.abroad.iter().for_each(|abroad| abroad.take(&self.node));
        self.control.iter().for_each(ControlFigures::take);
        text(&self.registry)
    }
}

/// The figures of a process whose node is not there yet: it is not ready, and what it uses.
///
/// # Errors
/// As [`Metrics::text`].
pub fn text_of_starting_node() -> prometheus::Result<String> {
    let registry = registry()?;
    Scraped::new(&registry)?.take_process();
    text(&registry)
}

fn registry() -> prometheus::Result<Registry> {
    Registry::new_custom(Some("sojourn".to_owned()), None)
}

fn text(registry: &Registry) -> prometheus::Result<String> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
