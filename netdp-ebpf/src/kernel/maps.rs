//! Every map: its size, and why. Names and writers are in `netdp_common::names`.

use aya_ebpf::Global;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf};
use netdp_common::{
    Addr, Backend, Count, Endpoint, EndpointKey, Flow, FlowKey, Link, PortKey, Uplink, reason,
};

use super::conntrack::Beginning;

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

/// A subnet per network and family.
#[map]
pub(super) static SUBNETS: LpmTrie<Addr, u32> = LpmTrie::with_max_entries(4_096, BPF_F_NO_PREALLOC);

#[map]
pub(super) static UPLINKS: HashMap<u32, Uplink> = HashMap::with_max_entries(256, BPF_F_NO_PREALLOC);

#[map]
pub(super) static HOST_ADDRS: HashMap<Addr, u32> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// Two entries per flow: 131 072 flows, Linux's default on a host with 8 GiB. Preallocated, so that a new flow
/// costs the same at night as at noon and never fails for want of memory; never LRU, so that it never evicts.
#[map]
pub(super) static FLOWS: HashMap<FlowKey, Flow> = HashMap::with_max_entries(262_144, 0);

/// One slot: when a full flow table was last swept, in ticks.
#[map]
pub(super) static SWEPT: Array<u32> = Array::with_max_entries(1, 0);

/// A place per CPU for the flow that is being begun. Not pinned: it holds nothing between two packets.
#[map]
pub(super) static BEGINNING: PerCpuArray<Beginning> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub(super) static COUNTERS: PerCpuArray<Count> = PerCpuArray::with_max_entries(reason::SLOTS, 0);

/// 2 048 events; when nobody reads, further ones are lost and the counters still count.
#[map]
pub(super) static EVENTS: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// Cookie of the network namespace whose published ports are refused to `bind(2)`; set at load.
#[unsafe(no_mangle)]
pub(super) static NETNS_COOKIE: Global<u64> = Global::new(0);
