//! Everything of a host that `netdp down` must leave as it found it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::topology::Host;

/// Shell lines whose output describes the host. Neighbour entries and counters are not in them: they change
/// without anybody's doing.
const LINES: [(&str, &str); 9] = [
    // A bridge prints timers that run.
    ("links", "ip -d link show | sed -E 's/ [a-z_]+_timer +[0-9.]+//g'"),
    ("addresses", "ip address show"),
    ("routes", "ip route show table all; ip -6 route show table all"),
    ("rules", "ip rule show; ip -6 rule show"),
    ("qdiscs", "tc qdisc show; tc filter show dev up0 ingress; tc filter show dev up0 egress"),
    ("multicast", "ip maddress show"),
    ("nftables", "nft list ruleset"),
    ("programs", "bpftool net show"),
    ("mounts", "cut -d' ' -f4- /proc/self/mountinfo | sort"),
];

/// Sysctls that the kernel changes by itself.
const RESTLESS: [&str; 2] = ["nf_conntrack_count", "tcp_fastopen_key"];

/// State of a host, as text by topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<String, String>);

impl Snapshot {
    /// Of everything.
    pub fn of(host: &Host) -> Self {
        let mut topics: BTreeMap<String, String> =
            LINES.iter().map(|(topic, line)| ((*topic).to_owned(), host.ns.out(line))).collect();
        topics.extend(host.ns.enter(|| sysctls(Path::new("/proc/sys/net"))));
        Self(topics)
    }

    /// All but one topic, for a test that changes that one itself.
    #[must_use]
    pub fn without(mut self, topic: &str) -> Self {
        assert!(self.0.remove(topic).is_some(), "no such topic: {topic}");
        self
    }

    /// Fails the test with every topic that is no longer the same.
    pub fn assert_same(&self, later: &Self) {
        let mut changes = String::new();
        for topic in self.0.keys().chain(later.0.keys().filter(|topic| !self.0.contains_key(*topic))) {
            let (before, after) = (self.0.get(topic), later.0.get(topic));
            if before != after {
                let _ = writeln!(changes, "{topic}:\n{}", changed_lines(before, after));
            }
        }
        assert!(changes.is_empty(), "the host is not as it was:\n{changes}");
    }
}

fn changed_lines(before: Option<&String>, after: Option<&String>) -> String {
    let lines = |text: Option<&String>| text.map(|t| t.lines().map(str::to_owned).collect::<Vec<_>>());
    let (before, after) = (lines(before).unwrap_or_default(), lines(after).unwrap_or_default());
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("  - {line}"));
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("  + {line}"));
    gone.chain(new).collect::<Vec<_>>().join("\n")
}

fn sysctls(dir: &Path) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            values.extend(sysctls(&path));
        } else if !RESTLESS.iter().any(|name| path.ends_with(name)) {
            // Some are write-only; they cannot be compared and netdp cannot remember them either.
            let value = fs::read_to_string(&path).unwrap_or_default();
            values.insert(path.display().to_string(), value);
        }
    }
    values
}

/// Content of the files of a directory, by path; the locks and databases of netdp, for "nothing changed".
pub fn files_under(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let Ok(entries) = fs::read_dir(dir) else { return files };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(files_under(&path));
        } else {
            files.insert(path.display().to_string(), fs::read(&path).unwrap_or_default());
        }
    }
    files
}
