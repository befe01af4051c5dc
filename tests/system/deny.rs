//! The prefilter on real uplinks, and `netdp deny`.

use std::net::Ipv4Addr;
use std::time::Duration;

use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use serde_json::Value;
use tests::capture::{Capture, Frame, RawSocket};
use tests::packet::{Packet, SYN, TCP};
use tests::process::measured;
use tests::server::{Server, assert_refused, assert_served};
use tests::snapshot::Snapshot;
use tests::topology::{Bed, Host, Neighbour, UPLINK};

use crate::isolation::{assert_counted, dropped, mac_of};

const MODES: [&str; 2] = ["native", "generic"];
const HOST6: &str = "2001:db8:1::10";

fn up(host: &Host, prefilter: &str) {
    host.netdp(&["up", "--once", "--prefilter", prefilter]).done();
}

/// Where the prefilter runs by `netdp status`: interface, mode and program.
fn prefilters(host: &Host) -> Vec<(String, String, u64)> {
    let status = host.json(&["status"]);
    let hooks = status["hooks"].as_array().unwrap().iter().filter(|hook| hook["hook"] == "prefilter");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    hooks
        .map(|hook| (text(&hook["interface"]), text(&hook["mode"]), hook["program_id"].as_u64().unwrap()))
        .collect()
}

/// How the kernel says that it is attached: mode and program.
fn attached(host: &Host) -> Option<(String, u64)> {
    let shown: Value = host.ns.sh(&format!("ip -j -d link show dev {UPLINK}")).json();
    let xdp = &shown[0]["xdp"];
    let mode = match xdp["mode"].as_u64()? {
        1 => "native",
        2 => "generic",
        other => panic!("XDP mode {other}"),
    };
    Some((mode.to_owned(), xdp["prog"]["id"].as_u64()?))
}

fn assert_attached(host: &Host, mode: &str) -> u64 {
    let [(interface, found, id)] = &prefilters(host)[..] else { panic!("{:?}", prefilters(host)) };
    assert_eq!((interface.as_str(), found.as_str()), (UPLINK, mode));
    assert_eq!(attached(host), Some((mode.to_owned(), *id)));
    *id
}

fn pings(from: &Neighbour, to: &str) -> bool {
    from.ns.sh(&format!("ping -n -q -c 2 -i 0.1 -W 1 {to}")).code == Some(0)
}

/// The other end of the uplink. What a station sends goes over a bridge, which may refuse it (`br_netfilter`).
fn wire(bed: &Bed, host: &Host) -> RawSocket {
    RawSocket::open(&bed.outside.ns, host.ns.name(), &[])
}

/// A host with a published port and addresses of both families, and somebody outside.
fn dual(bed: &Bed, prefilter: &str) -> (Host, Neighbour) {
    let (host, neighbour) = (bed.host("h1"), bed.neighbour("n1"));
    host.ns.sh(&format!("ip address add {HOST6}/64 dev {UPLINK} nodad")).done();
    neighbour.ns.sh("ip address add 2001:db8:1::7/64 dev eth0 nodad").done();
    up(&host, prefilter);
    (host, neighbour)
}

