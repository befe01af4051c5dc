//! How programs can be attached, tried with one that does nothing and in places that do not exist.

use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type};
use nix::errno::Errno;

use super::CheckRow;
use crate::datapath::netns_cookie;

/// Type descriptions of the running kernel.
const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Our programs do not depend on the layout of the kernel's structures.
pub(super) fn btf() -> CheckRow {
    let row = if Path::new(VMLINUX_BTF).exists() {
        CheckRow::found("BTF", VMLINUX_BTF)
    } else {
        CheckRow::missing("BTF", format!("no {VMLINUX_BTF} (CONFIG_DEBUG_INFO_BTF); netdp works without it"))
    };
    row.optional()
}

/// Published ports are refused to `bind(2)` in one network namespace, which programs know by its cookie.
pub(super) fn cookies() -> CheckRow {
    CheckRow::of(
        "SO_NETNS_COOKIE",
        match netns_cookie() {
            Ok(_) => Ok("the kernel has it".to_owned()),
            Err(error) => Err(format!("the kernel lacks it: {error} (Linux 5.14 has it)")),
        },
    )
}

/// Tries whether programs can be attached by TCX: the kernel is asked to do it to an interface that cannot
/// exist. A kernel without TCX finds the attach type wanting (EINVAL) before it looks for the interface (ENODEV).
pub(super) fn tcx() -> CheckRow {
    const NAME: &str = "TCX";
    let kind = bpf_attach_type::BPF_TCX_INGRESS;
    let tried = trivial_program(bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS, kind)
        .and_then(|program| attach(&program, kind, i32::MAX));
    match tried {
        Err(Errno::ENODEV) => {
            CheckRow::found(NAME, "programs are attached without a qdisc and replaced atomically")
        }
        Err(Errno::EINVAL) => {
            CheckRow::missing(NAME, "the kernel lacks it (Linux 6.6 has it); clsact is used instead")
        }
        other => CheckRow::missing(NAME, untried(other)),
    }
}

/// The same for links on control groups, with a descriptor that is none (EBADF).
pub(super) fn cgroup_links() -> CheckRow {
    const NAME: &str = "BPF links on control groups";
    let kind = bpf_attach_type::BPF_CGROUP_INET4_BIND;
    let tried = trivial_program(bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, kind)
        .and_then(|program| attach(&program, kind, -1));
    match tried {
        Err(Errno::EBADF) => CheckRow::found(NAME, "the kernel has it"),
        Err(Errno::EINVAL) => {
            CheckRow::missing(NAME, "the kernel lacks it (Linux 5.7 has it, with CONFIG_CGROUP_BPF)")
        }
        other => CheckRow::missing(NAME, untried(other)),
    }
}

fn untried(result: Result<(), Errno>) -> String {
    match result {
        Ok(()) => "the kernel attached a program to something that does not exist".to_owned(),
        Err(errno) => format!("cannot be tried: {}; run netdp as root", errno.desc()),
    }
}

/// Loads `return 1`. It is attached to nothing and goes with the descriptor.
fn trivial_program(kind: bpf_prog_type, attach_type: bpf_attach_type) -> Result<OwnedFd, Errno> {
    // `r0 = 1; exit` as the kernel reads it: opcode, registers, offset, immediate.
    const INSTRUCTIONS: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 1, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let mut attr = zeroed_attr();
    // SAFETY: every bit pattern is valid for this member of the union, which holds integers only.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.prog_type = kind as u32;
    load.insns = INSTRUCTIONS.as_ptr() as u64;
    load.insn_cnt = 2;
    load.license = c"Dual MIT/GPL".as_ptr() as u64;
    if kind == bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK_ADDR {
        load.expected_attach_type = attach_type as u32;
    }
    let fd = bpf(bpf_cmd::BPF_PROG_LOAD, &attr)?;
    // SAFETY: BPF_PROG_LOAD returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// To an interface or to a control group, which the kernel reads from the same place.
fn attach(program: &OwnedFd, kind: bpf_attach_type, target: i32) -> Result<(), Errno> {
    let mut attr = zeroed_attr();
    // SAFETY: every bit pattern is valid for this member of the union, which holds integers only.
    let create = unsafe { &mut attr.link_create };
    create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    create.__bindgen_anon_2.target_ifindex = target.cast_unsigned();
    create.attach_type = kind as u32;
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
