//! Hosts, containers and outside neighbours by name.
//!
//! ```text
//!   container c1 ── netdp's veth ──┐
//!   container c2 ── netdp's veth ──┤ host h1 ── up0 ══ h1 ┐
//!                                                         ├ wan0 (bridge, 203.0.113.1/24) in `outside`
//!                                    neighbour n1 ── eth0 ┘
//! ```
//!
//! Every name is a network namespace. Addresses of hosts and neighbours are from 203.0.113.0/24 and
//! `2001:db8:113::/64`, with the same last number in both.

use std::cell::{Cell, RefCell};
use std::env;
use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::Duration;

use aya::programs::{ProgramError, ProgramInfo, SchedClassifier, TcAttachType};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::namespace::{Namespace, private_dir};
use crate::process::{Ran, Service, eventually, run, run_within};
use crate::sniffer::Sniffer;

/// Address of the namespace `outside` on the segment, and the gateway of every host.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// The same in IPv6.
pub const OUTSIDE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 1);

/// Name of the interface that leads a host to the outside.
pub const UPLINK: &str = "up0";

/// All that one test builds. Drop hosts and containers first: declare the bed before them.
#[derive(Debug)]
pub struct Bed {
    dir: PathBuf,
    sniffers: RefCell<Vec<Sniffer>>,
    next: Cell<u8>,
    _turn: Turn,
    /// The neighbour that every host's default route leads to.
    pub outside: Neighbour,
}

/// Beds that stand beside one another, and those that stand alone.
static TURNS: RwLock<()> = RwLock::new(());

