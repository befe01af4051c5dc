//! Networks and endpoints that a file declares.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use clap::ValueEnum as _;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::document::Item;
use super::{Error, Place, each, words};
use crate::cli::{AddHost, DriverArg, IpamArg, LinkArg};
use crate::endpoint_sysctl::EndpointSysctl;
use crate::host::pools;
use crate::model::{AttachmentOptions, DEFAULT_NETWORK, EndpointOptions, Mac, PREMADE};
use crate::names::Name;
use crate::publish::PortSpec;

/// `[network.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredNetwork {
    /// Where it is declared.
    pub place: Place,
    /// Its name.
    pub name: Name,
    /// `driver`
    pub driver: DriverArg,
    /// `subnet`
    pub subnets: Vec<IpNet>,
    /// `gateway`
    pub gateways: Vec<IpAddr>,
    /// `ip-range`
    pub ip_ranges: Vec<IpNet>,
    /// `aux-address`
    pub aux_addresses: Vec<(String, String)>,
    /// `internal`
    pub internal: bool,
    /// `ipv4`
    pub ipv4: bool,
    /// `ipv6`
    pub ipv6: bool,
    /// `options`
    pub options: Vec<(String, String)>,
    /// `labels`
    pub labels: BTreeMap<String, String>,
    /// `ipam-driver`
    pub ipam: IpamArg,
}

const NETWORK: [&str; 11] = [
    "driver",
    "ipam-driver",
    "subnet",
    "gateway",
    "ip-range",
    "aux-address",
    "internal",
    "ipv4",
    "ipv6",
    "options",
    "labels",
];

const DRIVERS: &str = "bridge, macvlan or ipvlan";

impl DeclaredNetwork {
    pub(super) fn read((name, item): &(&str, Item<'_>)) -> Result<Self, Error> {
        if PREMADE.contains(name) {
            return Err(item.contradicts(
                "it is pre-made; bip, mtu, icc and their like are keys of the default network",
            ));
        }
        let name = name.parse().map_err(|error| item.contradicts(error))?;
        let mut network = Self {
            place: item.place(),
            name,
            driver: DriverArg::Bridge,
            subnets: Vec::new(),
            gateways: Vec::new(),
            ip_ranges: Vec::new(),
            aux_addresses: Vec::new(),
            internal: false,
            ipv4: true,
            ipv6: false,
            options: Vec::new(),
            labels: BTreeMap::new(),
            ipam: IpamArg::Default,
        };
        for (key, item) in item.entries("a table: [network.NAME]")? {
            network.set(key, &item)?;
        }
        Ok(network)
    }

    fn set(&mut self, key: &str, item: &Item<'_>) -> Result<(), Error> {
        match key {
            "driver" => self.driver = driver(item)?,
            "ipam-driver" => {
                let drivers = "default or dhcp";
                let name = item.text(drivers)?;
                self.ipam = IpamArg::from_str(name, false).map_err(|_| item.wrong(drivers))?;
            }
            "subnet" => self.subnets = each(item, |it| it.parse("prefixes, as in 10.5.0.0/16"))?,
            "gateway" => self.gateways = each(item, |it| it.parse("addresses"))?,
            "ip-range" => self.ip_ranges = each(item, |it| it.parse("prefixes, as in 10.5.4.0/24"))?,
            "aux-address" => self.aux_addresses = pairs(item, "a table of names and addresses")?,
            "internal" => self.internal = item.bool()?,
            "ipv4" => self.ipv4 = item.bool()?,
            "ipv6" => self.ipv6 = item.bool()?,
            "options" => self.options = pairs(item, "a table of options, as those of network create -o")?,
            "labels" => self.labels = pairs(item, "a table of labels")?.into_iter().collect(),
            _ => return Err(item.unknown(&NETWORK)),
        }
        Ok(())
    }
}

/// `[endpoint.NAME]`. Kept in the database too, for the controller, which attaches it when its namespace appears.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DeclaredEndpoint {
    /// Where it is declared.
    #[serde(skip)]
    pub place: Place,
    /// Its name.
    pub name: Name,
    /// `netns`
    pub netns: PathBuf,
    /// What it is to have beyond its interfaces.
    pub options: EndpointOptions,
    /// Its interfaces, in this order; at least one.
    pub interfaces: Vec<DeclaredInterface>,
}

/// One interface of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DeclaredInterface {
    /// Where it is declared.
    #[serde(skip)]
    pub place: Place,
    /// Name of the network.
    pub network: String,
    /// `ip`
    pub ip: Option<Ipv4Addr>,
    /// `ip6`
    pub ip6: Option<Ipv6Addr>,
    /// `mac-address`
    pub mac_address: Option<Mac>,
    /// `ifname`
    pub ifname: Option<String>,
    /// `publish`, each one good.
    pub publish: Vec<String>,
    /// What else it is to have.
    pub options: AttachmentOptions,
}

