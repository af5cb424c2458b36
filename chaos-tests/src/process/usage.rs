//! What a process has used, read from `/proc`.

use std::{fs, io, time::Duration};

/// CPU time and memory of a process, or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time since its start, user and system.
    pub cpu: Duration,
    /// Memory that is resident now.
    pub resident_bytes: u64,
    /// The most memory that was ever resident.
    pub resident_bytes_peak: u64,
}

impl std::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(usages: I) -> Self {
        usages.fold(Self::default(), |sum, usage| Self {
            cpu: sum.cpu + usage.cpu,
            resident_bytes: sum.resident_bytes + usage.resident_bytes,
            resident_bytes_peak: sum.resident_bytes_peak + usage.resident_bytes_peak,
        })
    }
}

/// What process `id` has used, see proc(5).
///
/// # Errors
/// There is no such process.
pub fn usage(id: u32) -> io::Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    // The name in the second field may hold anything, also blanks and brackets.
    let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).ok_or_else(|| odd("stat"))?;
    let mut fields = after_name.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let (Some(Ok(user)), Some(Ok(system))) = (fields.next(), fields.next()) else { return Err(odd("stat")) };
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    let cpu = Duration::from_millis((user + system) * 1000 / ticks_per_second);
    Ok(Usage { cpu, resident_bytes: kib("VmRSS:") * 1024, resident_bytes_peak: kib("VmHWM:") * 1024 })
}

/// From now on the peak of process `id` is the most that it has from now on, see proc(5) on `clear_refs`.
///
/// # Errors
/// There is no such process, or it is not ours.
pub fn forget_peak(id: u32) -> io::Result<()> {
    fs::write(format!("/proc/{id}/clear_refs"), "5")
}

fn odd(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("/proc/*/{file} reads other than proc(5) says"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let usage = usage(std::process::id()).expect("it runs");
        assert!(usage.resident_bytes > 1 << 20 && usage.resident_bytes_peak >= usage.resident_bytes);
    }

    #[test]
    fn a_peak_that_was_forgotten_is_gone() {
        const BYTES: usize = 256 << 20;
        let own = std::process::id();
        drop(std::hint::black_box(vec![1_u8; BYTES]));
        let peak = || usage(own).expect("it runs").resident_bytes_peak;
        let before = peak();
        forget_peak(own).expect("it is ours");
        assert!(peak() + BYTES as u64 / 2 < before, "{} of {before}", peak());
    }
}
