//! The default network and declared ones.

use std::collections::BTreeMap;

use super::super::network::{Request, prepare};
use super::{Declared, Deed, at, cannot};
use crate::Error;
use crate::bridge_options::{self, Options, given};
use crate::cli::{DriverArg, IpamArg};
use crate::config::{Config, DeclaredNetwork, DefaultNetwork, Device, Place};
use crate::instance::Session;
use crate::model::{DEFAULT_BRIDGE, DEFAULT_NETWORK, Driver, Network};
use crate::names::Name;
use crate::store::Change;

/// Options that a network in use can be given: the rows of its endpoints say them.
const LIVE: [&str; 8] = [
    "masquerade",
    "icc",
    "host-binding",
    "snat-ip",
    "masquerade-exclude",
    "udp-mapping",
    "udp-filtering",
    "trusted-interfaces",
];

/// What is declared of one network, wherever it is.
struct Wanted<'a> {
    place: &'a Place,
    /// `network blue`
    what: String,
    request: Request,
}

/// What is otherwise than declared.
#[derive(Default)]
struct Differences {
    /// Can be had as it is.
    live: Vec<String>,
    /// Only a new network can have it.
    structural: Vec<String>,
}

/// The network `bridge` follows the file's keys.
pub(super) async fn default(
    session: &Session,
    change: &Change<'_>,
    config: &Config,
    deeds: &mut Vec<Deed>,
) -> Result<(), Error> {
    let keys = &config.default_network;
    let networks = session.store.networks()?;
    let there = networks.iter().find(|network| network.name.as_str() == DEFAULT_NETWORK);
    let place =
        if keys.place.line == 0 { Place { path: config.path.clone(), line: 1 } } else { keys.place.clone() };
    let wanted =
        Wanted { place: &place, what: "the default network".to_owned(), request: default_request(keys)? };
    match (there, &keys.device) {
        (None, Some(Device::None)) => Ok(()),
        (Some(network), Some(Device::None)) => {
            unused(session, network, &wanted, &["bridge = \"none\"".to_owned()])?;
            deeds.push(Deed::new("remove", "network", DEFAULT_NETWORK, "bridge = \"none\""));
            Ok(change.remove_network(network.number)?)
        }
        (None, _) => create(session, change, &wanted, deeds).await.map(drop),
        (Some(network), _) => adjust(session, change, &wanted, network, true, deeds).await.map(drop),
    }
}

fn default_request(keys: &DefaultNetwork) -> Result<Request, Error> {
    let device = match &keys.device {
        Some(Device::Named(name)) => name.clone(),
        Some(Device::None) | None => DEFAULT_BRIDGE.to_owned(),
    };
    let mut options = vec![("bridge-name".to_owned(), device)];
    let mut option = |set: bool, key: &str, value: String| {
        if set {
            options.push((key.to_owned(), value));
        }
    };
    option(!keys.icc, "icc", "false".to_owned());
    option(!keys.masquerade, "masquerade", "false".to_owned());
    option(
        !(keys.host_binding.is_ipv4() && keys.host_binding.is_unspecified()),
        "host-binding",
        keys.host_binding.to_string(),
    );
    option(keys.mtu.is_some(), "mtu", keys.mtu.unwrap_or_default().to_string());
    let addresses = keys.addresses4().into_iter().chain(keys.addresses6().filter(|_| keys.ipv6));
    let addresses: Vec<_> = addresses.collect();
    Ok(Request {
        name: DEFAULT_NETWORK
            .to_owned()
            .try_into()
            .map_err(|_| Error::Premade(DEFAULT_NETWORK.to_owned()))?,
        driver: DriverArg::Bridge,
        ipv4: true,
        ipv6: keys.ipv6,
        subnets: addresses.iter().filter_map(|it| it.subnet).collect(),
        gateways: addresses.iter().filter_map(|it| it.gateway).collect(),
        ip_ranges: addresses.iter().flat_map(|it| it.ranges.clone()).collect(),
        aux_addresses: Vec::new(),
        internal: false,
        options,
        labels: BTreeMap::new(),
        ipam: IpamArg::Default,
    })
}

/// Those that a former file declared and this one does not.
pub(super) fn remove(
    session: &Session,
    change: &Change<'_>,
    config: &Config,
    before: &Declared,
    deeds: &mut Vec<Deed>,
) -> Result<(), Error> {
    let stays = |name: &str| config.networks.iter().any(|network| network.name.as_str() == name);
    for network in session.store.networks()? {
        let (name, id) = (network.name.as_str(), network.id.as_str());
        if before.networks.get(name).map(String::as_str) != Some(id) || stays(name) {
            continue;
        }
        let place = Place { path: config.path.clone(), line: 1 };
        if let Some(members) = members(session, &network)? {
            let why = format!("it is not declared any more, and these are attached: {members}");
            return Err(cannot(
                &place,
                format!("network {name}"),
                why,
                "netdp detach them first, or declare it again",
            ));
        }
        deeds.push(Deed::new("remove", "network", name, "not declared any more"));
        change.remove_network(network.number)?;
    }
    Ok(())
}

