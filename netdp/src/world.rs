//! The kernel as `plan` sees it and as `reconcile` changes it.

mod borrowed;
pub(crate) mod fragments;
pub(crate) mod inside;
mod lan;
mod lease;
mod occupied;
mod prefilter;
mod ways;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use futures_util::FutureExt;
use ipnet::IpNet;
use netdp_common::{Addr, Backend, Limit, PortKey};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::Error;
use crate::datapath::{Datapath, Entry, Hook};
use crate::desired::{
    BridgeLink, Desired, Inside, Row, RowKey, Veth, bridge_sysctls, host_sysctls, inside_sysctls,
    silent_sysctls,
};
use crate::host::sysctl::{FirstValues, Sysctl};
use crate::host::{bpffs, netns, uplink};
use crate::model::{DEFAULT_MTU, Host, Mac, Netns, Prefilter, Uplink};
use crate::names::random_bytes;
use crate::netlink::{self, Link, Netlink, Removed, VethEnd};
use crate::plan::{Device, LinkFacts, Observed, Step};
use crate::progress::Progress;

pub use borrowed::Found;
pub use occupied::occupied_here;

/// A row is deleted by its key; this is the value that the call asks for and nobody reads.
const NO_LINK: netdp_common::Link = netdp_common::Link {
    addr4: Addr::UNSPECIFIED,
    addr6: Addr::UNSPECIFIED,
    gateway4: Addr::UNSPECIFIED,
    gateway6: Addr::UNSPECIFIED,
    snat4: Addr::UNSPECIFIED,
    snat6: Addr::UNSPECIFIED,
    network: 0,
    bridge: 0,
    flags: 0,
    mac: netdp_common::Mac([0; 6]),
    gateway_mac: netdp_common::Mac([0; 6]),
};

/// What stands for the alias of a link that was made by us and has none.
const UNFINISHED: &str = "netdp:unfinished";

/// So many interfaces are removed by one call. The kernel waits some milliseconds for each that has a program (the attachment
/// of TCX ends with an RCU grace period), and some 20 ms for the whole call.
const REMOVED_AT_ONCE: usize = 64;

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// The whole host.
    Everything,
    /// Only what bears the names and keys of this, so that the cost does not grow with the number of
    /// containers.
    Of(&'a Desired),
}

/// What can be looked at and changed: the kernel, or in tests something that can fail.
pub trait World {
    /// Looks, and changes nothing.
    fn observe(&mut self, scope: Scope<'_>) -> impl Future<Output = Result<Observed, Error>>;
    /// Takes one step, all of it or nothing. A step that was taken before succeeds.
    fn apply(&mut self, step: &Step) -> impl Future<Output = Result<(), Error>>;
    /// Whether the operator has asked to stop; says so once.
    fn interrupted(&mut self) -> bool {
        false
    }
}

/// The kernel, as seen from the network namespace that netdp was started in.
#[derive(Debug)]
pub struct Kernel {
    run_dir: PathBuf,
    netlink: Netlink,
    datapath: Option<Datapath>,
    uplinks: Vec<String>,
    /// Where the prefilter is to run; `None` is what the last `up` said.
    prefilter: Option<Prefilter>,
    /// For how many a flow table is made.
    flows: u32,
    /// Mechanisms that the programs do without ([`netdp_common::without`]).
    without: u32,
    signals: Vec<Signal>,
    unfinished: BTreeSet<String>,
    cut_short: bool,
    /// Steps that were asked for and not taken; none when they are taken.
    rehearsed: Option<Vec<Step>>,
    /// Numbers of interfaces that were looked at or made. Only this command makes and removes those of ours meanwhile.
    numbers: RefCell<BTreeMap<String, u32>>,
    /// No program runs any more that can have found a row which is gone: the kernel has waited for it.
    awaited: Cell<bool>,
}

impl Kernel {
    /// Of the calling thread's namespace, with what is pinned in the run directory. `uplinks` are those that
    /// the operator named. Must be called within a tokio runtime.
    pub fn here(run_dir: &Path, uplinks: Vec<String>) -> Result<Self, Error> {
        let path = bpffs::path(run_dir);
        let datapath = if bpffs::is_mounted(&path) { Datapath::open(&path)? } else { None };
        Ok(Self {
            run_dir: run_dir.to_owned(),
            netlink: Netlink::here()?,
            datapath,
            uplinks,
            prefilter: None,
            flows: Limit::Table.default_value(),
            without: 0,
            signals: Vec::new(),
            unfinished: BTreeSet::new(),
            cut_short: false,
            rehearsed: None,
            numbers: RefCell::default(),
            awaited: Cell::new(false),
        })
    }

