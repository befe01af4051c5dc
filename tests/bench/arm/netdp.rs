//! netdp.

use std::net::IpAddr;

use serde_json::Value;
use tests::namespace::Namespace;
use tests::topology::{Bed, Container, Host};

use super::address::{Addresses, LOOPBACK, OUTSIDE};
use super::{Arm, Place, Way, plug};
use crate::counter::Counter;
use crate::options::{Family, Scenario};
use crate::port;
use crate::variant::Variant;

/// What a published port's packets are counted as, there and back.
const PUBLISHED: Counter = Counter::Netdp(&["published", "reply"]);
const MASQUERADED: Counter = Counter::Netdp(&["masqueraded", "reply"]);

/// What `netdp network create` is asked for, to get the largest packets that an interface takes.
const LARGE: [&str; 2] = ["-o", "mtu=65535"];

/// Two containers of one network, without a controller.
pub(super) struct Netdp {
    variant: Option<Variant>,
    client: Container,
    server: Container,
    host: Host,
    bed: Bed,
}

impl Netdp {
    /// As everybody gets it, or otherwise.
    pub(super) fn build(families: &[Family], variant: Option<Variant>) -> Self {
        let bed = Bed::new();
        let host = bed.unwatched_host("host");
        plug::allow_many_connections(&host.ns);
        // A firewall that lets nothing pass, and says whether it was asked.
        let forward = "type filter hook forward priority filter; policy drop; counter name forwarded";
        host.ns
            .sh(&format!(
                "nft 'table inet bench {{ counter forwarded {{ }}; chain forward {{ {forward}; }}; }}'"
            ))
            .done();
        up(&host, variant.and_then(Variant::lacks));
        let network = network(&host, families, variant == Some(Variant::LargeMtu));
        let published = port::publish_options();
        let published: Vec<&str> = published.iter().map(String::as_str).collect();
        let server = bed.container(&host, "server", &[&network[..], &published].concat());
        let client = bed.container(&host, "client", &network);
        plug::allow_many_connections(&client.ns);
        Self { variant, client, server, host, bed }
    }

    /// The server's own address.
    fn server(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::Four => Some(self.server.address.into()),
            Family::Six => self.server.address6.map(IpAddr::from),
        }
    }

    fn counted(&self, reasons: &[&str]) -> u64 {
        let status = self.host.json(&["status"]);
        let counts = |entry: &&Value| reasons.iter().any(|reason| entry["reason"] == *reason);
        let forwards = status["forwards"].as_array().unwrap().iter().filter(counts);
        forwards.filter_map(|entry| entry["packets"].as_u64()).sum()
    }
}

fn up(host: &Host, without: Option<&str>) {
    let Some(mechanism) = without else { return host.up_once() };
    let ran = host.netdp(&["up", "--once", "--without", mechanism]);
    // By the contract: the command line is wrong.
    if ran.code == Some(2) {
        let said = ran.stderr.lines().next().unwrap_or_default();
        panic!("this netdp refuses `up --without {mechanism}`: {said}");
    }
    ran.done();
}

/// The options of a container for its network: the default one has IPv4 only, and packets as large as those of the uplink.
fn network(host: &Host, families: &[Family], is_large: bool) -> Vec<&'static str> {
    let mut options = Vec::new();
    if families.contains(&Family::Six) {
        options.push("--ipv6");
    }
    if is_large {
        options.extend(LARGE);
    }
    if options.is_empty() {
        return Vec::new();
    }
    host.netdp(&[&["network", "create"][..], &options, &["bench"]].concat()).done();
    vec!["--network", "bench"]
}

impl Arm for Netdp {
    fn place(&self, place: Place) -> &Namespace {
        match place {
            Place::Client => &self.client.ns,
            Place::Server => &self.server.ns,
            Place::Host => &self.host.ns,
            Place::Outside => &self.bed.outside.ns,
        }
    }

    fn note(&self) -> Option<String> {
        let options = LARGE.join(" ");
        (self.variant == Some(Variant::LargeMtu)).then(|| format!("a network made with {options}"))
    }

    fn way(&self, scenario: Scenario, family: Family) -> Option<Way> {
        // To all others it sends packets as netdp always does.
        if self.variant == Some(Variant::LargeMtu) && scenario != Scenario::ContainerToContainer {
            return None;
        }
        let host = Addresses::of_host(&self.host).of(family);
        let published = |from, to| Way::new(from, Place::Server, to).counted_by([PUBLISHED]);
        let way = match scenario {
            Scenario::ContainerToContainer => Way::new(Place::Client, Place::Server, self.server(family)?)
                .counted_by([Counter::Netdp(&["local"])]),
            Scenario::ContainerToOutside => {
                Way::new(Place::Client, Place::Outside, OUTSIDE.of(family)).counted_by([MASQUERADED])
            }
            Scenario::OutsideToPublished => published(Place::Outside, host),
            Scenario::HostToLoopback => published(Place::Host, LOOPBACK.of(family)),
            Scenario::HostToOwnAddress => published(Place::Host, host),
            Scenario::Hairpin => published(Place::Client, host),
        };
        Some(way.past([Counter::Nftables, Counter::Forwarded]))
    }

    fn count(&self, counter: &Counter) -> u64 {
        match counter {
            Counter::Netdp(reasons) => self.counted(reasons),
            other => other.read(self.place(other.place())),
        }
    }
}