/// Those of the file.
pub(super) async fn declare(
    session: &Session,
    change: &Change<'_>,
    config: &Config,
    before: &Declared,
    after: &mut Declared,
    deeds: &mut Vec<Deed>,
) -> Result<(), Error> {
    for declared in &config.networks {
        let name = declared.name.as_str();
        let what = format!("network {name}");
        let request = request(declared).with_defaults(&config.network_options);
        let wanted = Wanted { place: &declared.place, what, request };
        wanted.request.check().map_err(at(wanted.place, wanted.what.clone()))?;
        let networks = session.store.networks()?;
        let there = networks.iter().find(|network| network.name == declared.name);
        let id = match there {
            None => Some(create(session, change, &wanted, deeds).await?),
            Some(network) => {
                let ours = before.networks.get(name).map(String::as_str) == Some(network.id.as_str());
                let id = adjust(session, change, &wanted, network, ours, deeds).await?;
                ours.then_some(id)
            }
        };
        after.networks.extend(id.map(|id| (name.to_owned(), id)));
    }
    Ok(())
}

fn request(declared: &DeclaredNetwork) -> Request {
    Request {
        name: declared.name.clone(),
        driver: declared.driver,
        ipv4: declared.ipv4,
        ipv6: declared.ipv6,
        subnets: declared.subnets.clone(),
        gateways: declared.gateways.clone(),
        ip_ranges: declared.ip_ranges.clone(),
        aux_addresses: declared.aux_addresses.clone(),
        internal: declared.internal,
        options: declared.options.clone(),
        labels: declared.labels.clone(),
        ipam: declared.ipam,
    }
}

/// Makes it and says its id.
async fn create(
    session: &Session,
    change: &Change<'_>,
    wanted: &Wanted<'_>,
    deeds: &mut Vec<Deed>,
) -> Result<String, Error> {
    let prepared = prepare(session, &wanted.request).await;
    let (mut network, new_ula) = prepared.map_err(at(wanted.place, wanted.what.clone()))?;
    if network.name.as_str() == DEFAULT_NETWORK
        && network.bridge().is_some_and(|it| it.device == DEFAULT_BRIDGE)
    {
        // That is its device anyhow.
        network.options.remove("bridge-name");
    }
    if let Some(prefix) = new_ula {
        change.set_ula(prefix)?;
    }
    change.add_network(&network)?;
    let subnets: Vec<String> = network.pools().map(|pool| pool.subnet.to_string()).collect();
    let detail = format!("{}, {}", network.driver.name(), subnets.join(" and "));
    deeds.push(Deed::new("create", "network", &network.name, detail));
    Ok(network.id.to_string())
}

/// Makes of a network what is declared: as it is where that is possible, anew where nobody is attached. Says its id.
async fn adjust(
    session: &Session,
    change: &Change<'_>,
    wanted: &Wanted<'_>,
    network: &Network,
    ours: bool,
    deeds: &mut Vec<Deed>,
) -> Result<String, Error> {
    let Differences { live, structural } = differences(&wanted.request, network);
    if live.is_empty() && structural.is_empty() {
        return Ok(network.id.to_string());
    }
    if !ours {
        let why = format!("it was made by hand, and otherwise: {}", [live, structural].concat().join("; "));
        let advice = "remove it (netdp network rm), or declare it as it is";
        return Err(cannot(wanted.place, wanted.what.clone(), why, advice));
    }
    if structural.is_empty() {
        deeds.push(Deed::new("change", "network", &network.name, live.join("; ")));
        let adjusted = adjusted(session, &wanted.request, network).await;
        change.set_network(&adjusted.map_err(at(wanted.place, wanted.what.clone()))?)?;
        return Ok(network.id.to_string());
    }
    unused(session, network, wanted, &structural)?;
    deeds.push(Deed::new("remove", "network", &network.name, structural.join("; ")));
    change.remove_network(network.number)?;
    create(session, change, wanted, deeds).await
}

/// With what a network in use can be given.
async fn adjusted(session: &Session, request: &Request, network: &Network) -> Result<Network, Error> {
    let mut network = network.clone();
    network.labels.clone_from(&request.labels);
    if let Driver::Bridge(bridge) = &mut network.driver {
        let options = Options::read(&request.options)?;
        options.fit(bridge.pool4.is_some() || bridge.dhcp, bridge.pool6.is_some())?;
        options.are_of_host(&session.kernel.outside_addresses().await?)?;
        options.apply(bridge);
        let device = network.options.remove("bridge-name");
        network.options = given(&request.options);
        if device.is_none() && network.name.as_str() == DEFAULT_NETWORK {
            network.options.remove("bridge-name");
        }
    }
    Ok(network)
}

