//! A database that cannot be used: a clear error, and its files untouched.

use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;
use tests::process::Ran;
use tests::snapshot::{Snapshot, database, files_under};
use tests::topology::{Bed, Host};

fn file(host: &Host) -> PathBuf {
    host.state_dir().join("netdp.db")
}

/// A host that was up once and is down, with a network in its database and the log written back into the file.
fn host_with_database(bed: &Bed) -> Host {
    let host = bed.host("h1");
    host.up_once();
    host.netdp(&["network", "create", "blue"]).done();
    host.down();
    let connection = Connection::open(file(&host)).unwrap();
    connection.pragma_update(None, "wal_checkpoint", "TRUNCATE").unwrap();
    host
}

fn assert_untouched(host: &Host, arguments: &[&str], words: &str) -> Ran {
    let (before, files) = (Snapshot::of(host), files_under(&host.state_dir()));
    let ran = host.netdp(arguments).exits(1).says(words);
    before.assert_still(host);
    assert_eq!(
        files_under(&host.state_dir()).get(&file(host).display().to_string()),
        files.get(&file(host).display().to_string()),
        "{ran}"
    );
    ran
}

const COMMANDS: [&[&str]; 4] =
    [&["up", "--once"], &["network", "ls"], &["network", "create", "green"], &["ps"]];

#[test]
fn newer_schema_is_refused() {
    let bed = Bed::new();
    let host = host_with_database(&bed);
    let connection = Connection::open(file(&host)).unwrap();
    connection.pragma_update(None, "user_version", 999).unwrap();
    drop(connection);
    for arguments in COMMANDS {
        assert_untouched(&host, arguments, "999");
    }
}

#[test]
fn truncated_database_is_refused() {
    let bed = Bed::new();
    let host = host_with_database(&bed);
    let whole = fs::read(file(&host)).unwrap();
    for length in [1, 50, 100, 4096, whole.len() / 2, whole.len() - 1] {
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", file(&host).display()));
        }
        fs::write(file(&host), &whole[..length]).unwrap();
        println!("{length} bytes of {}", whole.len());
        let ran = assert_untouched(&host, &["up", "--once"], "netdp.db");
        assert!(ran.stderr.starts_with("error: "), "{ran}");
    }
}

#[test]
fn what_is_no_database_is_refused() {
    let bed = Bed::new();
    let host = host_with_database(&bed);
    fs::write(file(&host), "this is a text that somebody put here\n".repeat(200)).unwrap();
    for arguments in COMMANDS {
        assert_untouched(&host, arguments, "netdp.db");
    }
    fs::remove_file(file(&host)).unwrap();
    fs::create_dir(file(&host)).unwrap();
    host.netdp(&["up", "--once"]).exits(1).says("netdp.db").done_failing();
}

#[test]
fn damaged_pages_are_refused_and_the_datapath_goes_on() {
    let bed = Bed::new();
    let host = host_with_database(&bed);
    host.up_once();
    let c1 = bed.container(&host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let _server = tests::server::Server::start(&c1.ns, 80);
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", file(&host).display()));
    }
    let mut bytes = fs::read(file(&host)).unwrap();
    bytes[100..].fill(0x5a);
    fs::write(file(&host), bytes).unwrap();
    for arguments in COMMANDS {
        assert_untouched(&host, arguments, "netdp.db");
    }
    tests::server::assert_served(&bed.outside.ns, (host.address, 8080), "c1");
    host.down();
}

#[test]
fn full_disk_is_refused_and_nothing_is_half_done() {
    let bed = Bed::new();
    let host = bed.host("h1");
    fs::create_dir_all(host.state_dir()).unwrap();
    let state = host.state_dir();
    host.ns.sh(&format!("mount -t tmpfs -o size=256k tmpfs {}", state.display())).done();
    host.up_once();
    let c1 = bed.namespace("c1");
    let path = c1.path().to_str().unwrap();
    fs::write(state.join("ballast"), vec![0; 1 << 20]).unwrap_err();
    let (before, stored) = (Snapshot::of(&host), database(&host));
    for arguments in
        [&["network", "create", "green"][..], &["attach", "--netns", path, "--name", "c1", "-p", "8080:80"]]
    {
        let ran = host.netdp(arguments).exits(1).says("error: ");
        assert!(ran.stderr.contains("space") || ran.stderr.contains("full"), "{ran}");
        before.assert_still(&host);
        assert_eq!(database(&host), stored, "{ran}");
    }
    fs::remove_file(state.join("ballast")).unwrap();
    host.netdp(&["network", "create", "green"]).done();
    host.netdp(&["attach", "--netns", path, "--name", "c1", "-p", "8080:80"]).done();
    host.down();
    host.ns.sh(&format!("umount {}", state.display())).done();
}

#[test]
fn first_up_on_a_full_disk_leaves_nothing() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let state = host.state_dir();
    fs::create_dir_all(&state).unwrap();
    host.ns.sh(&format!("mount -t tmpfs -o size=16k tmpfs {}", state.display())).done();
    fs::write(state.join("ballast"), vec![0; 1 << 20]).unwrap_err();
    let before = Snapshot::of(&host);
    host.netdp(&["up", "--once"]).exits(1).says("error: ").done_failing();
    before.assert_still(&host);
    host.ns.sh(&format!("umount {}", state.display())).done();
}

#[test]
fn state_directory_that_cannot_be_made_is_refused() {
    let bed = Bed::new();
    let host = bed.host("h1");
    fs::write(host.state_dir(), "a file in its place").unwrap();
    let before = Snapshot::of(&host);
    host.netdp(&["up", "--once"]).exits(1).says(host.state_dir().to_str().unwrap()).done_failing();
    before.assert_still(&host);
}
