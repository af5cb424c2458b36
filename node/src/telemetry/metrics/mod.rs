//! Figures for Prometheus: what was asked and how it went, and how the node is at the moment of the scrape.

mod measured;
mod operations;
mod process;
mod scrape;

pub use measured::Measured;

use crate::region::RegionNode;
use operations::Operations;
use prometheus::{Encoder, Registry, TextEncoder};
use scrape::Scraped;
use std::sync::Arc;

/// The figures of one node.
pub struct Metrics {
    registry: Registry,
    operations: Arc<Operations>,
    scraped: Scraped,
    node: RegionNode,
}

impl Metrics {
    /// The figures of `node`.
    ///
    /// # Errors
    /// Two figures have one name, which is a bug.
    pub fn new(node: RegionNode) -> prometheus::Result<Self> {
        let registry = Registry::new_custom(Some("sojourn".to_owned()), None)?;
        let operations = Arc::new(Operations::new(&registry)?);
        let scraped = Scraped::new(&registry)?;
        Ok(Self { registry, operations, scraped, node })
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
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
