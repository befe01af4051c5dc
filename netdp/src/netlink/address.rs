//! Addresses of interfaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::{
    AddressMessageBuilder,
    packet_route::{
        RouteNetlinkMessage,
        address::{
            AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
        },
    },
};

use super::{CHANGE, CREATE, Error, Netlink, REPLACE, Request};

/// One address of one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The interface's number.
    pub index: u32,
    /// The address itself, host bits included, with the length of its subnet's prefix.
    pub net: IpNet,
    /// Valid beyond the link (scope `global`), unlike 127.0.0.1, 169.254.1.1 or `fe80::1`.
    pub global: bool,
    /// Not to be begun with: it is about to expire, is not known to be nobody else's yet, or turned out to be.
    pub waning: bool,
    /// An IPv6 address that is changed every now and then, for privacy (RFC 8981).
    pub temporary: bool,
}

impl Netlink {
    /// Every address of the namespace, IPv4 and IPv6.
    pub async fn addresses(&self) -> Result<Vec<Address>, Error> {
        let what = Request { operation: "list", object: "addresses" };
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        Ok(self.dump(what, message).await?.iter().filter_map(address_in).collect())
    }

    /// Gives the interface `index` an address, in use at once: whoever asks for it knows that it is nobody else's. The
    /// kernel adds the route to its subnet.
    pub async fn add_address(&self, index: u32, net: IpNet) -> Result<(), Error> {
        let object = format!("{net} to interface number {index}");
        let what = Request { operation: "add address", object: &object };
        let mut message = message(index, net);
        if matches!(net, IpNet::V6(_)) {
            message.header.flags |= AddressHeaderFlags::Nodad;
        }
        self.execute(what, RouteNetlinkMessage::NewAddress(message), CREATE).await
    }

    /// Gives it an address for so many seconds, `u32::MAX` for ever; one that it has is its own for so long from now on. After
    /// that the kernel takes it away.
    pub async fn lend_address(&self, index: u32, net: IpNet, seconds: u32) -> Result<(), Error> {
        let object = format!("{net} to interface number {index}");
        let what = Request { operation: "lend address", object: &object };
        let mut message = message(index, net);
        let mut validity = CacheInfo::default();
        (validity.ifa_valid, validity.ifa_preferred) = (seconds, seconds);
        message.attributes.push(AddressAttribute::CacheInfo(validity));
        self.execute(what, RouteNetlinkMessage::NewAddress(message), REPLACE).await
    }
}

fn message(index: u32, net: IpNet) -> AddressMessage {
    let length = net.prefix_len();
    match net {
        IpNet::V4(net) => {
            AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(net.addr(), length).build()
        }
        IpNet::V6(net) => {
            AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(net.addr(), length).build()
        }
    }
}

impl Netlink {
    /// Takes an address off an interface. One that is not there is no error.
    pub async fn delete_address(&self, index: u32, net: IpNet) -> Result<(), Error> {
        let object = format!("{net} from interface number {index}");
        let what = Request { operation: "remove address", object: &object };
        match self.execute(what, RouteNetlinkMessage::DelAddress(message(index, net)), CHANGE).await {
            Err(error) if error.is_missing() => Ok(()),
            result => result,
        }
    }
}

fn address_in(answer: &RouteNetlinkMessage) -> Option<Address> {
    let RouteNetlinkMessage::NewAddress(message) = answer else {
        return None;
    };
    let net = IpNet::new(own_address(message)?, message.header.prefix_len).ok()?;
    let flags = message.attributes.iter().find_map(flags_in).unwrap_or(AddressFlags::empty());
    let waning = AddressFlags::Deprecated | AddressFlags::Tentative | AddressFlags::Dadfailed;
    Some(Address {
        index: message.header.index,
        net,
        global: message.header.scope == AddressScope::Universe,
        waning: flags.intersects(waning) && !flags.contains(AddressFlags::Optimistic),
        // The same bit says of an IPv4 address that it is not the first of its subnet.
        temporary: net.addr().is_ipv6() && flags.contains(AddressFlags::Secondary),
    })
}

fn flags_in(attribute: &AddressAttribute) -> Option<AddressFlags> {
    match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    }
}

/// On a point-to-point link `Address` is the other side, and `Local` is ours; IPv6 has only the former.
fn own_address(message: &AddressMessage) -> Option<IpAddr> {
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(local) => return Some(*local),
            AddressAttribute::Address(other) => address = Some(*other),
            _ => {}
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_end_of_a_point_to_point_address_is_taken() {
        let mut message = AddressMessage::default();
        message.header.index = 7;
        message.header.prefix_len = 32;
        message.attributes = vec![
            AddressAttribute::Address(Ipv4Addr::new(10, 0, 0, 1).into()),
            AddressAttribute::Local(Ipv4Addr::new(10, 0, 0, 2).into()),
        ];
        let address = address_in(&RouteNetlinkMessage::NewAddress(message)).expect("an address");
        assert_eq!(address.net, "10.0.0.2/32".parse::<IpNet>().expect("a prefix"));
        assert_eq!((address.index, address.global), (7, true));
    }
}
