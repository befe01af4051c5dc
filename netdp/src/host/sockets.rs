//! Which ports have a socket, asked for at once (`sock_diag(7)`): to try thousands of ports one by one takes too long.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, getsockname, recv, send,
    socket,
};

use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST};

use super::ports::Transport;

/// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`.
const BY_FAMILY: u16 = 20;
/// `TCPDIAG_GETSOCK` of `linux/inet_diag.h`: the older request, which alone tells of both families in one walk through the
/// kernel's table. That is one table for all namespaces, and large.
const TCP: u16 = 18;
/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `struct inet_diag_sockid`: all zero is any socket.
const ANY: [u8; 48] = [0; 48];
/// `AF_INET` and `AF_INET6` of `linux/socket.h`, `IPPROTO_UDP` of `linux/in.h`, in the one byte that they have.
const INET: u8 = 2;
const INET6: u8 = 10;
const UDP: u8 = 17;
/// Where in an answer the port is, behind the header (`struct inet_diag_msg`).
const PORT: std::ops::Range<usize> = HEADER + 4..HEADER + 6;
/// Room for one part of an answer: the kernel fills what it is given, up to this.
const ROOM: usize = 32 * 1024;

/// Every port of a transport that a socket of the calling thread's namespace is bound to, whatever it does with it and in
/// whichever family. `None` where the kernel does not tell all of them.
pub fn ports(transport: Transport) -> io::Result<Option<HashSet<u16>>> {
    let canary = Canary::bind(transport)?;
    let mut found = HashSet::new();
    match transport {
        Transport::Tcp => dump(&of_tcp(), &mut found)?,
        Transport::Udp => {
            dump(&of_udp(INET), &mut found)?;
            dump(&of_udp(INET6), &mut found)?;
        }
    }
    Ok(found.contains(&canary.port).then_some(found))
}

/// A socket that is bound and no more: before 6.8 (91051f003948) the kernel keeps such ones of TCP to itself.
struct Canary {
    port: u16,
    _socket: OwnedFd,
}

impl Canary {
    fn bind(transport: Transport) -> io::Result<Self> {
        let kind = match transport {
            Transport::Tcp => SockType::Stream,
            Transport::Udp => SockType::Datagram,
        };
        let bound = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None)?;
        bind(bound.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0))?;
        let port = getsockname::<SockaddrIn>(bound.as_raw_fd())?.port();
        Ok(Self { port, _socket: bound })
    }
}

fn dump(request: &[u8], found: &mut HashSet<u16>) -> io::Result<()> {
    let kind = SockProtocol::NetlinkSockDiag;
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, kind)?;
    send(netlink.as_raw_fd(), request, MsgFlags::empty())?;
    let mut buffer = vec![0; ROOM];
    loop {
        let length = recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if read(buffer.get(..length).unwrap_or_default(), found)? {
            return Ok(());
        }
    }
}

/// Sockets of TCP in all states (`struct inet_diag_req`).
fn of_tcp() -> Vec<u8> {
    let states = u32::MAX.to_ne_bytes();
    message(TCP, &[&[0; 4][..], &ANY, &states, &[0; 4]].concat())
}

/// Sockets of UDP in all states (`struct inet_diag_req_v2`).
fn of_udp(family: u8) -> Vec<u8> {
    let states = u32::MAX.to_ne_bytes();
    message(BY_FAMILY, &[&[family, UDP, 0, 0][..], &states, &ANY].concat())
}

fn message(kind: u16, request: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + request.len()).unwrap_or_default();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(request);
    bytes
}

/// Reads one part of an answer; says whether it was the last.
fn read(mut bytes: &[u8], found: &mut HashSet<u16>) -> io::Result<bool> {
    while let [a, b, c, d, e, f, ..] = *bytes {
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        let message = bytes.get(..length).filter(|message| message.len() >= HEADER);
        let message = message.ok_or(io::ErrorKind::InvalidData)?;
        match i32::from(u16::from_ne_bytes([e, f])) {
            libc::NLMSG_DONE => return Ok(true),
            libc::NLMSG_ERROR => return Err(refusal(message)),
            _ => {}
        }
        if let Some([high, low]) = message.get(PORT) {
            found.insert(u16::from_be_bytes([*high, *low]));
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn refusal(message: &[u8]) -> io::Error {
    match message.get(HEADER..HEADER + 4) {
        Some([a, b, c, d]) => io::Error::from_raw_os_error(-i32::from_ne_bytes([*a, *b, *c, *d])),
        _ => io::ErrorKind::InvalidData.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn sockets_of_every_kind_are_seen() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let listener6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("a listener");
        let six = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).expect("a socket");
        let mut tcp = HashSet::new();
        dump(&of_tcp(), &mut tcp).expect("asked");
        assert!(tcp.contains(&listener.local_addr().expect("an address").port()));
        assert!(tcp.contains(&listener6.local_addr().expect("an address").port()));
        assert!(tcp.contains(&client.local_addr().expect("an address").port()));
        let udp = ports(Transport::Udp).expect("asked").expect("all are told");
        assert!(udp.contains(&datagrams.local_addr().expect("an address").port()));
        assert!(udp.contains(&six.local_addr().expect("an address").port()));
    }

    #[test]
    fn kernel_that_keeps_a_bound_socket_to_itself_is_not_believed() {
        let bound = Canary::bind(Transport::Tcp).expect("a socket");
        let mut told = HashSet::new();
        dump(&of_tcp(), &mut told).expect("asked");
        let all = ports(Transport::Tcp).expect("asked");
        assert_eq!(all.is_some(), told.contains(&bound.port));
    }

    #[test]
    fn a_broken_answer_is_an_error() {
        let mut found = HashSet::new();
        assert!(read(&[4, 0, 0, 0, 20, 0], &mut found).is_err());
        assert!(read(&[200, 0, 0, 0, 20, 0, 0, 0], &mut found).is_err());
        assert!(!read(&[], &mut found).expect("nothing"));
    }
}
