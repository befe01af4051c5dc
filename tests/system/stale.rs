//! Flows end with what they lead to: a container, its address, its published port.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use aya::maps::{HashMap, Map, MapData};
use netdp_common::timers::ticks;
use netdp_common::{
    Addr, Exit, Flow, FlowKey, Mac, Numbers, Port, Zone, flow_flags, names, proto, timers::State,
};
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;
use tests::capture::Capture;
use tests::namespace::Namespace;
use tests::process::{Ran, Service, eventually, measured, patient};
use tests::server::{Server, ask_stream, assert_served, assert_served_at, connect};
use tests::topology::{Bed, Container, Host};

const PORTS: [&str; 4] = ["-p", "8080:80", "-p", "8080:80/udp"];

/// As R15 has it: how long a client may be without an answer when its container was replaced.
const RECOVERY: Duration = Duration::from_secs(1);

/// A client that asks over one UDP socket, over and over, and notes who answered when.
struct Asking {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<Vec<(Instant, String)>>,
}

impl Asking {
    fn start(ns: &Namespace, to: (Ipv4Addr, u16)) -> Self {
        let socket = ns.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 7777))).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let (until, count) = (Arc::clone(&stop), Arc::clone(&answered));
        let thread = thread::spawn(move || {
            let (mut answers, mut buffer) = (Vec::new(), [0; 256]);
            while !until.load(Ordering::Relaxed) {
                // While the port leads nowhere, the host says so, and the socket tells it as an error of either call.
                let _ = socket.send_to(b"who\n", to);
                if let Ok((length, _)) = socket.recv_from(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    let name = text.split(' ').next().unwrap_or_default().to_owned();
                    answers.push((Instant::now(), name));
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
            answers
        });
        Self { stop, answered, thread }
    }

    fn finish(self) -> Vec<(Instant, String)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Replaces c1 while a client asks, and holds the client's recovery against R15.
fn replaced(replace: impl FnOnce(&Bed, &Host, Container) -> (Container, Server)) {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", &PORTS);
    let server = Server::start(&c1.ns, 80);
    let asking = Asking::start(&bed.outside.ns, (host.address, 8080));
    eventually("c1 answers", Duration::from_secs(5), || asking.answered.load(Ordering::Relaxed) > 0);
    drop(server);
    let (_c2, _server) = replace(&bed, &host, c1);
    let there = Instant::now();
    thread::sleep(patient(RECOVERY));
    let answers = asking.finish();
    assert!(answers.iter().any(|(_, name)| name == "c1"), "the client was served before");
    let first = answers.iter().find(|(_, name)| name == "c2").map(|(when, _)| *when);
    let recovered = first.unwrap().saturating_duration_since(there);
    measured(&format!("recovered {recovered:?} after the new container was there"));
    assert!(recovered <= patient(RECOVERY), "{recovered:?}");
    let late = answers.iter().filter(|(when, name)| *when > there && name == "c1").count();
    assert_eq!(late, 0, "answers of the old container");
}

#[test]
fn client_of_a_container_that_is_detached_and_replaced_recovers_within_a_second() {
    replaced(|bed, host, c1| {
        host.netdp(&["detach", "c1"]).done();
        let c2 = bed.container(host, "c2", &PORTS);
        assert_eq!(c1.address, c2.address, "the address is given on");
        let server = Server::start(&c2.ns, 80);
        (c2, server)
    });
}

#[test]
fn client_of_a_container_that_vanished_and_came_back_under_its_name_recovers_within_a_second() {
    replaced(|bed, host, c1| {
        let address = c1.address;
        drop(c1);
        let ns = bed.namespace("c2");
        let path = ns.path().to_str().unwrap();
        let attached = host.json(&[&["attach", "--netns", path, "--name", "c1"], &PORTS[..]].concat());
        let c2 =
            Container { address: tests::topology::address_of(&ns, "eth0"), address6: None, ns, attached };
        assert_eq!(address, c2.address, "the address is given on");
        let server = Server::start(&c2.ns, 80);
        (c2, server)
    });
}

#[test]
fn port_that_is_withdrawn_is_answered_by_the_host_at_once_and_free_for_its_programs() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    host.netdp(&["network", "create", "--ipv6", "dual"]).done();
    let c1 = bed.container(&host, "c1", &[&["--network", "dual"], &PORTS[..]].concat());
    let server = Server::start_dual(&c1.ns, 80);
    let own: [IpAddr; 2] = [host.address.into(), host.address6.into()];
    let own = own.map(|address| SocketAddr::new(address, 8080));
    let connect = |to: &SocketAddr| {
        bed.outside.ns.enter(|| TcpStream::connect_timeout(to, patient(Duration::from_secs(1))))
    };
    let clients = own.each_ref().map(|to| connect(to).unwrap());
    // Connections that are seen in several ticks of the programs' clock.
    for pause in [0, 2_200] {
        thread::sleep(Duration::from_millis(pause));
        for client in &clients {
            assert_eq!(ask_stream(client).unwrap().name, "c1");
        }
    }
    host.netdp(&["detach", "c1"]).done();
    drop(server);
    for to in &own {
        assert_eq!(connect(to).unwrap_err().kind(), ErrorKind::ConnectionRefused, "{to}");
    }
    let _own = Server::start_dual(&host.ns, 8080);
    for to in own {
        assert_served_at(&bed.outside.ns, to, host.ns.name());
    }
}