    /// The same after whatever another version of netdp has pinned and attached was taken off.
    pub async fn without_foreign(run_dir: &Path) -> Result<Self, Error> {
        let netlink = Netlink::here()?;
        for number in Datapath::take_off_foreign(&bpffs::path(run_dir))? {
            netlink.delete_clsact(number).await?;
        }
        fragments::remove(&netlink, run_dir).await?;
        bpffs::remove(run_dir)?;
        Self::here(run_dir, Vec::new())
    }

    /// From now on no step is taken: each is only kept.
    pub fn rehearse(&mut self) {
        self.rehearsed = Some(Vec::new());
    }

    /// The steps that would have been taken.
    pub fn rehearsed(&self) -> &[Step] {
        self.rehearsed.as_deref().unwrap_or_default()
    }

    /// From now on SIGTERM and SIGINT do not end the process at once but the run of steps, which is then
    /// taken back.
    pub fn heed_signals(&mut self) -> Result<(), Error> {
        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            self.signals.push(signal(kind).map_err(Error::io("wait for signals"))?);
        }
        Ok(())
    }

    /// Takes links of these names for ours that have no alias: a command was killed before it could give them
    /// one. None says that no command was killed.
    pub fn adopt(&mut self, unfinished: Option<BTreeSet<String>>) {
        self.cut_short = unfinished.is_some();
        self.unfinished = unfinished.unwrap_or_default();
    }

    fn facts(&self, link: &Link) -> LinkFacts {
        let unfinished = link.alias.is_none() && self.unfinished.contains(&link.name);
        LinkFacts {
            index: link.index,
            alias: if unfinished { Some(UNFINISHED.to_owned()) } else { link.alias.clone() },
            mac: Mac(link.mac),
            mtu: link.mtu,
            up: link.up,
            controller: link.controller,
        }
    }

    /// The programs and maps, when they are loaded.
    pub fn datapath(&self) -> Result<&Datapath, Error> {
        self.datapath.as_ref().ok_or(Error::NotUp)
    }

    /// Whether they are.
    pub fn is_up(&self) -> bool {
        self.datapath.is_some()
    }

    /// Gateways of this host's default routes.
    pub async fn gateways(&self) -> Result<BTreeSet<IpAddr>, Error> {
        let routes = self.netlink.routes().await?;
        Ok(routes.iter().filter(|route| route.is_default()).filter_map(|route| route.gateway).collect())
    }

    /// The uplinks of the moment.
    pub async fn uplinks(&self) -> Result<Vec<Uplink>, Error> {
        let host = uplink::Observed::of(&self.netlink).await?;
        Ok(host.uplinks(&self.uplinks)?.into_iter().map(fact).collect())
    }

    /// Addresses of the host by which it can be known outside; none of our own links.
    pub async fn outside_addresses(&self) -> Result<BTreeSet<IpAddr>, Error> {
        let host = uplink::Observed::of(&self.netlink).await?;
        let ours: BTreeSet<u32> =
            host.links.iter().filter(|link| uplink::is_owned(link)).map(|link| link.index).collect();
        let fit = host.addresses.iter().filter(|address| address.global && !ours.contains(&address.index));
        Ok(fit.map(|address| address.net.addr()).collect())
    }

    /// Number of the interface by which a packet would leave that has come in by the interface `iif`.
    pub async fn leaves_by(&self, src: IpAddr, dst: IpAddr, iif: u32) -> Result<Option<u32>, Error> {
        Ok(self.netlink.leaves_by(src, dst, iif).await?)
    }

    /// Interfaces of this host by number.
    pub async fn names(&self) -> Result<BTreeMap<u32, String>, Error> {
        Ok(self.netlink.links().await?.into_iter().map(|link| (link.index, link.name)).collect())
    }

