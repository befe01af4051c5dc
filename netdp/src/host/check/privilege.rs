//! What this process may do.

use std::fs;

use super::CheckRow;

/// A capability: its number, its name, what netdp needs it for.
type Capability = (u8, &'static str, &'static str);

const NEEDED: [Capability; 3] = [
    (12, "CAP_NET_ADMIN", "interfaces, addresses and routes"),
    (21, "CAP_SYS_ADMIN", "the BPF file system, and entering the namespaces of containers"),
    (39, "CAP_BPF", "programs and maps"),
];

pub(super) fn rows() -> Vec<CheckRow> {
    let effective = fs::read_to_string("/proc/self/status").ok().and_then(|status| effective(&status));
    NEEDED.iter().map(|capability| row(*capability, effective)).collect()
}

fn row((number, name, purpose): Capability, effective: Option<u64>) -> CheckRow {
    match effective {
        Some(set) if set >> number & 1 == 1 => CheckRow::found(name, format!("for {purpose}")),
        Some(_) => {
            CheckRow::missing(name, format!("this process lacks it; it is for {purpose}: run netdp as root"))
        }
        None => CheckRow::missing(name, "cannot read it from /proc/self/status: mount /proc"),
    }
}

/// The set of capabilities in force, one bit each, from the text of a `/proc/PID/status`.
fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_set_is_read() {
        let status = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000008000001000\n";
        assert_eq!(effective(status), Some(1 << 39 | 1 << 12));
        assert_eq!(effective("Name:\tx\n"), None);
    }

    #[test]
    fn a_capability_that_lacks_is_named_with_its_purpose() {
        let rows: Vec<_> =
            NEEDED.iter().map(|capability| row(*capability, Some(1 << 39 | 1 << 12))).collect();
        assert_eq!(rows.iter().map(|row| row.ok).collect::<Vec<_>>(), [true, false, true]);
        assert!(rows[1].detail.contains("entering the namespaces of containers"));
        assert!(row(NEEDED[0], None).is_fatal());
    }
}
