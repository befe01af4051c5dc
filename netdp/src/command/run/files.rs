//! What a process finds in its `/etc` and in its environment.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::mode::Resolved;
use crate::Error;
use crate::cli::Run;
use crate::host::lock;
use crate::instance::{Session, find_endpoint, network_of};
use crate::model::{Attachment, Bridge, DEFAULT_NETWORK, Endpoint, Network, Resolver};
use crate::process::hosts::{self, Hosts};
use crate::process::links::Linked;
use crate::process::{self, Mode, Processes, Record, resolver};

/// The files and what they are mounted over.
const FILES: [(&str, &str); 3] =
    [("hosts", "/etc/hosts"), ("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")];

/// Whom `--link` leads to on the default network. On any other one a link is a name that its resolver knows, and may be of one
/// who is yet to come.
pub(super) fn links(
    args: &Run,
    resolved: &Resolved<'_>,
    networks: &[Network],
    endpoints: &[Endpoint],
    processes: &Processes,
) -> Result<Vec<Linked>, Error> {
    let Resolved::Networks(wanted) = resolved else { return Ok(Vec::new()) };
    let default = networks.iter().find(|network| network.name.as_str() == DEFAULT_NETWORK);
    let Some(network) =
        default.filter(|it| wanted.first().is_some_and(|first| first.network.number == it.number))
    else {
        return Ok(Vec::new());
    };
    args.links.iter().map(|link| linked(&link.target, &link.alias, network, endpoints, processes)).collect()
}

fn linked(
    target: &str,
    alias: &str,
    network: &Network,
    endpoints: &[Endpoint],
    processes: &Processes,
) -> Result<Linked, Error> {
    let refused = |why| {
        let (target, alias) = (target.to_owned(), alias.to_owned());
        Error::from(process::Error::Link { target, alias, why })
    };
    let record = processes.find(target).ok();
    let endpoint = match (find_endpoint(endpoints, target), &record) {
        (Ok(endpoint), _) => endpoint,
        (Err(error), None) => return Err(error),
        (Err(_), Some(record)) if !record.runs() => return Err(refused("it is not running")),
        (Err(_), Some(record)) => {
            return Err(refused(match record.mode {
                Mode::Host => "it is in the host's network",
                Mode::None => "it has no network",
                Mode::Container(_) => "its network is that of another one: link to that",
                Mode::Networks(_) => "it is on no network any more",
            }));
        }
    };
    let own = record.as_ref().map(|record| record.hostname.clone()).or(endpoint.options.hostname.clone());
    let hostname = own.unwrap_or_else(|| endpoint.id.short(process::SHORT).to_owned());
    let mut linked = Linked::on(network, endpoint, alias, &hostname)
        .ok_or_else(|| refused("it is not on the default network, where a link begins"))?;
    let given = record.map(|record| record.environment).unwrap_or_default();
    linked.environment = given.into_iter().filter(|(key, _)| key != "HOSTNAME").collect();
    Ok(linked)
}

/// Where a process lives, and how names are resolved there.
#[derive(Clone, Copy)]
pub(super) struct Lives<'a> {
    /// All networks.
    networks: &'a [Network],
    /// Whether a resolver answers on the gateways.
    is_served: bool,
    /// What was asked for, by the process or for the whole host.
    resolver: &'a Resolver,
    /// Its interfaces, if it has its own.
    endpoint: Option<&'a Endpoint>,
}

/// Writes the process's own files and says what they are mounted over. Who shares the network of a process shares its files.
pub(super) fn write(
    session: &Session,
    networks: &[Network],
    record: &Record,
    endpoint: Option<&Endpoint>,
) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
    let directory = Processes::of(&session.place).directory(&record.id);
    if let Mode::Container(other) = &record.mode {
        return Ok(mounts(&directory.with_file_name(other.as_str())));
    }
    hosts::write(&directory.join("hostname"), &format!("{}\n", record.hostname))?;
    write_names(session, networks, record, endpoint)?;
    Ok(mounts(&directory))
}

/// Writes those files anew that depend on the networks of a process. What netdp has not started has none.
pub(in crate::command) fn refresh(
    session: &Session,
    networks: &[Network],
    endpoint: &Endpoint,
) -> Result<(), Error> {
    match Processes::of(&session.place).get(&endpoint.id) {
        Some(record) => write_names(session, networks, &record, Some(endpoint)),
        None => Ok(()),
    }
}

