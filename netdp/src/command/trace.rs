//! `netdp trace`.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::IpAddr;

use netdp_common::Addr;
use netdp_common::policy::Origin;
use serde_json::{Value, json};

use super::Context;
use crate::Error;
use crate::cli;
use crate::instance::{self, find_endpoint};
use crate::model::{Attachment, Endpoint, Network};
use crate::output;
use crate::trace::{self, Maps, Question, Trace, Way};
use crate::ways::Ways;
use crate::world::Kernel;

pub(super) async fn trace<W: Write>(context: &mut Context<'_, W>, args: &cli::Trace) -> Result<(), Error> {
    let kernel = Kernel::here(&context.place.run_dir, Vec::new())?;
    let entries = kernel.datapath()?.entries()?;
    let (networks, endpoints) = instance::read(&context.place)?;
    let own: Vec<IpAddr> = kernel.outside_addresses().await?.into_iter().collect();
    let places = Places { networks: &networks, endpoints: &endpoints, own: &own };
    let maps = Maps::from_iter(entries).with_counts(kernel.datapath()?.quotas()?);
    let (ingress, question) = (ingress(&kernel, args, &maps).await?, places.question(args)?);
    let way = way(&kernel, &question, &maps).await;
    let is_on_lan = is_on_lan(&networks, &question);
    let question = Question { ingress, way, is_on_lan, ..question };
    let traced = trace::follow(&maps, &question);
    if context.is_json() {
        return Ok(output::document(context.out, &document(args, &question, &traced))?);
    }
    let rows = traced.steps.iter().map(|step| vec![step.lookup.clone(), step.found.clone()]);
    output::table(context.out, &["LOOK-UP", "FOUND"], rows.collect())?;
    let rule = traced.rule;
    writeln!(context.out, "rule {} ({}): {}", rule.docker(), rule.name(), rule.text())?;
    match traced.drop {
        None => writeln!(context.out, "verdict: pass")?,
        Some(reason) => writeln!(context.out, "verdict: drop, {} ({})", reason.name(), reason.number())?,
    }
    Ok(())
}

/// Whether a container speaks with somebody in the subnet that its LAN has.
fn is_on_lan(networks: &[Network], question: &Question) -> bool {
    let (Some(src), Some(dst)) = (question.src, question.dst) else { return false };
    let pools = networks.iter().filter(|network| network.is_on_lan()).flat_map(Network::pools);
    pools.map(|pool| pool.subnet).any(|subnet| subnet.contains(&src.ip()) && subnet.contains(&dst.ip()))
}

/// The uplink that is asked about, or the first one.
async fn ingress(kernel: &Kernel, args: &cli::Trace, maps: &Maps) -> Result<Option<u32>, Error> {
    let Some(name) = &args.interface else { return Ok(maps.uplinks().first().copied()) };
    let names = kernel.names().await?;
    let is_uplink = |number: &&u32| names.get(number) == Some(name);
    let uplink = maps.uplinks().iter().find(is_uplink).copied();
    let there = || {
        let there: BTreeSet<&str> =
            maps.uplinks().iter().filter_map(|number| names.get(number)).map(String::as_str).collect();
        Error::NoSuchUplink { name: name.clone(), there: there.into_iter().collect::<Vec<_>>().join(", ") }
    };
    uplink.ok_or_else(there).map(Some)
}

/// Where the routing table sends the packet, if a container sends it to somebody in particular.
async fn way(kernel: &Kernel, question: &Question, maps: &Maps) -> Way {
    let (Some(src), Some(dst)) = (question.src, question.dst) else { return Way::Unasked };
    let Some(bridge) = maps.bridge_of(src).filter(|_| question.origin == Origin::Container) else {
        return Way::Unasked;
    };
    // Refused is what the kernel has no route for, or one that says so.
    match kernel.leaves_by(src.ip(), dst.ip(), bridge).await {
        Ok(Some(number)) => Way::By(number),
        Ok(None) | Err(_) => Way::Nowhere,
    }
}

fn document(args: &cli::Trace, question: &Question, traced: &Trace) -> Value {
    let steps = traced.steps.iter().map(|step| json!({ "lookup": step.lookup, "found": step.found }));
    json!({
        "from": args.from,
        "to": args.to,
        "destination": question.dst.map(Addr::ip),
        "protocol": question.proto,
        "port": question.port,
        "steps": steps.collect::<Vec<_>>(),
        "rule": { "number": traced.rule.docker(), "name": traced.rule.name(), "text": traced.rule.text() },
        "verdict": if traced.drop.is_some() { "drop" } else { "pass" },
        "reason": traced.drop.map(|reason| json!({ "number": reason.number(), "name": reason.name() })),
    })
}

/// Who can be named.
struct Places<'a> {
    networks: &'a [Network],
    endpoints: &'a [Endpoint],
    own: &'a [IpAddr],
}

