//! One packet through one program, from fresh maps: verdict, bytes, and the exact change of state.
//!
//! A [`Machine`] is a namespace with the interfaces that the programs ask the kernel about, and the programs
//! loaded into maps of their own. The kernel runs a program by `BPF_PROG_TEST_RUN`, so nothing is really sent:
//! where a packet would go is the verdict, and the redirect helper has checked its arguments.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, Queue, RingBuf};
use aya::programs::{Program, ProgramError, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader, Pod, TestRun, TestRunOptions, VerifierLogLevel};
use netdp::datapath::{OBJECT, refusal};
use netdp_common::fragments::{self, Pending};
use netdp_common::{
    Addr, Backend, Count, Destination, DestinationKey, Endpoint, EndpointKey, Event, Flow, FlowKey, Limit,
    Link, Mac, Mapping, MappingKey, Payer, Place, Port, PortKey, Quota, Reason, Release, Source, SourceKey,
    SubnetKey, Uplink, names, quota, timers,
};
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::namespace::{Namespace, private_dir};
use crate::pool::{self, Slot};

/// Verdict: the next program, or the kernel, decides (`TCX_NEXT`).
pub const NEXT: i32 = -1;
/// Verdict: the packet is dropped (`TC_ACT_SHOT`).
pub const DROP: i32 = 2;
/// Verdict: a redirect helper has taken the packet (`TC_ACT_REDIRECT`).
pub const REDIRECT: i32 = 7;

/// Stands for [`Flow::seen`] of a flow that was seen just now, so that a test can say so.
pub const JUST_NOW: u32 = u32::MAX;

/// A stamp that is at most this many ticks old is [`JUST_NOW`].
const FRESH_TICKS: u32 = 3;

/// Entries of the flow table of a machine, few enough to fill: two per flow.
pub const FLOW_ENTRIES: u32 = 64;
/// As many flows.
pub const FLOW_CAPACITY: u32 = FLOW_ENTRIES / 2;

/// How large the flow table and its ledger are.
#[derive(Debug, Clone, Copy)]
enum Tables {
    /// [`FLOW_ENTRIES`].
    Small,
    /// As the object says.
    AsShipped,
}

/// What a machine's interfaces are called.
const INTERFACES: [&str; 4] = ["c1", "c2", "d1", "up0"];

/// Makes the interfaces: two containers of one network on `br0`, one of another on `br1`, and an uplink. In one process,
/// because an emulated processor needs a tenth of a second to start one.
const FURNISH: &str = "\
ip -batch - <<END
link add br0 up type bridge
link add br1 up type bridge
address add 172.17.0.1/16 dev br0
address add 172.18.0.1/16 dev br1
link add c1 up master br0 type veth peer name c1-peer
link add c2 up master br0 type veth peer name c2-peer
link add d1 up master br1 type veth peer name d1-peer
link add up0 up type veth peer name up0-peer
link set c1-peer up
link set c2-peer up
link set d1-peer up
link set up0-peer up
address add 203.0.113.10/24 dev up0
route add default via 203.0.113.1
address add 2001:db8:17::1/64 dev br0 nodad
address add 2001:db8:18::1/64 dev br1 nodad
address add 2001:db8:10::10/64 dev up0 nodad
route add 2001:db8:7::/48 via 2001:db8:10::1
END";

/// A namespace with interfaces, and the programs in fresh maps.
#[derive(Debug)]
pub struct Machine {
    ns: Namespace,
    ebpf: Ebpf,
    indices: BTreeMap<&'static str, u32>,
    macs: BTreeMap<&'static str, Mac>,
    slot: Option<Slot>,
}

/// Everything that the programs may write.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    /// When it was read.
    ticks: u32,
    /// As they are.
    flows: BTreeMap<FlowKey, Flow>,
    counts: BTreeMap<u32, Count>,
    swept: u32,
}

/// Everything that the controller writes: no program may change it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Settings {
    links: BTreeMap<u32, Link>,
    endpoints: BTreeMap<EndpointKey, Endpoint>,
    ports: BTreeMap<PortKey, Backend>,
    sources: BTreeSet<SourceKey>,
    subnets: BTreeMap<SubnetKey, u32>,
    denied: BTreeMap<SubnetKey, u32>,
    wire: u32,
    uplinks: BTreeMap<u32, Uplink>,
    host_addrs: BTreeMap<Addr, u32>,
}

