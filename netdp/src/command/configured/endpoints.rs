//! Declared endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::super::host_ports::{self, Listening};
use super::super::join::{self, Container, join};
use super::super::repeated;
use super::{Declared, Deed, at, cannot};
use crate::Error;
use crate::config::{Config, DeclaredEndpoint, DeclaredInterface};
use crate::instance::{Place, Session};
use crate::ipam;
use crate::model::{Attachment, Endpoint, EndpointOptions, Network};
use crate::store::{Change, Setting, Store};

/// Those that a former file declared and this one does not.
pub(super) fn remove(
    session: &Session,
    change: &Change<'_>,
    config: &Config,
    before: &Declared,
    deeds: &mut Vec<Deed>,
) -> Result<(), Error> {
    for former in &before.endpoints {
        let Some(endpoint) = session.store.endpoint(former.name.as_str())? else { continue };
        let Some(declared) = config.endpoints.iter().find(|it| it.name == former.name) else {
            deeds.push(Deed::new("remove", "endpoint", &former.name, "not declared any more"));
            change.remove_endpoint(&endpoint.id)?;
            continue;
        };
        let networks = session.store.networks()?;
        for attachment in left_networks(former, declared, &endpoint, &networks) {
            let detail = "not declared any more in one of its networks";
            deeds.push(Deed::new("change", "endpoint", &former.name, detail));
            change.remove_attachment(&attachment.id)?;
        }
    }
    Ok(())
}

/// Interfaces that the former file has and this one has not.
fn left_networks<'a>(
    former: &DeclaredEndpoint,
    declared: &DeclaredEndpoint,
    endpoint: &'a Endpoint,
    networks: &[Network],
) -> Vec<&'a Attachment> {
    let names = |endpoint: &DeclaredEndpoint| -> BTreeSet<String> {
        endpoint.interfaces.iter().map(|interface| interface.network.clone()).collect()
    };
    let left: BTreeSet<String> = names(former).difference(&names(declared)).cloned().collect();
    let numbers: Vec<u32> =
        networks.iter().filter(|it| left.contains(it.name.as_str())).map(|it| it.number).collect();
    endpoint.attachments.iter().filter(|attachment| numbers.contains(&attachment.network)).collect()
}

/// What those of the file have already is made as they say; what cannot be is told before anything is touched.
pub(super) fn declare(
    session: &Session,
    change: &Change<'_>,
    config: &Config,
    before: &Declared,
    after: &mut Declared,
    deeds: &mut Vec<Deed>,
) -> Result<(), Error> {
    let networks = session.store.networks()?;
    for declared in &config.endpoints {
        let there = session.store.endpoint(declared.name.as_str())?;
        let ours = before.endpoints.iter().any(|former| former.name == declared.name);
        for interface in &declared.interfaces {
            let network = find(&networks, declared, interface)?;
            Interface { session, network, declared, asked: interface, ours, there: there.as_ref() }
                .adjust(change, deeds)?;
        }
        if let Some(endpoint) = there.as_ref().filter(|_| !ours) {
            as_made_by_hand(declared, endpoint)?;
        }
        if let Some(endpoint) =
            there.as_ref().filter(|endpoint| ours && options(endpoint, declared) != endpoint.options)
        {
            let detail = "hostname, labels or names";
            deeds.push(Deed::new("change", "endpoint", &declared.name, detail));
            change.set_endpoint_options(&endpoint.id, &options(endpoint, declared))?;
        }
        if ours || there.is_none() {
            after.endpoints.push(declared.clone());
        }
    }
    Ok(())
}

/// What was made by hand stays, and what the file says otherwise is told. What it does not say, it leaves.
fn as_made_by_hand(declared: &DeclaredEndpoint, endpoint: &Endpoint) -> Result<(), Error> {
    let Some(has) = repeated::endpoint(&declared.options, &endpoint.options) else { return Ok(()) };
    let (what, name) = (format!("endpoint {}", declared.name), &declared.name);
    let advice = format!("netdp detach {name} first, or declare it as it is");
    Err(cannot(&declared.place, what, format!("it was attached by hand, and has {has}"), &advice))
}

fn options(endpoint: &Endpoint, declared: &DeclaredEndpoint) -> EndpointOptions {
    let EndpointOptions { hostname, labels, resolver, extra_hosts, .. } = declared.options.clone();
    EndpointOptions { hostname, labels, resolver, extra_hosts, ..endpoint.options.clone() }
}

fn find<'a>(
    networks: &'a [Network],
    declared: &DeclaredEndpoint,
    interface: &DeclaredInterface,
) -> Result<&'a Network, Error> {
    let wrong = at(&interface.place, format!("endpoint.{}.network", declared.name));
    let network = crate::instance::find_network(networks, &interface.network).map_err(&wrong)?;
    if network.is_attachable() {
        return Ok(network);
    }
    let (name, driver) = (network.name.to_string(), network.driver.name());
    Err(wrong(Error::NotAttachable { name, driver }))
}

