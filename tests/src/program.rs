//! One packet through one program, from fresh maps: verdict, bytes, and the exact change of state.
//!
//! A [`Machine`] is a namespace with the interfaces that the programs ask the kernel about, and the programs
//! loaded into maps of their own. The kernel runs a program by `BPF_PROG_TEST_RUN`, so nothing is really sent:
//! where a packet would go is the verdict, and the redirect helper has checked its arguments.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader, Pod, TestRun, TestRunOptions};
use netdp_common::{
    Addr, Backend, Count, Endpoint, EndpointKey, Event, Flow, FlowKey, Link, Mac, PortKey, Reason, SubnetKey,
    Uplink, names, timers,
};
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::namespace::{Namespace, private_dir};

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

/// What a machine's interfaces are called.
const INTERFACES: [&str; 4] = ["c1", "c2", "d1", "up0"];

/// Makes the interfaces: two containers of one network on `br0`, one of another on `br1`, and an uplink.
const FURNISH: &str = "\
    ip link add br0 type bridge && ip address add 172.17.0.1/16 dev br0 && ip link set br0 up && \
    ip link add br1 type bridge && ip address add 172.18.0.1/16 dev br1 && ip link set br1 up && \
    for name in c1 c2 d1 up0; do \
      ip link add $name type veth peer name $name-peer && ip link set $name up && ip link set $name-peer up; \
    done && \
    ip link set c1 master br0 && ip link set c2 master br0 && ip link set d1 master br1 && \
    ip address add 203.0.113.10/24 dev up0 && ip route add default via 203.0.113.1";

/// A namespace with interfaces, and the programs in fresh maps.
#[derive(Debug)]
pub struct Machine {
    ns: Namespace,
    ebpf: Ebpf,
    indices: BTreeMap<&'static str, u32>,
    macs: BTreeMap<&'static str, Mac>,
}

/// Everything that the programs may write.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
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
    subnets: BTreeMap<SubnetKey, u32>,
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

/// Every program that sees packets.
pub const PROGRAMS: [&str; 5] =
    [names::FROM_CONTAINER, names::FROM_UPLINK, names::TO_UPLINK, names::TO_BRIDGE, names::FROM_HOST];

/// `struct __sk_buff` as far as the kernel takes it from a test: 192 bytes of which only the interface that the frame
/// came in by and the one that it is at are set.
fn context(ingress: u32, ifindex: u32) -> [u8; 192] {
    let mut bytes = [0; 192];
    bytes[36..40].copy_from_slice(&ingress.to_ne_bytes());
    bytes[40..44].copy_from_slice(&ifindex.to_ne_bytes());
    bytes
}

impl Machine {
    /// Loads all programs into a fresh namespace. The maps are empty.
    #[expect(clippy::new_without_default, reason = "it loads programs: nothing that a default should do")]
    pub fn new() -> Self {
        let ns = Namespace::new(&private_dir(), "machine");
        ns.sh(FURNISH).done();
        for bridge in ["br0", "br1"] {
            ns.set_sysctl(&format!("net/ipv4/conf/{bridge}/forwarding"), "1");
        }
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(names::FLOWS, FLOW_ENTRIES)
            .load(netdp::datapath::OBJECT)
            .unwrap_or_else(|e| panic!("the object does not load: {e:?}"));
        for name in PROGRAMS {
            classifier(&mut ebpf, name).load().unwrap_or_else(|e| panic!("{name}: {e:?}"));
        }
        let listed: Value = ns.sh("ip -j link show").json();
        let (mut indices, mut macs) = (BTreeMap::new(), BTreeMap::new());
        for name in INTERFACES.into_iter().chain(["br0", "br1", "lo"]) {
            let link = listed.as_array().unwrap().iter().find(|link| link["ifname"] == name).unwrap();
            indices.insert(name, u32::try_from(link["ifindex"].as_u64().unwrap()).unwrap());
            macs.insert(name, parse_mac(link["address"].as_str().unwrap()));
        }
        Self { ns, ebpf, indices, macs }
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
        let key = EndpointKey { addr: link.addr4, network: link.network };
        self.hash(names::ENDPOINTS).insert(key, Endpoint { ifindex, mac: link.mac, pad: [0; 2] }, 0).unwrap();
        self.hash(names::LINKS).insert(ifindex, link, 0).unwrap();
    }

    /// Publishes a port.
    pub fn put_port(&mut self, key: PortKey, backend: Backend) {
        self.hash(names::PORTS).insert(key, backend, 0).unwrap();
    }

    /// Tells of a container subnet.
    pub fn put_subnet(&mut self, network: Ipv4Addr, prefix: u32, id: u32) {
        let map = self.ebpf.map_mut(names::SUBNETS).unwrap();
        let mut trie = LpmTrie::<_, Addr, u32>::try_from(map).unwrap();
        trie.insert(&Key::new(96 + prefix, network.into()), id, 0).unwrap();
    }

    /// Tells of an uplink.
    pub fn put_uplink(&mut self, ifindex: u32, uplink: Uplink) {
        self.hash(names::UPLINKS).insert(ifindex, uplink, 0).unwrap();
    }

    /// Tells of an address of the host.
    pub fn put_host_addr(&mut self, address: Ipv4Addr) {
        self.hash(names::HOST_ADDRS).insert(Addr::from(address), 1_u32, 0).unwrap();
    }

