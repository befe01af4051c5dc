//! Published ports are refused to other programs of the host: `bind4` and `bind6` on the root control group, which look
//! at processes in this host's network namespace only. No socket and no process is held for a port.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::mem::size_of;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};

use aya::programs::cgroup_sock_addr::CgroupSockAddrAttachType as BindKind;
use aya::programs::links::FdLink;
use aya::programs::{CgroupAttachMode, CgroupSockAddr};
use netdp_common::names;

use super::attach::{pin_link, remove_pin};
use super::error::Error;
use super::{Datapath, link};

pub(super) const PROGRAMS: [(&str, BindKind); 2] =
    [(names::BIND4, BindKind::Bind4), (names::BIND6, BindKind::Bind6)];

/// `SO_NETNS_COOKIE` (kernel 5.14, e8b9eab99232).
const SO_NETNS_COOKIE: libc::c_int = 71;

impl Datapath {
    /// Begins to refuse published ports to other programs, unless that is done already.
    ///
    /// # Errors
    /// The kernel has no cgroup2, or refuses.
    pub fn reserve_binds(&self) -> Result<(), Error> {
        let root = cgroup_root().map_err(Error::Reserve)?;
        for (name, kind) in PROGRAMS {
            if self.exchange_bind(name, kind)? {
                continue;
            }
            let mut program = self.bind_program(name, kind)?;
            let failed = |e| Error::program(name, e);
            // `Single` is the mode that aya passes on as "no flags"; links of one cgroup always run one after another.
            let id = program.attach(&root, CgroupAttachMode::Single).map_err(failed)?;
            let attached = program.take_link(id).map_err(failed)?;
            pin_link(FdLink::try_from(attached), &self.link_dir().join(name))?;
        }
        Ok(())
    }

    /// Ends what [`Datapath::reserve_binds`] began.
    ///
    /// # Errors
    /// The pin cannot be removed.
    pub fn release_binds(&self) -> Result<(), Error> {
        for (name, _) in PROGRAMS {
            remove_pin(&self.link_dir().join(name))?;
        }
        Ok(())
    }

    /// Whether published ports are refused to other programs.
    pub fn binds_reserved(&self) -> bool {
        PROGRAMS.iter().all(|(name, _)| self.link_dir().join(name).exists())
    }

    /// Puts the pinned program into its link; `false` when there is no link.
    pub(super) fn exchange_bind(&self, name: &'static str, kind: BindKind) -> Result<bool, Error> {
        let path = self.link_dir().join(name);
        if !path.exists() {
            return Ok(false);
        }
        let program = self.bind_program(name, kind)?;
        let fd = program.fd().map_err(|e| Error::program(name, e))?;
        link::open(&path)
            .and_then(|link| link::update(&link, fd.as_fd()))
            .map_err(|e| Error::pin("updating the link", path, e))?;
        Ok(true)
    }

    fn bind_program(&self, name: &'static str, kind: BindKind) -> Result<CgroupSockAddr, Error> {
        CgroupSockAddr::from_pin(self.program_path(name), kind).map_err(|e| Error::program(name, e))
    }
}

/// The number by which the kernel's programs know the calling thread's network namespace.
pub(crate) fn netns_cookie() -> io::Result<u64> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    let mut cookie = 0_u64;
    let mut len = libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?;
    // SAFETY: value and length are live variables of the size that is passed.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut len,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(cookie)
}

/// The root of the control group tree, by a mount of our own that no mount table shows and that ends with the
/// descriptor: where the host has it mounted, and whether, is not ours to know.
fn cgroup_root() -> io::Result<File> {
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    let name: &CStr = c"cgroup2";
    // SAFETY: the name is a C string; the other arguments are numbers.
    let context = unsafe { owned(libc::syscall(libc::SYS_fsopen, name.as_ptr(), 0)) }?;
    // SAFETY: the descriptor is open; the command takes no key, value or number.
    let created = unsafe {
        let none = std::ptr::null::<libc::c_char>();
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, none, none, 0)
    };
    if created < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open; the other arguments are numbers.
    unsafe { owned(libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 0, 0)) }
}

/// Takes the descriptor that a system call has returned, or its error.
///
/// # Safety
/// `result` comes straight from a system call that returns a new descriptor.
unsafe fn owned(result: libc::c_long) -> io::Result<File> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: by the contract of this function the descriptor is new and nobody else's.
    Ok(unsafe { File::from_raw_fd(fd) })
}
