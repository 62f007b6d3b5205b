//! What this machine has left for jobs, as the kernel tells. Knows no scheduler.

use kiln_proto::v1::Load;
use std::fs;

/// Cores whose load is taken as ours: one for each running job.
fn foreign_load_milli(loadavg: &str, running: u32) -> u32 {
    let one_minute: f64 = loadavg.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    let foreign = (one_minute - f64::from(running)).max(0.0);
    (foreign * 1000.0).min(f64::from(u32::MAX)) as u32
}

/// Measures the share of the processors that others use, between calls.
#[derive(Debug, Default)]
pub(crate) struct CpuMeter {
    last: Option<(u64, u64, u64)>,
    foreign_milli: f64,
}

/// Weight of one second's sample in a 15 s average: 1 - e^(-1/15).
const SAMPLE_WEIGHT: f64 = 0.064_493;

impl CpuMeter {
    /// Takes a sample: cores' worth of work that is not `own_cpu_us` (CPU time of our own jobs so far, microseconds), averaged
    /// over 15 s, in thousandths.
    pub(crate) fn sample(&mut self, own_cpu_us: u64, running: u32) -> u32 {
        let Some((busy, total)) = fs::read_to_string("/proc/stat").ok().and_then(|text| parse_stat(&text)) else {
            return foreign_load_milli(&fs::read_to_string("/proc/loadavg").unwrap_or_default(), running);
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        if let Some((last_busy, last_total, last_own)) = self.last.replace((busy, total, own_cpu_us)) {
            let ticks = total.saturating_sub(last_total) as f64;
            if ticks > 0.0 {
                let seconds = ticks / 100.0 / cores;
                let own = own_cpu_us.saturating_sub(last_own) as f64 / 1e6 / seconds.max(0.001);
                let all = busy.saturating_sub(last_busy) as f64 / ticks * cores;
                // While our jobs run, their time is not yet accounted: take a core for each.
                let foreign = (all - own.max(f64::from(running))).max(0.0);
                self.foreign_milli += (foreign * 1000.0 - self.foreign_milli) * SAMPLE_WEIGHT;
            }
        }
        self.foreign_milli as u32
    }
}

/// Busy and total ticks of the first line of /proc/stat.
fn parse_stat(text: &str) -> Option<(u64, u64)> {
    let numbers: Vec<u64> = text.lines().next()?.split_whitespace().skip(1).map_while(|text| text.parse().ok()).collect();
    let total: u64 = numbers.iter().take(8).sum();
    let idle = numbers.get(3)? + numbers.get(4)?;
    Some((total.checked_sub(idle)?, total))
}

/// Memory, pressure and disk as they are now.
pub(crate) fn read(scratch: &std::path::Path, running: u32, queued: u32, foreign_load_milli: u32) -> Load {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let pressure = fs::read_to_string("/proc/pressure/memory").unwrap_or_default();
    let disk_free_bytes = rustix::fs::statvfs(scratch).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    Load {
        foreign_load_milli,
        memory_available_bytes: meminfo_bytes(&memory, "MemAvailable:"),
        memory_total_bytes: meminfo_bytes(&memory, "MemTotal:"),
        memory_pressure_centi: pressure_centi(&pressure),
        running,
        queued,
        disk_free_bytes,
    }
}

fn meminfo_bytes(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0).saturating_mul(1024)
}

/// PSI's `some avg10`, in hundredths of a per cent; 0 where the kernel has none.
fn pressure_centi(text: &str) -> u32 {
    let some = text.lines().find_map(|line| line.strip_prefix("some avg10="));
    let value = some.and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0);
    (value * 100.0).clamp(0.0, 10_000.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        assert_eq!(meminfo_bytes("MemTotal:  100 kB\nMemAvailable:   64 kB\n", "MemAvailable:"), 65_536);
        assert_eq!(pressure_centi("some avg10=1.50 avg60=0.00 avg300=0.00 total=0\n"), 150);
        assert_eq!(parse_stat("cpu  10 0 10 70 10 0 0 0 0 0\ncpu0"), Some((20, 100)));
        assert_eq!(foreign_load_milli("2.50 1 1 1/1 1", 2), 500);
        assert_eq!(pressure_centi("nonsense"), 0);
    }
}
