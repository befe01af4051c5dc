//! Who is called what, and who may know it: networks and endpoints as the resolver looks them up. Pure.
//!
//! A name is known in a network, to whoever is joined to that network. The default network has no names, as in Docker: what
//! runs there was never asked whether it wants to be known, and its containers reach one another by address or `--link`.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::{Attachment, Bridge, DEFAULT_NETWORK, Endpoint, Network, Resolver};

/// Digits of an id that name an endpoint.
const SHORT_ID: usize = 12;

/// Everything that can be asked for.
#[derive(Debug, Default)]
pub struct Directory {
    /// The network that an address of the host is the gateway of.
    gateways: HashMap<IpAddr, u32>,
    networks: HashMap<u32, Zone>,
    /// By network and address, as a place in `clients`.
    addresses: HashMap<(u32, IpAddr), usize>,
    clients: Vec<Client>,
}

/// The names of one network.
#[derive(Debug, Default)]
struct Zone {
    subnets: Vec<IpNet>,
    internal: bool,
    servers: Vec<IpAddr>,
    names: HashMap<String, Vec<IpAddr>>,
    pointers: HashMap<IpAddr, String>,
}

/// What an endpoint may know.
#[derive(Debug, Default)]
struct Client {
    networks: Vec<u32>,
    /// `--add-host`
    hosts: HashMap<String, Vec<IpAddr>>,
    links: HashMap<String, Vec<IpAddr>>,
    search: Vec<String>,
    servers: Vec<IpAddr>,
}

/// Whose question it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Asker {
    /// That of an endpoint, by its place.
    Endpoint(usize),
    /// That of an address that no endpoint has.
    Stranger(IpAddr),
}

/// What one asker sees of the directory.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    directory: &'a Directory,
    /// The network whose gateway is asked.
    network: u32,
    client: &'a Client,
}

/// Where names go that no network has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Beyond {
    /// Nowhere: all networks of the endpoint are internal.
    Nowhere,
    /// To the servers of the host.
    Host,
    /// To these, in this order.
    Servers(Vec<IpAddr>),
}

impl Directory {
    /// Of all that the database has; `host` is how names are resolved for endpoints that do not say it themselves.
    pub fn new(networks: &[Network], endpoints: &[Endpoint], host: &Resolver) -> Self {
        let mut directory = Self::default();
        for network in networks {
            if let Some(bridge) = network.bridge() {
                directory.add_network(network, bridge);
            }
        }
        for endpoint in endpoints {
            directory.add_endpoint(networks, endpoint);
        }
        for endpoint in endpoints {
            directory.add_client(networks, endpoints, endpoint, host);
        }
        directory
    }

    fn add_network(&mut self, network: &Network, bridge: &Bridge) {
        let gateways =
            bridge.pools().filter_map(|pool| pool.gateway).filter(|gateway| !bridge.is_router(*gateway));
        self.gateways.extend(gateways.map(|gateway| (gateway, network.number)));
        let subnets = bridge.pools().map(|pool| pool.subnet).collect();
        let zone =
            Zone { subnets, internal: bridge.internal, servers: bridge.dns.clone(), ..Zone::default() };
        self.networks.insert(network.number, zone);
    }

    fn add_endpoint(&mut self, networks: &[Network], endpoint: &Endpoint) {
        for attachment in &endpoint.attachments {
            let Some(network) = networks.iter().find(|network| network.number == attachment.network) else {
                continue;
            };
            if network.name.as_str() == DEFAULT_NETWORK {
                continue;
            }
            let Some(zone) = self.networks.get_mut(&network.number) else { continue };
            let suffix = network.name.as_str().to_lowercase();
            for name in names(endpoint, attachment) {
                zone.add(format!("{name}.{suffix}"), attachment);
                zone.add(name, attachment);
            }
            let pointer = format!("{}.{suffix}", endpoint.name.as_str().to_lowercase());
            zone.pointers.extend(attachment.addresses().map(|address| (address, pointer.clone())));
        }
    }