/// Holds its place among the beds of the process for as long as the bed stands.
#[derive(Debug)]
enum Turn {
    Beside { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

impl Turn {
    // A test that failed with its bed has not spoilt anything.
    fn beside() -> Self {
        Self::Beside { _guard: TURNS.read().unwrap_or_else(PoisonError::into_inner) }
    }

    fn alone() -> Self {
        Self::Alone { _guard: TURNS.write().unwrap_or_else(PoisonError::into_inner) }
    }
}

/// A namespace on the outside segment that does not run netdp.
#[derive(Debug)]
pub struct Neighbour {
    /// Where commands and sockets of the neighbour go.
    pub ns: Namespace,
    /// Its address on the segment.
    pub address: Ipv4Addr,
    /// Its IPv6 address on the segment.
    pub address6: Ipv6Addr,
}

/// A namespace with an uplink in which netdp runs.
#[derive(Debug)]
pub struct Host {
    /// Where commands and sockets of the host go.
    pub ns: Namespace,
    /// Its address on the segment.
    pub address: Ipv4Addr,
    /// Its IPv6 address on the segment.
    pub address6: Ipv6Addr,
    dir: PathBuf,
}

/// A namespace that netdp has attached.
#[derive(Debug)]
pub struct Container {
    /// Where commands and sockets of the container go.
    pub ns: Namespace,
    /// Its address on its first network.
    pub address: Ipv4Addr,
    /// Its IPv6 address on its first network, where that has any.
    pub address6: Option<Ipv6Addr>,
    /// What `netdp attach` printed.
    pub attached: Value,
}

impl Bed {
    /// An outside segment without hosts.
    #[expect(clippy::new_without_default, reason = "it makes namespaces: nothing that a default should do")]
    pub fn new() -> Self {
        Self::at(Turn::beside())
    }

    /// The same, while no other bed of the process stands: for what is measured. It waits for those that do.
    pub fn alone() -> Self {
        Self::at(Turn::alone())
    }

    fn at(turn: Turn) -> Self {
        let dir = private_dir();
        let ns = Namespace::new(&dir, "outside");
        ns.sh(&format!(
            "ip link add wan0 type bridge && ip link set wan0 up && ip address add {OUTSIDE}/24 dev wan0 && \
             ip address add {OUTSIDE6}/64 dev wan0 nodad",
        ))
        .done();
        // A client that opens connections at full speed would otherwise run out of ports within seconds.
        ns.set_sysctl("net/ipv4/tcp_tw_reuse", "1");
        eprintln!(
            "bed {}: nsenter -t {} -m nsenter --net={}/NAME",
            dir.display(),
            std::process::id(),
            dir.display()
        );
        let outside = Neighbour { ns, address: OUTSIDE, address6: OUTSIDE6 };
        Self { dir, sniffers: RefCell::default(), next: Cell::new(10), _turn: turn, outside }
    }

    /// A host with a watched uplink, an address, a default route, and directories of its own for netdp.
    pub fn host(&self, name: &str) -> Host {
        let host = self.unwatched_host(name);
        self.watch(&host, UPLINK);
        host
    }

    /// The same for a measurement, where it would cost time to look at each packet.
    pub fn unwatched_host(&self, name: &str) -> Host {
        let (ns, address, address6) = self.station(name, UPLINK);
        let dir = self.dir.join(format!("{name}.netdp"));
        fs::create_dir_all(&dir).unwrap();
        Host { ns, address, address6, dir }
    }

    /// Lets no private address leave one more Ethernet interface of a host, as none may leave its uplink.
    pub fn watch(&self, host: &Host, interface: &str) {
        self.sniffers.borrow_mut().push(Sniffer::start(&host.ns, interface));
    }

    /// One more station outside.
    pub fn neighbour(&self, name: &str) -> Neighbour {
        let (ns, address, address6) = self.station(name, "eth0");
        Neighbour { ns, address, address6 }
    }

    /// Where everything of the bed is, in memory: a name in there is the path of the namespace.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// An empty namespace, for a container that netdp does not know yet.
    pub fn namespace(&self, name: &str) -> Namespace {
        Namespace::new(&self.dir, name)
    }

    /// A namespace attached on the host under its own name, with more options of `netdp attach`.
    pub fn container(&self, host: &Host, name: &str, options: &[&str]) -> Container {
        let ns = self.namespace(name);
        let path = ns.path().to_str().unwrap().to_owned();
        let command = [&["attach", "--netns", &path, "--name", name][..], options].concat();
        let attached = host.json(&command);
        let (address, address6) = (address_of(&ns, "eth0"), address6_of(&ns, "eth0"));
        Container { ns, address, address6, attached }
    }

    /// A path for a file of the test, gone with the bed.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What the sniffers saw so far that should not have left.
    pub fn breaches(&self) -> Vec<String> {
        self.sniffers.borrow().iter().flat_map(Sniffer::breaches).collect()
    }

    fn station(&self, name: &str, interface: &str) -> (Namespace, Ipv4Addr, Ipv6Addr) {
        let number = self.next.replace(self.next.get() + 1);
        let address = Ipv4Addr::new(203, 0, 113, number);
        let address6 = Ipv6Addr::from_bits(OUTSIDE6.to_bits() - 1 + u128::from(number));
        let ns = Namespace::new(&self.dir, name);
        // As above, for clients of many seconds.
        ns.set_sysctl("net/ipv4/tcp_tw_reuse", "1");
        // Without this an address is "tentative" for a second and a snapshot depends on when it is taken.
        ns.set_sysctl("net/ipv6/conf/all/accept_dad", "0");
        ns.set_sysctl("net/ipv6/conf/default/accept_dad", "0");
        let path = ns.path().display();
        self.outside
            .ns
            .sh(&format!(
                "ip link add {name} type veth peer name {interface} netns {path} && \
                 ip link set {name} master wan0 up",
            ))
            .done();
        ns.sh(&format!(
            "ip address add {address}/24 dev {interface} && ip address add {address6}/64 dev {interface} nodad && \
             ip link set {interface} up && \
             ip route add default via {OUTSIDE} && ip -6 route add default via {OUTSIDE6} && {}",
            has_carrier(interface)
        ))
        .done();
        (ns, address, address6)
    }
}

/// Waits in a shell until the kernel has told an interface that the other end is there: from then on it has an address of its
/// link, and a snapshot does not depend on when it is taken.
fn has_carrier(interface: &str) -> String {
    let address = format!("ip -6 address show dev {interface} scope link");
    format!(
        "for _ in $(seq 1000); do {address} | grep -q inet6 && break || sleep 0.01; done && {address} | grep -q inet6"
    )
}

impl Drop for Bed {
    fn drop(&mut self) {
        if thread::panicking() {
            hold(&self.dir);
        }
        let breaches = self.breaches();
        let mounts = mounts_under(&self.dir);
        for mount in mounts.iter().rev() {
            let _ = umount2(mount.as_str(), MntFlags::MNT_DETACH);
        }
        let _ = fs::remove_dir_all(&self.dir);
        let outside = self.outside.ns.path().to_str().unwrap();
        let left: Vec<_> = mounts.iter().filter(|mount| mount.as_str() != outside).collect();
        if !thread::panicking() {
            assert!(breaches.is_empty(), "container addresses left an uplink: {breaches:#?}");
            assert!(left.is_empty(), "left mounted: {left:?}");
        }
    }
}

/// Keeps a failed bed for as many seconds as `NETDP_TEST_HOLD` says, to look inside.
fn hold(dir: &Path) {
    let Some(seconds) = env::var("NETDP_TEST_HOLD").ok().and_then(|text| text.parse().ok()) else { return };
    let (id, dir) = (std::process::id(), dir.display());
    // Not by a macro: libtest would keep it back until the bed is gone.
    let _ = writeln!(
        io::stderr(),
        "held for {seconds} s: nsenter -t {id} -m sh -c 'ls {dir}'; nsenter -t {id} -m nsenter --net={dir}/NAME"
    );
    thread::sleep(Duration::from_secs(seconds));
}

fn mounts_under(dir: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| Path::new(point).starts_with(dir)).map(str::to_owned).collect()
}

/// The first IPv4 address of an interface.
pub fn address_of(ns: &Namespace, interface: &str) -> Ipv4Addr {
    let links: Value = ns.sh(&format!("ip -4 -j address show dev {interface}")).json();
    let address = links[0]["addr_info"][0]["local"].as_str();
    address.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no address on {interface}: {links}"))
}

/// The first IPv6 address of an interface that is valid beyond the link, if it has one.
pub fn address6_of(ns: &Namespace, interface: &str) -> Option<Ipv6Addr> {
    scoped_address6_of(ns, interface, "global")
}

/// The address that an interface gave itself on its link.
pub fn link_local_of(ns: &Namespace, interface: &str) -> Ipv6Addr {
    scoped_address6_of(ns, interface, "link")
        .unwrap_or_else(|| panic!("{interface} has no link-local address"))
}

fn scoped_address6_of(ns: &Namespace, interface: &str, scope: &str) -> Option<Ipv6Addr> {
    let links: Value = ns.sh(&format!("ip -6 -j address show dev {interface} scope {scope}")).json();
    let entries = links.as_array().unwrap().iter().filter_map(|link| link["addr_info"].as_array());
    let address = entries.flatten().find_map(|entry| entry["local"].as_str());
    address.map(|text| text.parse().unwrap_or_else(|e| panic!("{text}: {e}")))
}

impl Host {
    /// The command line of netdp on this host with its own directories.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.ns.command(netdp_binary());
        command.arg("--run-dir").arg(self.run_dir()).arg("--state-dir").arg(self.state_dir()).args(arguments);
        for variable in ["NETDP_RUN_DIR", "NETDP_STATE_DIR", "NETDP_CONFIG", "NETDP_LOG"] {
            command.env_remove(variable);
        }
        command.env("NO_COLOR", "1");
        command
    }

