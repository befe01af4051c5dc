//! Published ports: what one of many costs.

use tests::topology::{Bed, Container, Host};

use super::effort::Effort;
use super::figure::{Bar, Row, Sweep};
use super::resource;
use super::turn::in_turn;
use super::way::Way;
use crate::ending::Ending;
use crate::port;
use crate::server::Servers;

/// What a packet may cost more, in percent.
pub(super) const SLOPE: Bar = Bar::Slope(3.0);

/// One host for each number of ports. The port that is asked is in the middle of them.
pub(super) fn sweep(effort: &Effort) -> Result<Sweep, Ending> {
    let bed = Bed::new();
    let hosts: Vec<(Host, Container)> = effort.ports.iter().map(|ports| publish(&bed, *ports)).collect();
    let _servers: Vec<Servers> = hosts.iter().map(|(_, server)| Servers::start(&server.ns, &[])).collect();
    let published = ["published", "reply"].as_slice();
    let ways: Vec<Way> =
        hosts.iter().map(|(host, _)| Way::new(&bed.outside.ns, host.address, host, published)).collect();
    let (rounds, sizes, length) = (effort.rounds, ways.len(), effort.length);
    let rr = in_turn(rounds, sizes, |at| ways[at].rr(length))?;
    let crr = in_turn(rounds, sizes, |at| ways[at].crr(length))?;
    ways.iter().try_for_each(Way::prove)?;
    let maps = hosts.iter().map(|(host, _)| vec![resource::maps(host)]).collect();
    Ok(Sweep {
        of: "published ports",
        sizes: effort.ports.to_vec(),
        rows: vec![
            Row::new("outside to published, one transaction", "us", rr).at_most(SLOPE),
            Row::new("outside to published, one connection", "us", crr).at_most(SLOPE),
            Row::new("memory of maps", "MiB", maps),
        ],
        notes: vec!["Ports are published as one range.".to_owned()],
    })
}

fn publish(bed: &Bed, ports: u32) -> (Host, Container) {
    let host = bed.unwatched_host(&format!("p{ports}"));
    host.up_once();
    let asked = u32::from(*port::ECHO.start());
    let first = asked - ports / 2;
    let last = first + ports - 1;
    let server =
        bed.container(&host, &format!("p{ports}-server"), &["-p", &format!("{first}-{last}:{first}-{last}")]);
    (host, server)
}
