//! Docker's keys for the network that is there without asking.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::document::Item;
use super::{Error, Place, Problem};
use crate::ipam;

/// The keys.
pub(super) const KEYS: [&str; 12] = [
    "bridge",
    "bip",
    "bip6",
    "fixed-cidr",
    "fixed-cidr-v6",
    "default-gateway",
    "default-gateway-v6",
    "mtu",
    "icc",
    "ip",
    "ip-masq",
    "ipv6",
];

/// The device of the default network.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Device {
    /// One of this name.
    Named(String),
    /// There is to be no default network at all.
    None,
}

/// What a file says of the default network.
#[derive(Debug, Eq, PartialEq)]
pub struct DefaultNetwork {
    /// Of its first key; line 0 when it has none.
    pub place: Place,
    /// `bridge`
    pub device: Option<Device>,
    /// `ipv6`
    pub ipv6: bool,
    /// `mtu`
    pub mtu: Option<u32>,
    /// `icc`
    pub icc: bool,
    /// `ip-masq`
    pub masquerade: bool,
    /// `ip`
    pub host_binding: IpAddr,
    v4: Addresses,
    v6: Addresses,
}

/// Its addresses in one family, with the places of what is said.
#[derive(Debug, Default, Eq, PartialEq)]
struct Addresses {
    /// `bip`: the bridge's address with the length of the prefix.
    bridge: Option<(IpNet, Place)>,
    /// `fixed-cidr`: containers' addresses are chosen from here.
    fixed: Option<(IpNet, Place)>,
    /// `default-gateway`
    gateway: Option<(IpAddr, Place)>,
}

impl Default for DefaultNetwork {
    fn default() -> Self {
        Self {
            place: Place::default(),
            device: None,
            ipv6: false,
            mtu: None,
            icc: true,
            masquerade: true,
            host_binding: Ipv4Addr::UNSPECIFIED.into(),
            v4: Addresses::default(),
            v6: Addresses::default(),
        }
    }
}

impl DefaultNetwork {
    /// Takes a key over; says whether it is known.
    pub(super) fn set(&mut self, key: &str, item: &Item<'_>) -> Result<bool, Error> {
        match key {
            "bridge" => self.device = device(item)?,
            "bip" => self.v4.bridge = Some((net(item, true, "172.20.0.1/16")?, item.place())),
            "bip6" => self.v6.bridge = Some((net(item, false, "fd00:9::1/64")?, item.place())),
            "fixed-cidr" => self.v4.fixed = Some((net(item, true, "172.20.4.0/24")?, item.place())),
            "fixed-cidr-v6" => self.v6.fixed = Some((net(item, false, "fd00:9::/80")?, item.place())),
            "default-gateway" => self.v4.gateway = Some((address(item, true)?, item.place())),
            "default-gateway-v6" => self.v6.gateway = Some((address(item, false)?, item.place())),
            "mtu" => self.mtu = Some(item.number(0..=65535)?).filter(|mtu| *mtu > 0),
            "icc" => self.icc = item.bool()?,
            "ip" => self.host_binding = item.parse("an address of the host")?,
            "ip-masq" => self.masquerade = item.bool()?,
            "ipv6" => self.ipv6 = item.bool()?,
            _ => return Ok(false),
        }
        if self.place.line == 0 {
            self.place = item.place();
        }
        self.mtu_fits(item)?;
        Ok(true)
    }

    /// The smallest MTU that IPv4 allows (RFC 791).
    fn mtu_fits(&self, item: &Item<'_>) -> Result<(), Error> {
        match self.mtu {
            Some(mtu) if mtu < 68 => Err(item.wrong("68 to 65535 bytes, or 0 for that of the uplink")),
            _ => Ok(()),
        }
    }

    /// What contradicts; and in words what has no effect.
    pub(super) fn check(&self) -> Result<Vec<String>, Error> {
        if let (Some(Device::None), Some((_, place))) = (&self.device, self.v4.first()) {
            return Err(contradiction(
                place,
                "bridge",
                "with \"none\" there is no default network to set anything for",
            ));
        }
        if let (Some(_), Some((_, place))) = (&self.device, &self.v4.bridge) {
            let why = "bridge and bip exclude each other: the address is that of the bridge that is there";
            return Err(contradiction(place, "bip", why));
        }
        self.v4.check(["bip", "fixed-cidr", "default-gateway"])?;
        self.v6.check(["bip6", "fixed-cidr-v6", "default-gateway-v6"])?;
        if self.ipv6 || self.v6 == Addresses::default() {
            return Ok(Vec::new());
        }
        Ok(vec!["bip6, fixed-cidr-v6 and default-gateway-v6 have no effect without ipv6 = true".to_owned()])
    }

