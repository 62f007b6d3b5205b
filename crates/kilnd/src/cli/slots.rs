//! `kiln slots`: the -j that keeps the farm busy without drowning this machine. Reads what the daemon knows of the farm.

use serde_json::json;

use super::talk::Asker;
use crate::exit::Exit;

/// Memory that a waiting job costs here: the wrapper, its make and its shell, each some hundred KiB.
const WAITING_BYTES: u64 = 4 << 20;
/// Memory assumed for a compile or link that runs here.
const RUNNING_BYTES: u64 = 1 << 30;
/// Jobs a build tool is asked for at most: beyond it no farm is fed faster.
const JOBS_MAX: u64 = 2048;

/// `kiln slots [--json]`.
///
/// # Errors
/// The daemon answers nonsense.
pub(crate) fn slots(as_json: bool) -> anyhow::Result<Exit> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let answer = Asker::new().ask("slots", &[]).ok().flatten();
    let farm = answer.and_then(|answer| answer.get("farm")?.as_u64()).unwrap_or(0);
    let memory = available_memory();
    let jobs = jobs(cores, farm, memory);
    if as_json {
        let answer = json!({
            "jobs": jobs, "cores": cores, "farm_slots": farm, "memory_available_bytes": memory,
            "memory_per_local_job_bytes": RUNNING_BYTES, "memory_per_waiting_job_bytes": WAITING_BYTES,
        });
        println!("{answer:#}");
        return Ok(Exit::Success);
    }
    println!("{jobs}");
    let assumed = "1 GB for each compile or link here and 4 MB for each that waits";
    eprintln!("kiln: {cores} cores here, {farm} slots in the farm; assumes {assumed}");
    Ok(Exit::Success)
}

/// All of the farm's slots and half as many again, so that there is always one at hand, and this machine's cores; as many as
/// memory has room for.
fn jobs(cores: u64, farm: u64, memory: u64) -> u64 {
    let wanted = cores + farm + farm / 2;
    let here = cores.min(memory / RUNNING_BYTES).max(1);
    let waiting = memory.saturating_sub(here * RUNNING_BYTES) / WAITING_BYTES;
    wanted.min(here + waiting).clamp(1, JOBS_MAX)
}

/// `MemAvailable` of /proc/meminfo, bytes; all there could be where it does not tell.
fn available_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).map_or(u64::MAX / 2, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_farm_and_the_memory_decide() {
        const GB: u64 = 1 << 30;
        assert_eq!(jobs(8, 0, 64 * GB), 8);
        assert_eq!(jobs(8, 100, 64 * GB), 158);
        assert_eq!(jobs(8, 0, 3 * GB), 3, "memory for three compiles");
        assert_eq!(jobs(2, 10_000, 256 * GB), JOBS_MAX);
        assert_eq!(jobs(8, 0, 0), 1);
    }
}
