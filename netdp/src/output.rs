//! How results look: aligned tables for people, one JSON document for programs. Keys of documents are
//! Docker's where Docker has the thing.

mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::IpAddr;

use comfy_table::presets;
use comfy_table::{ContentArrangement, Table};
use serde_json::{Map, Value, json};

use crate::ipam;
use crate::model::{
    Attachment, DEFAULT_NETWORK, Endpoint, EndpointOptions, Lease, Network, Pool, PublishedPort,
};

pub use process::{add_process, command, status, without_endpoint};

/// Digits of an id in a table.
pub const SHORT: usize = 12;

/// Prints one JSON document and ends the line.
pub fn document(out: &mut impl Write, value: &Value) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// Prints rows below their headings, in columns without lines: good to read, and good for `awk`.
pub fn table(out: &mut impl Write, headings: &[&str], rows: Vec<Vec<String>>) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.to_vec());
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A moment in seconds since 1970 as RFC 3339 writes it, in UTC.
pub fn timestamp(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a number of days since 1970, by counting in eras of 400 years that begin on 1
/// March, so that the leap day comes last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// A network as Docker's `network inspect` prints it.
pub fn network(network: &Network, endpoints: &[Endpoint]) -> Value {
    let containers: Map<String, Value> = endpoints
        .iter()
        .flat_map(|endpoint| endpoint.attachments.iter().map(move |attachment| (endpoint, attachment)))
        .filter(|(_, attachment)| attachment.network == network.number)
        .map(|(endpoint, attachment)| (endpoint.id.to_string(), member(network, endpoint, attachment)))
        .collect();
    let is_bare = !network.is_attachable();
    json!({
        "Name": network.name,
        "Id": network.id,
        "Created": timestamp(network.created),
        "Scope": "local",
        "Driver": network.driver.name(),
        "EnableIPv4": is_bare || network.has_ipv4(),
        "EnableIPv6": network.pool6().is_some(),
        "IPAM": { "Driver": ipam_driver(network), "Options": {}, "Config": network.pools().map(config).collect::<Vec<_>>() },
        "Internal": network.is_internal(),
        "Containers": containers,
        "Options": network.options,
        "Labels": network.labels,
        "Status": { "IPAM": { "Subnets": usage(network, endpoints) } },
    })
}

fn ipam_driver(network: &Network) -> &'static str {
    if network.is_by_dhcp() { "dhcp" } else { "default" }
}

/// How much of each subnet is left, by Docker's keys.
fn usage(network: &Network, endpoints: &[Endpoint]) -> Map<String, Value> {
    let attachments = endpoints.iter().flat_map(|endpoint| &endpoint.attachments);
    let ours = attachments.filter(|attachment| attachment.network == network.number);
    let used = ours.flat_map(Attachment::addresses).collect();
    let subnet = |pool: &Pool| {
        let usage = ipam::usage(pool, &used);
        let counts = json!({ "IPsInUse": usage.in_use, "DynamicIPsAvailable": usage.free });
        (pool.subnet.to_string(), counts)
    };
    network.pools().map(subnet).collect()
}

fn config(pool: &Pool) -> Map<String, Value> {
    let mut config = Map::new();
    config.insert("Subnet".to_owned(), json!(pool.subnet));
    match pool.ranges.as_slice() {
        [] => {}
        [range] => drop(config.insert("IPRange".to_owned(), json!(range))),
        ranges => drop(config.insert("IPRanges".to_owned(), json!(ranges))),
    }
    if let Some(gateway) = pool.gateway {
        config.insert("Gateway".to_owned(), json!(gateway));
    }
    if !pool.reserved.is_empty() {
        config.insert("AuxiliaryAddresses".to_owned(), json!(pool.reserved));
    }
    config
}

fn member(network: &Network, endpoint: &Endpoint, attachment: &Attachment) -> Value {
    json!({
        "Name": endpoint.name,
        "EndpointID": attachment.id,
        "MacAddress": attachment.mac,
        "IPv4Address": net(network, attachment, attachment.addr4),
        "IPv6Address": net(network, attachment, attachment.addr6),
    })
}

/// An address with the length of its subnet's prefix; empty for none.
fn net(network: &Network, attachment: &Attachment, address: Option<impl Into<IpAddr>>) -> String {
    text(address.and_then(|address| network.net_of(attachment, address.into())))
}

/// An endpoint in the form of Docker's `inspect`, with the keys that are about networks. `state` is `running`
/// or `gone`.
pub fn endpoint(endpoint: &Endpoint, networks: &[Network], state: &str) -> Value {
    let joined: Map<String, Value> = endpoint
        .attachments
        .iter()
        .filter_map(|attachment| {
            let network = networks.iter().find(|network| network.number == attachment.network)?;
            Some((network.name.to_string(), joined(network, endpoint, attachment)))
        })
        .collect();
    json!({
        "Id": endpoint.id,
        "Name": endpoint.name,
        "Created": timestamp(endpoint.created),
        "State": { "Status": state },
        "Config": {
            "Hostname": endpoint.options.hostname.clone().unwrap_or_default(),
            "ExposedPorts": exposed(endpoint),
            "Labels": endpoint.options.labels,
        },
        "HostConfig": host_config(&endpoint.options),
        "NetworkSettings": {
            "SandboxKey": endpoint.netns.path,
            "Ports": ports_and_exposed(endpoint),
            "Networks": joined,
        },
    })
}

