//! A resolver in a container: it asks from a new port each time, and must not run out of them.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Instant;

use tests::server::{Server, ask_datagram};
use tests::topology::Bed;

/// Queries, each from a port of its own.
const QUERIES: u16 = 20_000;

#[test]
fn resolver_that_asks_from_twenty_thousand_ports_is_answered_each_time() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", &[]);
    let _server = Server::start(&bed.outside.ns, 53);
    let to = (bed.outside.address, 53);
    let start = Instant::now();
    let answered = c1.ns.enter(|| {
        let asked = (20_000..20_000 + QUERIES).filter(|port| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, *port)).unwrap();
            socket.connect(to).unwrap();
            ask_datagram(&socket).is_ok()
        });
        asked.count()
    });
    println!("    measured: resolver {QUERIES} queries in {:?}", start.elapsed());
    assert_eq!(answered, usize::from(QUERIES));
}
