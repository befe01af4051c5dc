//! Programs on interfaces: by TCX where the kernel has it (6.6, e420bed02507), else by a clsact filter.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, LinkError};
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcAttachType, TcHandle,
    qdisc_add_clsact, qdisc_detach_program,
};
use aya::programs::{ProgramError, SchedClassifier, TcError};
use aya::sys::SyscallError;

use super::error::Error;
use super::hook::Hook;
use super::{Datapath, link};

/// Priority of our clsact filters: before everybody else's, as a foreign filter that matches first ends the
/// classification, and its packets would bypass us.
const FILTER_PRIORITY: u16 = 1;
/// A priority has one kind of classifier and one protocol. When somebody has given ours to another, we stand as
/// near behind it as we can, down to this one.
const LAST_FILTER_PRIORITY: u16 = 8;
/// Handle of our clsact filters: fixed, so that a second one is never added beside the first.
const FILTER_HANDLE: TcHandle = TcHandle::new(0, 0x6e64);

/// What stands before the number in the mark of a qdisc that was added by us, where marks of filters have their
/// program.
const CLSACT: &str = "clsact";

/// How a program is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttachMode {
    /// A TCX link.
    Tcx,
    /// A filter of the clsact qdisc.
    Clsact,
}

impl AttachMode {
    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// A program that runs on an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attachment {
    /// The hook.
    pub hook: Hook,
    /// The interface.
    pub ifindex: u32,
    /// Id of the program, as `bpftool prog` prints it; zero for a clsact filter, which does not say.
    pub program_id: u32,
    /// How it is attached.
    pub mode: AttachMode,
}

impl Datapath {
    /// Attaches a hook's program to an interface of the calling thread's namespace, unless it is attached already.
    ///
    /// # Errors
    /// The interface is gone, or the kernel refuses.
    pub fn attach(&self, hook: Hook, ifname: &str, ifindex: u32) -> Result<(), Error> {
        if self.filter_dir().join(hook.pin_name(ifindex)).exists() {
            return self.attach_filter(&mut self.pinned_program(hook)?, hook, ifname, ifindex);
        }
        let program = self.open_program(hook)?;
        if self.exchange(program.as_fd(), hook, ifindex)? {
            return Ok(());
        }
        match link::create_tcx(program.as_fd(), ifindex, hook.tcx_direction()) {
            Ok(link) => {
                let path = self.link_dir().join(hook.pin_name(ifindex));
                link::pin(&link, &path).map_err(|e| Error::pin("pinning the link", path, e))
            }
            Err(error) if lacks_tcx(&error) => {
                self.attach_filter(&mut self.pinned_program(hook)?, hook, ifname, ifindex)
            }
            Err(io_error) => {
                let source = ProgramError::SyscallError(SyscallError { call: "bpf_link_create", io_error });
                Err(Error::Attach { hook, interface: ifname.to_owned(), source: Box::new(source) })
            }
        }
    }