/// One interface of a declared endpoint, with the endpoint as far as it is there.
struct Interface<'a> {
    session: &'a Session,
    network: &'a Network,
    declared: &'a DeclaredEndpoint,
    asked: &'a DeclaredInterface,
    ours: bool,
    there: Option<&'a Endpoint>,
}

impl Interface<'_> {
    fn adjust(&self, change: &Change<'_>, deeds: &mut Vec<Deed>) -> Result<(), Error> {
        let attachments = self.there.map_or(&[][..], |endpoint| &endpoint.attachments);
        let Some(present) = attachments.iter().find(|it| it.network == self.network.number) else {
            return self.can_join();
        };
        self.same(present)?;
        let mut wanted = present.clone();
        wanted.options.aliases.clone_from(&self.asked.options.aliases);
        wanted.options.links.clone_from(&self.asked.options.links);
        wanted.options.gw_priority = self.asked.options.gw_priority;
        let specs = self.asked.ports();
        let listening = Listening::of(self.network);
        let wrong = at(&self.asked.place, self.what());
        if !host_ports::satisfied(&specs, &present.as_lent(self.network), &[], listening).map_err(&wrong)? {
            // Its own ports are free for it.
            wanted.ports = Vec::new();
            change.set_attachment(&wanted)?;
            let lent = wanted.as_lent(self.network);
            wanted.ports =
                host_ports::allocate(&self.session.store, &specs, listening, &lent).map_err(&wrong)?;
        }
        if wanted == *present {
            return Ok(());
        }
        if !self.ours {
            return Err(self.otherwise("ports, aliases, links or gw-priority are not as declared"));
        }
        let ports: Vec<String> = wanted.ports.iter().map(crate::output::port).collect();
        let ports = if ports.is_empty() { "none".to_owned() } else { ports.join(", ") };
        let detail = format!("in {}: ports {ports}; aliases {:?}", self.network.name, wanted.options.aliases);
        deeds.push(Deed::new("change", "endpoint", &self.declared.name, detail));
        Ok(change.set_attachment(&wanted)?)
    }

    fn what(&self) -> String {
        format!("endpoint {} in network {}", self.declared.name, self.network.name)
    }

    fn otherwise(&self, why: &str) -> Error {
        let made = if self.ours { "" } else { "it was attached by hand, and otherwise: " };
        let advice = format!("netdp detach {} first, or declare it as it is", self.declared.name);
        cannot(&self.asked.place, self.what(), format!("{made}{why}"), &advice)
    }

    /// What cannot be changed in an interface that is there.
    fn same(&self, present: &Attachment) -> Result<(), Error> {
        let DeclaredInterface { ip, ip6, mac_address, ifname, .. } = self.asked;
        let mut found = Vec::new();
        let mut compare = |key: &str, asked: Option<String>, is: String| {
            if let Some(asked) = asked.filter(|asked| *asked != is) {
                found.push(format!("{key} is to be {asked} instead of {is}"));
            }
        };
        let text = |address: Option<IpAddr>| address.map_or("none".to_owned(), |it| it.to_string());
        // A server is asked for it when the interface is made, and has the last word.
        let ip = ip.filter(|_| !self.network.is_by_dhcp());
        compare("ip", ip.map(|ip| ip.to_string()), text(present.addr4.map(Into::into)));
        compare("ip6", ip6.map(|ip| ip.to_string()), text(present.addr6.map(Into::into)));
        compare("mac-address", mac_address.map(|mac| mac.to_string()), present.mac.to_string());
        compare("ifname", ifname.clone(), present.ifname.clone());
        let (asked, is) = (&self.asked.options.sysctls, &present.options.sysctls);
        if !repeated::same_set(asked, is) {
            found.push("sysctls are not as declared, and are set when an interface is made".to_owned());
        }
        if found.is_empty() { Ok(()) } else { Err(self.otherwise(&found.join("; "))) }
    }

    /// Whether an interface that is yet to be made can have its addresses.
    fn can_join(&self) -> Result<(), Error> {
        let wrong = at(&self.asked.place, self.what());
        let used = self.session.store.used_addresses(self.network.number)?;
        let (ip, ip6) = (self.asked.ip.map(IpAddr::V4), self.asked.ip6.map(IpAddr::V6));
        for (address, family) in [(ip, "IPv4"), (ip6, "IPv6")] {
            let Some(asked) = address else { continue };
            let network = self.network.name.to_string();
            if asked.is_ipv4() && self.network.is_by_dhcp() {
                continue;
            }
            let pool = self.network.pool_like(asked);
            let pool = pool.ok_or(Error::NoFamily { network, asked, family }).map_err(&wrong)?;
            ipam::claim(pool, asked, &used).map_err(|error| wrong(error.into()))?;
        }
        join::knows_links(self.network, &self.asked.options.links).map_err(&wrong)?;
        if self.network.is_internal() && !self.asked.publish.is_empty() {
            return Err(wrong(Error::InternalPublish(self.network.name.to_string())));
        }
        Ok(())
    }
}