fn write_names(
    session: &Session,
    networks: &[Network],
    record: &Record,
    endpoint: Option<&Endpoint>,
) -> Result<(), Error> {
    let directory = Processes::of(&session.place).directory(&record.id);
    let own = endpoint.into_iter().flat_map(|it| &it.attachments).flat_map(Attachment::addresses).collect();
    let (hostname, extra) = (&record.hostname, &record.options.extra_hosts);
    let hosts = match record.mode {
        Mode::Host => hosts::of_host(&fs::read_to_string("/etc/hosts").unwrap_or_default(), extra),
        _ => Hosts { hostname, own, extra, links: &record.links }.render(),
    };
    hosts::write(&directory.join("hosts"), &hosts)?;
    // Without a resolver, as after `netdp up --once`, nobody answers on a gateway.
    let is_served = lock::resolver_pid(&session.place.run_dir).is_some();
    let asked = record.options.resolver.or(&session.store.resolver()?);
    let lives = Lives { networks, is_served, resolver: &asked, endpoint };
    write_resolv_conf(&directory, &resolv_conf(record, &lives))
}

/// Unless the process has written into it since, as in Docker.
fn write_resolv_conf(directory: &Path, text: &str) -> Result<(), Error> {
    let [file, written] = ["resolv.conf", "resolv.conf.written"].map(|name| directory.join(name));
    let is_its_own = |found: String| fs::read_to_string(&written).is_ok_and(|ours| ours != found);
    if fs::read_to_string(&file).is_ok_and(is_its_own) {
        return Ok(());
    }
    hosts::write(&file, text)?;
    Ok(hosts::write(&written, text)?)
}

fn resolv_conf(record: &Record, lives: &Lives<'_>) -> String {
    let asked = with_lent(lives.resolver, lives.endpoint);
    let gateways = gateways(lives);
    let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    match record.mode {
        Mode::Host => resolver::of_host(&asked, &host),
        _ if gateways.is_empty() || !lives.is_served => {
            let stub = || fs::read_to_string(resolver::BEHIND_STUB).unwrap_or_default();
            resolver::beside_host(&asked, &host, stub)
        }
        _ => resolver::of_networks(&gateways, &asked, &host),
    }
}

/// Where the operator has named no servers, those of the LAN are as its DHCP server says.
fn with_lent(asked: &Resolver, endpoint: Option<&Endpoint>) -> Resolver {
    let mut asked = asked.clone();
    if asked.servers.is_empty() {
        let leases = endpoint.into_iter().flat_map(|it| &it.attachments).filter_map(|it| it.lease.as_ref());
        asked.servers = leases.flat_map(|lease| lease.name_servers.iter().copied()).collect();
    }
    asked
}

/// Those that are there: an endpoint that was attached has none of its own.
fn mounts(directory: &Path) -> Vec<(PathBuf, PathBuf)> {
    let all = FILES.iter().map(|(from, to)| (directory.join(from), PathBuf::from(to)));
    all.filter(|(from, _)| from.is_file()).collect()
}

/// The addresses of the networks' resolvers.
fn gateways(lives: &Lives<'_>) -> Vec<IpAddr> {
    let attachments = lives.endpoint.into_iter().flat_map(|endpoint| &endpoint.attachments);
    let joined = attachments.filter_map(|attachment| network_of(attachment, lives.networks));
    let bridges = joined.filter_map(Network::bridge);
    let of_bridge = |bridge: &Bridge| {
        let gateways = bridge.pools().filter_map(|pool| pool.gateway);
        gateways.filter(|gateway| !bridge.is_router(*gateway)).collect::<Vec<_>>()
    };
    bridges.flat_map(of_bridge).collect()
}

/// The process's own variables: the name of its host, what links tell, and last what the operator says.
pub(super) fn environment(args: &Run, record: &Record) -> Vec<(String, String)> {
    let mut variables = vec![("HOSTNAME".to_owned(), record.hostname.clone())];
    variables.extend(record.links.iter().flat_map(|link| link.variables(record.name.as_str())));
    variables.extend(asked(&args.env));
    variables
}

/// Variables of the command line; one without a value has that of this process, and without that is not there.
pub(in crate::command) fn asked(args: &[(String, Option<String>)]) -> Vec<(String, String)> {
    let value = |key: &String, value: &Option<String>| value.clone().or_else(|| std::env::var(key).ok());
    args.iter().filter_map(|(key, given)| Some((key.clone(), value(key, given)?))).collect()
}