/// What one run has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Flow entries that are new or other than before, as they are now; `None` for those that are gone.
    pub flows: BTreeMap<FlowKey, Option<Flow>>,
    /// What was added to the counters.
    pub counts: BTreeMap<u32, Count>,
    /// Whether a full table was swept.
    pub swept: bool,
    /// Events that were emitted.
    pub events: Vec<Event>,
}

/// What one run gave.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// [`NEXT`], [`DROP`], [`REDIRECT`] or another.
    pub verdict: i32,
    /// The frame that was put in.
    pub given: Vec<u8>,
    /// The frame as it is afterwards.
    pub bytes: Vec<u8>,
    /// What is different in the maps.
    pub change: Change,
    /// The interface at which it ran.
    pub ifindex: u32,
}

/// Every program that sees socket buffers.
pub const PROGRAMS: [&str; 6] = [
    names::FROM_CONTAINER,
    names::FROM_UPLINK,
    names::TO_UPLINK,
    names::TO_BRIDGE,
    names::FROM_HOST,
    names::FROM_FRAGMENTS,
];

/// `struct __sk_buff` as far as the kernel takes it from a test: 192 bytes of which only the interface that the frame
/// came in by and the one that it is at are set.
fn context(ingress: u32, ifindex: u32) -> [u8; 192] {
    let mut bytes = [0; 192];
    bytes[36..40].copy_from_slice(&ingress.to_ne_bytes());
    bytes[40..44].copy_from_slice(&ifindex.to_ne_bytes());
    bytes
}

/// `struct xdp_md` as far as the kernel takes it from a test: 24 bytes, the end of the data and the interface that the
/// frame came in by.
pub fn xdp_context(ifindex: u32, length: usize) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[4..8].copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
    bytes[12..16].copy_from_slice(&ifindex.to_ne_bytes());
    bytes
}

/// The verdict of an XDP program (`enum xdp_action`), as that of the others.
pub fn xdp_verdict(action: u32) -> i32 {
    match action {
        1 => DROP,
        2 => NEXT,
        other => panic!("XDP action {other}"),
    }
}

impl Machine {
    /// Makes the interfaces and the maps, which are empty. A program is loaded when it is first run: verifying all of
    /// them for each test would be most of its time.
    #[expect(clippy::new_without_default, reason = "it makes a namespace: nothing that a default should do")]
    pub fn new() -> Self {
        let mut machine = Self::with_tables(Tables::Small);
        // Of so small a table, none is kept for published ports unless a test says so.
        machine.put_limit(Limit::Reserve, 0);
        machine
    }

    /// The same with tables of the size that a host has: for many flows.
    pub fn full_size() -> Self {
        Self::with_tables(Tables::AsShipped)
    }

    fn with_tables(tables: Tables) -> Self {
        let ns = Namespace::new(&private_dir(), "machine");
        ns.sh(FURNISH).done();
        for bridge in ["br0", "br1"] {
            for family in ["ipv4", "ipv6"] {
                ns.set_sysctl(&format!("net/{family}/conf/{bridge}/forwarding"), "1");
            }
        }
        let slot = Slot::take();
        let ebpf = open_object(slot.as_ref(), tables);
        let listed: Value = ns.sh("ip -j link show").json();
        let (mut indices, mut macs) = (BTreeMap::new(), BTreeMap::new());
        for name in INTERFACES.into_iter().chain(["br0", "br1", "lo"]) {
            let link = listed.as_array().unwrap().iter().find(|link| link["ifname"] == name).unwrap();
            indices.insert(name, u32::try_from(link["ifindex"].as_u64().unwrap()).unwrap());
            macs.insert(name, parse_mac(link["address"].as_str().unwrap()));
        }
        let mut machine = Self { ns, ebpf, indices, macs, slot };
        if machine.slot.is_some() {
            machine.forget();
        }
        machine
    }