/// How names are resolved for it.
fn host_config(options: &EndpointOptions) -> Value {
    let hosts = options.extra_hosts.iter().map(|(name, address)| format!("{name}:{address}"));
    json!({
        "Dns": options.resolver.servers,
        "DnsSearch": options.resolver.search,
        "DnsOptions": options.resolver.options,
        "ExtraHosts": hosts.collect::<Vec<_>>(),
    })
}

/// Names by which a network knows an endpoint, its own first; the default network knows none, as in Docker.
fn dns_names(network: &Network, endpoint: &Endpoint, attachment: &Attachment) -> Vec<String> {
    if network.name.as_str() == DEFAULT_NETWORK {
        return Vec::new();
    }
    let own = [endpoint.name.to_string()].into_iter().chain(attachment.options.aliases.iter().cloned());
    let mut names: Vec<String> = Vec::new();
    for name in own.chain([endpoint.id.short(SHORT).to_owned()]).chain(endpoint.options.hostname.clone()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Ports that it offers in Docker's form: those that it exposes and those that are published.
fn exposed(endpoint: &Endpoint) -> Value {
    let published = endpoint.attachments.iter().flat_map(|attachment| &attachment.ports);
    let published = published.map(|port| (port.container_port, port.protocol));
    let all: BTreeSet<_> = endpoint.options.exposed.iter().copied().chain(published).collect();
    Value::Object(all.into_iter().map(|(port, protocol)| (format!("{port}/{protocol}"), json!({}))).collect())
}

fn joined(network: &Network, endpoint: &Endpoint, attachment: &Attachment) -> Value {
    let gateway = |ipv4: bool| text(network.gateways(attachment).find(|gateway| gateway.is_ipv4() == ipv4));
    let length = |address: Option<IpAddr>| {
        address.and_then(|address| network.net_of(attachment, address)).map_or(0, |net| net.prefix_len())
    };
    let [addr4, addr6] = [attachment.addr4.map(IpAddr::V4), attachment.addr6.map(IpAddr::V6)];
    let mut joined = json!({
        "Aliases": attachment.options.aliases,
        "DNSNames": dns_names(network, endpoint, attachment),
        "GwPriority": attachment.options.gw_priority,
        "Links": attachment.options.links.iter().map(|(alias, other)| format!("{other}:{alias}")).collect::<Vec<_>>(),
        "NetworkID": network.id,
        "EndpointID": attachment.id,
        "Gateway": gateway(true),
        "IPAddress": text(attachment.addr4),
        "IPPrefixLen": length(addr4),
        "IPv6Gateway": gateway(false),
        "GlobalIPv6Address": text(attachment.addr6),
        "GlobalIPv6PrefixLen": length(addr6),
        "MacAddress": attachment.mac,
        "InterfaceName": attachment.ifname,
        "HostInterfaceName": text(network.bridge().map(|_| attachment.veth())),
    });
    if network.is_by_dhcp() {
        joined["DHCP"] = json!(attachment.lease.as_ref().map(lease));
    }
    joined
}

/// What Docker has no keys for.
fn lease(lease: &Lease) -> Value {
    json!({
        "Server": lease.server,
        "Since": timestamp(lease.since),
        "Expires": lease.ends().map(timestamp),
        "NameServers": lease.name_servers,
    })
}

/// As Docker prints what is not there.
fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// As [`ports`], and `null` for what is exposed and not published.
fn ports_and_exposed(endpoint: &Endpoint) -> Value {
    let mut all = ports(endpoint);
    for (port, protocol) in &endpoint.options.exposed {
        let key = format!("{port}/{protocol}");
        if all.get(&key).is_none() {
            all[key] = Value::Null;
        }
    }
    all
}

/// Published ports in Docker's form: `{"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}`. One that is not for
/// everybody has its sources under `From` too.
pub fn ports(endpoint: &Endpoint) -> Value {
    let mut ports: BTreeMap<(u16, String), Vec<Value>> = BTreeMap::new();
    for port in endpoint.attachments.iter().flat_map(|attachment| &attachment.ports) {
        let mut binding = json!({ "HostIp": port.host_address, "HostPort": text(port.host_port) });
        if !port.sources.is_everybody() {
            binding["From"] = json!(port.sources);
        }
        ports.entry((port.container_port, port.protocol.to_string())).or_default().push(binding);
    }
    let named =
        ports.into_iter().map(|((port, protocol), bindings)| (format!("{port}/{protocol}"), json!(bindings)));
    Value::Object(named.collect())
}

/// A published port as Docker's `ps` prints it: `0.0.0.0:8080->80/tcp`, or `80/tcp` where that is the endpoint's own, with
/// its [`sources`] behind it.
pub fn port(port: &PublishedPort) -> String {
    let host = port.host_port.map_or_else(String::new, |_| format!("{}->", port.host_side()));
    format!("{host}{}/{}{}", port.container_port, port.protocol, sources(port))
}

/// ` (from 10.0.0.0/8 fd00::/8)`, and nothing for a port that is for everybody.
pub fn sources(port: &PublishedPort) -> String {
    if port.sources.is_everybody() {
        return String::new();
    }
    let list: Vec<String> = port.sources.iter().map(ToString::to_string).collect();
    format!(" (from {})", list.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(seconds), text);
        }
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_tail() {
        let mut out = Vec::new();
        let rows = vec![vec!["a".to_owned(), "long one".to_owned()], vec!["bbbb".to_owned(), String::new()]];
        table(&mut out, &["ONE", "TWO"], rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "ONE    TWO\na      long one\nbbbb\n");
    }
}
