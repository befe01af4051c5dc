//! A world in memory that fails when it is told to, for the tests of `plan` and `reconcile`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::IpNet;

use crate::Error;
use crate::datapath::{Entry, Hook, XdpMode};
use crate::desired::{BridgeLink, Inside, RowKey, Veth, VlanLink};
use crate::model::{Bridge, GatewayMode, Host, Lease, Mac, vlan_of};
use crate::plan::{Device, LinkFacts, Observed, Step};
use crate::world::{Scope, World};

/// A lease that is two minutes long.
pub(crate) fn lease(since: u64) -> Lease {
    Lease {
        parent: "eth1".to_owned(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        hostname: "c1".to_owned(),
        address: "192.0.2.7/24".parse().unwrap(),
        gateway: None,
        name_servers: Vec::new(),
        mtu: None,
        routes: Vec::new(),
        server: Ipv4Addr::new(192, 0, 2, 1),
        server_mac: Mac([2, 0, 0, 0, 0, 9]),
        since,
        renew_after: 60,
        rebind_after: 105,
        ends_after: 120,
    }
}

/// A bridge without addresses.
pub(crate) fn bridge(number: u8) -> Bridge {
    Bridge {
        device: format!("br-{number}"),
        mac: Mac([2, 0, 0, 0, 1, number]),
        mtu: 1500,
        pool4: None,
        pool6: None,
        internal: false,
        icc: true,
        masquerade: true,
        gateway_mode4: GatewayMode::Nat,
        gateway_mode6: GatewayMode::Nat,
        trusted: BTreeSet::new(),
        allows_direct_routing: false,
        snat4: None,
        snat6: None,
        masquerade_exclude: BTreeSet::new(),
        udp_mapping: None,
        udp_filtering: None,
        dns: Vec::new(),
        host_binding: Ipv4Addr::UNSPECIFIED.into(),
        borrowed: None,
        parent: None,
        dhcp: false,
        inhibit_ipv4: false,
        routes: Vec::new(),
    }
}

/// What a test compares: everything but the numbers that the kernel counts on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct State {
    pub(crate) loaded: bool,
    pub(crate) links: BTreeMap<String, LinkFacts>,
    pub(crate) lans: BTreeSet<String>,
    pub(crate) insides: BTreeMap<String, Inside>,
    pub(crate) addresses: BTreeSet<(u32, IpNet)>,
    pub(crate) sysctls: BTreeMap<String, String>,
    pub(crate) remembered: BTreeMap<String, String>,
    pub(crate) hooks: BTreeSet<(Hook, u32)>,
    pub(crate) prefilters: BTreeMap<u32, XdpMode>,
    pub(crate) entries: BTreeMap<RowKey, Entry>,
    pub(crate) binds: bool,
    /// One flow of each: the veth and the address that it leads to.
    pub(crate) flows: BTreeSet<(u32, netdp_common::Addr)>,
}

/// The world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fake {
    pub(crate) state: State,
    pub(crate) host: Host,
    /// The step that fails, counted from 0 by [`Fake::taken`].
    pub(crate) fail_at: Option<usize>,
    /// From the failing step on everything fails, as it does for a process that is killed.
    pub(crate) crash: bool,
    /// A command was killed before.
    pub(crate) cut_short: bool,
    /// Steps taken so far, those of an undoing too.
    pub(crate) taken: usize,
    next_index: u32,
}

impl Fake {
    pub(crate) fn new(host: Host) -> Self {
        let mut fake = Self { host, next_index: 1, ..Self::default() };
        fake.add_foreign("lo");
        for uplink in fake.host.uplinks.clone() {
            fake.next_index = uplink.ifindex;
            fake.add_foreign(&uplink.name);
        }
        for path in crate::desired::host_sysctls().into_keys() {
            fake.state.sysctls.insert(path, "0".to_owned());
        }
        fake
    }

    /// Begins a flow to every container that can be reached.
    pub(crate) fn begin_flows(&mut self) {
        self.state.flows = self.reachable();
    }

