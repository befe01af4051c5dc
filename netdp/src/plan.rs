//! What is to be done, worked out from what should be and what is. Pure: nothing is read or changed here.
//!
//! The order of the steps is what keeps containers safe at any point at which a run may end:
//!
//! - What nobody wants goes first: ports, then endpoints, then links, and the programs that watched over a
//!   link after it.
//! - A network's subnet is known to the guard of the uplinks, and the guard is attached, before the bridge
//!   exists.
//! - A veth's end on the host has its program before it comes up, and comes up last: one that is down was
//!   left unfinished and is made anew.
//! - An endpoint is reachable when it is finished, and its ports after that.
//!
//! What is made has an inverse. What is removed has none, as it belongs to nobody, and neither has the repair
//! of a link of ours that somebody changed: both are nearer to what should be, whatever fails afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use crate::datapath::{Entry, Hook, XdpMode};
use crate::desired::{BridgeLink, Desired, Inside, LanLink, Row, RowKey, Veth, VlanLink};
use crate::model::{Host, Mac, Netns, Prefilter};
use crate::ways::Ways;

/// One thing to do, small enough to be done or not done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Mount the file system for the pins, load the programs and maps and pin them.
    LoadPrograms,
    /// The contrary, with everything that is pinned.
    UnloadPrograms,
    /// Set a setting of the host, remembering what it was.
    SetHostSysctl {
        /// Path under `/proc/sys`.
        path: String,
        /// The new value.
        value: String,
    },
    /// Give all remembered settings of the host their first values.
    RestoreHostSysctls,
    /// Set a setting of an interface of ours.
    SetSysctl {
        /// Path under `/proc/sys`.
        path: String,
        /// The new value.
        value: String,
    },
    /// Make a bridge, down.
    CreateBridge {
        /// Its name.
        name: String,
        /// What it is like.
        bridge: BridgeLink,
    },
    /// Give an interface an address.
    AddAddress {
        /// The interface.
        link: String,
        /// Address and length of the prefix.
        address: IpNet,
    },
    /// Fix the MAC of a bridge, which would follow its ports.
    SetMac {
        /// The bridge.
        link: String,
        /// The MAC.
        mac: Mac,
    },
    /// Give somebody else's bridge back as it was.
    LeaveBridge {
        /// Its name.
        name: String,
        /// What it was used as.
        bridge: BridgeLink,
    },
    /// Set an interface's MTU.
    SetMtu {
        /// The interface.
        link: String,
        /// Bytes.
        mtu: u32,
    },
    /// Set the MTU of both ends of a veth pair.
    SetMtuOfVeth {
        /// Name of the end on the host.
        name: String,
        /// What it is to be like.
        veth: Veth,
    },
    /// Bring an interface up.
    SetUp {
        /// The interface.
        link: String,
    },
    /// Make a veth pair, both ends down.
    CreateVeth {
        /// Name of the end on the host.
        name: String,
        /// What it is like.
        veth: Veth,
    },
    /// Give the end in the container its addresses, and bring it up.
    ConfigureInside {
        /// The pair.
        veth: Veth,
    },
    /// Make an interface of a container on a LAN, with addresses and routes and up.
    CreateLan {
        /// What it is like.
        lan: LanLink,
    },
    /// The contrary.
    RemoveLan {
        /// What it is like.
        lan: LanLink,
    },
    /// Tell the LAN whose the addresses of an interface in a container are from now on.
    Announce(Inside),
    /// Make a VLAN of an interface of the host, down.
    CreateVlan {
        /// Its name.
        name: String,
        /// What it is like.
        vlan: VlanLink,
    },
    /// Give a namespace the default routes that it should have.
    LeadOut(Ways),
    /// Make an interface a port of a bridge.
    JoinBridge {
        /// The interface.
        link: String,
        /// The bridge.
        bridge: String,
        /// Apart from its other ports.
        isolated: bool,
    },
    /// Take an interface of somebody else's off the bridge that it is a port of.
    FreePort {
        /// The interface.
        link: String,
    },
    /// Remove a veth pair, then the program and the row of its end on the host: in this order nothing that
    /// the container sends meanwhile goes unwatched.
    RemoveVeth {
        /// Name of the end on the host.
        link: String,
    },
    /// Remove interfaces at once, and of a veth pair both ends.
    DeleteLinks {
        /// The interfaces.
        links: Vec<String>,
    },
    /// Attach a program.
    AttachHook {
        /// Where.
        hook: Hook,
        /// The interface.
        link: String,
    },
    /// Detach a program.
    DetachHook {
        /// Where.
        hook: Hook,
        /// The interface.
        link: Device,
    },
    /// Attach the prefilter in one of the modes that the choice allows; an interface that takes none goes without, with
    /// a warning.
    AttachPrefilter {
        /// The uplink.
        link: String,
        /// The choice.
        choice: Prefilter,
    },
    /// Detach the prefilter.
    DetachPrefilter {
        /// The uplink.
        link: Device,
    },
    /// Write a row of a map.
    Put(Row),
    /// Delete a row of a map.
    Delete(Row),
    /// Write rows of published ports that are not there yet: a command may publish ten thousand.
    PutPorts(Arc<[Row]>),
    /// The contrary.
    DeletePorts(Arc<[Row]>),
    /// Keep published ports from the host's other programs.
    ReserveBinds,
    /// The contrary.
    ReleaseBinds,
    /// End all flows that lead to what is not in the maps any more.
    EndFlows,
}