    async fn everything(&self) -> Result<Observed, Error> {
        let host = uplink::Observed::of(&self.netlink).await?;
        let mut observed = Observed { whole: true, cut_short: self.cut_short, ..Observed::default() };
        observed.host = self.host(&host)?;
        // That of the fragments is there when the programs are: no step is about it.
        for link in host.links.iter().filter(|link| !fragments::is_ours(link)) {
            observed.links.insert(link.name.clone(), self.facts(link));
        }
        *self.numbers.borrow_mut() = host.links.iter().map(|link| (link.name.clone(), link.index)).collect();
        observed.addresses = addresses(&host.addresses);
        let bridges = host.links.iter().filter(|link| observed.links.contains_key(&link.name));
        let is_bridge = |link: &&Link| link.kind.as_deref() == Some("bridge");
        let bridges =
            bridges.filter(|link| is_bridge(link) || (uplink::is_owned(link) && link.controller.is_none()));
        let all = |name: &str| bridge_sysctls(name, true).into_iter().chain(silent_sysctls(name));
        let ours = bridges.flat_map(|link| all(&link.name));
        observed.sysctls = values(ours.chain(host_sysctls()).map(|(path, _)| path))?;
        if let Some(datapath) = &self.datapath {
            observed.loaded = true;
            observed.binds = datapath.binds_reserved();
            observed.hooks = hooks(datapath)?;
            observed.prefilters = prefilter::prefilters(datapath)?;
            observed.without_prefilter = crate::instance::without_prefilter(&self.run_dir);
            observed.entries =
                datapath.entries()?.into_iter().map(|entry| (RowKey::of(&entry), entry)).collect();
        }
        Ok(observed)
    }

    fn host(&self, observed: &uplink::Observed) -> Result<Host, Error> {
        let ours: BTreeSet<u32> =
            observed.links.iter().filter(|link| uplink::is_owned(link)).map(|link| link.index).collect();
        let foreign = || observed.addresses.iter().filter(|address| !ours.contains(&address.index));
        let passing = foreign().filter(|address| address.waning || address.temporary);
        let uplinks = observed.uplinks(&self.uplinks)?;
        Ok(Host {
            addresses: foreign().map(|address| address.net.addr()).collect(),
            passing: passing.map(|address| address.net.addr()).collect(),
            ..self.of_uplinks(observed, uplinks)?
        })
    }

    async fn part(&self, desired: &Desired) -> Result<Observed, Error> {
        let mut observed = Observed::default();
        let veths = desired.veths.iter().flat_map(|(name, veth)| [name, &veth.bridge]);
        let ports = desired.bridges.values().filter_map(|bridge| bridge.port.as_ref());
        let bases = desired.vlans.values().map(|vlan| &vlan.base);
        let vlans = desired
            .vlans
            .keys()
            .chain(bases)
            .chain(ports)
            .chain(desired.rows.iter().filter_map(Row::trusted));
        for name in veths.chain(desired.bridges.keys()).chain(vlans).collect::<BTreeSet<_>>() {
            if let Some(link) = self.netlink.link(name).await? {
                self.numbers.borrow_mut().insert(name.clone(), link.index);
                observed.links.insert(name.clone(), self.facts(&link));
            }
        }
        for (alias, lan) in &desired.lans {
            if self.is_on_lan(lan).await? {
                observed.lans.insert(alias.clone());
            }
        }
        let of_bridges = || desired.bridges.iter().flat_map(|(name, it)| [Some(name), it.port.as_ref()]);
        if of_bridges().flatten().any(|name| observed.links.contains_key(name)) {
            observed.addresses = addresses(&self.netlink.addresses().await?);
        }
        observed.sysctls =
            values(desired.bridges.values().flat_map(|bridge| bridge.sysctls.keys().cloned()))?;
        if let Some(datapath) = &self.datapath {
            observed.loaded = true;
            observed.binds = datapath.binds_reserved();
            part_of_maps(datapath, desired, &mut observed)?;
        }
        Ok(observed)
    }

    async fn number(&self, link: &str) -> Result<u32, Error> {
        let known = self.numbers.borrow().get(link).copied();
        if let Some(number) = known {
            return Ok(number);
        }
        let number = number_in(&self.netlink, link).await?;
        self.numbers.borrow_mut().insert(link.to_owned(), number);
        Ok(number)
    }

    /// Says for how many flows a table is made, where there is none.
    pub fn set_flows(&mut self, flows: u32) {
        self.flows = flows;
    }

