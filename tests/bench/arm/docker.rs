//! A real dockerd, started for this run: its files, its containerd and its sockets are in the bed, its network namespace is the
//! bed's host, and with its PID namespace ends everything that it started.

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::namespace::Namespace;
use tests::process::{Ran, Service, eventually, run};
use tests::processor;
use tests::topology::{Bed, Host};

use super::address::{Addresses, LOOPBACK, OUTSIDE};
use super::bridge::{netfilter, over_ports};
use super::nft::{loses_answers, translated_for_host};
use super::{Arm, Place, Way, plug};
use crate::counter::Counter;
use crate::options::{Family, Kind, Scenario};
use crate::plan::Traffic;
use crate::port;

/// How the names of our cgroups begin; the process's number and the bed follow.
const CGROUP: &str = "netdp-bench-";
const BRIDGE: &str = "docker0";
/// Debian's own: the client must speak the daemon's version of the API.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// What a container runs; servers and clients enter its network namespace from outside.
const IDLE: [&str; 3] = ["/bin/busybox", "sleep", "1000000"];

/// IPv6 for the default network, translated as IPv4 is: by default it has none, and up to 26 `ip6tables` is an experiment.
const IPV6: [&str; 5] = ["--ipv6", "--fixed-cidr-v6", "fd00:17::/64", "--ip6tables", "--experimental"];

/// How a process of the host gets to a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loopback {
    /// Docker's default: one docker-proxy per port.
    Proxy,
    /// `"userland-proxy": false`.
    Rules,
}

/// Two containers of Docker's default network.
pub(super) struct Docker {
    loopback: Loopback,
    server_address: IpAddr,
    /// When the network has any.
    server_address6: Option<IpAddr>,
    version: String,
    client: Namespace,
    server: Namespace,
    daemon: Daemon,
    host: Host,
    bed: Bed,
}

impl Docker {
    pub(super) fn build(loopback: Loopback, families: &[Family]) -> Self {
        let bed = Bed::new();
        let host = bed.unwatched_host("host");
        plug::allow_many_connections(&host.ns);
        let daemon = Daemon::start(&host.ns, bed.dir(), loopback, families.contains(&Family::Six));
        let image = daemon.image(&bed.dir().join("image"));
        let server = daemon.container(bed.dir(), "server", &image, &port::publish_options());
        let client = daemon.container(bed.dir(), "client", &image, &[]);
        plug::allow_many_connections(&client);
        let version =
            daemon.docker(&["version", "--format", "{{.Server.Version}}"]).ok().stdout.trim().to_owned();
        let server_address = daemon.inspect("server", "{{.NetworkSettings.IPAddress}}").parse().unwrap();
        let server_address6 = daemon.inspect("server", "{{.NetworkSettings.GlobalIPv6Address}}").parse().ok();
        [&client, &server].into_iter().for_each(wait_until_settled);
        Self { loopback, server_address, server_address6, version, client, server, daemon, host, bed }
    }
}

/// Until then, another station might have the same IPv6 address, and nobody may use it.
fn wait_until_settled(container: &Namespace) {
    eventually("the container's addresses are its own", Duration::from_secs(5), || {
        container.out("ip -6 address show tentative").is_empty()
    });
}

/// What a proxy passes on comes in over `lo` or from the bridge, and goes out to the bridge by a connection of its own.
fn proxied(from: Place, to: IpAddr) -> Way {
    let way = Way::new(from, Place::Server, to).counted_by([Counter::Interfaces(Place::Host, BRIDGE)]);
    let way = way.past([Counter::Forwarded]);
    if from == Place::Host { way.counted_by([Counter::Interfaces(Place::Host, "lo")]) } else { way }
}

impl Arm for Docker {
    fn place(&self, place: Place) -> &Namespace {
        match place {
            Place::Client => &self.client,
            Place::Server => &self.server,
            Place::Host => &self.host.ns,
            Place::Outside => &self.bed.outside.ns,
        }
    }

