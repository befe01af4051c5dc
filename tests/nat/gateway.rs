//! No application-level gateway: what an application says about addresses is its own affair (RFC 4787 REQ-10, RFC 5382 REQ-6).

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener};

use tests::packet::{Packet, SYN, TCP};
use tests::process::patient;

use crate::lan::{Lan, Peer, REMOTES, connect_from};
use crate::wire::{REMOTE, Station};

/// What gateways look for: the port that they open is 60000.
fn tempting(address: std::net::Ipv4Addr) -> [(u16, String); 4] {
    let commas = address.to_string().replace('.', ",");
    [
        (21, format!("PORT {commas},234,96\r\n")),
        (
            5060,
            format!(
                "REGISTER sip:x SIP/2.0\r\nContact: <sip:a@{address}:60000>\r\nContent-Length: 0\r\n\r\n"
            ),
        ),
        (6667, format!("PRIVMSG x :\u{1}DCC SEND f {} 60000 1\u{1}\r\n", u32::from(address))),
        (1720, format!("{address}:60000")),
    ]
}

#[test]
fn payload_of_udp_that_names_addresses_is_left_alone() {
    let lan = Lan::new();
    for (port, text) in tempting(lan.c1.address) {
        let (remote, inside) = (lan.remote(REMOTES[0], port), Peer::inside(&lan.c1, 0));
        inside.send(remote.local(), &text);
        let (heard, from) = remote.hears();
        assert_eq!(heard, text);
        let back = text.replace(&lan.c1.address.to_string(), &lan.host.address.to_string());
        remote.send(from, &back);
        assert_eq!(inside.hears().0, back);
    }
}

#[test]
fn payload_of_tcp_that_names_addresses_is_left_alone_and_opens_no_port() {
    let lan = Lan::new();
    let (c1, outside) = (Station::listening(&lan, &lan.c1), Station::outside(&lan));
    for (port, text) in tempting(lan.c1.address) {
        let listener = lan.bed.outside.ns.enter(|| TcpListener::bind((REMOTES[0], port))).unwrap();
        let mut stream = connect_from(&lan.c1.ns, 0, SocketAddrV4::new(REMOTES[0], port)).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut heard = vec![0; text.len()];
        accepted.set_read_timeout(Some(patient(std::time::Duration::from_secs(3)))).unwrap();
        accepted.read_exact(&mut heard).unwrap();
        assert_eq!(String::from_utf8_lossy(&heard), text);
    }
    for from in [REMOTE, REMOTES[0]] {
        outside.send(&Packet::tcp((from, 20), (lan.host.address, 60_000), SYN));
        outside.send(&Packet::udp((from, 20), (lan.host.address, 60_000)));
    }
    c1.refuses("a port was opened", |ip| ip.dport() == 60_000 && (ip.protocol == TCP || ip.protocol == 17));
}