    /// Has programs that are loaded do without some mechanisms ([`netdp_common::without`]).
    pub fn set_without(&mut self, mechanisms: u32) {
        self.without = mechanisms;
    }

    /// Loads the programs, or the present ones in place of older ones.
    pub async fn load(&mut self) -> Result<(), Error> {
        self.load_programs()?;
        self.establish_sorter().await;
        Ok(())
    }

    fn load_programs(&mut self) -> Result<(), Error> {
        let was_up = self.is_up();
        let path = bpffs::ensure(&self.run_dir)?;
        match Datapath::load(&path, self.flows, self.without) {
            Ok(datapath) => {
                self.datapath = Some(datapath);
                Ok(())
            }
            Err(error) => {
                if !was_up {
                    bpffs::remove(&self.run_dir)?;
                }
                Err(error.into())
            }
        }
    }

    async fn unload(&mut self) -> Result<(), Error> {
        self.remove_sorter().await?;
        self.datapath = None;
        Ok(bpffs::remove(&self.run_dir)?)
    }

    async fn create_bridge(&self, name: &str, bridge: &BridgeLink) -> Result<(), Error> {
        self.netlink.add_bridge(name, bridge.mac.0, bridge.mtu, &bridge.alias).await?;
        Ok(())
    }

    async fn add_address(&self, link: &str, address: IpNet) -> Result<(), Error> {
        match self.netlink.add_address(self.number(link).await?, address).await {
            Err(error) if error.is_exists() => Ok(()),
            result => Ok(result?),
        }
    }

    async fn create_veth(&self, name: &str, veth: &Veth) -> Result<(), Error> {
        let ns = open_netns(&veth.inside.netns)?;
        let host = VethEnd {
            name: name.to_owned(),
            mac: veth.host_mac.0,
            mtu: veth.mtu,
            alias: Some(veth.alias.clone()),
        };
        let inside =
            VethEnd { name: veth.inside.ifname.clone(), mac: veth.inside.mac.0, mtu: veth.mtu, alias: None };
        let number = self.netlink.add_veth(&host, &inside, &ns).await?;
        self.numbers.borrow_mut().insert(name.to_owned(), number);
        // The port of a bridge needs no address of its own, and IPv6 would give it one that it speaks from.
        let Err(error) = Sysctl::ipv6(name, "disable_ipv6").set_if_there("1") else { return Ok(()) };
        self.numbers.borrow_mut().remove(name);
        self.netlink.delete_link(number).await?;
        Err(error.into())
    }

    /// The end in the container goes with its namespace, if that has gone.
    async fn set_mtu_of_veth(&self, name: &str, veth: &Veth) -> Result<(), Error> {
        self.netlink.set_mtu(self.number(name).await?, veth.mtu).await?;
        let Ok(ns) = open_netns(&veth.inside.netns) else { return Ok(()) };
        let inside = Netlink::in_netns(&ns)?;
        match inside.link(&veth.inside.ifname).await? {
            Some(link) => Ok(inside.set_mtu(link.index, veth.mtu).await?),
            None => Ok(()),
        }
    }

    /// Somebody else may have had the address, and another MAC. Containers need not be told, as the programs write the MAC that
    /// a frame is for; but the host knows it for itself.
    async fn forget_predecessor(&self, veth: &Veth) -> Result<(), Error> {
        let bridge = self.number(&veth.bridge).await?;
        for address in &veth.inside.addresses {
            self.netlink.forget_neighbour(bridge, address.addr()).await?;
        }
        Ok(())
    }

    async fn configure_inside(&self, inside: &Inside) -> Result<(), Error> {
        let ns = open_netns(&inside.netns)?;
        netns::in_netns(ns.as_fd(), || set_inside(inside))??;
        let netlink = Netlink::in_netns(&ns)?;
        let link = link_in(&netlink, &inside.ifname).await?;
        Self::add_addresses(&netlink, link.index, inside).await?;
        netlink.set_up(link.index).await?;
        Self::add_routes(&netlink, link.index, inside).await
    }

