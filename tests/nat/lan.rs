//! One host with two containers, three remote addresses, and sockets that say as whom they are seen.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use tests::namespace::Namespace;
use tests::process::{patient, slowness};
use tests::server::{Server, bound};
use tests::topology::{Bed, Container, Host, OUTSIDE};

/// Three addresses of the outside, which is three remotes to a NAT.
pub(crate) const REMOTES: [Ipv4Addr; 3] =
    [OUTSIDE, Ipv4Addr::new(203, 0, 113, 2), Ipv4Addr::new(203, 0, 113, 3)];
/// The same in IPv6, where a LAN has both families.
pub(crate) const REMOTES6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 2),
    Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 3),
];
/// The published port of `c1`, for TCP and UDP; behind it is port 80.
pub(crate) const PUBLISHED: u16 = 8080;

/// Seconds that a peer waits for what must come.
const PATIENCE: Duration = Duration::from_secs(3);
/// And for what must not.
const QUIET: Duration = Duration::from_millis(300);

/// A host, two containers of its first network, and the outside.
pub(crate) struct Lan {
    pub(crate) host: Host,
    pub(crate) c1: Container,
    pub(crate) c2: Container,
    pub(crate) bed: Bed,
}

impl Lan {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// While no other test has one.
    pub(crate) fn alone() -> Self {
        Self::on(Bed::alone(), &["up", "--once"], None, &[])
    }

    /// With options of `netdp attach` for both containers.
    pub(crate) fn with(options: &[&str]) -> Self {
        Self::of(&["up", "--once"], None, options)
    }

    /// With the prefilter on the uplink, which a veth does not have unasked.
    pub(crate) fn with_prefilter() -> Self {
        Self::of(&["up", "--once", "--prefilter", "generic"], None, &[])
    }

    /// With both families.
    pub(crate) fn dual() -> Self {
        let subnets = ["--ipv6", "--subnet", "10.6.0.0/16", "--subnet", "fd00:6::/64", "both"];
        Self::of(&["up", "--once"], Some(&subnets), &["--network", "both"])
    }

    /// With options of `netdp network create` for a network of the containers, if it is not the first one.
    fn of(up: &[&str], network: Option<&[&str]>, options: &[&str]) -> Self {
        Self::on(Bed::new(), up, network, options)
    }

    fn on(bed: Bed, up: &[&str], network: Option<&[&str]>, options: &[&str]) -> Self {
        for (remote, remote6) in REMOTES.iter().zip(REMOTES6).skip(1) {
            let add = "ip address add";
            bed.outside
                .ns
                .sh(&format!("{add} {remote}/24 dev wan0 && {add} {remote6}/64 dev wan0 nodad"))
                .done();
        }
        let host = bed.host("h1");
        host.netdp(up).done();
        if let Some(network) = network {
            host.netdp(&[&["network", "create"], network].concat()).done();
        }
        let ports = [&["-p", "8080:80", "-p", "8080:80/udp"][..], options].concat();
        let c1 = bed.container(&host, "c1", &ports);
        let c2 = bed.container(&host, "c2", options);
        Self { host, c1, c2, bed }
    }

    /// A UDP socket of the outside at one of its addresses.
    pub(crate) fn remote(&self, address: impl Into<IpAddr>, port: u16) -> Peer {
        Peer::at(&self.bed.outside.ns, address, port)
    }

    /// Each family in turn, of a LAN that has both.
    pub(crate) fn families(&self) -> [Family; 2] {
        [
            Family {
                remotes: REMOTES.map(IpAddr::from),
                host: self.host.address.into(),
                any: Ipv4Addr::UNSPECIFIED.into(),
            },
            Family {
                remotes: REMOTES6.map(IpAddr::from),
                host: self.host.address6.into(),
                any: Ipv6Addr::UNSPECIFIED.into(),
            },
        ]
    }
}

/// The ends of a LAN in one family.
pub(crate) struct Family {
    /// Three addresses of the outside.
    pub(crate) remotes: [IpAddr; 3],
    /// The host's address on its uplink.
    pub(crate) host: IpAddr,
    any: IpAddr,
}

impl Family {
    /// A UDP socket on all addresses of a container that are of this family.
    pub(crate) fn inside(&self, container: &Container, port: u16) -> Peer {
        Peer::at(&container.ns, self.any, port)
    }

    /// A server on all addresses of a container that are of this family.
    pub(crate) fn server(&self, container: &Container, port: u16) -> Server {
        Server::start_at(&container.ns, (self.any, port).into())
    }
}

/// A UDP socket.
pub(crate) struct Peer(UdpSocket);

impl Peer {
    pub(crate) fn at(ns: &Namespace, address: impl Into<IpAddr>, port: u16) -> Self {
        let at = SocketAddr::new(address.into(), port);
        Self(bound(ns, || UdpSocket::bind(at)))
    }

    /// On all addresses of a container.
    pub(crate) fn inside(container: &Container, port: u16) -> Self {
        Self::at(&container.ns, Ipv4Addr::UNSPECIFIED, port)
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) fn send(&self, to: impl Into<SocketAddr>, text: &str) {
        self.0.send_to(text.as_bytes(), to.into()).unwrap();
    }

    /// What comes next, and from whom.
    pub(crate) fn hears(&self) -> (String, SocketAddr) {
        let heard = self.within(patient(PATIENCE));
        heard.unwrap_or_else(|| panic!("{} heard nothing", self.local()))
    }

    /// Nothing comes.
    pub(crate) fn hears_nothing(&self) {
        let heard = self.within(QUIET);
        assert_eq!(heard, None, "{} should hear nothing", self.local());
    }

    fn within(&self, limit: Duration) -> Option<(String, SocketAddr)> {
        self.0.set_read_timeout(Some(limit)).unwrap();
        let mut bytes = vec![0; 1 << 16];
        let (length, from) = self.0.recv_from(&mut bytes).ok()?;
        Some((String::from_utf8_lossy(&bytes[..length]).into_owned(), from))
    }

    /// Sends to a remote, and says as whom that saw the sender.
    pub(crate) fn seen_by(&self, remote: &Self) -> SocketAddr {
        let text = format!("from {}", self.local());
        self.send(remote.local(), &text);
        let (heard, from) = remote.hears();
        assert_eq!(heard, text);
        from
    }
}

/// Opens a TCP connection from a port that other connections of the namespace may have too.
pub(crate) fn connect_from(ns: &Namespace, port: u16, to: impl Into<SocketAddr>) -> io::Result<TcpStream> {
    let to = to.into();
    let (family, any) = match to {
        SocketAddr::V4(_) => (AddressFamily::Inet, IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        SocketAddr::V6(_) => (AddressFamily::Inet6, IpAddr::from(Ipv6Addr::UNSPECIFIED)),
    };
    ns.enter(|| {
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::seconds(3 * i64::from(slowness())))?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(any, port)))?;
        connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(patient(PATIENCE)))?;
        Ok(stream)
    })
}