    /// Empties what a test before this one has left in maps that are shared. Counters are compared and not read.
    fn forget(&mut self) {
        self.clear::<u32, Link>(names::LINKS);
        self.clear::<EndpointKey, Endpoint>(names::ENDPOINTS);
        self.clear::<PortKey, Backend>(names::PORTS);
        self.clear::<u32, Uplink>(names::UPLINKS);
        self.clear::<Addr, u32>(names::HOST_ADDRS);
        self.forget_flows();
        let mut ledger = Array::<_, FlowKey>::try_from(self.ebpf.map_mut(names::LEDGER).unwrap()).unwrap();
        (0..ledger.len()).for_each(|slot| ledger.set(slot, FlowKey::NONE, 0).unwrap());
        self.clear_prefixes::<Addr>(names::SUBNETS);
        self.clear_prefixes::<Addr>(names::DENY);
        self.clear_prefixes::<Source>(names::SOURCES);
        self.clear_prefixes::<Destination>(names::EXCLUDED);
        self.clear::<FlowKey, FlowKey>(names::FRAGMENTS);
        self.clear::<u32, Pending>(names::PENDING);
        for name in [names::WIRE, names::SETTINGS, names::SWEPT, names::SORTER] {
            let mut rows = Array::<_, u32>::try_from(self.ebpf.map_mut(name).unwrap()).unwrap();
            (0..rows.len()).for_each(|row| rows.set(row, 0, 0).unwrap());
        }
        self.drain_events();
    }

    /// Forgets every flow, and what is kept of it elsewhere.
    pub fn forget_flows(&mut self) {
        self.let_go();
        self.clear::<FlowKey, Flow>(names::FLOWS);
        self.clear::<MappingKey, Mapping>(names::MAPPINGS);
        self.clear::<Payer, Quota>(names::QUOTAS);
        self.clear::<Place, FlowKey>(names::HALF_OPEN);
        while self.released().pop(0).is_ok() {}
    }

    /// Takes these flows out of the ledger, of which each stands behind its place or nowhere.
    fn strike(&mut self, replies: &[FlowKey]) {
        let mut ledger = Array::<_, FlowKey>::try_from(self.ebpf.map_mut(names::LEDGER).unwrap()).unwrap();
        for key in replies {
            let first = quota::ledger_slot(key);
            let mut slots = (0..quota::LEDGER_TRIES).map(|n| first.wrapping_add(n) % ledger.len());
            if let Some(slot) = slots.find(|slot| ledger.get(slot, 0).unwrap() == *key) {
                ledger.set(slot, FlowKey::NONE, 0).unwrap();
            }
        }
    }

    /// Frees the ports of the flows that are there. Nobody asks about others, and there are too many to look at each.
    fn let_go(&mut self) {
        let flows = self.flows();
        let replies: Vec<FlowKey> =
            flows.iter().filter(|(_, flow)| flow.is_reply()).map(|(key, _)| *key).collect();
        self.strike(&replies);
        let flows: Vec<FlowKey> = flows.into_keys().collect();
        for port in flows.iter().flat_map(|key| [key.sport, key.dport]) {
            self.put_held(port, 0);
        }
        self.set_unasked(|_| None);
    }

    /// Has a container be seen by a port of TCP for this many ticks; none is as if it never had been.
    pub fn put_held(&mut self, port: Port, ticks: u32) {
        let until = if ticks == 0 { 0 } else { now_ticks() + ticks };
        let mut held = Array::<_, u32>::try_from(self.ebpf.map_mut(names::HELD).unwrap()).unwrap();
        held.set(port.get().into(), until, 0).unwrap();
    }

    /// Writes when each SYN came that nobody asked for, in nanoseconds, or forgets it.
    pub fn set_unasked(&mut self, came: impl Fn(&FlowKey) -> Option<u64>) {
        let rows: BTreeMap<FlowKey, u64> = self.rows(names::UNASKED);
        let mut map = self.hash::<FlowKey, u64>(names::UNASKED);
        for key in rows.into_keys() {
            match came(&key) {
                Some(at) => map.insert(key, at, 0).unwrap(),
                None => map.remove(&key).unwrap(),
            }
        }
    }

    fn clear<K: Pod, V: Pod>(&mut self, name: &str) {
        let mut rows = self.hash::<K, V>(name);
        let keys: Vec<K> = rows.keys().map(Result::unwrap).collect();
        for key in &keys {
            rows.remove(key).unwrap();
        }
    }

    fn clear_prefixes<K: Pod>(&mut self, name: &str) {
        let mut rows = LpmTrie::<_, K, u32>::try_from(self.ebpf.map_mut(name).unwrap()).unwrap();
        let keys: Vec<Key<K>> = rows.keys().map(Result::unwrap).collect();
        for key in &keys {
            rows.remove(key).unwrap();
        }
    }