    /// Whether a hook's program runs on an interface; the cost does not grow with their number.
    ///
    /// # Errors
    /// The pin cannot be read.
    pub fn is_attached(&self, hook: Hook, ifindex: u32) -> Result<bool, Error> {
        let path = self.link_dir().join(hook.pin_name(ifindex));
        match link::open(&path).and_then(|link| link::info(&link)) {
            // That of an interface which is gone has number zero.
            Ok(info) => Ok(info.ifindex == ifindex),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(self.filter_dir().join(hook.pin_name(ifindex)).exists())
            }
            Err(error) => Err(Error::pin("reading the link", path, error)),
        }
    }

    /// Takes a hook's program off an interface; an interface that is gone has none.
    ///
    /// # Errors
    /// The pin cannot be removed.
    pub fn detach(&self, hook: Hook, ifindex: u32) -> Result<(), Error> {
        let filter = self.filter_dir().join(hook.pin_name(ifindex));
        if filter.exists() {
            if let Some(ifname) = interface_name(ifindex) {
                // The filter may have gone with somebody's `tc qdisc del`: then there is nothing to do.
                let _ = qdisc_detach_program(&ifname, hook.direction(), hook.program());
            }
            return fs::remove_dir(&filter).map_err(|e| Error::pin("removing the mark", filter, e));
        }
        remove_pin(&self.link_dir().join(hook.pin_name(ifindex)))
    }

    /// Says that the interface's clsact qdisc was added by us and has no filter of ours any more, and forgets that
    /// it was: the caller is to delete it now.
    ///
    /// # Errors
    /// The mark cannot be removed.
    pub fn take_unused_qdisc(&self, ifindex: u32) -> Result<bool, Error> {
        let mark = self.qdisc_mark(ifindex);
        let used = |hook: &Hook| self.filter_dir().join(hook.pin_name(ifindex)).exists();
        if !mark.exists() || Hook::ALL.iter().any(used) {
            return Ok(false);
        }
        fs::remove_dir(&mark).map_err(|e| Error::pin("removing the mark", mark, e))?;
        Ok(true)
    }

    /// Takes off the clsact filters of another version, whatever its hooks are, by the marks that it made; says of
    /// which interfaces it had added the qdisc. Its links need no such care: they end with their pins.
    ///
    /// # Errors
    /// The marks cannot be read.
    pub fn take_off_foreign(bpffs: &Path) -> Result<Vec<u32>, Error> {
        let folder = Self::at(bpffs).filter_dir();
        let mut qdiscs = Vec::new();
        for (owner, ifindex) in marks(&folder)? {
            let Some(ifname) = interface_name(ifindex) else { continue };
            if owner == CLSACT {
                qdiscs.push(ifindex);
                continue;
            }
            for direction in [TcAttachType::Ingress, TcAttachType::Egress] {
                // A hook has one direction, and there is nothing to take off in the other.
                let _ = qdisc_detach_program(&ifname, direction, &owner);
            }
        }
        Ok(qdiscs)
    }

    /// Every program that runs on an interface which still exists.
    ///
    /// # Errors
    /// The pins cannot be read.
    pub fn attachments(&self) -> Result<Vec<Attachment>, Error> {
        let mut found = Vec::new();
        for (hook, ifindex) in pins(&self.link_dir())? {
            let path = self.link_dir().join(hook.pin_name(ifindex));
            let info = link::open(&path)
                .and_then(|fd| link::info(&fd))
                .map_err(|e| Error::pin("reading the link", path, e))?;
            if info.ifindex == ifindex {
                let mode = AttachMode::Tcx;
                found.push(Attachment { hook, ifindex, program_id: info.program_id, mode });
            }
        }
        for (hook, ifindex) in pins(&self.filter_dir())? {
            found.push(Attachment { hook, ifindex, program_id: 0, mode: AttachMode::Clsact });
        }
        Ok(found)
    }

    /// Puts the pinned programs into every link there is; links whose interface is gone are forgotten.
    pub(super) fn exchange_all(&self) -> Result<(), Error> {
        for hook in Hook::ALL {
            let mut program = self.pinned_program(hook)?;
            let opened = self.open_program(hook)?;
            for (_, ifindex) in pins(&self.link_dir())?.into_iter().filter(|(h, _)| *h == hook) {
                self.exchange(opened.as_fd(), hook, ifindex)?;
            }
            for (_, ifindex) in pins(&self.filter_dir())?.into_iter().filter(|(h, _)| *h == hook) {
                if let Some(ifname) = interface_name(ifindex) {
                    self.attach_filter(&mut program, hook, &ifname, ifindex)?;
                } else {
                    self.detach(hook, ifindex)?;
                    self.take_unused_qdisc(ifindex)?;
                }
            }
        }
        Ok(())
    }

    fn pinned_program(&self, hook: Hook) -> Result<SchedClassifier, Error> {
        let name = hook.program();
        SchedClassifier::from_pin(self.program_path(name)).map_err(|e| Error::program(name, e))
    }

    /// The pinned program as a bare descriptor. aya's opening would try out all that the kernel can.
    fn open_program(&self, hook: Hook) -> Result<OwnedFd, Error> {
        let path = self.program_path(hook.program());
        link::open(&path).map_err(|e| Error::pin("opening the program", path, e))
    }

    /// Puts the program into a link that is pinned; `false` when there is none (any more).
    fn exchange(&self, program: BorrowedFd<'_>, hook: Hook, ifindex: u32) -> Result<bool, Error> {
        let path = self.link_dir().join(hook.pin_name(ifindex));
        if !path.exists() {
            return Ok(false);
        }
        match link::open(&path).and_then(|link| link::update(&link, program)) {
            Ok(()) => Ok(true),
            Err(error) if link::is_gone(&error) => remove_pin(&path).map(|()| false),
            Err(error) => Err(Error::pin("updating the link", path, error)),
        }
    }

    /// Adds or replaces our filter. Its mark is made first: a filter without a mark would never be found again.
    fn attach_filter(
        &self,
        program: &mut SchedClassifier,
        hook: Hook,
        ifname: &str,
        ifindex: u32,
    ) -> Result<(), Error> {
        let failed = |source| Error::Attach { hook, interface: ifname.to_owned(), source: Box::new(source) };
        match qdisc_add_clsact(ifname) {
            // Only one that was not there before is ours to delete.
            Ok(()) => make_dir(&self.qdisc_mark(ifindex))?,
            Err(error) if has_errno(&error, libc::EEXIST) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let mark = self.filter_dir().join(hook.pin_name(ifindex));
        let known = mark.exists();
        make_dir(&mark)?;
        let placed = place_filter(program, hook, ifname).and_then(|id| program.take_link(id));
        if placed.is_err() && !known {
            fs::remove_dir(&mark).map_err(|e| Error::pin("removing the mark", mark, e))?;
        }
        // The filter stays when this process ends; aya would remove it with the link's value.
        std::mem::forget(placed.map_err(failed)?);
        Ok(())
    }

    fn qdisc_mark(&self, ifindex: u32) -> PathBuf {
        self.filter_dir().join(format!("{CLSACT}-{ifindex}"))
    }
}

