//! `netdp up --dry-run`: what `netdp up` would do, step by step, and nothing of it done.

use std::collections::BTreeSet;
use std::io::Write;

use serde_json::{Value, json};

use super::configured::{self, Deed};
use super::{Context, up};
use crate::Error;
use crate::datapath::Entry;
use crate::desired::Row;
use crate::instance::Session;
use crate::output;
use crate::plan::{Device, Step};

/// Tries it on a copy of the database and tells the steps.
pub(super) async fn rehearse<W: Write>(
    context: &mut Context<'_, W>,
    chosen: &up::Chosen,
) -> Result<(), Error> {
    let mut session = Session::rehearsal(&context.place, chosen.uplinks.clone())?;
    let mut deeds = up::bring_up(&mut session, chosen).await?;
    deeds.extend(configured::attach(&mut session).await?);
    // Not until then is it known which rows are written in vain, for a link that is made anew.
    let mut rows = BTreeSet::new();
    for step in session.kernel.rehearsed() {
        deeds.extend(in_words(step, &mut rows));
    }
    print(context, &deeds)
}

fn print<W: Write>(context: &mut Context<'_, W>, deeds: &[Deed]) -> Result<(), Error> {
    if context.is_json() {
        let row = |deed: &Deed| -> Value {
            let Deed { action, kind, name, detail } = deed;
            json!({ "action": action, "kind": kind, "name": name, "detail": detail })
        };
        return Ok(output::document(context.out, &deeds.iter().map(row).collect())?);
    }
    if deeds.is_empty() {
        return Ok(writeln!(context.out, "nothing to do: everything is as it should be")?);
    }
    let row = |deed: &Deed| {
        vec![deed.action.to_owned(), deed.kind.to_owned(), deed.name.clone(), deed.detail.clone()]
    };
    Ok(output::table(context.out, &["ACTION", "OF", "NAME", "WHAT"], deeds.iter().map(row).collect())?)
}

/// Rows of maps are told once for each kind: there are many, and they follow from the rest.
fn in_words(step: &Step, told: &mut BTreeSet<&'static str>) -> Option<Deed> {
    let deed =
        |action, kind, name: &str, detail: String| Some(Deed { action, kind, name: name.to_owned(), detail });
    let plain = |action, kind, name: &str| deed(action, kind, name, String::new());
    match step {
        Step::LoadPrograms => plain("load", "programs", "netdp"),
        Step::UnloadPrograms => plain("unload", "programs", "netdp"),
        Step::SetHostSysctl { path, value } | Step::SetSysctl { path, value } => {
            deed("set", "sysctl", path, value.clone())
        }
        Step::RestoreHostSysctls => plain("restore", "sysctl", "of the host"),
        Step::CreateBridge { name, bridge } => deed("create", "bridge", name, format!("mtu {}", bridge.mtu)),
        Step::AddAddress { link, address } => deed("add", "address", link, address.to_string()),
        Step::SetMac { link, mac } => deed("set", "mac", link, mac.to_string()),
        Step::SetMtu { link, mtu } => deed("set", "mtu", link, mtu.to_string()),
        Step::SetMtuOfVeth { name, veth } => deed("set", "mtu", name, veth.mtu.to_string()),
        Step::SetUp { link } => plain("up", "link", link),
        Step::LeaveBridge { name, .. } => plain("leave", "bridge", name),
        Step::CreateVeth { name, veth } => {
            deed("create", "veth", name, format!("{} inside", veth.inside.ifname))
        }
        Step::ConfigureInside { veth } => {
            deed("configure", "link", &veth.inside.ifname, nets(&veth.inside.addresses))
        }
        Step::Announce(inside) => deed("announce", "addresses", &inside.ifname, nets(&inside.addresses)),
        Step::CreateVlan { name, .. } => plain("create", "vlan", name),
        Step::CreateLan { .. } => plain("create", "link", "on the LAN"),
        Step::RemoveLan { .. } => plain("remove", "link", "on the LAN"),
        Step::JoinBridge { link, bridge, .. } => deed("join", "bridge", link, bridge.clone()),
        Step::FreePort { link } => plain("free", "port", link),
        Step::RemoveVeth { link } => plain("remove", "veth", link),
        Step::DeleteLinks { links } => plain("remove", "link", &links.join(", ")),
        Step::AttachHook { hook, link } => deed("attach", "program", link, hook.program().to_owned()),
        Step::DetachHook { hook, link } => {
            deed("detach", "program", &device(link), hook.program().to_owned())
        }
        Step::AttachPrefilter { link, choice } => deed("attach", "prefilter", link, choice.to_string()),
        Step::DetachPrefilter { link } => plain("detach", "prefilter", &device(link)),
        Step::Put(row) => once(told, row_kind(row)).and_then(|kind| plain("write", "map", kind)),
        Step::Delete(row) => once(told, row_kind(row)).and_then(|kind| plain("delete", "map", kind)),
        Step::PutPorts(rows) => deed("write", "map", "ports", format!("{} rows", rows.len())),
        Step::DeletePorts(rows) => deed("delete", "map", "ports", format!("{} rows", rows.len())),
        Step::ReserveBinds => plain("reserve", "ports", "published ones"),
        Step::ReleaseBinds => plain("release", "ports", "published ones"),
        Step::EndFlows => plain("end", "flows", "of what is removed"),
        // Looked at anew whenever everything is; nothing where it is so already.
        Step::LeadOut(_) => None,
    }
}

fn once(told: &mut BTreeSet<&'static str>, kind: &'static str) -> Option<&'static str> {
    told.insert(kind).then_some(kind)
}

fn nets(addresses: &[ipnet::IpNet]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn device(device: &Device) -> String {
    match device {
        Device::Named(name) => name.clone(),
        Device::Numbered(number) => format!("interface {number}"),
    }
}

fn row_kind(row: &Row) -> &'static str {
    match row {
        Row::Link { .. } => "links",
        Row::Endpoint { .. } => "endpoints",
        Row::Port { .. } => "ports",
        Row::Trusted { .. } => "trusted interfaces",
        Row::Plain(entry) => entry_kind(entry),
    }
}

fn entry_kind(entry: &Entry) -> &'static str {
    match entry {
        Entry::Link(..) => "links",
        Entry::Endpoint(..) => "endpoints",
        Entry::Port(..) => "ports",
        Entry::Source(_) => "sources of ports",
        Entry::Subnet(..) => "subnets",
        Entry::Uplink(..) => "uplinks",
        Entry::HostAddr(..) => "addresses of the host",
        Entry::Excluded(_) => "destinations without masquerade",
        Entry::Denied(_) => "deny list",
        Entry::Wire(_) => "what is taken from the wire",
        Entry::Timer(..) => "timers and limits",
    }
}
