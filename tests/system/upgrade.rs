//! A new version over the datapath of an old one: everything is carried over and nobody notices, or nothing is touched.
//!
//! No release has the layouts of this version yet, so the old version of those tests that carry over is this one: its
//! programs are loaded once more, and have to be replaced like others. The maps of the release before, in `released/`,
//! have other layouts and are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use aya::EbpfLoader;
use aya::maps::MapInfo;
use aya::programs::ProgramInfo;
use aya::programs::links::{FdLink, PinnedLink};
use netdp::datapath::{Datapath, Hook, OBJECT};
use netdp_common::{FlowKey, names};
use tests::namespace::Namespace;
use tests::older_kernel::run_without_tcx;
use tests::process::{Ran, measured, patient, run};
use tests::server::{Answer, Server, ask_stream, assert_served, connect};
use tests::snapshot::Snapshot;
use tests::topology::{Bed, Container, Host};

/// The programs and maps of the version before this one (commit 4e53774).
static RELEASED: &[u8] = aya::include_bytes_aligned!("released/first-light.bpf.o");

const PORTS: [&str; 4] = ["-p", "8080:80", "-p", "8080:80/udp"];

/// How long the traffic runs before and after the exchange.
const WHILE: Duration = Duration::from_millis(500);

/// How long a connection may take, and an answer, on a machine of usual speed.
const PATIENCE: Duration = Duration::from_secs(3);

/// How programs are attached; a kernel before 6.6 has the second way only.
#[derive(Clone, Copy)]
enum Way {
    /// TCX where the kernel has it.
    Best,
    /// Without TCX.
    Clsact,
}

impl Way {
    fn netdp(self, host: &Host, arguments: &[&str]) -> Ran {
        let mut command = host.command(arguments);
        match self {
            Self::Best => run(&mut command),
            Self::Clsact => run_without_tcx(&mut command),
        }
    }

    fn container(self, bed: &Bed, host: &Host, name: &str, options: &[&str]) -> Container {
        let ns = bed.namespace(name);
        let path = ns.path().to_str().unwrap().to_owned();
        let attach = ["attach", "--netns", &path, "--name", name, "-o", "json"];
        let attached = self.netdp(host, &[&attach[..], options].concat()).json();
        let address = tests::topology::address_of(&ns, "eth0");
        Container { ns, address, address6: None, attached }
    }
}

