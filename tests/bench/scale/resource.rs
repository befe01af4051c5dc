//! What a host has of memory and processor.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::topology::Host;

const MIB: f64 = 1024.0 * 1024.0;

/// MiB that the kernel has for the maps that are pinned on this host.
pub(super) fn maps(host: &Host) -> f64 {
    let pins = files(&host.run_dir().join("bpf"));
    let size = |pin: &PathBuf| {
        // Programs and links are pinned there too.
        let shown = host.ns.sh(&format!("bpftool -j map show pinned {}", pin.display()));
        let map: Option<Value> = (shown.code == Some(0)).then(|| serde_json::from_str(&shown.stdout).ok())?;
        map?["bytes_memlock"].as_f64()
    };
    let sizes: Vec<f64> = pins.iter().filter_map(size).collect();
    assert!(!sizes.is_empty(), "no map is pinned on {}", host.ns.name());
    sizes.iter().sum::<f64>() / MIB
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// MiB of a process: resident, and its share of what it has in common with others.
pub(super) fn memory(process: u32) -> (f64, f64) {
    let path = format!("/proc/{process}/smaps_rollup");
    let table = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mib = |name: &str| {
        let line = table.lines().find_map(|line| line.strip_prefix(name));
        let kib: f64 = line.unwrap().split_whitespace().next().unwrap().parse().unwrap();
        kib / 1024.0
    };
    (mib("Rss:"), mib("Pss:"))
}

/// Seconds of processor that all threads of a process have had. In ticks, as its times are, a tenth of a percent would be one.
pub(super) fn processor_time(process: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let time = |task: PathBuf| -> f64 {
        let text = fs::read_to_string(task.join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    };
    tasks.map(|task| time(task.unwrap().path())).sum::<f64>() / 1e9
}
