//! What `-o` can say of a bridge network, by Docker's names and by short ones. Pure: nothing of the host is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

use crate::Error;
use crate::lan;
use crate::model::{Bridge, Dependence, GatewayMode};
use crate::netlink::MAX_NAME;
use crate::routes;

/// The smallest MTU that IPv4 allows (RFC 791), and the largest that a bridge takes.
pub(crate) const MTUS: std::ops::RangeInclusive<u32> = 68..=65535;

/// What `-o` can say.
#[derive(Debug, Eq, PartialEq)]
pub struct Options {
    /// `masquerade`: what leaves gets the uplink's address.
    pub masquerade: bool,
    /// `icc`: endpoints may talk to each other.
    pub icc: bool,
    /// `mtu`, in bytes.
    pub mtu: Option<u32>,
    /// `bridge-name`: the device.
    pub bridge_name: Option<String>,
    /// `host-binding`: where published ports listen.
    pub host_binding: IpAddr,
    /// `snat-ip`: the source of what leaves.
    pub snat4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub snat6: Option<Ipv6Addr>,
    /// `masquerade-exclude`: who sees the containers' own addresses.
    pub masquerade_exclude: BTreeSet<IpNet>,
    /// `inhibit_ipv4`: the device gets no IPv4 address.
    pub inhibit_ipv4: bool,
    /// `gateway-mode` in IPv4.
    pub gateway_mode4: GatewayMode,
    /// `gateway-mode` in IPv6.
    pub gateway_mode6: GatewayMode,
    /// `trusted-interfaces`: by which published ports are reached at the containers' own addresses.
    pub trusted: BTreeSet<String>,
    /// `route`: routes of containers beside the default one.
    pub routes: Vec<routes::Asked>,
    /// `ifname-prefix`: `eth` of `eth0`; kept among the network's options.
    pub ifname_prefix: Option<String>,
    /// `udp-mapping`.
    pub udp_mapping: Option<Dependence>,
    /// `udp-filtering`.
    pub udp_filtering: Option<Dependence>,
    /// `dns`: who is asked for names that no network knows.
    pub dns: Vec<IpAddr>,
    /// `parent`: the interface by which the bridge is on a LAN.
    pub parent: Option<String>,
}

/// The options by their short name and Docker's.
const KNOWN: [(&str, &str); 19] = [
    ("masquerade", "com.docker.network.bridge.enable_ip_masquerade"),
    ("icc", "com.docker.network.bridge.enable_icc"),
    ("mtu", "com.docker.network.driver.mtu"),
    ("bridge-name", "com.docker.network.bridge.name"),
    ("host-binding", "com.docker.network.bridge.host_binding_ipv4"),
    ("snat-ip", "com.docker.network.host_ipv4"),
    ("snat-ip", "com.docker.network.host_ipv6"),
    ("masquerade-exclude", "netdp.masquerade_exclude"),
    ("inhibit-ipv4", "com.docker.network.bridge.inhibit_ipv4"),
    ("gateway-mode", "netdp.gateway_mode"),
    ("gateway-mode-ipv4", "com.docker.network.bridge.gateway_mode_ipv4"),
    ("gateway-mode-ipv6", "com.docker.network.bridge.gateway_mode_ipv6"),
    ("trusted-interfaces", "com.docker.network.bridge.trusted_host_interfaces"),
    ("route", "netdp.route"),
    ("ifname-prefix", "com.docker.network.container_iface_prefix"),
    ("udp-mapping", "netdp.udp_mapping"),
    ("udp-filtering", "netdp.udp_filtering"),
    ("dns", "netdp.dns"),
    ("parent", "netdp.parent"),
];

/// Those that take several values, with commas between or one by one.
const LISTS: [&str; 3] = ["snat-ip", "masquerade-exclude", "dns"];

/// Destinations that one network may leave untranslated.
const MOST_EXCLUDED: usize = 64;

/// Interfaces that one network trusts: each of its containers has a row for each.
const MOST_TRUSTED: usize = 16;

/// Name servers that are asked for one network, as many as the C library takes.
const MOST_SERVERS: usize = 3;

