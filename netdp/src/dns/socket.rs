//! The sockets of the resolver. None is bound to port 53 (see `netdp_common::resolver`): queries are handed to them by the
//! kernel, connections then have the port that they were opened to, and answers to datagrams leave by a raw socket, which alone
//! may say port 53 without having it.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use netdp_common::resolver::PORT;
use nix::cmsg_space;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType,
    SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage, bind, listen, recvmsg, sendmsg, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::Error;

/// Octets that wait in the kernel while the database is read: some ten thousand queries.
const BACKLOG: usize = 8 << 20;
/// How often a receiver that has nothing to do looks whether it is to end.
const IDLE: Duration = Duration::from_millis(100);
/// Octets of a UDP header.
const HEADER: usize = 8;

/// A query in one datagram.
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    /// Who asks.
    pub from: SocketAddr,
    /// The address of ours that was asked.
    pub server: IpAddr,
    /// The interface that it came in by.
    ifindex: u32,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    fn domain(self) -> AddressFamily {
        match self {
            Self::V4 => AddressFamily::Inet,
            Self::V6 => AddressFamily::Inet6,
        }
    }

    /// Where a socket is bound that only the kernel's look-up is to find: no packet from elsewhere has this address.
    fn loopback(self) -> SockaddrStorage {
        match self {
            Self::V4 => SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into(),
            Self::V6 => SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0).into(),
        }
    }
}

/// Queries come in here.
#[derive(Debug)]
pub struct Datagrams {
    family: Family,
    socket: UdpSocket,
    answers: OwnedFd,
}

