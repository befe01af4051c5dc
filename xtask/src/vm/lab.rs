//! Where guests are made ready and booted: archives, logs, and what is known of KVM.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use protocol::Job;

use super::chosen::{self, Binary, NETDP};
use super::guest::{self, Ending, Guest, Limits};
use super::initramfs::{self, Archive};
use super::kernel::Kernel;
use super::progress::Progress;
use super::qemu::{self, Accel, Machine, Probed};
use super::{modules, programs, space};
use crate::linker;
use crate::workspace::Workspace;
use crate::{command, object};

/// A kernel that boots under KVM reports within two seconds; one that does not never says a word.
const PROBE: Limits = Limits {
    first: Duration::from_secs(10),
    silence: Duration::from_secs(10),
    total: Duration::from_mins(1),
};

/// Programs and libraries in the base archive, rather too many: they were 40 MB on Debian 12.
const PROGRAMS_SIZE: u64 = 60_000_000;

/// All that boots need in common.
pub(crate) struct Lab {
    pub(crate) workspace: Workspace,
    pub(crate) binaries: Vec<Binary>,
    pub(crate) progress: Progress,
    folder: PathBuf,
    qemu: PathBuf,
    /// The archive with programs, tests and netdp.
    base: PathBuf,
    /// The archive with the init alone.
    bare: PathBuf,
    /// Bytes that the guest of each kernel takes, by its release.
    guests: Mutex<BTreeMap<String, u64>>,
    /// Held as long as the archives are used.
    _lock: File,
}

/// One boot, by what tells it from others.
pub(crate) struct Boot<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) accel: Accel,
    /// What its logs are called.
    pub(crate) name: String,
    /// Whether it has programs, tests and modules, or the init alone.
    pub(crate) full: bool,
    /// More files: place in the guest, and where they are here.
    pub(crate) files: Vec<(PathBuf, PathBuf)>,
    pub(crate) limits: Limits,
}