/// The form of IPv4 addresses in IPv6 (RFC 4291, 2.5.5.2), by which the maps know them.
const MAPPED: &str = "::ffff:0:0/96";

/// The short name of an option.
pub(crate) fn short(key: &str) -> Option<&'static str> {
    let known = KNOWN.iter().find(|(short, long)| *short == key || *long == key);
    known.map(|(short, _)| *short)
}

/// What stands between the values of an option that takes several.
fn between(short: &str) -> Option<char> {
    match short {
        "route" => Some(' '),
        "trusted-interfaces" => Some(':'),
        short => LISTS.contains(&short).then_some(','),
    }
}

/// The options as they were given; one that was given again adds to a list, or counts instead.
pub fn given(pairs: &[(String, String)]) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    for (key, value) in pairs {
        let before: Option<String> = options.insert(key.clone(), value.clone());
        if let Some(before) = before
            && let Some(between) = short(key).and_then(between)
        {
            options.insert(key.clone(), format!("{before}{between}{value}"));
        }
    }
    options
}

impl Options {
    /// Reads pairs of key and value; an unknown key is told all that are known.
    pub fn read(pairs: &[(String, String)]) -> Result<Self, Error> {
        let mut options = Self {
            masquerade: true,
            icc: true,
            mtu: None,
            bridge_name: None,
            host_binding: Ipv4Addr::UNSPECIFIED.into(),
            snat4: None,
            snat6: None,
            masquerade_exclude: BTreeSet::new(),
            inhibit_ipv4: false,
            gateway_mode4: GatewayMode::Nat,
            gateway_mode6: GatewayMode::Nat,
            trusted: BTreeSet::new(),
            routes: Vec::new(),
            ifname_prefix: None,
            udp_mapping: None,
            udp_filtering: None,
            dns: Vec::new(),
            parent: None,
        };
        for (key, value) in pairs {
            options.set(key, value)?;
        }
        if !options.masquerade
            && let Some((key, value)) = pairs.iter().find(|(key, _)| is_of_masquerade(key))
        {
            return Err(Error::invalid_value(key, value, "nothing where masquerade is off"));
        }
        Ok(options)
    }

    /// Gives a network in use what it can be given.
    pub fn apply(self, bridge: &mut Bridge) {
        bridge.masquerade = self.masquerade;
        bridge.icc = self.icc;
        bridge.host_binding = self.host_binding;
        bridge.snat4 = self.snat4;
        bridge.snat6 = self.snat6;
        bridge.masquerade_exclude = self.masquerade_exclude;
        bridge.trusted = self.trusted;
        bridge.udp_mapping = self.udp_mapping;
        bridge.udp_filtering = self.udp_filtering;
    }

    /// What is asked for is of the families that the network has.
    pub fn fit(&self, ipv4: bool, ipv6: bool) -> Result<(), Error> {
        let off = |option: &str, value: String, v4: bool| {
            let there = if v4 { ipv4 } else { ipv6 };
            let what = format!("-o {option}={value}");
            if there { Ok(()) } else { Err(Error::FamilyOff { what, family: if v4 { 4 } else { 6 } }) }
        };
        for address in self.snat_ips() {
            off("snat-ip", address.to_string(), address.is_ipv4())?;
        }
        let mut excluded = self.masquerade_exclude.iter();
        excluded.try_for_each(|net| off("masquerade-exclude", net.to_string(), net.addr().is_ipv4()))
    }

    /// Without an address the host cannot be anybody's gateway: only an internal network can do without.
    pub fn fit_internal(&self, internal: bool) -> Result<(), Error> {
        let isolated = [self.gateway_mode4, self.gateway_mode6].contains(&GatewayMode::Isolated);
        if isolated && !internal {
            return Err(Error::invalid_value(
                "gateway-mode",
                "isolated",
                "isolated together with --internal only",
            ));
        }
        Ok(())
    }

