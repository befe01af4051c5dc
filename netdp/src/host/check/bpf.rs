//! What the kernel's BPF can do.

use std::{
    error::Error,
    mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    path::Path,
};

use aya::{
    maps::MapType,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported},
};
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type};
use nix::errno::Errno;

use super::CheckRow;

/// Type descriptions of the running kernel.
const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Programs on interfaces.
const INTERFACE: ProgramType = ProgramType::SchedClassifier;
/// Programs on `bind(2)`.
const BIND: ProgramType = ProgramType::CgroupSockAddr;

/// What our programs call: from which kind of program, under which name, and the kernel that has it first.
type Helper = (ProgramType, BpfHelper, &'static str, &'static str);

const HELPERS: [Helper; 13] = [
    (INTERFACE, BpfHelper::BPF_FUNC_redirect, "bpf_redirect", "4.4"),
    (INTERFACE, BpfHelper::BPF_FUNC_redirect_peer, "bpf_redirect_peer", "5.10"),
    (INTERFACE, BpfHelper::BPF_FUNC_redirect_neigh, "bpf_redirect_neigh", "5.10"),
    (INTERFACE, BpfHelper::BPF_FUNC_fib_lookup, "bpf_fib_lookup", "4.18"),
    (INTERFACE, BpfHelper::BPF_FUNC_check_mtu, "bpf_check_mtu", "5.12"),
    (INTERFACE, BpfHelper::BPF_FUNC_skc_lookup_tcp, "bpf_skc_lookup_tcp", "5.2"),
    (INTERFACE, BpfHelper::BPF_FUNC_sk_lookup_udp, "bpf_sk_lookup_udp", "4.20"),
    (INTERFACE, BpfHelper::BPF_FUNC_ktime_get_coarse_ns, "bpf_ktime_get_coarse_ns", "5.11"),
    (INTERFACE, BpfHelper::BPF_FUNC_for_each_map_elem, "bpf_for_each_map_elem", "5.13"),
    (INTERFACE, BpfHelper::BPF_FUNC_loop, "bpf_loop", "5.17"),
    (INTERFACE, BpfHelper::BPF_FUNC_ringbuf_reserve, "bpf_ringbuf_reserve", "5.8"),
    (BIND, BpfHelper::BPF_FUNC_get_netns_cookie, "bpf_get_netns_cookie", "5.7"),
    (BIND, BpfHelper::BPF_FUNC_set_retval, "bpf_set_retval", "5.18"),
];

const MAPS: [(MapType, &str, &str); 4] = [
    (MapType::Hash, "hash", "3.19"),
    (MapType::LpmTrie, "lpm_trie", "4.11"),
    (MapType::PerCpuArray, "percpu_array", "4.6"),
    (MapType::RingBuf, "ringbuf", "5.8"),
];

pub(super) fn rows() -> Vec<CheckRow> {
    let mut rows = vec![
        program(INTERFACE, "BPF programs on interfaces", "CONFIG_NET_CLS_BPF"),
        program(
            BIND,
            "BPF programs on bind(2)",
            "CONFIG_CGROUP_BPF; published ports cannot be kept from other programs without it",
        ),
        btf(),
    ];
    rows.extend(HELPERS.iter().map(|(program, helper, name, since)| {
        let supported = is_helper_supported(*program, *helper);
        row(format!("helper {name}"), supported, &format!("Linux {since} has it"))
    }));
    rows.extend(MAPS.iter().map(|(kind, name, since)| {
        row(format!("map {name}"), is_map_supported(*kind), &format!("Linux {since} has it"))
    }));
    rows
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

/// Our programs do not depend on the layout of the kernel's structures.
fn btf() -> CheckRow {
    let row = if Path::new(VMLINUX_BTF).exists() {
        CheckRow::found("BTF", VMLINUX_BTF)
    } else {
        CheckRow::missing("BTF", format!("no {VMLINUX_BTF} (CONFIG_DEBUG_INFO_BTF); netdp works without it"))
    };
    row.optional()
}

/// Tries whether programs can be attached by TCX: the kernel is asked to do it to an interface that cannot
/// exist.
pub(super) fn tcx() -> CheckRow {
    const NAME: &str = "TCX";
    match trivial_program().and_then(|program| attach_nowhere(&program)) {
        Err(Errno::ENODEV) => {
            CheckRow::found(NAME, "programs are attached without a qdisc and replaced atomically")
        }
        Err(Errno::EINVAL) => {
            CheckRow::missing(NAME, "the kernel lacks it (Linux 6.6 has it); clsact is used instead")
        }
        Err(errno) => {
            CheckRow::missing(NAME, format!("cannot be tried: {}; run netdp as root", errno.desc()))
        }
        Ok(()) => {
            CheckRow::missing(NAME, "the kernel attached a program to an interface that does not exist")
        }
    }
}

/// Loads `return TCX_NEXT`. It is attached to nothing and goes with the descriptor.
fn trivial_program() -> Result<OwnedFd, Errno> {
    // `r0 = -1; exit` as the kernel reads it: opcode, registers, offset, immediate.
    const INSTRUCTIONS: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let mut attr = zeroed_attr();
    // SAFETY: every bit pattern is valid for this member of the union, which holds integers only.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS as u32;
    load.insns = INSTRUCTIONS.as_ptr() as u64;
    load.insn_cnt = 2;
    load.license = c"Dual MIT/GPL".as_ptr() as u64;
    let fd = bpf(bpf_cmd::BPF_PROG_LOAD, &attr)?;
    // SAFETY: BPF_PROG_LOAD returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A kernel without TCX finds the attach type wanting (EINVAL) before it looks for the interface (ENODEV).
fn attach_nowhere(program: &OwnedFd) -> Result<(), Errno> {
    let mut attr = zeroed_attr();
    // SAFETY: every bit pattern is valid for this member of the union, which holds integers only.
    let create = unsafe { &mut attr.link_create };
    create.__bindgen_anon_1.prog_fd = program.as_raw_fd().unsigned_abs();
    create.__bindgen_anon_2.target_ifindex = i32::MAX.unsigned_abs();
    create.attach_type = bpf_attach_type::BPF_TCX_INGRESS as u32;
    let fd = bpf(bpf_cmd::BPF_LINK_CREATE, &attr)?;
    // SAFETY: BPF_LINK_CREATE returned a new descriptor that nothing else owns; dropping it detaches.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

fn zeroed_attr() -> bpf_attr {
    // SAFETY: `bpf_attr` is a C union of structures of integers, for which zero is a value, and the kernel
    // demands that what a command does not use is zero.
    unsafe { mem::zeroed() }
}

/// For commands that return a descriptor.
fn bpf(command: bpf_cmd, attr: &bpf_attr) -> Result<RawFd, Errno> {
    // SAFETY: `attr` is valid for reads of its whole size for the length of the call, and so is what the
    // callers let its addresses point to (constants). The commands used here do not write to it.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_long, attr, size_of::<bpf_attr>()) };
    RawFd::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)
}
