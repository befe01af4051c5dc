//! What this host knows of the Ethernet addresses of others.

use std::net::IpAddr;

use nix::errno::Errno;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage},
};

use super::{CHANGE, Error, Netlink, Request};

impl Netlink {
    /// Forgets which Ethernet address an address had on an interface; who has it now is asked with the next packet.
    pub async fn forget_neighbour(&self, index: u32, address: IpAddr) -> Result<(), Error> {
        let object = address.to_string();
        let what = Request { operation: "forget neighbour", object: &object };
        match self.execute(what, RouteNetlinkMessage::DelNeighbour(message(index, address)), CHANGE).await {
            Err(error) if error.is_missing() || error.errno() == Some(Errno::ENOENT) => Ok(()),
            result => result,
        }
    }
}

fn message(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = index;
    let (family, address) = match address {
        IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
    };
    message.header.family = family;
    message.attributes = vec![NeighbourAttribute::Destination(address)];
    message
}