    /// What is masqueraded gets no address but the host's own.
    pub fn are_of_host(&self, there: &BTreeSet<IpAddr>) -> Result<(), Error> {
        let Some(address) = self.snat_ips().find(|address| !there.contains(address)) else { return Ok(()) };
        let there = there.iter().filter(|other| other.is_ipv4() == address.is_ipv4());
        let names: Vec<String> = there.map(ToString::to_string).collect();
        let there = if names.is_empty() { "none of that family".to_owned() } else { names.join(", ") };
        Err(Error::SnatIp { address, there })
    }

    fn snat_ips(&self) -> impl Iterator<Item = IpAddr> {
        self.snat4.map(IpAddr::V4).into_iter().chain(self.snat6.map(IpAddr::V6))
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        match short(key) {
            Some("masquerade") => self.masquerade = boolean(key, value)?,
            Some("icc") => self.icc = boolean(key, value)?,
            Some("mtu") => self.mtu = Some(mtu(key, value)?),
            Some("bridge-name") => self.bridge_name = Some(bridge_name(key, value)?),
            Some("host-binding") => {
                self.host_binding =
                    value.parse().map_err(|_| Error::invalid_value(key, value, "an address of the host"))?;
            }
            Some("snat-ip") => value.split(',').try_for_each(|address| self.set_snat_ip(key, address))?,
            Some("masquerade-exclude") => value.split(',').try_for_each(|net| self.exclude(key, net))?,
            Some("inhibit-ipv4") => self.inhibit_ipv4 = boolean(key, value)?,
            Some("gateway-mode") => {
                self.gateway_mode4 = gateway_mode(key, value)?;
                self.gateway_mode6 = self.gateway_mode4;
            }
            Some("gateway-mode-ipv4") => self.gateway_mode4 = gateway_mode(key, value)?,
            Some("gateway-mode-ipv6") => self.gateway_mode6 = gateway_mode(key, value)?,
            Some("trusted-interfaces") => self.trusted = trusted(key, value)?,
            Some("route") => routes::read(key, value, &mut self.routes)?,
            Some("ifname-prefix") => self.ifname_prefix = Some(ifname_prefix(key, value)?),
            Some("udp-mapping") => self.udp_mapping = Some(dependence(key, value)?),
            Some("parent") => self.parent = Some(lan::parent(key, value)?),
            Some("dns") => value.split(',').try_for_each(|server| self.add_server(key, server))?,
            Some("udp-filtering") => self.udp_filtering = Some(dependence(key, value)?),
            _ => return Err(unknown(key)),
        }
        Ok(())
    }

    fn set_snat_ip(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let several = match value.parse() {
            Ok(IpAddr::V4(address)) if !key.ends_with('6') => self.snat4.replace(address).is_some(),
            Ok(IpAddr::V6(address)) if !key.ends_with('4') => self.snat6.replace(address).is_some(),
            _ => return Err(Error::invalid_value(key, value, SNAT_IPS)),
        };
        if several { Err(Error::invalid_value(key, value, SNAT_IPS)) } else { Ok(()) }
    }

    fn add_server(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let accepted = "addresses of three name servers at most, as in 192.0.2.1,2001:db8::1";
        let server: IpAddr = value.parse().map_err(|_| Error::invalid_value(key, value, accepted))?;
        if server.is_unspecified() || server.is_multicast() || self.dns.len() == MOST_SERVERS {
            return Err(Error::invalid_value(key, value, accepted));
        }
        self.dns.push(server);
        Ok(())
    }

    fn exclude(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let alone = || value.parse::<IpAddr>().map(IpNet::from);
        let accepted = "networks without host bits, as in 10.0.0.0/8,fd00::/8";
        let net: IpNet =
            value.parse().or_else(|_| alone()).map_err(|_| Error::invalid_value(key, value, accepted))?;
        if net != net.trunc() {
            return Err(Error::invalid_value(key, value, accepted));
        }
        let mapped: Ipv6Net = MAPPED.parse().map_err(|_| Error::invalid_value(key, value, accepted))?;
        if let IpNet::V6(net) = net
            && (net.contains(&mapped) || mapped.contains(&net))
        {
            return Err(Error::invalid_value(
                key,
                value,
                "no IPv6 network that has IPv4 addresses in it (::ffff:0:0/96)",
            ));
        }
        self.masquerade_exclude.insert(net);
        if self.masquerade_exclude.len() > MOST_EXCLUDED {
            return Err(Error::invalid_value(key, value, "64 networks at most"));
        }
        Ok(())
    }
}