impl Lab {
    /// Takes the folder of all VMs, which is given back when the lab goes. Nothing is ready yet.
    pub(crate) fn claim(workspace: Workspace) -> Result<Self> {
        let qemu = qemu::find()?;
        let folder = workspace.target.join("vm");
        for name in ["kernels", "run", "logs"] {
            let folder = folder.join(name);
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let lock = lock(&folder)?;
        sweep(&folder.join("kernels"))?;
        sweep_archives(&folder.join("run"))?;
        let (base, bare) = (folder.join("run/base.cpio"), folder.join("run/bare.cpio"));
        let progress = Progress::new();
        let guests = Mutex::default();
        Ok(Self { workspace, binaries: Vec::new(), progress, folder, qemu, base, bare, guests, _lock: lock })
    }

    /// Builds the init and the tests, and packs them.
    pub(crate) fn prepare(&mut self) -> Result<()> {
        let init = build_init(&self.workspace)?;
        self.binaries = chosen::build(&self.workspace)?;
        self.pack_bare(&init)?;
        self.pack_base()
    }

    /// Where unpacked kernels are kept.
    pub(crate) fn kernels(&self) -> PathBuf {
        self.folder.join("kernels")
    }

    /// Where consoles and reports are kept.
    pub(crate) fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    fn pack_bare(&self, init: &Path) -> Result<()> {
        let mut archive = Archive::create(&self.bare)?;
        archive.add_skeleton()?;
        archive.add_file(Path::new("/init"), init)?;
        programs::add_libraries(&mut archive, &[init.to_path_buf()])?;
        archive.finish()?;
        Ok(())
    }

    /// The init is not in it: the bare archive comes before.
    fn pack_base(&self) -> Result<()> {
        let stripped = self.stripped_tests()?;
        let netdp = self.workspace.netdp("release");
        let mut files: Vec<&Path> = stripped.iter().map(|(_, file)| file.as_path()).collect();
        files.push(&netdp);
        let bytes: u64 = files.iter().filter_map(|file| Some(file.metadata().ok()?.len())).sum();
        space::check(&self.folder, bytes + PROGRAMS_SIZE, "for what all guests have in common")?;
        let mut archive = Archive::create(&self.base)?;
        programs::add(&mut archive)?;
        archive.add_file(Path::new(NETDP), &netdp)?;
        for (place, file) in &stripped {
            archive.add_file(place, file)?;
        }
        let dynamic = files.into_iter().map(Path::to_path_buf).collect::<Vec<_>>();
        programs::add_libraries(&mut archive, &dynamic)?;
        archive.finish()?;
        Ok(())
    }

    /// Debug information is nine tenths of a test binary.
    fn stripped_tests(&self) -> Result<Vec<(PathBuf, PathBuf)>> {
        let strip = |binary: &Binary| {
            let stripped = self.folder.join("run").join(&binary.tier);
            let mut strip = linker::llvm_tool("strip")?;
            command::output(strip.arg("-o").arg(&stripped).arg(&binary.path))?;
            Ok((chosen::place(binary), stripped))
        };
        self.binaries.iter().map(strip).collect()
    }

    /// Packs the modules of a kernel; gives those that it does not have.
    pub(crate) fn pack_modules(&self, kernel: &Kernel) -> Result<Vec<String>> {
        let folder = self.folder.join("run/modules").join(&kernel.release);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let to = self.modules_of(kernel);
        let lacking = modules::write(kernel, &folder, &to)?;
        let size = archives_size(&[&self.bare, &self.base, &to])?;
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests.insert(kernel.release.clone(), size);
        // All kernels are packed before the first of them boots, and then they boot beside one another.
        space::check(&self.folder, guests.values().sum(), "for the root file systems of the guests")?;
        Ok(lacking)
    }

    fn modules_of(&self, kernel: &Kernel) -> PathBuf {
        self.folder.join("run").join(format!("modules-{}.cpio", kernel.release))
    }

    /// Builds an object that is broken on purpose.
    pub(crate) fn broken_object(
        &self,
        toolchain: &crate::toolchain::Toolchain,
        name: &str,
    ) -> Result<PathBuf> {
        object::build_example(&self.workspace, toolchain, name)
    }

    /// KVM when the kernel is known to boot under it, or is found to.
    pub(crate) fn accel(&self, kernel: &Kernel) -> Result<Accel> {
        if !qemu::opens(Path::new("/dev/kvm")) {
            return Ok(Accel::Tcg);
        }
        let file = self.folder.join("kvm");
        let probed = Probed::new(&file, &format!("{} {}", kernel.release, kernel.version));
        if let Some(accel) = probed.answer() {
            return Ok(accel);
        }
        let name = format!("{}-kvm-probe", kernel.release);
        let boot = Boot { kernel, accel: Accel::Kvm, name, full: false, files: Vec::new(), limits: PROBE };
        let guest = self.boot(&boot, &Job::default(), &mut |_| {})?;
        println!("vm: {} under KVM: {}", kernel.release, guest.ending.words());
        let Some(accel) = learned(&guest.ending) else {
            return Ok(Accel::Tcg);
        };
        probed.keep(accel)?;
        Ok(accel)
    }

    /// Boots a kernel with a job.
    pub(crate) fn boot(
        &self,
        boot: &Boot,
        job: &Job,
        tell: &mut dyn FnMut(&protocol::Report),
    ) -> Result<Guest> {
        let initrd = self.folder.join("run").join(format!("{}.initrd", boot.name));
        let written = self.write_initrd(boot, job, &initrd);
        let console = self.logs().join(format!("{}.console.log", boot.name));
        let reports = self.logs().join(format!("{}.reports.jsonl", boot.name));
        let machine = Machine {
            qemu: &self.qemu,
            accel: boot.accel,
            image: &boot.kernel.image,
            initrd: &initrd,
            console: &console,
        };
        let guest = written.and_then(|()| guest::run(&machine, job.tasks.len(), boot.limits, &reports, tell));
        // A hundred megabytes that nobody reads.
        let _ = fs::remove_file(&initrd);
        guest
    }

    fn write_initrd(&self, boot: &Boot, job: &Job, to: &Path) -> Result<()> {
        let own = to.with_extension("own.cpio");
        let mut archive = Archive::create(&own)?;
        archive.add_bytes(Path::new(protocol::JOB), 0o644, &job.to_json()?)?;
        for (place, file) in &boot.files {
            archive.add_file(place, file)?;
        }
        archive.finish()?;
        let modules = self.modules_of(boot.kernel);
        let parts: &[&Path] =
            if boot.full { &[&self.bare, &self.base, &modules, &own] } else { &[&self.bare, &own] };
        let joined = initramfs::join(parts, to);
        let _ = fs::remove_file(&own);
        joined
    }
}

/// What the ending of a probe says of the kernel under KVM; `None` when it says nothing that holds the next time too.
fn learned(ending: &Ending) -> Option<Accel> {
    match ending {
        Ending::Finished => Some(Accel::Kvm),
        Ending::Panic(_)
        | Ending::Oops(_)
        | Ending::Stall(_)
        | Ending::NeverAnswered(_)
        | Ending::StoppedAnswering(_)
        | Ending::TooLong(_) => Some(Accel::Tcg),
        Ending::Broken(_)
        | Ending::PoweredOff
        | Ending::NotStarted(_)
        | Ending::QemuDied(_)
        | Ending::Error(_) => None,
    }
}

/// One run at a time: they write the same archives.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let unusable = || format!("cannot lock {}", path.display());
    let file = File::create(&path).with_context(unusable)?;
    if file.try_lock().is_err() {
        println!("vm: another run uses {}; waiting for its end", folder.display());
        file.lock().with_context(unusable)?;
    }
    Ok(file)
}