    /// Where netdp has its locks and pins.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// Where netdp has its database.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Runs netdp to its end.
    pub fn netdp(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }

    /// Runs netdp to its end, but not longer than the limit.
    pub fn netdp_within(&self, arguments: &[&str], limit: Duration) -> Ran {
        run_within(&mut self.command(arguments), limit)
    }

    /// Runs netdp, which must succeed, and reads its JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.netdp(&[&["-o", "json"], arguments].concat()).json()
    }

    /// `netdp up --once`.
    pub fn up_once(&self) {
        self.netdp(&["up", "--once"]).done();
    }

    /// `netdp down`.
    pub fn down(&self) {
        self.netdp(&["down"]).done();
    }

    /// A serving controller, once it has told its service manager that it is ready.
    pub fn up(&self) -> Service {
        self.up_with(&[])
    }

    /// The same with more options of `netdp up`.
    pub fn up_with(&self, options: &[&str]) -> Service {
        let path = self.dir.join("notify");
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut service =
            Service::start(self.command(&[&["up"], options].concat()).env("NOTIFY_SOCKET", &path));
        let mut message = [0; 256];
        eventually("netdp up is ready", Duration::from_secs(20), || {
            let length = socket.recv(&mut message).unwrap_or(0);
            service.ended().is_some() || String::from_utf8_lossy(&message[..length]).contains("READY=1")
        });
        if let Some(code) = service.ended() {
            panic!("netdp up ended with {code:?}: {}", service.wait(Duration::from_secs(1)));
        }
        service
    }

    /// The process that answers for names on this host, if there is one.
    pub fn resolver(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.run_dir().join("resolver.lock")).ok()?;
        let pid: i32 = text.trim().parse().ok()?;
        // Another process may have the number by now.
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let directory = self.run_dir();
        let mut words = line.split(|byte| *byte == 0);
        words.any(|word| word == directory.as_os_str().as_bytes()).then(|| Pid::from_raw(pid))
    }

    /// It would serve until its run directory is gone, and hold the namespace until then.
    fn end_resolver(&self) {
        if let Some(pid) = self.resolver() {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// Programs attached at interfaces of this host: (interface, direction, name). `bpftool net` tells of clsact;
    /// for TCX, which its older versions do not know, the kernel is asked.
    pub fn attached_programs(&self) -> Vec<(String, String, String)> {
        let shown: Value = self.ns.sh("bpftool -j net show").json();
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let entries = shown[0]["tc"].as_array().cloned().unwrap_or_default();
        let clsact = entries.iter().filter(|entry| text(entry, "kind").starts_with("clsact"));
        let mut programs: Vec<_> =
            clsact.map(|e| (text(e, "devname"), text(e, "kind"), text(e, "name"))).collect();
        let links: Value = self.ns.sh("ip -j link show").json();
        for name in links.as_array().unwrap().iter().map(|link| text(link, "ifname")) {
            programs.extend(self.ns.enter(|| tcx_programs(&name)));
        }
        programs
    }
}

/// What is attached to an interface of the calling thread's namespace by TCX.
fn tcx_programs(interface: &str) -> Vec<(String, String, String)> {
    let mut programs = Vec::new();
    for (direction, kind) in [("tcx ingress", TcAttachType::Ingress), ("tcx egress", TcAttachType::Egress)] {
        let attached = match SchedClassifier::query_tcx(interface, kind) {
            Ok((_, attached)) => attached,
            // A kernel before 6.6 knows no such thing to ask about.
            Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::EINVAL) => {
                Vec::new()
            }
            Err(error) => panic!("{interface}, {direction}: {error}"),
        };
        let name = |info: &ProgramInfo| info.name_as_str().unwrap_or_default().to_owned();
        programs.extend(attached.iter().map(|info| (interface.to_owned(), direction.to_owned(), name(info))));
    }
    programs
}