/// An interface, by whichever of the two is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Device {
    /// By name.
    Named(String),
    /// By number: one that has no name any more.
    Numbered(u32),
}

/// A step and the one that takes it back, if anything does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// What to do.
    pub step: Step,
    /// What makes it undone.
    pub inverse: Option<Step>,
}

/// What the kernel has, or the part of it that one command looks at.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Observed {
    /// The programs are loaded.
    pub loaded: bool,
    /// Interfaces by name.
    pub links: BTreeMap<String, LinkFacts>,
    /// Interfaces on a LAN that are finished, by alias; of those that were asked about.
    pub lans: BTreeSet<String>,
    /// Addresses by interface.
    pub addresses: BTreeSet<(u32, IpNet)>,
    /// Settings by their path under `/proc/sys`.
    pub sysctls: BTreeMap<String, String>,
    /// Programs by hook and number of the interface.
    pub hooks: BTreeSet<(Hook, u32)>,
    /// The prefilter by number of the uplink.
    pub prefilters: BTreeMap<u32, XdpMode>,
    /// Names of uplinks that were found to take no prefilter, and go without.
    pub without_prefilter: BTreeSet<String>,
    /// Rows of the maps.
    pub entries: BTreeMap<RowKey, Entry>,
    /// Published ports are kept from the host's other programs.
    pub binds: bool,
    /// A command was killed half way. What it deleted is not there to be found, but flows to it may be.
    pub cut_short: bool,
    /// Everything was looked at, and not only what one command is about.
    pub whole: bool,
    /// The host itself; empty unless everything was looked at.
    pub host: Host,
}

/// What is known of an interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LinkFacts {
    /// Its number.
    pub index: u32,
    /// Its alias.
    pub alias: Option<String>,
    /// Its MAC.
    pub mac: Mac,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
    /// Number of the bridge that it is a port of.
    pub controller: Option<u32>,
}

impl LinkFacts {
    /// Whether netdp made it.
    pub fn ours(&self) -> bool {
        self.alias.as_deref().is_some_and(|alias| alias.starts_with("netdp:"))
    }
}

impl Observed {
    /// Whether there is a link of this name that somebody else has made.
    pub fn is_foreign(&self, name: &str) -> bool {
        self.links.get(name).is_some_and(|facts| !facts.ours())
    }

    /// Number of an interface.
    pub fn number(&self, link: &str) -> Option<u32> {
        self.links.get(link).map(|facts| facts.index)
    }