impl Datagrams {
    /// Opens the sockets of a family.
    ///
    /// # Errors
    /// The host does not have that family, or the process may not.
    pub fn open(family: Family) -> Result<Self, Error> {
        let open = || -> nix::Result<OwnedFd> {
            let fd = socket(family.domain(), SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
            match family {
                Family::V4 => setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?,
                Family::V6 => setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?,
            }
            setsockopt(&fd, sockopt::RcvBufForce, &BACKLOG)?;
            let idle = TimeVal::new(0, libc::suseconds_t::from(i32::try_from(IDLE.as_micros()).unwrap_or(0)));
            setsockopt(&fd, sockopt::ReceiveTimeout, &idle)?;
            bind(fd.as_raw_fd(), &family.loopback())?;
            Ok(fd)
        };
        let opened = open().map_err(|errno| Error::socket("open a socket for queries")(errno.into()))?;
        let answers = raw(family).map_err(Error::socket("open a socket for answers"))?;
        Ok(Self { family, socket: opened.into(), answers })
    }

    /// A second handle on the same.
    pub fn share(&self) -> Result<Self, Error> {
        let failed = || Error::socket("share a socket");
        let socket = self.socket.try_clone().map_err(failed())?;
        let answers = self.answers.try_clone().map_err(failed())?;
        Ok(Self { family: self.family, socket, answers })
    }

    /// The next query into a buffer, and its length. Without `wait`, or after some time, it is that there is none.
    pub fn receive(&self, buffer: &mut [u8], wait: bool) -> io::Result<Option<(usize, Envelope)>> {
        let mut control = cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = if wait { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT };
        let fd = self.socket.as_raw_fd();
        let message = match recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control), flags) {
            Ok(message) => message,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let from = message.address.as_ref().and_then(socket_address);
        let mut server = None;
        for control in message.cmsgs()? {
            match control {
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    let address = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                    server = Some((address.into(), info.ipi_ifindex.cast_unsigned()));
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    server = Some((Ipv6Addr::from(info.ipi6_addr.s6_addr).into(), info.ipi6_ifindex));
                }
                _ => {}
            }
        }
        let length = message.bytes;
        // Who did not say where to or where from is nobody; the length is that of an empty query, which nobody answers.
        let envelope = from.zip(server).map(|(from, (server, ifindex))| Envelope { from, server, ifindex });
        Ok(envelope.map(|envelope| (length, envelope)))
    }

    /// Sends an answer back from port 53 of the address that was asked.
    pub fn answer(&self, envelope: &Envelope, payload: &[u8]) -> io::Result<()> {
        let header = header(envelope, payload)?;
        let parts = [IoSlice::new(header.as_flattened()), IoSlice::new(payload)];
        let fd = self.answers.as_raw_fd();
        match (envelope.server, envelope.from) {
            (IpAddr::V4(server), SocketAddr::V4(from)) => {
                let address = libc::in_addr { s_addr: u32::from(server).to_be() };
                let ipi_ifindex = envelope.ifindex.cast_signed();
                let info = libc::in_pktinfo { ipi_ifindex, ipi_spec_dst: address, ipi_addr: address };
                let to: SockaddrIn = SocketAddrV4::new(*from.ip(), 0).into();
                send(fd, &parts, &ControlMessage::Ipv4PacketInfo(&info), &to)
            }
            (IpAddr::V6(server), SocketAddr::V6(from)) => {
                let address = libc::in6_addr { s6_addr: server.octets() };
                let info = libc::in6_pktinfo { ipi6_addr: address, ipi6_ifindex: envelope.ifindex };
                let to: SockaddrIn6 = SocketAddrV6::new(*from.ip(), 0, 0, from.scope_id()).into();
                send(fd, &parts, &ControlMessage::Ipv6PacketInfo(&info), &to)
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

impl AsRawFd for Datagrams {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

fn send<A: SockaddrLike>(
    fd: i32,
    parts: &[IoSlice<'_>],
    control: &ControlMessage<'_>,
    to: &A,
) -> io::Result<()> {
    sendmsg(fd, parts, &[*control], MsgFlags::empty(), Some(to))?;
    Ok(())
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|it| SocketAddr::V4((*it).into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|it| SocketAddr::V6((*it).into())))
}

/// A socket that only sends: whatever of UDP comes in, its filter leaves to others.
fn raw(family: Family) -> io::Result<OwnedFd> {
    let fd = socket(family.domain(), SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Udp)?;
    let refuse = libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: 0 };
    let mut instructions = [refuse];
    let program = libc::sock_fprog { len: 1, filter: instructions.as_mut_ptr() };
    set(&fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
    if family == Family::V6 {
        // The kernel puts the checksum there, over the addresses that it chooses.
        set(&fd, libc::IPPROTO_IPV6, libc::IPV6_CHECKSUM, &CHECKSUM)?;
    }
    Ok(fd)
}

/// `BPF_RET | BPF_K` of `linux/filter.h`: how many octets are kept.
const RETURN: u16 = 0x06;
/// Where the checksum stands in a UDP header.
const CHECKSUM: libc::c_int = 6;

fn set<T>(fd: &impl AsFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let (fd, value) = (fd.as_fd().as_raw_fd(), std::ptr::from_ref(value).cast());
    // SAFETY: the value is live and of the length that is passed; the kernel copies it, and the filter that one points to.
    let result = unsafe { libc::setsockopt(fd, level, name, value, length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The header of an answer; with its checksum for IPv4, where the kernel does not make it.
fn header(envelope: &Envelope, payload: &[u8]) -> io::Result<[[u8; 2]; HEADER / 2]> {
    let length = u16::try_from(HEADER + payload.len()).map_err(io::Error::other)?;
    let port = u16::try_from(PORT).map_err(io::Error::other)?;
    let words = |checksum: u16| [port, envelope.from.port(), length, checksum].map(u16::to_be_bytes);
    let mut header = words(0);
    if let (IpAddr::V4(server), IpAddr::V4(from)) = (envelope.server, envelope.from.ip()) {
        let pseudo = [[0, 17], length.to_be_bytes()];
        let (server, from) = (server.octets(), from.octets());
        let parts: [&[u8]; 5] = [&server, &from, pseudo.as_flattened(), header.as_flattened(), payload];
        header = words(checksum(&parts));
    }
    Ok(header)
}

/// Over parts of which each but the last is even (RFC 768; zero would mean that there is none).
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 = words
        .map(|word| word.iter().zip([8, 0]).map(|(octet, shift)| u32::from(*octet) << shift).sum::<u32>())
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    let sum = !u16::try_from(folded).unwrap_or(u16::MAX);
    if sum == 0 { u16::MAX } else { sum }
}

/// A socket for connections.
pub fn connections(family: Family) -> Result<TcpListener, Error> {
    let open = || -> nix::Result<OwnedFd> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(family.domain(), SockType::Stream, flags, None)?;
        bind(fd.as_raw_fd(), &family.loopback())?;
        listen(&fd, Backlog::new(1024)?)?;
        Ok(fd)
    };
    Ok(open().map_err(|errno| Error::socket("open a socket for connections")(errno.into()))?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_the_whole_is_nothing() {
        let envelope = Envelope {
            from: "192.0.2.7:40000".parse().unwrap(),
            server: "192.0.2.1".parse().unwrap(),
            ifindex: 3,
        };
        for payload in [&b"12345"[..], b"123456", b""] {
            let header = header(&envelope, payload).unwrap();
            let header = header.as_flattened();
            let length = [0, 17, header[4], header[5]];
            let all: [&[u8]; 5] = [&[192, 0, 2, 1], &[192, 0, 2, 7], &length, header, payload];
            // That of a sound datagram is zero, which is written as all ones.
            assert_eq!(checksum(&all), u16::MAX);
            assert_eq!(header[..4], [0, 53, 0x9c, 0x40]);
        }
    }
}
