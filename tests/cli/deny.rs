//! `netdp deny` on the command line: what is refused, what is idempotent, and what is printed.

use serde_json::Value;
use tests::snapshot::{Snapshot, database};
use tests::topology::{Bed, Host};

fn listed(host: &Host) -> Vec<String> {
    let list = host.json(&["deny", "ls"]);
    let prefix = |row: &Value| row["prefix"].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(prefix).collect()
}

/// The command is refused with this exit status and these words, and changes nothing.
fn assert_refused(host: &Host, arguments: &[&str], code: i32, words: &str) {
    let (before, stored) = (Snapshot::of(host), database(host));
    host.netdp(arguments).exits(code).says(words).done_failing();
    before.assert_still(host);
    assert_eq!(database(host), stored, "{arguments:?}");
}

#[test]
fn list_is_kept_sorted_and_printed_with_netdp_up_or_down() {
    let bed = Bed::new();
    let host = bed.host("h1");
    assert_eq!(listed(&host), Vec::<String>::new());
    assert!(!host.state_dir().join("netdp.db").exists(), "reading creates nothing");
    let added = host.netdp(&["deny", "add", "2001:DB8::/32", "198.51.100.0/24", "10.0.0.7"]).ok();
    assert_eq!(added.stdout, "2001:db8::/32\n198.51.100.0/24\n10.0.0.7/32\n");
    let all = ["10.0.0.7/32", "198.51.100.0/24", "2001:db8::/32"];
    assert_eq!(listed(&host), all);
    host.up_once();
    assert_eq!(listed(&host), all);
    host.netdp(&["deny", "add", "10.0.0.7", "10.0.0.7/32"]).done();
    assert_eq!(listed(&host), all, "once more changes nothing");
    host.down();
    assert_eq!(listed(&host), all);
    let table = host.netdp(&["deny", "ls"]).ok().stdout;
    assert!(table.starts_with("PREFIX            SINCE\n10.0.0.7/32       20"), "{table}");
    host.netdp(&["deny", "rm", "10.0.0.7", "2001:db8::/32"]).done();
    assert_eq!(listed(&host), ["198.51.100.0/24"]);
    host.netdp(&["down", "--purge"]).done();
    assert_eq!(listed(&host), Vec::<String>::new());
}

#[test]
fn nonsense_is_refused_by_name_and_changes_nothing() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    host.netdp(&["deny", "add", "198.51.100.0/24"]).done();
    for (prefix, words) in [
        ("10.1.2.3/8", "write 10.0.0.0/8 or 10.1.2.3"),
        ("2001:db8::1/32", "write 2001:db8::/32"),
        ("::ffff:10.0.0.0/104", "write 10.0.0.0/8"),
        ("10.0.0.0/33", "such as 198.51.100.0/24"),
        ("localhost", "such as 198.51.100.0/24"),
    ] {
        assert_refused(&host, &["deny", "add", prefix], 2, words);
        assert_refused(&host, &["deny", "rm", prefix], 2, words);
    }
    assert_refused(&host, &["deny", "add"], 2, "CIDR");
    for everybody in ["0.0.0.0/0", "::/0"] {
        assert_refused(&host, &["deny", "add", "192.0.2.0/24", everybody], 1, "--force");
    }
    let unknown = "no such prefix in the deny list: 198.51.100.0/25";
    assert_refused(&host, &["deny", "rm", "198.51.100.0/24", "198.51.100.0/25"], 1, unknown);
    assert_refused(&host, &["up", "--once", "--prefilter", "fast"], 2, "native");
    assert_eq!(listed(&host), ["198.51.100.0/24"]);
}

#[test]
fn everybody_of_one_family_needs_force_and_leaves_the_other() {
    let bed = Bed::new();
    let (host, neighbour) = (bed.host("h1"), bed.neighbour("n1"));
    host.netdp(&["up", "--once", "--prefilter", "native"]).done();
    let pings = || neighbour.ns.sh(&format!("ping -n -q -c 2 -i 0.1 -W 1 {}", host.address)).code == Some(0);
    host.netdp(&["deny", "add", "--force", "::/0"]).done();
    assert!(pings());
    host.netdp(&["deny", "add", "-f", "0.0.0.0/0"]).says("gateway 203.0.113.1").done();
    assert!(!pings());
    host.netdp(&["deny", "rm", "0.0.0.0/0"]).done();
    assert!(pings());
}

#[test]
fn help_shows_how() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let help = host.netdp(&["deny", "add", "--help"]).ok().stdout;
    assert!(help.contains("netdp deny add 198.51.100.0/24"), "{help}");
}
