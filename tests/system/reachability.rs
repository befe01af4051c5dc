//! Who reaches whom: every sender, every kind of address, every protocol, both families; with real sockets, against a table
//! that follows from Docker's seven rules, and against what `netdp trace` says.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tests::namespace::Namespace;
use tests::process::measured as report;
use tests::server::{Server, ask_datagram, ask_stream, assert_served};
use tests::topology::{Bed, Container, Host};

use crate::isolation::{assert_counted, dropped};

/// What is expected. A cell is the number of the rule that decides (`netdp_common::policy`), and what comes of it: `+` is
/// served, `-` is dropped, `.` is left to the host itself, where nobody listens.
///
/// Rows: the network of the container that is meant, how it is called, and by which protocol. `address:80` is its own address
/// at the port that is published, `address:81` at another one; `any`, `one` and `loopback` are ports of the host, published on
/// all of its addresses, on one, on 127.0.0.1 and `::1`; `unpublished` is another port of the host.
///
/// Columns: the host, somebody outside, another container of the same network, and containers of other networks: one as they
/// come, an internal one, a routed one, one with icc off.
const EXPECTED: &str = "
network   called       protocol  host  outside  same  other  internal  routed  icc-off
bridge    address:80   tcp,udp   7+    1-       2+    1-     4-        1-      1-
bridge    address:81   tcp,udp   7+    1-       2+    1-     4-        1-      1-
bridge    address      icmp      7+    1-       2+    1-     4-        1-      1-
bridge    any          tcp,udp   5+    5+       5+    5+     4-        5+      5+
bridge    one          tcp,udp   5+    5+       5+    5+     4-        5+      5+
bridge    loopback     tcp,udp   5+    7.       7.    7.     4-        7.      7.
bridge    unpublished  tcp,udp   7.    7.       7.    7.     4-        7.      7.
internal  address:80   tcp,udp   7+    1-       2+    1-     4-        1-      1-
internal  address:81   tcp,udp   7+    1-       2+    1-     4-        1-      1-
internal  address      icmp      7+    1-       2+    1-     4-        1-      1-
internal  unpublished  tcp,udp   7.    7.       4-    7.     4-        7.      7.
routed    address:80   tcp,udp   7+    2+       2+    2+     4-        2+      2+
routed    address:81   tcp,udp   7+    2-       2+    2-     4-        2-      2-
routed    address      icmp      7+    2+       2+    2+     4-        2+      2+
routed    any          tcp,udp   7.    7.       7.    7.     4-        7.      7.
routed    one          tcp,udp   7.    7.       7.    7.     4-        7.      7.
routed    loopback     tcp,udp   7.    7.       7.    7.     4-        7.      7.
routed    unpublished  tcp,udp   7.    7.       7.    7.     4-        7.      7.
icc-off   address:80   tcp,udp   7+    1-       2-    1-     4-        1-      1-
icc-off   address:81   tcp,udp   7+    1-       2-    1-     4-        1-      1-
icc-off   address      icmp      7+    1-       2-    1-     4-        1-      1-
icc-off   any          tcp,udp   5+    5+       5+    5+     4-        5+      5+
icc-off   one          tcp,udp   5+    5+       5+    5+     4-        5+      5+
icc-off   loopback     tcp,udp   5+    7.       7.    7.     4-        7.      7.
icc-off   unpublished  tcp,udp   7.    7.       7.    7.     4-        7.      7.
host      itself       icmp      7+    7+       7+    7+     4-        7+      7+
";

/// The networks whose containers are meant, with the first host port of each (`any`; then `one`, `loopback` and one that is
/// not published), and the options that make them.
const NETWORKS: [(&str, u16, &[&str]); 4] = [
    ("bridge", 8080, &[]),
    ("internal", 8180, &["--internal"]),
    (
        "routed",
        8280,
        &["-o", "gateway-mode=routed", "--subnet=198.51.100.0/25", "--subnet=2001:db8:200::/64"],
    ),
    ("icc-off", 8380, &["-o", "icc=false"]),
];