/// Attaches every declared endpoint whose namespace is there, one after the other: one that cannot be must not keep the others.
pub(in super::super) async fn attach(session: &mut Session) -> Result<Vec<Deed>, Error> {
    let declared: Declared = session.store.setting(Setting::Declared)?;
    let (mut deeds, mut errors) = (Vec::new(), Vec::new());
    for endpoint in &declared.endpoints {
        if namespace(&endpoint.netns).is_none() {
            let detail = format!("for {} to appear", endpoint.netns.display());
            deeds.push(Deed::new("wait", "endpoint", &endpoint.name, detail));
            continue;
        }
        match attach_one(session, endpoint).await {
            Ok(more) => deeds.extend(more),
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors).map(|()| deeds)
}

async fn attach_one(session: &mut Session, declared: &DeclaredEndpoint) -> Result<Vec<Deed>, Error> {
    let container = Container::open(Some(&declared.netns), None)?;
    let mut deeds = Vec::new();
    for interface in &declared.interfaces {
        let networks = session.store.networks()?;
        let network = crate::instance::find_network(&networks, &interface.network)?;
        let before = session.store.endpoint(declared.name.as_str())?;
        let endpoint = join(session, &networks, network, &container, &request(declared, interface)).await?;
        let attachment = endpoint.attachments.iter().find(|it| it.network == network.number);
        let known = |it: &Attachment| before.iter().flat_map(|it| &it.attachments).any(|old| old.id == it.id);
        if let Some(attachment) = attachment.filter(|attachment| !known(attachment)) {
            let addresses: Vec<String> = attachment.addresses().map(|address| address.to_string()).collect();
            let detail = format!("to {}: {}, {}", network.name, attachment.ifname, addresses.join(" and "));
            deeds.push(Deed::new("attach", "endpoint", &declared.name, detail));
        }
    }
    Ok(deeds)
}

fn request(declared: &DeclaredEndpoint, interface: &DeclaredInterface) -> join::Request {
    join::Request {
        id: None,
        name: declared.name.clone(),
        ip: interface.ip,
        ip6: interface.ip6,
        mac_address: interface.mac_address,
        ports: interface.ports(),
        ifname: interface.ifname.clone(),
        attachment: interface.options.clone(),
        endpoint: declared.options.clone(),
        granted: None,
    }
}

/// Which namespace a path leads to, if it does: a file that is to be one is on another file system before.
fn namespace(path: &Path) -> Option<(u64, u64)> {
    crate::host::netns::open(path).ok()?;
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Declared endpoints that are not attached to all their networks, in words.
pub(in super::super) fn waiting(store: &Store) -> Result<Vec<String>, Error> {
    let declared: Declared = store.setting(Setting::Declared)?;
    let networks = store.networks()?;
    let mut lines = Vec::new();
    for endpoint in &declared.endpoints {
        let there = store.endpoint(endpoint.name.as_str())?;
        let attachments = there.as_ref().map_or(&[][..], |endpoint| &endpoint.attachments);
        let joined = |number: u32| attachments.iter().any(|attachment| attachment.network == number);
        let is_joined = |name: &str| {
            networks.iter().any(|network| network.name.as_str() == name && joined(network.number))
        };
        let lacking = endpoint.interfaces.iter().map(|interface| interface.network.as_str());
        let lacking: Vec<&str> = lacking.filter(|network| !is_joined(network)).collect();
        if lacking.is_empty() {
            continue;
        }
        let (name, netns) = (&endpoint.name, endpoint.netns.display());
        lines.push(if namespace(&endpoint.netns).is_none() {
            format!("endpoint {name} is declared, and waits for {netns} to appear")
        } else {
            format!(
                "endpoint {name} is declared, and not attached to {}; netdp up says why",
                lacking.join(", ")
            )
        });
    }
    Ok(lines)
}

/// Whether a declared endpoint's namespace has appeared, or is another one than when this was asked last.
pub(in super::super) fn overdue(place: &Place, seen: &mut BTreeMap<String, (u64, u64)>) -> bool {
    let declared =
        || Some(Store::read(&place.state_dir).ok()??.setting::<Declared>(Setting::Declared).ok()?.endpoints);
    let mut appeared = false;
    for endpoint in declared().unwrap_or_default() {
        let Some(is) = namespace(&endpoint.netns) else { continue };
        appeared |= seen.insert(endpoint.name.to_string(), is) != Some(is);
    }
    appeared
}