    /// The namespace, for sockets that hold ports.
    pub fn ns(&self) -> &Namespace {
        &self.ns
    }

    /// Index of `c1`, `c2`, `d1`, `up0`, `br0`, `br1` or `lo`.
    pub fn ifindex(&self, name: &str) -> u32 {
        self.indices[name]
    }

    /// MAC of an interface of the machine.
    pub fn mac(&self, name: &str) -> Mac {
        self.macs[name]
    }

    /// Writes what a container may send, and where it is reached.
    pub fn put_endpoint(&mut self, link: Link, ifindex: u32) {
        for addr in [link.addr4, link.addr6].into_iter().filter(|addr| *addr != Addr::UNSPECIFIED) {
            let (key, endpoint) = (
                EndpointKey { addr, network: link.network },
                Endpoint { ifindex, mac: link.mac, pad: [0; 2] },
            );
            self.hash(names::ENDPOINTS).insert(key, endpoint, 0).unwrap();
        }
        self.hash(names::LINKS).insert(ifindex, link, 0).unwrap();
    }

    /// What the container at this interface may send.
    pub fn link(&mut self, interface: &str) -> Link {
        let ifindex = self.ifindex(interface);
        self.hash(names::LINKS).get(&ifindex, 0).unwrap()
    }

    /// Publishes a port.
    pub fn put_port(&mut self, key: PortKey, backend: Backend) {
        self.hash(names::PORTS).insert(key, backend, 0).unwrap();
    }

    /// Withdraws a published port.
    pub fn remove_port(&mut self, key: &PortKey) {
        self.hash::<PortKey, Backend>(names::PORTS).remove(key).unwrap();
    }

    /// Lets sources of this prefix use a published port that is not for everybody.
    pub fn put_source(&mut self, key: SourceKey) {
        let map = self.ebpf.map_mut(names::SOURCES).unwrap();
        let mut trie = LpmTrie::<_, Source, u32>::try_from(map).unwrap();
        trie.insert(&Key::new(key.bits(), key.source), key.bits(), 0).unwrap();
    }

    /// Has a network reach a prefix untranslated.
    pub fn put_excluded(&mut self, key: DestinationKey) {
        let map = self.ebpf.map_mut(names::EXCLUDED).unwrap();
        let mut trie = LpmTrie::<_, Destination, u32>::try_from(map).unwrap();
        trie.insert(&Key::new(key.bits(), key.destination), key.bits(), 0).unwrap();
    }

    /// Whether the kernel finds a prefix that this source is in, as the programs look it up.
    pub fn lists(&self, source: Source) -> bool {
        let trie = LpmTrie::<_, Source, u32>::try_from(self.map(names::SOURCES)).unwrap();
        trie.get(&Key::new(Source::BITS, source), 0).is_ok()
    }

    /// Tells of a container subnet.
    pub fn put_subnet(&mut self, network: Ipv4Addr, prefix: u32, id: u32) {
        self.put_subnet_of(network.into(), 96 + prefix, id);
    }

    /// Tells of a container subnet of either family; the length is that of the 128-bit form.
    pub fn put_subnet_of(&mut self, network: IpAddr, prefix_len: u32, id: u32) {
        let map = self.ebpf.map_mut(names::SUBNETS).unwrap();
        let mut trie = LpmTrie::<_, Addr, u32>::try_from(map).unwrap();
        trie.insert(&Key::new(prefix_len, network.into()), id, 0).unwrap();
    }

    /// Tells of an uplink.
    pub fn put_uplink(&mut self, ifindex: u32, uplink: Uplink) {
        self.hash(names::UPLINKS).insert(ifindex, uplink, 0).unwrap();
    }

    /// Tells of an address of the host.
    pub fn put_host_addr(&mut self, address: impl Into<IpAddr>) {
        self.hash(names::HOST_ADDRS).insert(Addr::from(address.into()), 1_u32, 0).unwrap();
    }

    /// Seeds one entry of the flow table, and the ledger with it; [`JUST_NOW`] in `seen` becomes the present tick. Nobody pays.
    pub fn put_flow(&mut self, key: FlowKey, mut flow: Flow) {
        if flow.seen == JUST_NOW {
            flow.seen = now_ticks();
        }
        self.hash(names::FLOWS).insert(key, flow, 0).unwrap();
        if flow.is_reply() {
            let mut ledger =
                Array::<_, FlowKey>::try_from(self.ebpf.map_mut(names::LEDGER).unwrap()).unwrap();
            let slots = (0..ledger.len()).map(|n| (quota::ledger_slot(&key) + n) % FLOW_ENTRIES);
            let free = |slot: &u32| [FlowKey::NONE, key].contains(&ledger.get(slot, 0).unwrap());
            let slot = slots.into_iter().find(free).expect("a free slot of the ledger");
            ledger.set(slot, key, 0).unwrap();
        }
    }

