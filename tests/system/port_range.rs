//! A range of ten thousand ports: published and withdrawn in one command each, and every port of it answers.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use tests::namespace::Namespace;
use tests::process::{measured, patient};
use tests::topology::{Bed, Container, Host};

use crate::deep::assert_agree;

const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;
const PATIENCE: Duration = Duration::from_secs(5);

fn ports() -> impl Iterator<Item = u16> + Send {
    FIRST..FIRST + COUNT
}

fn bind_all<S: Send>(ns: &Namespace, bind: fn(SocketAddr) -> std::io::Result<S>) -> Vec<S> {
    let all =
        |port| bind((Ipv4Addr::UNSPECIFIED, port).into()).unwrap_or_else(|e| panic!("port {port}: {e}"));
    ns.enter(|| ports().map(all).collect())
}

/// The container with the range published, and how long the command took.
fn publish(bed: &Bed, host: &Host, protocol: &str) -> (Container, Duration) {
    let spec = format!("{FIRST}-{}:{FIRST}-{}/{protocol}", FIRST + COUNT - 1, FIRST + COUNT - 1);
    let begin = Instant::now();
    let container = bed.container(host, protocol, &["-p", &spec]);
    (container, begin.elapsed())
}

fn withdraw(host: &Host, name: &str) -> Duration {
    let begin = Instant::now();
    host.netdp(&["detach", name]).done();
    begin.elapsed()
}

fn host_with_room(bed: &Bed) -> Host {
    let host = bed.host("h1");
    host.up_once();
    host
}

/// The port inside says its own number to the client of that port outside.
fn assert_stream(listener: &TcpListener, to: (Ipv4Addr, u16)) {
    let mut client =
        TcpStream::connect_timeout(&to.into(), patient(PATIENCE)).unwrap_or_else(|e| panic!("{to:?}: {e}"));
    client.set_read_timeout(Some(patient(PATIENCE))).unwrap();
    // It has been connected, so there is one to be accepted.
    let (mut server, _) = listener.accept().unwrap();
    server.write_all(&to.1.to_be_bytes()).unwrap();
    let mut said = [0; 2];
    client.read_exact(&mut said).unwrap_or_else(|e| panic!("{to:?}: {e}"));
    assert_eq!(u16::from_be_bytes(said), to.1);
}

#[test]
fn ten_thousand_tcp_ports_are_published_and_withdrawn_in_one_command_each() {
    let bed = Bed::new();
    let host = host_with_room(&bed);
    let (c1, published) = publish(&bed, &host, "tcp");
    assert_eq!(assert_agree(&host)["ports"], COUNT);
    let listeners = bind_all(&c1.ns, TcpListener::bind);
    let begin = Instant::now();
    bed.outside.ns.enter(|| {
        for (listener, port) in listeners.iter().zip(ports()) {
            assert_stream(listener, (host.address, port));
        }
    });
    let answered = begin.elapsed();
    let withdrawn = withdraw(&host, "tcp");
    measured(&format!(
        "{COUNT} TCP ports: published in {published:?}, withdrawn in {withdrawn:?}; all answered within {answered:?}"
    ));
    assert_agree(&host);
    bed.outside.ns.enter(|| {
        // A port by which a flow has just gone is silent for some seconds (RFC 5382, REQ-4); the others are refused.
        let outcome = |port| {
            TcpStream::connect_timeout(&SocketAddr::from((host.address, port)), Duration::from_millis(250))
        };
        let refused =
            ports().filter(|port| outcome(*port).unwrap_err().kind() == ErrorKind::ConnectionRefused);
        let refused = refused.count();
        assert!(refused > usize::from(COUNT) * 9 / 10, "{refused} of {COUNT} were refused, nobody answered");
    });
    drop(listeners);
    drop(bind_all(&host.ns, TcpListener::bind));
}

/// A question to a port outside, and the answer of the same port inside.
fn assert_datagram(server: &UdpSocket, client: &UdpSocket, to: (Ipv4Addr, u16)) {
    let (port, mut buffer) = (to.1.to_be_bytes(), [0; 8]);
    client.send_to(&port, to).unwrap();
    let (length, peer) = server.recv_from(&mut buffer).unwrap_or_else(|e| panic!("{to:?}: {e}"));
    assert_eq!(buffer[..length], port);
    server.send_to(&port, peer).unwrap();
    let (length, from) = client.recv_from(&mut buffer).unwrap_or_else(|e| panic!("{to:?}: {e}"));
    assert_eq!((&buffer[..length], from), (&port[..], SocketAddr::from(to)));
}

#[test]
fn ten_thousand_udp_ports_are_published_and_withdrawn_in_one_command_each() {
    let bed = Bed::new();
    let host = host_with_room(&bed);
    let (c1, published) = publish(&bed, &host, "udp");
    assert_eq!(assert_agree(&host)["ports"], COUNT);
    let servers = bind_all(&c1.ns, UdpSocket::bind);
    let client = bed.outside.ns.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).unwrap();
    for socket in servers.iter().chain([&client]) {
        socket.set_read_timeout(Some(patient(PATIENCE))).unwrap();
    }
    let begin = Instant::now();
    for (server, port) in servers.iter().zip(ports()) {
        assert_datagram(server, &client, (host.address, port));
    }
    let answered = begin.elapsed();
    let withdrawn = withdraw(&host, "udp");
    measured(&format!(
        "{COUNT} UDP ports: published in {published:?}, withdrawn in {withdrawn:?}; all answered within {answered:?}"
    ));
    assert_agree(&host);
    for port in ports() {
        client.send_to(&port.to_be_bytes(), (host.address, port)).unwrap();
    }
    for (server, port) in servers.iter().zip(ports()) {
        server.set_nonblocking(true).unwrap();
        let nothing = server.recv_from(&mut [0; 8]).map_err(|e| e.kind());
        assert_eq!(nothing, Err(ErrorKind::WouldBlock), "port {port}");
    }
    drop(servers);
    drop(bind_all(&host.ns, UdpSocket::bind));
}

#[test]
fn range_of_which_one_port_is_taken_publishes_none_of_it() {
    let bed = Bed::new();
    let host = host_with_room(&bed);
    let _c1 = bed.container(&host, "c1", &["-p", "25000:80"]);
    let c2 = bed.namespace("c2");
    let path = c2.path().to_str().unwrap();
    let line = ["attach", "--netns", path, "--name", "c2", "-p", "20000-29999:20000-29999"];
    host.netdp(&line)
        .exits(1)
        .says("Bind for 0.0.0.0:25000 failed: port is already allocated")
        .done_failing();
    assert_eq!(assert_agree(&host)["ports"], 1);
    drop(bind_all(&host.ns, |address| match address.port() {
        25_000 => Ok(None),
        _ => TcpListener::bind(address).map(Some),
    }));
}