    /// Seeds one entry of the flow table; [`JUST_NOW`] in `seen` becomes the present tick.
    pub fn put_flow(&mut self, key: FlowKey, mut flow: Flow) {
        if flow.seen == JUST_NOW {
            flow.seen = now_ticks();
        }
        self.hash(names::FLOWS).insert(key, flow, 0).unwrap();
    }

    /// Deletes one entry of the flow table.
    pub fn forget_flow(&mut self, key: FlowKey) {
        self.hash::<FlowKey, Flow>(names::FLOWS).remove(&key).unwrap();
    }

    /// The flow table as it is.
    pub fn flows(&self) -> BTreeMap<FlowKey, Flow> {
        self.state().flows
    }

    /// Sends a frame through a program as if it were at the hook of this interface.
    pub fn run(&mut self, program: &str, interface: &str, frame: &[u8]) -> Outcome {
        self.run_routed(program, 0, interface, frame)
    }

    /// The same with a frame that had come in by the interface `ingress`, or by none when that is zero.
    pub fn run_routed(&mut self, program: &str, ingress: u32, interface: &str, frame: &[u8]) -> Outcome {
        let ifindex = self.indices[interface];
        let (settings, before) = (self.settings(), self.state());
        self.drain_events();
        let (verdict, bytes) = self.test_run(program, (ingress, ifindex), frame);
        assert_eq!(self.settings(), settings, "{program} changed a map of the controller");
        let change = difference(&before, &self.state(), self.drain_events());
        Outcome { verdict, given: frame.to_vec(), bytes, change, ifindex }
    }

    fn test_run(&mut self, name: &str, (ingress, ifindex): (u32, u32), frame: &[u8]) -> (i32, Vec<u8>) {
        let mut out = vec![0; frame.len() + 256];
        let context = context(ingress, ifindex);
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        // `lo` is what the kernel takes by itself, and it refuses index 1 in a context.
        options.ctx_in = (ifindex > 1).then_some(&context[..]);
        let (ns, program) = (&self.ns, classifier(&mut self.ebpf, name));
        let result = ns.enter(|| program.test_run(options)).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        out.truncate(usize::try_from(result.data_size_out).unwrap());
        (result.return_value.cast_signed(), out)
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

    fn settings(&self) -> Settings {
        let trie = LpmTrie::<_, Addr, u32>::try_from(self.map(names::SUBNETS)).unwrap();
        let subnet =
            |(key, id): (Key<Addr>, u32)| (SubnetKey { prefix_len: key.prefix_len(), addr: key.data() }, id);
        Settings {
            links: self.rows(names::LINKS),
            endpoints: self.rows(names::ENDPOINTS),
            ports: self.rows(names::PORTS),
            subnets: trie.iter().map(|row| subnet(row.unwrap())).collect(),
            uplinks: self.rows(names::UPLINKS),
            host_addrs: self.rows(names::HOST_ADDRS),
        }
    }

    fn state(&self) -> State {
        let now = now_ticks();
        let mut flows: BTreeMap<FlowKey, Flow> = self.rows(names::FLOWS);
        for flow in flows.values_mut() {
            // The programs read a coarse clock, which may be a little behind this one.
            if now.wrapping_sub(flow.seen) <= FRESH_TICKS {
                flow.seen = JUST_NOW;
            }
        }
        let counters = PerCpuArray::<_, Count>::try_from(self.map(names::COUNTERS)).unwrap();
        let total = |slot| sum(&counters.get(&slot, 0).unwrap());
        let counts = (0..counters.len()).map(|slot| (slot, total(slot))).collect();
        let swept = Array::<_, u32>::try_from(self.map(names::SWEPT)).unwrap().get(&0, 0).unwrap();
        State { flows, counts, swept }
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

fn sum(values: &[Count]) -> Count {
    let packets = values.iter().map(|count| count.packets).sum();
    Count { packets, bytes: values.iter().map(|count| count.bytes).sum() }
}

fn difference(before: &State, after: &State, events: Vec<Event>) -> Change {
    let mut flows = BTreeMap::new();
    for (key, flow) in after.flows.iter().filter(|(key, flow)| before.flows.get(*key) != Some(*flow)) {
        flows.insert(*key, Some(*flow));
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
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).unwrap();
    let ns = u64::try_from(now.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap();
    timers::ticks(ns)
}

fn parse_mac(text: &str) -> Mac {
    let bytes: Vec<u8> = text.split(':').map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect();
    Mac(bytes.try_into().unwrap())
}

/// Name of a counter's slot, for messages.
pub(crate) fn reason_name(slot: u32) -> String {
    Reason::from_number(slot).map_or_else(|| format!("reason {slot}"), |reason| reason.name().to_owned())
}

/// Loads these programs and says how many instructions the verifier has walked through for each.
pub fn verified_instructions(programs: &[&'static str]) -> Vec<(&'static str, u32)> {
    let mut machine = Machine::new();
    let mut count = |name: &&'static str| {
        let info = classifier(&mut machine.ebpf, name).info().unwrap();
        (*name, info.verified_instruction_count().unwrap())
    };
    programs.iter().map(&mut count).collect()
}
