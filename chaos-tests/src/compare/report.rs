//! What was measured, as tables for people and as JSON for programs.

use super::{
    Participant, failover::Failover, join::Join, memory::Memory, rates::Rate, ratios::Ratios, restart::Restart,
    verify::Syncs,
};
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use serde::Serialize;
use std::fmt;

/// All that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Who took part.
    pub stores: Vec<Participant>,
    /// How each syncs.
    pub syncs: Vec<Syncs>,
    /// Rates and latencies.
    pub rates: Vec<Rate>,
    /// How long writes stood still.
    pub failover: Vec<Failover>,
    /// Memory per session.
    pub memory: Vec<Memory>,
    /// The restart of a full node.
    pub restart: Option<Restart>,
    /// The joining of a node.
    pub join: Option<Join>,
    /// Sojourn beside the others.
    pub ratios: Ratios,
}

impl Report {
    /// Syncs of all servers of a store per write, with 64 connections.
    fn syncs_per_write(&self, rate: &Rate) -> String {
        let syncs = self.syncs.iter().find(|syncs| syncs.store == rate.store && rate.operation != "get");
        syncs.map_or_else(String::new, |syncs| format!("{:.2}", syncs.syncs_per_write_at_64))
    }

    fn rates_table(&self) -> Table {
        let mut table = table(&[
            "load",
            "store",
            "ops/s",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "server CPU us/op",
            "syncs/op at 64",
            "server RSS MiB",
            "sojourn is",
        ]);
        for rate in &self.rates {
            let own = self.rates.iter().find(|own| own.store == "sojourn" && own.workload == rate.workload);
            let ratio = own.map_or(f64::NAN, |own| own.operations_per_s / rate.operations_per_s);
            table.add_row([
                rate.workload.clone(),
                rate.store.to_owned(),
                format!("{:.0}", rate.operations_per_s),
                format!("{:.2}", rate.p50_ms),
                format!("{:.2}", rate.p99_ms),
                format!("{:.2}", rate.p999_ms),
                format!("{:.1}", rate.server_cpu_us),
                self.syncs_per_write(rate),
                format!("{:.0}", rate.resident_mib),
                format!("{ratio:.2} x"),
            ]);
        }
        table
    }

    fn others_table(&self) -> Table {
        let mut table = table(&["figure", "store", "value"]);
        for one in &self.failover {
            let value = format!("{:.3} s, longest {:.3} s", one.median_s, one.max_s);
            table.add_row(["write gap after SIGKILL of a leader, median", one.store, &value]);
        }
        for one in &self.memory {
            let value = format!("{:.0} bytes", one.bytes_per_session);
            table.add_row([format!("memory per session at {}", one.sessions), one.store.to_owned(), value]);
        }
        if let Some(one) = &self.restart {
            let figure = format!("restart of a node with {} sessions", one.sessions);
            table.add_row([figure, "sojourn".to_owned(), format!("{:.2} s", one.seconds)]);
        }
        if let Some(one) = &self.join {
            let figure = format!("a 4th node joins 3 with {} sessions", one.sessions);
            let mib = one.stored_bytes as f64 / f64::from(1 << 20);
            table.add_row([figure, "sojourn".to_owned(), format!("{:.1} s, {mib:.0} MiB", one.seconds)]);
            for (when, took) in [("before it", one.before), ("meanwhile", one.joining)] {
                let figure = format!("write p99 {when}, {:.0}/s", one.writes_per_s);
                let value = format!("{:.2} ms, longest {:.2} ms", took.p99_ms, took.max_ms);
                table.add_row([figure, "sojourn".to_owned(), value]);
            }
        }
        table
    }

    fn ratios_table(&self) -> Table {
        let mut table = table(&["ratio", "value"]);
        for (name, ratio) in &self.ratios {
            table.add_row([name.clone(), format!("{ratio:.2}")]);
        }
        table
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in [self.rates_table(), self.others_table(), self.ratios_table()] {
            if !table.is_empty() {
                writeln!(out, "{table}\n")?;
            }
        }
        Ok(())
    }
}

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(head);
    let figures = table.column_iter_mut().skip(2);
    figures.for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}