/// Waits until the kernel has taken apart the namespaces that ended before: one queue has all of them.
fn earlier_namespaces_are_gone(bed: &Bed, host: &Host) {
    let last = bed.namespace("last");
    let path = last.path().display();
    host.ns.sh(&format!("ip link add last0 type veth peer name eth0 netns {path}")).done();
    drop(last);
    eventually("the last is gone", Duration::from_secs(20), || {
        host.ns.sh("ip link show dev last0").code != Some(0)
    });
}

/// A process holds the namespace of c1, whose path is gone, for so many seconds; c1 is attached anew meanwhile.
fn attached_anew_while_held(seconds: &str) -> Ran {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", &[]);
    earlier_namespaces_are_gone(&bed, &host);
    let _holder = Service::start(c1.ns.command("sleep").arg(seconds));
    drop(c1);
    let ns = bed.namespace("c2");
    host.netdp(&["attach", "--netns", ns.path().to_str().unwrap(), "--name", "c1"])
}

#[test]
fn name_of_a_namespace_that_ends_in_a_moment_is_given_on_and_one_that_stays_keeps_it() {
    attached_anew_while_held("0.5").done();
    attached_anew_while_held("60").exits(1).says("endpoint c1 is another network namespace").done_failing();
}

/// Sends datagrams of one flow at full speed.
struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Flood {
    fn start(ns: &Namespace, to: (Ipv4Addr, u16)) -> Self {
        let socket = ns.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 7778))).unwrap();
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let _ = socket.send_to(&[0; 32], to);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, sent, thread }
    }

    fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.sent.load(Ordering::Relaxed)
    }
}

/// Packets that came in by `eth0` of a container so far.
fn received(container: &Container) -> u64 {
    let shown: Value = container.ns.sh("ip -s -j link show eth0").json();
    shown[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
}

#[test]
fn port_that_is_published_for_another_container_during_a_flood_leaves_the_old_one_alone() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", &PORTS);
    let flood = Flood::start(&bed.outside.ns, (host.address, 8080));
    for round in 0..5 {
        host.netdp(&["detach", "c1"]).done();
        let c2 = bed.container(&host, &format!("d{round}"), &PORTS);
        // The old container is back beside the new one, without the port.
        host.netdp(&["attach", "--netns", c1.ns.path().to_str().unwrap(), "--name", "c1"]).done();
        let udp = |frame: &tests::capture::Frame| frame.ipv4().is_some_and(|(protocol, ..)| protocol == 17);
        let capture = Capture::start(&c1.ns, "eth0", &[]);
        let before = received(&c2);
        thread::sleep(Duration::from_millis(200));
        assert!(received(&c2) > before, "the flood does not reach the new container");
        let seen = capture.seen();
        assert_eq!(seen.frames.iter().filter(|frame| udp(frame)).count(), 0, "round {round}: {seen:?}");
        host.netdp(&["detach", &format!("d{round}")]).done();
        host.netdp(&["detach", "c1"]).done();
        let path = c1.ns.path().to_str().unwrap();
        host.netdp(&[&["attach", "--netns", path, "--name", "c1"], &PORTS[..]].concat()).done();
    }
    measured(&format!("{} datagrams", flood.finish()));
}

fn flow_table(host: &Host) -> HashMap<MapData, FlowKey, Flow> {
    let pin = host.run_dir().join("bpf/maps").join(names::FLOWS);
    Map::HashMap(MapData::from_pin(pin).unwrap()).try_into().unwrap()
}

