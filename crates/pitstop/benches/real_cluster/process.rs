//! What a process used, and on which machine, from `/proc`.

use std::fs::read_to_string;

/// Clock ticks a second in `/proc/PID/stat`: 100 on every Linux, whatever the kernel runs at.
const TICKS: f64 = 100.0;

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// In user mode and in the kernel. Units: seconds.
    pub(crate) cpu: f64,
    /// Resident memory. Units: MiB.
    pub(crate) resident: f64,
    /// The most that was ever resident. Units: MiB.
    pub(crate) peak: f64,
}

impl Usage {
    /// Of the process `pid`, all its threads together.
    pub(crate) fn of(pid: u32) -> Self {
        let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // The name of the program, in parentheses, may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
        let status = read_to_string(format!("/proc/{pid}/status")).unwrap();
        let memory = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
            kibibytes / 1024.0
        };
        Self {
            cpu: (ticks(11) + ticks(12)) / TICKS,
            resident: memory("VmRSS:"),
            peak: memory("VmHWM:"),
        }
    }
}

/// The machine, in one line.
pub(crate) fn machine() -> String {
    let info = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or(": unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{} ({cores} cores, load {} at the start), {}",
        model.trim_start_matches([' ', '\t', ':']),
        load.split_whitespace().next().unwrap_or("unknown"),
        std::env::consts::OS
    )
}
