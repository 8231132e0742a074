//! What the system says of this process, under the names that Prometheus has for it:
//! <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>.
//!
//! Source: proc(5). Where there is no such folder, nothing is told but the time of the start.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::text::{Kind, Text};

/// `_SC_CLK_TCK`, which is the same for all programs on Linux.
const TICKS_PER_SECOND: u64 = 100;

/// Writes down what is known of this process, which was started then. Reads files.
pub(super) fn write(started: SystemTime, text: &mut Text) {
    let started = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let mut tell = |name: &str, kind: Kind, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            text.foreign_family(name, kind, help);
            text.sample(&[], value);
        }
    };
    tell("process_start_time_seconds", Kind::Gauge, "When it was started, in seconds since 1970.", Some(started));
    let stat = fs::read_to_string("/proc/self/stat").ok();
    tell(
        "process_cpu_seconds_total",
        Kind::Counter,
        "CPU time that it has used.",
        stat.as_deref().and_then(cpu_seconds),
    );
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |field| Some(1024.0 * number(&status, field)?);
    tell("process_resident_memory_bytes", Kind::Gauge, "Memory that it holds.", bytes("VmRSS:"));
    tell("process_virtual_memory_bytes", Kind::Gauge, "Addresses that it has.", bytes("VmSize:"));
    tell("process_threads", Kind::Gauge, "Its threads.", number(&status, "Threads:"));
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    tell("process_max_fds", Kind::Gauge, "Files and connections that it may open.", number(&limits, "Max open files"));
    tell("process_open_fds", Kind::Gauge, "Files and connections that it has open.", open_files());
}

/// The number behind a name at the beginning of a line.
fn number(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

/// Time in user mode and in the kernel: the 14th and 15th field. The 2nd is the name of the program
/// between brackets, with whatever is in it.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = times.next()?.ok()?.saturating_add(times.next()?.ok()?);
    Some(Duration::from_millis(ticks.saturating_mul(1000 / TICKS_PER_SECOND)).as_secs_f64())
}

fn open_files() -> Option<f64> {
    // One of them is that of this very look.
    let files = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u32::try_from(files).ok().map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_program_is_called_its_time_is_found() {
        let stat = "17 (a b) c) S 1 17 17 0 -1 4194560 3333 0 12 0 250 34 0 0 20 0 5 0 1234 234567 890";
        assert_eq!(cpu_seconds(stat), Some(2.84));
        assert_eq!(cpu_seconds("17 (a"), None);
        assert_eq!(cpu_seconds("17 (a) S 1"), None);
    }

    #[test]
    fn numbers_are_found_by_their_name() {
        let status = "Name:\tx\nVmRSS:\t  1234 kB\nThreads:\t7\n";
        assert_eq!(
            (number(status, "VmRSS:"), number(status, "Threads:"), number(status, "None:")),
            (Some(1234.0), Some(7.0), None)
        );
        assert_eq!(
            number("Max open files            1024                 4096                 files\n", "Max open files"),
            Some(1024.0)
        );
        assert_eq!(
            number("Max open files            unlimited            unlimited            files\n", "Max open files"),
            None
        );
    }
}
