//! Every valid sequence of TCP packets (RFC 5382 REQ-2), and what is none.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

use tests::packet::{ACK, Carries, FIN, Packet, RST, SYN, TCP};
use tests::process::patient;
use tests::server::bound;

use crate::lan::{Lan, REMOTES, connect_from};
use crate::wire::{REMOTE, Station};

/// A connection from port 5000 of `c1` to port 80 outside: both ends, and the outside one's peer.
pub(crate) fn connection(lan: &Lan) -> (TcpStream, TcpStream, SocketAddr) {
    // The connection before this one may be about to end.
    let listener = bound(&lan.bed.outside.ns, || TcpListener::bind((REMOTES[0], 80)));
    let inside = connect_from(&lan.c1.ns, 5000, SocketAddrV4::new(REMOTES[0], 80)).unwrap();
    let (outside, peer) = listener.accept().unwrap();
    outside.set_read_timeout(Some(patient(Duration::from_secs(3)))).unwrap();
    (inside, outside, peer)
}

/// Sends these bytes over a connection, and sees them arrive.
pub(crate) fn assert_carries(mut from: &TcpStream, mut to: &TcpStream, text: &[u8]) {
    from.write_all(text).unwrap();
    let mut heard = vec![0; text.len()];
    to.read_exact(&mut heard).unwrap();
    assert_eq!(heard, text);
}

#[test]
fn either_end_may_close_its_half_first_and_the_other_goes_on() {
    let lan = Lan::new();
    for inside_first in [true, false] {
        let (inside, outside, _) = connection(&lan);
        let (first, second) = if inside_first { (&inside, &outside) } else { (&outside, &inside) };
        assert_carries(first, second, b"before");
        first.shutdown(Shutdown::Write).unwrap();
        let mut second_reads = second;
        assert_eq!(second_reads.read(&mut [0; 8]).unwrap(), 0, "the end arrives");
        assert_carries(second, first, b"after");
        second.shutdown(Shutdown::Write).unwrap();
        let mut first_reads = first;
        assert_eq!(first_reads.read(&mut [0; 8]).unwrap(), 0, "and the other end");
        // The first to close holds the port for a minute.
        lan.c1.ns.sh("ss -K state time-wait").done();
    }
}

#[test]
fn reset_of_either_end_reaches_the_other() {
    let lan = Lan::new();
    for inside_first in [true, false] {
        let (inside, outside, _) = connection(&lan);
        let (first, second) = if inside_first { (inside, outside) } else { (outside, inside) };
        assert_carries(&first, &second, b"before");
        // What is closed with bytes unread is reset.
        let mut second_writes = &second;
        second_writes.write_all(b"unread").unwrap();
        let mut byte = [0; 1];
        assert_eq!(first.peek(&mut byte).unwrap(), 1);
        drop(first);
        let mut second_reads = &second;
        assert_eq!(second_reads.read(&mut byte).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn simultaneous_open_connects() {
    let lan = Lan::new();
    let (c1, outside) = (Station::container(&lan, &lan.c1), Station::outside(&lan));
    let (own, host) = ((lan.c1.address, 5000), lan.host.address);
    c1.send(&Packet::tcp(own, (REMOTE, 4000), SYN));
    let syn = outside.awaits("the SYN of the inside", |ip| ip.dst == REMOTE && ip.flags() == SYN);
    let to = (host, syn.sport());
    outside.send(&Packet::tcp((REMOTE, 4000), to, SYN));
    c1.awaits("the SYN of the outside", |ip| ip.src == REMOTE && ip.flags() == SYN);
    c1.send(&Packet::tcp(own, (REMOTE, 4000), SYN | ACK));
    outside.awaits("the SYN+ACK of the inside", |ip| ip.flags() == SYN | ACK && ip.sport() == to.1);
    outside.send(&Packet::tcp((REMOTE, 4000), to, SYN | ACK));
    c1.awaits("the SYN+ACK of the outside", |ip| ip.flags() == SYN | ACK);
    let data = |from, to, text: &[u8]| Packet::tcp(from, to, ACK).with(|p| p.payload = text.to_vec());
    c1.send(&data(own, (REMOTE, 4000), b"from inside"));
    outside.awaits("data", |ip| ip.has(b"from inside") && ip.sport() == to.1);
    outside.send(&data((REMOTE, 4000), to, b"from outside"));
    c1.awaits("data", |ip| ip.has(b"from outside"));
    outside.refuses("the host took part", |ip| ip.flags() & RST != 0);
}

#[test]
fn segment_out_of_the_window_resets_nothing() {
    let lan = Lan::new();
    let (inside, outside, peer) = connection(&lan);
    let (wire, c1) = (Station::outside(&lan), Station::listening(&lan, &lan.c1));
    assert_carries(&inside, &outside, b"before");
    for seq in [0x1000_0000_u32, 0x9000_0000, 0xf000_0000] {
        let carries = Carries::Tcp { sport: 80, dport: peer.port(), flags: ACK, seq, ack: seq };
        wire.send(&Packet::new(REMOTES[0], lan.host.address, carries));
        let carries = Carries::Tcp { sport: 5000, dport: 80, flags: ACK, seq, ack: seq };
        c1.send(&Packet::new(lan.c1.address, REMOTES[0], carries));
    }
    wire.refuses("a reset", |ip| ip.protocol == TCP && ip.flags() & RST != 0);
    c1.refuses("a reset", |ip| ip.protocol == TCP && ip.flags() & RST != 0);
    assert_carries(&inside, &outside, b"after");
    assert_carries(&outside, &inside, b"after");
}

#[test]
fn late_segments_after_the_end_neither_leave_untranslated_nor_stop_the_tuple_from_use() {
    let lan = Lan::new();
    let (c1, outside) = (Station::container(&lan, &lan.c1), Station::outside(&lan));
    let (own, far, host) = ((lan.c1.address, 5000), (REMOTE, 80), (lan.host.address, 5000));
    for (station, from, to, flags) in [
        (&c1, own, far, SYN),
        (&outside, far, host, SYN | ACK),
        (&c1, own, far, ACK),
        (&c1, own, far, FIN | ACK),
        (&outside, far, host, FIN | ACK),
        (&c1, own, far, ACK),
    ] {
        station.send(&Packet::tcp(from, to, flags));
    }
    for flags in [FIN | ACK, ACK, RST, RST | ACK, SYN | ACK] {
        c1.send(&Packet::tcp(own, far, flags));
        outside.send(&Packet::tcp(far, host, flags));
    }
    let late = Packet::tcp((lan.c1.address, 80), far, FIN | ACK);
    c1.send(&late);
    outside.refuses("an inside address", |ip| ip.src == lan.c1.address);
    c1.send(&Packet::tcp(own, far, SYN).with(|p| p.payload = b"again".to_vec()));
    let again = outside.awaits("the tuple's second use", |ip| ip.flags() == SYN && ip.has(b"again"));
    outside
        .send(&Packet::tcp(far, (again.src, again.sport()), SYN | ACK).with(|p| p.payload = b"yes".to_vec()));
    c1.awaits("its answer", |ip| ip.flags() == SYN | ACK && ip.has(b"yes"));
}
