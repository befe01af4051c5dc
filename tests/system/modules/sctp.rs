//! SCTP: a protocol that containers of one network speak with one another, and with the outside.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrIn, bind, connect, listen, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use tests::capture::{Capture, Frame, Seen};
use tests::module::needs;
use tests::namespace::Namespace;
use tests::process::patient;
use tests::topology::{Bed, Container, Host, UPLINK};

use super::{forwarded, host_end, send_and_take, sent, take_and_return};
use crate::isolation::assert_counted;

/// Protocol number of SCTP (RFC 9260).
const SCTP: u8 = 132;
const PORT: u16 = 7000;
const LENGTH: usize = 256 << 10;
/// Fewer where every packet is summed bit by bit.
const SUMMED: usize = 64 << 10;

/// A one-to-one socket (RFC 6458), which behaves as one of TCP does, in a namespace.
fn endpoint(ns: &Namespace, patience: Duration) -> OwnedFd {
    let open =
        || socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, SockProtocol::Sctp).unwrap();
    let fd = ns.enter(open);
    let time = TimeVal::milliseconds(i64::try_from(patience.as_millis()).unwrap());
    setsockopt(&fd, sockopt::SendTimeout, &time).unwrap();
    setsockopt(&fd, sockopt::ReceiveTimeout, &time).unwrap();
    fd
}

/// Listens on one address: on all, the answer to an association names every address that the namespace has.
fn serve(ns: &Namespace, address: Ipv4Addr) -> TcpListener {
    let fd = endpoint(ns, patient(Duration::from_secs(10)));
    bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(address, PORT))).unwrap();
    listen(&fd, Backlog::new(8).unwrap()).unwrap();
    TcpListener::from(fd)
}

/// Opens an association, if that takes no longer than the limit.
fn associate(ns: &Namespace, to: Ipv4Addr, limit: Duration) -> io::Result<TcpStream> {
    associate_at(ns, (to, PORT), limit)
}

fn associate_at(ns: &Namespace, to: (Ipv4Addr, u16), limit: Duration) -> io::Result<TcpStream> {
    let fd = endpoint(ns, limit);
    connect(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(to.0, to.1)))?;
    Ok(TcpStream::from(fd))
}

fn assert_association(client: &Namespace, server: &Namespace, address: Ipv4Addr) {
    let serving = take_and_return(serve(server, address), LENGTH);
    let stream = associate(client, address, patient(Duration::from_secs(10)))
        .unwrap_or_else(|e| panic!("{} cannot associate with {address}: {e}", client.name()));
    let known = client.out("cat /proc/net/sctp/assocs");
    let taken = send_and_take(&stream, LENGTH);
    let served = serving.join().unwrap();
    assert!(taken.is_ok() && served.is_ok(), "client: {taken:?}, server: {served:?}");
    let port = format!(" {PORT} ");
    assert!(known.lines().any(|line| line.contains(&port) && line.contains(&address.to_string())), "{known}");
}

/// Without an answer: one INIT is sent, and the next only after three seconds.
fn assert_no_association(client: &Namespace, address: Ipv4Addr) {
    let opened = associate(client, address, Duration::from_secs(1));
    assert!(opened.is_err(), "{} has associated with {address}", client.name());
}

fn up(bed: &Bed) -> (Host, Container, Container) {
    needs("sctp");
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", &[]);
    let c2 = bed.container(&host, "c2", &[]);
    (host, c1, c2)
}

/// What was dropped, but for what the kernel of a container says in IPv6 at a time of its own choice.
fn drops(host: &Host) -> Vec<serde_json::Value> {
    let rows = host.json(&["drops"]).as_array().unwrap().clone();
    rows.into_iter().filter(|row| row["reason"] != "ipv6_disabled").collect()
}

#[test]
#[ignore = "runs in the VM: needs the module sctp"]
fn association_between_containers_of_one_network_goes_through_the_programs() {
    let bed = Bed::new();
    let (host, c1, c2) = up(&bed);
    let by_bridge = Capture::start(&host.ns, &host_end(&host, &c1), &[]);
    let (before, dropped) = (forwarded(&host, "local"), drops(&host));
    assert_association(&c2.ns, &c1.ns, c1.address);
    let local = forwarded(&host, "local") - before;
    assert!(local > 100, "{local} packets were handed over at the hook");
    assert_eq!(drops(&host), dropped);
    assert_eq!(sent(&by_bridge, Some(SCTP)), [], "the bridge has forwarded packets");
}