    /// Whether an interface has addresses that are valid beyond its link.
    pub fn carries_addresses(&self, index: u32) -> bool {
        let of_link = |net: &IpNet| matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local());
        self.addresses.iter().any(|(at, net)| *at == index && !of_link(net))
    }

    /// Whether a finished veth pair of that alias is there, as a port of that bridge.
    pub fn has_veth(&self, name: &str, alias: &str, bridge: &str) -> bool {
        let Some(facts) = self.links.get(name) else { return false };
        let joined = facts.controller.is_some() && facts.controller == self.number(bridge);
        facts.up && joined && facts.alias.as_deref() == Some(alias)
    }
}

/// An interface of somebody else's has the name that one of ours should have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is an interface {0} already, and netdp did not make it")]
pub struct Foreign(pub String);

/// The steps from what is to what should be; none when they agree.
pub fn plan(desired: &Desired, observed: &Observed) -> Result<Vec<Change>, Foreign> {
    let foreign = |name: &&String| observed.is_foreign(name);
    let bridges = desired.bridges.iter().filter(|(_, bridge)| !bridge.borrowed).map(|(name, _)| name);
    if let Some(name) = bridges.chain(desired.veths.keys()).find(foreign) {
        return Err(Foreign(name.clone()));
    }
    let mut planner = Planner::new(desired, observed);
    planner.load();
    planner.find_remade();
    planner.remove();
    planner.guard();
    planner.vlans();
    planner.bridges();
    planner.veths();
    planner.lans();
    planner.lead_out();
    planner.reach();
    planner.end_moved_flows();
    Ok(planner.changes)
}

/// The steps that take away a part of what is there, given what was observed of that part.
pub fn removal(part: &Desired, observed: &Observed) -> Vec<Change> {
    let nothing = Desired::default();
    let mut planner = Planner::new(&nothing, observed);
    planner.going = part.veths.keys().chain(part.bridges.keys()).chain(part.vlans.keys()).cloned().collect();
    planner.leave(part);
    planner.remove();
    planner.changes
}

/// The steps that take away everything that netdp made, given that everything was observed.
pub fn teardown(observed: &Observed) -> Vec<Change> {
    let nothing = Desired::default();
    let mut planner = Planner::new(&nothing, observed);
    planner.remove();
    // What is on a link that has gone runs no more, and its pin goes with the others when the programs are unloaded; so do the
    // flows.
    planner.changes.retain(|change| {
        !matches!(change.step, Step::DetachHook { hook: Hook::FromContainer, .. } | Step::EndFlows)
    });
    planner.push(Step::RestoreHostSysctls, None);
    planner.push(Step::UnloadPrograms, None);
    planner.changes
}

struct Planner<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    changes: Vec<Change>,
    /// Links that nobody wants.
    going: BTreeSet<String>,
    /// Links that are removed in order to be made anew.
    remade: BTreeSet<String>,
}

impl<'a> Planner<'a> {
    fn new(desired: &'a Desired, observed: &'a Observed) -> Self {
        let unwanted = |(name, facts): &(&String, &LinkFacts)| facts.ours() && !desired.has_link(name);
        // Of a part, the bridge of an endpoint is looked at too, and belongs to others as well.
        let going = observed.links.iter().filter(|_| observed.whole).filter(unwanted);
        let going = going.map(|(name, _)| name.clone()).collect();
        Self { desired, observed, changes: Vec::new(), going, remade: BTreeSet::new() }
    }

    fn push(&mut self, step: Step, inverse: Option<Step>) {
        self.changes.push(Change { step, inverse });
    }

    fn load(&mut self) {
        if !self.observed.loaded {
            self.push(Step::LoadPrograms, Some(Step::UnloadPrograms));
        }
    }

    /// What is there and not wanted.
    fn remove(&mut self) {
        let stale = self.stale_entries();
        self.delete(&stale, |entry| matches!(entry, Entry::Port(..)));
        self.delete(&stale, |entry| matches!(entry, Entry::Endpoint(..)));
        self.remove_links();
        self.remove_hooks();
        self.remove_prefilters();
        self.delete(&stale, |entry| !matches!(entry, Entry::Port(..) | Entry::Endpoint(..)));
        self.end_flows(&stale);
        if self.observed.whole && self.observed.binds && !self.desired.binds {
            self.push(Step::ReleaseBinds, None);
        }
    }

