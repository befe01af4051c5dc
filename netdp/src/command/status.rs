//! `netdp status`.

use std::collections::BTreeMap;
use std::io::Write;

use netdp_common::State;
use serde_json::{Value, json};

use super::{Context, drops};
use crate::Error;
use crate::datapath::{Attachment, Datapath};
use crate::host::lock;
use crate::instance;
use crate::model::{Endpoint, Network, Uplink};
use crate::output;
use crate::world::Kernel;

pub(super) async fn status<W: Write>(context: &mut Context<'_, W>) -> Result<(), Error> {
    let kernel = Kernel::here(&context.place.run_dir, context.place.named_uplinks()?)?;
    let datapath = kernel.datapath()?;
    let (networks, endpoints) = instance::read(&context.place)?;
    let status = Status {
        controller: lock::controller_pid(&context.place.run_dir),
        uplinks: kernel.uplinks().await.unwrap_or_default(),
        names: kernel.names().await?,
        hooks: datapath.attachments()?,
        flows: datapath.flows()?.iter().filter(|(_, flow)| !flow.is_reply()).count(),
        datapath,
        networks,
        endpoints,
    };
    if context.is_json() {
        return Ok(output::document(context.out, &status.document()?)?);
    }
    status.print(context.out)
}

struct Status<'a> {
    controller: Option<u32>,
    uplinks: Vec<Uplink>,
    names: BTreeMap<u32, String>,
    hooks: Vec<Attachment>,
    flows: usize,
    datapath: &'a Datapath,
    networks: Vec<Network>,
    endpoints: Vec<Endpoint>,
}

impl Status<'_> {
    fn document(&self) -> Result<Value, Error> {
        let (drops, forwards): (Vec<_>, Vec<_>) =
            self.datapath.counters()?.into_iter().partition(|(reason, _)| reason.is_drop());
        Ok(json!({
            "up": true,
            "controller": { "running": self.controller.is_some(), "pid": self.controller },
            "hooks": self.hooks.iter().map(|hook| self.hook(hook)).collect::<Vec<_>>(),
            "uplinks": self.uplinks.iter().map(uplink).collect::<Vec<_>>(),
            "networks": self.networks.iter().map(|network| network.name.as_str()).collect::<Vec<_>>(),
            "endpoints": self.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect::<Vec<_>>(),
            "flows": self.flows,
            "drops": drops::documents(&drops),
            "forwards": drops::documents(&forwards),
            "port_reservation": self.datapath.binds_reserved(),
            "features": { "attach_modes": self.modes() },
            "timers": timers(),
        }))
    }

    fn hook(&self, hook: &Attachment) -> Value {
        json!({
            "interface": self.interface(hook.ifindex),
            "ifindex": hook.ifindex,
            "hook": hook.hook.to_string(),
            "program_id": hook.program_id,
            "mode": hook.mode.name(),
        })
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
        writeln!(out, "netdp is up: controller {controller}; published ports are {reserved}")?;
        writeln!(
            out,
            "{} networks, {} endpoints, {} flows\n",
            self.networks.len(),
            self.endpoints.len(),
            self.flows
        )?;
        let uplinks = self.uplinks.iter().map(|uplink| {
            let address = uplink.address.map_or_else(String::new, |address| address.to_string());
            vec![uplink.name.clone(), address, uplink.mtu.to_string()]
        });
        output::table(out, &["UPLINK", "ADDRESS", "MTU"], uplinks.collect())?;
        writeln!(out)?;
        let hooks = self.hooks.iter().map(|hook| self.hook_row(hook)).collect();
        output::table(out, &["INTERFACE", "HOOK", "PROGRAM", "MODE"], hooks)?;
        writeln!(out)?;
        let drops = drops::counted(self.datapath)?.into_iter().map(|(reason, count)| {
            vec![reason.number().to_string(), reason.name().to_owned(), count.packets.to_string()]
        });
        Ok(output::table(out, &["NUMBER", "DROPPED FOR", "PACKETS"], drops.collect())?)
    }

    fn hook_row(&self, hook: &Attachment) -> Vec<String> {
        vec![
            self.interface(hook.ifindex).to_owned(),
            hook.hook.to_string(),
            hook.program_id.to_string(),
            hook.mode.name().to_owned(),
        ]
    }
}

fn uplink(uplink: &Uplink) -> Value {
    json!({
        "interface": uplink.name,
        "ifindex": uplink.ifindex,
        "mac": uplink.mac,
        "mtu": uplink.mtu,
        "address": uplink.address,
    })
}

/// Seconds without a packet after which a flow of a state has ended.
fn timers() -> BTreeMap<&'static str, u32> {
    State::ALL.iter().map(|state| (state.name(), state.timeout_seconds())).collect()
}