/// Other networks of the same kinds, for the senders of the last four columns.
const OTHERS: [(&str, &[&str]); 4] = [
    ("other", &[]),
    ("internal", &["--internal"]),
    ("routed", &["-o", "gateway-mode=routed", "--subnet=198.51.100.128/25", "--subnet=2001:db8:201::/64"]),
    ("icc-off", &["-o", "icc=false"]),
];

/// How long nothing may be heard before a packet counts as lost, and how long it is waited for where an answer is due.
const SHORT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(4);
/// Packets on their way at a time.
const WORKERS: usize = 24;

struct World {
    host: Host,
    servers: Vec<Container>,
    /// A second container in the network of each server.
    seconds: Vec<Container>,
    others: Vec<Container>,
    _listening: Vec<Server>,
    bed: Bed,
}

impl World {
    fn new() -> Self {
        let bed = Bed::new();
        let host = bed.host("h1");
        host.up_once();
        let create = |name: &str, options: &[&str]| {
            host.netdp(&[&["network", "create", "--ipv6"][..], options, &[name]].concat()).done();
        };
        let mut world = (Vec::new(), Vec::new(), Vec::new());
        for (kind, first, options) in NETWORKS {
            let (network, second) = (format!("net-{kind}"), format!("second-{kind}"));
            create(&network, options);
            let ports = if kind == "internal" { Vec::new() } else { published(&host, first) };
            let mut attach = vec!["--network", &network];
            attach.extend(ports.iter().flat_map(|port| ["-p", port]));
            world.0.push(bed.container(&host, &format!("server-{kind}"), &attach));
            world.1.push(bed.container(&host, &second, &["--network", &network]));
        }
        for (kind, options) in OTHERS {
            let (network, name) = (format!("other-{kind}"), format!("from-{kind}"));
            create(&network, options);
            world.2.push(bed.container(&host, &name, &["--network", &network]));
        }
        let (servers, seconds, others) = world;
        for container in seconds.iter().chain(&others).chain(&servers) {
            lead_out(container);
        }
        let outside = &bed.outside.ns;
        for (net, via) in
            [("198.51.100.0/24", host.address.to_string()), ("2001:db8:200::/39", host.address6.to_string())]
        {
            outside.sh(&format!("ip route add {net} via {via}")).done();
        }
        for server in &servers {
            for address in [IpAddr::from(server.address), server.address6.unwrap().into()] {
                let (via, v6) = match address {
                    IpAddr::V4(_) => (host.address.to_string(), ""),
                    IpAddr::V6(_) => (host.address6.to_string(), "-6"),
                };
                outside.sh(&format!("ip {v6} route replace {address} via {via}")).done();
            }
        }
        let listening = servers.iter().flat_map(|it| [80, 81].map(|port| Server::start_dual(&it.ns, port)));
        let listening = listening.collect();
        Self { host, servers, seconds, others, _listening: listening, bed }
    }

    /// The namespace of a column, and its name for `netdp trace`.
    fn sender(&self, column: usize, server: usize) -> (&Namespace, String) {
        match column {
            0 => (&self.host.ns, "host".to_owned()),
            1 => (&self.bed.outside.ns, "outside".to_owned()),
            2 => (&self.seconds[server].ns, format!("second-{}", NETWORKS[server].0)),
            other => (&self.others[other - 3].ns, format!("from-{}", OTHERS[other - 3].0)),
        }
    }
}

/// An internal network has no default route: its containers may add one, and it must not help.
fn lead_out(container: &Container) {
    let [a, b, c, d] = container.address.octets();
    let gateway = Ipv4Addr::new(a, b, c, if d > 128 { 129 } else { 1 });
    let gateway6 = Ipv6Addr::from_bits(container.address6.unwrap().to_bits() & !0xffff | 1);
    let add = |family: &str, gateway: String| {
        let routes = container.ns.sh(&format!("ip {family} route show default")).ok().stdout;
        if routes.is_empty() {
            container.ns.sh(&format!("ip {family} route add default via {gateway}")).done();
        }
    };
    add("-4", gateway.to_string());
    add("-6", gateway6.to_string());
}

