//! Everything of a host that `netdp down` must leave as it found it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Row};

use crate::process::{eventually, patient};
use crate::topology::Host;

/// Shell lines whose output describes the host. Neighbour entries and counters are not in them: they change
/// without anybody's doing.
const LINES: [(&str, &str); 8] = [
    // A bridge prints timers that run, a count of what it has learned, and limits that it takes from its first port.
    (
        "links",
        "ip -d link show | sed -E 's/ ([a-z_]+_timer|fdb_n_learned|tso_max_size|tso_max_segs) +[0-9.]+//g'",
    ),
    ("addresses", "ip address show"),
    ("routes", "ip route show table all; ip -6 route show table all"),
    ("rules", "ip rule show; ip -6 rule show"),
    // A filter names its program by the kernel's number too, and an equal program that was loaded anew has another.
    (
        "qdiscs",
        "{ tc qdisc show; tc filter show dev up0 ingress; tc filter show dev up0 egress; } | sed -E 's/ id [0-9]+//'",
    ),
    ("multicast", "ip maddress show"),
    ("nftables", "nft list ruleset"),
    ("mounts", "cut -d' ' -f4- /proc/self/mountinfo | sort"),
];

/// Sysctls that the kernel changes by itself.
const RESTLESS: [&str; 2] = ["nf_conntrack_count", "tcp_fastopen_key"];

/// State of a host, as text by topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<String, String>);

impl Snapshot {
    /// Of everything, once each bridge knows whether it has a carrier: the kernel finds that out up to a second after it
    /// is made, and addresses and routes say it too.
    pub fn of(host: &Host) -> Self {
        eventually("every bridge has a carrier or none", Duration::from_secs(5), || {
            !host.ns.out("ip -br link show up type bridge").contains("UNKNOWN")
        });
        let mut topics: BTreeMap<String, String> =
            LINES.iter().map(|(topic, line)| ((*topic).to_owned(), host.ns.out(line))).collect();
        topics.insert("programs".to_owned(), format!("{:#?}", host.attached_programs()));
        topics.extend(host.ns.enter(|| sysctls(Path::new("/proc/sys/net"))));
        Self(topics)
    }

    /// All but one topic, for a test that changes that one itself.
    #[must_use]
    pub fn without(mut self, topic: &str) -> Self {
        assert!(self.0.remove(topic).is_some(), "no such topic: {topic}");
        self
    }

    /// Fails the test with every topic in which the host is no longer the same. It is looked at again for three
    /// seconds: a bridge says only after a second that it has lost its last port.
    pub fn assert_still(&self, host: &Host) {
        let deadline = Instant::now() + patient(Duration::from_secs(3));
        loop {
            let changes = self.changes(&Self::of(host));
            if changes.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "the host is not as it was:\n{changes}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Every topic of this one that is another in the later one.
    fn changes(&self, later: &Self) -> String {
        let mut changes = String::new();
        let new = later.0.keys().filter(|topic| topic.starts_with('/') && !self.0.contains_key(*topic));
        for topic in self.0.keys().chain(new) {
            let (before, after) = (self.0.get(topic), later.0.get(topic));
            if before != after {
                let _ = writeln!(changes, "{topic}:\n{}", changed_lines(before, after));
            }
        }
        changes
    }
}

/// All rows of netdp's database on this host, as text; empty when there is none.
pub fn database(host: &Host) -> String {
    let path = host.state_dir().join("netdp.db");
    let Ok(connection) = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY) else {
        return String::new();
    };
    let query = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name";
    let mut statement = connection.prepare(query).unwrap();
    let tables = statement.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap);
    let content: Vec<_> = tables.map(|table| (rows(&connection, &table), table)).collect();
    format!("{content:#?}")
}

fn rows(connection: &Connection, table: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let columns = statement.column_count();
    let row = |row: &Row<'_>| {
        let values: rusqlite::Result<Vec<Value>> = (0..columns).map(|column| row.get(column)).collect();
        values.map(|values| format!("{values:?}"))
    };
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
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
