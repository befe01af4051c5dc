//! Ports of the host: whether another program's socket holds one, and which ones may be given at random.

use std::{
    fmt, fs, io,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    ops::RangeInclusive,
    os::fd::AsRawFd,
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket,
        sockopt::{Ipv6V6Only, ReuseAddr},
    },
};

/// What Docker falls back to when the kernel does not tell its range.
const FALLBACK: RangeInclusive<u16> = 49153..=65535;

/// Transport protocols that have ports here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A socket holds it.
    #[error("Bind for {0} failed: port is already allocated")]
    InUse(SocketAddr),
    /// The address is not one of this host's.
    #[error("cannot publish on {0}: {ip} is not an address of this host; see `ip address`", ip = .0.ip())]
    NotLocal(SocketAddr),
    /// Something else.
    #[error("cannot try port {address}/{transport}: {}", cause.desc())]
    Other {
        /// What was tried.
        address: SocketAddr,
        /// For which protocol.
        transport: Transport,
        /// What the kernel said.
        cause: Errno,
    },
}

/// Tries whether a port is free in the calling thread's namespace, by taking it for a moment. Nothing can
/// connect to it meanwhile, as nobody listens.
pub fn try_bind(transport: Transport, address: IpAddr, port: u16) -> Result<(), Error> {
    let address = SocketAddr::new(address, port);
    bind_once(transport, address).map_err(|cause| match cause {
        Errno::EADDRINUSE => Error::InUse(address),
        Errno::EADDRNOTAVAIL => Error::NotLocal(address),
        cause => Error::Other { address, transport, cause },
    })
}

/// Whether an IPv6 port is free in the calling thread's namespace, without taking it: where netdp has published the port
/// in IPv4, its own reservation would refuse the try, as it cannot know that the socket leaves IPv4 alone.
pub fn look_up(transport: Transport, address: Ipv6Addr, port: u16) -> Result<(), Error> {
    // Port 0 is never reserved: this only asks whether the address is one of the host's.
    try_bind(transport, address.into(), 0)?;
    let asked = SocketAddr::new(address.into(), port);
    let other = |error: io::Error| Error::Other {
        address: asked,
        transport,
        cause: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
    };
    let table = fs::read_to_string(format!("/proc/thread-self/net/{transport}6")).map_err(other)?;
    let clashes = |held: &SocketAddrV6| {
        let unspecified = held.ip().is_unspecified() || address.is_unspecified();
        held.port() == port && held.ip().to_ipv4_mapped().is_none() && (unspecified || *held.ip() == address)
    };
    let mut holders = table.lines().skip(1).filter_map(|line| holder(transport, line));
    if holders.any(|held| clashes(&held)) { Err(Error::InUse(asked)) } else { Ok(()) }
}

/// `TCP_LISTEN` of `net/tcp_states.h`, as the kernel prints it.
const LISTENING: &str = "0A";

/// Address and port of one line of `/proc/net/tcp6` or `udp6`, of a socket that nobody else may bind beside.
fn holder(transport: Transport, line: &str) -> Option<SocketAddrV6> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (address, port) = words.next()?.split_once(':')?;
    let state = words.nth(1)?;
    if transport == Transport::Tcp && state != LISTENING {
        return None;
    }
    let mut octets = [0; 16];
    for (at, word) in octets.chunks_exact_mut(4).enumerate() {
        // Each is printed as a number of the machine's own order.
        let digits = address.get(at * 8..at * 8 + 8)?;
        word.copy_from_slice(&u32::from_str_radix(digits, 16).ok()?.to_ne_bytes());
    }
    Some(SocketAddrV6::new(octets.into(), u16::from_str_radix(port, 16).ok()?, 0, 0))
}

fn bind_once(transport: Transport, address: SocketAddr) -> Result<(), Errno> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let kind = match transport {
        Transport::Tcp => SockType::Stream,
        Transport::Udp => SockType::Datagram,
    };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    // `::` alone would be every IPv4 address too.
    if address.is_ipv6() {
        setsockopt(&socket, Ipv6V6Only, &true)?;
    }
    // A TCP connection that has ended and lingers (TIME_WAIT) is no reason to refuse, and for TCP a
    // listener still is. For UDP the option would let us share the port with another program that set it
    // too.
    if transport == Transport::Tcp {
        setsockopt(&socket, ReuseAddr, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))
}

/// Ports that may be given to who asks for any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RandomPorts {
    range: RangeInclusive<u16>,
    reserved: Vec<RangeInclusive<u16>>,
}

