//! The prefilter on uplinks. An interface that cannot have it goes without: what it refuses early, the programs behind it
//! and the host's stack refuse too, at a higher price.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use aya::programs::loaded_programs;

use super::{Kernel, fact};
use crate::Error;
use crate::datapath::{Datapath, XdpMode};
use crate::host::sysctl::Sysctl;
use crate::host::uplink::{self, UplinkFacts};
use crate::instance::{remember_without_prefilter, remembered_prefilter};
use crate::model::{Host, Prefilter};
use crate::plan::Device;

impl Kernel {
    /// From now on the prefilter is to run there.
    pub fn set_prefilter(&mut self, choice: Prefilter) {
        self.prefilter = Some(choice);
    }

    /// What is to be there because of the uplinks.
    pub(super) fn of_uplinks(
        &self,
        observed: &uplink::Observed,
        uplinks: Vec<UplinkFacts>,
    ) -> Result<Host, Error> {
        let choice = self.prefilter.unwrap_or_else(|| remembered_prefilter(&self.run_dir));
        let kind = |index: u32| observed.links.iter().find(|link| link.index == index)?.kind.as_deref();
        let takes = |uplink: &&UplinkFacts| !choice.modes(kind(uplink.ifindex)).is_empty();
        let prefilters: BTreeMap<String, Prefilter> =
            uplinks.iter().filter(takes).map(|uplink| (uplink.name.clone(), choice)).collect();
        Ok(Host {
            accepts_local: accepts_local(&uplinks)?,
            prefilters,
            other_ways: observed.ways_beside(&uplinks),
            uplinks: uplinks.into_iter().map(fact).collect(),
            addresses: BTreeSet::new(),
            passing: BTreeSet::new(),
        })
    }

    pub(super) async fn attach_prefilter(&self, link: &str, choice: Prefilter) -> Result<(), Error> {
        let number = self.number(link).await?;
        let datapath = self.datapath()?;
        if !datapath.has_prefilter() {
            // An earlier netdp has loaded what runs; the next `up` brings it.
            return Ok(());
        }
        if let Some(mode) = attached(datapath, number)? {
            if choice.accepts(mode) {
                return Ok(());
            }
            datapath.detach_prefilter(number)?;
        }
        if let Some(id) = self.netlink.xdp_program(number).await? {
            tracing::warn!(
                "{link} has the XDP program {} (id {id}) of somebody else: it stays, and {link} goes without prefilter",
                program_name(id)
            );
            return remember_without_prefilter(&self.run_dir, link, true);
        }
        let goes_without = !attach(datapath, number, link, choice.modes(None))?;
        remember_without_prefilter(&self.run_dir, link, goes_without)
    }

    pub(super) async fn detach_prefilter(&self, link: &Device) -> Result<(), Error> {
        let number = match link {
            Device::Numbered(number) => *number,
            Device::Named(link) => self.number(link).await?,
        };
        Ok(self.datapath()?.detach_prefilter(number)?)
    }
}

/// The prefilter by number of the uplink.
pub(super) fn prefilters(datapath: &Datapath) -> Result<BTreeMap<u32, XdpMode>, Error> {
    Ok(datapath.prefilters()?.into_iter().map(|found| (found.ifindex, found.mode)).collect())
}

fn attached(datapath: &Datapath, number: u32) -> Result<Option<XdpMode>, Error> {
    Ok(prefilters(datapath)?.get(&number).copied())
}

/// Tries one mode after the other; says whether the interface has taken one.
fn attach(datapath: &Datapath, number: u32, link: &str, modes: &[XdpMode]) -> Result<bool, Error> {
    let mut refusals = Vec::new();
    for mode in modes {
        match datapath.attach_prefilter(number, *mode)? {
            Ok(()) => return Ok(true),
            Err(error) => refusals.push(format!("{mode}: {}", refusal(&error))),
        }
    }
    tracing::warn!("{link} goes without prefilter ({}); see --prefilter of netdp up", refusals.join("; "));
    Ok(false)
}

/// Why an interface takes no XDP program, in words where the errno has none of use.
fn refusal(error: &io::Error) -> String {
    let words = match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => "its driver has no XDP, or not with the offloads that are on",
        Some(libc::ERANGE) => "its MTU, or that of its other end, is too large for XDP in one page",
        Some(libc::ENOSPC | libc::ENOMEM) => "its driver has not enough queues or memory for XDP",
        Some(libc::EBUSY | libc::EEXIST) => "another XDP program has just been attached",
        _ => return error.to_string(),
    };
    format!("{words} ({error})")
}

/// Of a program that has gone meanwhile, or whose name is no text, there is only the id.
fn program_name(id: u32) -> String {
    let found = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id);
    let name = found.and_then(|program| program.name_as_str().map(str::to_owned));
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "without a name".to_owned())
}

/// Whether any uplink takes packets with the host's own addresses as their source; the setting of `all` is one for each.
fn accepts_local(uplinks: &[UplinkFacts]) -> Result<bool, Error> {
    for name in uplinks.iter().map(|uplink| uplink.name.as_str()).chain(["all"]) {
        if Sysctl::ipv4(name, "accept_local").get()?.as_deref() == Some("1") {
            return Ok(true);
        }
    }
    Ok(false)
}