/// What a name or an address stands for.
enum Place<'a> {
    Host(Option<IpAddr>),
    Outside(Option<IpAddr>),
    Container(&'a Endpoint, Option<IpAddr>),
}

impl Place<'_> {
    /// The address that it was called by.
    fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Host(address) | Self::Outside(address) | Self::Container(_, address) => *address,
        }
    }
}

impl<'a> Places<'a> {
    fn place(&self, text: &str) -> Result<Place<'a>, Error> {
        match text {
            "host" => return Ok(Place::Host(None)),
            "outside" => return Ok(Place::Outside(None)),
            _ => {}
        }
        let Ok(address) = text.parse::<IpAddr>() else {
            return Ok(Place::Container(find_endpoint(self.endpoints, text)?, None));
        };
        let has = |endpoint: &&Endpoint| addresses(endpoint).any(|own| own == address);
        if let Some(endpoint) = self.endpoints.iter().find(has) {
            return Ok(Place::Container(endpoint, Some(address)));
        }
        let is_own = self.own.contains(&address) || address.is_loopback();
        Ok(if is_own { Place::Host(Some(address)) } else { Place::Outside(Some(address)) })
    }

    fn question(&self, args: &cli::Trace) -> Result<Question, Error> {
        let (from, to) = (self.place(&args.from)?, self.place(&args.to)?);
        let asked = to.address().or(from.address()).map(|address| address.is_ipv4());
        let v4 = asked.unwrap_or_else(|| has_ipv4(&from) && has_ipv4(&to));
        let (dst, joined) = self.destination(&from, &to, v4);
        if let (Place::Container(endpoint, _), None) = (&to, dst) {
            return Err(no_address(endpoint, v4));
        }
        let (origin, src) = match &from {
            Place::Host(address) => (Origin::Host, *address),
            Place::Outside(address) => (Origin::Outside, *address),
            Place::Container(endpoint, address) => {
                let own = joined.and_then(|it| of_family(it, v4)).or_else(|| self.way_out(endpoint, v4));
                let src = address.or(own).ok_or_else(|| no_address(endpoint, v4))?;
                (Origin::Container, Some(src))
            }
        };
        let (proto, port) = args.packet.numbers(v4);
        let (src, dst) = (src.map(Addr::from), dst.map(Addr::from));
        let (ingress, way, is_on_lan) = (None, Way::Unasked, false);
        Ok(Question { origin, src, ingress, way, dst, is_on_lan, v4, proto, port })
    }

    /// The address that a container sends from what is not near: that of the interface which has the default route, else of any.
    fn way_out(&self, endpoint: &Endpoint, v4: bool) -> Option<IpAddr> {
        let ways = Ways::of(endpoint, self.networks);
        ways.routes(v4).next().map(|route| route.source).or_else(|| own_address(endpoint, v4))
    }

    /// The address that is sent to, and by which of its interfaces a container does: of two on one network, that one.
    fn destination(
        &self,
        from: &Place<'a>,
        to: &Place<'a>,
        v4: bool,
    ) -> (Option<IpAddr>, Option<&'a Attachment>) {
        match (from, to) {
            (_, Place::Outside(address)) => (*address, None),
            (_, Place::Host(address)) => {
                (address.or_else(|| self.own.iter().copied().find(|own| own.is_ipv4() == v4)), None)
            }
            (Place::Container(sender, _), Place::Container(endpoint, address)) => {
                let shared = endpoint.attachments.iter().find_map(|there| {
                    let here = sender.attachments.iter().find(|here| here.network == there.network)?;
                    address
                        .is_none_or(|address| there.addresses().any(|own| own == address))
                        .then_some((here, there))
                });
                let near = shared.and_then(|(_, there)| of_family(there, v4));
                (address.or(near).or_else(|| own_address(endpoint, v4)), shared.map(|(here, _)| here))
            }
            (_, Place::Container(endpoint, address)) => (address.or_else(|| own_address(endpoint, v4)), None),
        }
    }
}

fn addresses(endpoint: &Endpoint) -> impl Iterator<Item = IpAddr> {
    endpoint.attachments.iter().flat_map(Attachment::addresses)
}

/// The first address of a family that an endpoint has.
fn own_address(endpoint: &Endpoint, v4: bool) -> Option<IpAddr> {
    endpoint.attachments.iter().find_map(|attachment| of_family(attachment, v4))
}

fn no_address(endpoint: &Endpoint, v4: bool) -> Error {
    Error::NoAddress { endpoint: endpoint.name.to_string(), family: if v4 { "IPv4" } else { "IPv6" } }
}

fn of_family(attachment: &Attachment, v4: bool) -> Option<IpAddr> {
    attachment.addresses().find(|address| address.is_ipv4() == v4)
}

/// Whether it may be spoken of in IPv4.
fn has_ipv4(place: &Place<'_>) -> bool {
    match place {
        Place::Container(endpoint, _) => addresses(endpoint).any(|address| address.is_ipv4()),
        Place::Host(_) | Place::Outside(_) => true,
    }
}