#[test]
#[ignore = "runs in the VM: needs the module sctp"]
fn association_with_a_container_of_another_network_is_refused() {
    let bed = Bed::new();
    let (host, c1, _c2) = up(&bed);
    host.netdp(&["network", "create", "other"]).done();
    let c3 = bed.container(&host, "c3", &["--network", "other"]);
    let _listener = serve(&c3.ns, c3.address);
    let arrived = Capture::start(&host.ns, &host_end(&host, &c3), &[]);
    assert_counted(&host, "inter_network", || assert_no_association(&c1.ns, c3.address));
    assert_eq!(sent(&arrived, Some(SCTP)), []);
}

#[test]
#[ignore = "runs in the VM: needs the module sctp"]
fn association_with_the_outside_goes_by_the_hosts_address() {
    let bed = Bed::new();
    let (host, c1, _c2) = up(&bed);
    let outside = &bed.outside;
    for ip_forward in ["0", "1"] {
        // Writing it sets `forwarding` of every interface, which netdp needs on its own bridges only.
        host.ns.set_sysctl("net/ipv4/ip_forward", ip_forward);
        let before = forwarded(&host, "masqueraded");
        assert_association(&c1.ns, &outside.ns, outside.address);
        let masqueraded = forwarded(&host, "masqueraded") - before;
        assert!(masqueraded > 50, "{masqueraded} packets were masqueraded, ip_forward {ip_forward}");
    }
}

/// Ports of the host, and those behind them.
const PUBLISHED: [(u16, u16); 2] = [(9000, PORT), (PORT, PORT)];

#[test]
#[ignore = "runs in the VM: needs the module sctp"]
fn association_with_a_published_port_reaches_the_port_behind_it() {
    let bed = Bed::new();
    let (host, _c1, _c2) = up(&bed);
    let ports = PUBLISHED.map(|(port, inside)| format!("{port}:{inside}/sctp"));
    let c3 = bed.container(&host, "c3", &["-p", &ports[0], "-p", &ports[1]]);
    let outside = &bed.outside;
    // Every checksum is made by its sender, so that a wrong one is seen.
    for (ns, interface) in [(&outside.ns, "wan0"), (&c3.ns, "eth0")] {
        ns.sh(&format!("ethtool -K {interface} tx-checksum-sctp off")).done();
    }
    let wires = [(&host.ns, UPLINK), (&c3.ns, "eth0")].map(|(ns, name)| Capture::start(ns, name, &[]));
    for (published, _) in PUBLISHED {
        let before = ["published", "reply"].map(|reason| forwarded(&host, reason));
        let serving = take_and_return(serve(&c3.ns, c3.address), SUMMED);
        let stream = associate_at(&outside.ns, (host.address, published), patient(Duration::from_secs(10)))
            .unwrap_or_else(|e| panic!("no association with port {published}: {e}"));
        let taken = send_and_take(&stream, SUMMED);
        let served = serving.join().unwrap();
        assert!(taken.is_ok() && served.is_ok(), "client: {taken:?}, server: {served:?}");
        for (reason, before) in ["published", "reply"].into_iter().zip(before) {
            let went = forwarded(&host, reason) - before;
            assert!(went > 20, "port {published}: {went} packets {reason}");
        }
    }
    for wire in &wires {
        let seen = wire.seen();
        assert!(seen.frames.iter().filter_map(Frame::ipv4).any(|(protocol, ..)| protocol == SCTP));
        assert_sums(&seen);
    }
}

/// The receiver's stack writes a zero into the frame for as long as it sums it (`sctp_compute_cksum`), which a capture on
/// another processor may see: the frame is one for both. A packet that never had a sum would not be answered.
fn assert_sums(seen: &Seen) {
    let is_being_summed = |wrong: &&String| wrong.contains("SCTP checksum [00, 00, 00, 00]");
    let being_summed = seen.wrong.iter().filter(is_being_summed).count();
    assert!(being_summed * 20 <= seen.total, "{being_summed} of {} frames without a sum", seen.total);
    let wrong: Vec<_> = seen.wrong.iter().filter(|wrong| !is_being_summed(wrong)).collect();
    assert!(wrong.is_empty(), "{} wrong: {:#?}", wrong.len(), wrong.first());
}

#[test]
#[ignore = "runs in the VM: needs the module sctp"]
fn associations_of_the_host_itself_are_its_own() {
    let bed = Bed::new();
    let (host, c1, _c2) = up(&bed);
    assert_association(&host.ns, &bed.outside.ns, bed.outside.address);
    assert_association(&bed.outside.ns, &host.ns, host.address);
    assert_association(&host.ns, &c1.ns, c1.address);
}
