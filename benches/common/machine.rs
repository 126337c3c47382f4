//! Processor time and memory of a process, from `/proc`.

use std::fs;
use std::time::Duration;

/// Clock ticks a second in `/proc/PID/stat`: a constant of the Linux ABI.
const TICKS: f64 = 100.0;

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Seconds of processor time.
    pub cpu_seconds: f64,
    /// Resident memory, megabytes (10⁶ bytes).
    pub resident: f64,
    /// The most that it ever was.
    pub peak: f64,
}

/// What a process used over a while.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Of one core, percent.
    pub cpu_percent: f64,
    /// Resident memory at the end, megabytes.
    pub resident: f64,
    /// The most that it ever was, megabytes.
    pub peak: f64,
}

impl Cost {
    /// What was used since `before`, over `elapsed`.
    pub fn since(&self, before: &Self, elapsed: Duration) -> Usage {
        let cpu_percent = (self.cpu_seconds - before.cpu_seconds) / elapsed.as_secs_f64() * 100.0;
        Usage { cpu_percent, resident: self.resident, peak: self.peak }
    }
}

/// Reads what the process with this id has used.
pub fn cost_of(id: u32) -> Cost {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("the process lives");
    // The name in parentheses may have spaces; utime and stime are the 12th and 13th field after it.
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a stat line").1.split_whitespace().collect();
    let ticks = |place: usize| fields[place].parse::<f64>().expect("a number of ticks");
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("the process lives");
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the line is there");
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().expect("a number of kilobytes")
    };
    let megabytes = |name: &str| kilobytes(name) * 1024.0 / 1_000_000.0;
    Cost { cpu_seconds: (ticks(11) + ticks(12)) / TICKS, resident: megabytes("VmRSS:"), peak: megabytes("VmHWM:") }
}