/// What a run left that was cut off while it unpacked.
fn sweep(kernels: &Path) -> Result<()> {
    let entries = fs::read_dir(kernels).with_context(|| format!("cannot list {}", kernels.display()))?;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Root file systems of guests of a run that was killed.
fn sweep_archives(run: &Path) -> Result<()> {
    let entries = fs::read_dir(run).with_context(|| format!("cannot list {}", run.display()))?;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.to_string_lossy();
        if name.ends_with(".initrd") || name.ends_with(".own.cpio") {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Bytes of files together.
fn archives_size(files: &[&Path]) -> Result<u64> {
    let size =
        |file: &&Path| Ok(file.metadata().with_context(|| format!("cannot read {}", file.display()))?.len());
    files.iter().map(size).sum()
}

fn build_init(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = command::cargo();
    cargo
        .current_dir(&workspace.root)
        .args(["build", "--locked", "--quiet", "-p", "xtask", "--bin", "vm-init"]);
    command::run(&mut cargo)?;
    Ok(workspace.target.join("debug/vm-init"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_run_waits_for_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path()).unwrap();
        let path = folder.path().to_path_buf();
        let second = std::thread::spawn(move || lock(&path).map(|_| std::time::Instant::now()).unwrap());
        std::thread::sleep(Duration::from_millis(100));
        let released = std::time::Instant::now();
        drop(first);
        assert!(second.join().unwrap() >= released);
    }

    #[test]
    fn only_a_kernel_that_ran_says_something_of_kvm() {
        assert_eq!(learned(&Ending::Finished), Some(Accel::Kvm));
        assert_eq!(learned(&Ending::NeverAnswered(PROBE.first)), Some(Accel::Tcg));
        assert_eq!(learned(&Ending::NotStarted("no memory".into())), None);
        assert_eq!(learned(&Ending::PoweredOff), None);
    }

    #[test]
    fn archives_of_a_killed_run_go_and_those_of_all_runs_stay() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["6.1.0-x.initrd", "6.1.0-x.own.cpio", "base.cpio"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("modules")).unwrap();
        sweep_archives(folder.path()).unwrap();
        let left = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut left: Vec<_> = left.collect();
        left.sort();
        assert_eq!(left, ["base.cpio", "modules"]);
    }

    #[test]
    fn what_was_cut_off_is_no_kernel_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".linux-image-6.1_1.4711", "linux-image-6.1_1"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        sweep(folder.path()).unwrap();
        let left = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), ["linux-image-6.1_1"]);
    }
}