    /// Sets a limit.
    pub fn put_limit(&mut self, limit: Limit, value: u32) {
        let map = self.ebpf.map_mut(names::SETTINGS).unwrap();
        Array::<_, u32>::try_from(map).unwrap().set(limit.row(), Limit::to_row(value), 0).unwrap();
    }

    /// What a payer has; nothing when it was never asked to pay.
    pub fn used(&self, payer: Payer) -> i64 {
        let rows: BTreeMap<Payer, Quota> = self.rows(names::QUOTAS);
        rows.get(&payer).map_or(0, |row| row.used.cast_signed())
    }

    /// Has a payer have so much already.
    pub fn put_used(&mut self, payer: Payer, used: u64) {
        self.hash(names::QUOTAS).insert(payer, Quota { used, ..Quota::NONE }, 0).unwrap();
    }

    /// Gives back as a controller does.
    pub fn release(&mut self, payer: Payer, count: u64) {
        self.released().push(Release { payer, count }, 0).unwrap();
    }

    fn released(&mut self) -> Queue<&mut MapData, Release> {
        Queue::try_from(self.ebpf.map_mut(names::RELEASED).unwrap()).unwrap()
    }

    /// Deletes one entry of the flow table.
    pub fn forget_flow(&mut self, key: FlowKey) {
        self.hash::<FlowKey, Flow>(names::FLOWS).remove(&key).unwrap();
    }

    /// The flow table as it is.
    pub fn flows(&self) -> BTreeMap<FlowKey, Flow> {
        let now = now_ticks();
        self.state().flows.into_iter().map(|(key, flow)| (key, stamped(flow, now))).collect()
    }

    /// Refuses a prefix, whose length is that of the 128-bit form.
    pub fn put_denied(&mut self, network: IpAddr, prefix_len: u32) {
        let map = self.ebpf.map_mut(names::DENY).unwrap();
        let mut trie = LpmTrie::<_, Addr, u32>::try_from(map).unwrap();
        let network = Addr::from(network);
        trie.insert(&Key::new(prefix_len, network), prefix_len, 0).unwrap();
    }

    /// Sets the flags of what is taken from the wire.
    pub fn put_wire(&mut self, flags: u32) {
        Array::<_, u32>::try_from(self.ebpf.map_mut(names::WIRE).unwrap()).unwrap().set(0, flags, 0).unwrap();
    }

    /// Has fragments be put in order behind this interface.
    pub fn put_sorter(&mut self, interface: &str) {
        let ifindex = self.indices[interface];
        let mut slot = Array::<_, u32>::try_from(self.ebpf.map_mut(names::SORTER).unwrap()).unwrap();
        slot.set(0, ifindex, 0).unwrap();
    }

    /// Has so many bytes of fragments that came in by this interface be waiting for others, for as long as the kernel
    /// waits.
    pub fn put_pending(&mut self, interface: &str, bytes: u32) {
        let (window, ifindex) = (early_window(), self.indices[interface]);
        self.hash(names::PENDING).insert(ifindex, Pending { window, bytes }, 0).unwrap();
    }

    /// How many are.
    pub fn pending(&self, interface: &str) -> u32 {
        let all: BTreeMap<u32, Pending> = self.rows(names::PENDING);
        all.get(&self.indices[interface]).map_or(0, |pending| pending.bytes)
    }

    /// Sends a frame through a program as if it were at the hook of this interface.
    pub fn run(&mut self, program: &str, interface: &str, frame: &[u8]) -> Outcome {
        self.run_routed(program, 0, interface, frame)
    }

    /// The same with a frame that had come in by the interface `ingress`, or by none when that is zero.
    pub fn run_routed(&mut self, program: &str, ingress: u32, interface: &str, frame: &[u8]) -> Outcome {
        let ifindex = self.indices[interface];
        // Under emulation it takes seconds, in which what was seeded just now would become old.
        self.make_ready(program);
        let (settings, before) = (self.settings(), self.state());
        self.drain_events();
        let (verdict, bytes) = self.test_run(program, (ingress, ifindex), frame);
        assert_eq!(self.settings(), settings, "{program} changed a map of the controller");
        let change = difference(&before, &self.state(), self.drain_events());
        Outcome { verdict, given: frame.to_vec(), bytes, change, ifindex }
    }