    /// Ours by its alias, but not as it should be, or left unfinished. Ports go with their bridge.
    fn find_remade(&mut self) {
        for (name, bridge) in self.desired.bridges.iter().filter(|(_, bridge)| !bridge.borrowed) {
            let Some(facts) = self.observed.links.get(name) else { continue };
            if facts.alias.as_ref() != Some(&bridge.alias) || facts.mac != bridge.mac {
                self.remade.insert(name.clone());
            }
        }
        for (name, veth) in &self.desired.veths {
            if !self.observed.links.contains_key(name) {
                continue;
            }
            let kept = !self.remade.contains(&veth.bridge);
            if !(kept && self.observed.has_veth(name, &veth.alias, &veth.bridge)) {
                self.remade.insert(name.clone());
            }
        }
    }

    fn is_there(&self, link: &str) -> bool {
        self.observed.links.contains_key(link) && !self.remade.contains(link)
    }

    fn number(&self, link: &str) -> Option<u32> {
        self.observed.number(link).filter(|_| !self.remade.contains(link))
    }

    fn stale_entries(&self) -> Vec<Entry> {
        let wanted: BTreeSet<RowKey> = self
            .desired
            .rows
            .iter()
            .filter_map(|row| row.entry(|link| self.number(link)))
            .map(|entry| RowKey::of(&entry))
            .collect();
        let stale = self.observed.entries.iter().filter(|(key, _)| !wanted.contains(key));
        stale.map(|(_, entry)| entry.clone()).collect()
    }

    fn delete(&mut self, stale: &[Entry], which: impl Fn(&Entry) -> bool) {
        for entry in stale.iter().filter(|entry| which(entry)) {
            self.push(Step::Delete(Row::Plain(entry.clone())), None);
        }
    }

    fn remove_hooks(&mut self) {
        let wanted: BTreeSet<(Hook, u32)> =
            self.desired.hooks.iter().filter_map(|(hook, link)| Some((*hook, self.number(link)?))).collect();
        for (hook, number) in self.observed.hooks.difference(&wanted) {
            self.push(Step::DetachHook { hook: *hook, link: Device::Numbered(*number) }, None);
        }
    }

    fn remove_prefilters(&mut self) {
        let wanted: BTreeSet<u32> =
            self.desired.prefilters.keys().filter_map(|link| self.number(link)).collect();
        for number in self.observed.prefilters.keys().filter(|number| !wanted.contains(number)) {
            self.push(Step::DetachPrefilter { link: Device::Numbered(*number) }, None);
        }
    }

    /// Ports before their bridges. A link goes before its program: without it, what a container still sends
    /// would meet nobody.
    fn remove_links(&mut self) {
        let leaving = |(name, facts): &(&String, &LinkFacts)| {
            facts.ours() && (self.going.contains(*name) || self.remade.contains(*name))
        };
        let leaving = self.observed.links.iter().filter(leaving);
        let (ports, bridges): (Vec<_>, Vec<_>) = leaving.partition(|(_, facts)| facts.controller.is_some());
        for links in [ports, bridges] {
            let links: Vec<String> = links.into_iter().map(|(name, _)| name.clone()).collect();
            if !links.is_empty() {
                self.push(Step::DeleteLinks { links }, None);
            }
        }
    }

    /// After the rows, so that no packet begins them again. Those of a link that is made anew end too: they name the
    /// number of the old one.
    fn end_flows(&mut self, stale: &[Entry]) {
        let leads = |entry: &Entry| matches!(entry, Entry::Port(..) | Entry::Endpoint(..) | Entry::Source(_));
        let killed = self.observed.whole && self.observed.loaded && self.observed.cut_short;
        let detached = !self.observed.whole && !self.going.is_empty();
        if killed || detached || stale.iter().any(leads) {
            self.push(Step::EndFlows, None);
        }
    }