#[test]
fn who_is_denied_reaches_nothing_until_let_in_again() {
    for mode in MODES {
        let bed = Bed::new();
        let (host, neighbour) = dual(&bed, mode);
        assert_attached(&host, mode);
        let c1 = bed.container(&host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
        let _servers = [Server::start(&c1.ns, 80), Server::start(&host.ns, 7)];
        let four = neighbour.address.to_string();
        let reaches = |reached: bool| {
            for (port, name) in [(8080, "c1"), (7, "h1")] {
                if reached {
                    assert_served(&neighbour.ns, (host.address, port), name);
                } else {
                    assert_refused(&neighbour.ns, (host.address, port));
                }
            }
            assert_eq!(pings(&neighbour, &host.address.to_string()), reached, "{mode}");
        };
        reaches(true);
        assert!(pings(&neighbour, HOST6));
        host.netdp(&["deny", "add", &four, "2001:db8:1::/64"]).done();
        assert_counted(&host, "denied", || reaches(false));
        assert_counted(&host, "denied", || assert!(!pings(&neighbour, HOST6), "{mode}"));
        assert_served(&bed.outside.ns, (host.address, 8080), "c1");
        host.netdp(&["deny", "rm", &four]).done();
        reaches(true);
        assert!(!pings(&neighbour, HOST6), "{mode}");
        host.netdp(&["deny", "rm", "2001:db8:1::/64"]).done();
        assert!(pings(&neighbour, HOST6), "{mode}");
    }
}

#[test]
fn list_holds_where_the_prefilter_is_off() {
    let bed = Bed::new();
    let (host, neighbour) = dual(&bed, "off");
    let reached = || pings(&neighbour, &host.address.to_string());
    assert!(reached());
    host.netdp(&["deny", "add", "203.0.113.0/25"]).done();
    assert_counted(&host, "denied", || assert!(!reached()));
    host.netdp(&["deny", "rm", "203.0.113.0/25"]).done();
    assert!(reached());
}

#[test]
fn list_outlives_the_controller_and_the_datapath() {
    let bed = Bed::new();
    let (host, neighbour) = (bed.host("h1"), bed.neighbour("n1"));
    let before = Snapshot::of(&host);
    host.netdp(&["deny", "add", &neighbour.address.to_string()]).done();
    let reached = || pings(&neighbour, &host.address.to_string());
    assert!(reached(), "netdp is not up");
    up(&host, "native");
    assert!(!reached());
    host.up().kill();
    up(&host, "generic");
    assert!(!reached());
    host.down();
    assert!(reached());
    before.assert_still(&host);
    up(&host, "native");
    assert!(!reached());
}

#[test]
fn sources_that_nobody_has_are_dropped_before_the_stack() {
    for mode in MODES {
        let bed = Bed::new();
        let (host, neighbour) = dual(&bed, mode);
        let c1 = bed.container(&host, "c1", &["-p", "8080:80"]);
        let (own, to) = (mac_of(&neighbour.ns, "eth0"), mac_of(&host.ns, UPLINK));
        let wire = wire(&bed, &host);
        let at_container = Capture::start(&c1.ns, "eth0", &[]);
        let syn = |src: Ipv4Addr, dst| Packet::tcp((src, 4000), (dst, 8080), SYN).link(own, to);
        let route = vec![131, 7, 4, 203, 0, 113, 1, 0];
        for (reason, packet) in [
            ("loopback_from_wire", syn(Ipv4Addr::new(127, 0, 0, 5), host.address)),
            ("loopback_from_wire", syn(neighbour.address, Ipv4Addr::LOCALHOST)),
            ("container_from_wire", syn(c1.address, host.address)),
            ("container_from_wire", syn(Ipv4Addr::new(172, 17, 200, 9), host.address)),
            ("host_from_wire", syn(host.address, host.address)),
            ("source_routed", syn(neighbour.address, host.address).with(|p| p.options = route)),
            ("malformed", syn(neighbour.address, host.address).with(|p| p.lies.total_length = Some(2000))),
        ] {
            let before = dropped(&host, reason);
            wire.send(&packet.build());
            assert_eq!(dropped(&host, reason), before + 1, "{mode}: {reason}");
        }
        let seen = at_container.seen();
        let seen: Vec<_> =
            seen.frames.iter().filter_map(Frame::ipv4).filter(|(kind, ..)| *kind == TCP).collect();
        assert_eq!(seen, [], "{mode}");
        // The same packet from a source of its own arrives.
        let _server = Server::start(&c1.ns, 80);
        tests::server::ask_tcp(&neighbour.ns, (host.address, 8080)).unwrap();
    }
}

#[test]
fn frame_cut_off_anywhere_is_dropped_or_left_to_the_stack() {
    let bed = Bed::new();
    let (host, neighbour) = dual(&bed, "native");
    let (own, to) = (mac_of(&neighbour.ns, "eth0"), mac_of(&host.ns, UPLINK));
    let wire = wire(&bed, &host);
    let frame = Packet::udp((neighbour.address, 1), (host.address, 2)).link(own, to).build();
    let before = dropped(&host, "malformed");
    for length in 14..frame.len() {
        wire.send(&frame[..length]);
    }
    assert_eq!(dropped(&host, "malformed") - before, u64::try_from(frame.len() - 14).unwrap());
    assert!(pings(&neighbour, &host.address.to_string()));
}

#[test]
fn own_address_is_heard_where_the_operator_wants_it() {
    let bed = Bed::new();
    let (host, neighbour) = (bed.host("h1"), bed.neighbour("n1"));
    let frame = || {
        let packet = Packet::udp((host.address, 1), (host.address, 2));
        packet.link(mac_of(&neighbour.ns, "eth0"), mac_of(&host.ns, UPLINK)).build()
    };
    let wire = RawSocket::open(&neighbour.ns, "eth0", &[]);
    up(&host, "native");
    assert_counted(&host, "host_from_wire", || wire.send(&frame()));
    host.ns.set_sysctl(&format!("net/ipv4/conf/{UPLINK}/accept_local"), "1");
    up(&host, "native");
    let before = dropped(&host, "host_from_wire");
    wire.send(&frame());
    assert_eq!(dropped(&host, "host_from_wire"), before);
    host.ns.set_sysctl(&format!("net/ipv4/conf/{UPLINK}/accept_local"), "0");
    up(&host, "native");
    assert_counted(&host, "host_from_wire", || wire.send(&frame()));
}

#[test]
fn mode_is_what_was_asked_for_last_and_a_veth_goes_without_unasked() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let before = Snapshot::of(&host);
    for (choice, mode) in [
        ("auto", None),
        ("native", Some("native")),
        ("generic", Some("generic")),
        ("native", Some("native")),
        ("auto", None),
        ("generic", Some("generic")),
        ("off", None),
        ("native", Some("native")),
    ] {
        up(&host, choice);
        match mode {
            Some(mode) => drop(assert_attached(&host, mode)),
            None => assert_eq!((attached(&host), prefilters(&host)), (None, Vec::new()), "{choice}"),
        }
        // What other commands do does not change it.
        host.netdp(&["network", "create", "blue"]).done();
        host.netdp(&["network", "rm", "blue"]).done();
        assert_eq!(attached(&host).map(|(mode, _)| mode).as_deref(), mode, "{choice}");
    }
    host.down();
    before.assert_still(&host);
}

