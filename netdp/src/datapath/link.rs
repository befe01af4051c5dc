//! Pinned links, as far as aya does not see into them: whom they belong to, and the exchange of their program.

use std::ffi::CString;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya_obj::generated::{BPF_F_BEFORE, bpf_attach_type, bpf_attr, bpf_cmd};

/// The head of the kernel's `struct bpf_link_info`, up to what a TCX link says (`linux/bpf.h`).
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct LinkInfo {
    kind: u32,
    id: u32,
    /// Id of the program that runs.
    pub(super) program_id: u32,
    pad: u32,
    /// TCX and XDP: the interface, or zero when it is gone. Other kinds: something else.
    pub(super) ifindex: u32,
    attach_type: u32,
}

/// One `bpf(2)` call.
pub(super) fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: the attribute is a whole `bpf_attr`, zeroed where it was not filled, and lives over the call; the
    // pointers in it were made from live values by the callers.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, std::ptr::from_mut(attr), size_of::<bpf_attr>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// Opens what is pinned at a path.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all-zero is a valid `bpf_attr`, a union of structs of integers.
    let mut attr: bpf_attr = unsafe { zeroed() };
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    owned(bpf(bpf_cmd::BPF_OBJ_GET, &mut attr)?)
}

/// What the kernel says of a link.
pub(super) fn info(link: &OwnedFd) -> io::Result<LinkInfo> {
    // SAFETY: all-zero is a valid value of both: integers only.
    let (mut attr, mut info): (bpf_attr, LinkInfo) = unsafe { (zeroed(), zeroed()) };
    attr.info.bpf_fd = link.as_raw_fd().cast_unsigned();
    attr.info.info_len = u32::try_from(size_of::<LinkInfo>()).map_err(io::Error::other)?;
    attr.info.info = std::ptr::from_mut(&mut info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

/// Puts another program into a link, atomically.
pub(super) fn update(link: &OwnedFd, program: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: all-zero is a valid `bpf_attr`.
    let mut attr: bpf_attr = unsafe { zeroed() };
    attr.link_update.link_fd = link.as_raw_fd().cast_unsigned();
    attr.link_update.__bindgen_anon_1.new_prog_fd = program.as_raw_fd().cast_unsigned();
    bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr)?;
    Ok(())
}

/// Attaches an XDP program to an interface of the calling thread's namespace; `flags` are `XDP_FLAGS_*` of
/// `linux/if_link.h`. Not by aya, which answers EINVAL with an attachment that no link holds.
pub(super) fn create_xdp(program: &OwnedFd, ifindex: u32, flags: u32) -> io::Result<OwnedFd> {
    // SAFETY: all-zero is a valid `bpf_attr`.
    let mut attr: bpf_attr = unsafe { zeroed() };
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    attr.link_create.__bindgen_anon_2.target_ifindex = ifindex;
    attr.link_create.attach_type = bpf_attach_type::BPF_XDP as u32;
    attr.link_create.flags = flags;
    owned(bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr)?)
}

/// Attaches a program to an interface of the calling thread's namespace by TCX, before all others. Not by aya, which first
/// tries out what the kernel can, with programs and maps: the kernel then has them to free, and the attachment waits for that.
pub(super) fn create_tcx(
    program: BorrowedFd<'_>,
    ifindex: u32,
    direction: bpf_attach_type,
) -> io::Result<OwnedFd> {
    // SAFETY: all-zero is a valid `bpf_attr`.
    let mut attr: bpf_attr = unsafe { zeroed() };
    attr.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd().cast_unsigned();
    attr.link_create.__bindgen_anon_2.target_ifindex = ifindex;
    attr.link_create.attach_type = direction as u32;
    attr.link_create.flags = BPF_F_BEFORE;
    owned(bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr)?)
}

/// Ends a link, whoever holds it open. Without this an XDP link ends some time after its last pin.
pub(super) fn detach(link: &OwnedFd) -> io::Result<()> {
    // SAFETY: all-zero is a valid `bpf_attr`.
    let mut attr: bpf_attr = unsafe { zeroed() };
    attr.link_detach.link_fd = link.as_raw_fd().cast_unsigned();
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr)?;
    Ok(())
}

/// Takes the descriptor that a command has just returned.
fn owned(fd: i64) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned this descriptor to us, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether an update failed because the interface of the link is gone: the pin is a leftover.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOLINK)
}

/// Pins a program or a link.
pub(super) fn pin(what: impl AsFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all-zero is a valid `bpf_attr`.
    let mut attr: bpf_attr = unsafe { zeroed() };
    attr.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    attr.__bindgen_anon_4.bpf_fd = what.as_fd().as_raw_fd().cast_unsigned();
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr)?;
    Ok(())
}
