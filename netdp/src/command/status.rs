//! `netdp status`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::IpAddr;

use netdp_common::Reason;
use netdp_common::names::PREFILTER;
use serde_json::{Value, json};

use super::timers::{HEADINGS, Table};
use super::{Context, configured, drops, limits};
use crate::Error;
use crate::clash::{self, Occupied};
use crate::datapath::{Attachment, Datapath, Prefiltered};
use crate::host::lock;
use crate::instance;
use crate::model::{Endpoint, Network, Uplink};
use crate::output;
use crate::store::Store;
use crate::world::Kernel;

pub(super) async fn status<W: Write>(context: &mut Context<'_, W>) -> Result<(), Error> {
    let kernel = Kernel::here(&context.place.run_dir, context.place.named_uplinks()?)?;
    let datapath = kernel.datapath()?;
    let (networks, endpoints) = instance::read(&context.place)?;
    let status = Status {
        controller: lock::controller_pid(&context.place.run_dir),
        resolver: lock::resolver_pid(&context.place.run_dir),
        uplinks: kernel.uplinks().await.unwrap_or_default(),
        names: kernel.names().await?,
        hooks: datapath.attachments()?,
        prefilters: datapath.prefilters()?,
        flows: datapath.flows()?.iter().filter(|(_, flow)| !flow.is_reply()).count(),
        datapath,
        networks,
        endpoints,
        timers: Table::read(&context.place)?,
        limits: limits::Table::read(&context.place)?,
        addresses: kernel.outside_addresses().await?,
        occupied: kernel.occupied().await?,
        waiting: match Store::read(&context.place.state_dir)? {
            Some(store) => configured::waiting(&store)?,
            None => Vec::new(),
        },
    };
    if context.is_json() {
        return Ok(output::document(context.out, &status.document()?)?);
    }
    status.print(context.out)
}

struct Status<'a> {
    controller: Option<u32>,
    resolver: Option<u32>,
    uplinks: Vec<Uplink>,
    names: BTreeMap<u32, String>,
    hooks: Vec<Attachment>,
    prefilters: Vec<Prefiltered>,
    flows: usize,
    datapath: &'a Datapath,
    networks: Vec<Network>,
    endpoints: Vec<Endpoint>,
    timers: Table,
    limits: limits::Table,
    addresses: BTreeSet<IpAddr>,
    occupied: Vec<Occupied>,
    waiting: Vec<String>,
}