const ENDPOINT: [&str; 17] = [
    "netns",
    "network",
    "ip",
    "ip6",
    "mac-address",
    "ifname",
    "alias",
    "gw-priority",
    "sysctls",
    "publish",
    "hostname",
    "labels",
    "dns",
    "dns-search",
    "dns-opt",
    "add-host",
    "link",
];

const INTERFACE: [&str; 9] =
    ["ip", "ip6", "mac-address", "ifname", "alias", "gw-priority", "sysctls", "publish", "link"];

impl DeclaredEndpoint {
    pub(super) fn read((name, item): &(&str, Item<'_>)) -> Result<Self, Error> {
        let entries = item.entries("a table: [endpoint.NAME]")?;
        let find = |key: &str| entries.iter().find(|(name, _)| *name == key).map(|(_, item)| item);
        let netns =
            find("netns").ok_or_else(|| item.contradicts("netns is missing: the path of its namespace"))?;
        let interfaces = match find("network") {
            Some(networks) => interfaces(networks)?,
            None => vec![DeclaredInterface::of(DEFAULT_NETWORK, item)],
        };
        let mut endpoint = Self {
            place: item.place(),
            name: name.parse().map_err(|error| item.contradicts(error))?,
            netns: path(netns)?,
            options: EndpointOptions::default(),
            interfaces,
        };
        for (key, item) in &entries {
            endpoint.set(key, item)?;
        }
        Ok(endpoint)
    }

    fn set(&mut self, key: &str, item: &Item<'_>) -> Result<(), Error> {
        let resolver = &mut self.options.resolver;
        match key {
            "netns" | "network" => {}
            "hostname" => self.options.hostname = Some(words(item, "a name")?),
            "labels" => self.options.labels = pairs(item, "a table of labels")?.into_iter().collect(),
            "dns" => resolver.servers = each(item, |it| it.parse("addresses of name servers"))?,
            "dns-search" => resolver.search = each(item, |it| words(it, "names of domains"))?,
            "dns-opt" => resolver.options = each(item, |it| words(it, "options of resolv.conf"))?,
            "add-host" => self.options.extra_hosts = each(item, add_host)?,
            _ if INTERFACE.contains(&key) => self.only_interface(key, item)?.set(key, item)?,
            _ => return Err(item.unknown(&ENDPOINT)),
        }
        Ok(())
    }

    /// Whose key it is that stands beside the network's name. Ports lead to the first of several.
    fn only_interface(&mut self, key: &str, item: &Item<'_>) -> Result<&mut DeclaredInterface, Error> {
        let several = self.interfaces.len() > 1 && key != "publish";
        match self.interfaces.first_mut() {
            Some(first) if !several => Ok(first),
            _ => Err(item.contradicts(format!(
                "it has several networks: say for which, as in [endpoint.{}.network.NAME]",
                self.name
            ))),
        }
    }
}

impl DeclaredInterface {
    fn of(network: &str, item: &Item<'_>) -> Self {
        Self {
            place: item.place(),
            network: network.to_owned(),
            ip: None,
            ip6: None,
            mac_address: None,
            ifname: None,
            publish: Vec::new(),
            options: AttachmentOptions::default(),
        }
    }

    fn set(&mut self, key: &str, item: &Item<'_>) -> Result<(), Error> {
        match key {
            "ip" => self.ip = Some(item.parse("an IPv4 address")?),
            "ip6" => self.ip6 = Some(item.parse("an IPv6 address")?),
            "mac-address" => self.mac_address = Some(item.read("a MAC address, as in 02:42:ac:11:00:02")?),
            "ifname" => self.ifname = Some(ifname(item)?),
            "alias" => self.options.aliases = each(item, |it| words(it, "names"))?,
            "gw-priority" => self.options.gw_priority = item.signed()?,
            "sysctls" => self.options.sysctls = sysctls(item)?,
            "publish" => self.publish = each(item, port)?,
            "link" => self.options.links = each(item, link)?,
            _ => return Err(item.unknown(&INTERFACE)),
        }
        Ok(())
    }