/// `-p`: on any address, on one of each family, and on loopback.
fn published(host: &Host, first: u16) -> Vec<String> {
    let (one, loopback) = (first + 1, first + 2);
    let specs = [
        format!("{first}:80"),
        format!("{}:{one}:80", host.address),
        format!("[{}]:{one}:80", host.address6),
        format!("127.0.0.1:{loopback}:80"),
        format!("[::1]:{loopback}:80"),
    ];
    specs.into_iter().flat_map(|spec| [format!("{spec}/tcp"), format!("{spec}/udp")]).collect()
}

/// One packet to be sent.
struct Cell<'a> {
    row: usize,
    column: usize,
    from: &'a Namespace,
    /// The sender for `netdp trace`.
    name: String,
    to: SocketAddr,
    protocol: &'static str,
    /// Number of the rule, and the mark behind it.
    expected: &'a str,
}

/// What came of it.
struct Measured {
    is_answered: bool,
    /// In the form of the table, by `netdp trace`; of two ways to pass, the mark says which was meant.
    traced: String,
}

impl Cell<'_> {
    fn measure(&self, host: &Host) -> Measured {
        let due = self.expected.ends_with('+');
        let is_answered = self.answered(SHORT) || (due && self.answered(LONG));
        Measured { is_answered, traced: self.traced(host) }
    }

    fn answered(&self, patience: Duration) -> bool {
        let to = self.to;
        match self.protocol {
            "tcp" => self.from.enter(|| TcpStream::connect_timeout(&to, patience)).is_ok_and(|stream| {
                stream.set_read_timeout(Some(LONG)).unwrap();
                ask_stream(&stream).is_ok()
            }),
            "udp" => {
                let any: IpAddr =
                    if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                let socket = self.from.enter(|| UdpSocket::bind((any, 0))).unwrap();
                if patience == LONG {
                    return socket.connect(to).is_ok() && ask_datagram(&socket).is_ok();
                }
                socket.set_read_timeout(Some(patience)).unwrap();
                let sent = socket.connect(to).and_then(|()| socket.send(b"who\n"));
                sent.and_then(|_| socket.recv(&mut [0; 256])).is_ok()
            }
            _ => {
                let ping = format!("ping -n -q -c 1 -W {} {}", patience.as_secs().max(1), to.ip());
                self.from.sh(&ping).code == Some(0)
            }
        }
    }

    fn traced(&self, host: &Host) -> String {
        let packet = match self.protocol {
            "icmp" => "icmp".to_owned(),
            protocol => format!("{protocol}:{}", self.to.port()),
        };
        let shown = host.json(&["trace", &self.name, &self.to.ip().to_string(), &packet]);
        let mark = if shown["verdict"] == "drop" { '-' } else { '+' };
        format!("{}{mark}", shown["rule"]["number"])
    }

    /// What is otherwise than expected.
    fn deviation(&self, measured: &Measured) -> Option<String> {
        let traced = self.expected.replace('.', "+");
        let is_as_expected =
            measured.is_answered == self.expected.ends_with('+') && measured.traced == traced;
        (!is_as_expected).then(|| {
            format!(
                "{} {} {}: expected {}, answered: {}, trace: {}",
                self.name, self.protocol, self.to, self.expected, measured.is_answered, measured.traced
            )
        })
    }
}

