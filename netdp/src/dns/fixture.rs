//! Networks and endpoints for the tests of names: network N has 10.N.0.0/16 and `fd00:N::/64`, with the gateway first.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::fake;
use crate::model::{
    Attachment, AttachmentOptions, Driver, Endpoint, EndpointOptions, Mac, Netns, Network, Pool,
};
use crate::names::Id;

/// A bridge network.
pub(super) fn network(number: u32, name: &str, internal: bool) -> Network {
    let mut bridge = fake::bridge(u8::try_from(number).unwrap());
    bridge.internal = internal;
    bridge.pool4 = Some(pool(&format!("10.{number}.0.0/16"), &format!("10.{number}.0.1")));
    bridge.pool6 = Some(pool(&format!("fd00:{number}::/64"), &format!("fd00:{number}::1")));
    Network {
        number,
        id: Id::random().unwrap(),
        name: name.parse().unwrap(),
        created: 1,
        driver: Driver::Bridge(bridge),
        options: [].into(),
        labels: [].into(),
    }
}

fn pool(subnet: &str, gateway: &str) -> Pool {
    let subnet: IpNet = subnet.parse().unwrap();
    Pool { subnet, gateway: Some(ip(gateway)), ranges: Vec::new(), reserved: [].into() }
}

/// An endpoint of IPv4 in these networks, with the same last number in each.
pub(super) fn endpoint(name: &str, last: u8, joined: &[(u32, AttachmentOptions)]) -> Endpoint {
    let attachment = |(network, options): &(u32, AttachmentOptions)| Attachment {
        id: Id::random().unwrap(),
        network: *network,
        addr4: Some([10, u8::try_from(*network).unwrap(), 0, last].into()),
        addr6: None,
        mac: Mac([2, 0, 0, 0, 0, last]),
        ifname: "eth0".to_owned(),
        options: options.clone(),
        ports: Vec::new(),
        lease: None,
    };
    Endpoint {
        id: Id::random().unwrap(),
        name: name.parse().unwrap(),
        created: 1,
        netns: Netns { path: "/x".into(), device: 1, inode: 1 },
        options: EndpointOptions::default(),
        attachments: joined.iter().map(attachment).collect(),
    }
}

/// The same with an address of IPv6 in each network too.
pub(super) fn with_ipv6(mut endpoint: Endpoint) -> Endpoint {
    for attachment in &mut endpoint.attachments {
        let last = attachment.addr4.unwrap().octets()[3];
        let address = format!("fd00:{}::{last}", attachment.network);
        attachment.addr6 = Some(address.parse().unwrap());
    }
    endpoint
}

/// An interface whose network knows it by one more name.
pub(super) fn alias(name: &str) -> AttachmentOptions {
    AttachmentOptions { aliases: vec![name.to_owned()], ..AttachmentOptions::default() }
}

/// An address.
pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
