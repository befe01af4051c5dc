//! `netdp flows`.

use std::collections::HashMap;
use std::io::Write;
use std::net::IpAddr;

use netdp_common::timers::{TICK_SHIFT, ticks};
use netdp_common::{Addr, Flow, FlowKey, Port, State, proto};
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::Context;
use crate::Error;
use crate::instance;
use crate::model::{Attachment, Endpoint};
use crate::output;
use crate::world::Kernel;

const HEADINGS: [&str; 8] =
    ["ENDPOINT", "PROTOCOL", "ORIGINAL", "TRANSLATED", "STATE", "PACKETS", "BYTES", "IDLE"];

pub(super) fn flows<W: Write>(context: &mut Context<'_, W>) -> Result<(), Error> {
    let kernel = Kernel::here(&context.place.run_dir, Vec::new())?;
    let entries: HashMap<FlowKey, Flow> = kernel.datapath()?.flows()?.into_iter().collect();
    let names = names(&instance::read(&context.place)?.1);
    let now = now();
    let mut flows: Vec<Shown> = entries
        .iter()
        .filter(|(_, flow)| !flow.is_reply())
        .map(|(key, flow)| Shown::of(key, flow, entries.get(&flow.twin_key(key)), &names, now))
        .collect();
    flows.sort_by(|one, other| (&one.endpoint, &one.original).cmp(&(&other.endpoint, &other.original)));
    if context.is_json() {
        let documents: Vec<Value> = flows.iter().map(Shown::document).collect();
        return Ok(output::document(context.out, &json!(documents))?);
    }
    Ok(output::table(context.out, &HEADINGS, flows.iter().map(Shown::row).collect())?)
}

/// Which endpoint has which address; subnets do not overlap, so an address is one endpoint's.
fn names(endpoints: &[Endpoint]) -> HashMap<IpAddr, String> {
    let mut names = HashMap::new();
    for endpoint in endpoints {
        let addresses = endpoint.attachments.iter().flat_map(Attachment::addresses);
        names.extend(addresses.map(|address| (address, endpoint.name.to_string())));
    }
    names
}

/// Source and destination of one direction, before or after translation.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Tuple {
    src: Addr,
    sport: Port,
    dst: Addr,
    dport: Port,
}

impl Tuple {
    fn text(&self) -> String {
        format!("{}:{} -> {}:{}", self.src, self.sport.get(), self.dst, self.dport.get())
    }

    fn document(&self) -> Value {
        json!({
            "source": self.src.to_string(),
            "source_port": self.sport.get(),
            "destination": self.dst.to_string(),
            "destination_port": self.dport.get(),
        })
    }
}

/// A flow as it is printed: its two entries as one.
#[derive(Debug)]
struct Shown {
    endpoint: String,
    protocol: &'static str,
    original: Tuple,
    translated: Tuple,
    state: &'static str,
    /// Of both directions.
    packets: u64,
    /// Of both directions.
    bytes: u64,
    /// Seconds since the last packet of either direction.
    idle: u64,
}

impl Shown {
    fn of(
        key: &FlowKey,
        flow: &Flow,
        reply: Option<&Flow>,
        names: &HashMap<IpAddr, String>,
        now: u32,
    ) -> Self {
        let original = Tuple { src: key.src, sport: key.sport, dst: key.dst, dport: key.dport };
        let translated = Tuple { src: flow.src, sport: flow.sport, dst: flow.dst, dport: flow.dport };
        // The server of a published port before the client, which may be a container too.
        let addresses = [translated.dst, original.src, original.dst];
        let endpoint = addresses.into_iter().find_map(|address| names.get(&address.ip()));
        let idle = |flow: &Flow| u64::from(now.saturating_sub(flow.seen));
        let ticks = reply.map_or(u64::MAX, idle).min(idle(flow));
        Self {
            endpoint: endpoint.cloned().unwrap_or_default(),
            protocol: protocol(key.proto),
            original,
            translated,
            state: State::from_number(flow.state).name(),
            packets: flow.packets + reply.map_or(0, |reply| reply.packets),
            bytes: flow.bytes + reply.map_or(0, |reply| reply.bytes),
            idle: (ticks << TICK_SHIFT) / 1_000_000_000,
        }
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.endpoint.clone(),
            self.protocol.to_owned(),
            self.original.text(),
            self.translated.text(),
            self.state.to_owned(),
            self.packets.to_string(),
            self.bytes.to_string(),
            format!("{}s", self.idle),
        ]
    }

    fn document(&self) -> Value {
        json!({
            "endpoint": self.endpoint,
            "protocol": self.protocol,
            "original": self.original.document(),
            "translated": self.translated.document(),
            "state": self.state,
            "packets": self.packets,
            "bytes": self.bytes,
            "idle": self.idle,
        })
    }
}

fn protocol(number: u8) -> &'static str {
    match number {
        proto::TCP => "tcp",
        proto::UDP => "udp",
        proto::ICMP => "icmp",
        _ => "other",
    }
}

/// The programs' clock, in ticks.
fn now() -> u32 {
    let Ok(time) = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE) else { return 0 };
    ticks(std::time::Duration::from(time).as_nanos().try_into().unwrap_or(u64::MAX))
}