impl Host {
    /// Processes that `netdp run` started must not outlive the host that they run on.
    fn end_processes(&self) {
        let records = fs::read_dir(self.run_dir().join("processes")).into_iter().flatten().flatten();
        let ids: Vec<String> = records.map(|it| it.file_name().to_string_lossy().into_owned()).collect();
        if !ids.is_empty() {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let _ = self.netdp(&[&["rm", "-f"], &ids[..]].concat());
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end_processes();
        self.end_resolver();
        // Switched off: what containers still send when the programs have gone with their bpffs goes nowhere.
        let _ = self.ns.sh("ip link set group default down");
        // netdp mounts its bpffs there, and a namespace; a test that ends without `netdp down` leaves them, and that is its
        // right.
        for mount in ["bpf", "fragments"] {
            let _ = umount2(&self.run_dir().join(mount), MntFlags::MNT_DETACH);
        }
    }
}

/// The binary under test: `NETDP_BIN`, or the release build of this workspace.
pub fn netdp_binary() -> PathBuf {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/netdp");
    let path = env::var_os("NETDP_BIN").map_or_else(|| PathBuf::from(built), PathBuf::from);
    assert!(path.is_file(), "{} is missing: run `cargo xtask build`, or set NETDP_BIN", path.display());
    path
}
