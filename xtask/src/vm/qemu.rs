//! The machine that a kernel boots in.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::programs;

/// Who executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accel {
    /// The processor.
    Kvm,
    /// qemu.
    Tcg,
}

/// What the command line says about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wanted {
    /// The processor where the kernel boots under it, else qemu
    #[default]
    Auto,
    /// The processor
    Kvm,
    /// qemu, about ten times slower
    Tcg,
}

/// Megabytes of a guest: the tests' programs unpacked, and what a hundred namespaces take.
const MEMORY: &str = "2560";
const PROCESSORS: &str = "2";
/// Its console ends with the first panic, and has what its kernel warns of. The others make emulation bearable: there
/// is nobody in a guest of ours to hide from by retpolines and random addresses (for each address at which a program
/// comes to lie, its code is translated anew: half of all time), two processors need not wait long for one another, and
/// both read one clock. The kernel's test of its timer panics where the host does not let the emulator run meanwhile.
const COMMAND_LINE: &str = "console=ttyS0 panic=-1 loglevel=5 mitigations=off norandmaps \
    rcupdate.rcu_expedited=1 tsc=reliable no_timer_check audit=0";

/// One machine, not yet started.
pub(crate) struct Machine<'a> {
    pub(crate) qemu: &'a Path,
    pub(crate) accel: Accel,
    pub(crate) image: &'a Path,
    pub(crate) initrd: &'a Path,
    /// The file that the console is written to.
    pub(crate) console: &'a Path,
}

impl Machine<'_> {
    /// The command that runs it: its standard output is the guest's second serial port.
    ///
    /// setpriv has the kernel kill qemu when the thread that started it ends, by whatever way we end.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(self.qemu);
        command.args(["-machine", "q35", "-m", MEMORY, "-smp", PROCESSORS]).args(self.accel.arguments());
        command.args(["-nodefaults", "-display", "none", "-no-reboot"]);
        command.arg("-serial").arg(format!("file:{}", self.console.display()));
        command.args(["-serial", "stdio", "-append", COMMAND_LINE]);
        command.arg("-kernel").arg(self.image).arg("-initrd").arg(self.initrd);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Accel {
    fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // A page table of five levels is one more to walk by hand at each miss; string instructions, which the kernel
            // clears and copies pages by where they are said to be fast, are emulated byte by byte (a quarter of all time);
            // and each copy from or to user space would be two more blocks of code.
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max,la57=off,erms=off,fsrm=off,smap=off"],
        }
    }

    /// Its name in qemu's words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// Where qemu is.
pub(crate) fn find() -> Result<PathBuf> {
    let name = "qemu-system-x86_64";
    programs::find(name).ok_or_else(|| programs::lacking(name, "qemu-system-x86"))
}

/// Whether we may use KVM here.
pub(crate) fn opens(kvm: &Path) -> bool {
    File::options().read(true).write(true).open(kvm).is_ok()
}

/// What was found out about KVM, by kernel package and the kernel that runs here.
pub(crate) struct Probed<'a> {
    file: &'a Path,
    key: String,
}

impl<'a> Probed<'a> {
    /// What the file says of this pair.
    pub(crate) fn new(file: &'a Path, guest: &str) -> Self {
        let host = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self { file, key: format!("{guest} on {}", host.trim()) }
    }

    /// The answer, if it was asked before.
    pub(crate) fn answer(&self) -> Option<Accel> {
        let answers = fs::read_to_string(self.file).ok()?;
        let answer = answers.lines().find_map(|line| line.strip_prefix(&self.key)?.strip_prefix(": "))?;
        [Accel::Kvm, Accel::Tcg].into_iter().find(|accel| accel.name() == answer)
    }

    /// Keeps the answer for the next time.
    pub(crate) fn keep(&self, accel: Accel) -> Result<()> {
        let others = fs::read_to_string(self.file).unwrap_or_default();
        fs::write(self.file, format!("{others}{}: {}\n", self.key, accel.name()))
            .with_context(|| format!("cannot write {}", self.file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_has_two_serial_ports_and_dies_with_us() {
        let machine = Machine {
            qemu: Path::new("/usr/bin/qemu"),
            accel: Accel::Tcg,
            image: Path::new("/k"),
            initrd: Path::new("/i"),
            console: Path::new("/c"),
        };
        let line = crate::command::line(&machine.command());
        assert!(line.starts_with("setpriv --pdeathsig KILL /usr/bin/qemu"), "{line}");
        assert!(line.contains("-serial file:/c -serial stdio"), "{line}");
        assert!(line.contains("-accel tcg") && !line.contains("kvm"), "{line}");
    }

    #[test]
    fn kvm_is_there_when_it_opens() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!opens(&folder.path().join("kvm")));
        assert!(!opens(folder.path()));
        fs::write(folder.path().join("kvm"), "").unwrap();
        assert!(opens(&folder.path().join("kvm")));
    }

    #[test]
    fn answer_about_kvm_is_kept_by_kernel() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kvm");
        let one = Probed::new(&file, "6.1.0 6.1.192-2");
        assert_eq!(one.answer(), None);
        one.keep(Accel::Tcg).unwrap();
        Probed::new(&file, "6.12.0 6.12.1-1").keep(Accel::Kvm).unwrap();
        assert_eq!(one.answer(), Some(Accel::Tcg));
        assert_eq!(Probed::new(&file, "6.12.0 6.12.1-1").answer(), Some(Accel::Kvm));
    }
}