    /// What the way out takes, where that is less than the network's own links do: a container that knows it does not have to
    /// be told packet by packet. Usual links are not asked about, for that costs a walk over all of the host's.
    async fn mtu_beyond(&self, mtu: u32) -> Result<Option<u32>, Error> {
        if mtu <= DEFAULT_MTU {
            return Ok(None);
        }
        let least = self.uplinks().await?.iter().map(|uplink| uplink.mtu).min();
        Ok(Some(least.unwrap_or(DEFAULT_MTU)).filter(|least| *least < mtu))
    }

    async fn join_bridge(&self, link: &str, bridge: &str, isolated: bool) -> Result<(), Error> {
        let (link, bridge) = (self.number(link).await?, self.number(bridge).await?);
        self.netlink.set_controller(link, bridge).await?;
        if isolated {
            self.netlink.isolate_port(link).await?;
        }
        Ok(())
    }

    async fn free_port(&self, link: &str) -> Result<(), Error> {
        const NONE: u32 = 0;
        Ok(self.netlink.set_controller(self.number(link).await?, NONE).await?)
    }

    async fn remove_veth(&self, link: &str) -> Result<(), Error> {
        self.numbers.borrow_mut().remove(link);
        let Some(facts) = self.netlink.link(link).await? else { return Ok(()) };
        self.netlink.delete_link(facts.index).await?;
        self.detach_number(Hook::FromContainer, facts.index).await?;
        Ok(self.datapath()?.delete(&Entry::Link(facts.index, NO_LINK))?)
    }

    async fn delete_links(&self, links: &[String]) -> Result<(), Error> {
        let mut progress = Progress::new("removing interfaces", links.len());
        for part in links.chunks(REMOVED_AT_ONCE) {
            let mut numbers = Vec::new();
            for link in part {
                let known = self.numbers.borrow_mut().remove(link);
                match known {
                    Some(number) => numbers.push(number),
                    None => numbers.extend(self.netlink.link(link).await?.map(|facts| facts.index)),
                }
            }
            let removed = match numbers.as_slice() {
                [] => Removed::Before,
                [one] => self.netlink.delete_link(*one).await?,
                several => self.netlink.delete_links(several, random_group()?).await?,
            };
            if removed == Removed::Now {
                self.awaited.set(true);
            }
            progress.add(part.len());
        }
        Ok(())
    }

    async fn attach_hook(&self, hook: Hook, link: &str) -> Result<(), Error> {
        let number = self.number(link).await?;
        let attached = self.datapath()?.attach(hook, link, number);
        if attached.is_err() {
            self.delete_unused_qdisc(number).await?;
        }
        Ok(attached?)
    }

    async fn detach_hook(&self, hook: Hook, link: &Device) -> Result<(), Error> {
        let number = match link {
            Device::Numbered(number) => *number,
            Device::Named(link) => self.number(link).await?,
        };
        self.detach_number(hook, number).await
    }

    async fn detach_number(&self, hook: Hook, number: u32) -> Result<(), Error> {
        self.datapath()?.detach(hook, number)?;
        self.delete_unused_qdisc(number).await
    }

    /// The qdisc that our filters needed goes with the last of them.
    async fn delete_unused_qdisc(&self, number: u32) -> Result<(), Error> {
        if self.datapath()?.take_unused_qdisc(number)? {
            self.netlink.delete_clsact(number).await?;
        }
        Ok(())
    }

    async fn entry(&self, row: &Row) -> Result<Entry, Error> {
        let mut numbers = BTreeMap::new();
        for link in row.links() {
            numbers.insert(link, self.number(link).await?);
        }
        row.entry(|link| numbers.get(link).copied()).ok_or_else(|| Error::LinkGone(row.links().join(" or ")))
    }

    async fn ports(&self, rows: &[Row]) -> Result<Vec<(PortKey, Backend)>, Error> {
        let mut ports = Vec::with_capacity(rows.len());
        for row in rows {
            if let Entry::Port(key, backend) = self.entry(row).await? {
                ports.push((key, backend));
            }
        }
        Ok(ports)
    }

    async fn put(&self, row: &Row) -> Result<(), Error> {
        Ok(self.datapath()?.put(&self.entry(row).await?)?)
    }

    async fn delete(&self, row: &Row) -> Result<(), Error> {
        Ok(self.datapath()?.delete(&self.entry(row).await?)?)
    }

