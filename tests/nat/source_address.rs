//! The outside address that containers go out with: the network's own, or what the route prefers (RFC 4787 REQ-2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use nix::sys::utsname::uname;
use tests::packet::{Carries, Packet};
use tests::process::eventually;
use tests::server::{Server, ask_udp, ask_udp_at};
use tests::topology::{Bed, OUTSIDE, OUTSIDE6, UPLINK};

use crate::lan::{Lan, REMOTES};
use crate::wire::{REMOTE, Station};

const SECOND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 99);
const SECOND6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x99);
const LIMIT: Duration = Duration::from_secs(10);
/// Number of GRE.
const GRE: u8 = 47;

#[test]
fn network_with_snat_ip_goes_out_by_it_in_both_families_and_another_network_does_not() {
    let lan = Lan::new();
    lan.host.ns.sh(&format!("ip address add {SECOND}/32 dev lo; ip address add {SECOND6}/128 dev lo")).done();
    lan.bed.outside.ns.sh(&format!("ip route add {SECOND}/32 via {}", lan.host.address)).done();
    lan.bed.outside.ns.sh(&format!("ip -6 route add {SECOND6}/128 via {}", lan.host.address6)).done();
    let option = format!("snat-ip={SECOND},{SECOND6}");
    let create = ["network", "create", "--ipv6", "--subnet", "10.7.0.0/24", "--subnet", "fd00:7::/64"];
    lan.host.netdp(&[&create[..], &["-o", &option, "known"]].concat()).done();
    lan.host.up_once();
    let c3 = lan.bed.container(&lan.host, "c3", &["--network", "known"]);
    let _servers = [IpAddr::from(OUTSIDE), OUTSIDE6.into()]
        .map(|ip| Server::start_at(&lan.bed.outside.ns, (ip, 80).into()));
    let seen = |to: IpAddr| ask_udp_at(&c3.ns, 5000, (to, 80).into()).unwrap().seen;
    assert_eq!(seen(OUTSIDE.into()), (IpAddr::from(SECOND), 5000).into());
    assert_eq!(seen(OUTSIDE6.into()), (IpAddr::from(SECOND6), 5000).into());
    let other = ask_udp(&lan.c1.ns, 5000, (OUTSIDE, 80)).unwrap().seen;
    assert_eq!(other, (IpAddr::from(lan.host.address), 5000).into());
}

#[test]
fn snat_ip_that_goes_ends_new_flows_and_no_other_address_is_used_until_it_is_back() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let (add, del) = (
        format!("ip address add {SECOND}/24 dev {UPLINK}"),
        format!("ip address del {SECOND}/24 dev {UPLINK}"),
    );
    host.ns.sh(&add).done();
    let controller = host.up();
    host.netdp(&["network", "create", "-o", &format!("snat-ip={SECOND}"), "known"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "known"]);
    let _server = Server::start(&bed.outside.ns, 80);
    let seen = || ask_udp(&c1.ns, 0, (OUTSIDE, 80)).map(|answer| answer.seen.ip());
    assert_eq!(seen().unwrap(), IpAddr::from(SECOND));
    let warnings = || host.json(&["status"])["warnings"].as_array().unwrap().len();
    assert_eq!(warnings(), 0);
    host.ns.sh(&del).done();
    eventually("new flows are refused", LIMIT, || seen().is_err());
    assert_eq!(warnings(), 1);
    assert!(
        host.netdp(&["status"])
            .ok()
            .stdout
            .contains("warning: network known: snat-ip 203.0.113.99 is no address")
    );
    assert!(host.netdp(&["drops"]).ok().stdout.contains("snat_ip_gone"));
    host.ns.sh(&add).done();
    eventually("it is back", LIMIT, || seen().is_ok_and(|address| address == IpAddr::from(SECOND)));
    assert_eq!(warnings(), 0);
    controller.terminate(LIMIT).done();
}

/// Whether the programs can ask the kernel which source a route prefers (6.7).
fn routes_say_their_source() -> bool {
    let release = uname().unwrap().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(7))
}

#[test]
fn source_is_what_the_route_to_the_destination_prefers() {
    let lan = Lan::new();
    let near = Ipv4Addr::new(198, 18, 0, 10);
    let [first, second, third] = REMOTES;
    let there = Ipv4Addr::new(198, 18, 0, 1);
    lan.bed.outside.ns.sh(&format!("ip address add {there}/24 dev wan0")).done();
    lan.host.ns.sh(&format!("ip address add {near}/24 dev {UPLINK}")).done();
    lan.host.ns.sh(&format!("ip address add {SECOND}/24 dev {UPLINK}")).done();
    lan.host.ns.sh(&format!("ip route add {second}/32 dev {UPLINK} src {SECOND}")).done();
    lan.host.up_once();
    let remotes = [first, second, third, there];
    let _servers = remotes.map(|remote| Server::start_at(&lan.bed.outside.ns, (remote, 80).into()));
    let seen = |to| ask_udp(&lan.c1.ns, 5000, (to, 80)).unwrap().seen;
    let from = |address| SocketAddr::from((IpAddr::from(address), 5000));
    // Some older kernels have it too, ported back.
    let they_say = routes_say_their_source() || seen(second) == from(SECOND);
    let (by_route, by_subnet) = if they_say { (SECOND, near) } else { (lan.host.address, lan.host.address) };
    for (to, expected) in
        [(first, lan.host.address), (second, by_route), (third, lan.host.address), (there, by_subnet)]
    {
        assert_eq!(seen(to), from(expected), "{to}");
    }
}

#[test]
fn tunnel_of_a_container_gives_way_to_that_of_the_host() {
    let lan = Lan::new();
    let (c1, outside) = (Station::container(&lan, &lan.c1), Station::outside(&lan));
    let host = Station::host(&lan);
    let gre = |from, to, text: &str| {
        Packet::new(from, to, Carries::Other(GRE)).with(|packet| packet.payload = text.into())
    };
    c1.send(&gre(lan.c1.address, REMOTE, "from the container"));
    let seen = outside.awaits("the container's", |ip| ip.has(b"from the container"));
    assert_eq!(seen.src, lan.host.address);
    outside.send(&gre(REMOTE, lan.host.address, "to the container"));
    c1.awaits("the answer", |ip| ip.has(b"to the container"));
    host.send(&gre(lan.host.address, REMOTE, "from the host"));
    outside.awaits("the host's", |ip| ip.has(b"from the host"));
    c1.send(&gre(lan.c1.address, REMOTE, "once more"));
    outside.send(&gre(REMOTE, lan.host.address, "to the host"));
    c1.refuses("what is the host's", |ip| ip.has(b"to the host"));
    host.awaits("the host's answer", |ip| ip.has(b"to the host"));
    outside.refuses("the container's", |ip| ip.has(b"once more"));
    assert!(lan.host.netdp(&["drops"]).ok().stdout.contains("held_by_host"));
}
