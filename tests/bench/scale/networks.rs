//! Networks: what a hundred of them cost a packet within one, and the next one.

use std::cell::RefCell;

use tests::topology::{Bed, Container, Host};

use super::clock::milliseconds;
use super::effort::Effort;
use super::figure::{Row, Sweep};
use super::turn::{go_on, in_turn};
use super::way::Way;
use crate::ending::Ending;
use crate::server::Servers;

/// The name and subnet of the one that comes and goes.
const SPARE: (&str, &str) = ("spare", "10.78.0.0/24");

/// A host with so many networks, and two containers of the last one.
struct Networked {
    host: Host,
    client: Container,
    server: Container,
}

/// One host for each number of networks.
pub(super) fn sweep(effort: &Effort) -> Result<Sweep, Ending> {
    let bed = Bed::new();
    let mut hosts = Vec::new();
    for networks in effort.networks {
        eprintln!("creating {networks}");
        hosts.push(create(&bed, *networks)?);
    }
    let _servers: Vec<Servers> = hosts.iter().map(|host| Servers::start(&host.server.ns, &[])).collect();
    let ways: Vec<Way> = hosts.iter().map(local).collect();
    eprintln!("traffic");
    let (sizes, length) = (hosts.len(), effort.length);
    let rr = in_turn(effort.rounds, sizes, |at| ways[at].rr(length))?;
    ways.iter().try_for_each(Way::prove)?;
    eprintln!("creating and removing one more");
    let removed = RefCell::new(vec![Vec::new(); sizes]);
    let created = in_turn(effort.commands, sizes, |at| {
        let host = &hosts[at].host;
        let (name, subnet) = SPARE;
        let created = milliseconds(host.command(&["network", "create", "--subnet", subnet, name]));
        removed.borrow_mut()[at].push(milliseconds(host.command(&["network", "rm", name])));
        Ok(created)
    })?;
    Ok(Sweep {
        of: "networks",
        sizes: effort.networks.to_vec(),
        rows: vec![
            Row::new("container to container of one, one transaction", "us", rr),
            Row::new("network create", "ms", created),
            Row::new("network rm", "ms", removed.into_inner()),
        ],
        notes: vec![
            "Beside them there is the network that netdp makes itself. Commands are whole processes."
                .to_owned(),
        ],
    })
}

fn local(at: &Networked) -> Way<'_> {
    Way::new(&at.client.ns, at.server.address, &at.host, &["local"])
}

fn create(bed: &Bed, networks: u32) -> Result<Networked, Ending> {
    let host = bed.unwatched_host(&format!("n{networks}"));
    host.up_once();
    for n in 1..=networks {
        go_on()?;
        host.netdp(&["network", "create", "--subnet", &format!("10.77.{n}.0/24"), &format!("net{n}")]).done();
    }
    let last = format!("net{networks}");
    let client = bed.container(&host, &format!("n{networks}-client"), &["--network", &last]);
    let server = bed.container(&host, &format!("n{networks}-server"), &["--network", &last]);
    Ok(Networked { host, client, server })
}