    fn restore_host_sysctls(&self) -> Result<(), Error> {
        let put_back = FirstValues::of(&self.run_dir).put_back();
        put_back.or_else(|errors| Error::all(errors.into_iter().map(Error::from).collect()))
    }
}

impl World for Kernel {
    fn interrupted(&mut self) -> bool {
        self.signals.iter_mut().any(|signal| signal.recv().now_or_never().is_some())
    }

    async fn observe(&mut self, scope: Scope<'_>) -> Result<Observed, Error> {
        match scope {
            Scope::Everything => self.everything().await,
            Scope::Of(desired) => self.part(desired).await,
        }
    }

    async fn apply(&mut self, step: &Step) -> Result<(), Error> {
        if let Some(steps) = &mut self.rehearsed {
            // What an earlier step would have made is not there, and is asked for again.
            if !steps.contains(step) {
                steps.push(step.clone());
            }
            return Ok(());
        }
        if is_found_by_programs(step) {
            self.awaited.set(false);
        }
        match step {
            Step::LoadPrograms => self.load().await,
            Step::UnloadPrograms => self.unload().await,
            Step::SetHostSysctl { path, value } => {
                Ok(FirstValues::of(&self.run_dir).set(&Sysctl::new(path), value)?)
            }
            Step::RestoreHostSysctls => self.restore_host_sysctls(),
            Step::SetSysctl { path, value } => Ok(Sysctl::new(path).set_if_there(value).map(drop)?),
            Step::CreateBridge { name, bridge } => self.create_bridge(name, bridge).await,
            Step::AddAddress { link, address } => self.add_address(link, *address).await,
            Step::SetMac { link, mac } => Ok(self.netlink.set_mac(self.number(link).await?, mac.0).await?),
            Step::LeaveBridge { name, bridge } => self.leave_bridge(name, bridge).await,
            Step::SetMtu { link, mtu } => Ok(self.netlink.set_mtu(self.number(link).await?, *mtu).await?),
            Step::SetMtuOfVeth { name, veth } => self.set_mtu_of_veth(name, veth).await,
            Step::SetUp { link } => Ok(self.netlink.set_up(self.number(link).await?).await?),
            Step::CreateVeth { name, veth } => self.create_veth(name, veth).await,
            Step::ConfigureInside { veth } => {
                self.forget_predecessor(veth).await?;
                self.configure_inside(&veth.inside).await
            }
            Step::LeadOut(ways) => self.lead_out(ways).await,
            Step::CreateLan { lan } => self.create_lan(lan).await,
            Step::RemoveLan { lan } => self.remove_lan(lan).await,
            Step::Announce(inside) => self.announce(inside).await,
            Step::CreateVlan { name, vlan } => self.create_vlan(name, vlan).await,
            Step::JoinBridge { link, bridge, isolated } => self.join_bridge(link, bridge, *isolated).await,
            Step::FreePort { link } => self.free_port(link).await,
            Step::RemoveVeth { link } => self.remove_veth(link).await,
            Step::DeleteLinks { links } => self.delete_links(links).await,
            Step::AttachHook { hook, link } => self.attach_hook(*hook, link).await,
            Step::DetachHook { hook, link } => self.detach_hook(*hook, link).await,
            Step::AttachPrefilter { link, choice } => self.attach_prefilter(link, *choice).await,
            Step::DetachPrefilter { link } => self.detach_prefilter(link).await,
            Step::Put(row) => self.put(row).await,
            Step::PutPorts(rows) => Ok(self.datapath()?.put_ports(&self.ports(rows).await?)?),
            Step::DeletePorts(rows) => Ok(self.datapath()?.delete_ports(&self.ports(rows).await?)?),
            Step::Delete(row) => self.delete(row).await,
            Step::ReserveBinds => Ok(self.datapath()?.reserve_binds()?),
            Step::ReleaseBinds => Ok(self.datapath()?.release_binds()?),
            Step::EndFlows => Ok(self.datapath()?.end_stale_flows(self.awaited.get()).map(drop)?),
        }
    }
}

/// Whether a step is about rows by which programs begin flows; that of a link is found only by the program on it.
fn is_found_by_programs(step: &Step) -> bool {
    match step {
        Step::PutPorts(_) | Step::DeletePorts(_) => true,
        Step::Put(row) | Step::Delete(row) => !matches!(row, Row::Link { .. } | Row::Plain(Entry::Link(..))),
        _ => false,
    }
}

