//! Why there is no lease.

use std::io;
use std::net::Ipv4Addr;

/// No address from a DHCP server. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answered.
    #[error("no DHCP server answered on {parent} within {seconds} s")]
    NoServer {
        /// The interface of the host.
        parent: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// What servers answered could not be taken.
    #[error("no DHCP server on {parent} gave an address: {why}")]
    Refused {
        /// The interface of the host.
        parent: String,
        /// What came instead.
        why: String,
    },
    /// The interface of the host is missing, is down or may not be used.
    #[error("cannot ask for an address by DHCP on {parent}")]
    Socket {
        /// The interface of the host.
        parent: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Two endpoints with one address.
    #[error("the DHCP server {server} gave {address}, which {by} has")]
    Taken {
        /// The server.
        server: Ipv4Addr,
        /// The address.
        address: Ipv4Addr,
        /// Who has it.
        by: String,
    },
    /// Addresses that the server is to choose cannot be chosen here.
    #[error("{0} cannot be given with --ipam-driver dhcp: the server of the LAN says it")]
    ChosenByServer(&'static str),
    /// A network whose addresses are nobody's but ours.
    #[error("--ipam-driver dhcp needs a network on a LAN, not a {0}")]
    NotOnLan(&'static str),
    /// Its endpoints cannot be told apart by a server.
    #[error(
        "--ipam-driver dhcp is not for ipvlan: a server tells its clients apart by MAC, and all endpoints have the parent's"
    )]
    Ipvlan,
    /// The server gives IPv4 addresses.
    #[error("--ipam-driver dhcp is for IPv4 alone: {0}")]
    Family(&'static str),
}

impl Error {
    /// What the operator can do.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NoServer { .. } => Some(
                "see whether one is on that LAN (tcpdump -eni IF port 67), or create the network with --subnet and \
                 give addresses by hand",
            ),
            Self::Refused { .. } => Some(
                "see what the log of the DHCP server says; an address of this host or of another network is given to nobody else",
            ),
            Self::Socket { .. } => Some("see that the interface is there and up (ip link)"),
            Self::Taken { .. } => Some(
                "take that address out of the server's range, or remove who has it (netdp detach, netdp network rm)",
            ),
            Self::ChosenByServer(_) => Some("leave it out, or leave out --ipam-driver dhcp"),
            Self::NotOnLan(_) => Some("add -o parent=IF, or leave out --ipam-driver dhcp"),
            Self::Ipvlan => Some("choose -d macvlan, or give --subnet"),
            Self::Family(_) => Some("leave out --ipv6 and --ipv4=false, or leave out --ipam-driver dhcp"),
        }
    }
}