    /// Of ports and addresses that have got another meaning.
    fn end_moved_flows(&mut self) {
        let moved = |change: &Change| {
            matches!(
                (&change.step, &change.inverse),
                (
                    Step::Put(Row::Port { .. } | Row::Endpoint { .. }),
                    Some(Step::Put(Row::Plain(Entry::Port(..) | Entry::Endpoint(..))))
                )
            )
        };
        if self.changes.iter().any(moved) {
            self.push(Step::EndFlows, None);
        }
    }

    /// All that must hold before a container can send: the guard and what it knows.
    fn guard(&mut self) {
        for (path, value) in &self.desired.host_sysctls {
            self.sysctl(path, value, |path, value| Step::SetHostSysctl { path, value });
        }
        self.put(|row| matches!(row, Row::Plain(_)));
        for (hook, link) in &self.desired.hooks {
            match hook {
                Hook::FromUplink | Hook::ToUplink | Hook::FromHost | Hook::FromFragments => {
                    self.attach(*hook, link);
                }
                // With the bridge or the veth that they are on.
                Hook::ToBridge | Hook::FromContainer => {}
            }
        }
        for (link, choice) in &self.desired.prefilters {
            self.prefilter(link, *choice);
        }
        if self.desired.binds && !self.observed.binds {
            self.push(Step::ReserveBinds, Some(Step::ReleaseBinds));
        }
    }

    fn prefilter(&mut self, name: &str, choice: Prefilter) {
        let link = name.to_owned();
        let now = self.number(name).and_then(|number| self.observed.prefilters.get(&number).copied());
        let inverse = match now {
            Some(mode) if choice.accepts(mode) => return,
            Some(mode) => Step::AttachPrefilter { link: link.clone(), choice: mode.into() },
            None => Step::DetachPrefilter { link: Device::Named(link.clone()) },
        };
        self.push(Step::AttachPrefilter { link, choice }, Some(inverse));
    }

    fn bridges(&mut self) {
        for (name, bridge) in &self.desired.bridges {
            self.bridge(name, bridge);
        }
    }

    fn bridge(&mut self, name: &str, bridge: &BridgeLink) {
        let link = name.to_owned();
        let facts = self.observed.links.get(name).filter(|_| self.is_there(name));
        if facts.is_none() && !bridge.borrowed {
            let create = Step::CreateBridge { name: link.clone(), bridge: bridge.clone() };
            self.push(create, Some(Step::DeleteLinks { links: vec![link.clone()] }));
        }
        self.attach(Hook::ToBridge, name);
        if let Some(facts) = facts.filter(|facts| facts.mtu != bridge.mtu && !bridge.borrowed) {
            let inverse = Step::SetMtu { link: link.clone(), mtu: facts.mtu };
            self.push(Step::SetMtu { link: link.clone(), mtu: bridge.mtu }, Some(inverse));
        }
        if bridge.borrowed && facts.is_some_and(|facts| facts.mac != bridge.mac) {
            self.push(Step::SetMac { link: link.clone(), mac: bridge.mac }, None);
        }
        for (path, value) in &bridge.sysctls {
            if bridge.borrowed {
                self.sysctl(path, value, |path, value| Step::SetHostSysctl { path, value });
            } else if facts.is_some() {
                self.sysctl(path, value, |path, value| Step::SetSysctl { path, value });
            } else {
                self.push(Step::SetSysctl { path: path.clone(), value: value.clone() }, None);
            }
        }
        for address in &bridge.addresses {
            let there = |facts: &LinkFacts| self.observed.addresses.contains(&(facts.index, *address));
            if !facts.is_some_and(there) {
                self.push(Step::AddAddress { link: link.clone(), address: *address }, None);
            }
        }
        if !facts.is_some_and(|facts| facts.up) {
            self.push(Step::SetUp { link }, None);
        }
        if let Some(port) = &bridge.port
            && self.joins(port, name)
        {
            let (link, bridge) = (port.clone(), name.to_owned());
            let inverse = Step::FreePort { link: link.clone() };
            self.push(Step::JoinBridge { link, bridge, isolated: false }, Some(inverse));
        }
    }