/// Both entries of the `n`-th flow from the outside to port 8080 of a container.
fn entries(host: &Host, container: &Container, n: u32) -> [(FlowKey, Flow); 2] {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).unwrap();
    let seen = ticks(Duration::from(now).as_nanos().try_into().unwrap());
    let veth =
        container.attached["NetworkSettings"]["Networks"]["bridge"]["HostInterfaceName"].as_str().unwrap();
    let shown: Value = host.ns.sh(&format!("ip -j link show {veth}")).json();
    let ifindex = u32::try_from(shown[0]["ifindex"].as_u64().unwrap()).unwrap();
    let client = Addr::from(Ipv4Addr::from_bits(0xc633_0000 + n));
    let (inside, outside) = (Addr::from(container.address), Addr::from(host.address));
    let key = |src, dst, sport, dport, zone| {
        let (sport, dport) = (Port::new(sport), Port::new(dport));
        FlowKey { src, dst, sport, dport, proto: proto::UDP, zone, pad: 0 }
    };
    let flow = |src, dst, sport, dport, exit, flags, twin_zone| Flow {
        src,
        dst,
        sport: Port::new(sport),
        dport: Port::new(dport),
        exit,
        state: State::UdpReplied.number(),
        flags,
        twin_zone,
        ifindex: if exit == Exit::ENDPOINT { ifindex } else { 1 },
        seen,
        owner: ifindex,
        mac: Mac([0; 6]),
        gateway_mac: Mac([0; 6]),
        numbers: Numbers::NONE,
        packets: 1,
        bytes: 64,
    };
    [
        (
            key(client, outside, 5000, 8080, Zone::UPLINK),
            flow(client, inside, 5000, 80, Exit::ENDPOINT, 0, Zone::CONTAINER),
        ),
        (
            key(inside, client, 80, 5000, Zone::CONTAINER),
            flow(outside, client, 8080, 5000, Exit::UPLINK, flow_flags::REPLY, Zone::UPLINK),
        ),
    ]
}

/// As many flows as this are sought in, and ended.
const FLOWS: u32 = 100_000;
/// How long a detach may take for them on a busy machine.
const DETACH: Duration = Duration::from_secs(3);

fn seed(host: &Host, container: &Container, count: u32) {
    let mut table = flow_table(host);
    let first = entries(host, container, 0);
    for n in 0..count {
        let client = Addr::from(Ipv4Addr::from_bits(0xc633_0000 + n));
        let [mut there, mut back] = first;
        (there.0.src, there.1.src, back.0.dst, back.1.dst) = (client, client, client, client);
        for (key, flow) in [there, back] {
            table.insert(key, flow, 0).unwrap();
        }
    }
}

fn timed_detach(host: &Host, name: &str) -> Duration {
    let begin = Instant::now();
    host.netdp(&["detach", name]).done();
    begin.elapsed()
}

#[test]
fn detach_among_a_hundred_thousand_flows_ends_its_own_and_only_those() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", &PORTS);
    let c2 = bed.container(&host, "c2", &["-p", "9090:80"]);
    let _server = Server::start(&c2.ns, 80);
    let _c3 = bed.container(&host, "c3", &[]);
    seed(&host, &c1, FLOWS);
    let others = timed_detach(&host, "c3");
    assert_eq!(flow_table(&host).keys().count(), 2 * FLOWS as usize, "flows of another container have ended");
    let open = connect(&bed.outside.ns, (host.address, 9090)).unwrap();
    ask_stream(&open).unwrap();
    let own = timed_detach(&host, "c1");
    measured(&format!("detach among {FLOWS} flows of another: {others:?}; with {FLOWS} of its own: {own:?}"));
    assert_eq!(flow_table(&host).keys().count(), 2, "the flow of c2 is left alone");
    ask_stream(&open).unwrap();
    assert!(own < patient(DETACH), "{own:?}");
}

#[test]
fn flows_that_a_killed_command_has_left_end_with_the_next_one() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", &PORTS);
    let c2 = bed.container(&host, "c2", &[]);
    let _server = Server::start(&c2.ns, 80);
    let left = entries(&host, &c1, 1);
    host.netdp(&["detach", "c1"]).done();
    for (key, flow) in left {
        flow_table(&host).insert(key, flow, 0).unwrap();
    }
    host.netdp(&["network", "create", "one"]).done();
    assert_eq!(flow_table(&host).keys().count(), 2, "nobody was killed, and nothing looked for");
    fs::write(host.run_dir().join("unfinished"), "").unwrap();
    host.netdp(&["network", "create", "two"]).done();
    assert_eq!(flow_table(&host).keys().count(), 0);
}

/// Flows of a table that was made for a million, with some left to begin.
const MILLION: u32 = 990_000;

#[test]
fn table_that_is_set_to_a_million_flows_holds_them_and_traffic_goes_on() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.netdp(&["limits", "set", "table=1000000", "flows=1000000"]).done();
    host.up_once();
    let c1 = bed.container(&host, "c1", &PORTS);
    let _servers = [Server::start(&c1.ns, 80), Server::start(&bed.outside.ns, 81)];
    let open = connect(&bed.outside.ns, (host.address, 8080)).unwrap();
    ask_stream(&open).unwrap();
    let begin = Instant::now();
    seed(&host, &c1, MILLION);
    measured(&format!("{MILLION} flows written in {:?}", begin.elapsed()));
    let begin = Instant::now();
    for _ in 0..100 {
        ask_stream(&connect(&bed.outside.ns, (host.address, 8080)).unwrap()).unwrap();
        assert_served(&c1.ns, (bed.outside.address, 81), "outside");
    }
    measured(&format!("200 new connections beside them in {:?}", begin.elapsed()));
    ask_stream(&open).unwrap();
    let shown = host.json(&["status"]);
    assert!(shown["flows"].as_u64() >= Some(MILLION.into()), "{}", shown["flows"]);
}
