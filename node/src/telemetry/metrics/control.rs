//! What the world agrees on, in figures, as this node knows it.

use crate::world::control::{Agreement, Control};
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

/// Figures of the control group and of the regions as it has them.
pub(super) struct ControlFigures {
    control: Control,
    version: IntGauge,
    is_leader: IntGauge,
    epoch: IntGaugeVec,
    served: IntGaugeVec,
    away: IntGaugeVec,
}

impl ControlFigures {
    pub fn new(registry: &Registry, control: Control) -> prometheus::Result<Self> {
        let of_region = |name, help| IntGaugeVec::new(Opts::new(name, help), &["region"]);
        let version = IntGauge::new(
            "control_version",
            "The version of what the world agrees on, as far as this node knows; 0 for nothing.",
        )?;
        let is_leader = IntGauge::new("control_is_leader", "Whether this node leads the control group.")?;
        let epoch = of_region("region_epoch", "The epoch under which a region's sessions are written.")?;
        let served = of_region("region_served", "Whether somebody writes to a region's sessions.")?;
        let away = of_region("region_away", "Whether a region was fenced and has not come back.")?;
        for gauge in [&version, &is_leader] {
            registry.register(Box::new(gauge.clone()))?;
        }
        for gauges in [&epoch, &served, &away] {
            registry.register(Box::new(gauges.clone()))?;
        }
        Ok(Self { control, version, is_leader, epoch, served, away })
    }

    pub fn take(&self) {
        self.is_leader.set(i64::from(self.control.leads()));
        let Some(state) = self.control.watch().borrow().clone() else { return };
        self.version.set(i64::try_from(state.version).unwrap_or(i64::MAX));
        for region in state.regions.values() {
            let name = [region.name.as_str()];
            self.epoch.with_label_values(&name).set(i64::from(region.epoch));
            self.served.with_label_values(&name).set(i64::from(!region.holders().is_empty()));
            self.away.with_label_values(&name).set(i64::from(region.away));
        }
    }
}