    /// Whether an interface of the host is to be made a port: it is there or made before, and neither a port of another bridge
    /// nor the host's own way to anybody, which the host would lose.
    fn joins(&self, port: &str, bridge: &str) -> bool {
        let Some(facts) = self.observed.links.get(port) else { return self.carries(port) };
        let goes_with_bridge = !self.is_there(bridge) && facts.controller == self.observed.number(bridge);
        let is_free = facts.controller.is_none() || goes_with_bridge;
        is_free && !self.observed.carries_addresses(facts.index)
    }

    /// A setting that exists, which those of IPv6 may not.
    fn sysctl(&mut self, path: &str, value: &str, step: fn(String, String) -> Step) {
        let old = self.observed.sysctls.get(path).map(String::as_str);
        let Some(old) = old.filter(|old| *old != value) else { return };
        let inverse = Step::SetSysctl { path: path.to_owned(), value: old.to_owned() };
        self.push(step(path.to_owned(), value.to_owned()), Some(inverse));
    }

    fn veths(&mut self) {
        for (name, veth) in &self.desired.veths {
            let link = name.clone();
            let there = self.is_there(name);
            if let Some(facts) = self.observed.links.get(name).filter(|facts| there && facts.mtu != veth.mtu)
            {
                let before = Veth { mtu: facts.mtu, ..veth.clone() };
                let [step, inverse] =
                    [veth, &before].map(|veth| Step::SetMtuOfVeth { name: link.clone(), veth: veth.clone() });
                self.push(step, Some(inverse));
            }
            if !there {
                let create = Step::CreateVeth { name: link.clone(), veth: veth.clone() };
                self.push(create, Some(Step::RemoveVeth { link: link.clone() }));
            }
            let mark = self.changes.len();
            self.put(|row| matches!(row, Row::Link { veth, .. } if veth == name));
            self.attach(Hook::FromContainer, name);
            // Taken back together with the pair.
            self.changes.iter_mut().skip(mark).for_each(|change| change.inverse = None);
            if let Some(bridge) = self.desired.bridges.get(&veth.bridge).filter(|it| it.borrowed && !there) {
                self.push(Step::SetMac { link: veth.bridge.clone(), mac: bridge.mac }, None);
            }
            if !there {
                self.push(Step::ConfigureInside { veth: veth.clone() }, None);
                let (bridge, isolated) = (veth.bridge.clone(), veth.isolated);
                self.push(Step::JoinBridge { link: link.clone(), bridge, isolated }, None);
                self.push(Step::SetUp { link }, None);
                if veth.on_lan {
                    self.push(Step::Announce(veth.inside.clone()), None);
                }
            }
        }
    }

    /// Without what it is a VLAN of, or while that is down, a VLAN is neither made nor brought up: nothing else waits for it.
    fn vlans(&mut self) {
        let desired = self.desired;
        for (name, vlan) in &desired.vlans {
            if !self.carries(&vlan.base) {
                continue;
            }
            let link = name.clone();
            let facts = self.observed.links.get(name);
            if facts.is_none() {
                let create = Step::CreateVlan { name: link.clone(), vlan: vlan.clone() };
                self.push(create, Some(Step::DeleteLinks { links: vec![link.clone()] }));
            }
            // One of somebody else's is down because they want it so.
            if facts.is_none_or(|facts| facts.ours() && !facts.up) {
                self.push(Step::SetUp { link }, None);
            }
        }
    }

    /// Whether an interface of the host is up, or is a VLAN that is made and brought up.
    fn carries(&self, name: &str) -> bool {
        let planned = || self.desired.vlans.get(name).is_some_and(|vlan| self.carries(&vlan.base));
        match self.observed.links.get(name) {
            Some(facts) => facts.up || facts.ours() && planned(),
            None => planned(),
        }
    }

    /// Whether an interface that is not there is made.
    fn is_made(&self, name: &str) -> bool {
        self.desired.has_link(name) && (!self.desired.vlans.contains_key(name) || self.carries(name))
    }

