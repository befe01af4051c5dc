//! Every map: its size, and why. Names and writers are in `netdp_common::names`.

use aya_ebpf::Global;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, Queue, RingBuf, SockMap};
use netdp_common::fragments::Pending;
use netdp_common::mapping::{self, INSIDE_SLOTS, Mapping, MappingKey};
use netdp_common::{
    Addr, Backend, Count, Destination, Endpoint, EndpointKey, Flow, FlowKey, Link, Payer, Place, PortKey,
    Quota, Release, Source, Uplink, reason, resolver, settings,
};

use super::route::Way;
use super::scratch::Scratch;

/// Not preallocated: the controller writes it, and most hosts have few.
const BPF_F_NO_PREALLOC: u32 = 1;

/// A veth per endpoint and network.
#[map]
pub(super) static LINKS: HashMap<u32, Link> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// One per endpoint, network and address family.
#[map]
pub(super) static ENDPOINTS: HashMap<EndpointKey, Endpoint> =
    HashMap::with_max_entries(32_768, BPF_F_NO_PREALLOC);

/// Every port of both protocols on one address, or fewer on several.
#[map]
pub(super) static PORTS: HashMap<PortKey, Backend> = HashMap::with_max_entries(131_072, BPF_F_NO_PREALLOC);

/// A thousand ports with the 64 prefixes that one may have, or more ports with fewer.
#[map]
pub(super) static SOURCES: LpmTrie<Source, u32> = LpmTrie::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// A subnet per network and family.
#[map]
pub(super) static SUBNETS: LpmTrie<Addr, u32> = LpmTrie::with_max_entries(4_096, BPF_F_NO_PREALLOC);

/// The 64 prefixes that a network may have, for a thousand networks.
#[map]
pub(super) static EXCLUDED: LpmTrie<Destination, u32> = LpmTrie::with_max_entries(65_536, BPF_F_NO_PREALLOC);

#[map]
pub(super) static UPLINKS: HashMap<u32, Uplink> = HashMap::with_max_entries(256, BPF_F_NO_PREALLOC);

#[map]
pub(super) static HOST_ADDRS: HashMap<Addr, u32> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// The prefixes of some twenty countries. A look-up in the empty one is a call that finds no root and returns.
#[map]
pub(super) static DENY: LpmTrie<Addr, u32> = LpmTrie::with_max_entries(262_144, BPF_F_NO_PREALLOC);

/// One slot: what the prefilter must know of the host's settings.
#[map]
pub(super) static WIRE: Array<u32> = Array::with_max_entries(1, 0);

/// A row per state, and one per limit.
#[map]
pub(super) static SETTINGS: Array<u32> = Array::with_max_entries(settings::ROWS, 0);

/// Two entries per flow: 131 072 flows, Linux's default on a host with 8 GiB. Preallocated, so that a new flow
/// costs the same at night as at noon and never fails for want of memory; never LRU, so that it never evicts. The controller
/// makes another size of it where one is set (`FLOW_CAPACITY`).
#[map]
pub(super) static FLOWS: HashMap<FlowKey, Flow> = HashMap::with_max_entries(262_144, 0);

/// Two rows per mapping: every port of one outside address. Preallocated, and never LRU, as `FLOWS`.
#[map]
pub(super) static MAPPINGS: HashMap<MappingKey, Mapping> = HashMap::with_max_entries(131_072, 0);

/// A slot for each port there is, of all outside addresses together: 256 KiB, and no port is forgotten for want of room.
#[map]
pub(super) static HELD: Array<u32> = Array::with_max_entries(mapping::PORTS, 0);

/// As many as may wait for an answer at a time; who floods gets none, and of others the oldest wait anew.
#[map]
pub(super) static UNASKED: LruHashMap<FlowKey, u64> = LruHashMap::with_max_entries(4_096, 0);

/// One slot: when a part of the flow table was last swept.
#[map]
pub(super) static SWEPT: Array<u32> = Array::with_max_entries(1, 0);

/// Three rows for each veth that `LINKS` has room for, and those of the whole. Preallocated, as what it counts.
#[map]
pub(super) static QUOTAS: HashMap<Payer, Quota> = HashMap::with_max_entries(65_536, 0);

/// A run of the controller gives back to each payer once, and takes together what is there.
#[map]
pub(super) static RELEASED: Queue<Release> = Queue::with_max_entries(65_536, 0);

/// Eight rings that are full. LRU: where more are, a flow that is forgotten here only ends no earlier than its timer says.
#[map]
pub(super) static HALF_OPEN: LruHashMap<Place, FlowKey> = LruHashMap::with_max_entries(131_072, 0);

/// Two slots per flow, so that most find an empty one at once; as many as `FLOWS` has entries.
#[map]
pub(super) static LEDGER: Array<FlowKey> = Array::with_max_entries(262_144, 0);

/// A slot for each row of `MAPPINGS`, of which half are entered.
#[map]
pub(super) static INSIDE: Array<MappingKey> = Array::with_max_entries(INSIDE_SLOTS, 0);

/// Datagrams whose first fragment has passed. The others follow it at once, as they come in order, so that what a flood
/// of first ones evicts are those that nobody needs any more.
#[map]
pub(super) static FRAGMENTS: LruHashMap<FlowKey, FlowKey> = LruHashMap::with_max_entries(16_384, 0);

/// Interfaces that fragments come from. An evicted one begins again with nothing pending.
#[map]
pub(super) static PENDING: LruHashMap<u32, Pending> = LruHashMap::with_max_entries(16_384, 0);

/// One slot: where fragments are sorted.
#[map]
pub(super) static SORTER: Array<u32> = Array::with_max_entries(1, 0);

/// A place per CPU for the packet that is being decided on. Not pinned: it holds nothing between two packets.
#[map]
pub(super) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// By interface, when its bucket of tokens for answers is full again (`netdp_common::answer`). Of those that have not answered
/// for longest, the kernel forgets. Not pinned: what is lost is a burst's worth of restraint.
#[map]
pub(super) static ANSWERED: LruHashMap<u32, u64> = LruHashMap::with_max_entries(4_096, 0);

/// Two families, two protocols.
#[map]
pub(super) static RESOLVERS: SockMap = SockMap::with_max_entries(resolver::SOCKETS, 0);

#[map]
pub(super) static COUNTERS: PerCpuArray<Count> = PerCpuArray::with_max_entries(reason::SLOTS, 0);

/// 2 048 events; when nobody reads, further ones are lost and the counters still count.
#[map]
pub(super) static EVENTS: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// Bits of the number of a way: 1024 destinations at a time, which is 80 KiB for each CPU. Two that meet ask the table in turn.
pub(super) const WAY_BITS: u32 = 10;

/// Ways that were found just now. Not pinned: they hold for milliseconds.
#[map]
pub(super) static WAYS: PerCpuArray<Way> = PerCpuArray::with_max_entries(1 << WAY_BITS, 0);

/// Cookie of the network namespace whose published ports are refused to `bind(2)`; set at load.
#[unsafe(no_mangle)]
pub(super) static NETNS_COOKIE: Global<u64> = Global::new(0);

/// Flows that the table has room for, half of the entries of `FLOWS`; set at load.
#[unsafe(no_mangle)]
pub(super) static FLOW_CAPACITY: Global<u32> = Global::new(131_072);

/// Mechanisms to do without ([`netdp_common::without`]); set at load.
#[unsafe(no_mangle)]
pub(super) static WITHOUT: Global<u32> = Global::new(0);
