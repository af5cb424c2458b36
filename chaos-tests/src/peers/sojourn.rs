//! Sojourn itself: a region of three nodes as it comes.

use super::{Servers, Site};
use crate::{
    load::{Confirm, Target},
    process::{Region, RegionOptions},
};

pub(super) fn start(site: &Site) -> anyhow::Result<(Servers, Target)> {
    let options =
        RegionOptions { place: site.place.clone(), trace_syncs: site.trace_syncs, ..RegionOptions::default() };
    let region = Region::start(&options)?;
    let target = Target::Resp { addresses: region.resp_addresses(), confirm: Confirm::None };
    Ok((Servers::Region(Box::new(region)), target))
}