    /// Sends a frame through a program and gives the verdict alone: for very many.
    pub fn judge(&mut self, program: &str, interface: &str, frame: &[u8]) -> i32 {
        let ifindex = self.indices[interface];
        self.test_run(program, (0, ifindex), frame).0
    }

    /// What was counted until now, by [`Reason`]'s number.
    pub fn counts(&self) -> BTreeMap<u32, Count> {
        let counters = PerCpuArray::<_, Count>::try_from(self.map(names::COUNTERS)).unwrap();
        let total = |slot| sum(&counters.get(&slot, 0).unwrap());
        (0..counters.len()).map(|slot| (slot, total(slot))).collect()
    }

    /// The context of a frame at this interface, as the kernel takes it from a test; none for `lo`, which it takes by itself.
    pub fn context(&self, interface: &str) -> Option<[u8; 192]> {
        let ifindex = self.indices[interface];
        (ifindex > 1).then(|| context(0, ifindex))
    }

    /// A program, loaded: for who runs it by other means.
    pub fn loaded(&mut self, name: &str) -> &mut Program {
        self.make_ready(name);
        self.ebpf.program_mut(name).unwrap()
    }

    /// How long the program takes for this frame, in nanoseconds: the median of so many runs, each with a frame of its own, for
    /// a program that has run once would find its own work in it.
    pub fn cost(&mut self, program: &str, interface: &str, frame: &[u8], runs: usize) -> u64 {
        let context = context(0, self.indices[interface]);
        self.make_ready(program);
        let (ns, program) = (&self.ns, classifier(&mut self.ebpf, program));
        let mut took: Vec<u64> = ns.enter(|| {
            let run = |_| {
                let mut options = TestRunOptions::new();
                options.data_in = Some(frame);
                options.ctx_in = Some(&context[..]);
                let duration = program.test_run(options).unwrap().duration;
                u64::try_from(duration.as_nanos()).unwrap()
            };
            (0..runs).map(run).collect()
        });
        took.sort_unstable();
        took[runs / 2]
    }

    /// Sets a row of the timers, in ticks.
    pub fn put_timer(&mut self, state: timers::State, row: u32) {
        let map = self.ebpf.map_mut(names::SETTINGS).unwrap();
        Array::<_, u32>::try_from(map).unwrap().set(state.number().into(), row, 0).unwrap();
    }

    /// Has a program loaded.
    fn make_ready(&mut self, name: &str) {
        let ready = match name {
            names::PREFILTER => {
                let program = xdp(&mut self.ebpf, name);
                if program.fd().is_ok() { Ok(()) } else { program.load() }
            }
            _ => pool::ready(classifier(&mut self.ebpf, name), self.slot.as_ref(), name),
        };
        ready.unwrap_or_else(|e| panic!("{name}: {}", refusal(&e)));
    }

    fn test_run(&mut self, name: &str, (ingress, ifindex): (u32, u32), frame: &[u8]) -> (i32, Vec<u8>) {
        if name == names::PREFILTER {
            return self.xdp_run(name, ifindex, frame);
        }
        let mut out = vec![0; frame.len() + 256];
        let context = context(ingress, ifindex);
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        // `lo` is what the kernel takes by itself, and it refuses index 1 in a context.
        options.ctx_in = (ifindex > 1).then_some(&context[..]);
        self.make_ready(name);
        let (ns, program) = (&self.ns, classifier(&mut self.ebpf, name));
        let result = ns.enter(|| program.test_run(options)).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        out.truncate(usize::try_from(result.data_size_out).unwrap());
        (result.return_value.cast_signed(), out)
    }

    fn xdp_run(&mut self, name: &str, ifindex: u32, frame: &[u8]) -> (i32, Vec<u8>) {
        let mut out = vec![0; frame.len() + 256];
        let context = xdp_context(ifindex, frame.len());
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        options.ctx_in = Some(&context);
        self.make_ready(name);
        let (ns, program) = (&self.ns, xdp(&mut self.ebpf, name));
        let result = ns.enter(|| program.test_run(options)).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        out.truncate(usize::try_from(result.data_size_out).unwrap());
        (xdp_verdict(result.return_value), out)
    }

