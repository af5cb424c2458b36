//! How many connections each endpoint takes. They are files, and whoever opens as many as he can must leave the node those that its
//! log, its engine and other nodes need: without them it would have to end.

use anyhow::ensure;

/// Files that a node keeps for itself: the engine's tables, segments of the log, snapshots, two lanes each way for each of a hundred
/// other nodes. Where the system allows few, half of all.
const OWN_FILES: u64 = 1_024;

/// The fewest files with which a node starts.
const OPEN_FILES_MIN: u64 = 256;

/// The most connections of sessions' clients by one protocol, and of all who administer, probe and scrape.
const CLIENTS_MAX: u64 = 20_000;
const HTTP_MAX: u64 = 1_024;

/// Connections at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Redis clients.
    pub resp: usize,
    /// gRPC clients, of which each connection carries many calls.
    pub grpc: usize,
    /// Probes, metrics and administration.
    pub http: usize,
}

impl Shares {
    /// The shares of a process that may open so many files.
    ///
    /// # Errors
    /// They are too few for a node.
    pub fn of(open_files_max: u64) -> anyhow::Result<Self> {
        ensure!(
            open_files_max >= OPEN_FILES_MIN,
            "this process may open only {open_files_max} files: allow it 4096 or more, with `ulimit -n` or `LimitNOFILE=`"
        );
        let left = open_files_max - OWN_FILES.min(open_files_max / 2);
        let http = (left / 16).min(HTTP_MAX);
        let grpc = ((left - http) / 4).min(CLIENTS_MAX);
        let resp = (left - http - grpc).min(CLIENTS_MAX);
        let [resp, grpc, http] = [resp, grpc, http].map(|share| usize::try_from(share).unwrap_or(usize::MAX));
        Ok(Self { resp, grpc, http })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_leave_the_node_what_it_needs() {
        for open_files_max in [256, 1_000, 1_024, 4_096, 20_000, 65_536, 1 << 20, u64::MAX] {
            let Shares { resp, grpc, http } = Shares::of(open_files_max).expect("enough");
            let left = open_files_max - (resp + grpc + http) as u64;
            assert!(left >= OWN_FILES.min(open_files_max / 2), "{left} of {open_files_max}");
            assert!(resp >= grpc && grpc > http && http >= 8, "{resp} {grpc} {http} of {open_files_max}");
        }
        assert_eq!(Shares::of(65_536).expect("enough"), Shares { resp: 20_000, grpc: 15_872, http: 1_024 });
        let few = Shares::of(255).expect_err("too few").to_string();
        assert!(few.contains("255 files") && few.contains("LimitNOFILE"), "{few}");
    }
}