    fn way(&self, scenario: Scenario, family: Family) -> Option<Way> {
        let host = Addresses::of_host(&self.host).of(family);
        let server = match family {
            Family::Four => self.server_address,
            Family::Six => self.server_address6?,
        };
        let forwarded = |way: Way| way.counted_by([Counter::Iptables, Counter::Forwarded]);
        Some(match (scenario, self.loopback) {
            (Scenario::ContainerToContainer, _) => over_ports(server),
            (Scenario::ContainerToOutside, _) => {
                forwarded(Way::new(Place::Client, Place::Outside, OUTSIDE.of(family)))
            }
            (Scenario::OutsideToPublished, _) => forwarded(Way::new(Place::Outside, Place::Server, host)),
            (Scenario::HostToLoopback, Loopback::Proxy) => proxied(Place::Host, LOOPBACK.of(family)),
            (Scenario::HostToLoopback, Loopback::Rules) => translated_for_host(LOOPBACK.of(family), BRIDGE),
            (Scenario::HostToOwnAddress, _) => translated_for_host(host, BRIDGE),
            (Scenario::Hairpin, Loopback::Proxy) => proxied(Place::Client, host),
            // As with nftables, the bridge itself may translate it.
            (Scenario::Hairpin, Loopback::Rules) => {
                Way::new(Place::Client, Place::Server, host).counted_by([Counter::Iptables])
            }
        })
    }

    fn refuses(&self, traffic: Traffic) -> Option<&'static str> {
        let has_proxies = self.loopback == Loopback::Proxy;
        match (traffic.scenario, traffic.kind) {
            // Seen with 20.10: asked at the host's address, it answers from the bridge's.
            (Scenario::Hairpin, Kind::UdpRr) if has_proxies => {
                Some("docker-proxy answers a container's datagram by another address than it was sent to")
            }
            _ if has_proxies => None,
            _ => loses_answers(traffic),
        }
    }

    fn note(&self) -> Option<String> {
        let six = if self.server_address6.is_some() {
            format!(", for IPv6 with {}", IPV6.join(" "))
        } else {
            String::new()
        };
        Some(format!("dockerd {}{six}; {}", self.version, netfilter(&self.host.ns)))
    }

    /// Where both ends share a processor, whoever stands between them must share it too: the rate is what all of it costs.
    fn before(&self, kind: Kind) {
        let all = processor::allowed();
        let these = if kind.is_on_one_processor() { &all[..1] } else { &all[..] };
        self.daemon.keep_proxies_on(these);
    }
}

/// The daemon, in namespaces for its mounts and processes, and the cgroups of its containers.
struct Daemon {
    service: Service,
    socket: PathBuf,
    cgroup: String,
}

