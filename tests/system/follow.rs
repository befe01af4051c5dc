//! A serving controller follows what changes on the host.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;
use tests::capture::Capture;
use tests::process::eventually;
use tests::server::{Server, ask_tcp, ask_udp, assert_served};
use tests::topology::{Bed, Host, UPLINK};

use crate::isolation::dropped;
use crate::modules::sent;

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn new_address_of_the_uplink_becomes_the_masquerade_address() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let controller = host.up();
    let c1 = bed.container(&host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let _servers = [Server::start(&c1.ns, 80), Server::start(&bed.outside.ns, 80)];
    let seen = || ask_udp(&c1.ns, 0, (bed.outside.address, 80)).map(|answer| answer.seen.ip().to_string());
    assert_eq!(seen().unwrap(), host.address.to_string());
    host.ns
        .sh(&format!(
            "ip address add 203.0.113.99/24 dev {UPLINK} && ip address del {}/24 dev {UPLINK}; \
             ip address show dev {UPLINK} | grep -q 113.99 || ip address add 203.0.113.99/24 dev {UPLINK}; \
             ip route replace default via 203.0.113.1",
            host.address
        ))
        .done();
    eventually("masquerade with the new address", LIMIT, || {
        seen().is_ok_and(|address| address == "203.0.113.99")
    });
    let new = "203.0.113.99".parse().unwrap();
    eventually("the published port on the new address", LIMIT, || {
        ask_tcp(&bed.outside.ns, (new, 8080)).is_ok()
    });
    controller.terminate(LIMIT).done();
}

#[test]
fn uplink_that_comes_later_is_followed_and_one_that_goes_is_forgotten() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.ns.sh("ip route del default; ip -6 route del default").done();
    let controller = host.up();
    let c1 = bed.container(&host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let _servers = [Server::start(&c1.ns, 80), Server::start(&bed.outside.ns, 80)];
    host.ns.sh("ip route add default via 203.0.113.1").done();
    let hooks = || host.attached_programs().iter().filter(|(interface, ..)| interface == UPLINK).count();
    eventually("the hooks of the new uplink", LIMIT, || hooks() == 2);
    eventually("the way out", LIMIT, || ask_udp(&c1.ns, 0, (bed.outside.address, 80)).is_ok());
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
    host.ns.sh("ip route del default").done();
    eventually("no hooks without a default route", LIMIT, || hooks() == 0);
    controller.terminate(LIMIT).done();
}

#[test]
fn way_beside_the_uplink_that_comes_later_is_not_taken_by_the_uplink() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let controller = host.up();
    let c1 = bed.container(&host, "c1", &[]);
    let far = Ipv4Addr::new(10, 99, 0, 2);
    let wire = Capture::start(&host.ns, UPLINK, &[]);
    let left = || sent(&wire, None).iter().filter(|(_, to)| *to == far).count();
    // Address first, as a tunnel is made: the route comes when the interface is up, and by itself changes nothing else.
    host.ns.sh("ip link add far0 type veth peer name far1 && ip address add 10.99.0.1/24 dev far0").done();
    host.ns.sh("ip link set far1 up && ip link set far0 up").done();
    // One that is refused waits 3 s for its answer.
    eventually("the controller has seen the route", 3 * LIMIT, || {
        // Forwarding is off on netdp's bridges from here on, until the controller puts it right.
        host.ns.set_sysctl("net/ipv4/ip_forward", "1");
        host.ns.set_sysctl("net/ipv4/ip_forward", "0");
        let before = dropped(&host, "no_uplink");
        ask_udp(&c1.ns, 0, (far, 80)).is_err() && dropped(&host, "no_uplink") > before
    });
    let before = left();
    assert!(ask_udp(&c1.ns, 0, (far, 80)).is_err());
    assert_eq!(left(), before, "it left by the uplink");
    controller.terminate(LIMIT).done();
}

#[test]
fn named_uplink_is_used_without_a_default_route() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.ns.sh("ip route del default; ip -6 route del default").done();
    host.netdp(&["up", "--once", "--uplink", UPLINK]).done();
    let c1 = bed.container(&host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let _servers = [Server::start(&c1.ns, 80), Server::start(&bed.outside.ns, 80)];
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
    assert_served(&c1.ns, (bed.outside.address, 80), "outside");
}

#[test]
fn interface_that_somebody_deleted_is_made_again_by_up() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    host.ns
        .sh("ip link del netdp0 && ip link del $(ip -o link | grep -o 'nd[0-9a-f]\\{10\\}' | head -1)")
        .done();
    host.up_once();
    assert_eq!(tests::topology::address_of(&c1.ns, "eth0"), c1.address);
    let _server = Server::start(&c1.ns, 80);
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
}

#[test]
fn ended_flows_are_swept_and_live_ones_stay() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let controller = host.up();
    let c1 = bed.container(&host, "c1", &[]);
    let _server = Server::start(&bed.outside.ns, 80);
    // Answered and then reset: the state of such a flow ends after this time, which is four minutes unless set.
    host.netdp(&["timers", "set", "--unsafe", "close=10"]).done();
    let stream = tests::server::connect(&c1.ns, (bed.outside.address, 80)).unwrap();
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger).unwrap();
    drop(stream);
    let live = tests::server::connect(&c1.ns, (bed.outside.address, 80)).unwrap();
    assert_eq!(flow_entries(&host), 4);
    // The sweeper looks every few seconds, and a tick of the flow's clock is a second long.
    eventually("the sweep", Duration::from_secs(25), || flow_entries(&host) == 2);
    tests::server::ask_stream(&live).unwrap();
    controller.terminate(LIMIT).done();
}

/// Entries of the flow table, live or not: two per flow.
fn flow_entries(host: &Host) -> usize {
    let pin = host.run_dir().join("bpf/maps/FLOWS");
    let dump: Value = host.ns.sh(&format!("bpftool -j map dump pinned {}", pin.display())).json();
    dump.as_array().unwrap().len()
}