    fn lans(&mut self) {
        for (alias, lan) in &self.desired.lans {
            if !self.observed.lans.contains(alias) {
                let inverse = Step::RemoveLan { lan: lan.clone() };
                self.push(Step::CreateLan { lan: lan.clone() }, Some(inverse));
                self.push(Step::Announce(lan.inside.clone()), None);
            }
        }
    }

    /// Whether an interface of a namespace is made.
    fn makes(&self, netns: &Netns, ifname: &str) -> bool {
        let veths = self.desired.veths.iter().filter(|(name, _)| !self.is_there(name));
        let lans = self.desired.lans.iter().filter(|(alias, _)| !self.observed.lans.contains(*alias));
        let mut insides = veths.map(|(_, veth)| &veth.inside).chain(lans.map(|(_, lan)| &lan.inside));
        insides.any(|inside| (&inside.netns, inside.ifname.as_str()) == (netns, ifname))
    }

    /// After the interfaces: a way out is not changed for one that does not carry yet.
    fn lead_out(&mut self) {
        for ways in &self.desired.ways {
            let is_new = |ifname: &str| self.makes(&ways.netns, ifname);
            let before = ways.without(is_new);
            self.push(Step::LeadOut(ways.clone()), Some(Step::LeadOut(before)));
        }
    }

    /// What is in containers, or somebody else's.
    fn leave(&mut self, part: &Desired) {
        for (name, bridge) in part.bridges.iter().filter(|(_, bridge)| bridge.borrowed) {
            self.push(Step::LeaveBridge { name: name.clone(), bridge: bridge.clone() }, None);
        }
        for lan in part.lans.values() {
            self.push(Step::RemoveLan { lan: lan.clone() }, None);
        }
    }

    fn reach(&mut self) {
        self.put(|row| matches!(row, Row::Endpoint { .. } | Row::Trusted { .. }));
        let mark = self.changes.len();
        self.put(|row| matches!(row, Row::Port { .. }));
        self.put_new_ports_at_once(mark);
    }

    /// Joins the steps from a mark on that write rows which are not there.
    fn put_new_ports_at_once(&mut self, mark: usize) {
        let is_new = |change: &Change| matches!(change.inverse, Some(Step::Delete(_)));
        let (new, others): (Vec<_>, Vec<_>) = self.changes.drain(mark..).partition(is_new);
        self.changes.extend(others);
        if let [_, _, ..] = new.as_slice() {
            let rows = new.into_iter().filter_map(|change| match change.step {
                Step::Put(row) => Some(row),
                _ => None,
            });
            let rows: Arc<[Row]> = rows.collect();
            self.push(Step::PutPorts(Arc::clone(&rows)), Some(Step::DeletePorts(rows)));
        } else {
            self.changes.extend(new);
        }
    }

    fn attach(&mut self, hook: Hook, name: &str) {
        if self.number(name).is_some_and(|number| self.observed.hooks.contains(&(hook, number))) {
            return;
        }
        let link = name.to_owned();
        let inverse = Step::DetachHook { hook, link: Device::Named(link.clone()) };
        self.push(Step::AttachHook { hook, link }, Some(inverse));
    }

    /// The wanted rows that the maps lack or have with another value.
    fn put(&mut self, which: impl Fn(&Row) -> bool) {
        for row in self.desired.rows.iter().filter(|row| which(row)) {
            if row.trusted().is_some_and(|name| self.number(name).is_none() && !self.is_made(name)) {
                continue;
            }
            let entry = row.entry(|link| self.number(link));
            let old = entry.as_ref().and_then(|entry| self.observed.entries.get(&RowKey::of(entry)));
            if old.is_some() && old == entry.as_ref() {
                continue;
            }
            let inverse = match old {
                Some(old) => Step::Put(Row::Plain(old.clone())),
                None => Step::Delete(row.clone()),
            };
            self.push(Step::Put(row.clone()), Some(inverse));
        }
    }
}
