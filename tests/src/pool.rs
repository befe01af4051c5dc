//! Programs that a test finds loaded by the one before it. In a guest each test is a process of its own, and on an emulated
//! processor verifying would be nine tenths of its time. Every test finds the maps empty all the same.

use std::env;
use std::fs::{self, File};
use std::path::PathBuf;
use std::thread;

use aya::EbpfLoader;
use aya::programs::{ProgramError, SchedClassifier};
use netdp_common::names;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Names a folder on a bpffs; without it nothing is shared.
const POOL: &str = "NETDP_TEST_PROGRAMS";
/// Where a kernel describes its types.
const TYPES: &str = "/sys/kernel/btf/vmlinux";
/// More than tests that run at once.
const SLOTS: u32 = 16;

/// A set of maps and programs that is this test's while it lives.
#[derive(Debug)]
pub(crate) struct Slot {
    folder: PathBuf,
    /// Given back by the kernel, whatever becomes of the test.
    _lock: File,
}

impl Slot {
    /// The first that is free, if there is a pool.
    pub(crate) fn take() -> Option<Self> {
        let pool = PathBuf::from(env::var_os(POOL)?);
        let slot = |number: u32| {
            let lock = File::create(env::temp_dir().join(format!("netdp-test-programs-{number}"))).unwrap();
            lock.try_lock().ok()?;
            let folder = pool.join(format!("slot{number}"));
            fs::create_dir_all(&folder).unwrap();
            Some(Self { folder, _lock: lock })
        };
        (0..SLOTS).find_map(slot)
    }

    /// Has the maps made here, or those taken that are here.
    pub(crate) fn share_maps(&self, loader: &mut EbpfLoader<'_>) {
        for name in names::MAPS {
            loader.map_pin_path(name, self.folder.join(name));
        }
    }
}

/// A loader that does not read the kernel's types, six megabytes of which nothing of ours needs any, and which aya reads at
/// once: half of the processor's time of a test.
pub(crate) fn loader() -> EbpfLoader<'static> {
    let none: Option<&str> = None;
    let unread = || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        if fs::exists(TYPES).unwrap() {
            mount(Some("/dev/null"), TYPES, none, MsFlags::MS_BIND, none).unwrap();
        }
        EbpfLoader::new()
    };
    // The mount goes with the thread.
    thread::scope(|scope| scope.spawn(unread).join().unwrap())
}

/// Has a program of a TC hook be ready: taken from the slot, or loaded and left there.
pub(crate) fn ready(
    program: &mut SchedClassifier,
    slot: Option<&Slot>,
    name: &str,
) -> Result<(), ProgramError> {
    if program.fd().is_ok() {
        return Ok(());
    }
    let Some(path) = slot.map(|slot| slot.folder.join(name)) else { return program.load() };
    if path.exists() {
        *program = SchedClassifier::from_pin(path)?;
        return Ok(());
    }
    program.load()?;
    program.pin(path).unwrap();
    Ok(())
}