#[test]
fn interface_whose_driver_has_no_xdp_gets_the_kernels() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let address = host.address;
    host.ns
        .sh(&format!(
            "ip link add lan0 type bridge && ip link set {UPLINK} master lan0 && ip address flush dev {UPLINK} && \
             ip -6 route del default && \
             ip address add {address}/24 dev lan0 && ip link set lan0 up && ip route add default via 203.0.113.1"
        ))
        .done();
    bed.watch(&host, "lan0");
    let neighbour = bed.neighbour("n1");
    tests::process::eventually("the bridge forwards", Duration::from_secs(5), || {
        pings(&neighbour, &address.to_string())
            && host.ns.out("ip -6 address show dev lan0").contains("fe80::")
    });
    let before = Snapshot::of(&host);
    host.up_once();
    let [(interface, mode, _)] = &prefilters(&host)[..] else { panic!("{:?}", prefilters(&host)) };
    assert_eq!((interface.as_str(), mode.as_str()), ("lan0", "generic"));
    assert!(pings(&neighbour, &address.to_string()));
    host.netdp(&["deny", "add", "203.0.113.0/24"]).says("gateway 203.0.113.1").done();
    assert!(!pings(&neighbour, &address.to_string()));
    host.netdp(&["up", "--once", "--prefilter", "native"]).says("lan0 goes without prefilter").done();
    assert_eq!(prefilters(&host), []);
    host.down();
    before.assert_still(&host);
}