    fn reachable(&self) -> BTreeSet<(u32, netdp_common::Addr)> {
        let row = |entry: &Entry| match entry {
            Entry::Endpoint(key, endpoint) => Some((endpoint.ifindex, key.addr)),
            _ => None,
        };
        self.state.entries.values().filter_map(row).collect()
    }

    pub(crate) fn add_foreign(&mut self, name: &str) {
        let mac = Mac([2; 6]);
        self.add_link(name, LinkFacts { index: 0, alias: None, mac, mtu: 1500, up: true, controller: None });
    }

    fn add_link(&mut self, name: &str, facts: LinkFacts) {
        let facts = LinkFacts { index: self.next_index, ..facts };
        self.next_index += 1;
        self.state.links.insert(name.to_owned(), facts);
    }

    fn link(&mut self, name: &str) -> Result<&mut LinkFacts, Error> {
        self.state.links.get_mut(name).ok_or_else(|| Error::LinkGone(name.to_owned()))
    }

    fn create_veth(&mut self, name: &str, veth: &Veth) -> Result<(), Error> {
        let taken = self
            .state
            .insides
            .values()
            .any(|inside| (&inside.netns, &inside.ifname) == (&veth.inside.netns, &veth.inside.ifname));
        if taken || self.state.links.contains_key(name) {
            return Err(Error::IfnameTaken(veth.inside.ifname.clone()));
        }
        let (alias, mac) = (Some(veth.alias.clone()), veth.host_mac);
        self.add_link(name, LinkFacts { index: 0, alias, mac, mtu: veth.mtu, up: false, controller: None });
        self.state.insides.insert(name.to_owned(), veth.inside.clone());
        Ok(())
    }

    /// As in the kernel the programs' pins outlive the link, and its settings and addresses do not.
    fn delete_link(&mut self, name: &str) {
        let Some(facts) = self.state.links.remove(name) else { return };
        self.state.insides.remove(name);
        self.state.addresses.retain(|(index, _)| *index != facts.index);
        self.state.sysctls.retain(|path, _| !path.contains(&format!("/{name}/")));
        for other in self.state.links.values_mut().filter(|other| other.controller == Some(facts.index)) {
            other.controller = None;
        }
    }

    fn unload(&mut self) {
        self.state.loaded = false;
        self.state.hooks.clear();
        self.state.prefilters.clear();
        self.state.entries.clear();
        self.state.binds = false;
    }

    fn hook(&mut self, hook: Hook, link: &Device) -> Result<(Hook, u32), Error> {
        assert!(self.state.loaded, "no programs to attach");
        match link {
            Device::Named(name) => Ok((hook, self.link(name)?.index)),
            Device::Numbered(number) => Ok((hook, *number)),
        }
    }

    fn entry(&self, row: &crate::desired::Row) -> Result<Entry, Error> {
        assert!(self.state.loaded, "no maps to write");
        let number = |link: &str| self.state.links.get(link).map(|facts| facts.index);
        row.entry(number).ok_or_else(|| Error::LinkGone(row.links().join(" or ")))
    }

