//! The steps of a plan as differences.

use std::collections::BTreeSet;

use super::{Difference, Kind, Owners, otherwise, row};
use crate::datapath::{Entry, Hook};
use crate::desired::{Desired, Row, RowKey};
use crate::model::Mac;
use crate::plan::{Change, Device, Observed, Step};

pub(super) fn differences(
    desired: &Desired,
    observed: &Observed,
    plan: &[Change],
    owners: &Owners,
) -> Vec<Difference> {
    let made = plan.iter().filter_map(|change| match &change.step {
        Step::CreateBridge { name, .. } | Step::CreateVeth { name, .. } | Step::CreateVlan { name, .. } => {
            Some(name.as_str())
        }
        _ => None,
    });
    let made = made.collect();
    let words = Words { desired, observed, owners, made };
    plan.iter().flat_map(|change| words.of(&change.step)).collect()
}

struct Words<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    owners: &'a Owners,
    /// Links that the plan makes: what else it does to them is not told.
    made: BTreeSet<&'a str>,
}

impl Words<'_> {
    fn of(&self, step: &Step) -> Vec<Difference> {
        match step {
            Step::LoadPrograms => vec![self.host(Kind::Missing, "programs")],
            Step::ReserveBinds => vec![self.host(Kind::Missing, "program that reserves published ports")],
            Step::ReleaseBinds => vec![self.host(Kind::Surplus, "program that reserves published ports")],
            Step::SetHostSysctl { path, value } | Step::SetSysctl { path, value } => {
                self.setting(path, value)
            }
            Step::CreateBridge { name, .. } => vec![self.link(Kind::Missing, format!("bridge {name}"), name)],
            Step::CreateVeth { name, .. } => self.veth(name),
            Step::CreateVlan { name, .. } => vec![self.link(Kind::Missing, format!("VLAN {name}"), name)],
            Step::AddAddress { link, address } => {
                self.of_link(Kind::Missing, format!("address {address} of {link}"), link, String::new())
            }
            Step::SetMtu { link, mtu } => self.mtu(link, *mtu),
            Step::SetMtuOfVeth { name, veth } => self.mtu(name, veth.mtu),
            Step::SetUp { link } => {
                self.of_link(Kind::Differs, format!("state of {link}"), link, otherwise("down", "up"))
            }
            Step::SetMac { link, mac } => self.mac(link, *mac),
            Step::RemoveVeth { link } => self.going(link),
            Step::DeleteLinks { links } => links.iter().flat_map(|link| self.going(link)).collect(),
            Step::AttachHook { hook, link } => self.hook(Kind::Missing, *hook, link),
            Step::DetachHook { hook, link } => self.hook(Kind::Surplus, *hook, &self.device(link)),
            Step::DetachPrefilter { link } => {
                let link = self.device(link);
                vec![self.link(Kind::Surplus, format!("prefilter at {link}"), &link)]
            }
            Step::Put(row) => self.put(row),
            Step::PutPorts(rows) => rows.iter().flat_map(|row| self.put(row)).collect(),
            Step::Delete(row) => self.delete(row),
            Step::DeletePorts(rows) => rows.iter().flat_map(|row| self.delete(row)).collect(),
            Step::JoinBridge { link, bridge, .. } if !self.desired.veths.contains_key(link) => {
                self.of_link(Kind::Missing, format!("port {link} of {bridge}"), bridge, String::new())
            }
            Step::AttachPrefilter { link, .. } => self.prefilter(link),
            // These follow from what was told.
            Step::ConfigureInside { .. }
            | Step::JoinBridge { .. }
            | Step::CreateLan { .. }
            | Step::RemoveLan { .. }
            | Step::LeaveBridge { .. }
            | Step::LeadOut(_)
            | Step::FreePort { .. }
            | Step::Announce(_)
            | Step::RestoreHostSysctls
            | Step::UnloadPrograms
            | Step::EndFlows => Vec::new(),
        }
    }

    fn host(&self, kind: Kind, what: &str) -> Difference {
        self.link(kind, what.to_owned(), "")
    }

    fn link(&self, kind: Kind, what: String, link: &str) -> Difference {
        Difference { kind, what, owner: self.owners.of(link), detail: String::new() }
    }

    /// Nothing of a link that is to be made.
    fn of_link(&self, kind: Kind, what: String, link: &str, detail: String) -> Vec<Difference> {
        if self.made.contains(link) {
            return Vec::new();
        }
        vec![Difference { detail, ..self.link(kind, what, link) }]
    }

    fn device(&self, device: &Device) -> String {
        match device {
            Device::Named(name) => name.clone(),
            Device::Numbered(number) => self.owners.name(*number),
        }
    }

    fn setting(&self, path: &str, value: &str) -> Vec<Difference> {
        let Some(is) = self.observed.sysctls.get(path) else { return Vec::new() };
        let link = path.split('/').nth(3).unwrap_or_default();
        self.of_link(Kind::Differs, format!("setting {path}"), link, otherwise(is, value))
    }

    fn mac(&self, link: &str, mac: Mac) -> Vec<Difference> {
        let is = self.observed.links.get(link).map_or(String::new(), |facts| facts.mac.to_string());
        self.of_link(Kind::Differs, format!("MAC of {link}"), link, otherwise(is, mac))
    }

    fn mtu(&self, link: &str, mtu: u32) -> Vec<Difference> {
        let is = self.observed.links.get(link).map_or(0, |facts| facts.mtu);
        self.of_link(Kind::Differs, format!("MTU of {link}"), link, otherwise(is, mtu))
    }

    /// One that is there already is made anew, and [`Self::going`] says why.
    fn veth(&self, name: &str) -> Vec<Difference> {
        if self.observed.links.contains_key(name) {
            return Vec::new();
        }
        vec![self.link(Kind::Missing, format!("interface {name}"), name)]
    }

    fn going(&self, link: &str) -> Vec<Difference> {
        let what = format!("interface {link}");
        let wanted = self.desired.veths.contains_key(link) || self.desired.bridges.contains_key(link);
        if !wanted {
            return vec![self.link(Kind::Surplus, what, link)];
        }
        let detail = "is down, of another MAC or alias, or no port of its bridge".to_owned();
        vec![Difference { detail, ..self.link(Kind::Differs, what, link) }]
    }

    fn hook(&self, kind: Kind, hook: Hook, link: &str) -> Vec<Difference> {
        self.of_link(kind, format!("program {} at {link}", hook.program()), link, String::new())
    }

    /// None of an uplink that takes none.
    fn prefilter(&self, link: &str) -> Vec<Difference> {
        if self.observed.without_prefilter.contains(link) {
            return Vec::new();
        }
        let now = self.observed.number(link).and_then(|number| self.observed.prefilters.get(&number));
        let kind = if now.is_some() { Kind::Differs } else { Kind::Missing };
        let detail = now.map_or_else(String::new, |mode| format!("is in mode {mode}"));
        self.of_link(kind, format!("prefilter at {link}"), link, detail)
    }

    fn put(&self, row: &Row) -> Vec<Difference> {
        if row.links().iter().any(|link| self.made.contains(link)) {
            return Vec::new();
        }
        let Some(wanted) = row.entry(|link| self.observed.number(link)) else { return Vec::new() };
        let Some(found) = self.observed.entries.get(&RowKey::of(&wanted)) else {
            return vec![self.row(Kind::Missing, &wanted, String::new())];
        };
        vec![self.row(Kind::Differs, &wanted, otherwise(debug(found), debug(&wanted)))]
    }

    fn delete(&self, row: &Row) -> Vec<Difference> {
        let entry = row.entry(|link| self.observed.number(link));
        entry.iter().map(|entry| self.row(Kind::Surplus, entry, String::new())).collect()
    }

    fn row(&self, kind: Kind, entry: &Entry, detail: String) -> Difference {
        let (what, owner) = (row::name(entry, self.owners), row::owner(entry, self.owners));
        Difference { kind, what, owner, detail }
    }
}

fn debug(entry: &Entry) -> String {
    format!("{entry:?}")
}