/// What a network can be known by.
const SNAT_IPS: &str = "an address of the host, at most one of each family";

/// Whether an option means something only where masquerade is on.
fn is_of_masquerade(key: &str) -> bool {
    short(key).is_some_and(|short| ["snat-ip", "masquerade-exclude"].contains(&short))
}

fn unknown(key: &str) -> Error {
    let known: Vec<String> = KNOWN.iter().map(|(short, long)| format!("{short} ({long})")).collect();
    Error::UnknownOption { key: key.to_owned(), known: known.join(", ") }
}

/// What Go's `strconv.ParseBool` takes, as Docker does.
pub(crate) fn boolean(key: &str, value: &str) -> Result<bool, Error> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::invalid_value(key, value, "true or false")),
    }
}

/// By the names of RFC 4787, 4.1 and 5.
pub fn dependence(key: &str, value: &str) -> Result<Dependence, Error> {
    Dependence::named(value)
        .ok_or_else(|| Error::invalid_value(key, value, "endpoint-independent or address-and-port-dependent"))
}

fn gateway_mode(key: &str, value: &str) -> Result<GatewayMode, Error> {
    GatewayMode::named(value).ok_or_else(|| {
        Error::invalid_value(key, value, "nat, nat-unprotected, routed or (with --internal) isolated")
    })
}

/// Names of interfaces with colons between, as in Docker; they need not be there.
fn trusted(key: &str, value: &str) -> Result<BTreeSet<String>, Error> {
    let names = value.split(':').map(str::to_owned);
    let trusted: BTreeSet<String> = names.filter(|name| bridge_name(key, name).is_ok()).collect();
    if trusted.len() == value.split(':').count() && trusted.len() <= MOST_TRUSTED {
        return Ok(trusted);
    }
    let accepted =
        "up to 16 names of interfaces of the host, each once, with colons between, as in eth1:eth2";
    Err(Error::invalid_value(key, value, accepted))
}

fn mtu(key: &str, value: &str) -> Result<u32, Error> {
    let mtu = value.parse().ok().filter(|mtu| MTUS.contains(mtu));
    mtu.ok_or_else(|| Error::invalid_value(key, value, "68 to 65535 bytes"))
}

/// A number comes behind it.
pub(crate) fn ifname_prefix(key: &str, value: &str) -> Result<String, Error> {
    let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if plain && (1..=MAX_NAME - 4).contains(&value.len()) {
        return Ok(value.to_owned());
    }
    Err(Error::invalid_value(key, value, "1 to 11 letters, digits, `_` or `-`"))
}