/// A number for a group of links that nobody else has: one of two thousand million.
fn random_group() -> Result<NonZeroU32, Error> {
    let bits = u32::from_ne_bytes(random_bytes().map_err(Error::io("read random bytes"))?);
    Ok(NonZeroU32::MIN.saturating_add(bits >> 1))
}

/// Opens the namespace that an endpoint was attached in, and no other that has its path by now.
pub fn open_netns(netns: &Netns) -> Result<OwnedFd, Error> {
    let gone = || Error::NetnsGone(netns.path.clone());
    let ns = netns::open(&netns.path).map_err(|_| gone())?;
    let identity = netns::identity(&ns)?;
    let same = (identity.device, identity.inode) == (netns.device, netns.inode);
    if same { Ok(ns) } else { Err(gone()) }
}

async fn number_in(netlink: &Netlink, link: &str) -> Result<u32, Error> {
    Ok(link_in(netlink, link).await?.index)
}

async fn link_in(netlink: &Netlink, link: &str) -> Result<Link, Error> {
    netlink.link(link).await?.ok_or_else(|| Error::LinkGone(link.to_owned()))
}

/// A setting that was asked for has to be there.
fn set_inside(inside: &Inside) -> Result<(), Error> {
    for (path, value) in inside_sysctls(inside) {
        Sysctl::new(path).set_if_there(&value)?;
    }
    for (path, value) in &inside.sysctls {
        Sysctl::new(path).set(value)?;
    }
    Ok(())
}

fn fact(uplink: uplink::UplinkFacts) -> Uplink {
    Uplink {
        ifindex: uplink.ifindex,
        name: uplink.name,
        mac: Mac(uplink.mac),
        mtu: uplink.mtu,
        addr4: uplink.addr4,
        addr6: uplink.addr6,
    }
}

fn addresses(all: &[netlink::Address]) -> BTreeSet<(u32, IpNet)> {
    all.iter().map(|address| (address.index, address.net)).collect()
}

fn values(paths: impl Iterator<Item = String>) -> Result<BTreeMap<String, String>, Error> {
    let mut values = BTreeMap::new();
    for path in paths {
        if let Some(value) = Sysctl::new(&path).get()? {
            values.insert(path, value);
        }
    }
    Ok(values)
}

fn hooks(datapath: &Datapath) -> Result<BTreeSet<(Hook, u32)>, Error> {
    let all = datapath.attachments()?.into_iter().map(|attachment| (attachment.hook, attachment.ifindex));
    Ok(all.filter(|(hook, _)| *hook != Hook::FromFragments).collect())
}

fn part_of_maps(datapath: &Datapath, desired: &Desired, observed: &mut Observed) -> Result<(), Error> {
    // One by one, as the list of all grows with the number of containers; a link that is not there has none.
    for (hook, link) in &desired.hooks {
        let Some(number) = observed.number(link) else { continue };
        if datapath.is_attached(*hook, number)? {
            observed.hooks.insert((*hook, number));
        }
    }
    let ports = many_ports(datapath, desired)?;
    for row in &desired.rows {
        // The key of a row that is about a link is that link's number; those of the others hold none.
        let number = |link: &str| match row {
            Row::Link { veth, .. } if veth == link => observed.number(link),
            Row::Trusted { .. } => observed.number(link),
            Row::Link { .. } | Row::Endpoint { .. } | Row::Port { .. } | Row::Plain(_) => Some(0),
        };
        let Some(entry) = row.entry(number) else { continue };
        let found = match (&ports, &entry) {
            (Some(ports), Entry::Port(key, _)) => ports.get(key).map(|there| Entry::Port(*key, *there)),
            _ => datapath.lookup(&entry)?,
        };
        if let Some(found) = found {
            observed.entries.insert(RowKey::of(&found), found);
        }
    }
    Ok(())
}

/// All published ports, where so many are asked for that to read the whole table is cheaper than to look up each.
fn many_ports(datapath: &Datapath, desired: &Desired) -> Result<Option<HashMap<PortKey, Backend>>, Error> {
    const MANY: usize = 1024;
    if desired.rows.len() < MANY {
        return Ok(None);
    }
    Ok(Some(datapath.ports()?.into_iter().collect()))
}
