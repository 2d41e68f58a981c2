//! What Linux says of this process; nothing where there is no `/proc`.

use std::fs;

/// Linux tells times in hundredths of a second, whatever the kernel counts in.
const TICKS_A_SECOND: f64 = 100.0;

/// What there is to say of this process; each part is absent where it cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    /// Processor time, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Resident memory.
    pub resident_bytes: Option<f64>,
    /// Open file descriptors.
    pub open_files: Option<f64>,
    /// When it started, in seconds since 1970.
    pub started_at: Option<f64>,
}

impl Process {
    /// Looks at this process.
    pub fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (stat, system) = (read("/proc/self/stat"), read("/proc/stat"));
        let booted_at = value_after(&system, "btime");
        let files = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
        Self {
            cpu_seconds: field(&stat, 14).zip(field(&stat, 15)).map(|(user, kernel)| (user + kernel) / TICKS_A_SECOND),
            resident_bytes: value_after(&read("/proc/self/status"), "VmRSS:").map(|kib| kib * 1024.0),
            // Looking took one of them.
            open_files: files.and_then(|count| u32::try_from(count.saturating_sub(1)).ok()).map(f64::from),
            started_at: booted_at.zip(field(&stat, 22)).map(|(boot, ticks)| boot + ticks / TICKS_A_SECOND),
        }
    }
}

/// A field of `/proc/self/stat`, by its number in proc(5); the second, the program's name, may hold blanks and brackets.
fn field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// The number after a word at the beginning of a line.
fn value_after(text: &str, word: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_after_a_name_that_may_hold_anything() {
        let stat = "7 (a) b) S 4 5 6 7 8 9 10 11 12 13 140 150 16 17 18 19 20 21 220 23";
        assert_eq!((field(stat, 14), field(stat, 15), field(stat, 22)), (Some(140.0), Some(150.0), Some(220.0)));
        assert_eq!(field("", 14), None);
        assert_eq!(value_after("cpu 1\nbtime 99\n", "btime"), Some(99.0));
        assert_eq!(value_after("VmRSS:\t  12 kB\n", "VmRSS:"), Some(12.0));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_can_be_seen() {
        let seen = Process::look();
        assert!(seen.resident_bytes.is_some_and(|bytes| bytes > 1e5), "{seen:?}");
        assert!(seen.open_files.is_some_and(|files| files >= 3.0), "{seen:?}");
        assert!(seen.started_at.is_some_and(|at| at > 1.5e9), "{seen:?}");
        assert!(seen.cpu_seconds.is_some(), "{seen:?}");
    }
}
