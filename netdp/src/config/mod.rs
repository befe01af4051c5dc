//! The configuration file: `netdp.toml`, or the `daemon.json` of a Docker host. Pure but for reading the file: what it says is
//! plain data afterwards, and everything that can be wrong with it by itself has been said.

mod bridge;
mod declared;
mod document;
mod error;
mod network_options;
mod settings;

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

pub use bridge::{DefaultNetwork, Device};
pub use declared::{DeclaredEndpoint, DeclaredInterface, DeclaredNetwork};
pub use error::{Error, Place, Problem};
pub use settings::Settings;

use crate::model::{AddressPool, NetworkOptions, Resolver};
use document::{Item, Node};
use network_options::network_options;

/// Where the file is when nobody says where.
pub const DEFAULT_PATH: &str = "/etc/netdp/netdp.toml";
/// More than anybody writes by hand.
const MOST_BYTES: u64 = 4 << 20;

/// All that a file says.
#[derive(Debug, Default)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// What holds for the whole host.
    pub settings: Settings,
    /// The network `bridge`.
    pub default_network: DefaultNetwork,
    /// How names are resolved that no network knows.
    pub resolver: Resolver,
    /// What `--add-host NAME:host-gateway` stands for; none is the gateway of the default network.
    pub host_gateway: Vec<IpAddr>,
    /// Where subnets come from; none is Docker's choice.
    pub pools: Vec<AddressPool>,
    /// Options of networks that are made without them.
    pub network_options: NetworkOptions,
    /// `allow-direct-routing`: published ports are reached at the containers' own addresses from everywhere.
    pub allows_direct_routing: bool,
    /// Networks that are to be there.
    pub networks: Vec<DeclaredNetwork>,
    /// Endpoints that are to be there.
    pub endpoints: Vec<DeclaredEndpoint>,
    /// What was accepted and has no effect, in words.
    pub notes: Vec<String>,
}

/// Keys of Docker that are about networks and have nothing to do here: no rules, no proxies, no daemon's own sockets.
const WITHOUT_EFFECT: [&str; 14] = [
    "iptables",
    "ip6tables",
    "ip-forward",
    "ip-forward-no-drop",
    "firewall-backend",
    "userland-proxy",
    "userland-proxy-path",
    "bridge-accept-fwmark",
    "ip-masq6",
    "network-control-plane-mtu",
    "network-diagnostic-port",
    "live-restore",
    "metrics-addr",
    "bridge-nf-call-iptables",
];

/// Keys of a file that are netdp's own.
const OWN: [&str; 7] = ["uplinks", "prefilter", "limits", "timers", "defaults", "network", "endpoint"];