/// Where the container of a row is called, by a sender of this column.
fn address(world: &World, words: &[&str], (column, v4): (usize, bool)) -> SocketAddr {
    let own: IpAddr = if v4 { world.host.address.into() } else { world.host.address6.into() };
    let loopback: IpAddr = if v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    let Some(server) = NETWORKS.iter().position(|(kind, ..)| *kind == words[0]) else {
        return SocketAddr::new(own, 0);
    };
    let (container, first) = (&world.servers[server], NETWORKS[server].1);
    let inside: IpAddr = if v4 { container.address.into() } else { container.address6.unwrap().into() };
    match words[1] {
        "address:80" => SocketAddr::new(inside, 80),
        "address:81" => SocketAddr::new(inside, 81),
        "address" => SocketAddr::new(inside, 0),
        "any" => SocketAddr::new(own, first),
        "one" => SocketAddr::new(own, first + 1),
        // Nobody but the host has an address of the host's loopback to send to: others try the port.
        "loopback" => SocketAddr::new(if column == 0 { loopback } else { own }, first + 2),
        "unpublished" => SocketAddr::new(own, first + 3),
        other => panic!("{other}"),
    }
}

fn cells<'a>(world: &'a World, rows: &[Vec<&'a str>]) -> Vec<Cell<'a>> {
    let mut cells = Vec::new();
    for (row, words) in rows.iter().enumerate() {
        let server = NETWORKS.iter().position(|(kind, ..)| *kind == words[0]).unwrap_or(0);
        for (column, expected) in words[3..].iter().enumerate() {
            for v4 in [true, false] {
                for protocol in ["tcp", "udp", "icmp"] {
                    if !words[2].contains(protocol) {
                        continue;
                    }
                    let (from, name) = world.sender(column, server);
                    let to = address(world, words, (column, v4));
                    cells.push(Cell { row, column, from, name, to, protocol, expected });
                }
            }
        }
    }
    cells
}

/// All of them, some at a time, in their order.
fn measure(host: &Host, cells: &[Cell<'_>]) -> Vec<Measured> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(cell) = cells.get(number) else { return };
                    let measured = cell.measure(host);
                    results.lock().unwrap().push((number, measured));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, measured)| measured).collect()
}

/// The table once more, with what was measured: of the cells behind one of it, how many are as expected.
fn shown(rows: &[Vec<&str>], cells: &[Cell<'_>], measured: &[Measured]) -> String {
    let mut text = String::new();
    for (row, words) in rows.iter().enumerate() {
        write!(text, "{:<9} {:<12} {:<8}", words[0], words[1], words[2]).unwrap();
        for (column, expected) in words[3..].iter().enumerate() {
            let here =
                cells.iter().zip(measured).filter(|(cell, _)| (cell.row, cell.column) == (row, column));
            let right = here.clone().filter(|(cell, measured)| cell.deviation(measured).is_none()).count();
            write!(text, "  {expected} {right}/{}", here.count()).unwrap();
        }
        text.push('\n');
    }
    text
}

#[test]
fn everybody_reaches_whom_the_rules_say_and_nobody_else() {
    let begun = Instant::now();
    let world = World::new();
    let (built, begun) = (begun.elapsed(), Instant::now());
    let lines = EXPECTED.lines().filter(|line| !line.is_empty()).skip(1);
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
    let cells = cells(&world, &rows);
    let measured = measure(&world.host, &cells);
    let deviations: Vec<String> =
        cells.iter().zip(&measured).filter_map(|(cell, measured)| cell.deviation(measured)).collect();
    report(&format!(
        "{} cells, {} deviations; {:.1} s to build, {:.1} s to measure\n{}",
        cells.len(),
        deviations.len(),
        built.as_secs_f64(),
        begun.elapsed().as_secs_f64(),
        shown(&rows, &cells, &measured)
    ));
    assert!(deviations.is_empty(), "{deviations:#?}");
    for reason in ["direct_routing", "inter_network", "internal_network", "icc_disabled", "unpublished"] {
        assert!(dropped(&world.host, reason) > 0, "nothing was dropped for {reason}");
    }
}

/// What `netdp trace` says of a datagram to port 99 there: the verdict, the reason, and what it has found last.
fn traced(host: &Host, from: &str, to: IpAddr) -> (String, String) {
    let shown = host.json(&["trace", from, &to.to_string(), "udp:99"]);
    let reason = shown["reason"]["name"].as_str().unwrap_or("pass").to_owned();
    let steps = shown["steps"].as_array().unwrap();
    (reason, steps.last().unwrap()["found"].as_str().unwrap().to_owned())
}

#[test]
fn trace_tells_of_no_way_out_and_of_no_room_as_the_programs_meet_them() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    host.netdp(&["limits", "set", "flows=16"]).done();
    let c1 = bed.container(&host, "c1", &["-p", "8080:99/udp"]);
    let side = bed.namespace("side");
    let path = side.path().display();
    host.ns
        .sh(&format!("ip link add side0 type veth peer name eth0 netns {path} && ip link set side0 up"))
        .done();
    side.sh("ip link set eth0 up").done();
    host.ns.sh("ip address add 192.0.2.1/24 dev side0 && ip route add unreachable 198.18.0.0/15").done();
    // Each from a port of its own: a flow is counted once.
    let mut port = 40_000;
    let mut to = |address: IpAddr| {
        port += 1;
        let socket = c1.ns.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))).unwrap();
        // What nobody leads to is told to the sender.
        let _ = socket.send_to(b"who\n", (address, 99));
    };
    let (outside, beyond): (IpAddr, IpAddr) = (bed.outside.address.into(), "192.0.2.9".parse().unwrap());
    assert_eq!(traced(&host, "c1", beyond).0, "no_uplink");
    assert_counted(&host, "no_uplink", || to(beyond));
    let (reason, found) = traced(&host, "c1", "198.18.0.1".parse().unwrap());
    assert!(reason == "pass" && found.starts_with("no route"), "{reason} {found}");
    assert_eq!(traced(&host, "c1", outside), ("pass".to_owned(), "0 flows of 16".to_owned()));
    for _ in 0..16 {
        to(outside);
    }
    assert_eq!(traced(&host, "c1", outside), ("quota".to_owned(), "16 flows of 16".to_owned()));
    assert_counted(&host, "quota", || to(outside));
    // What others begin to it is counted apart.
    assert_eq!(traced(&host, "c1", "198.18.0.1".parse().unwrap()).0, "pass");
    let published = host.json(&["trace", "outside", &host.address.to_string(), "udp:8080"]);
    assert_eq!(published["verdict"], "pass", "{published}");
}

