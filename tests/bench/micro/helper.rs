//! What each helper of the kernel costs alone, and each look-up in maps of several sizes (`netdp-ebpf/examples/helpers.rs`).

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, MapData};
use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader, Pod};
use serde_json::{Value, json};
use tests::packet::{ACK, Packet};
use tests::program::{Machine, NEXT};
use tests::statistics::median;

use super::fixture::ipv4::{C1, REMOTE};
use super::runner::{self, Again, Given, Hook, Kind};
use super::{BATCHES, QUICK_BATCHES, WARM_UP, meet_neighbours, object};
use crate::ending::Ending;
use crate::interrupt;

/// Runs of a batch.
const RUNS: u32 = 50_000;
/// By how many calls the two programs of a helper differ.
const CALLS: f64 = 16.0;
/// What a value is.
type Row = [u64; 11];

/// What is called, and the beginning of its programs' names.
type Call = (&'static str, &'static str);

const HELPERS: [Call; 27] = [
    ("redirect", "redirect"),
    ("redirect_peer", "redirect_peer"),
    ("redirect_neigh", "neigh"),
    ("redirect_neigh, next hop given", "neigh_hop"),
    ("fib_lookup, IPv4, with neighbour", "fib4"),
    ("fib_lookup, IPv4, SRC, with neighbour", "fib4_src"),
    ("fib_lookup, IPv4, SKIP_NEIGH", "fib4_skip"),
    ("fib_lookup, IPv4, no such neighbour", "fib4_none"),
    ("fib_lookup, IPv6, with neighbour", "fib6"),
    ("fib_lookup, IPv6, SKIP_NEIGH", "fib6_skip"),
    ("l3_csum_replace", "l3_csum"),
    ("l4_csum_replace", "l4_csum"),
    ("l4_csum_replace, PSEUDO_HDR", "l4_pseudo"),
    ("skb_store_bytes, 2", "store2"),
    ("skb_store_bytes, 12", "store12"),
    ("skb_store_bytes, 40", "store40"),
    ("skb_load_bytes, 8", "load8"),
    ("skb_load_bytes, 40", "load40"),
    ("skb_change_type", "type"),
    ("ktime_get_coarse_ns", "coarse"),
    ("ktime_get_ns", "fine"),
    ("get_prandom_u32", "random"),
    ("loop, 1 turn", "loop1"),
    ("loop, 8 turns", "loop8"),
    ("skc_lookup_tcp, nobody listens", "sock"),
    ("array look-up", "rows"),
    ("per-CPU array look-up", "per_cpu"),
];

/// What is done in maps, in each size of them.
const LOOKUPS: [Call; 7] = [
    ("making of the key alone", "step"),
    ("hash look-up, key of 4", "hash4"),
    ("hash look-up, key of 20", "hash20"),
    ("hash look-up, key of 40", "hash40"),
    ("LRU hash look-up, key of 40", "lru40"),
    ("hash update, preallocated, key of 40", "update40"),
    ("LPM look-up, key of 128 bits", "trie"),
];
/// Entries; a power of two, so that the walk over them needs a mask alone.
const SIZES: [u32; 3] = [1, 1 << 10, 1 << 17];
/// Prefixes: a trie of more than this would not stand in any of our maps.
const MOST_PREFIXES: u32 = 1 << 10;

/// A call, and what was measured of it.
pub(crate) struct Measured {
    pub(crate) what: String,
    /// Nanoseconds per call, by batch.
    batches: Vec<f64>,
}

impl Measured {
    pub(crate) fn median(&self) -> f64 {
        median(&self.batches).unwrap()
    }