    /// The IPv4 addresses that are asked for, if any are.
    pub fn addresses4(&self) -> Option<ipam::Request> {
        self.v4.request()
    }

    /// The same for IPv6, whether or not the network is to have any.
    pub fn addresses6(&self) -> Option<ipam::Request> {
        self.v6.request()
    }
}

impl Addresses {
    fn first(&self) -> Option<(IpAddr, &Place)> {
        let net = self.bridge.as_ref().or(self.fixed.as_ref()).map(|(net, place)| (net.addr(), place));
        net.or(self.gateway.as_ref().map(|(address, place)| (*address, place)))
    }

    fn check(&self, [bip, fixed_cidr, default_gateway]: [&str; 3]) -> Result<(), Error> {
        if let (Some((bridge, _)), Some((fixed, place))) = (&self.bridge, &self.fixed)
            && !bridge.trunc().contains(fixed)
        {
            let why = format!("{fixed} is not within {} of {bip}", bridge.trunc());
            return Err(contradiction(place, fixed_cidr, why));
        }
        let Some((gateway, place)) = &self.gateway else { return Ok(()) };
        let Some(subnet) = self.subnet() else {
            let why = format!("it needs {bip} or {fixed_cidr}, which say the subnet that it is in");
            return Err(contradiction(place, default_gateway, why));
        };
        if !subnet.contains(gateway) {
            return Err(contradiction(place, default_gateway, format!("{gateway} is not in {subnet}")));
        }
        match &self.bridge {
            Some((bridge, _)) if bridge.addr() != *gateway => {
                let why = format!(
                    "containers' packets go through the bridge, whose address is {} by {bip}: {gateway} cannot be their gateway",
                    bridge.addr()
                );
                Err(contradiction(place, default_gateway, why))
            }
            _ => Ok(()),
        }
    }

    fn subnet(&self) -> Option<IpNet> {
        let (net, _) = self.bridge.as_ref().or(self.fixed.as_ref())?;
        Some(net.trunc())
    }

    /// `fixed-cidr` alone is the whole subnet, as in Docker.
    fn request(&self) -> Option<ipam::Request> {
        let subnet = self.subnet()?;
        let bridge = self.bridge.as_ref().map(|(net, _)| net.addr());
        let fixed = self.fixed.as_ref().map(|(net, _)| net.trunc());
        Some(ipam::Request {
            subnet: Some(subnet),
            gateway: bridge.or(self.gateway.as_ref().map(|(gateway, _)| *gateway)),
            ranges: fixed.filter(|fixed| *fixed != subnet).into_iter().collect(),
            ..ipam::Request::default()
        })
    }
}

fn contradiction(place: &Place, key: &str, why: impl Into<String>) -> Error {
    let problem = Problem::Contradiction { key: key.to_owned(), why: why.into() };
    Error::At { place: place.clone(), problem }
}

/// `none` for no default network, and as in Docker nothing for the usual one.
fn device(item: &Item<'_>) -> Result<Option<Device>, Error> {
    let accepted = "the name of a bridge, 1 to 15 letters, digits, `_`, `.` or `-`, or \"none\"";
    match item.text(accepted)? {
        "" => Ok(None),
        "none" => Ok(Some(Device::None)),
        name if crate::bridge_options::bridge_name("bridge", name).is_ok() => {
            Ok(Some(Device::Named(name.to_owned())))
        }
        _ => Err(item.wrong(accepted)),
    }
}

fn net(item: &Item<'_>, v4: bool, example: &str) -> Result<IpNet, Error> {
    let family = if v4 { "IPv4" } else { "IPv6" };
    let accepted = format!("an {family} address with the length of its prefix, as in {example}");
    let net: IpNet = item.parse(&accepted)?;
    if net.addr().is_ipv4() == v4 { Ok(net) } else { Err(item.wrong(accepted)) }
}

fn address(item: &Item<'_>, v4: bool) -> Result<IpAddr, Error> {
    let accepted = if v4 { "an IPv4 address" } else { "an IPv6 address" };
    let address: IpAddr = item.parse(accepted)?;
    if address.is_ipv4() == v4 { Ok(address) } else { Err(item.wrong(accepted)) }
}
