//! The process itself. Source of the numbers: `proc(5)`.

use std::fs;

/// What the process uses; 0 where the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Resident memory.
    pub memory_bytes: u64,
    /// Processor time so far, in user and system mode.
    pub cpu_seconds: f64,
    /// Open files and sockets.
    pub open_files: u64,
    /// Threads.
    pub threads: u64,
}

/// Clock ticks of a second in `/proc`, fixed on Linux for user space.
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    /// This one.
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name in brackets may hold anything; numbers follow it, `state` being field 3.
        let fields: Vec<u64> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
            .unwrap_or_default();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
        Self {
            memory_bytes: field(24).saturating_mul(rustix::param::page_size() as u64),
            cpu_seconds: (field(14) + field(15)) as f64 / TICKS_PER_SECOND,
            threads: field(20),
            open_files: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Process;

    #[test]
    fn a_running_process_uses_something() {
        let process = Process::read();
        assert!(process.memory_bytes > 1 << 20 && process.open_files >= 3 && process.threads >= 1, "{process:?}");
    }
}