/// Replaces our filter where it is, else adds it before as many others as possible.
fn place_filter(
    program: &mut SchedClassifier,
    hook: Hook,
    ifname: &str,
) -> Result<SchedClassifierLinkId, ProgramError> {
    for priority in FILTER_PRIORITY..=LAST_FILTER_PRIORITY {
        let known = SchedClassifierLink::attached(ifname, hook.direction(), priority, FILTER_HANDLE, None);
        match program.attach_to_link(known.map_err(TcError::IoError)?) {
            Err(ProgramError::TcError(error)) if is_elsewhere(&error) => {}
            placed => return placed,
        }
    }
    let mut create = |priority| {
        let options = NlOptions { priority, handle: FILTER_HANDLE, classid: None };
        program.attach_with_options(ifname, hook.direction(), TcAttachOptions::Netlink(options))
    };
    for priority in FILTER_PRIORITY..LAST_FILTER_PRIORITY {
        match create(priority) {
            Err(ProgramError::TcError(error)) if has_errno(&error, libc::EINVAL) => {
                tracing::warn!("on {ifname} a filter of somebody else's sees packets before netdp does");
            }
            placed => return placed,
        }
    }
    create(LAST_FILTER_PRIORITY)
}

/// The hooks whose pins are in a folder.
fn pins(folder: &Path) -> Result<Vec<(Hook, u32)>, Error> {
    let mut found: Vec<_> = names(folder)?.iter().filter_map(|name| Hook::from_pin_name(name)).collect();
    found.sort_unstable();
    Ok(found)
}

/// The marks of any version: what they are of, and the interface. None where there is no such folder.
fn marks(folder: &Path) -> Result<Vec<(String, u32)>, Error> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let parts = |name: &String| {
        let (owner, number) = name.rsplit_once('-')?;
        Some((owner.to_owned(), number.parse().ok()?))
    };
    Ok(names(folder)?.iter().filter_map(parts).collect())
}

pub(super) fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let failed = |e| Error::pin("listing", folder, e);
    let entries = fs::read_dir(folder).map_err(failed)?;
    entries.map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned())).collect()
}

/// Makes a folder that may be there.
pub(super) fn make_dir(path: &Path) -> Result<(), Error> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::pin("making the folder", path, error))
        }
        _ => Ok(()),
    }
}

/// Pins a link, so that the program runs on without this process.
pub(super) fn pin_link(link: Result<FdLink, LinkError>, path: &Path) -> Result<(), Error> {
    let failed = |e| Error::pin("pinning the link", path, e);
    let link = link.map_err(|e| failed(io::Error::other(e)))?;
    link.pin(path).map_err(|e| failed(io::Error::other(e)))?;
    Ok(())
}

/// Removes a pin that may be gone.
pub(super) fn remove_pin(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::pin("removing the pin", path, error))
        }
        _ => Ok(()),
    }
}

/// A kernel before 6.6, or one that was built without `CONFIG_NET_XGRESS`, answers EINVAL.
fn lacks_tcx(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINVAL)
}

/// There is no filter of ours at that priority, or the priority has another kind of classifier.
fn is_elsewhere(error: &TcError) -> bool {
    has_errno(error, libc::ENOENT) || has_errno(error, libc::EINVAL)
}

fn has_errno(error: &TcError, errno: i32) -> bool {
    match error {
        TcError::NetlinkError(error) => error.raw_os_error() == Some(errno),
        _ => false,
    }
}

/// Name of an interface that is there. Of one that is not, nix gives an empty name instead of an error.
fn interface_name(ifindex: u32) -> Option<String> {
    let name = nix::net::if_::if_indextoname(ifindex).ok()?.into_string().ok()?;
    (!name.is_empty()).then_some(name)
}