impl Config {
    /// Reads a file, whichever of the two kinds it is.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::of_text(path, &text(path)?)
    }

    fn of_text(path: &Path, text: &str) -> Result<Self, Error> {
        let json = path.extension().is_some_and(|extension| extension == "json");
        if json || text.trim_start().starts_with('{') {
            return Self::of_daemon(path, &document::json(path, text)?);
        }
        Self::of_netdp(path, &document::toml(path, text)?)
    }

    fn of_netdp(path: &Path, file: &Node) -> Result<Self, Error> {
        let mut config = Self { path: path.to_owned(), ..Self::default() };
        for (key, item) in Item::root(path, file).entries("a table")? {
            if !(config.set_docker(key, &item)? || config.set_own(key, &item)?) {
                let known: Vec<&str> = bridge::KEYS.iter().chain(&BESIDE).chain(&OWN).copied().collect();
                return Err(item.unknown(&known));
            }
        }
        config.checked()
    }

    /// Keys that are not about networks are other programs' business.
    fn of_daemon(path: &Path, file: &Node) -> Result<Self, Error> {
        let mut config = Self { path: path.to_owned(), ..Self::default() };
        let mut others = Vec::new();
        for (key, item) in Item::root(path, file).entries("an object")? {
            if !config.set_docker(key, &item)? {
                others.push(key);
            }
        }
        if !others.is_empty() {
            config.notes.push(format!("not about networks, and left alone: {}", others.join(", ")));
        }
        config.checked()
    }

    fn checked(mut self) -> Result<Self, Error> {
        self.notes.extend(self.default_network.check()?);
        declared::check(&self.networks, &self.endpoints)?;
        Ok(self)
    }

    /// A key of Docker; says whether it is one.
    fn set_docker(&mut self, key: &str, item: &Item<'_>) -> Result<bool, Error> {
        match key {
            "dns" => self.resolver.servers = each(item, |it| it.parse("addresses of name servers"))?,
            "dns-opts" => self.resolver.options = each(item, |it| words(it, "options of resolv.conf"))?,
            "dns-search" => self.resolver.search = each(item, |it| words(it, "names of domains"))?,
            "host-gateway-ip" | "host-gateway-ips" => self.set_host_gateway(item)?,
            "default-address-pools" => self.pools = each(item, pool)?,
            "default-network-opts" => self.network_options = network_options(item, &mut self.notes)?,
            "allow-direct-routing" => self.allows_direct_routing = item.bool()?,
            _ if WITHOUT_EFFECT.contains(&key) => self.notes.push(format!("{key} has no effect in netdp")),
            _ => return self.default_network.set(key, item),
        }
        Ok(true)
    }

    /// One address of each family at most, as a name has in `/etc/hosts`; the singular is Docker's older name of the key.
    fn set_host_gateway(&mut self, item: &Item<'_>) -> Result<(), Error> {
        let accepted = "an address, or one of each family";
        if !self.host_gateway.is_empty() {
            return Err(
                item.contradicts("host-gateway-ip is the older name of host-gateway-ips: give one of them")
            );
        }
        let addresses: Vec<IpAddr> = each(item, |it| it.parse(accepted))?;
        let of_family = |v4: bool| addresses.iter().filter(|address| address.is_ipv4() == v4).count();
        if of_family(true) > 1 || of_family(false) > 1 {
            return Err(item.wrong(accepted));
        }
        self.host_gateway = addresses;
        Ok(())
    }

    fn set_own(&mut self, key: &str, item: &Item<'_>) -> Result<bool, Error> {
        match key {
            "network" => {
                let named = item.entries("tables: [network.NAME]")?;
                self.networks = named.iter().map(DeclaredNetwork::read).collect::<Result<_, _>>()?;
            }
            "endpoint" => {
                let named = item.entries("tables: [endpoint.NAME]")?;
                self.endpoints = named.iter().map(DeclaredEndpoint::read).collect::<Result<_, _>>()?;
            }
            _ => return self.settings.set(key, item),
        }
        Ok(true)
    }
}

/// Keys of Docker beside those of the default network.
const BESIDE: [&str; 8] = [
    "dns",
    "dns-opts",
    "dns-search",
    "host-gateway-ip",
    "host-gateway-ips",
    "default-address-pools",
    "default-network-opts",
    "allow-direct-routing",
];

/// The file's text, if it is one.
fn text(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Error::TooLarge { path: path.to_owned(), most: MOST_BYTES });
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = good.split(|byte| *byte == b'\n').count();
        let problem = Problem::Syntax("this is no UTF-8 text".to_owned());
        Error::At { place: Place { path: path.to_owned(), line }, problem }
    })
}

/// Every value of a list.
fn each<'a, T>(item: &Item<'a>, read: impl Fn(&Item<'a>) -> Result<T, Error>) -> Result<Vec<T>, Error> {
    item.items().iter().map(read).collect()
}

/// What may stand in a line of `resolv.conf`.
fn words(item: &Item<'_>, accepted: &str) -> Result<String, Error> {
    let text = item.text(accepted)?;
    if text.is_empty() || text.contains(|sign: char| sign.is_whitespace() || sign.is_control()) {
        return Err(item.wrong(format!("{accepted}, without blanks")));
    }
    Ok(text.to_owned())
}

/// `{ base = "10.10.0.0/16", size = 24 }`
fn pool(item: &Item<'_>) -> Result<AddressPool, Error> {
    let accepted = "tables of base and size, as in { base = \"10.10.0.0/16\", size = 24 }";
    let (mut base, mut size): (Option<IpNet>, Option<u32>) = (None, None);
    for (key, item) in item.entries(accepted)? {
        match key {
            "base" => base = Some(item.parse("a prefix, as in 10.10.0.0/16")?),
            "size" => size = Some(item.number(1..=126)?),
            _ => return Err(item.unknown(&["base", "size"])),
        }
    }
    let (Some(base), Some(size)) = (base, size) else { return Err(item.wrong(accepted)) };
    let size = u8::try_from(size).map_err(|_| item.wrong(accepted))?;
    let longest = if base.addr().is_ipv4() { 30 } else { 126 };
    if base != base.trunc() {
        return Err(item.contradicts(format!("{base} has host bits set; the prefix is {}", base.trunc())));
    }
    if size < base.prefix_len() || size > longest {
        let least = base.prefix_len();
        return Err(item.contradicts(format!("the size of a subnet of {base} is {least} to {longest}")));
    }
    Ok(AddressPool { base, size })
}

#[cfg(test)]
mod tests;