#[test]
fn trace_of_a_container_in_several_networks_is_that_of_the_one_by_which_it_sends() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    host.netdp(&["network", "create", "--internal", "inner"]).done();
    host.netdp(&["network", "create", "--ipv4=false", "--ipv6", "six"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "inner"]);
    host.netdp(&["network", "connect", "bridge", "c1"]).done();
    let _server = Server::start(&bed.outside.ns, 80);
    assert_served(&c1.ns, (bed.outside.address, 80), "outside");
    assert_eq!(traced(&host, "c1", bed.outside.address.into()).0, "pass");
    let ns = bed.namespace("c2");
    let attach = ["attach", "--netns", ns.path().to_str().unwrap(), "--name", "c2", "--network", "six"];
    host.netdp(&attach).done();
    host.netdp(&["network", "connect", "bridge", "c2"]).done();
    assert_eq!(host.json(&["trace", "outside", "c2", "tcp:80"])["reason"]["name"], "direct_routing");
    host.netdp(&["network", "disconnect", "bridge", "c2"]).done();
    host.netdp(&["trace", "outside", "c2", "icmp"]).exits(0).done();
    host.netdp(&["network", "disconnect", "six", "c2"]).done();
    for (from, to) in [("outside", "c2"), ("c2", "outside"), ("c1", "c2")] {
        host.netdp(&["trace", from, to, "tcp:80"]).exits(1).says("c2 has no IPv").done_failing();
    }
}

#[test]
fn nothing_is_published_in_an_internal_network() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    host.netdp(&["network", "create", "--internal", "inner"]).done();
    let ns = bed.namespace("c1");
    let path = ns.path().to_str().unwrap().to_owned();
    for spec in ["8080:80", "127.0.0.1:8080:80"] {
        let attach = ["attach", "--netns", &path, "--name", "c1", "--network", "inner", "-p", spec];
        host.netdp(&attach).exits(1).says("internal").done_failing();
    }
}