pub(crate) fn bridge_name(key: &str, value: &str) -> Result<String, Error> {
    let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    let fits = (1..=MAX_NAME).contains(&value.len()) && !value.starts_with(['.', '-']);
    if plain && fits {
        return Ok(value.to_owned());
    }
    Err(Error::invalid_value(key, value, "1 to 15 letters, digits, `_`, `.` or `-`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Options, Error> {
        let pairs: Vec<_> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Options::read(&pairs)
    }

    #[test]
    fn short_names_and_dockers_mean_the_same() {
        for (short, long) in KNOWN {
            let value = match short {
                "mtu" => "1400",
                "bridge-name" => "br7",
                "host-binding" => "127.0.0.1",
                "udp-mapping" => "address-and-port-dependent",
                "udp-filtering" => "endpoint-independent",
                "gateway-mode" | "gateway-mode-ipv4" | "gateway-mode-ipv6" => "routed",
                "snat-ip" if long.ends_with('4') => "192.0.2.1",
                "snat-ip" => "2001:db8::1",
                "masquerade-exclude" => "10.0.0.0/8,fd00::/8",
                "inhibit-ipv4" => "true",
                "route" => "10.9.0.0/16,10.5.0.1",
                "ifname-prefix" => "net",
                "dns" => "192.0.2.53,2001:db8::53",
                "trusted-interfaces" => "eth1:vxlan.7",
                _ => "false",
            };
            let options = read(&[(short, value)]).unwrap();
            assert_eq!(options, read(&[(long, value)]).unwrap());
            assert_ne!(options, read(&[]).unwrap());
        }
    }

    #[test]
    fn an_unknown_option_lists_those_that_are_known() {
        let error = read(&[("colour", "red")]).unwrap_err().to_string();
        assert!(
            error.contains("\"colour\"") && KNOWN.iter().all(|(short, _)| error.contains(short)),
            "{error}"
        );
    }

    #[test]
    fn lists_are_given_at_once_or_one_by_one() {
        let once =
            read(&[("snat-ip", "192.0.2.1,2001:db8::1"), ("masquerade-exclude", "10.0.0.0/8,fd00::/8")]);
        let singly = [
            ("snat-ip", "192.0.2.1"),
            ("snat-ip", "2001:db8::1"),
            ("masquerade-exclude", "10.0.0.0/8"),
            ("masquerade-exclude", "fd00::/8"),
        ];
        assert_eq!(once.unwrap(), read(&singly).unwrap());
        let pairs = singly.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(given(&pairs)["masquerade-exclude"], "10.0.0.0/8,fd00::/8");
        let many = |n: u8| (0..n).map(|n| format!("10.{n}.0.0/16")).collect::<Vec<_>>().join(",");
        assert_eq!(read(&[("masquerade-exclude", &many(64))]).unwrap().masquerade_exclude.len(), 64);
        assert!(read(&[("masquerade-exclude", &many(65))]).is_err());
    }

    #[test]
    fn options_of_masquerade_are_refused_where_that_is_off() {
        for (key, value) in [("snat-ip", "192.0.2.1"), ("masquerade-exclude", "10.0.0.0/8")] {
            let off = [(key, value), ("masquerade", "false")];
            assert!(matches!(read(&off), Err(Error::InvalidValue { .. })), "{key}");
        }
    }

    #[test]
    fn a_value_that_cannot_be_is_refused() {
        for (key, value) in [
            ("icc", "maybe"),
            ("mtu", "67"),
            ("mtu", "x"),
            ("mtu", "65536"),
            ("bridge-name", "a/b"),
            ("bridge-name", ""),
            ("bridge-name", "sixteen-letters."),
            ("bridge-name", ".."),
            ("host-binding", "::1::"),
            ("udp-mapping", "symmetric"),
            ("gateway-mode", "NAT"),
            ("gateway-mode-ipv4", ""),
            ("gateway-mode-ipv6", "open"),
            ("udp-filtering", "true"),
            ("trusted-interfaces", ""),
            ("trusted-interfaces", "eth1,eth2"),
            ("trusted-interfaces", "eth1::eth2"),
            ("trusted-interfaces", "eth1:eth1"),
            ("trusted-interfaces", "sixteen-letters."),
            ("snat-ip", "x"),
            ("snat-ip", ""),
            ("snat-ip", "192.0.2.1/32"),
            ("snat-ip", "192.0.2.1,192.0.2.2"),
            ("com.docker.network.host_ipv4", "2001:db8::1"),
            ("com.docker.network.host_ipv6", "192.0.2.1"),
            ("dns", ""),
            ("dns", "ns.example"),
            ("dns", "0.0.0.0"),
            ("dns", "192.0.2.1,192.0.2.2,192.0.2.3,192.0.2.4"),
            ("masquerade-exclude", ""),
            ("masquerade-exclude", "10.0.0.0/33"),
            ("masquerade-exclude", "10.0.0.1/8"),
            ("masquerade-exclude", "10.0.0.0/8,"),
            ("masquerade-exclude", "::/0"),
            ("masquerade-exclude", "::ffff:10.0.0.0/104"),
        ] {
            assert!(matches!(read(&[(key, value)]), Err(Error::InvalidValue { .. })), "{key}={value}");
        }
    }
}