    pub(crate) fn least(&self) -> f64 {
        self.batches.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn document(&self) -> Value {
        let Self { what, batches } = self;
        json!({ "helper": what, "ns_median": self.median(), "ns_least": self.least(), "batches": batches })
    }
}

/// All helpers, and all look-ups in all sizes.
pub(crate) fn measure(quick: bool) -> Result<Vec<Measured>, Ending> {
    let machine = Machine::new();
    meet_neighbours(&machine);
    let batches = if quick { QUICK_BATCHES } else { BATCHES };
    let object = object::read("helpers")?;
    let mut done = Vec::new();
    let mut ebpf = load(&object, &machine, 1, true);
    for (what, name) in HELPERS {
        done.push(one(&mut ebpf, &machine, (what.to_owned(), name), batches)?);
    }
    let mut empty = load(&object, &machine, 1, false);
    done.push(one(&mut empty, &machine, ("LPM look-up, empty".to_owned(), "trie"), batches)?);
    for size in SIZES {
        let mut ebpf = load(&object, &machine, size, true);
        fill(&mut ebpf, size);
        for (what, name) in LOOKUPS {
            if name != "trie" || size <= MOST_PREFIXES {
                done.push(one(&mut ebpf, &machine, (format!("{what}, of {size}"), name), batches)?);
            }
        }
    }
    Ok(done)
}

/// The object with maps of this size.
fn load(object: &[u8], machine: &Machine, size: u32, is_filled: bool) -> Ebpf {
    let index = |name| machine.ifindex(name);
    let (mask, found) = (size - 1, u32::from(is_filled));
    let (container, bridge, uplink) = (index("c1"), index("br0"), index("up0"));
    let mut loader = EbpfLoader::new();
    for map in ["HASH4", "HASH20", "HASH40", "TRIE"] {
        loader.map_max_entries(map, size);
    }
    // The kernel evicts before the last one is full, and rounds up by processors.
    loader.map_max_entries("LRU40", size * 2 + 1024);
    loader
        .override_global("MASK", &mask, true)
        .override_global("FOUND", &found, true)
        .override_global("CONTAINER", &container, true)
        .override_global("BRIDGE", &bridge, true)
        .override_global("UPLINK", &uplink, true);
    loader.load(object).unwrap()
}

fn fill(ebpf: &mut Ebpf, size: u32) {
    let keys = |map: &str, ebpf: &mut Ebpf| match map {
        "HASH4" => insert::<u32>(ebpf, map, size, |n| n),
        "HASH20" => insert::<[u32; 5]>(ebpf, map, size, |n| [n, 0, 0, 0, 0]),
        _ => insert::<[u32; 10]>(ebpf, map, size, |n| [n, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    };
    for map in ["HASH4", "HASH20", "HASH40", "LRU40"] {
        keys(map, ebpf);
    }
    let map = ebpf.map_mut("TRIE").unwrap();
    let mut trie = LpmTrie::<_, [u32; 4], u32>::try_from(map).unwrap();
    for n in 0..size.min(MOST_PREFIXES) {
        trie.insert(&Key::new(64, [0xb80d_0120, n, 0, 0]), n, 0).unwrap();
    }
}

fn insert<K: Pod>(ebpf: &mut Ebpf, map: &str, size: u32, key: impl Fn(u32) -> K) {
    let mut map: HashMap<&mut MapData, K, Row> = HashMap::try_from(ebpf.map_mut(map).unwrap()).unwrap();
    for n in 0..size {
        map.insert(key(n), [0; 11], 0).unwrap();
    }
}

fn one(
    ebpf: &mut Ebpf,
    machine: &Machine,
    (what, name): (String, &str),
    batches: usize,
) -> Result<Measured, Ending> {
    if interrupt::came() {
        return Err(Ending::Interrupted);
    }
    eprintln!("{what}");
    let packet = Packet::tcp((C1, 40_000), (REMOTE, 443), ACK).with(|packet| packet.payload = vec![7; 100]);
    let frame = packet.build();
    let context = machine.context("c1").map(|bytes| bytes.to_vec());
    let given =
        Given { hook: Hook::Classifier, frame: &frame, context, kind: Kind::Host, again: Again::Same };
    let [once, often] = [1, 17].map(|calls| format!("{name}_{calls}"));
    let mut ns = |name: &str| {
        let ran = runner::run(machine.ns(), loaded(ebpf, name), &given, RUNS);
        assert_eq!(ran.returned, NEXT, "{name}: a call did not do what it should");
        ran.ns
    };
    let batch = || {
        let once = ns(&once);
        (ns(&often) - once) / CALLS
    };
    Ok(Measured {
        what,
        batches: std::iter::repeat_with(batch).take(batches + WARM_UP).skip(WARM_UP).collect(),
    })
}

fn loaded<'a>(ebpf: &'a mut Ebpf, name: &str) -> &'a SchedClassifier {
    let program: &mut SchedClassifier = ebpf.program_mut(name).unwrap().try_into().unwrap();
    if program.fd().is_err() {
        program.load().unwrap();
    }
    program
}
