//! Which network a process gets: the words after `--network`, resolved by what there is.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::conflicts::CONTAINER;
use crate::Error;
use crate::cli::{NetworkArg, Run};
use crate::host::netns;
use crate::instance::{find_endpoint, find_network};
use crate::model::{AttachmentOptions, DEFAULT_NETWORK, Driver, Endpoint, Mac, Network};
use crate::names::Id;
use crate::process::{self, Processes};
use crate::publish::{self, PortSpec};
use crate::world::open_netns;

/// Where the network of a process comes from.
pub(super) enum Resolved<'a> {
    /// The host's own.
    Host,
    /// None but a loopback.
    None,
    /// That of another process or endpoint.
    Container(Other),
    /// One of its own, joined to these.
    Networks(Vec<Wanted<'a>>),
}

/// Somebody whose network is shared.
pub(super) struct Other {
    /// Its id.
    pub(super) id: Id,
    /// Its network namespace.
    pub(super) netns: PathBuf,
    /// The name of its host.
    pub(super) hostname: String,
}

/// A network that is to be joined.
pub(super) struct Wanted<'a> {
    /// The network.
    pub(super) network: &'a Network,
    /// The IPv4 address in it.
    pub(super) ip: Option<Ipv4Addr>,
    /// The IPv6 address in it.
    pub(super) ip6: Option<Ipv6Addr>,
    /// The MAC in it.
    pub(super) mac_address: Option<Mac>,
    /// Ports that are published on it.
    pub(super) ports: Vec<PortSpec>,
    /// What else.
    pub(super) options: AttachmentOptions,
}

/// Resolves what was asked for.
pub(super) fn resolve<'a>(
    args: &Run,
    networks: &'a [Network],
    endpoints: &[Endpoint],
    processes: &Processes,
) -> Result<Resolved<'a>, Error> {
    let default = [NetworkArg { name: DEFAULT_NETWORK.to_owned(), ..NetworkArg::default() }];
    let asked = if args.networks.is_empty() { &default[..] } else { &args.networks };
    match asked {
        [one] if one.name == "host" => Ok(Resolved::Host),
        [one] if one.name == "none" => Ok(Resolved::None),
        [one] if one.name.starts_with(CONTAINER) => {
            let word = one.name.strip_prefix(CONTAINER).unwrap_or_default();
            other(word, endpoints, processes).map(Resolved::Container)
        }
        several => wanted(args, several, networks),
    }
}

fn other(word: &str, endpoints: &[Endpoint], processes: &Processes) -> Result<Other, Error> {
    match processes.find(word) {
        Ok(record) => {
            let Some(task) = record.task.filter(process::Task::lives) else {
                return Err(process::Error::JoinEnded(word.to_owned()).into());
            };
            Ok(Other { id: record.id, netns: netns::path_of(task.pid), hostname: record.hostname })
        }
        Err(process::Error::Unresolved(_)) => {
            let endpoint = find_endpoint(endpoints, word)?;
            open_netns(&endpoint.netns).map_err(|_| process::Error::JoinEnded(word.to_owned()))?;
            let own = endpoint.options.hostname.clone();
            Ok(Other {
                id: endpoint.id.clone(),
                netns: endpoint.netns.path.clone(),
                hostname: own.unwrap_or_else(|| endpoint.id.short(process::SHORT).to_owned()),
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// The options that are about one network hold for the first. Ports are published where there is a way in.
fn wanted<'a>(args: &Run, asked: &[NetworkArg], networks: &'a [Network]) -> Result<Resolved<'a>, Error> {
    let mut all: Vec<Wanted<'a>> = Vec::new();
    for arg in asked {
        let word = if arg.name == "default" { DEFAULT_NETWORK } else { &arg.name };
        let network = find_network(networks, word)?;
        if all.iter().any(|it| it.network.number == network.number) {
            return Err(process::Error::NetworkTwice(network.name.to_string()).into());
        }
        // By its id, or under another name.
        match network.driver {
            Driver::Host if asked.len() == 1 => return Ok(Resolved::Host),
            Driver::Null if asked.len() == 1 => return Ok(Resolved::None),
            _ => {}
        }
        let (first, default) = (all.is_empty(), network.name.as_str() == DEFAULT_NETWORK);
        let own =
            |aliases: &[crate::names::Name]| aliases.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut aliases = own(&arg.aliases);
        aliases.extend(first.then(|| own(&args.aliases)).into_iter().flatten());
        if default && !aliases.is_empty() {
            return Err(process::Error::Alias.into());
        }
        let links = args.links.iter().filter(|_| first && !default);
        all.push(Wanted {
            network,
            ip: arg.ip.or(args.ip.filter(|_| first)),
            ip6: arg.ip6.or(args.ip6.filter(|_| first)),
            mac_address: arg.mac_address.or(args.mac_address.filter(|_| first)),
            ports: Vec::new(),
            options: AttachmentOptions {
                aliases,
                links: links.map(|link| (link.alias.clone(), link.target.clone())).collect(),
                gw_priority: arg.gw_priority.unwrap_or_default(),
                ..AttachmentOptions::default()
            },
        });
    }
    let open = |it: &Wanted<'_>| it.network.bridge().is_some_and(|bridge| !bridge.internal);
    let way_in = all.iter().position(open).unwrap_or(0);
    if let Some(wanted) = all.get_mut(way_in) {
        wanted.ports = ports(args);
    }
    Ok(Resolved::Networks(all))
}

/// Published ports, and with `-P` those that are exposed.
fn ports(args: &Run) -> Vec<PortSpec> {
    publish::with_exposed(&args.publish, &args.expose, args.publish_all)
}