impl Daemon {
    fn start(host: &Namespace, dir: &Path, loopback: Loopback, has_six: bool) -> Self {
        let socket = dir.join("docker.sock");
        let cgroup = format!("{CGROUP}{}-{}", std::process::id(), dir.file_name().unwrap().display());
        remove_stale_cgroups();
        let mut command = host.command("unshare");
        command.args([
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]);
        command.env("PATH", PATH).arg("dockerd").arg("--host").arg(format!("unix://{}", socket.display()));
        for (option, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "docker.pid")]
        {
            command.arg(option).arg(dir.join(name));
        }
        // By systemd it would ask the machine's own systemd for cgroups.
        command
            .args(["--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent"])
            .arg(format!("/{cgroup}"));
        if loopback == Loopback::Rules {
            command.arg("--userland-proxy=false");
        }
        if has_six {
            command.args(IPV6);
        }
        let mut daemon = Self { service: Service::start(&mut command), socket, cgroup };
        daemon.wait_until_it_answers();
        daemon
    }

    fn wait_until_it_answers(&mut self) {
        eventually("dockerd answers", Duration::from_secs(30), || {
            self.service.ended().is_some() || self.docker(&["version"]).code == Some(0)
        });
        if let Some(code) = self.service.ended() {
            let said = self.service.finish().stderr;
            panic!("dockerd ended with {code:?}: {}", said.lines().last().unwrap_or_default());
        }
    }

    fn docker(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new("docker");
        command.env("PATH", PATH).arg("--host").arg(format!("unix://{}", self.socket.display()));
        run(command.args(arguments))
    }

    fn inspect(&self, container: &str, format: &str) -> String {
        self.docker(&["inspect", "--format", format, container]).ok().stdout.trim().to_owned()
    }

    /// An image that holds busybox and nothing else, and its id.
    fn image(&self, dir: &Path) -> String {
        let tar = dir.with_extension("tar").display().to_string();
        let bin = dir.join("bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        run(Command::new("tar").arg("-C").arg(dir).args(["-cf", &tar, "."])).done();
        self.docker(&["import", &tar]).ok().stdout.trim().to_owned()
    }

    /// A running container's network namespace.
    fn container(&self, dir: &Path, name: &str, image: &str, options: &[String]) -> Namespace {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        self.docker(&[&["run", "-d", "--name", name], &options[..], &[image], &IDLE].concat()).done();
        let pid = self.inspect(name, "{{.State.Pid}}");
        // Its number in the daemon's PID namespace, whose /proc is mounted there.
        let path = format!("/proc/{}/root/proc/{pid}/ns/net", self.service.id());
        Namespace::of(dir, name, File::open(path).unwrap().into())
    }

    /// Moves every thread of every docker-proxy to these processors.
    fn keep_proxies_on(&self, processors: &[usize]) {
        let mut set = CpuSet::new();
        for processor in processors {
            set.set(*processor).unwrap();
        }
        for task in self.proxies().iter().flat_map(|process| numbers_in(&process.join("task"))) {
            // One that has just ended needs none.
            let _ = sched_setaffinity(Pid::from_raw(task), &set);
        }
    }

    fn proxies(&self) -> Vec<PathBuf> {
        let is_proxy = |path: &PathBuf| {
            fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "docker-proxy")
        };
        self.processes().map(|pid| PathBuf::from(format!("/proc/{pid}"))).filter(is_proxy).collect()
    }

    /// The daemon and its helpers, and not those of another: its PID namespace tells.
    fn processes(&self) -> impl Iterator<Item = i32> {
        let namespace = |path: String| fs::read_link(path).ok();
        let ours = namespace(format!("/proc/{}/ns/pid_for_children", self.service.id()));
        let is_ours = move |pid: &i32| ours.is_some() && namespace(format!("/proc/{pid}/ns/pid")) == ours;
        numbers_in(Path::new("/proc")).into_iter().filter(is_ours)
    }

    /// Ends it with all that it started, in such an order that `unshare`, its parent, sees its end: nobody else need do so.
    fn end(&mut self) {
        for pid in self.processes() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.service.ended().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.service.finish();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The containers first, because their cgroups are not in a namespace; then all the rest at once.
        let _ = self.docker(&["rm", "--force", "client", "server"]);
        self.end();
        let left = || cgroups(&self.cgroup).iter().filter(|path| !is_removed(path)).count();
        let deadline = Instant::now() + Duration::from_secs(5);
        while left() > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A cgroup of this name in each hierarchy that has one.
fn cgroups(name: &str) -> Vec<PathBuf> {
    hierarchies().into_iter().map(|path| path.join(name)).filter(|path| path.is_dir()).collect()
}

/// Where cgroups are: one place, or one for each controller.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    std::iter::once(root.to_owned()).chain(folders_in(root)).collect()
}

fn folders_in(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Those of a bench that was killed: they alone are in no namespace that ended with it.
fn remove_stale_cgroups() {
    for path in hierarchies().iter().flat_map(|path| folders_in(path)) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let process = name.strip_prefix(CGROUP).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            is_removed(&path);
        }
    }
}

/// Takes a cgroup away with those in it; not when processes of it are still ending.
fn is_removed(path: &Path) -> bool {
    let emptied = folders_in(path).iter().all(|path| is_removed(path));
    emptied && fs::remove_dir(path).is_ok()
}

/// The entries of a directory whose names are numbers.
fn numbers_in(path: &Path) -> Vec<i32> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