/// Nobody is attached to a network that is to be another one.
fn unused(session: &Session, network: &Network, wanted: &Wanted<'_>, what: &[String]) -> Result<(), Error> {
    let Some(members) = members(session, network)? else { return Ok(()) };
    let why = format!("{}; that needs a new network, and these are attached: {members}", what.join("; "));
    let advice = "netdp detach them first, or leave the file as it was";
    Err(cannot(wanted.place, wanted.what.clone(), why, advice))
}

fn members(session: &Session, network: &Network) -> Result<Option<String>, Error> {
    let endpoints = session.store.endpoints()?;
    let of_it = endpoints.iter().filter(|it| it.attachments.iter().any(|it| it.network == network.number));
    let names: Vec<&str> = of_it.map(|endpoint| Name::as_str(&endpoint.name)).collect();
    Ok((!names.is_empty()).then(|| names.join(", ")))
}

fn differences(request: &Request, network: &Network) -> Differences {
    let mut found = Differences::default();
    options(request, network, &mut found);
    if request.labels != network.labels {
        found.live.push(format!("labels are {:?} instead of {:?}", request.labels, network.labels));
    }
    let mut structural = |what: &str, asked: String, is: String| {
        if asked != is {
            found.structural.push(format!("{what} is to be {asked} instead of {is}"));
        }
    };
    structural("driver", driver(request.driver).to_owned(), network.driver.name().to_owned());
    structural("ipam-driver", ipam(request.ipam == IpamArg::Dhcp), ipam(network.is_by_dhcp()));
    structural("internal", request.internal.to_string(), network.is_internal().to_string());
    structural("ipv4", request.ipv4.to_string(), network.has_ipv4().to_string());
    structural("ipv6", request.ipv6.to_string(), network.pool6().is_some().to_string());
    for subnet in &request.subnets {
        let is = network.pool_like(subnet.addr()).map(|pool| pool.subnet.to_string());
        structural("subnet", subnet.to_string(), is.unwrap_or_else(|| "none".to_owned()));
    }
    for gateway in &request.gateways {
        let is = network.pool_like(*gateway).and_then(|pool| Some(pool.gateway?.to_string()));
        structural("gateway", gateway.to_string(), is.unwrap_or_else(|| "none".to_owned()));
    }
    let mut asked = request.ip_ranges.clone();
    asked.sort();
    let mut is: Vec<_> = network.pools().flat_map(|pool| pool.ranges.clone()).collect();
    is.sort();
    structural("ip-range", format!("{asked:?}"), format!("{is:?}"));
    let asked: BTreeMap<&str, &str> =
        request.aux_addresses.iter().map(|(name, address)| (name.as_str(), address.as_str())).collect();
    let is: BTreeMap<&str, String> = network
        .pools()
        .flat_map(|pool| pool.reserved.iter().map(|(name, address)| (name.as_str(), address.to_string())))
        .collect();
    structural("aux-address", format!("{asked:?}"), format!("{is:?}"));
    found
}

fn options(request: &Request, network: &Network, found: &mut Differences) {
    let named = |options: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        let short = |key: &String| bridge_options::short(key).map_or_else(|| key.clone(), str::to_owned);
        options.iter().map(|(key, value)| (short(key), value.clone())).collect()
    };
    let (asked, mut is) = (named(&given(&request.options)), named(&network.options));
    if let (Some(bridge), true) = (network.bridge(), network.name.as_str() == DEFAULT_NETWORK) {
        is.insert("bridge-name".to_owned(), bridge.device.clone());
    }
    for key in asked.keys().chain(is.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (asked, is) = (asked.get(key), is.get(key));
        if asked == is {
            continue;
        }
        let said = |value: Option<&String>| value.map_or("not set".to_owned(), Clone::clone);
        let difference = format!("{key} is to be {} instead of {}", said(asked), said(is));
        let live = LIVE.contains(&key.as_str()) && network.bridge().is_some();
        if live { found.live.push(difference) } else { found.structural.push(difference) }
    }
}

fn ipam(is_by_dhcp: bool) -> String {
    if is_by_dhcp { "dhcp".to_owned() } else { "default".to_owned() }
}

fn driver(driver: DriverArg) -> &'static str {
    match driver {
        DriverArg::Bridge => "bridge",
        DriverArg::Macvlan => "macvlan",
        DriverArg::Ipvlan => "ipvlan",
        DriverArg::Host => "host",
        DriverArg::None => "null",
        DriverArg::Overlay => "overlay",
    }
}