    fn add_client(
        &mut self,
        networks: &[Network],
        endpoints: &[Endpoint],
        endpoint: &Endpoint,
        host: &Resolver,
    ) {
        let place = self.clients.len();
        let Resolver { search, .. } = endpoint.options.resolver.or(host);
        let mut client = Client {
            search: search.iter().map(|domain| tidy(domain)).collect(),
            servers: endpoint.options.resolver.servers.clone(),
            ..Client::default()
        };
        for (name, address) in &endpoint.options.extra_hosts {
            client.hosts.entry(tidy(name)).or_default().push(*address);
        }
        for attachment in &endpoint.attachments {
            let network = attachment.network;
            client.networks.push(network);
            self.addresses.extend(attachment.addresses().map(|address| ((network, address), place)));
            for (name, other) in &attachment.options.links {
                if is_default(networks, network) {
                    client.link_to(name, other, endpoints, network);
                } else if let Some(addresses) = self.networks.get(&network).and_then(|it| it.addresses(other))
                {
                    client.links.insert(tidy(name), addresses);
                }
            }
        }
        self.clients.push(client);
    }

    /// Who asks the server at an address of ours from an address: an endpoint is the same one by all that it has.
    pub fn asker(&self, server: IpAddr, from: IpAddr) -> Asker {
        let network = self.gateways.get(&server);
        let client = network.and_then(|network| self.addresses.get(&(*network, from)));
        client.map_or(Asker::Stranger(from), |place| Asker::Endpoint(*place))
    }

    /// What the endpoint sees that asks the server at an address of ours, by the address that it asks from: nobody else can have
    /// that, for what a container sends from another's address is dropped.
    pub fn view(&self, server: IpAddr, from: IpAddr) -> Option<View<'_>> {
        let network = *self.gateways.get(&server)?;
        let client = self.clients.get(*self.addresses.get(&(network, from))?)?;
        Some(View { directory: self, network, client })
    }

    /// Whether a server is one of ours: it is never asked by us.
    pub fn is_ours(&self, server: IpAddr) -> bool {
        self.gateways.contains_key(&server)
    }
}

fn is_default(networks: &[Network], number: u32) -> bool {
    networks.iter().any(|network| network.number == number && network.name.as_str() == DEFAULT_NETWORK)
}

