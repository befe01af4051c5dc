//! The helpers that our programs call and the kinds of maps that they have, each tried by itself.

use std::error::Error;

use aya::maps::MapType;
use aya::programs::ProgramType;
use aya::sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported};

use super::CheckRow;
use super::kernel::Release;
use crate::datapath::helper_name;

/// Programs on interfaces.
pub(super) const INTERFACE: ProgramType = ProgramType::SchedClassifier;
/// Programs on `bind(2)`.
pub(super) const BIND: ProgramType = ProgramType::CgroupSockAddr;

/// Programs on uplinks, before there is a socket buffer.
const FRAME: ProgramType = ProgramType::Xdp;

/// Programs on the look-up of a socket.
const LOOKUP: ProgramType = ProgramType::SkLookup;

const ON_INTERFACES: &[ProgramType] = &[INTERFACE];
const ON_FRAMES: &[ProgramType] = &[INTERFACE, FRAME];
const ON_BIND: &[ProgramType] = &[BIND];
const ON_LOOKUP: &[ProgramType] = &[LOOKUP];
const ON_INTERFACES_AND_LOOKUP: &[ProgramType] = &[INTERFACE, LOOKUP];
const ON_ALL: &[ProgramType] = &[INTERFACE, FRAME, BIND, LOOKUP];