impl Status<'_> {
    fn document(&self) -> Result<Value, Error> {
        let (drops, forwards): (Vec<_>, Vec<_>) =
            self.datapath.counters()?.into_iter().partition(|(reason, _)| reason.is_drop());
        Ok(json!({
            "up": true,
            "controller": { "running": self.controller.is_some(), "pid": self.controller },
            "resolver": { "running": self.resolver.is_some(), "pid": self.resolver },
            "hooks": self.hooks().iter().map(Hooked::document).collect::<Vec<_>>(),
            "uplinks": self.uplinks.iter().map(uplink).collect::<Vec<_>>(),
            "networks": self.networks.iter().map(|network| network.name.as_str()).collect::<Vec<_>>(),
            "endpoints": self.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect::<Vec<_>>(),
            "flows": self.flows,
            "drops": drops::documents(&drops),
            "forwards": drops::documents(&forwards),
            "port_reservation": self.datapath.binds_reserved(),
            "features": { "attach_modes": self.modes() },
            "timers": self.timers.document(),
            "limits": self.limits.document(),
            "warnings": self.warnings(),
        }))
    }

    /// What does not work as it was asked for.
    fn warnings(&self) -> Vec<String> {
        let lost = |network: &Network| {
            let lost = network.bridge()?.snat_ips().find(|address| !self.addresses.contains(address))?;
            let (name, reason) = (&network.name, Reason::SnatIpGone.name());
            Some(format!(
                "network {name}: snat-ip {lost} is no address of this host now; new flows are dropped ({reason})"
            ))
        };
        let clashes = clash::warnings(&self.networks, &self.occupied);
        self.networks.iter().filter_map(lost).chain(clashes).chain(self.waiting.iter().cloned()).collect()
    }

    /// Every program that stands somewhere in the packet's way.
    fn hooks(&self) -> Vec<Hooked<'_>> {
        let of_prefilter = |found: &Prefiltered| Hooked {
            interface: self.interface(found.ifindex),
            ifindex: found.ifindex,
            hook: PREFILTER,
            program_id: found.program_id,
            mode: found.mode.name(),
        };
        let of_hook = |found: &Attachment| Hooked {
            interface: self.interface(found.ifindex),
            ifindex: found.ifindex,
            hook: found.hook.program(),
            program_id: found.program_id,
            mode: found.mode.name(),
        };
        self.hooks.iter().map(of_hook).chain(self.prefilters.iter().map(of_prefilter)).collect()
    }

    fn interface(&self, ifindex: u32) -> &str {
        self.names.get(&ifindex).map_or("", String::as_str)
    }

    fn modes(&self) -> Vec<&'static str> {
        let mut modes: Vec<&str> = self.hooks.iter().map(|hook| hook.mode.name()).collect();
        modes.sort_unstable();
        modes.dedup();
        modes
    }

    fn print(&self, out: &mut impl Write) -> Result<(), Error> {
        let controller = self.controller.map_or("none".to_owned(), |pid| format!("process {pid}"));
        let reserved = if self.datapath.binds_reserved() { "reserved" } else { "not reserved" };
        let names = self.resolver.map_or("not served".to_owned(), |pid| format!("served by process {pid}"));
        writeln!(
            out,
            "netdp is up: controller {controller}; published ports are {reserved}; names are {names}"
        )?;
        writeln!(
            out,
            "{} networks, {} endpoints, {} flows\n",
            self.networks.len(),
            self.endpoints.len(),
            self.flows
        )?;
        for warning in self.warnings() {
            writeln!(out, "warning: {warning}")?;
        }
        let uplinks = self.uplinks.iter().map(|uplink| {
            let address4 = uplink.addr4.map_or_else(String::new, |address| address.to_string());
            let address6 = uplink.addr6.map_or_else(String::new, |address| address.to_string());
            vec![uplink.name.clone(), address4, address6, uplink.mtu.to_string()]
        });
        output::table(out, &["UPLINK", "ADDRESS", "IPV6 ADDRESS", "MTU"], uplinks.collect())?;
        writeln!(out)?;
        let hooks = self.hooks().iter().map(Hooked::row).collect();
        output::table(out, &["INTERFACE", "HOOK", "PROGRAM", "MODE"], hooks)?;
        writeln!(out)?;
        let drops = drops::counted(self.datapath)?.into_iter().map(|(reason, count)| {
            vec![reason.number().to_string(), reason.name().to_owned(), count.packets.to_string()]
        });
        output::table(out, &["NUMBER", "DROPPED FOR", "PACKETS"], drops.collect())?;
        writeln!(out)?;
        output::table(out, &HEADINGS, self.timers.rows())?;
        writeln!(out)?;
        Ok(output::table(out, &limits::HEADINGS, self.limits.rows())?)
    }
}

/// A program on an interface, in the words of the output.
struct Hooked<'a> {
    interface: &'a str,
    ifindex: u32,
    hook: &'static str,
    program_id: u32,
    mode: &'static str,
}

impl Hooked<'_> {
    fn document(&self) -> Value {
        json!({
            "interface": self.interface,
            "ifindex": self.ifindex,
            "hook": self.hook,
            "program_id": self.program_id,
            "mode": self.mode,
        })
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.interface.to_owned(),
            self.hook.to_owned(),
            self.program_id.to_string(),
            self.mode.to_owned(),
        ]
    }
}

fn uplink(uplink: &Uplink) -> Value {
    json!({
        "interface": uplink.name,
        "ifindex": uplink.ifindex,
        "mac": uplink.mac,
        "mtu": uplink.mtu,
        "address": uplink.addr4,
        "address6": uplink.addr6,
    })
}