/// What an endpoint is called in a network, in lower case.
fn names(endpoint: &Endpoint, attachment: &Attachment) -> Vec<String> {
    let id = endpoint.id.short(SHORT_ID);
    let own = [endpoint.name.as_str(), id].into_iter().chain(endpoint.options.hostname.as_deref());
    let mut names: Vec<String> =
        own.chain(attachment.options.aliases.iter().map(String::as_str)).map(tidy).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn tidy(name: &str) -> String {
    name.trim_matches('.').to_lowercase()
}

impl Zone {
    /// Behind any of the names of an endpoint: a link may be to an alias or to a short id.
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        self.names.get(&tidy(name)).cloned()
    }

    fn add(&mut self, name: String, attachment: &Attachment) {
        let addresses = self.names.entry(name).or_default();
        for address in attachment.addresses() {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
}

impl Client {
    /// `--link other:name` on the network without names: the other's own name is known too.
    fn link_to(&mut self, name: &str, other: &str, endpoints: &[Endpoint], network: u32) {
        let found = endpoints.iter().find(|endpoint| endpoint.name.as_str() == other);
        let attachment = found.and_then(|other| other.attachments.iter().find(|it| it.network == network));
        let Some(attachment) = attachment else { return };
        let addresses: Vec<IpAddr> = attachment.addresses().collect();
        self.links.insert(tidy(other), addresses.clone());
        self.links.insert(tidy(name), addresses);
    }
}

impl View<'_> {
    /// The addresses of both families behind a name in lower case without its last dot; `None` when no network that the asker
    /// is joined to has it.
    pub fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let search = &self.client.search;
        self.exactly(name).or_else(|| {
            // The search domain of the endpoint: its resolver may try it before the bare name.
            let mut bare = search.iter().filter_map(|domain| name.strip_suffix(domain)?.strip_suffix('.'));
            bare.find_map(|bare| self.exactly(bare))
        })
    }

    fn exactly(&self, name: &str) -> Option<Vec<IpAddr>> {
        let Client { hosts, links, .. } = self.client;
        // In the order in which a file of its own and its links would be asked.
        if let Some(own) = hosts.get(name).or_else(|| links.get(name)) {
            return Some(own.clone());
        }
        let mut found: Option<Vec<IpAddr>> = None;
        for zone in self.zones() {
            let Some(addresses) = zone.names.get(name) else { continue };
            let all = found.get_or_insert_default();
            all.extend(
                addresses.iter().filter(|address| !all.contains(address)).copied().collect::<Vec<_>>(),
            );
        }
        found
    }

    /// The name of an address; `Some(None)` for an address of ours that has none, which nobody outside could know better.
    pub fn pointer(&self, address: IpAddr) -> Option<Option<&str>> {
        if let Some(name) = self.zones().find_map(|zone| zone.pointers.get(&address)) {
            return Some(Some(name));
        }
        let ours =
            self.directory.networks.values().any(|zone| zone.subnets.iter().any(|it| it.contains(&address)));
        ours.then_some(None)
    }

    /// Where a name goes that no network has.
    pub fn beyond(&self) -> Beyond {
        let mut open = self.zones().filter(|zone| !zone.internal).peekable();
        if open.peek().is_none() {
            return Beyond::Nowhere;
        }
        let of_networks = || open.find(|zone| !zone.servers.is_empty()).map(|zone| zone.servers.clone());
        let own = Some(self.client.servers.clone()).filter(|servers| !servers.is_empty());
        own.or_else(of_networks).map_or(Beyond::Host, Beyond::Servers)
    }

    /// The networks that the asker is joined to, first that whose gateway it asks.
    fn zones(&self) -> impl Iterator<Item = &Zone> {
        let others = self.client.networks.iter().filter(|number| **number != self.network);
        [&self.network].into_iter().chain(others).filter_map(|number| self.directory.networks.get(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::fixture::{alias, endpoint, ip, network};
    use crate::model::AttachmentOptions;

    #[test]
    fn names_aliases_and_links_are_known_where_they_should_be() {
        let networks = [network(1, "bridge", false), network(2, "Front", false), network(3, "back", true)];
        let link = AttachmentOptions { links: vec![("db".to_owned(), "d1".to_owned())], ..alias("x") };
        let mut both = endpoint("both", 4, &[(2, alias("app")), (3, AttachmentOptions::default())]);
        both.options.hostname = Some("Host.Example".to_owned());
        both.options.resolver.search = vec!["lan".to_owned()];
        let endpoints = [
            endpoint("d1", 2, &[(1, AttachmentOptions::default())]),
            endpoint("d2", 3, &[(1, link)]),
            both,
            endpoint("two", 5, &[(2, alias("App"))]),
            endpoint("inner", 6, &[(3, AttachmentOptions::default())]),
        ];
        let directory = Directory::new(&networks, &endpoints, &Resolver::default());
        let view = |server: &str, from: &str| directory.view(ip(server), ip(from)).unwrap();
        let default = view("10.1.0.1", "10.1.0.3");
        assert_eq!(default.addresses("db"), Some(vec![ip("10.1.0.2")]));
        assert_eq!(default.addresses("d1"), Some(vec![ip("10.1.0.2")]));
        assert_eq!(default.addresses("d2"), None, "the default network has no names");
        assert_eq!(view("10.1.0.1", "10.1.0.2").addresses("d2"), None, "a link leads one way");
        let front = view("10.2.0.1", "10.2.0.4");
        assert_eq!(front.addresses("app"), Some(vec![ip("10.2.0.4"), ip("10.2.0.5")]));
        assert_eq!(front.addresses("app.front"), front.addresses("app"));
        assert_eq!(front.addresses("host.example"), Some(vec![ip("10.2.0.4"), ip("10.3.0.4")]));
        assert_eq!(
            front.addresses("inner.lan"),
            Some(vec![ip("10.3.0.6")]),
            "of another network that it has joined"
        );
        assert_eq!(view("10.2.0.1", "10.2.0.5").addresses("inner"), None);
        assert_eq!(front.beyond(), Beyond::Host);
        assert_eq!(view("10.3.0.1", "10.3.0.4").beyond(), Beyond::Host, "it has a way out elsewhere");
        assert_eq!(view("10.3.0.1", "10.3.0.6").beyond(), Beyond::Nowhere);
        assert!(directory.view(ip("10.2.0.1"), ip("10.3.0.6")).is_none(), "no endpoint of that network");
        let asker = |server: &str, from: &str| directory.asker(ip(server), ip(from));
        assert_eq!(
            asker("10.2.0.1", "10.2.0.4"),
            asker("10.3.0.1", "10.3.0.4"),
            "one endpoint, two networks"
        );
        assert_ne!(asker("10.2.0.1", "10.2.0.4"), asker("10.2.0.1", "10.2.0.5"));
        assert_eq!(asker("10.2.0.1", "10.3.0.6"), Asker::Stranger(ip("10.3.0.6")));
    }
}