/// What is called, from which kinds of programs, and the release that has it first.
type Helper = (BpfHelper, &'static [ProgramType], Release);

const fn linux(major: u32, minor: u32) -> Release {
    Release { major, minor }
}

/// In the order of their numbers.
const HELPERS: [Helper; 30] = [
    (BpfHelper::BPF_FUNC_map_lookup_elem, ON_ALL, linux(3, 19)),
    (BpfHelper::BPF_FUNC_map_update_elem, ON_INTERFACES, linux(3, 19)),
    (BpfHelper::BPF_FUNC_map_delete_elem, ON_INTERFACES, linux(3, 19)),
    (BpfHelper::BPF_FUNC_get_prandom_u32, ON_INTERFACES, linux(4, 1)),
    (BpfHelper::BPF_FUNC_skb_store_bytes, ON_INTERFACES, linux(4, 1)),
    (BpfHelper::BPF_FUNC_l4_csum_replace, ON_INTERFACES, linux(4, 1)),
    (BpfHelper::BPF_FUNC_redirect, ON_INTERFACES, linux(4, 4)),
    (BpfHelper::BPF_FUNC_skb_load_bytes, ON_INTERFACES, linux(4, 5)),
    (BpfHelper::BPF_FUNC_skb_change_proto, ON_INTERFACES, linux(4, 8)),
    (BpfHelper::BPF_FUNC_skb_change_type, ON_INTERFACES, linux(4, 8)),
    (BpfHelper::BPF_FUNC_skb_change_tail, ON_INTERFACES, linux(4, 9)),
    (BpfHelper::BPF_FUNC_skb_pull_data, ON_INTERFACES, linux(4, 9)),
    (BpfHelper::BPF_FUNC_skb_adjust_room, ON_INTERFACES, linux(5, 2)),
    (BpfHelper::BPF_FUNC_fib_lookup, ON_INTERFACES, linux(4, 18)),
    (BpfHelper::BPF_FUNC_sk_lookup_udp, ON_INTERFACES, linux(4, 20)),
    (BpfHelper::BPF_FUNC_sk_release, ON_INTERFACES_AND_LOOKUP, linux(4, 20)),
    (BpfHelper::BPF_FUNC_map_pop_elem, ON_INTERFACES, linux(4, 20)),
    (BpfHelper::BPF_FUNC_skc_lookup_tcp, ON_INTERFACES, linux(5, 2)),
    (BpfHelper::BPF_FUNC_jiffies64, ON_INTERFACES, linux(5, 6)),
    (BpfHelper::BPF_FUNC_get_netns_cookie, ON_BIND, linux(5, 7)),
    (BpfHelper::BPF_FUNC_sk_assign, ON_LOOKUP, linux(5, 9)),
    (BpfHelper::BPF_FUNC_ringbuf_reserve, ON_FRAMES, linux(5, 8)),
    (BpfHelper::BPF_FUNC_ringbuf_submit, ON_FRAMES, linux(5, 8)),
    (BpfHelper::BPF_FUNC_redirect_neigh, ON_INTERFACES, linux(5, 10)),
    (BpfHelper::BPF_FUNC_redirect_peer, ON_INTERFACES, linux(5, 10)),
    (BpfHelper::BPF_FUNC_ktime_get_coarse_ns, ON_FRAMES, linux(5, 11)),
    (BpfHelper::BPF_FUNC_check_mtu, ON_INTERFACES, linux(5, 12)),
    (BpfHelper::BPF_FUNC_for_each_map_elem, ON_BIND, linux(5, 13)),
    (BpfHelper::BPF_FUNC_loop, ON_FRAMES, linux(5, 17)),
    (BpfHelper::BPF_FUNC_set_retval, ON_BIND, linux(5, 18)),
];

const MAPS: [(MapType, &str, Release); 8] = [
    (MapType::Hash, "hash", linux(3, 19)),
    (MapType::Array, "array", linux(3, 19)),
    (MapType::PerCpuArray, "percpu_array", linux(4, 6)),
    (MapType::LruHash, "lru_hash", linux(4, 10)),
    (MapType::LpmTrie, "lpm_trie", linux(4, 11)),
    (MapType::SockMap, "sockmap", linux(4, 14)),
    (MapType::Queue, "queue", linux(4, 20)),
    (MapType::RingBuf, "ringbuf", linux(5, 8)),
];

pub(super) fn rows() -> Vec<CheckRow> {
    let mut rows = vec![
        program(INTERFACE, "BPF programs on interfaces", "CONFIG_NET_CLS_BPF"),
        program(FRAME, "BPF programs on frames (XDP)", "CONFIG_BPF_SYSCALL and CONFIG_NET"),
        program(
            BIND,
            "BPF programs on bind(2)",
            "CONFIG_CGROUP_BPF; published ports cannot be kept from other programs without it",
        ),
        program(
            LOOKUP,
            "BPF programs on the look-up of a socket",
            "CONFIG_INET; names of containers cannot be served without it",
        ),
    ];
    rows.extend(HELPERS.iter().map(|(helper, programs, since)| {
        let supported = supported_by_all(*helper, programs);
        row(format!("helper {}", helper_name(*helper)), supported, &format!("{since} has it"))
    }));
    rows.extend(MAPS.iter().map(|(kind, name, since)| {
        row(format!("map {name}"), is_map_supported(*kind), &format!("{since} has it"))
    }));
    rows
}

fn supported_by_all(
    helper: BpfHelper,
    programs: &[ProgramType],
) -> Result<bool, aya::programs::ProgramError> {
    for program in programs {
        if !is_helper_supported(*program, helper)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn program(kind: ProgramType, name: &str, option: &str) -> CheckRow {
    row(name.to_owned(), is_program_supported(kind), option)
}

fn row<E: Error>(name: String, supported: Result<bool, E>, remedy: &str) -> CheckRow {
    CheckRow::of(
        name,
        match supported {
            Ok(true) => Ok("the kernel has it".to_owned()),
            Ok(false) => Err(format!("the kernel lacks it ({remedy})")),
            Err(error) => Err(format!("cannot be tried: {}; run netdp as root", chain(&error))),
        },
    )
}

/// An error with all its causes.
fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use aya_obj::generated::{BPF_CALL, BPF_JMP, bpf_insn};
    use aya_obj::{Object, ProgramSection};

    use super::super::kernel::MINIMUM;
    use super::*;
    use crate::datapath::OBJECT;

    /// The number of the helper that an instruction calls. Calls of our own functions have another source register.
    fn called(instruction: bpf_insn) -> Option<u32> {
        let call = u32::from(instruction.code) == BPF_JMP | BPF_CALL;
        (call && instruction.src_reg() == 0).then_some(instruction.imm.cast_unsigned())
    }

    /// Which kinds of programs of the embedded object call which helpers, in themselves or in their functions.
    fn called_by_object() -> BTreeMap<u32, BTreeSet<&'static str>> {
        let mut object = Object::parse(OBJECT).expect("the embedded object");
        let sections = object.functions.keys().map(|(section, _)| *section).collect();
        object.relocate_calls(&sections).expect("its functions");
        let mut calls: BTreeMap<u32, BTreeSet<_>> = BTreeMap::new();
        for program in object.programs.values() {
            let kind = match program.section {
                ProgramSection::SchedClassifier => "interface",
                ProgramSection::Xdp { .. } => "frame",
                ProgramSection::CgroupSockAddr { .. } => "bind",
                ProgramSection::SkLookup => "lookup",
                ref other => panic!("netdp check does not know programs of the kind {other:?}"),
            };
            let instructions = &object.functions[&program.function_key()].instructions;
            for number in instructions.iter().copied().filter_map(called) {
                calls.entry(number).or_default().insert(kind);
            }
        }
        calls
    }

    fn kinds(programs: &[ProgramType]) -> BTreeSet<&'static str> {
        let word = |kind: &ProgramType| match *kind {
            BIND => "bind",
            FRAME => "frame",
            LOOKUP => "lookup",
            _ => "interface",
        };
        programs.iter().map(word).collect()
    }

    #[test]
    fn exactly_the_helpers_that_the_object_calls_are_tried() {
        let tried: BTreeMap<u32, _> =
            HELPERS.iter().map(|(helper, programs, _)| (*helper as u32, kinds(programs))).collect();
        assert_eq!(tried.len(), HELPERS.len(), "a helper twice");
        assert_eq!(tried, called_by_object());
    }

    #[test]
    fn exactly_the_kinds_of_maps_that_the_object_has_are_tried() {
        let object = Object::parse(OBJECT).expect("the embedded object");
        let had: BTreeSet<u32> = object.maps.values().map(aya_obj::maps::Map::map_type).collect();
        let tried: BTreeSet<u32> = MAPS.iter().map(|(kind, ..)| *kind as u32).collect();
        assert_eq!(tried, had);
    }

    #[test]
    fn every_helper_and_map_is_in_the_oldest_kernel_that_is_tested() {
        let helpers = HELPERS.iter().map(|(.., since)| *since);
        assert!(helpers.chain(MAPS.iter().map(|(.., since)| *since)).all(|since| since <= MINIMUM));
    }
}