impl RandomPorts {
    /// As the calling thread's namespace has them: `ip_local_port_range` without `ip_local_reserved_ports`.
    pub fn here() -> io::Result<Self> {
        let read = |name: &str| match fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            result => result,
        };
        Ok(Self::parse(&read("ip_local_port_range")?, &read("ip_local_reserved_ports")?))
    }

    /// From the words of the two files: `32768\t60999` and `8080,9000-9010`.
    fn parse(range: &str, reserved: &str) -> Self {
        let mut bounds = range.split_whitespace().map_while(|word| word.parse().ok());
        let range = match (bounds.next(), bounds.next()) {
            (Some(first), Some(last)) if first <= last => first..=last,
            _ => FALLBACK,
        };
        Self { range, reserved: reserved.trim().split(',').filter_map(ports).collect() }
    }

    /// Tells whether `port` may be given.
    pub fn contains(&self, port: u16) -> bool {
        self.range.contains(&port) && !self.reserved.iter().any(|range| range.contains(&port))
    }

    /// Every port that may be given, once, beginning behind `last` (the one given before) and going round.
    pub fn after(&self, last: u16) -> impl Iterator<Item = u16> {
        let (low, high) = (*self.range.start(), *self.range.end());
        let behind = (u32::from(last) + 1).max(u32::from(low));
        let head = low..=high;
        let tail = head.clone();
        let tail = tail.filter(move |port| u32::from(*port) >= behind);
        let head = head.filter(move |port| u32::from(*port) < behind);
        tail.chain(head).filter(|port| self.contains(*port))
    }
}

fn ports(word: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, UdpSocket};

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_listener_holds_its_port() {
        let listener = TcpListener::bind((LOOPBACK, 0)).expect("a listener");
        let port = listener.local_addr().expect("its address").port();
        let error = try_bind(Transport::Tcp, LOOPBACK, port).expect_err("held");
        assert_eq!(error.to_string(), format!("Bind for 127.0.0.1:{port} failed: port is already allocated"));
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        assert!(matches!(try_bind(Transport::Tcp, any, port), Err(Error::InUse(_))));
        drop(listener);
        try_bind(Transport::Tcp, LOOPBACK, port).expect("free again");
        try_bind(Transport::Tcp, LOOPBACK, port).expect("and still");
    }

    #[test]
    fn a_datagram_socket_holds_its_port() {
        let socket = UdpSocket::bind((LOOPBACK, 0)).expect("a socket");
        let port = socket.local_addr().expect("its address").port();
        assert!(matches!(try_bind(Transport::Udp, LOOPBACK, port), Err(Error::InUse(_))));
    }

    #[test]
    fn a_listener_is_found_in_the_kernels_table_too() {
        let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("a listener");
        let port = listener.local_addr().expect("its address").port();
        for address in [Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED] {
            let held = look_up(Transport::Tcp, address, port);
            assert!(matches!(held, Err(Error::InUse(_))), "{held:?}");
            look_up(Transport::Udp, address, port).expect("of another protocol");
        }
        let datagrams = UdpSocket::bind((Ipv6Addr::LOCALHOST, port)).expect("a socket");
        assert!(matches!(look_up(Transport::Udp, Ipv6Addr::LOCALHOST, port), Err(Error::InUse(_))));
        drop((listener, datagrams));
        look_up(Transport::Tcp, Ipv6Addr::UNSPECIFIED, port).expect("free again");
        let foreign = "2001:db8::1".parse().expect("an address");
        assert!(matches!(look_up(Transport::Tcp, foreign, port), Err(Error::NotLocal(_))));
    }

    #[test]
    fn a_line_of_the_table_says_who_holds_a_port() {
        let line = "   0: B80D0120000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000";
        let held = holder(Transport::Tcp, line).map(|held| held.to_string());
        assert_eq!(held.as_deref(), Some("[2001:db8::1]:8080"));
        assert_eq!(holder(Transport::Tcp, &line.replace(" 0A ", " 01 ")), None, "connected, not listening");
        assert!(holder(Transport::Udp, &line.replace(" 0A ", " 07 ")).is_some());
        for cut in ["", "0:", "0: 00:50 x 0A", "0: B80D0120:1F90 y 0A"] {
            assert_eq!(holder(Transport::Tcp, cut), None, "{cut}");
        }
    }

    #[test]
    fn a_foreign_address_is_not_called_taken() {
        let foreign = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let error = try_bind(Transport::Tcp, foreign, 8080).expect_err("foreign");
        assert!(matches!(error, Error::NotLocal(_)), "{error}");
    }

    #[test]
    fn reserved_ports_are_left_out() {
        let ports = RandomPorts::parse("100\t105\n", "101,103-104\n");
        assert_eq!(ports.after(0).collect::<Vec<_>>(), [100, 102, 105]);
        assert_eq!(ports.after(100).collect::<Vec<_>>(), [102, 105, 100]);
        assert_eq!(ports.after(105).collect::<Vec<_>>(), [100, 102, 105]);
        assert_eq!(ports.after(65535).collect::<Vec<_>>(), [100, 102, 105]);
    }

    #[test]
    fn an_unreadable_range_is_dockers() {
        for range in ["", "garbage", "9 8", "1"] {
            assert_eq!(RandomPorts::parse(range, "\n").range, FALLBACK, "{range:?}");
        }
    }
}