fn pins(host: &Host, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(host.run_dir().join("bpf").join(folder)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// What the kernel has of a host's datapath, by the kernel's own numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Loaded {
    maps: BTreeMap<String, u32>,
    programs: BTreeMap<String, u32>,
    /// TCX and control group links, with the program that runs.
    links: BTreeMap<String, (u32, u32)>,
    /// clsact filters: interface and direction, with programs.
    filters: BTreeMap<String, Vec<u32>>,
}

impl Loaded {
    fn of(host: &Host) -> Self {
        let map = |path: PathBuf| (file_name(&path), MapInfo::from_pin(&path).unwrap().id());
        let program = |path: PathBuf| (file_name(&path), ProgramInfo::from_pin(&path).unwrap().id());
        let link = |path: PathBuf| {
            let info = FdLink::from(PinnedLink::from_pin(&path).unwrap()).info().unwrap();
            (file_name(&path), (info.id(), info.program_id()))
        };
        Self {
            maps: pins(host, "maps").into_iter().map(map).collect(),
            programs: pins(host, "progs").into_iter().map(program).collect(),
            links: pins(host, "links").into_iter().map(link).collect(),
            filters: filters(host),
        }
    }

    /// Every hook runs the program that is pinned for it, once.
    fn assert_whole(&self, host: &Host) {
        for (link, (_, running)) in &self.links {
            let program = link.rsplit_once('-').map_or(link.as_str(), |(program, _)| program);
            assert_eq!(self.programs[program], *running, "{link} runs another program: {self:?}");
        }
        for (place, running) in &self.filters {
            assert_eq!(running.len(), 1, "{place} has several filters: {self:?}");
            assert!(
                self.programs.values().any(|id| id == &running[0]),
                "{place} runs another program: {self:?}"
            );
        }
        let attached = self.links.len() + self.filters.len();
        let hooks = host.json(&["status"])["hooks"].as_array().map_or(0, Vec::len);
        assert_eq!(attached, hooks + 2, "hooks and the two of bind(2): {self:?}");
    }

    /// The other has the same maps and is attached by the same links at the same places, with other programs.
    fn assert_replaced_by(&self, other: &Self) {
        let ids = |links: &BTreeMap<String, (u32, u32)>| -> BTreeMap<String, u32> {
            links.iter().map(|(name, (id, _))| (name.clone(), *id)).collect()
        };
        let places = |loaded: &Self| -> Vec<String> { loaded.filters.keys().cloned().collect() };
        assert_eq!((&self.maps, ids(&self.links)), (&other.maps, ids(&other.links)));
        assert_eq!(places(self), places(other));
        for (name, id) in &self.programs {
            // The released version does not have all of them.
            assert_ne!(other.programs.get(name), Some(id), "{name} was not replaced");
        }
    }
}

/// The programs in the clsact qdiscs of a host, by interface and direction.
fn filters(host: &Host) -> BTreeMap<String, Vec<u32>> {
    let links = host.ns.sh("ip -j link show").json();
    let names = links.as_array().unwrap().iter().map(|link| link["ifname"].as_str().unwrap());
    let mut found = BTreeMap::new();
    for (name, direction) in names.flat_map(|name| [(name, "ingress"), (name, "egress")]) {
        let shown = host.ns.out(&format!("tc filter show dev {name} {direction}"));
        let ids: Vec<u32> = shown.lines().filter_map(program_id).collect();
        if !ids.is_empty() {
            found.insert(format!("{name} {direction}"), ids);
        }
    }
    found
}

/// `... from_uplink direct-action not_in_hw id 17 name from_uplink ...`.
fn program_id(line: &str) -> Option<u32> {
    let (head, rest) = line.split_once(" id ")?;
    Hook::ALL.iter().find(|hook| head.contains(hook.program()))?;
    rest.split(' ').next()?.parse().ok()
}

/// A host that is up, with two containers, on which programs run that another version has left.
fn old_version(bed: &Bed, way: Way) -> (Host, Container, Container) {
    let host = bed.host("h1");
    way.netdp(&host, &["up", "--once"]).done();
    let c1 = way.container(bed, &host, "c1", &PORTS);
    let c2 = way.container(bed, &host, "c2", &[]);
    let present = Loaded::of(&host);
    let path = host.run_dir().join("bpf");
    host.ns.enter(|| Datapath::load_object(&path, 131_072, 0, OBJECT).map(drop)).unwrap();
    let former = Loaded::of(&host);
    present.assert_replaced_by(&former);
    former.assert_whole(&host);
    (host, c1, c2)
}

fn flows(host: &Host) -> BTreeSet<FlowKey> {
    let datapath = Datapath::open(&host.run_dir().join("bpf")).unwrap().unwrap();
    datapath.flows().unwrap().into_iter().map(|(key, _)| key).collect()
}

/// Between two turns of a loop, on a machine of usual speed. Without a pause, four loops leave a machine of two
/// processors no time for anything else.
const PAUSE: Duration = Duration::from_millis(1);

/// Does the same over and over until it is stopped or fails.
struct Loop {
    name: &'static str,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<u64>>,
}

impl Loop {
    fn start<T>(name: &'static str, ns: &Namespace, mut turn: T) -> Self
    where
        T: FnMut() -> io::Result<Answer> + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = ns.spawn(move || {
            let mut answered = 0;
            while !until.load(Ordering::Relaxed) {
                turn()?;
                answered += 1;
                thread::sleep(patient(PAUSE));
            }
            Ok(answered)
        });
        Self { name, stop, thread }
    }

    /// Asks over one connection.
    fn over_one(name: &'static str, ns: &Namespace, to: (Ipv4Addr, u16)) -> Self {
        let stream = connect(ns, to).unwrap_or_else(|e| panic!("{name}: {e}"));
        Self::start(name, ns, move || ask_stream(&stream))
    }

    /// Asks over a new connection every time.
    fn over_new(name: &'static str, ns: &Namespace, to: (Ipv4Addr, u16)) -> Self {
        Self::start(name, ns, move || {
            let stream = TcpStream::connect_timeout(&to.into(), patient(PATIENCE))?;
            stream.set_read_timeout(Some(patient(PATIENCE)))?;
            ask_stream(&stream)
        })
    }

    /// Ends it; no turn may have failed.
    fn assert_unharmed(self) {
        self.stop.store(true, Ordering::Relaxed);
        let answered = self.thread.join().unwrap().unwrap_or_else(|e| panic!("{}: {e}", self.name));
        assert!(answered > 0);
        measured(&format!("{}: {answered} answers", self.name));
    }
}

/// Connections of every kind that stay open, and new ones all the time.
fn traffic(bed: &Bed, host: &Host, c1: &Container, c2: &Container) -> [Loop; 4] {
    let (published, outside) = ((host.address, 8080), (bed.outside.address, 80));
    [
        Loop::over_one("the connection from a container to the outside", &c1.ns, outside),
        Loop::over_one("the connection to a published port", &bed.outside.ns, published),
        Loop::over_one("the connection between containers", &c2.ns, (c1.address, 80)),
        Loop::over_new("new connections to a published port", &bed.outside.ns, published),
    ]
}

fn upgrade(way: Way) {
    let bed = Bed::new();
    let (host, c1, c2) = old_version(&bed, way);
    let _servers = [Server::start(&c1.ns, 80), Server::start(&bed.outside.ns, 80)];
    // A clsact filter is listed with the number of its program.
    let (former, settings) = (Loaded::of(&host), Snapshot::of(&host).without("qdiscs"));
    let traffic = traffic(&bed, &host, &c1, &c2);
    let idle = connect(&bed.outside.ns, (host.address, 8080)).unwrap();
    ask_stream(&idle).unwrap();
    thread::sleep(patient(WHILE));
    let kept = idle_flow(&host, &idle);
    let begin = Instant::now();
    way.netdp(&host, &["up", "--once"]).done();
    measured(&format!("upgraded in {:?}", begin.elapsed()));
    thread::sleep(patient(WHILE));
    for looping in traffic {
        looping.assert_unharmed();
    }
    assert_eq!(idle_flow(&host, &idle), kept, "the flow of a connection that was silent meanwhile");
    ask_stream(&idle).unwrap();
    let present = Loaded::of(&host);
    former.assert_replaced_by(&present);
    present.assert_whole(&host);
    settings.assert_still(&host);
    assert_served(&c2.ns, (c1.address, 80), "c1");
    assert_served(&c1.ns, (bed.outside.address, 80), "outside");
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
}

/// The entries of a connection from the outside, which there are two of.
fn idle_flow(host: &Host, stream: &TcpStream) -> BTreeSet<FlowKey> {
    let port = netdp_common::Port::new(stream.local_addr().unwrap().port());
    let of_it = flows(host).into_iter().filter(|key| key.sport == port || key.dport == port);
    let keys: BTreeSet<_> = of_it.collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    keys
}

#[test]
fn upgrade_keeps_maps_links_flows_and_every_connection() {
    upgrade(Way::Best);
}

#[test]
fn upgrade_by_clsact_keeps_maps_flows_every_connection_and_one_filter_per_hook() {
    upgrade(Way::Clsact);
}

/// `up` refuses what is pinned, says what and what to do, and touches nothing that is loaded.
fn assert_refused(host: &Host, way: Way, words: &[&str]) {
    let loaded = Loaded::of(host);
    let ran = way.netdp(host, &["up", "--once"]).exits(1);
    for word in words.iter().chain(&["another version of netdp", "nothing was changed", "netdp down"]) {
        assert!(ran.stderr.contains(word), "{word:?} is not in\n{ran}");
    }
    assert_eq!(Loaded::of(host), loaded);
}

/// A datapath whose folder says another schema, which runs on untouched and is taken off without a trace.
fn other_schema(way: Way, other: &str, change: fn(&Host)) {
    let bed = Bed::new();
    let host = bed.host("h1");
    let clean = Snapshot::of(&host).without("mounts");
    way.netdp(&host, &["up", "--once"]).done();
    let c1 = way.container(&bed, &host, "c1", &PORTS);
    let server = Server::start(&c1.ns, 80);
    let open = connect(&bed.outside.ns, (host.address, 8080)).unwrap();
    ask_stream(&open).unwrap();
    let bpffs = host.run_dir().join("bpf");
    let ours = format!("schema-{}", netdp_common::SCHEMA);
    fs::rename(bpffs.join(&ours), bpffs.join(other)).unwrap();
    change(&host);
    let before = Snapshot::of(&host);
    assert_refused(&host, way, &[other, &ours]);
    before.assert_still(&host);
    ask_stream(&open).unwrap();
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
    drop(server);
    way.netdp(&host, &["down"]).done();
    clean.assert_still(&host);
    way.netdp(&host, &["up", "--once"]).done();
    way.netdp(&host, &["down"]).done();
}

#[test]
fn other_schema_is_refused_untouched_and_down_takes_it_off() {
    other_schema(Way::Best, "schema-0", |_| ());
}

#[test]
fn other_schema_by_clsact_is_refused_untouched_and_down_takes_it_off() {
    other_schema(Way::Clsact, "schema-0", |_| ());
}

/// Puts the maps of the release before in the place of those that are pinned.
fn pin_released_maps(host: &Host) {
    let folder = host.run_dir().join("bpf/maps");
    for path in pins(host, "maps") {
        fs::remove_file(path).unwrap();
    }
    let mut loader = EbpfLoader::new();
    for name in names::MAPS {
        loader.map_pin_path(name, folder.join(name));
    }
    loader.load(RELEASED).unwrap();
    assert!(folder.join(names::FLOWS).exists() && !folder.join(names::SOURCES).exists());
}

#[test]
fn release_before_is_refused_untouched_and_down_takes_it_off() {
    other_schema(Way::Best, "schema-1", pin_released_maps);
}

/// How a pinned map differs from that of this version, as arguments of `bpftool map create`.
struct Other {
    map: &'static str,
    kind: &'static str,
    more_value: u32,
    entries: u32,
    flags: u32,
}

/// Puts a map that differs under the name of one that is pinned, and gives where that one is now.
fn replace(host: &Host, other: &Other) -> (PathBuf, PathBuf) {
    let path = host.run_dir().join("bpf/maps").join(other.map);
    let info = MapInfo::from_pin(&path).unwrap();
    let aside = path.with_file_name("aside");
    fs::rename(&path, &aside).unwrap();
    let Other { map, kind, more_value, entries, flags } = other;
    let (key, value) = (info.key_size(), info.value_size() + more_value);
    let create = format!(
        "bpftool map create {} type {kind} key {key} value {value} entries {entries} name {map} flags {flags}",
        path.display()
    );
    host.ns.sh(&create).done();
    (path, aside)
}

#[test]
fn pinned_map_of_another_layout_is_refused_before_anything_is_opened() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", &PORTS);
    let _server = Server::start(&c1.ns, 80);
    let open = connect(&bed.outside.ns, (host.address, 8080)).unwrap();
    ask_stream(&open).unwrap();
    let before = Snapshot::of(&host);
    let same = |kind| Other { map: names::FLOWS, kind, more_value: 0, entries: 1024, flags: 0 };
    for (other, word) in [
        (same("lru_hash"), "map FLOWS: lru_hash"),
        (Other { more_value: 64, ..same("hash") }, "map FLOWS: hash"),
        (Other { flags: 1, ..same("hash") }, "flags 0x1"),
        (Other { map: names::COUNTERS, entries: 1, ..same("percpu_array") }, "1 slots"),
    ] {
        let (path, aside) = replace(&host, &other);
        assert_refused(&host, Way::Best, &[word, "this one has"]);
        fs::rename(aside, path).unwrap();
        ask_stream(&open).unwrap();
        assert_served(&bed.outside.ns, (host.address, 8080), "c1");
    }
    before.assert_still(&host);
    host.up_once();
    ask_stream(&open).unwrap();
}

#[test]
fn pinned_table_of_another_size_is_kept_and_named() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", &PORTS);
    let _server = Server::start(&c1.ns, 80);
    let (path, aside) =
        replace(&host, &Other { map: names::FLOWS, kind: "hash", more_value: 0, entries: 1024, flags: 0 });
    fs::remove_file(aside).unwrap();
    let smaller = MapInfo::from_pin(&path).unwrap().id();
    host.netdp(&["up", "--once"]).ok().says("map FLOWS keeps its 1024 entries").done();
    assert_eq!(MapInfo::from_pin(&path).unwrap().id(), smaller);
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
    assert!(!flows(&host).is_empty(), "the programs use it");
}