    /// What must hold after every step: nothing that can send goes past a program, and the guard knows its
    /// address.
    fn check_safety(&self) {
        for (name, facts) in
            self.state.links.iter().filter(|(name, facts)| facts.up && name.starts_with("nd"))
        {
            assert!(
                self.state.hooks.contains(&(Hook::FromContainer, facts.index)),
                "{name} is up without program"
            );
            assert!(
                self.state.entries.contains_key(&RowKey::Link(facts.index)),
                "{name} is up without its row"
            );
            for uplink in &self.host.uplinks {
                assert!(self.state.hooks.contains(&(Hook::ToUplink, uplink.ifindex)), "no guard for {name}");
            }
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), Error> {
        match step {
            Step::LoadPrograms => self.state.loaded = true,
            Step::UnloadPrograms => self.unload(),
            Step::SetHostSysctl { path, value } => {
                let old = self.state.sysctls.insert(path.clone(), value.clone()).expect("there");
                self.state.remembered.entry(path.clone()).or_insert(old);
            }
            Step::RestoreHostSysctls => self.state.sysctls.append(&mut self.state.remembered),
            Step::SetSysctl { path, value } => {
                self.state.sysctls.insert(path.clone(), value.clone());
                // The real one puts the first value back; what is left to remember is no difference any more.
                self.state.remembered.retain(|remembered, first| remembered != path || first != value);
            }
            Step::ReserveBinds => self.state.binds = true,
            Step::ReleaseBinds => self.state.binds = false,
            Step::EndFlows => {
                let live = self.reachable();
                self.state.flows.retain(|flow| live.contains(flow));
            }
            Step::AttachHook { .. }
            | Step::DetachHook { .. }
            | Step::AttachPrefilter { .. }
            | Step::DetachPrefilter { .. }
            | Step::Put(_)
            | Step::Delete(_)
            | Step::PutPorts(_)
            | Step::DeletePorts(_) => {
                self.take_in_datapath(step)?;
            }
            _ => self.take_on_links(step)?,
        }
        Ok(())
    }

    fn take_in_datapath(&mut self, step: &Step) -> Result<(), Error> {
        match step {
            Step::AttachHook { hook, link } => {
                let key = self.hook(*hook, &Device::Named(link.clone()))?;
                self.state.hooks.insert(key);
            }
            Step::DetachHook { hook, link } => {
                let key = self.hook(*hook, link)?;
                self.state.hooks.remove(&key);
            }
            Step::AttachPrefilter { link, choice } => {
                let number = self.link(link)?.index;
                self.state.prefilters.insert(number, choice.modes(None)[0]);
            }
            Step::DetachPrefilter { link } => {
                let (_, number) = self.hook(Hook::FromUplink, link)?;
                self.state.prefilters.remove(&number);
            }
            Step::Put(row) => {
                let entry = self.entry(row)?;
                self.state.entries.insert(RowKey::of(&entry), entry);
            }
            Step::Delete(row) => {
                let entry = self.entry(row)?;
                self.state.entries.remove(&RowKey::of(&entry));
            }
            Step::PutPorts(rows) => {
                for row in rows.iter() {
                    let entry = self.entry(row)?;
                    self.state.entries.insert(RowKey::of(&entry), entry);
                }
            }
            Step::DeletePorts(rows) => {
                for row in rows.iter() {
                    let entry = self.entry(row)?;
                    self.state.entries.remove(&RowKey::of(&entry));
                }
            }
            other => panic!("not a step of the datapath: {other:?}"),
        }
        Ok(())
    }

    fn take_on_links(&mut self, step: &Step) -> Result<(), Error> {
        match step {
            Step::CreateBridge { name, bridge } => self.create_bridge(name, bridge),
            Step::CreateVlan { name, vlan } => self.create_vlan(name, vlan)?,
            Step::AddAddress { link, address } => {
                let index = self.link(link)?.index;
                self.state.addresses.insert((index, *address));
            }
            Step::SetMac { link, mac } => self.link(link)?.mac = *mac,
            Step::LeaveBridge { name, bridge } => {
                let index = self.link(name)?.index;
                self.state.addresses.retain(|(at, net)| *at != index || !bridge.addresses.contains(net));
            }
            Step::SetMtu { link, mtu } => self.link(link)?.mtu = *mtu,
            Step::SetMtuOfVeth { name, veth } => self.link(name)?.mtu = veth.mtu,
            Step::SetUp { link } => self.set_up(link)?,
            Step::CreateVeth { name, veth } => self.create_veth(name, veth)?,
            Step::ConfigureInside { veth } => {
                assert!(self.state.insides.values().any(|it| *it == veth.inside), "nothing to configure");
            }
            Step::LeadOut(_) | Step::Announce(_) => {}
            Step::CreateLan { lan } => drop(self.state.lans.insert(lan.alias.clone())),
            Step::RemoveLan { lan } => drop(self.state.lans.remove(&lan.alias)),
            Step::JoinBridge { link, bridge, .. } => {
                let bridge = self.link(bridge)?.index;
                self.link(link)?.controller = Some(bridge);
            }
            Step::FreePort { link } => self.link(link)?.controller = None,
            Step::RemoveVeth { link } => {
                let number = self.state.links.get(link).map(|facts| facts.index);
                self.delete_link(link);
                self.state.hooks.retain(|(_, hooked)| Some(*hooked) != number);
                self.state.entries.retain(|key, _| Some(*key) != number.map(RowKey::Link));
            }
            Step::DeleteLinks { links } => links.iter().for_each(|link| self.delete_link(link)),
            other => panic!("not a step on links: {other:?}"),
        }
        Ok(())
    }

    fn create_vlan(&mut self, name: &str, vlan: &VlanLink) -> Result<(), Error> {
        assert!(!self.state.links.contains_key(name), "{name} twice");
        let (mac, mtu) = {
            let base = self.link(&vlan.base)?;
            (base.mac, base.mtu)
        };
        let alias = Some(vlan.alias.clone());
        self.add_link(name, LinkFacts { index: 0, alias, mac, mtu, up: false, controller: None });
        Ok(())
    }

    /// As in the kernel a VLAN is not up while what it is one of is not.
    fn set_up(&mut self, name: &str) -> Result<(), Error> {
        if let Some((base, _)) = vlan_of(name)
            && !self.link(base)?.up
        {
            return Err(Error::Unsupported(format!("{name} of {base}, which is down,")));
        }
        self.link(name)?.up = true;
        Ok(())
    }

    fn create_bridge(&mut self, name: &str, bridge: &BridgeLink) {
        assert!(!self.state.links.contains_key(name), "{name} twice");
        let (alias, mac) = (Some(bridge.alias.clone()), bridge.mac);
        let facts = LinkFacts { index: 0, alias, mac, mtu: bridge.mtu, up: false, controller: None };
        self.add_link(name, facts);
    }
}

impl World for Fake {
    async fn observe(&mut self, scope: Scope<'_>) -> Result<Observed, Error> {
        let state = self.state.clone();
        let mut observed = Observed {
            loaded: state.loaded,
            links: state.links,
            lans: state.lans,
            addresses: state.addresses,
            sysctls: state.sysctls,
            hooks: state.hooks,
            prefilters: state.prefilters,
            without_prefilter: BTreeSet::new(),
            entries: state.entries,
            binds: state.binds,
            cut_short: self.cut_short,
            whole: true,
            host: self.host.clone(),
        };
        let Scope::Of(desired) = scope else { return Ok(observed) };
        let bridges = desired.veths.values().map(|veth| &veth.bridge);
        let ports = desired.bridges.values().filter_map(|bridge| bridge.port.as_ref());
        let vlans = desired.vlans.iter().flat_map(|(name, vlan)| [name, &vlan.base]);
        let links = desired.veths.keys().chain(desired.bridges.keys());
        let names: BTreeSet<&String> = links.chain(bridges).chain(ports).chain(vlans).collect();
        observed.links.retain(|name, _| names.contains(name));
        let hooked: Vec<_> = desired.hooks.iter().filter_map(|(_, link)| observed.number(link)).collect();
        observed.hooks.retain(|(_, number)| hooked.contains(number));
        let number = |link: &str| Some(self.state.links.get(link).map_or(0, |facts| facts.index));
        let keys: BTreeSet<RowKey> =
            desired.rows.iter().filter_map(|row| row.entry(number)).map(|entry| RowKey::of(&entry)).collect();
        observed.entries.retain(|key, _| keys.contains(key));
        observed.prefilters.clear();
        observed.whole = false;
        observed.host = Host::default();
        Ok(observed)
    }

    async fn apply(&mut self, step: &Step) -> Result<(), Error> {
        let number = self.taken;
        self.taken += 1;
        let failing = self.fail_at.is_some_and(|at| number == at || (self.crash && number > at));
        if failing {
            return Err(Error::Unsupported(format!("step {number}")));
        }
        self.take(step)?;
        self.check_safety();
        Ok(())
    }
}