    /// Its ports, read.
    pub fn ports(&self) -> Vec<PortSpec> {
        // Whoever made this has read them once.
        self.publish.iter().filter_map(|text| text.parse().ok()).collect()
    }
}

/// `"printer:192.0.2.7"`
fn add_host(item: &Item<'_>) -> Result<(String, IpAddr), Error> {
    let AddHost { name, address } = item.read("names with an address each, as in printer:192.0.2.7")?;
    let address = address.ok_or_else(|| {
        item.contradicts("host-gateway is a word of netdp attach and netdp run; in a file it is an address")
    })?;
    Ok((name, address))
}

/// `{ "net.ipv4.conf.IFNAME.log_martians" = 1 }`
fn sysctls(item: &Item<'_>) -> Result<Vec<(String, String)>, Error> {
    let settings = pairs(item, "a table of settings and values")?;
    let read = |(key, value): &(String, String)| match format!("{key}={value}").parse::<EndpointSysctl>() {
        Ok(setting) => Ok(setting.pair()),
        Err(error) => Err(item.contradicts(error)),
    };
    settings.iter().map(read).collect()
}

/// `"db"` or `"db:database"`
fn link(item: &Item<'_>) -> Result<(String, String), Error> {
    let LinkArg { target, alias } = item.read("names of endpoints, as in db or db:database")?;
    Ok((alias, target))
}

/// `network = "blue"`, `network = ["blue", "green"]`, or a table with one of its own for each network.
fn interfaces(item: &Item<'_>) -> Result<Vec<DeclaredInterface>, Error> {
    let accepted = "the name of a network, a list of them, or a table for each";
    if !item.is_table() {
        let names = each(item, |it| Ok(DeclaredInterface::of(it.text(accepted)?, it)))?;
        return if names.is_empty() { Err(item.wrong(accepted)) } else { Ok(names) };
    }
    let mut interfaces = Vec::new();
    for (network, item) in item.entries(accepted)? {
        let mut interface = DeclaredInterface::of(network, &item);
        for (key, item) in item.entries("a table: [endpoint.NAME.network.NETWORK]")? {
            interface.set(key, &item)?;
        }
        interfaces.push(interface);
    }
    if interfaces.is_empty() { Err(item.wrong(accepted)) } else { Ok(interfaces) }
}

/// What cannot be between several of them.
pub(super) fn check(networks: &[DeclaredNetwork], endpoints: &[DeclaredEndpoint]) -> Result<(), Error> {
    for (index, network) in networks.iter().enumerate() {
        let before = networks.get(..index).unwrap_or_default();
        before.iter().try_for_each(|other| apart(network, other))?;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let before = endpoints.get(..index).unwrap_or_default();
        if let Some(other) = before.iter().find(|other| other.netns == endpoint.netns) {
            let why = format!("endpoint.{} has the namespace {} already", other.name, other.netns.display());
            return Err(wrong(&endpoint.place, format!("endpoint.{}.netns", endpoint.name), why));
        }
        once_each(endpoint)?;
    }
    Ok(())
}

fn apart(network: &DeclaredNetwork, other: &DeclaredNetwork) -> Result<(), Error> {
    let both = network.subnets.iter().flat_map(|one| other.subnets.iter().map(move |two| (one, two)));
    let Some((one, two)) = both.into_iter().find(|(one, two)| pools::overlap(one, two)) else {
        return Ok(());
    };
    let why = format!("{one} overlaps {two} of network.{} (line {})", other.name, other.place.line);
    Err(wrong(&network.place, format!("network.{}.subnet", network.name), why))
}

fn once_each(endpoint: &DeclaredEndpoint) -> Result<(), Error> {
    let mut seen = std::collections::BTreeSet::new();
    match endpoint.interfaces.iter().find(|interface| !seen.insert(&interface.network)) {
        Some(interface) => {
            let why = format!("{} is there twice", interface.network);
            Err(wrong(&interface.place, format!("endpoint.{}.network", endpoint.name), why))
        }
        None => Ok(()),
    }
}

fn wrong(place: &Place, key: String, why: String) -> Error {
    Error::At { place: place.clone(), problem: super::Problem::Contradiction { key, why } }
}

fn driver(item: &Item<'_>) -> Result<DriverArg, Error> {
    let driver = DriverArg::from_str(item.text(DRIVERS)?, false).map_err(|_| item.wrong(DRIVERS))?;
    match driver {
        DriverArg::Bridge | DriverArg::Macvlan | DriverArg::Ipvlan => Ok(driver),
        DriverArg::Host | DriverArg::None | DriverArg::Overlay => Err(item.wrong(DRIVERS)),
    }
}

fn pairs(item: &Item<'_>, accepted: &str) -> Result<Vec<(String, String)>, Error> {
    let entries = item.entries(accepted)?;
    entries.iter().map(|(key, item)| Ok(((*key).to_owned(), item.scalar()?))).collect()
}

fn path(item: &Item<'_>) -> Result<PathBuf, Error> {
    let accepted = "the absolute path of a network namespace, as in /run/netns/web";
    let path = PathBuf::from(item.text(accepted)?);
    if path.is_absolute() { Ok(path) } else { Err(item.wrong(accepted)) }
}

fn ifname(item: &Item<'_>) -> Result<String, Error> {
    let text = item.text("the name of an interface")?;
    crate::cli::ifname(text).map_err(|error| item.contradicts(error))
}

fn port(item: &Item<'_>) -> Result<String, Error> {
    let spec: PortSpec = item.read("ports as those of -p, as in \"8080:80\"")?;
    Ok(spec.text)
}