    pub(crate) fn map_mut(&mut self, name: &str) -> &mut Map {
        self.ebpf.map_mut(name).unwrap_or_else(|| panic!("no map {name}"))
    }

    pub(crate) fn program_mut(&mut self, name: &str) -> &mut Program {
        self.ebpf.program_mut(name).unwrap_or_else(|| panic!("no program {name}"))
    }

    fn hash<K: Pod, V: Pod>(&mut self, name: &str) -> HashMap<&mut MapData, K, V> {
        HashMap::try_from(self.ebpf.map_mut(name).unwrap()).unwrap()
    }

    fn map(&self, name: &str) -> &Map {
        self.ebpf.map(name).unwrap_or_else(|| panic!("no map {name}"))
    }

    fn rows<K: Pod + Ord, V: Pod>(&self, name: &str) -> BTreeMap<K, V> {
        HashMap::<_, K, V>::try_from(self.map(name)).unwrap().iter().map(Result::unwrap).collect()
    }

    fn prefixes(&self, name: &str) -> BTreeMap<SubnetKey, u32> {
        let trie = LpmTrie::<_, Addr, u32>::try_from(self.map(name)).unwrap();
        let row =
            |(key, id): (Key<Addr>, u32)| (SubnetKey { prefix_len: key.prefix_len(), addr: key.data() }, id);
        trie.iter().map(|found| row(found.unwrap())).collect()
    }

    fn settings(&self) -> Settings {
        let sources = LpmTrie::<_, Source, u32>::try_from(self.map(names::SOURCES)).unwrap();
        let source = |(key, bits): (Key<Source>, u32)| {
            assert_eq!(key.prefix_len(), bits, "the value is the length of the prefix");
            SourceKey::from_bits(bits, key.data())
        };
        Settings {
            links: self.rows(names::LINKS),
            endpoints: self.rows(names::ENDPOINTS),
            ports: self.rows(names::PORTS),
            sources: sources.iter().map(|row| source(row.unwrap())).collect(),
            subnets: self.prefixes(names::SUBNETS),
            denied: self.prefixes(names::DENY),
            wire: Array::<_, u32>::try_from(self.map(names::WIRE)).unwrap().get(&0, 0).unwrap(),
            uplinks: self.rows(names::UPLINKS),
            host_addrs: self.rows(names::HOST_ADDRS),
        }
    }

    fn state(&self) -> State {
        let ticks = now_ticks();
        let counts = self.counts();
        let swept = Array::<_, u32>::try_from(self.map(names::SWEPT)).unwrap().get(&0, 0).unwrap();
        State { ticks, flows: self.rows(names::FLOWS), counts, swept }
    }

    fn drain_events(&mut self) -> Vec<Event> {
        let mut ring = RingBuf::try_from(self.ebpf.map_mut(names::EVENTS).unwrap()).unwrap();
        let mut events = Vec::new();
        while let Some(record) = ring.next() {
            events.push(Event::decode(&record).expect("a record of another length than an event"));
        }
        events
    }
}

fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut SchedClassifier {
    let program = ebpf.program_mut(name).unwrap_or_else(|| panic!("no program {name}"));
    program.try_into().unwrap()
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a mut Xdp {
    let program = ebpf.program_mut(name).unwrap_or_else(|| panic!("no program {name}"));
    program.try_into().unwrap()
}

fn sum(values: &[Count]) -> Count {
    let packets = values.iter().map(|count| count.packets).sum();
    Count { packets, bytes: values.iter().map(|count| count.bytes).sum() }
}

/// The flow with the stamp [`JUST_NOW`] if it is one of a time or later. The programs read a coarse clock, which may be a
/// little behind that of the tests.
fn stamped(flow: Flow, since: u32) -> Flow {
    let is_fresh = flow.seen.wrapping_sub(since.wrapping_sub(FRESH_TICKS)).cast_signed() >= 0;
    Flow { seen: if is_fresh { JUST_NOW } else { flow.seen }, ..flow }
}

/// What a packet changed, which came after `before` was read, however long ago that is by now.
fn difference(before: &State, after: &State, events: Vec<Event>) -> Change {
    let mut flows = BTreeMap::new();
    for (key, flow) in &after.flows {
        let flow = stamped(*flow, before.ticks);
        if before.flows.get(key).map(|old| stamped(*old, before.ticks)) != Some(flow) {
            flows.insert(*key, Some(flow));
        }
    }
    for key in before.flows.keys().filter(|key| !after.flows.contains_key(*key)) {
        flows.insert(*key, None);
    }
    let added = |slot: u32, count: &Count| {
        let old = before.counts[&slot];
        Count { packets: count.packets - old.packets, bytes: count.bytes - old.bytes }
    };
    let counts = after.counts.iter().map(|(slot, count)| (*slot, added(*slot, count)));
    let counts = counts.filter(|(_, count)| *count != Count::default()).collect();
    Change { flows, counts, swept: before.swept != after.swept, events }
}

/// The present time as the programs count it.
pub fn now_ticks() -> u32 {
    timers::ticks(monotonic_ns())
}

/// The window in which fragments are counted now. It does not end before the packets of a test have gone through a
/// program: one that would is waited out.
fn early_window() -> u32 {
    const ENOUGH_NS: u64 = 2_000_000_000;
    let window = fragments::window(monotonic_ns() + ENOUGH_NS);
    while fragments::window(monotonic_ns()) != window {
        thread::sleep(Duration::from_millis(50));
    }
    window
}

/// The same in nanoseconds, by the coarse clock that the programs read.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).unwrap();
    u64::try_from(now.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap()
}

fn parse_mac(text: &str) -> Mac {
    let bytes: Vec<u8> = text.split(':').map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect();
    Mac(bytes.try_into().unwrap())
}

/// Name of a counter's slot, for messages.
pub(crate) fn reason_name(slot: u32) -> String {
    Reason::from_number(slot).map_or_else(|| format!("reason {slot}"), |reason| reason.name().to_owned())
}

/// The object under test: the embedded one, or the file that `NETDP_OBJECT` names, for those broken on purpose.
fn object() -> Cow<'static, [u8]> {
    let Some(file) = env::var_os("NETDP_OBJECT") else { return OBJECT.into() };
    fs::read(&file).unwrap_or_else(|e| panic!("NETDP_OBJECT={}: {e}", file.display())).into()
}

/// Its maps, fresh, and its programs, not loaded yet. The verifier's log is of errors only: on kernels before 6.4 the
/// whole trace of a large program does not fit, and what is lost is its end.
fn open_object(slot: Option<&Slot>, tables: Tables) -> Ebpf {
    let mut loader = if slot.is_some() { pool::loader() } else { EbpfLoader::new() };
    loader.verifier_log_level(VerifierLogLevel::STATS);
    if let Tables::Small = tables {
        loader
            .map_max_entries(names::FLOWS, FLOW_ENTRIES)
            .map_max_entries(names::LEDGER, FLOW_ENTRIES)
            // One that is broken on purpose has programs and little else.
            .override_global(names::FLOW_CAPACITY, &FLOW_CAPACITY, env::var_os("NETDP_OBJECT").is_none());
    }
    if let Some(slot) = slot {
        slot.share_maps(&mut loader);
    }
    loader.load(&object()).unwrap_or_else(|e| panic!("the object does not load: {e:?}"))
}

/// Loads every program that is in the object, each alone, and says how many instructions the verifier has walked
/// through for it, or why it is refused; by name.
pub fn verified_instructions() -> Vec<(String, Result<u32, netdp::datapath::Refusal>)> {
    crate::namespace::assert_isolated();
    let mut ebpf = open_object(None, Tables::Small);
    let mut verified: Vec<_> = ebpf
        .programs_mut()
        .map(|(name, program)| (name.to_owned(), verify(program).map_err(|e| refusal(&e))))
        .collect();
    verified.sort_by(|(one, _), (other, _)| one.cmp(other));
    verified
}

fn verify(program: &mut Program) -> Result<u32, ProgramError> {
    let info = match program {
        Program::SchedClassifier(program) => {
            program.load()?;
            program.info()
        }
        Program::Xdp(program) => {
            program.load()?;
            program.info()
        }
        Program::CgroupSockAddr(program) => {
            program.load()?;
            program.info()
        }
        Program::SkLookup(program) => {
            program.load()?;
            program.info()
        }
        other => panic!("a program of a kind that netdp does not load: {other:?}"),
    };
    Ok(info?.verified_instruction_count().unwrap())
}