#[test]
fn mtu_that_the_driver_refuses_is_a_warning_and_no_obstacle() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.ns.sh(&format!("ip link set {UPLINK} mtu 9000")).done();
    bed.outside.ns.sh("ip link set h1 mtu 9000").done();
    host.netdp(&["up", "--once", "--prefilter", "native"]).says("too large for XDP").done();
    assert_eq!(prefilters(&host), []);
    up(&host, "generic");
    assert_attached(&host, "generic");
}

/// An XDP program of somebody else's on the uplink, as long as this lives.
struct Foreign {
    _object: Ebpf,
}

impl Foreign {
    fn on(host: &Host, mode: XdpMode) -> Self {
        let mut object = EbpfLoader::new().load(netdp::datapath::OBJECT).unwrap();
        let program: &mut Xdp = object.program_mut("prefilter").unwrap().try_into().unwrap();
        program.load().unwrap();
        host.ns.enter(|| program.attach(UPLINK, mode)).unwrap();
        Self { _object: object }
    }
}

#[test]
fn program_of_somebody_else_stays_and_is_named() {
    for (mode, name) in [(XdpMode::Driver, "native"), (XdpMode::Skb, "generic")] {
        let bed = Bed::new();
        let host = bed.host("h1");
        let foreign = Foreign::on(&host, mode);
        let before = (attached(&host), Snapshot::of(&host));
        assert_eq!(before.0.as_ref().map(|(mode, _)| mode.as_str()), Some(name));
        for choice in MODES {
            let warning = "up0 has the XDP program prefilter (id";
            host.netdp(&["up", "--once", "--prefilter", choice]).says(warning).done();
            assert_eq!((attached(&host), prefilters(&host)), (before.0.clone(), Vec::new()));
        }
        let c1 = bed.container(&host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
        let _server = Server::start(&c1.ns, 80);
        assert_served(&bed.outside.ns, (host.address, 8080), "c1");
        host.down();
        drop(c1);
        before.1.assert_still(&host);
        drop(foreign);
        up(&host, "native");
        assert_attached(&host, "native");
    }
}

#[test]
fn crash_keeps_it_and_the_next_up_puts_the_new_program_into_the_same_link() {
    let bed = Bed::new();
    let (host, neighbour) = (bed.host("h1"), bed.neighbour("n1"));
    host.netdp(&["deny", "add", &neighbour.address.to_string()]).done();
    let link = || host.ns.out("bpftool -j link show").contains("xdp");
    up(&host, "native");
    let mut programs = vec![assert_attached(&host, "native")];
    for _ in 0..3 {
        let controller = tests::process::Service::start(&mut host.command(&["up", "--prefilter", "native"]));
        tests::process::eventually("the program is exchanged", Duration::from_secs(10), || {
            attached(&host).is_some_and(|(_, id)| !programs.contains(&id))
        });
        controller.kill();
        programs.push(assert_attached(&host, "native"));
        assert!(!pings(&neighbour, &host.address.to_string()));
        assert!(link());
    }
    host.down();
    assert_eq!(attached(&host), None);
}

#[test]
fn ten_thousand_prefixes_cost_as_little_as_none() {
    let bed = Bed::new();
    let (host, neighbour) = (bed.host("h1"), bed.neighbour("n1"));
    up(&host, "native");
    let prefixes: Vec<String> =
        (0..10_000_u32).map(|n| Ipv4Addr::from_bits(0x0b00_0000 + n * 2).to_string()).collect();
    for part in prefixes.chunks(2_000) {
        let mut arguments = vec!["deny", "add"];
        arguments.extend(part.iter().map(String::as_str));
        let begin = std::time::Instant::now();
        host.netdp(&arguments).done();
        measured(&format!("{} prefixes added in {:?}", part.len(), begin.elapsed()));
    }
    assert_eq!(host.json(&["deny", "ls"]).as_array().unwrap().len(), prefixes.len());
    assert!(pings(&neighbour, &host.address.to_string()));
    up(&host, "native");
    assert!(pings(&neighbour, &host.address.to_string()));
}
